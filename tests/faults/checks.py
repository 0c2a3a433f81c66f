"""What must hold of a run that was killed: the ledger held against the provider's own log.

At every death, before the restart:

- *miscounted*: the run's counters are not those of its items, or do not add up to its total.
- *premature*: a request, or an item in sending, although the plan was not finished.
- *overclaimed*: items in sending beyond 256 of one process.
- *left behind*: after SIGTERM, items in sending under no lease, or the lease of the process; where it was the
  flow's, also those of its sender processes, and a run that is not interrupted (unless the next process has
  it already).
- *unheard*: the process was told to leave while it planned, and brought the run to its end nevertheless.

When the run has ended, after the last restart, which nobody kills:

- *too unknown*: items unknown with a worker that was killed, beyond 256 of it.
- *left unknown*: items unknown with a worker that nobody killed: one that was told to leave, a sender process
  whose flow was killed, or one that nobody touched.

At the very end. Where the action's `on_unknown` is `resend`, what is unknown by then is sent again before:

- *miscounted*: as above; and the run has not exactly one item a row of the list.
- *unfinished*: items that are pending or in sending, that were to be sent again and were not, or a run that
  neither completed nor is unresolved.
- *duplicates*: recipients for whom another request came after one had been accepted. With `resend` it may
  come again under the same idempotency key, by which the provider knows it, never under another one.
- *repeated keys*: idempotency keys of more than one request; after an answer the key is new. With `resend`
  a key may come again after a call that was never answered: the provider hung up on it, or the process that
  waited for its answer died.
- *lost*: recipients of the list that are neither succeeded, failed nor unknown.
- *strays*: recipients of requests that are none of the list's.
- *untrue*: recipients that succeeded, although the provider has not accepted them.
- *denied*: recipients that the provider accepted, although they neither succeeded nor are unknown.
- *unexplained*: recipients unknown for want of an answer, although the provider never hung up on them and no
  process died of them.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

MOST_UNKNOWN = 256
"""What a process may leave behind; written out, for the bench must not follow the code that it tests."""

STATUSES = ("skipped", "pending", "sending", "succeeded", "failed", "unknown")
ACCEPTED = ("accepted", "accepted-dropped")
HUNG_UP = ("dropped", "accepted-dropped")

Signal = Literal["KILL", "TERM"]
Moment = Literal["planning", "sending", "missed"]
Violations = Counter[str]


class Item(NamedTuple):
    """A run item of the ledger."""

    recipient: str | None
    status: str
    reason: str | None
    claim_token: str | None


class Request(NamedTuple):
    """A request in the provider's log."""

    recipient: str
    key: str
    verdict: str


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """A run as one snapshot of the ledger shows it. `leases` are the process ids of its workers, by token."""

    status: str
    planned: bool
    counts: Mapping[str, int]
    items: Sequence[Item]
    leases: Mapping[str, int]

    @property
    def claims(self) -> Counter[str | None]:
        """How many items are in sending, by worker."""
        return Counter(item.claim_token for item in self.items if item.status == "sending")


@dataclass(frozen=True, kw_only=True)
class Death:
    """A process that was killed, what it left, and how many requests the provider had got by then.

    `before` are the leases of the run's processes just before the blow, by token. `overlapped` tells that the
    next process was started before this one had ended, `child` that it was a sender process: the run's flow
    goes on.
    """

    signal: Signal
    pid: int
    ledger: Ledger
    requests: int
    before: Mapping[str, int] = field(default_factory=dict)
    overlapped: bool = False
    child: bool = False

    @property
    def moment(self) -> Moment:
        """What the process was killed in the middle of, by what it left."""
        if not self.ledger.planned:
            return "planning"
        left = self.ledger.counts["pending"] + self.ledger.counts["sending"]
        return "sending" if self.requests and left else "missed"

    @property
    def tokens(self) -> set[str]:
        """The process's own leases."""
        return {token for token, pid in {**self.before, **self.ledger.leases}.items() if pid == self.pid}

    @property
    def left(self) -> int:
        """How many items the process left in sending; its flow may have called them unknown by then."""
        return sum(item.claim_token in self.tokens and is_left(item) for item in self.ledger.items)


def check_death(death: Death) -> Violations:
    """What is wrong with what a killed process left."""
    found = Violations(miscounted=miscounted(death.ledger))
    claims = death.ledger.claims
    found["overclaimed"] = sum(max(0, count - MOST_UNKNOWN) for count in claims.values())
    if not death.ledger.planned:
        found["premature"] = claims.total() + death.requests
    if death.signal == "TERM" and death.moment != "missed":
        forgotten = sum(count for token, count in claims.items() if token not in death.ledger.leases)
        own = death.tokens if death.child else {*death.tokens, *death.before}
        held = len(own & death.ledger.leases.keys())
        moved_on = not death.child and death.ledger.status != "interrupted" and not death.overlapped
        found["left behind"] = forgotten + held + moved_on
    return +found


