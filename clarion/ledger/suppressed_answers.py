"""Opt-outs of whom only attribution knows: a refusal that names a call alone, an answer of another spelling.

Whom an event itself names was suppressed when it was stored. Here the address that the message went to is,
and for a word the run item's recipient as well: the person who answers is the person of the item.
"""

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import Connection

from clarion.addresses import address_of
from clarion.ledger.matching import Match
from clarion.ledger.suppressed_items import Changes, count_moves
from clarion.ledger.suppressions import (
    BY_WORD,
    NewSuppression,
    add_suppressions,
    by_word,
    remove_suppressions,
)
from clarion.optout import is_opt_out, is_opt_out_code, opt_in_words, opt_out_codes, opt_out_words
from clarion.receipts import Delivery
from clarion.suppression import of_event


def suppress_answered(connection: Connection, matches: Sequence[Match], said: Mapping[int, Delivery]) -> None:
    """Suppresses those whom opt-outs are from, by their run items, and lets back who asks for that.

    What comes back to a rehearsal is made up: it suppresses nobody.

    Args:
        connection: The transaction that attributes the events.
        matches: What they belong to, in the order in which they came.
        said: By event, what the receipts among them say.
    """
    out, back, codes = opt_out_words(), opt_in_words(), opt_out_codes()
    changes = Changes()
    for match in matches:
        event, who = match.event, f"endpoint {match.event.endpoint}"
        if match.item is None or match.item.row.against is not None:
            continue
        code = _code(match, said, codes)
        if code is not None:
            changes.update(_suppress(connection, match, _called(match), f"refused with {code}"))
        elif event.type == "recipient-response" and is_opt_out(event.text, out):
            changes.update(_suppress(connection, match, _persons(match), BY_WORD))
        elif event.type == "recipient-response" and is_opt_out(event.text, back):
            reason = of_event("opt-in word", event.uid)
            for recipient in _persons(match):
                remove_suppressions(connection, recipient, by_word(), reason=reason, who=who)
    count_moves(connection, changes)


def _code(match: Match, said: Mapping[int, Delivery], codes: Collection[str]) -> str | None:
    """The code of a receipt that tells of an opt-out: as the provider's module read it, or the action did."""
    if match.event.id not in said:
        return None
    read = (match.event.error_code, said[match.event.id].code)
    return next((code for code in read if is_opt_out_code(code, codes)), None)


def _suppress(connection: Connection, match: Match, recipients: Sequence[str], what: str) -> Changes:
    reason, who = of_event(what, match.event.uid), f"endpoint {match.event.endpoint}"
    new = [NewSuppression(recipient=each, reason=reason, who=who) for each in recipients]
    return add_suppressions(connection, new).changes


def _called(match: Match) -> list[str]:
    """Whom the refused message went to, as the item spells it where it still does."""
    assert match.call is not None  # noqa: S101  # only matches with a call are attributed
    assert match.item is not None  # noqa: S101  # the same
    address, spelled = match.call.address, match.item.row.recipient
    return [spelled] if spelled and address_of(spelled) == address else [address] if address else []


def _persons(match: Match) -> list[str]:
    """Where the person of the item was or is reached, but for the address that wrote: that said it itself.

    Were it suppressed again here, a START that came right after the STOP would be undone.
    """
    assert match.item is not None  # noqa: S101  # only matches with a call are attributed
    wrote = address_of(match.event.recipient or "")
    spelled = [*_called(match), match.item.row.recipient]
    by_address = {address_of(each): each for each in reversed(spelled) if each}
    return [each for address, each in by_address.items() if address != wrote]
