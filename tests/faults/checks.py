"""What must hold of a run that was killed: the ledger held against the provider's own log.

At every death, before the restart:

- *miscounted*: the run's counters are not those of its items, or do not add up to its total.
- *premature*: a request, or an item in sending, although the plan was not finished.
- *overclaimed*: items in sending beyond 256 of one process.
- *left behind*: after SIGTERM, the process's lease, items in sending under no lease, or a run that is not
  interrupted (unless the next process has it already).

After the last restart, which nobody kills:

- *miscounted*: as above; and the run has not exactly one item a row of the list.
- *unfinished*: items that are pending or in sending, or a run that neither completed nor is unresolved.
- *duplicates*: recipients for whom another request came after one had been accepted.
- *repeated keys*: idempotency keys of more than one request. Nothing is sent again after an unknown outcome
  (`on_unknown: hold`), and after an answer the key is new.
- *lost*: recipients of the list that are neither succeeded, failed nor unknown.
- *strays*: recipients of requests that are none of the list's.
- *untrue*: recipients that succeeded, although the provider has not accepted them.
- *denied*: recipients that the provider accepted, although they neither succeeded nor are unknown.
- *unexplained*: recipients unknown for want of an answer, although the provider never hung up on them.
- *given up*: recipients unknown with a process that was told to leave, although nothing was sent to them.
- *too unknown*: items unknown with their worker beyond 256 for each process that was killed while sending.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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

    `overlapped` tells that the next process was started before this one had ended.
    """

    signal: Signal
    pid: int
    ledger: Ledger
    requests: int
    overlapped: bool = False

    @property
    def moment(self) -> Moment:
        """What the process was killed in the middle of, by what it left."""
        if not self.ledger.planned:
            return "planning"
        left = self.ledger.counts["pending"] + self.ledger.counts["sending"]
        return "sending" if self.requests and left else "missed"

    @property
    def left(self) -> int:
        """How many items the process left in sending."""
        claims, leases = self.ledger.claims, self.ledger.leases
        return sum(claims[token] for token, pid in leases.items() if pid == self.pid)


def check_death(death: Death) -> Violations:
    """What is wrong with what a killed process left."""
    found = Violations(miscounted=miscounted(death.ledger))
    claims = death.ledger.claims
    found["overclaimed"] = sum(max(0, count - MOST_UNKNOWN) for count in claims.values())
    if not death.ledger.planned:
        found["premature"] = claims.total() + death.requests
    if death.signal == "TERM" and death.moment != "missed":
        forgotten = sum(count for token, count in claims.items() if token not in death.ledger.leases)
        held = list(death.ledger.leases.values()).count(death.pid)
        moved_on = death.ledger.status != "interrupted" and not death.overlapped
        found["left behind"] = forgotten + held + moved_on
    return +found


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
    deaths: Sequence[Death],
) -> Violations:
    """What is wrong with a run that came to its end.

    Args:
        ledger: The run.
        rows: Rows of its list.
        recipients: Who was to get a message.
        requests: The provider's log of the whole run, in its order.
        deaths: The processes that were killed.
    """
    is_now = {status: _recipients(ledger, status) for status in STATUSES}
    accepted = {request.recipient for request in requests if request.verdict in ACCEPTED}
    hung_up = {request.recipient for request in requests if request.verdict in HUNG_UP}
    unanswered = _recipients(ledger, "unknown", reason="no-answer")
    sending_deaths = sum(death.moment == "sending" for death in deaths)
    unfinished = sum(item.status in {"pending", "sending"} for item in ledger.items)
    keys = Counter(request.key for request in requests)
    return +Violations(
        {
            "miscounted": miscounted(ledger) + abs(len(ledger.items) - rows),
            "unfinished": unfinished + (ledger.status not in {"completed", "unresolved"}),
            "duplicates": len(sent_after_acceptance(requests)),
            "repeated keys": sum(count > 1 for count in keys.values()),
            "lost": len(recipients - is_now["succeeded"] - is_now["failed"] - is_now["unknown"]),
            "strays": len({request.recipient for request in requests} - recipients),
            "untrue": len(is_now["succeeded"] - accepted),
            "denied": len(accepted - is_now["succeeded"] - is_now["unknown"]),
            "unexplained": len(unanswered - hung_up),
            "given up": len(
                _unknown_with_leavers(ledger, deaths) - {request.recipient for request in requests}
            ),
            "too unknown": max(0, worker_lost(ledger) - MOST_UNKNOWN * sending_deaths),
        }
    )


def worker_lost(ledger: Ledger) -> int:
    """How many items are unknown because their process died."""
    return sum((item.status, item.reason) == ("unknown", "worker-lost") for item in ledger.items)


def _unknown_with_leavers(ledger: Ledger, deaths: Sequence[Death]) -> set[str]:
    """Who is unknown because of a worker that was not killed; one that was killed has left its lease."""
    killed = {
        token
        for death in deaths
        if death.signal == "KILL"
        for token, pid in death.ledger.leases.items()
        if pid == death.pid
    }
    return {
        str(item.recipient)
        for item in ledger.items
        if (item.status, item.reason) == ("unknown", "worker-lost") and item.claim_token not in killed
    }


def sent_after_acceptance(requests: Sequence[Request]) -> set[str]:
    """Recipients that were sent something after something had been accepted for them."""
    accepted: set[str] = set()
    again: set[str] = set()
    for request in requests:
        if request.recipient in accepted:
            again.add(request.recipient)
        if request.verdict in ACCEPTED:
            accepted.add(request.recipient)
    return again


def _recipients(ledger: Ledger, status: str, *, reason: str | None = None) -> set[str]:
    return {
        item.recipient
        for item in ledger.items
        if item.status == status and item.recipient is not None and reason in {None, item.reason}
    }
