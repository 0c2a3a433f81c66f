"""`clarion events`: what happened and what came back; attributing by hand what no rule could."""

import csv
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import StrEnum
from itertools import chain, islice
from types import MappingProxyType
from typing import Annotated, Any

import orjson
import typer

from clarion.attribution import parse_reference
from clarion.errors import SettingError
from clarion.ledger.attribution_by_hand import attribute_by_hand
from clarion.ledger.database import Database
from clarion.ledger.event_log import EVENT_FIELDS, EVENT_TYPES, EventFilter, read_log
from cli.asking import Who, user
from cli.choices import check_known, run_named
from cli.console import console, print_sentence
from cli.row_tables import rows_table
from cli.tables import print_table
from cli.times import parse_time

HELP = """
Show what happened: calls, receipts, answers, clicks, and what became of a run's items; the newest first.

Without RUN (or `--run RUN`, the same) it is what came back, of all runs. What no rule finds a run item for is
listed by --unattributed; `attribute EVENT RUN_ITEM` says by hand whose it is: then it counts, and the job's
handlers are asked.

Examples:

    clarion events
    clarion events last --type recipient-response --format csv
    clarion events --recipient +447700900123 --since 2026-12-01
    clarion events --unattributed
    clarion events attribute 5b1c0c9e 4f0c9d1a2b3c4d5e-17 --who ann
"""

ATTRIBUTE = "attribute"
SHOWN_ROWS = 50
ID_CHARACTERS = 8
TEXT_CHARACTERS = 60


