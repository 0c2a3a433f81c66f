"""A process's presence at a run, and its ear for what a person asks of it, here or in Prefect."""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from types import TracebackType
from typing import Any, NoReturn
from uuid import UUID, uuid4

from prefect.client.schemas.objects import State, StateType
from prefect.exceptions import Pause
from prefect.runtime import deployment, flow_run
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.states import Suspended

from blocks.documents import prefect_client
from clarion.errors import RunConflictError
from clarion.ledger.control import Control, request_control
from clarion.ledger.runs import RunRecord, get_run
from clarion.ledger.workers import RENEW_SECONDS, keep_lease, register_worker, retire_worker
from flows.shield import shield
from tasks.sessions import halt, ledger

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.5
ASK_SECONDS = 1.0
"""To read the flow run's state costs the API some 10 ms."""

AGAIN_SECONDS = 0.1

JOIN_SECONDS = 1.0
"""An API that does not answer keeps nobody from leaving."""

SUSPENDED_FROM = {StateType.RUNNING, StateType.PAUSED, StateType.SCHEDULED}
"""Of a flow run in another state a person has made something else than a pause."""


class Watch:
    """Stands for this process at a run, while it plans, waits, sends or is paused.

    One thread keeps a lease, without claims, so that others see that somebody is at work; and it halts what
    this process sends when the ledger says pause or stop. Another hears Prefect's Pause, Resume and Cancel,
    and has the ledger say so.
    """

    def __init__(self, run: RunRecord) -> None:
        self._run = run
        self._token = ""
        self._renew_at = 0.0
        self._state: State | None = None
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> None:
        """Takes the lease and begins to listen."""
        try:
            with shield() as shielded:  # else a signal could lose the lease that is just taken
                shielded(self._begin)
        except BaseException:
            self._end()
            raise

    def _begin(self) -> None:
        self._token = register_worker(ledger(), self._run.id)
        self._renew_at = time.monotonic() + RENEW_SECONDS
        self._start(self._keep)
        if flow_run.id:
            self._start(partial(self._ask, UUID(flow_run.id)))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Gives the lease up."""
        self._end()

    def _end(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(JOIN_SECONDS)
        retire_worker(ledger(), self._run.id, self._token)

    def _start(self, target: Callable[[], None]) -> None:
        # A thread has none of Prefect's settings and contexts, unless it is given them.
        thread = threading.Thread(target=copy_context().run, args=(target,), daemon=True)
        thread.start()
        self._threads.append(thread)

    def _keep(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            try:
                self._renew()
                self._hear(get_run(ledger(), self._run.id).control)
            except Exception:
                logger.exception("A run could not be watched", extra={"run": self._run.uid})

    def _renew(self) -> None:
        if time.monotonic() < self._renew_at:
            return
        with ledger().write() as connection:
            kept = keep_lease(connection, self._token)
        if not kept:  # whoever plans a run ends all of its leases
            self._token = register_worker(ledger(), self._run.id)
        self._renew_at = time.monotonic() + RENEW_SECONDS

    def _hear(self, control: str) -> None:
        if control != "run":
            halt(self._run.uid, control)

    def _ask(self, flow_run_id: UUID) -> None:
        # A busy server answers 503. Prefect's client would wait 2 s and 4 s before it asks again.
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
            while not self._over.wait(AGAIN_SECONDS):
                try:
                    with prefect_client() as client:
                        while not self._over.wait(ASK_SECONDS):
                            self._obey(client.read_flow_run(flow_run_id).state)
                except Exception as exc:  # noqa: BLE001  # it may come back; the ledger is heard meanwhile
                    logger.debug("Prefect cannot be asked: %s", exc, extra={"run": self._run.uid})

    def _obey(self, state: State | None) -> None:
        """Has the ledger say what a new state of the flow run means."""
        before, self._state = self._state, state
        if state is None or (before is not None and before.id == state.id):
            return
        asked = asked_by(state, before)
        if asked is not None:
            with suppress(RunConflictError):
                request_control(ledger(), self._run.id, asked)
                self._hear(asked)


def asked_by(state: State, before: State | None) -> Control | None:
    """What a person asks who has put a flow run into a state."""
    if state.type == StateType.PAUSED:
        return "pause"
    if state.type in {StateType.CANCELLING, StateType.CANCELLED}:
        return "stop"
    resumed = state.is_running() and before is not None and before.type == StateType.PAUSED
    return "run" if resumed else None


def may_suspend() -> bool:
    """Whether this flow run can leave its worker and come back: a deployment's can."""
    return bool(deployment.id) and flow_run.parent_flow_run_id is None


def suspend() -> NoReturn:
    """Leaves the worker until the flow run is resumed, for as long as that takes.

    A pause from the UI would end in Failed after 300 s: that time-out is taken off.

    Raises:
        Pause: Always; Prefect's engine ends the process on it.
    """
    flow_run_id = UUID(flow_run.id)
    with prefect_client() as client:
        state = client.read_flow_run(flow_run_id).state
        if state is not None and state.type in SUSPENDED_FROM:
            # Forced: by its rules Prefect suspends only what is running.
            client.set_flow_run_state(flow_run_id, suspension(), force=state.type != StateType.RUNNING)
            state = client.read_flow_run(flow_run_id).state
    raise Pause(state=state)


def suspension() -> State[Any]:
    """Prefect's state for a run that is paused; its key is new, as Prefect takes each only once."""
    message = "Paused. Resume, or `clarion resume`, goes on where it stopped."
    return Suspended(message=message, pause_key=uuid4().hex)
