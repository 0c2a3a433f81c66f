"""Waiting for the deployment's worker that takes a resumed run up."""

from collections.abc import Callable

import pytest
from prefect.client.schemas.objects import StateType

from clarion.ledger.database import Database
from clarion.ledger.runs import RunRecord, get_run, set_status
from flows import control
from tests.integration.ledger_runs import planned_run

LEASE_SECONDS = 0.2
LOOKS = 8

States = Callable[[RunRecord], StateType | None]


@pytest.fixture
def follow(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> Callable[[States], bool]:
    """Follows a run that nobody works on, while Prefect tells of its flow run what it is told here."""
    monkeypatch.setenv("CLARION_DATABASE_URL", database_url)
    monkeypatch.setattr(control, "LEASE_SECONDS", LEASE_SECONDS)
    monkeypatch.setattr(control, "ASK_SECONDS", LEASE_SECONDS / 2)
    monkeypatch.setattr(control, "LOOK_SECONDS", LEASE_SECONDS / 2)
    run = get_run(database, planned_run(database, 1))

    def follow(states: States) -> bool:
        monkeypatch.setattr(control, "_deployment_state", states)
        return control._follow(run, tell=str)  # a deployment that comes up so slowly takes minutes

    return follow


def test_flow_run_that_is_being_started_is_waited_for(database: Database, follow: Callable[[States], bool]):
    """A worker that is slow to start its process loses nothing: the lease counts from then on."""
    told = iter([*[StateType.SCHEDULED] * LOOKS, *[StateType.PENDING] * LOOKS, StateType.RUNNING])

    def states(run: RunRecord) -> StateType | None:
        state = next(told)
        if state is StateType.RUNNING:
            set_status(database, run.id, "completed")
        return state

    assert follow(states)


@pytest.mark.parametrize("state", [StateType.RUNNING, StateType.CRASHED, StateType.COMPLETED, None], ids=str)
def test_flow_run_that_is_gone_is_not_waited_for(follow: Callable[[States], bool], state: StateType | None):
    """It ended, there is none, or it is said to run, without a lease: its worker died with its runner."""
    assert not follow(lambda _: state)
