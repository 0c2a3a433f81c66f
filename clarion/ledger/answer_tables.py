"""The ledger's tables of what comes back and of what is done about it."""

from datetime import datetime
from typing import Any

from sqlalchemy import Index, Text, UniqueConstraint, text
from sqlmodel import Field

from clarion.ledger.tables import BigId, LedgerTable, UtcDateTime, table_of


def _time() -> Any:
    return Field(default=None, sa_type=UtcDateTime)  # type: ignore[call-overload]


def _only(name: str, *columns: str, where: str) -> Index:
    """An index of only some of a table's rows."""
    return Index(name, *columns, sqlite_where=text(where), postgresql_where=text(where))


class Event(LedgerTable, table=True):
    """Something that came back from the world. The raw `data` are stored before anything is read from them.

    `state` is `received` until the event was attributed and its handlers have run (`handled`). `endpoint`
    names where it came in; with `provider_event_id` it tells a redelivery.
    """

    __tablename__ = "event"
    __table_args__ = (
        UniqueConstraint("endpoint", "provider_event_id", name="event_once"),
        _only("event_received", "id", where="state = 'received'"),
        _only("event_unattributed", "id", where="run_id IS NULL"),
        _only("event_of_item", "run_item_id", "id", where="run_item_id IS NOT NULL"),
        Index("event_of_run", "run_id", "type", "id"),
        _only("event_recipient", "recipient", "id", where="recipient IS NOT NULL"),
    )

    id: int | None = Field(default=None, sa_type=BigId, primary_key=True)
    uid: str = Field(unique=True)
    type: str
    endpoint: str
    provider_event_id: str | None = None
    occurred_at: datetime | None = _time()
    received_at: datetime | None = _time()
    state: str = "received"
    handled_at: datetime | None = _time()
    run_id: int | None = Field(default=None, foreign_key="run.id")
    run_item_id: int | None = Field(default=None, sa_type=BigId, foreign_key="run_item.id")
    attributed_by: str | None = None
    action: str | None = None
    src_ctx: str | None = None
    recipient: str | None = None
    sender: str | None = None
    invocation_id: str | None = None
    related_id: str | None = None
    client_ref: str | None = None
    name: str | None = None
    status: str | None = None
    error_code: str | None = None
    error: str | None = Field(default=None, sa_type=Text)
    text: str | None = Field(default=None, sa_type=Text)
    value: float | None = None
    currency: str | None = None
    data: str = Field(sa_type=Text)


class Reaction(LedgerTable, table=True):
    """What a handler did about an event: at most one row, so at most once."""

    __tablename__ = "reaction"
    __table_args__ = (_only("reaction_due", "due_at", where="status = 'pending'"),)

    event_id: int = Field(sa_type=BigId, foreign_key="event.id", primary_key=True)
    handler: str = Field(primary_key=True)
    kind: str
    run_id: int | None = Field(default=None, foreign_key="run.id", index=True)
    run_item_id: int | None = Field(default=None, sa_type=BigId, foreign_key="run_item.id")
    status: str
    error: str | None = Field(default=None, sa_type=Text)
    attempts: int = 0
    due_at: datetime | None = _time()
    created_at: datetime | None = _time()


class Suppression(LedgerTable, table=True):
    """An address that gets nothing more: of everything (scope ''), of `channel:NAME`, or of `job:NAME`."""

    __tablename__ = "suppression"

    address: str = Field(primary_key=True)
    scope: str = Field(primary_key=True)
    reason: str
    who: str
    created_at: datetime | None = _time()


class SuppressionChange(LedgerTable, table=True):
    """Who added or removed a suppression, when and why."""

    __tablename__ = "suppression_change"

    id: int | None = Field(default=None, sa_type=BigId, primary_key=True)
    address: str = Field(index=True)
    scope: str
    change: str
    reason: str
    who: str
    changed_at: datetime | None = _time()


class ManagedList(LedgerTable, table=True):
    """A list kept in the database; `key` is the attribute that identifies an item."""

    __tablename__ = "managed_list"

    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(unique=True)
    description: str | None = None
    tags: str = Field(default="[]", sa_type=Text)
    key: str
    items_count: int = 0
    created_at: datetime | None = _time()
    updated_at: datetime | None = _time()


class ManagedListItem(LedgerTable, table=True):
    """One item of a managed list."""

    __tablename__ = "managed_list_item"

    list_id: int = Field(foreign_key="managed_list.id", primary_key=True)
    key: str = Field(primary_key=True)
    item: str = Field(sa_type=Text)
    updated_at: datetime | None = _time()


class ManagedListChange(LedgerTable, table=True):
    """Who changed a list, when and why: one row a command, not one an item."""

    __tablename__ = "managed_list_change"

    id: int | None = Field(default=None, sa_type=BigId, primary_key=True)
    list_name: str = Field(index=True)
    change: str
    key: str | None = None
    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    reason: str
    who: str
    changed_at: datetime | None = _time()


class WebhookDelivery(LedgerTable, table=True):
    """An event that a subscriber is to get; `dead` once its tries are used up, until somebody replays it."""

    __tablename__ = "webhook_delivery"
    __table_args__ = (_only("webhook_due", "due_at", where="status = 'pending'"),)

    event_id: int = Field(sa_type=BigId, foreign_key="event.id", primary_key=True)
    subscriber: str = Field(primary_key=True)
    status: str
    attempts: int = 0
    due_at: datetime | None = _time()
    last_status_code: int | None = None
    error: str | None = Field(default=None, sa_type=Text)
    delivered_at: datetime | None = _time()


class WebhookToken(LedgerTable, table=True):
    """A one-time token that a provider signed a request with, and the digest of what it was used for."""

    __tablename__ = "webhook_token"

    endpoint: str = Field(primary_key=True)
    token: str = Field(primary_key=True)
    digest: str
    received_at: datetime | None = Field(default=None, sa_type=UtcDateTime, index=True)


EVENT = table_of(Event)
REACTION = table_of(Reaction)
SUPPRESSION = table_of(Suppression)
SUPPRESSION_CHANGE = table_of(SuppressionChange)
MANAGED_LIST = table_of(ManagedList)
MANAGED_LIST_ITEM = table_of(ManagedListItem)
MANAGED_LIST_CHANGE = table_of(ManagedListChange)
WEBHOOK_DELIVERY = table_of(WebhookDelivery)
WEBHOOK_TOKEN = table_of(WebhookToken)
