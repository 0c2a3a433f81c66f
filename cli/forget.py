"""`clarion forget`: erases a person."""

from typing import Annotated

import typer

from clarion.errors import InputError, SettingError
from clarion.ledger.database import Database
from clarion.ledger.forgetting import forget, look_up
from clarion.suppression_imports import check_recipient, in_region, without_country
from cli.asking import Who, Yes, asked, confirm
from cli.console import AsJson, print_json, print_sentence

HELP = """
Erase a person: their run items, calls, answers and entries of lists lose everything but what is counted.

The address stays suppressed from everything, as a keyed hash alone: a list that still has it reaches nobody.
What waits to be sent to them is given up. It cannot be undone. The files that lists come from are yours to
mend, and a person with several addresses is forgotten by each of them.

Examples:

    clarion forget +447700900123
    clarion forget 07700900123 --region GB --yes
"""

_NAMES = {
    "run_items": ("run item", "run items"),
    "events": ("event", "events"),
    "list_items": ("entry of a list", "entries of lists"),
    "mentions": ("mention elsewhere", "mentions elsewhere"),
}
"""One, and several."""


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("forget", help=HELP)(forget_person)


def forget_person(
    recipient: Annotated[
        str, typer.Argument(metavar="RECIPIENT", help="Phone number, e-mail address or id.")
    ],
    *,
    region: Annotated[
        str | None,
        typer.Option(metavar="COUNTRY", help="Country (name or ISO code) of a number without its code."),
    ] = None,
    who: Who = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Erase a person."""
    address = _address(recipient, region)
    by = asked(who, None)
    with Database() as database:
        if not yes:
            found = look_up(database, address)
            confirm(f"Erase {_told(found.counts())}? It cannot be undone.", yes=False)
        erased = forget(database, address, who=by.who)
    if as_json:
        print_json({"forgotten": erased, "suppressed": True})
        return
    typer.echo(f"Erased {_told(erased)}. The address is suppressed, and known by a keyed hash alone.")


def _address(recipient: str, region: str | None) -> str:
    try:
        address = in_region(check_recipient(recipient), region)
    except InputError as exc:
        raise SettingError(exc.problem, where="RECIPIENT", expected=exc.expected) from None
    if without_country(address):
        print_sentence(
            "The number has no country code, so it is another address than the one that recipients of type "
            "phone have. --region adds it."
        )
    return address


def _told(counts: dict[str, int]) -> str:
    """`2 run items and 1 event`, or that there is nothing."""
    parts = [f"{count:,} {_NAMES[name][count > 1]}" for name, count in counts.items() if count]
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts) or "nothing"
