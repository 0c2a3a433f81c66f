"""Managed lists: `clarion list create`, `import`, `export`, `items`, `remove`, `clear`, `delete`, `show`."""

from dataclasses import asdict
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape

from clarion.errors import InputErrors, SettingError
from clarion.exports import export, format_of
from clarion.ledger.database import Database
from clarion.ledger.managed_lists import (
    ItemChanges,
    ListRecord,
    NewList,
    all_lists,
    create_list,
    find_list,
    get_item,
    item_pages,
    list_changes,
    remove_item,
)
from clarion.list_imports import ImportSource, clear_list, delete_list, import_items
from cli.asking import Who, Why, Yes, asked, confirm
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
from cli.usage import expectation, help_if_alone

ListName = Annotated[str, typer.Argument(metavar="LIST", help="Name of the list.")]

CREATE = """
Create a list that Clarion keeps. KEY is the attribute that identifies an item.

Example:

    clarion list create vips --key "Customer Id" --description "Whom we call back first" --tag sales
"""

IMPORT = """
Import a file into a list: each item replaces the one with its key, the others stay.

Nothing is stored unless the whole file can be read. With --replace, what is not in the file is taken off the
list.

Examples:

    clarion list import vips customers.csv
    clarion list import vips members.xlsx --sheet Active --replace
"""

EXPORT = """
Write the items of a list: csv, json, jsonl or parquet, as the file's extension or --format tells.

Example:

    clarion list export vips --output vips.csv
"""

ITEMS = """
Show items of a list, in the order of their keys, from the one after AFTER.

Example:

    clarion list items vips --limit 20
"""

REMOVE = """
Take items off a list by their keys.

Example:

    clarion list remove vips 1041 1042
"""

CLEAR = """
Take every item off a list; the list stays.

Example:

    clarion list clear vips --why "a new season"
"""

DELETE = """
Delete a list and its items. A job that names it cannot be run any more.

Example:

    clarion list delete vips
"""

SHOW = """
Show a list and who changed it last.

Example:

    clarion list show vips
"""

LS = """
Name all lists.

Example:

    clarion list ls
"""

SHOWN_CHANGES = 10


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    group = typer.Typer(
        callback=help_if_alone, invoke_without_command=True, help="Lists that Clarion keeps in its database."
    )
    group.command("create", help=CREATE)(create)
    group.command("import", help=IMPORT)(import_file)
    group.command("export", help=EXPORT)(export_list)
    group.command("items", help=ITEMS)(items)
    group.command("remove", help=REMOVE)(remove)
    group.command("clear", help=CLEAR)(clear)
    group.command("delete", help=DELETE)(delete)
    group.command("show", help=SHOW)(show)
    group.command("ls", help=LS)(ls)
    app.add_typer(group, name="list")


def create(
    name: ListName,
    *,
    key: Annotated[str, typer.Option(metavar="ATTRIBUTE", help="Attribute that identifies an item.")],
    description: Annotated[str | None, typer.Option(metavar="TEXT", help="What the list is for.")] = None,
    tag: Annotated[list[str] | None, typer.Option(metavar="TAG", help="A tag; repeat for several.")] = None,
    who: Who = None,
    why: Why = None,
    as_json: AsJson = False,
) -> None:
    """Create a list."""
    by = asked(who, why)
    try:
        new = NewList(name=name, key=key, description=description, tags=tag or [])
    except ValidationError as exc:
        raise _not_valid(exc) from None
    with Database() as database, database.write() as connection:
        record = create_list(connection, new, who=by.who, why=by.why)
    if as_json:
        print_json(_told(record))
    else:
        typer.echo(f"Created the list {record.name}. `clarion list import` fills it.")


def _not_valid(error: ValidationError) -> InputErrors:
    places = {"name": "LIST", "key": "--key", "description": "--description", "tags": "--tag"}
    return InputErrors(
        SettingError("is not valid", where=places[str(each["loc"][0])], expected=_bound(each))
        for each in error.errors(include_url=False)
    )


def _bound(error: Any) -> str:
    """What was expected: a length, or what Pydantic says."""
    most = error.get("ctx", {}).get("max_length")
    if most is None:
        return expectation(str(error["msg"]).removeprefix("Value error, "))
    return f"at most {most:,} {'tags' if error['loc'] == ('tags',) else 'characters'}"


def _told(record: ListRecord) -> dict[str, Any]:
    return {
        **{name: value for name, value in asdict(record).items() if name != "id"},
        "tags": list(record.tags),
        "created_at": record.created_at.isoformat(),
        "updated_at": record.updated_at.isoformat(),
    }