class EventFormat(StrEnum):
    """How events are written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


class Order(StrEnum):
    """Which events come first."""

    DESC = "desc"
    ASC = "asc"


class Source(StrEnum):
    """What made the call that an event is about."""

    SEGMENTATION = "segmentation"
    HANDLER = "event-handler"


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("events", help=HELP)(events)


def events(
    what: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RUN | attribute EVENT RUN_ITEM]", help="A run, or what to attribute."),
    ] = None,
    *,
    run: Annotated[str | None, typer.Option(metavar="RUN", help="As the argument RUN.")] = None,
    type: Annotated[  # noqa: A002  # the option's name
        list[str] | None, typer.Option(metavar="TYPE", help="Only this type; repeat for several.")
    ] = None,
    recipient: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Only of this phone number, address or id.")
    ] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="Only from this time on.")] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Only before this time.")] = None,
    action: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only about this action's calls.")
    ] = None,
    invocation_id: Annotated[
        str | None, typer.Option(metavar="ID", help="Only about the call with this id of the provider's.")
    ] = None,
    run_item: Annotated[str | None, typer.Option(metavar="ID", help="Only of this run item.")] = None,
    src_ctx: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only of this segment, or of this handler's reactions.")
    ] = None,
    src_type: Annotated[
        Source | None, typer.Option(help="Only about the campaign's messages, or about reactions.")
    ] = None,
    unattributed: Annotated[
        bool, typer.Option("--unattributed", help="Only those whose run item nobody knows.")
    ] = False,
    format: Annotated[EventFormat, typer.Option(help="How to write them.")] = EventFormat.TABLE,  # noqa: A002
    page: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Which page; the first of a table, all of a file.")
    ] = None,
    page_size: Annotated[
        int, typer.Option(min=1, max=10_000, metavar="N", help="Events of a page.")
    ] = SHOWN_ROWS,
    order: Annotated[Order, typer.Option(help="Newest (desc) or oldest (asc) first.")] = Order.DESC,
    who: Who = None,
) -> None:
    """Show events, or attribute one."""
    words = what or []
    if words[:1] == [ATTRIBUTE]:
        _attribute(words[1:], who=who)
        return
    if len(words) > 1:
        raise SettingError(
            f"{words[1]} is too much", where="events", expected="what `clarion events --help` tells"
        )
    for each in type or ():
        check_known(each, EVENT_TYPES, what="type of event", option="--type")
    with Database() as database:
        wanted = EventFilter(
            run=_run(database, [*words, *([run] if run is not None else [])]),
            types=type or (),
            recipient=_told(recipient, "--recipient"),
            since=parse_time(since, "--since"),
            until=parse_time(until, "--until"),
            action=action,
            invocation_id=invocation_id,
            run_item=_item(run_item),
            src_ctx=src_ctx,
            src_type=src_type and src_type.value,
            unattributed=unattributed,
        )
        whole = page is None and format is not EventFormat.TABLE
        pages = read_log(database, wanted, newest_first=order is Order.DESC)
        found = chain.from_iterable(pages)
        first = 0 if whole else ((page or 1) - 1) * page_size
        _WRITERS[format](found if whole else islice(found, first, first + page_size))


def _run(database: Database, named: Sequence[str]) -> int | None:
    """The key of the run that is named, as the argument, as the option, or as both."""
    runs = {run_named(database, each).id for each in dict.fromkeys(named)}
    if len(runs) > 1:
        raise SettingError(
            f"{named[1]!r} is another run than {named[0]!r}", where="--run", expected="one run"
        )
    return next(iter(runs), None)


def _told(text: str | None, option: str) -> str | None:
    if text is not None and not text.strip():
        raise SettingError("is empty", where=option, expected="a phone number, an address or an id")
    return text


def _item(text: str | None) -> int | None:
    """The key of a run item of which a person gives the id."""
    if text is None:
        return None
    reference = parse_reference(text)
    if reference is None:
        raise SettingError(
            f"{text!r} is no id of a run item", where="--run-item", expected="one as 4f0c9d1a2b3c4d5e-17"
        )
    return reference.item_id


def _attribute(words: Sequence[str], *, who: str | None) -> None:
    if len(words) != 2:  # noqa: PLR2004  # an event and a run item
        raise SettingError(
            "needs an event and a run item", where=f"events {ATTRIBUTE}", expected="EVENT RUN_ITEM"
        )
    with Database() as database:
        event = attribute_by_hand(database, words[0], words[1], who=who or user())
    item = f"{event.run_uid}-{event.run_item_id}"
    typer.echo(f"Event {event.uid} ({event.type}) belongs to {item}, by {event.attributed_by}.")


_COLUMNS = ("id", "occurred_at", "type", "recipient", "run_id", "src_ctx", "told")


def _table(rows: Iterable[dict[str, Any]]) -> None:
    shown = [_short(row) for row in rows]
    if not shown:
        print_sentence("No events.")
        return
    print_table(console(), rows_table(shown, columns=_COLUMNS))


def _short(row: dict[str, Any]) -> dict[str, Any]:
    """A row as a person reads it: the beginning of its id, and what it tells in a few words."""
    told = [row["status"], row["error_code"], row["error"], row["name"], row["value"], row["text"]]
    text = " ".join(str(each) for each in told if each is not None).replace("\n", " ")
    occurred_at = row["occurred_at"]
    return {
        **row,
        "id": row["id"][:ID_CHARACTERS] if row["data"] is not None else "",
        "occurred_at": occurred_at and f"{occurred_at:%Y-%m-%d %H:%M:%S}",
        "told": text if len(text) <= TEXT_CHARACTERS else f"{text[:TEXT_CHARACTERS]}...",
    }


def _json(rows: Iterable[dict[str, Any]]) -> None:
    """A JSON array, written as it is read: an export of a million events stays small in memory."""
    before = "[\n"
    for row in rows:
        sys.stdout.write(before + orjson.dumps(row).decode())
        before = ",\n"
    sys.stdout.write("[]\n" if before == "[\n" else "\n]\n")


def _csv(rows: Iterable[dict[str, Any]]) -> None:
    writer = csv.writer(sys.stdout)
    writer.writerow(EVENT_FIELDS)
    for row in rows:
        writer.writerow(_cells(row))


def _cells(row: dict[str, Any]) -> Iterator[Any]:
    for name in EVENT_FIELDS:
        value = row[name]
        if name == "data":
            yield None if value is None else orjson.dumps(value).decode()
        else:
            yield value.isoformat() if name.endswith("_at") and value is not None else value


_WRITERS: MappingProxyType[EventFormat, Callable[[Iterable[dict[str, Any]]], None]] = MappingProxyType(
    {EventFormat.TABLE: _table, EventFormat.JSON: _json, EventFormat.CSV: _csv}
)
