"""What a run item waits for: its time, the time zone of its windows, and the keys of its named limits."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Brings the tables from the revision before to this one."""
    op.add_column("run_item", sa.Column("timezone", sa.String(), nullable=True))
    op.add_column("run_item", sa.Column("limit_keys", sa.String(), nullable=True))
    limited = sa.text("status = 'sending' AND limit_keys IS NOT NULL")
    op.create_index(
        "run_item_limited", "run_item", ["limit_keys"], sqlite_where=limited, postgresql_where=limited
    )
    op.drop_index("run_item_due", table_name="run_item")
    _index("run_item_due", "action", "id", where="due_at IS NULL")
    _index("run_item_later", "due_at", where="due_at IS NOT NULL")
    _index("run_item_held", "action", "id", "due_at", where="due_at IS NOT NULL")
    _index("run_item_zone", "timezone", where="timezone IS NOT NULL")


def _index(name: str, *columns: str, where: str) -> None:
    """Makes an index of a run's pending items, less all but some."""
    condition = sa.text(f"status = 'pending' AND {where}")
    op.create_index(
        name, "run_item", ["run_id", *columns], sqlite_where=condition, postgresql_where=condition
    )
