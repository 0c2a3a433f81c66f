"""What a run item falls back to, whom fallbacks have reached, and whether a call is still unknown."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Brings the tables from the revision before to this one."""
    op.add_column("run_item", sa.Column("fallback", sa.Text(), nullable=True))
    op.add_column("run_item", sa.Column("in_doubt", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_table(
        "fallback_recipient",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("dedupe_key", sa.String(), nullable=False),
        sa.Column("run_item_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"]),
        sa.ForeignKeyConstraint(["run_item_id"], ["run_item.id"]),
        sa.PrimaryKeyConstraint("run_id", "dedupe_key"),
    )
