"""Plans of deletions: datasets, files, and what was taken out of the Butler's tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add four tables."""
    op.create_table(
        "deletion_plan",
        sa.Column("id", _NUMBER, primary_key=True),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("scope", sa.Text, nullable=False),
        sa.Column("datastore", sa.Text),
        sa.Column("selection", sa.Text, nullable=False),
        sa.Column("overridden", sa.BigInteger, nullable=False),
        sa.Column("roots", sa.Text, nullable=False),
        sa.Column("created_by", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("unlink_after", sa.BigInteger),
        sa.Column("job_id", _NUMBER, sa.ForeignKey("job.id", name="deletion_by_job")),
        sa.Column("datasets", sa.BigInteger, nullable=False),
        sa.Column("artifacts", sa.BigInteger, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "deletion_dataset",
        sa.Column("plan_id", _NUMBER, sa.ForeignKey("deletion_plan.id", name="dataset_of_plan"), primary_key=True),
        sa.Column("number", sa.BigInteger, primary_key=True),
        sa.Column("bundle", sa.BigInteger, nullable=False),
        sa.Column("dataset_id", sa.Uuid, nullable=False),
        sa.Column("dataset_type", sa.Text, nullable=False),
        sa.Column("data_id", sa.Text, nullable=False),
        sa.Column("run", sa.Text, nullable=False),
        sa.Column("ingest_day", sa.Text, nullable=False),
        sa.Column("instrument", sa.Text),
        sa.Column("reasons", sa.BigInteger, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("rows", sa.Text),
        sa.UniqueConstraint("plan_id", "dataset_id", name="deletion_dataset_once"),
    )
    op.create_index("deletion_dataset_by_bundle", "deletion_dataset", ["plan_id", "bundle"])
    op.create_index("deletion_dataset_by_run", "deletion_dataset", ["run"])
    op.create_table(
        "deletion_item",
        sa.Column("plan_id", _NUMBER, sa.ForeignKey("deletion_plan.id", name="item_of_plan"), primary_key=True),
        sa.Column("number", sa.BigInteger, primary_key=True),
        sa.Column("bundle", sa.BigInteger, nullable=False),
        sa.Column("datastore", sa.Text),
        sa.Column("root", sa.Text),
        sa.Column("path", sa.Text),
        sa.Column("uri", sa.Text),
        sa.Column("bytes", sa.BigInteger),
        sa.Column("identity", sa.Text),
        sa.Column("stays", sa.Boolean, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.UniqueConstraint("plan_id", "datastore", "root", "path", name="deletion_item_once"),
    )
    op.create_index("deletion_item_by_bundle", "deletion_item", ["plan_id", "bundle"])
    op.create_index("deletion_item_by_outcome", "deletion_item", ["plan_id", "outcome", "number"])
    op.create_index("deletion_item_by_path", "deletion_item", ["datastore", "path"])
    op.create_table(
        "deletion_use",
        sa.Column("plan_id", _NUMBER, sa.ForeignKey("deletion_plan.id", name="use_of_plan"), primary_key=True),
        sa.Column("item", sa.BigInteger, primary_key=True),
        sa.Column("dataset_id", sa.Uuid, primary_key=True),
        sa.Column("record", sa.Text, primary_key=True),
        sa.Column("storage_class", sa.Text),
        sa.Column("formatter", sa.Text),
    )
    op.create_index("deletion_use_by_dataset", "deletion_use", ["plan_id", "dataset_id"])
