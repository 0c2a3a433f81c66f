"""Posts what comes back, some time after each accepted message, and counts it per recipient."""

import asyncio
import ipaddress
import random
import re
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import httpx

from clarion.sandbox.answers import Answers
from clarion.sandbox.message import Answer, Request
from clarion.sandbox.replies import ReplyPlan, chance
from clarion.sandbox.webhooks import Message, authorization, message_of, reply_to, status_of
from clarion.sending.wire import Wire

AT_ONCE = 16
MOST_TRIES = 10
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.5, 30.0
"""Between the tries of a webhook that was not taken: doubled each time."""

BROWSER = "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 Chrome/130.0 Mobile Safari/537.36"
COUNTED = ("delivered", "rejected", "reply", "click")

_LINK = re.compile(r"https?://[^\s\"'<>()\[\]]+")
_TIMEOUT = {"connect": 5.0, "read": 10.0, "pool": 60.0}


@dataclass(frozen=True, kw_only=True, slots=True)
class Post:
    """A webhook that is to be posted, or a link that is to be followed.

    `kind` is one of COUNTED. `token` is set for the second copy of one that arrived: the same to the byte.
    """

    kind: str
    recipient: str
    url: str
    body: bytes = b""
    tries: int = 0
    token: str | None = None
    era: int = 0


class Answering:
    """The recipients behind the sandbox. To be used from one event loop, while `run` does."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._queue: asyncio.Queue[Post] = asyncio.Queue()
        self._idle = asyncio.Event()
        self._era = 0
        self.reset()

    def reset(self) -> None:
        """Forget everything; what was still to be posted is not."""
        self._era += 1
        self._random = random.Random(self._answers.seed)  # noqa: S311  # a rehearsal must be repeatable
        self._replies = (self._answers.replies or ReplyPlan()).begin(seed=self._answers.seed)
        self._counts: dict[str, Counter[str]] = {kind: Counter() for kind in COUNTED}
        self._webhooks: Counter[str] = Counter(sent=0, twice=0, redelivered=0, refused=0, given_up=0)
        self._waiting = 0
        self._idle.set()

    def stats(self) -> dict[str, Any]:
        """What arrived, per recipient: `delivered`, `rejected`, `replies`, `clicks`; and the `webhooks`."""
        delivered, rejected, replies, clicks = (dict(self._counts[kind]) for kind in COUNTED)
        return {
            "delivered": delivered,
            "rejected": rejected,
            "replies": replies,
            "clicks": clicks,
            "webhooks": {**self._webhooks, "waiting": self._waiting},
        }

    async def run(self, stop: asyncio.Event) -> None:
        """Posts until told to stop; what has not been posted by then is not."""
        async with Wire(max_connections=AT_ONCE) as wire:
            workers = [asyncio.create_task(self._work(wire)) for _ in range(AT_ONCE)]
            await stop.wait()
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def wait(self, seconds: float) -> bool:
        """Waits until everything was posted; False where that takes longer."""
        try:
            await asyncio.wait_for(self._idle.wait(), seconds)
        except TimeoutError:
            return False
        return True

    def accepted(self, request: Request, answer: Answer | None, *, after_seconds: float) -> None:
        """Notes a message that was accepted.

        Args:
            request: What came.
            answer: What is answered, None where that is lost.
            after_seconds: When the answer leaves; what comes back does so later.
        """
        for recipient in request.recipients:
            self._answer(message_of(request, recipient, answer), after_seconds)

    def _answer(self, message: Message, after_seconds: float) -> None:
        plan, recipient = self._answers, message.recipient
        soon = after_seconds + plan.delay_ms / 1000
        late = soon + plan.delay_ms / 1000
        if plan.webhooks and plan.receipts is not None:
            delivered = chance(plan.seed, "receipt", recipient) < plan.receipts
            body = status_of(message, delivered=delivered)
            kind = "delivered" if delivered else "rejected"
            self._later(soon, Post(kind=kind, recipient=recipient, url=plan.webhooks, body=body))
        text = self._replies.next_to(recipient)
        if plan.webhooks and text is not None:
            body = reply_to(message, text)
            self._later(late, Post(kind="reply", recipient=recipient, url=plan.webhooks, body=body))
        if plan.clicks and chance(plan.seed, "click", recipient) < plan.clicks:
            for link in links_to_here(message.text):
                self._later(late, Post(kind="click", recipient=recipient, url=link))

    def _later(self, seconds: float, post: Post) -> None:
        if not post.tries:
            self._waiting += 1
            self._idle.clear()
        loop = asyncio.get_running_loop()
        loop.call_later(seconds, self._queue.put_nowait, replace(post, era=self._era))

    async def _work(self, wire: Wire) -> None:
        while True:
            post = await self._queue.get()
            if post.era != self._era:
                continue
            done = await self._follow(post, wire) if post.kind == "click" else await self._send(post, wire)
            if done and post.era == self._era:
                self._waiting -= 1
                if not self._waiting:
                    self._idle.set()

    async def _follow(self, post: Post, wire: Wire) -> bool:
        """A person who follows a link. Only what is redirected has been a link to somewhere."""
        code = await _code(wire, httpx.Request("GET", post.url, headers={"User-Agent": BROWSER}))
        if code is not None and 300 <= code < 400 and post.era == self._era:  # noqa: PLR2004
            self._counts["click"][post.recipient] += 1
        return True

    async def _send(self, post: Post, wire: Wire) -> bool:
        """Whether that was the end of it: not where it is to be posted again."""
        token = post.token or authorization(post.body, secret=self._answers.secret.get_secret_value())
        headers = {"Content-Type": "application/json", "Authorization": token}
        code = await _code(wire, httpx.Request("POST", post.url, headers=headers, content=post.body))
        if post.era != self._era:
            return True
        if code is None or code >= 500 or code == httpx.codes.TOO_MANY_REQUESTS:  # noqa: PLR2004
            return self._try_again(post)
        if not 200 <= code < 300:  # noqa: PLR2004
            self._webhooks["refused"] += 1
            return True
        self._taken(post, token)
        return True

    def _try_again(self, post: Post) -> bool:
        if post.tries + 1 >= MOST_TRIES:
            self._webhooks["given_up"] += 1
            return True
        self._webhooks["redelivered"] += 1
        wait = min(FIRST_WAIT_SECONDS * 2**post.tries, LONGEST_WAIT_SECONDS)
        self._later(wait, replace(post, tries=post.tries + 1))
        return False

    def _taken(self, post: Post, token: str) -> None:
        if post.token:
            self._webhooks["twice"] += 1
            return
        self._webhooks["sent"] += 1
        self._counts[post.kind][post.recipient] += 1
        if self._random.random() < self._answers.duplicates:
            self._later(0, replace(post, tries=0, token=token))


async def _code(wire: Wire, request: httpx.Request) -> int | None:
    """The status code of the answer, None where there is none."""
    request.extensions["timeout"] = _TIMEOUT
    try:
        return (await wire.handle_async_request(request)).status_code
    except httpx.RequestError:
        return None


def links_to_here(text: str) -> list[str]:
    """The links in a text that lead to this machine, each once: a rehearsal calls nobody else."""
    found = dict.fromkeys(link.rstrip(".,;:!?") for link in _LINK.findall(text))
    return [link for link in found if _is_here(link)]


def _is_here(link: str) -> bool:
    try:
        host = httpx.URL(link).host
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except (httpx.InvalidURL, ValueError):
        return False
