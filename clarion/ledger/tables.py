"""The ledger's tables. They store; what may be stored the models and the transitions decide.

Counts live on the run as well as in its items: the planner and every claim and settle change them in
the same transaction, so that progress never scans a million rows.
"""

from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import (
    BigInteger,
    DateTime,
    Dialect,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
    text,
)
from sqlmodel import Field, SQLModel

ITEM_COUNTS = ("skipped", "pending", "sending", "succeeded", "failed", "unknown")
RUN_STATUSES = (
    "scheduled", "planning", "running", "paused", "interrupted",
    "completed", "unresolved", "stopped", "failed",
)  # fmt: skip
ENDED_STATUSES = ("completed", "unresolved", "stopped", "failed")
UNFINISHED = "status NOT IN ('completed', 'unresolved', 'stopped', 'failed')"
"""The same of a run that has not ended, word for word as its index has it: else SQLite would not use that."""

BigId = BigInteger().with_variant(Integer(), "sqlite")
"""64-bit key; SQLite makes only INTEGER the rowid."""


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC time: timestamptz on PostgreSQL, sortable text on SQLite."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Refuses a time without a zone, turns any other into UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone never enters the ledger")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Puts the zone back that SQLite does not keep."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class LedgerTable(SQLModel):
    """Keeps the ledger's tables apart from any other SQLModel of the process."""

    metadata: ClassVar[MetaData] = MetaData()


def _time(**options: Any) -> Any:
    return Field(default=None, sa_type=UtcDateTime, **options)  # type: ignore[call-overload]


def _pending_index(name: str, *columns: str, where: str) -> Index:
    """An index of a run's pending items, less all but some."""
    condition = text(f"status = 'pending' AND {where}")
    return Index(name, "run_id", *columns, sqlite_where=condition, postgresql_where=condition)


class Run(LedgerTable, table=True):
    """One execution of a job in a time frame."""

    __tablename__ = "run"
    __table_args__ = (
        UniqueConstraint("job_name", "run_key", name="run_once"),
        Index("run_newest", "job_name", "id"),
        # A run is long: what looks for work several times a second steps over none that has ended. By its
        # status alone, as the counters change all the time.
        Index("run_unfinished", "id", sqlite_where=text(UNFINISHED), postgresql_where=text(UNFINISHED)),
    )

    id: int | None = Field(default=None, primary_key=True)
    uid: str = Field(unique=True)
    job_name: str
    run_key: str
    name: str | None = None
    job: str = Field(sa_type=Text)
    base: str = Field(sa_type=Text)
    status: str
    reason: str | None = Field(default=None, sa_type=Text)
    control: str = "run"
    kind: str = "run"
    parent_id: int | None = Field(default=None, index=True)
    against: str | None = None
    item_limit: int | None = None
    flow_run_id: str | None = None
    start_at: datetime | None = _time()
    send_until: datetime | None = _time()
    end_at: datetime | None = _time()
    created_at: datetime | None = _time()
    started_at: datetime | None = _time()
    planned_at: datetime | None = _time()
    ended_at: datetime | None = _time()
    bad_rows: int = 0
    total: int = 0
    skipped: int = 0
    pending: int = 0
    sending: int = 0
    succeeded: int = 0
    failed: int = 0
    unknown: int = 0


