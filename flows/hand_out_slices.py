"""Handing out slices: which of them are mapped over the deliver task and not yet back."""

import queue
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from prefect import Task, unmapped
from prefect.context import FlowRunContext
from prefect.futures import PrefectFuture, wait
from prefect.task_runners import TaskRunner

from clarion.campaign import Campaign
from clarion.ledger.claims import Slice
from clarion.ledger.control import AT_WORK
from clarion.ledger.runs import RunRecord, set_status
from clarion.reporting import told
from clarion.sending.sender import LEAVE_SECONDS, SliceResult
from flows.wait_for_due import HeldError
from tasks.deliver import deliver, deliver_with
from tasks.runners import Runner, cluster_runner
from tasks.sessions import ledger

Future = PrefectFuture[SliceResult]

GONE_SECONDS = LEAVE_SECONDS + 1.0
"""Processes of a cluster hear that the flow leaves within half a second, and then leave as it does."""


class Handout:
    """The slices of a run that are out.

    Args:
        run_uid: The run.
        campaign: Its actions have the back-off that Prefect's retries are set to.
        runner: What chose `task_runner`.
        task_runner: Runs the task, started.
    """

    def __init__(
        self, run_uid: str, campaign: Campaign, *, runner: Runner, task_runner: TaskRunner[Any]
    ) -> None:
        self._run_uid = run_uid
        self._task_runner = task_runner
        self._tasks: dict[str, Task[..., Any]] = {
            # In Ray a slice that waits for Prefect's retry would hold a process: the flow maps it again.
            name: deliver if runner.kind == "ray" else deliver_with(action.action.retry_policy)
            for name, action in campaign.actions.items()
        }
        self._out: dict[Future, Slice] = {}
        self._back: queue.SimpleQueue[Future] = queue.SimpleQueue()

    def __len__(self) -> int:
        """How many are out."""
        return len(self._out)

    def add(self, parts: Sequence[Slice]) -> None:
        """Maps each action's own task over its slices."""
        for action in sorted({part.action for part in parts}):
            of_action = [part for part in parts if part.action == action]
            task = self._tasks[action]
            futures = self._task_runner.map(
                task,
                {"part": of_action, "run_uid": unmapped(self._run_uid), "retries": unmapped(task.retries)},
            )
            self._out.update(zip(futures, of_action, strict=True))
            for future in futures:
                future.add_done_callback(self._back.put)

    def back(self, seconds: float) -> Iterator[tuple[Slice, SliceResult]]:
        """The slices that are back, after waiting for the first of them for at most so long."""
        try:
            future = self._back.get(timeout=seconds)
            while True:
                yield self._out.pop(future), future.result()
                future = self._back.get_nowait()
        except queue.Empty:
            return

    def wait(self, seconds: float | None = None) -> None:
        """Waits for all that are out."""
        wait(list(self._out), timeout=seconds)


@contextmanager
def handing_out(run: RunRecord, campaign: Campaign, runner: Runner) -> Generator[Handout]:
    """A handout of a run. Slices on a cluster are waited for before the cluster is left.

    Those in this process, or in sender processes beside it, are left with the run.
    """
    if not runner.on_cluster:
        yield Handout(run.uid, campaign, runner=runner, task_runner=_own_task_runner())
        return
    with cluster_runner(runner) as cluster:
        handout = Handout(run.uid, campaign, runner=runner, task_runner=cluster)
        try:
            yield handout
            handout.wait()
        except HeldError:  # nothing is out
            raise
        except BaseException as exc:
            set_status(ledger(), run.id, "interrupted", reason=told(exc), only_from=AT_WORK)
            handout.wait(GONE_SECONDS)
            raise


def _own_task_runner() -> TaskRunner[Any]:
    context = FlowRunContext.get()
    if context is None:
        raise RuntimeError("slices are handed out in a flow run only")
    return context.task_runner