def check_unknown(ledger: Ledger, deaths: Sequence[Death]) -> Violations:
    """What is unknown with its worker, and should not be, in a run that has ended."""
    killed = {token for death in deaths if death.signal == "KILL" for token in death.tokens}
    lost = Counter(item.claim_token for item in ledger.items if is_lost(item))
    return +Violations(
        {
            "too unknown": sum(max(0, lost[token] - MOST_UNKNOWN) for token in killed),
            "left unknown": sum(count for token, count in lost.items() if token not in killed),
        }
    )


def miscounted(ledger: Ledger) -> int:
    """By how much the counters of a run differ from its items, and from their own total."""
    real = Counter(item.status for item in ledger.items)
    off = sum(abs(ledger.counts[status] - real[status]) for status in STATUSES)
    total = ledger.counts["total"]
    return off + abs(total - len(ledger.items)) + abs(total - sum(ledger.counts[name] for name in STATUSES))


def check_end(
    ledger: Ledger,
    *,
    rows: int,
    recipients: frozenset[str],
    requests: Sequence[Request],
    resent: frozenset[str] | None = None,
) -> Violations:
    """What is wrong with a run at its very end.

    Args:
        ledger: The run.
        rows: Rows of its list.
        recipients: Who was to get a message.
        requests: The provider's log of the whole run, in its order.
        resent: Whose worker died and who was therefore sent to again; None where nothing is sent again.
    """
    is_now = {status: _recipients(ledger, status) for status in STATUSES}
    accepted = {request.recipient for request in requests if request.verdict in ACCEPTED}
    hung_up = {request.recipient for request in requests if request.verdict in HUNG_UP}
    unanswered = _recipients(ledger, "unknown", reason="no-answer")
    unfinished = sum(item.status in {"pending", "sending"} for item in ledger.items)
    if resent is not None:
        unfinished += worker_lost(ledger)
    return +Violations(
        {
            "miscounted": miscounted(ledger) + abs(len(ledger.items) - rows),
            "unfinished": unfinished + (ledger.status not in {"completed", "unresolved"}),
            "duplicates": len(sent_after_acceptance(requests, same_key_may=resent is not None)),
            "repeated keys": len(repeated_keys(requests, resent=resent)),
            "lost": len(recipients - is_now["succeeded"] - is_now["failed"] - is_now["unknown"]),
            "strays": len({request.recipient for request in requests} - recipients),
            "untrue": len(is_now["succeeded"] - accepted),
            "denied": len(accepted - is_now["succeeded"] - is_now["unknown"]),
            "unexplained": len(unanswered - hung_up - (resent or frozenset())),
        }
    )


def is_lost(item: Item) -> bool:
    """Whether an item is unknown because its process died."""
    return (item.status, item.reason) == ("unknown", "worker-lost")


def is_left(item: Item) -> bool:
    """Whether an item is as a dead process leaves it, noticed or not."""
    return item.status == "sending" or is_lost(item)


def worker_lost(ledger: Ledger) -> int:
    """How many items are unknown because their process died."""
    return sum(map(is_lost, ledger.items))


def sent_after_acceptance(requests: Sequence[Request], *, same_key_may: bool = False) -> set[str]:
    """Recipients that were sent something after something had been accepted for them.

    `same_key_may`: unless it came under the key that had been accepted.
    """
    accepted: dict[str, str] = {}
    again: set[str] = set()
    for request in requests:
        key = accepted.get(request.recipient)
        if key is not None and not (same_key_may and request.key == key):
            again.add(request.recipient)
        if request.verdict in ACCEPTED:
            accepted.setdefault(request.recipient, request.key)
    return again


def repeated_keys(requests: Sequence[Request], *, resent: frozenset[str] | None) -> set[str]:
    """Keys that came again although nothing is sent again, or no call under them was without an answer."""
    unanswered: dict[str, bool] = {}
    again: set[str] = set()
    for request in requests:
        if request.key in unanswered and not (resent is not None and unanswered[request.key]):
            again.add(request.key)
        hung_up = request.verdict in HUNG_UP or request.recipient in (resent or ())
        unanswered[request.key] = hung_up or unanswered.get(request.key, False)
    return again


def _recipients(ledger: Ledger, status: str, *, reason: str | None = None) -> set[str]:
    return {
        item.recipient
        for item in ledger.items
        if item.status == status and item.recipient is not None and reason in {None, item.reason}
    }
