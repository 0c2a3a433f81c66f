"""What a provider style is: a path, and an answer for each verdict."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from clarion.sandbox.behaviour import Verdict
from clarion.sandbox.message import Answer, Request

Responder = Callable[[Request], Answer]


@dataclass(frozen=True, kw_only=True)
class Style:
    """The documented answers of one provider's API.

    `answers` has one responder for every verdict that is answered at all: accepted, rejected, throttled,
    error, unavailable.
    """

    name: str
    path: re.Pattern[str]
    """Searched in the request's path."""
    answers: Mapping[Verdict, Responder]

    def answer(self, request: Request, verdict: Verdict) -> Answer:
        """The answer of this provider to a request with this verdict."""
        return self.answers[verdict](request)
