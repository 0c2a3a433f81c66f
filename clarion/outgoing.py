"""Outgoing webhooks: events posted to their subscribers, signed, until they are taken or given up.

At least once: a subscriber that gets an event twice knows it by its `webhook-id`. Not in order: what was
refused comes again after what came later.
"""

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from typing import Any

import httpx
import orjson

from clarion.error_text import error_text, logged_error
from clarion.errors import InputError
from clarion.ledger.database import Database
from clarion.ledger.webhooks import (
    Delivery,
    Outcome,
    claim_deliveries,
    hold_back,
    settle_deliveries,
)
from clarion.models.subscribers import Subscriber, Subscription
from clarion.sending.auth import RequestAuth
from clarion.sending.signatures import ID_HEADER
from clarion.sending.verdict import retry_after
from clarion.sending.wire import Wire

logger = logging.getLogger(__name__)

DELAYS_SECONDS = (5, 60, 300, 1_800, 7_200, 18_000, 36_000, 50_400)
"""Before the second try, the third, ...: given up after a day and a half."""

TIMEOUT_SECONDS = 10.0
AT_ONCE = 8
"""Requests to one subscriber on their way at a time."""

CLAIMED_AT_ONCE = 64
HELD_SECONDS = 60.0
"""How long a subscriber is left alone of whom a whole row of requests failed."""

CONTENT_TYPE = "application/json"

LoadAuth = Callable[[str], RequestAuth]
"""From the reference of a secret to what signs with it; raises InputError where there is none."""

_FIELDS = (
    "type", "status", "error_code", "error", "recipient", "sender", "text", "name", "value", "currency",
    "action", "src_ctx", "invocation_id", "related_id", "client_ref",
)  # fmt: skip


def body_of(delivery: Delivery) -> bytes:
    """What a subscriber gets: `type`, `timestamp` and `data`, as JSON."""
    event = delivery.event
    item = event["run_item_id"]
    data = {
        "id": event["uid"],
        "job": event["job_name"],
        "run_id": event["run_uid"],
        "run_item_id": None if item is None else f"{event['run_uid']}-{item}",
        "segment": event["item_segment"],
        **{name: event[name] for name in _FIELDS},
        "received_at": event["received_at"],
    }
    return message(event["type"], event["occurred_at"] or event["received_at"], data)


def message(kind: str, moment: datetime | None, data: Mapping[str, Any]) -> bytes:
    """A payload as standardwebhooks.com recommends it."""
    at = moment or datetime.now(UTC)
    return orjson.dumps({"type": kind, "timestamp": at, "data": data}, option=orjson.OPT_UTC_Z)


def request_to(subscription: Subscription, auth: RequestAuth, *, uid: str, body: bytes) -> httpx.Request:
    """The signed request. A try after another has the same id and a new time."""
    headers = {"Content-Type": CONTENT_TYPE, ID_HEADER: uid}
    timeout = {"connect": TIMEOUT_SECONDS / 2, "read": TIMEOUT_SECONDS}
    request = httpx.Request(
        "POST", subscription.url, headers=headers, content=body, extensions={"timeout": timeout}
    )
    return auth.apply(request)


def send_once(request: httpx.Request) -> int:
    """Sends one request; the status code of its answer. Not to be called in an event loop.

    Raises:
        httpx.RequestError: There is no answer.
    """

    async def send() -> int:
        async with Wire() as wire:
            return (await wire.handle_async_request(request)).status_code

    return asyncio.run(send())


def deliver_due(
    database: Database,
    *,
    subscribers: Sequence[Subscriber],
    load_auth: LoadAuth,
    seconds: float,
    transport: Callable[[], httpx.AsyncBaseTransport] = Wire,
) -> dict[str, int]:
    """Posts what is due, until nothing is or the time is over; not to be called in an event loop.

    A subscriber of whom AT_ONCE requests in a row failed is left alone for a minute, so that it holds up
    nobody else.

    Args:
        database: The ledger.
        subscribers: Those of the installation; a job's come with its deliveries.
        load_auth: Loads what signs.
        seconds: After so many nothing more is begun.
        transport: Makes what sends.

    Returns:
        How many were `delivered`, how many are `pending` again after a failure, how many are `dead`.
    """
    courier = _Courier(
        database=database,
        known={each.name: each for each in subscribers},
        load_auth=load_auth,
        transport=transport,
        until=monotonic() + seconds,
    )
    return dict(asyncio.run(courier.deliver()))


