"""What comes back: events, reactions, delivery statuses, suppressions, managed lists, outgoing webhooks."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _only(where: str) -> dict[str, Any]:
    """The options of an index of only some of a table's rows."""
    return {"sqlite_where": sa.text(where), "postgresql_where": sa.text(where)}


def upgrade() -> None:
    """Brings the tables from the revision before to this one."""
    _change_run()
    _change_run_item()
    _change_attempt()
    _create_event()
    _create_reaction()
    _create_webhook_delivery()
    _create_suppression()
    _create_suppression_change()
    _create_managed_list()
    _create_managed_list_item()
    _create_managed_list_change()
    _create_webhook_token()


def _change_run() -> None:
    op.add_column("run", sa.Column("parent_id", sa.Integer(), nullable=True))
    op.create_index("ix_run_parent_id", "run", ["parent_id"])
    unfinished = "status NOT IN ('completed', 'unresolved', 'stopped', 'failed')"
    op.create_index("run_unfinished", "run", ["id"], **_only(unfinished))


def _change_run_item() -> None:
    op.add_column("run_item", sa.Column("delivery", sa.String(), nullable=True))
    op.add_column("run_item", sa.Column("delivery_status", sa.String(), nullable=True))
    op.add_column("run_item", sa.Column("delivery_code", sa.String(), nullable=True))
    op.add_column("run_item", sa.Column("delivery_reason", sa.Text(), nullable=True))
    op.add_column("run_item", sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index(
        "run_item_invocation", "run_item", ["invocation_id"], **_only("invocation_id IS NOT NULL")
    )


def _change_attempt() -> None:
    op.create_index("attempt_invocation", "attempt", ["invocation_id"], **_only("invocation_id IS NOT NULL"))


def _create_event() -> None:
    op.create_table(
        "event",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("uid", sa.String(), nullable=False),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("endpoint", sa.String(), nullable=False),
        sa.Column("provider_event_id", sa.String(), nullable=True),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("handled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("run_id", sa.Integer(), nullable=True),
        sa.Column("run_item_id", BIG_ID, nullable=True),
        sa.Column("attributed_by", sa.String(), nullable=True),
        sa.Column("action", sa.String(), nullable=True),
        sa.Column("src_ctx", sa.String(), nullable=True),
        sa.Column("recipient", sa.String(), nullable=True),
        sa.Column("sender", sa.String(), nullable=True),
        sa.Column("invocation_id", sa.String(), nullable=True),
        sa.Column("related_id", sa.String(), nullable=True),
        sa.Column("client_ref", sa.String(), nullable=True),
        sa.Column("name", sa.String(), nullable=True),
        sa.Column("status", sa.String(), nullable=True),
        sa.Column("error_code", sa.String(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column("value", sa.Float(), nullable=True),
        sa.Column("currency", sa.String(), nullable=True),
        sa.Column("data", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"],
            ["run.id"],
        ),
        sa.ForeignKeyConstraint(
            ["run_item_id"],
            ["run_item.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("endpoint", "provider_event_id", name="event_once"),
        sa.UniqueConstraint("uid"),
    )
    op.create_index("event_of_item", "event", ["run_item_id", "id"], **_only("run_item_id IS NOT NULL"))
    op.create_index("event_of_run", "event", ["run_id", "type", "id"])
    op.create_index("event_received", "event", ["id"], **_only("state = 'received'"))
    op.create_index("event_recipient", "event", ["recipient", "id"], **_only("recipient IS NOT NULL"))
    op.create_index("event_unattributed", "event", ["id"], **_only("run_id IS NULL"))


def _create_reaction() -> None:
    op.create_table(
        "reaction",
        sa.Column("event_id", BIG_ID, nullable=False),
        sa.Column("handler", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=True),
        sa.Column("run_item_id", BIG_ID, nullable=True),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["event_id"],
            ["event.id"],
        ),
        sa.ForeignKeyConstraint(
            ["run_id"],
            ["run.id"],
        ),
        sa.ForeignKeyConstraint(
            ["run_item_id"],
            ["run_item.id"],
        ),
        sa.PrimaryKeyConstraint("event_id", "handler"),
    )
    op.create_index("ix_reaction_run_id", "reaction", ["run_id"])
    op.create_index("reaction_due", "reaction", ["due_at"], **_only("status = 'pending'"))


def _create_webhook_delivery() -> None:
    op.create_table(
        "webhook_delivery",
        sa.Column("event_id", BIG_ID, nullable=False),
        sa.Column("subscriber", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_status_code", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["event_id"],
            ["event.id"],
        ),
        sa.PrimaryKeyConstraint("event_id", "subscriber"),
    )
    op.create_index("webhook_due", "webhook_delivery", ["due_at"], **_only("status = 'pending'"))


def _create_suppression() -> None:
    op.create_table(
        "suppression",
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("scope", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("who", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("address", "scope"),
    )


def _create_suppression_change() -> None:
    op.create_table(
        "suppression_change",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("scope", sa.String(), nullable=False),
        sa.Column("change", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("who", sa.String(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_suppression_change_address", "suppression_change", ["address"])


def _create_managed_list() -> None:
    op.create_table(
        "managed_list",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("description", sa.String(), nullable=True),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("items_count", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
    )


def _create_managed_list_item() -> None:
    op.create_table(
        "managed_list_item",
        sa.Column("list_id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("item", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["list_id"],
            ["managed_list.id"],
        ),
        sa.PrimaryKeyConstraint("list_id", "key"),
    )


def _create_managed_list_change() -> None:
    op.create_table(
        "managed_list_change",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("list_name", sa.String(), nullable=False),
        sa.Column("change", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=True),
        sa.Column("inserted", sa.Integer(), nullable=False),
        sa.Column("updated", sa.Integer(), nullable=False),
        sa.Column("deleted", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("who", sa.String(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_managed_list_change_list_name", "managed_list_change", ["list_name"])


def _create_webhook_token() -> None:
    op.create_table(
        "webhook_token",
        sa.Column("endpoint", sa.String(), nullable=False),
        sa.Column("token", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("endpoint", "token"),
    )
    op.create_index("ix_webhook_token_received_at", "webhook_token", ["received_at"])
