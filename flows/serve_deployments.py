"""Serving deployments on this machine: a process worker that lets its runs leave before it ends."""

import asyncio
import os
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from anyio.abc import TaskStatus
from prefect.client.schemas.objects import FlowRun
from prefect.workers.process import ProcessWorker

from flows.deployments import WORK_POOL

LEAVE_SECONDS = 10.0
"""A run leaves in less; what is not gone by then is killed, and found by `reconcile`."""

LOOK_SECONDS = 0.1


async def serve(*, limit: int | None) -> None:
    """Runs what is deployed, until Ctrl-C or SIGTERM.

    Then every run is told to leave: it gives back what is unsent and waits up to 8 s for answers. Prefect's
    own worker kills its runs at once, and each would leave up to 256 unknown.

    Args:
        limit: At most so many runs at once.
    """
    worker = ProcessWorker(work_pool_name=WORK_POOL, limit=limit)
    processes = _processes_of(worker)
    leaving = asyncio.Event()
    loop = asyncio.get_running_loop()
    with _on_signals(lambda: loop.call_soon_threadsafe(leaving.set)):
        serving = asyncio.create_task(worker.start(printer=_say_nothing))
        told = asyncio.create_task(leaving.wait())
        await asyncio.wait({serving, told}, return_when=asyncio.FIRST_COMPLETED)
        told.cancel()
        if not serving.done():
            await _let_leave(processes)
            serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving


def _say_nothing(*_: Any, **__: Any) -> None: ...


def _processes_of(worker: ProcessWorker) -> set[int]:
    """The processes of the runs that a worker has at any time."""
    processes: set[int] = set()
    run = worker.run

    async def run_noted(
        flow_run: FlowRun, configuration: Any, task_status: TaskStatus[int] | None = None
    ) -> Any:
        class Noted(TaskStatus[int]):
            def started(self, value: Any = None) -> None:
                processes.add(value)
                mine.append(value)
                if task_status is not None:
                    task_status.started(value)

        mine: list[int] = []
        try:
            return await run(flow_run, configuration, Noted())
        finally:
            processes.difference_update(mine)

    worker.run = run_noted  # the same, and it listens
    return processes


async def _let_leave(processes: set[int]) -> None:
    told: set[int] = set()
    until = asyncio.get_running_loop().time() + LEAVE_SECONDS
    while processes and asyncio.get_running_loop().time() < until:
        for pid in processes - told:  # those that have started meanwhile as well
            told.add(pid)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        await asyncio.sleep(LOOK_SECONDS)


@contextmanager
def _on_signals(leave: Callable[[], object]) -> Generator[None]:
    def handle(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        leave()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
