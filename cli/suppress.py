"""The suppression list: `clarion suppress add`, `remove`, `list`, `import`, `export`, `check`."""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from clarion.addresses import address_of
from clarion.errors import InputError, SettingError, nearest
from clarion.exports import export, format_of
from clarion.ledger.database import Database
from clarion.ledger.runs import job_names
from clarion.ledger.suppressed_items import count_moves
from clarion.ledger.suppression_log import count_suppressions, history_of, suppression_pages
from clarion.ledger.suppressions import NewSuppression, add_suppressions, scopes_of, unsuppress
from clarion.suppression import CHANNEL, EVERYTHING, JOB, scope_of
from clarion.suppression_imports import (
    SuppressionFile,
    check_recipient,
    import_suppressions,
    in_region,
    without_country,
)
from cli.asking import Who, Why, asked
from cli.console import AsJson, console, print_bad_rows, print_json, print_sentence
from cli.list_options import (
    BadRowOption,
    DelimiterOption,
    EncodingOption,
    ExportFormatOption,
    FileArgument,
    FormatOption,
    OnBadRow,
    OutputOption,
    SheetOption,
    list_file,
)
from cli.row_tables import rows_table
from cli.tables import print_table
from cli.usage import help_if_alone

Addresses = Annotated[
    list[str], typer.Argument(metavar="ADDRESS...", help="Phone numbers, e-mail addresses or ids.")
]
Address = Annotated[str, typer.Argument(metavar="ADDRESS", help="Phone number, e-mail address or id.")]
Channel = Annotated[
    str | None, typer.Option(metavar="NAME", help="Only what actions of this channel would send.")
]
JobName = Annotated[str | None, typer.Option("--job", metavar="NAME", help="Only what this job would send.")]
Region = Annotated[
    str | None,
    typer.Option(metavar="COUNTRY", help="Country (name or ISO code) of numbers without a country code."),
]

ADD = """
Suppress addresses: from now on they get nothing, of everything, of one channel, or of one job.

What waits to be sent to them in runs that have not ended is given up at once.

Examples:

    clarion suppress add +447700900123 ann@example.com --why "asked us on the phone"
    clarion suppress add 07700900123 --region GB --channel sms
"""

REMOVE = """
Take addresses off the suppression list. A reason is asked for: somebody wanted to be left alone.

Example:

    clarion suppress remove +447700900123 --why "signed up again in the shop"
"""

LIST = """
Show the suppression list, by address.

Example:

    clarion suppress list --channel sms --limit 20
"""

IMPORT = """
Suppress everybody in a file. Nobody is unless the whole file can be read.

Addresses are in the attribute that --attribute names, else in `address`, `recipient`, `phone` or `email`,
else in the only one. A file that `clarion suppress export` wrote keeps its scopes and reasons.

Examples:

    clarion suppress import complaints.csv --attribute Phone --region GB
    clarion suppress import suppressed.csv
"""

EXPORT = """
Write the suppression list: csv, json, jsonl or parquet, as the file's extension or --format tells.

Example:

    clarion suppress export --output suppressed.csv
"""

CHECK = """
Tell whether an address is suppressed, from what, why, and who changed that when.

Example:

    clarion suppress check +447700900123
"""


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    group = typer.Typer(
        callback=help_if_alone, invoke_without_command=True, help="Who gets nothing more, and why."
    )
    group.command("add", help=ADD)(add)
    group.command("remove", help=REMOVE)(remove)
    group.command("list", help=LIST)(show)
    group.command("import", help=IMPORT)(import_file)
    group.command("export", help=EXPORT)(export_list)
    group.command("check", help=CHECK)(check)
    app.add_typer(group, name="suppress")


def add(
    addresses: Addresses,
    *,
    channel: Channel = None,
    job: JobName = None,
    region: Region = None,
    who: Who = None,
    why: Why = None,
    as_json: AsJson = False,
) -> None:
    """Suppress addresses."""
    by, scope = asked(who, why), scope_of(channel=channel, job=job)
    recipients = [_recipient(each, region) for each in addresses]
    new = [NewSuppression(recipient=each, scope=scope, reason=by.why, who=by.who) for each in recipients]
    with Database() as database:
        _remark_on_job(database, job)
        with database.write() as connection:
            found = add_suppressions(connection, new)
            count_moves(connection, found.changes)
    if as_json:
        print_json({"added": found.added, "items_skipped": found.moved})
        return
    for each in recipients:
        if without_country(each):
            print_sentence(
                f"{each} has no country code, so it is another address than the number that "
                "recipients of type phone have. --region adds it."
            )
    typer.echo(_done(found.added, found.moved, scope))


def _done(added: int, moved: int, scope: str) -> str:
    given_up = f" {moved:,} waiting messages are not sent." if moved else ""
    return f"Suppressed {added:,} from {_of(scope)}.{given_up}"


def _of(scope: str) -> str:
    return "everything" if scope == EVERYTHING else scope.replace(":", " ", 1)


def _recipient(text: str, region: str | None) -> str:
    try:
        return in_region(check_recipient(text), region)
    except InputError as exc:
        raise SettingError(exc.problem, where=f"ADDRESS {text!r}", expected=exc.expected) from None


def _remark_on_job(database: Database, job: str | None) -> None:
    """A job of which there is no run may be one that was misspelt."""
    names = job_names(database) if job is not None else []
    if job is not None and job not in names:
        near = nearest(job, names)
        print_sentence(
            f"There is no run of a job {job!r} so far" + (f"; there are of {near!r}." if near else ".")
        )


