"""What the sandbox does with a request, apart from the network."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from clarion.sandbox.answering import Answering
from clarion.sandbox.behaviour import Behaviour, Judge, Verdict
from clarion.sandbox.message import Answer, Request, json_answer
from clarion.sandbox.providers import style_of, vonage_messages
from clarion.sandbox.tally import ACCEPTING, Tally

ADMIN_PREFIX = "/_sandbox/"
DEFAULT_LIMIT = 100

_UNANSWERED = frozenset({Verdict.DROPPED, Verdict.ACCEPTED_DROPPED})


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """What leaves, and when: no answer means that the connection is closed instead."""

    answer: Answer | None
    delay_seconds: float


class App:
    """The provider: judges, counts and answers requests; serves its own statistics under `/_sandbox/`.

    Used by one thread at a time. A request counts when it arrives, not when its answer leaves. What comes
    back for messages of the Messages API is `answering`'s, where it is there.
    """

    def __init__(
        self,
        behaviour: Behaviour,
        *,
        answering: Answering | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._behaviour = behaviour
        self._answering = answering
        self._clock = clock
        self.reset()

    def reset(self) -> None:
        """Forget everything, and begin the random sequence anew."""
        self._judge = Judge(self._behaviour)
        self.tally = Tally()
        if self._answering is not None:
            self._answering.reset()

    def handle(self, request: Request) -> Reply:
        """The reply to a request of any method and path."""
        if request.path.startswith(ADMIN_PREFIX):
            return Reply(answer=self._administer(request), delay_seconds=0)
        now = self._clock()
        verdict = self._judge.verdict(request.recipients, now=now)
        answer = None if verdict in _UNANSWERED else style_of(request.path).answer(request, verdict)
        status = answer.status if answer else None
        self.tally.add(request, verdict, status=status, at=time.time(), now=now)
        if self._answering is not None and verdict in ACCEPTING:
            self._have_answered(self._answering, request, answer)
        return Reply(answer=answer, delay_seconds=self._behaviour.latency_ms / 1000)

    def _have_answered(self, answering: Answering, request: Request, answer: Answer | None) -> None:
        if style_of(request.path) is vonage_messages.STYLE:
            answering.accepted(request, answer, after_seconds=self._behaviour.latency_ms / 1000)

    def stats(self) -> dict[str, Any]:
        """The statistics: those of the requests, and those of the `answers` where there are any."""
        if self._answering is None:
            return self.tally.stats()
        return {**self.tally.stats(), "answers": self._answering.stats()}

    def _administer(self, request: Request) -> Answer:
        match request.method, request.path.removeprefix(ADMIN_PREFIX).rstrip("/"):
            case "GET", "stats":
                return json_answer(200, self.stats())
            case "GET", "requests":
                return self._list(request)
            case "POST" | "DELETE", "reset":
                self.reset()
                return json_answer(200, {"status": "reset"})
            case "GET", "health":
                return json_answer(200, {"status": "ok", "behaviour": self._behaviour.model_dump()})
        known = ["GET stats", "GET requests", "POST reset", "GET health"]
        return json_answer(404, {"error": "no such page of the sandbox", "known": known})

    def _list(self, request: Request) -> Answer:
        pages = {"limit": str(DEFAULT_LIMIT), "offset": "0"} | request.query
        if wrong := [name for name in ("limit", "offset") if not pages[name].isdecimal()]:
            return json_answer(400, {"error": f"{wrong[0]} must be a whole number"})
        limit, offset = int(pages["limit"]), int(pages["offset"])
        return json_answer(
            200, self.tally.requests(limit=limit, offset=offset, recipient=request.query.get("recipient"))
        )