def import_file(
    name: ListName,
    file: FileArgument,
    *,
    replace: Annotated[
        bool, typer.Option("--replace", help="Take what is not in the file off the list.")
    ] = False,
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
    source = list_file(
        file, format=file_format, delimiter=delimiter, encoding=encoding, sheet=sheet, on_bad_row=on_bad_row
    )
    with Database() as database, Console(stderr=True).status("reading the file") as status:
        found = import_items(
            database,
            name,
            ImportSource(file=source, replace=replace),
            asked=asked(who, why, default=f"import of {Path(file).name}"),
            on_rows=lambda rows: status.update(f"{rows:,} rows stored"),
        )
        with database.read() as connection:
            count = find_list(connection, name).items_count
    if as_json:
        examples = [asdict(row) for row in found.bad_row_examples]
        bad_rows = {"bad_rows": found.bad_rows, "bad_row_examples": examples}
        print_json({**asdict(found.changes), "items_count": count, **bad_rows})
        return
    out = console()
    out.print(f"{escape(name)}: {_in_words(found.changes)}; {count:,} items")
    if found.bad_rows:
        out.print(f"rows that could not be read and were left out: {found.bad_rows:,}")
        print_bad_rows(out, found.bad_row_examples, count=found.bad_rows)


def _in_words(changes: ItemChanges) -> str:
    return ", ".join(f"{count:,} {what}" for what, count in asdict(changes).items())


def export_list(
    name: ListName,
    *,
    file_format: ExportFormatOption = None,
    output: OutputOption = None,
) -> None:
    """Export a list."""
    with Database() as database:
        with database.read() as connection:
            record = find_list(connection, name)
        chosen = format_of(output, file_format)
        count = export(partial(item_pages, database, record), format=chosen, output=output)
    if output is not None:
        print_sentence(f"{count:,} items in {output}.")


def items(
    name: ListName,
    *,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="At most so many.")] = 50,
    after: Annotated[str, typer.Option(metavar="KEY", help="Begin after this key.")] = "",
    as_json: AsJson = False,
) -> None:
    """Show items."""
    with Database() as database:
        with database.read() as connection:
            record = find_list(connection, name)
        pages = item_pages(database, record, after=after)
        found = list(islice((item for page in pages for item in page), limit))
    if as_json:
        print_json(found)
        return
    out = console()
    if found:
        print_table(out, rows_table(found))
    print_sentence(f"{len(found):,} of {record.items_count:,} items.")


def remove(
    name: ListName,
    keys: Annotated[list[str], typer.Argument(metavar="KEY...", help="Keys of the items.")],
    *,
    who: Who = None,
    why: Why = None,
    as_json: AsJson = False,
) -> None:
    """Take items off a list."""
    by = asked(who, why)
    with Database() as database, database.write() as connection:
        record = find_list(connection, name, lock=True)
        missing = [key for key in keys if get_item(connection, record, key) is None]
        if missing:
            raise SettingError(f"{missing[0]!r} is not on the list {name!r}", where="KEY")
        for key in dict.fromkeys(keys):
            remove_item(connection, name, key, who=by.who, why=by.why)
        record = find_list(connection, name)
    deleted = len(set(keys))
    if as_json:
        print_json({"deleted": deleted, "items_count": record.items_count})
    else:
        typer.echo(f"{name}: {deleted:,} deleted; {record.items_count:,} items")


def clear(
    name: ListName, *, yes: Yes = False, who: Who = None, why: Why = None, as_json: AsJson = False
) -> None:
    """Clear a list."""
    by = asked(who, why)
    with Database() as database:
        with database.read() as connection:
            record = find_list(connection, name)
        confirm(f"Take all {record.items_count:,} items off the list {name}?", yes=yes)
        changes = clear_list(database, name, asked=by)
    if as_json:
        print_json({"deleted": changes.deleted})
    else:
        typer.echo(f"{name}: {changes.deleted:,} deleted")


def delete(
    name: ListName, *, yes: Yes = False, who: Who = None, why: Why = None, as_json: AsJson = False
) -> None:
    """Delete a list."""
    by = asked(who, why)
    with Database() as database:
        with database.read() as connection:
            record = find_list(connection, name)
        confirm(f"Delete the list {name} with its {record.items_count:,} items?", yes=yes)
        changes = delete_list(database, name, asked=by)
    if as_json:
        print_json({"list": name, "deleted": changes.deleted})
    else:
        typer.echo(f"Deleted the list {name} with {changes.deleted:,} items.")


def show(name: ListName, *, as_json: AsJson = False) -> None:
    """Show a list."""
    with Database() as database, database.read() as connection:
        record = find_list(connection, name)
        changes = list_changes(connection, name, limit=SHOWN_CHANGES)
    history = [
        {**change, "changed_at": change["changed_at"].isoformat(timespec="seconds")} for change in changes
    ]
    if as_json:
        print_json({**_told(record), "changes": history})
        return
    out = console()
    tags = f" [{', '.join(record.tags)}]" if record.tags else ""
    out.print(
        f"[bold]{escape(record.name)}[/bold]{escape(tags)}: {record.items_count:,} items, "
        f"known by {escape(repr(record.key))}"
    )
    if record.description:
        out.print(escape(record.description))
    columns = ("changed_at", "change", "key", "inserted", "updated", "deleted", "who", "reason")
    print_table(out, rows_table(history, columns=columns))


def ls(*, as_json: AsJson = False) -> None:
    """Name all lists."""
    with Database() as database, database.read() as connection:
        found = [_told(record) for record in all_lists(connection)]
    if as_json:
        print_json(found)
        return
    if not found:
        print_sentence("There are no lists. `clarion list create` makes one.")
        return
    print_table(console(), rows_table(found, columns=("name", "items_count", "key", "tags", "description")))
