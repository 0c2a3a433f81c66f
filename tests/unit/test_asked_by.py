"""What a new state of a flow run asks of its run."""

import pytest
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Cancelling, Completed, Crashed, Paused, Pending, Running, Suspended

from flows.watch_run import asked_by


@pytest.mark.parametrize(
    ("state", "before", "asked"),
    [
        (Suspended(timeout_seconds=300), Running(), "pause"),
        (Paused(), None, "pause"),
        (Running(), Suspended(), "run"),
        (Running(), Pending(), None),
        (Running(), None, None),
        (Cancelling(), Running(), "stop"),
        (Cancelled(), Suspended(), "stop"),
        (Crashed(), Running(), None),
        (Completed(), Running(), None),
    ],
)
def test_state_of_a_flow_run_asks(state: State, before: State | None, asked: str | None):
    """A pause, a stop, to go on after a pause; any other state is Prefect's own business."""
    assert asked_by(state, before) == asked
