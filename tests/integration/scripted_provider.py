"""A provider on a socket that a test tells what to answer, request by request."""

import itertools
import time
from collections import Counter
from collections.abc import Callable

from clarion.sandbox import Behaviour, Sandbox
from clarion.sandbox.app import App, Reply
from clarion.sandbox.behaviour import Verdict
from clarion.sandbox.message import Answer, Request, json_answer

Script = Callable[[int, Request], Answer | None]
"""What is answered to a request, by its number (1 for the first); None accepts it."""

_VERDICTS = {2: Verdict.ACCEPTED, 4: Verdict.REJECTED, 5: Verdict.ERROR}


def refuse(status: int, detail: str = "no", **headers: str) -> Answer:
    """An answer other than yes; in the headers' names `_` stands for a dash."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return json_answer(status, {"detail": detail}, headers=fields)


class _ScriptedApp(App):
    """The sandbox with a script in the place of its judge."""

    def __init__(self, behaviour: Behaviour, script: Script) -> None:
        super().__init__(behaviour)
        self._script = script
        self._numbers = itertools.count(1)

    def handle(self, request: Request) -> Reply:
        """What the script says, counted."""
        answer = self._script(next(self._numbers), request) or json_answer(202, {"message_uuid": "1"})
        verdict = _VERDICTS[answer.status // 100]
        self.tally.add(request, verdict, status=answer.status, at=time.time(), now=time.monotonic())
        return Reply(answer=answer, delay_seconds=self._behaviour.latency_ms / 1_000)


class Provider(Sandbox):
    """A sandbox with a script."""

    def __init__(self, script: Script = lambda *_: None, *, latency_ms: float = 0) -> None:
        super().__init__(Behaviour(latency_ms=latency_ms))
        self._app = _ScriptedApp(self.behaviour, script)

    def recipients(self) -> list[str]:
        """To whom the requests were, in their order."""
        return [each["recipient"] for each in self.requests()]

    def count(self) -> int:
        """How many requests came."""
        return self.stats()["requests"]

    def assert_nobody_twice(self) -> None:
        """Nobody was accepted more than once, and no idempotency key came again after that."""
        assert self.stats()["duplicates"] == {}
        accepted = Counter(each["recipient"] for each in self.requests() if each["status"] == 202)
        assert set(accepted.values()) <= {1}