def remove(
    addresses: Addresses,
    *,
    why: Annotated[str, typer.Option(metavar="REASON", help="Why, for whoever asks later.")],
    channel: Channel = None,
    job: JobName = None,
    region: Region = None,
    who: Who = None,
    as_json: AsJson = False,
) -> None:
    """Take addresses off the list: all of them, or none where one is not on it."""
    by, scope = asked(who, why), scope_of(channel=channel, job=job)
    recipients = list(dict.fromkeys(_recipient(each, region) for each in addresses))
    with Database() as database, database.write() as connection:
        for each in recipients:
            if not unsuppress(connection, each, scope=scope, reason=by.why, who=by.who):
                others = scopes_of(connection, [each]).get(each, {})
                known = ", ".join(_options(other) for other in others)
                raise SettingError(
                    f"{each} is not suppressed from {_of(scope)}", where="ADDRESS", expected=known or None
                )
    if as_json:
        print_json({"removed": len(recipients)})
    else:
        typer.echo(f"Took {len(recipients):,} off the suppression list of {_of(scope)}.")


def _options(scope: str) -> str:
    """The options that name a scope."""
    for prefix, option in ((CHANNEL, "--channel"), (JOB, "--job")):
        if scope.startswith(prefix):
            return f"{option} {scope.removeprefix(prefix)}"
    return "neither --channel nor --job"


def show(
    *,
    channel: Channel = None,
    job: JobName = None,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="At most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Show the list."""
    scope = None if channel is None and job is None else scope_of(channel=channel, job=job)
    with Database() as database:
        rows = [row for page in suppression_pages(database, scope=scope, most=limit) for row in page]
        count = count_suppressions(database, scope=scope)
    if as_json:
        print_json(rows)
        return
    if rows:
        print_table(console(), rows_table([_shown(row) for row in rows]))
    print_sentence(f"{len(rows):,} of {count:,} suppressions.")


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "scope": _of(row["scope"]), "created_at": row["created_at"][:19].replace("T", " ")}


def import_file(
    file: FileArgument,
    *,
    attribute: Annotated[
        str | None, typer.Option(metavar="NAME", help="Attribute that holds the addresses.")
    ] = None,
    channel: Channel = None,
    job: JobName = None,
    region: Region = None,
    file_format: FormatOption = None,
    delimiter: DelimiterOption = None,
    encoding: EncodingOption = None,
    sheet: SheetOption = None,
    on_bad_row: BadRowOption = OnBadRow.ERROR,
    who: Who = None,
    why: Why = None,
    as_json: AsJson = False,
) -> None:
    """Import a file."""
    source = SuppressionFile(
        file=list_file(
            file,
            format=file_format,
            delimiter=delimiter,
            encoding=encoding,
            sheet=sheet,
            on_bad_row=on_bad_row,
        ),
        base=Path.cwd(),
        attribute=attribute,
        scope=None if channel is None and job is None else scope_of(channel=channel, job=job),
        region=region,
    )
    by = asked(who, why, default=f"import of {Path(file).name}")
    with Database() as database, Console(stderr=True).status("reading the file") as status:
        _remark_on_job(database, job)
        found = import_suppressions(
            database, source, asked=by, on_rows=lambda rows: status.update(f"{rows:,} rows stored")
        )
    if as_json:
        told = asdict(found)
        told["items_skipped"] = told.pop("moved")
        print_json(told)
        return
    out = console()
    out.print(f"{found.rows:,} rows: {found.added:,} new suppressions")
    if found.moved:
        out.print(f"{found.moved:,} waiting messages are not sent")
    if found.bad_rows:
        out.print(f"rows that could not be read and were left out: {found.bad_rows:,}")
        print_bad_rows(out, found.bad_row_examples, count=found.bad_rows)


def export_list(
    *,
    channel: Channel = None,
    job: JobName = None,
    file_format: ExportFormatOption = None,
    output: OutputOption = None,
) -> None:
    """Export the list."""
    scope = None if channel is None and job is None else scope_of(channel=channel, job=job)
    chosen = format_of(output, file_format)
    with Database() as database:
        count = export(
            partial(suppression_pages, database, scope=scope),
            format=chosen,
            output=output,
            columns=("address", "scope", "reason", "who", "created_at"),
        )
    if output is not None:
        print_sentence(f"{count:,} suppressions in {output}.")


def check(address: Address, *, region: Region = None, as_json: AsJson = False) -> None:
    """Check an address."""
    recipient = _recipient(address, region)
    with Database() as database, database.read() as connection:
        scopes = scopes_of(connection, [recipient]).get(recipient, {})
        history = history_of(connection, recipient)
    if as_json:
        suppressions = [{"scope": scope, "reason": reason} for scope, reason in sorted(scopes.items())]
        print_json({"address": address_of(recipient), "suppressed": suppressions, "history": history})
        return
    out = console()
    if not scopes:
        out.print(f"{escape(address)} is not suppressed")
    for scope, reason in sorted(scopes.items()):
        out.print(f"{escape(address)} is suppressed from {escape(_of(scope))}: {escape(reason)}")
    if history:
        rows = [
            {**each, "scope": _of(each["scope"]), "changed_at": each["changed_at"][:19]} for each in history
        ]
        print_table(out, rows_table(rows))