class RunItem(LedgerTable, table=True):
    """One row of the lists in one segment of a run."""

    __tablename__ = "run_item"
    __table_args__ = (
        UniqueConstraint("run_id", "row", "segment", name="run_item_once"),
        UniqueConstraint("run_id", "dedupe_key", name="run_item_recipient_once"),
        # Only what may leave at once: found by action, gone from the index once claimed.
        _pending_index("run_item_due", "action", "id", where="due_at IS NULL"),
        # What has to wait: found by its time, and within a slice.
        _pending_index("run_item_later", "due_at", where="due_at IS NOT NULL"),
        _pending_index("run_item_held", "action", "id", "due_at", where="due_at IS NOT NULL"),
        # What a zone's windows hold back all at once.
        _pending_index("run_item_zone", "timezone", where="timezone IS NOT NULL"),
        Index(
            "run_item_open",
            "run_id",
            "claim_token",
            sqlite_where=text("status = 'sending'"),
            postgresql_where=text("status = 'sending'"),
        ),
        # What a receipt names; calls whose answer names nothing pay nothing.
        Index(
            "run_item_invocation",
            "invocation_id",
            sqlite_where=text("invocation_id IS NOT NULL"),
            postgresql_where=text("invocation_id IS NOT NULL"),
        ),
        # What counts against a named limit's concurrency; items without such limits are never in it.
        Index(
            "run_item_limited",
            "limit_keys",
            sqlite_where=text("status = 'sending' AND limit_keys IS NOT NULL"),
            postgresql_where=text("status = 'sending' AND limit_keys IS NOT NULL"),
        ),
    )

    id: int | None = Field(default=None, sa_type=BigId, primary_key=True)
    run_id: int = Field(foreign_key="run.id")
    row: int
    segment: str = ""
    recipient: str | None = None
    dedupe_key: str | None = None
    item: str = Field(sa_type=Text)
    status: str
    reason: str | None = None
    action: str | None = None
    step: int = 0
    epoch: int = 0
    attempts: int = 0
    due_at: datetime | None = _time()
    timezone: str | None = None
    limit_keys: str | None = None
    claim_token: str | None = None
    claimed_at: datetime | None = _time()
    settled_at: datetime | None = _time()
    status_code: int | None = None
    invocation_id: str | None = None
    error_code: str | None = None
    error: str | None = Field(default=None, sa_type=Text)
    latency_ms: float | None = None
    fallback: str | None = Field(default=None, sa_type=Text)
    delivery: str | None = None
    delivery_status: str | None = None
    delivery_code: str | None = None
    delivery_reason: str | None = Field(default=None, sa_type=Text)
    delivered_at: datetime | None = _time()
    in_doubt: bool = Field(default=False, sa_column_kwargs={"server_default": false()})


class FallbackRecipient(LedgerTable, table=True):
    """Somebody whom an item has fallen back to: nobody else's fallback may reach them."""

    __tablename__ = "fallback_recipient"

    run_id: int = Field(foreign_key="run.id", primary_key=True)
    dedupe_key: str = Field(primary_key=True)
    run_item_id: int = Field(sa_type=BigId, foreign_key="run_item.id")


class Attempt(LedgerTable, table=True):
    """A call that was not the last one for its item: another try followed."""

    __tablename__ = "attempt"
    __table_args__ = (
        Index(
            "attempt_invocation",
            "invocation_id",
            sqlite_where=text("invocation_id IS NOT NULL"),
            postgresql_where=text("invocation_id IS NOT NULL"),
        ),
    )

    id: int | None = Field(default=None, sa_type=BigId, primary_key=True)
    run_id: int = Field(foreign_key="run.id", index=True)
    run_item_id: int = Field(sa_type=BigId, foreign_key="run_item.id", index=True)
    step: int
    action: str
    recipient: str
    idempotency_key: str
    invocation_id: str | None = None
    outcome: str
    status_code: int | None = None
    error_code: str | None = None
    error: str | None = Field(default=None, sa_type=Text)
    latency_ms: float | None = None
    attempted_at: datetime | None = _time()


class Worker(LedgerTable, table=True):
    """A process that works on a run. Its claims hold while its lease does."""

    __tablename__ = "worker"

    token: str = Field(primary_key=True)
    run_id: int = Field(foreign_key="run.id", index=True)
    host: str
    pid: int
    lease_expires_at: datetime | None = _time()


class RateLimit(LedgerTable, table=True):
    """Up to when the permits of a limit are given out, in seconds since the epoch of the database's clock."""

    __tablename__ = "rate_limit"

    key: str = Field(primary_key=True)
    next_at: float = 0
    held_until: float = 0


class RunSummary(LedgerTable, table=True):
    """One number of a run's report; the empty segment is the whole run."""

    __tablename__ = "run_summary"

    run_id: int = Field(foreign_key="run.id", primary_key=True)
    segment: str = Field(primary_key=True)
    metric: str = Field(primary_key=True)
    value: float


def table_of(model: type[LedgerTable]) -> Table:
    """The Core table of a model, for the bulk paths (ORM add: 79 us a row, Core executemany: 4.5 us)."""
    return model.__table__  # ty: ignore[missing-attribute]  # every class with table=True has one


RUN = table_of(Run)
RUN_ITEM = table_of(RunItem)
FALLBACK_RECIPIENT = table_of(FallbackRecipient)
ATTEMPT = table_of(Attempt)
WORKER = table_of(Worker)
RATE_LIMIT = table_of(RateLimit)
RUN_SUMMARY = table_of(RunSummary)
