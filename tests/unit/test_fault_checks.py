"""The fault test bench finds what it looks for."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.faults.checks import STATUSES, Death, Item, Ledger, Request, check_death, check_end

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


def killed(left: Ledger, *, signal: str = "KILL", requests: int = 1) -> Death:
    """A process with the id 7 that left the ledger so."""
    return Death(signal=signal, pid=7, ledger=left, requests=requests)  # ty: ignore[invalid-argument-type]


def sending(count: int, token: str = "t1") -> list[Item]:
    """Items that a worker has claimed."""
    return [Item(f"r{number}", "sending", None, token) for number in range(count)]


DEATHS = (killed(ledger(*sending(1, "t0"), status="running", leases={"t0": 7})),)


def found_at_end(
    items: tuple[Item, ...] = ITEMS,
    requests: tuple[Request, ...] = REQUESTS,
    deaths: tuple[Death, ...] = DEATHS,
    rows: int = 5,
    change: Callable[[Ledger], Ledger] = lambda ended: ended,
) -> dict[str, int]:
    """What the checks of the end say of a good run, but for what is given."""
    ended = change(ledger(*items))
    return check_end(ended, rows=rows, recipients=RECIPIENTS, requests=requests, deaths=deaths)


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
        ({"too unknown": 1}, {"deaths": ()}),
        ({"given up": 1}, {"requests": REQUESTS[1:], "deaths": (replace(DEATHS[0], signal="TERM"),)}),
        ({"too unknown": 1}, {"items": (*ITEMS, *LOST), "rows": 261}),
        ({"unfinished": 1}, {"change": lambda ended: replace(ended, status="running")}),
    ],
)
def test_checks_find_what_is_wrong_at_the_end(found: dict[str, int], changes: dict):
    """Each way to go wrong is named, and counted."""
    assert found_at_end(**changes) == found


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
