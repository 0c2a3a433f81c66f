"""Ten thousand customers with messy phones: who gets a message, and how closely the ledger follows."""

import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from clarion.ledger.database import Database
from clarion.ledger.items import read_items
from clarion.ledger.runs import RunRecord, list_runs
from clarion.sandbox import Sandbox
from tests.acceptance.campaigns import action, write_job
from tests.acceptance.conftest import Start
from tests.acceptance.contact_lists import write_customers

CUSTOMERS = 10_000
BEHIND_SECONDS = 1.0
LOOK_SECONDS = 0.05


@dataclass(frozen=True, kw_only=True)
class Look:
    """What the provider had accepted and what the ledger had settled, one after the other."""

    began_at: float
    accepted: int
    seen_at: float
    settled: int


def look_at(sandbox: Sandbox, ledger: Database) -> Look:
    """Asks the ledger first: what it says may be older than `seen_at`, never newer."""
    began_at = time.monotonic()
    settled = sum(run.succeeded for run in list_runs(ledger, limit=1))
    accepted = sandbox.stats()["accepted"]
    return Look(began_at=began_at, accepted=accepted, seen_at=time.monotonic(), settled=settled)


def behind(looks: list[Look]) -> list[tuple[Look, Look]]:
    """Looks at the provider with the later look at the ledger that should have had as much, and had not.

    A machine that stops everything for a while stops the commit as well: the longest time between two
    looks, which do nothing but look, is granted on top.
    """
    granted = BEHIND_SECONDS + max(later.seen_at - look.seen_at for look, later in pairwise(looks))
    pairs = (
        (look, next((later for later in looks if later.began_at >= look.seen_at + granted), None))
        for look in looks
    )
    compared = [(look, later) for look, later in pairs if later is not None]
    assert any(0 < look.accepted < looks[-1].accepted for look, _ in compared), "it never looked in between"
    return [(look, later) for look, later in compared if later.settled < look.accepted]


@pytest.mark.alone
def test_long_list_is_sent_once_each_with_the_ledger_at_most_a_second_behind(
    start: Start, home: Path, ledger: Database
):
    """The provider's counts per recipient are the ledger's; nobody twice, nobody missed, counts add up."""
    expected = write_customers(home / "customers.csv", count=CUSTOMERS)
    template = {"message": "Hello {{ item['First Name'] | default('customer') }}"}
    job = write_job(
        home,
        recipients={"include": [{"file": "customers.csv", "key": "Customer Id"}]},
        recipient={"value": "{{ item['Phone 1'] }}", "type": "phone", "region": "US"},
        segments=[{"name": "all", "action": "send-sms", "template": template}],
        actions={"send-sms": action(tps=2_000)},
    )
    with Sandbox() as sandbox:
        process = start("run", job, "--against", sandbox.url)
        looks: list[Look] = []
        while process.exitcode is None:
            looks.append(look_at(sandbox, ledger))
            process.join(LOOK_SECONDS)
        stats = sandbox.stats()
    (run,) = list_runs(ledger, limit=9)
    assert (process.exitcode, run.status) == (0, "completed")
    assert stats["recipients"] == dict.fromkeys(expected, 1)
    assert sorted(succeeded_in(ledger, run)) == sorted(expected)
    assert (run.total, run.succeeded + run.skipped) == (CUSTOMERS, CUSTOMERS)
    assert run.succeeded == stats["accepted"] == len(expected)
    assert behind(looks) == []


def succeeded_in(ledger: Database, run: RunRecord) -> list[str]:
    """The recipients of a run who got their message, as often as the ledger has them."""
    return [item["recipient"] for page in read_items(ledger, run.id, statuses=["succeeded"]) for item in page]
