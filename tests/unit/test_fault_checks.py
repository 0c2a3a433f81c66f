"""The fault test bench finds what it looks for."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.faults.checks import (
    STATUSES,
    Death,
    Item,
    Ledger,
    Request,
    check_death,
    check_end,
    check_unknown,
)

RECIPIENTS = frozenset({"a", "b", "c", "d"})
ITEMS = (
    Item("a", "succeeded", None, "t1"),
    Item("b", "failed", "refused", "t1"),
    Item("c", "unknown", "no-answer", "t1"),
    Item("d", "unknown", "worker-lost", "t0"),
    Item(None, "skipped", "no-segment", None),
)
LOST = [Item(f"x{number}", "unknown", "worker-lost", "t0") for number in range(256)]
REQUESTS = (
    Request("d", "4.0.0", "accepted"),
    Request("a", "1.0.0", "error"),
    Request("a", "1.0.1", "accepted"),
    Request("b", "2.0.0", "rejected"),
    Request("c", "3.0.0", "dropped"),
)


def ledger(
    *items: Item, status: str = "unresolved", planned: bool = True, leases: dict[str, int] | None = None
) -> Ledger:
    """A run whose counters are those of its items."""
    real = Counter(item.status for item in items)
    counts = {"total": len(items), **{status: real[status] for status in STATUSES}}
    return Ledger(status=status, planned=planned, counts=counts, items=items, leases=leases or {})


def killed(
    left: Ledger,
    *,
    signal: str = "KILL",
    requests: int = 1,
    before: dict[str, int] | None = None,
    child: bool = False,
) -> Death:
    """A process with the id 7 that left the ledger so; `before` are the leases that there were."""
    return Death(
        signal=signal,  # ty: ignore[invalid-argument-type]
        pid=7,
        ledger=left,
        requests=requests,
        before=before or {},
        child=child,
    )


def sending(count: int, token: str = "t1") -> list[Item]:
    """Items that a worker has claimed."""
    return [Item(f"r{number}", "sending", None, token) for number in range(count)]


DEATHS = (killed(ledger(*sending(1, "t0"), status="running", leases={"t0": 7})),)


def found_at_end(
    items: tuple[Item, ...] = ITEMS,
    requests: tuple[Request, ...] = REQUESTS,
    rows: int = 5,
    change: Callable[[Ledger], Ledger] = lambda ended: ended,
    resent: frozenset[str] | None = None,
) -> dict[str, int]:
    """What the checks of the end say of a good run, but for what is given."""
    ended = change(ledger(*items))
    return check_end(ended, rows=rows, recipients=RECIPIENTS, requests=requests, resent=resent)


def with_item(number: int, item: Item) -> tuple[Item, ...]:
    """The items of the good run with one of them changed."""
    return (*ITEMS[:number], item, *ITEMS[number + 1 :])


def test_checks_find_nothing_in_a_run_that_is_right():
    """Retried, refused, hung up on, and lost with its worker: all of that may be."""
    assert found_at_end() == {}


@pytest.mark.parametrize(
    ("found", "changes"),
    [
        ({"duplicates": 1}, {"requests": (*REQUESTS, Request("a", "1.0.2", "error"))}),
        ({"duplicates": 1, "repeated keys": 1}, {"requests": (*REQUESTS, REQUESTS[0])}),
        ({"repeated keys": 1}, {"requests": (*REQUESTS, Request("c", "3.0.0", "dropped"))}),
        ({"lost": 1, "unfinished": 1}, {"items": with_item(1, Item("b", "pending", None, None))}),
        ({"lost": 1, "unfinished": 1}, {"items": with_item(1, Item("b", "sending", None, "t1"))}),
        ({"lost": 1}, {"items": with_item(1, Item(None, "skipped", "expired", None))}),
        ({"lost": 1, "miscounted": 1}, {"items": (*ITEMS[:1], *ITEMS[2:])}),
        ({"miscounted": 1}, {"rows": 6}),
        ({"strays": 1}, {"requests": (*REQUESTS, Request("z", "9.0.0", "rejected"))}),
        ({"untrue": 1}, {"items": with_item(1, Item("b", "succeeded", None, "t1"))}),
        ({"denied": 1}, {"items": with_item(3, Item("d", "failed", "retries-exhausted", "t1"))}),
        ({"unexplained": 1}, {"items": with_item(3, Item("d", "unknown", "no-answer", "t1"))}),
        ({"unfinished": 1}, {"change": lambda ended: replace(ended, status="running")}),
    ],
)
def test_checks_find_what_is_wrong_at_the_end(found: dict[str, int], changes: dict):
    """Each way to go wrong is named, and counted."""
    assert found_at_end(**changes) == found


RESENT = (
    *ITEMS[:2],
    Item("c", "succeeded", None, "t1"),
    Item("d", "succeeded", None, "t2"),
    ITEMS[4],
)
"""With `resend`: `c` was hung up on, `d` died with its worker; both came again, and were accepted."""

C_AGAIN, D_AGAIN = Request("c", "3.0.0", "accepted"), Request("d", "4.0.0", "accepted")


@pytest.mark.parametrize(
    ("found", "again"),
    [
        ({}, (C_AGAIN, D_AGAIN)),
        ({}, (Request("c", "3.0.0", "error"), C_AGAIN)),
        ({"untrue": 1}, (D_AGAIN,)),
        ({"repeated keys": 1}, (C_AGAIN, Request("b", "2.0.0", "rejected"))),
        ({"duplicates": 1, "repeated keys": 1}, (C_AGAIN, REQUESTS[1])),
        ({"duplicates": 1}, (C_AGAIN, Request("d", "4.0.1", "accepted"))),
        ({"duplicates": 1}, (C_AGAIN, Request("c", "3.0.1", "error"))),
    ],
)
def test_checks_let_a_key_come_again_only_where_it_was_never_answered(
    found: dict[str, int], again: tuple[Request, ...]
):
    """After a hang-up, or a death, under the same key; under no other once something was accepted."""
    requests = (*REQUESTS, *again)
    assert found_at_end(items=RESENT, requests=requests, resent=frozenset({"d"})) == found


@pytest.mark.parametrize(
    ("found", "items", "deaths"),
    [
        ({}, ITEMS, DEATHS),
        ({"left unknown": 1}, ITEMS, ()),
        ({"left unknown": 1}, ITEMS, (replace(DEATHS[0], signal="TERM"),)),
        ({"left unknown": 1}, ITEMS, (killed(ledger(status="running", leases={"t1": 7, "t0": 8})),)),
        ({}, ITEMS, (killed(ledger(status="running"), before={"t0": 7}, child=True),)),
        ({"too unknown": 1}, (*ITEMS, *LOST), DEATHS),
    ],
)
def test_checks_find_what_is_unknown_for_no_reason(
    found: dict[str, int], items: tuple[Item, ...], deaths: tuple[Death, ...]
):
    """Only a worker that was killed leaves something unknown, and no more than it may claim."""
    assert check_unknown(ledger(*items), deaths) == found


def test_checks_find_what_was_not_sent_again():
    """What died with its worker is settled once a person has had it sent again, or in doubt for good."""
    in_doubt = with_item(3, Item("d", "unknown", "no-answer", "t1"))
    assert found_at_end(resent=frozenset({"d"})) == {"unfinished": 1}
    assert found_at_end(items=in_doubt, resent=frozenset({"d"})) == {}
    assert found_at_end(items=RESENT[:2] + ITEMS[2:3] + RESENT[3:], resent=frozenset({"d"})) == {}


@pytest.mark.parametrize(
    ("found", "death"),
    [
        ({}, killed(ledger(*sending(256), *sending(256, "t2"), status="running"))),
        ({}, killed(ledger(Item("a", "pending", None, None), planned=False), requests=0)),
        ({}, killed(ledger(Item("a", "pending", None, None), status="interrupted"), signal="TERM")),
        ({"overclaimed": 1}, killed(ledger(*sending(257), status="running"))),
        ({"premature": 1}, killed(ledger(*sending(1), planned=False), requests=0)),
        ({"premature": 2}, killed(ledger(planned=False), requests=2)),
        ({"left behind": 1}, killed(ledger(*sending(1), status="interrupted"), signal="TERM")),
        (
            {"left behind": 1},
            killed(ledger(Item("a", "pending", None, None), status="running"), signal="TERM"),
        ),
        (
            {"left behind": 1},
            killed(
                replace(ledger(planned=False, status="interrupted"), leases={"t1": 7}),
                signal="TERM",
                requests=0,
            ),
        ),
        (
            {"left behind": 1},
            killed(
                ledger(Item("a", "pending", None, None), status="interrupted", leases={"t2": 8}),
                signal="TERM",
                before={"t1": 7, "t2": 8},
            ),
        ),
        (
            {},
            killed(
                ledger(
                    Item("a", "pending", None, None), *sending(1, "t2"), leases={"t2": 8}, status="running"
                ),
                signal="TERM",
                before={"t1": 7, "t2": 8},
                child=True,
            ),
        ),
        (
            {"left behind": 2},
            killed(
                ledger(*sending(1, "t9"), status="running", leases={"t1": 7}),
                signal="TERM",
                before={"t1": 7},
                child=True,
            ),
        ),
    ],
)
def test_checks_find_what_is_wrong_at_a_death(found: dict[str, int], death: Death):
    """What a killed process may leave behind, and what not."""
    assert check_death(death) == found


def test_checks_find_counters_that_differ_from_the_items():
    """A counter is off by one, and therefore the sum as well."""
    good = ledger(*ITEMS)
    wrong = replace(good, counts={**good.counts, "failed": 2})
    assert check_death(killed(wrong)) == {"miscounted": 2}


def test_death_counts_what_its_own_process_left():
    """Claims of a process before it, and of one after it, are not its own."""
    left = ledger(*sending(3), *sending(5, "t2"), leases={"t1": 7, "t2": 8})
    assert killed(left).left == 3


def test_death_of_a_sender_counts_what_its_flow_called_unknown():
    """The flow notices at once: what its sender had in sending is unknown by then, its lease gone."""
    left = ledger(*LOST, *sending(2, "t2"), leases={"t2": 8})
    assert killed(left, before={"t0": 7, "t2": 8}, child=True).left == len(LOST)


@pytest.mark.parametrize(
    ("moment", "death"),
    [
        ("planning", killed(ledger(planned=False), requests=0)),
        ("sending", killed(ledger(Item("a", "pending", None, None)))),
        ("sending", killed(ledger(*sending(1)))),
        ("missed", killed(ledger(Item("a", "pending", None, None)), requests=0)),
        ("missed", killed(ledger(*ITEMS))),
    ],
)
def test_death_knows_what_it_was_in_the_middle_of(moment: str, death: Death):
    """Before the first request and after the last item there is no middle."""
    assert death.moment == moment