@dataclass(frozen=True, kw_only=True)
class _Courier:
    """One go at what is due."""

    database: Database
    known: Mapping[str, Subscriber]
    load_auth: LoadAuth
    transport: Callable[[], httpx.AsyncBaseTransport]
    until: float

    async def deliver(self) -> Counter[str]:
        counts: Counter[str] = Counter(delivered=0, pending=0, dead=0)
        async with self.transport() as wire:
            while monotonic() < self.until:
                due = claim_deliveries(self.database, most=CLAIMED_AT_ONCE)
                if not due:
                    break
                by_subscriber: dict[str, list[Delivery]] = defaultdict(list)
                for each in due:
                    by_subscriber[each.subscriber].append(each)
                told = await asyncio.gather(
                    *(self._deliver_to(group, wire) for group in by_subscriber.values())
                )
                counts.update(outcome.status for outcomes in told for outcome in outcomes if outcome.tried)
        return counts

    async def _deliver_to(self, deliveries: list[Delivery], wire: httpx.AsyncBaseTransport) -> list[Outcome]:
        """Posts one subscriber's; each row of requests is recorded before the next."""
        all_outcomes: list[Outcome] = []
        for begin in range(0, len(deliveries), AT_ONCE):
            row = deliveries[begin : begin + AT_ONCE]
            outcomes = await asyncio.gather(*(self._try(each, wire) for each in row))
            failed = len(row) == AT_ONCE and all(each.status == "pending" for each in outcomes)
            over = failed or monotonic() >= self.until
            if over:
                outcomes += given_back(deliveries[begin + AT_ONCE :])
            settle_deliveries(self.database, outcomes)
            all_outcomes += outcomes
            if failed:
                hold_back(self.database, row[0].subscriber, seconds=HELD_SECONDS)
            if over:
                break
        return all_outcomes

    async def _try(self, delivery: Delivery, wire: httpx.AsyncBaseTransport) -> Outcome:
        subscriber = delivery.own or self.known.get(delivery.subscriber)
        if subscriber is None:
            return Outcome(delivery=delivery, status="dead", error="there is no subscriber of this name")
        try:
            auth = self.load_auth(subscriber.secret)
            request = request_to(subscriber, auth, uid=delivery.event["uid"], body=body_of(delivery))
            return judged(delivery, await wire.handle_async_request(request))
        except InputError as error:  # the secret is not saved: somebody may save it
            return failure(delivery, error=error.message)
        except httpx.RequestError as error:  # its text may hold the URL, which may be a secret
            return failure(delivery, error=_without(f"{type(error).__name__}: {error}", subscriber.url))
        except Exception as error:  # noqa: BLE001  # whatever it is, it is this delivery's and no other's
            extra = {"event": delivery.event["uid"], "subscriber": delivery.subscriber}
            logger.error("A webhook could not be posted: %s", logged_error(error), extra=extra)  # noqa: TRY400
            return failure(delivery, error=error_text(error))


def _without(text: str, url: str) -> str:
    """The text of an error; only its type where it tells of the URL more than the host."""
    parts = httpx.URL(url)
    told = (url, parts.raw_path.decode(), parts.path, parts.query.decode())
    return text.partition(":")[0] if any(len(each) > 1 and each in text for each in told) else text


def given_back(deliveries: Iterable[Delivery]) -> list[Outcome]:
    """What was claimed and not begun: due at once, its tries as before."""
    return [Outcome(delivery=each, status="pending", due_in_seconds=0.0, tried=False) for each in deliveries]


def judged(delivery: Delivery, response: httpx.Response) -> Outcome:
    """What an answer means: 2xx is taken, 410 wants no more, and anything else is a failure."""
    code = response.status_code
    if response.is_success:
        return Outcome(delivery=delivery, status="delivered", status_code=code)
    if code == httpx.codes.GONE:
        return Outcome(delivery=delivery, status="dead", status_code=code, error="the subscriber is gone")
    asked = retry_after(response.headers.get("retry-after"), now=datetime.now(UTC))
    return failure(delivery, status_code=code, error=f"answered {code}", at_least=asked or 0.0)


def failure(
    delivery: Delivery, *, error: str, status_code: int | None = None, at_least: float = 0.0
) -> Outcome:
    """To be tried again after the back-off, or dead once the tries are used up."""
    if delivery.attempts > len(DELAYS_SECONDS):
        return Outcome(delivery=delivery, status="dead", status_code=status_code, error=error)
    wait = max(DELAYS_SECONDS[delivery.attempts - 1], at_least)
    return Outcome(
        delivery=delivery, status="pending", due_in_seconds=wait, status_code=status_code, error=error
    )
