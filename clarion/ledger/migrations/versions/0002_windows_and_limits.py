"""What a run item waits for: the time zone of its windows, and the keys of its named limits."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Brings the tables from the revision before to this one."""
    op.add_column("run_item", sa.Column("timezone", sa.String(), nullable=True))
    op.add_column("run_item", sa.Column("limit_keys", sa.String(), nullable=True))
