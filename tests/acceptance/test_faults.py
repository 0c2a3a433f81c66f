"""A run that is killed, on both databases; `make torture` does the same a hundred times."""

import random
from pathlib import Path

from tests.faults.campaign import Campaign
from tests.faults.harness import Blow, Torment
from tests.faults.processes import Processes


def test_run_that_is_killed_misses_nobody_and_sends_nothing_twice(
    empty_url: str, processes: Processes, tmp_path: Path
):
    """Killed while planning and while sending, told to leave, a sender killed: the provider's log agrees."""
    campaign = Campaign(rows=30_000, step=30, latency_ms=2_000, seed=1)
    blows = [
        Blow(signal="KILL", moment="planning"),
        Blow(signal="TERM", moment="sending"),
        Blow(signal="KILL", moment="sending"),
        Blow(signal="KILL", moment="sending", runner="process", child=True),
    ]
    torment = Torment(
        campaign, database_url=empty_url, processes=processes, folder=tmp_path, chance=random.Random(1)
    )
    findings = torment.suffer(blows)
    assert findings.violations == {}
    assert [(death.signal, death.moment, death.child) for death in findings.deaths] == [
        (blow.signal, blow.moment, blow.child) for blow in blows
    ]
    assert {request.verdict for request in findings.requests} > {"accepted", "dropped", "accepted-dropped"}
