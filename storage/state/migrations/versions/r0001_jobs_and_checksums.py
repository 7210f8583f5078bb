"""Jobs with their chunks, what they find, and the checksums of contents that were read."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the first tables."""
    op.create_table("registry", sa.Column("name", sa.Text, primary_key=True))
    op.create_table(
        "job",
        sa.Column("id", _NUMBER, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("subject", sa.Text),
        sa.Column("request", sa.Text, nullable=False),
        sa.Column("created_by", sa.Text, nullable=False),
        sa.Column("idempotency_key", sa.Text),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("started_at", sa.BigInteger),
        sa.Column("ended_at", sa.BigInteger),
        sa.Column("wait_until", sa.BigInteger),
        sa.Column("cancelled_by", sa.Text),
        sa.Column("holder", sa.Text),
        sa.Column("lease_until", sa.BigInteger),
        sa.Column("planned", sa.Boolean, nullable=False),
        sa.Column("done", sa.BigInteger, nullable=False),
        sa.Column("total", sa.BigInteger, nullable=False),
        sa.Column("unit", sa.Text, nullable=False),
        sa.Column("bytes_done", sa.BigInteger, nullable=False),
        sa.Column("active_micros", sa.BigInteger, nullable=False),
        sa.Column("message", sa.Text),
        sa.Column("result", sa.Text),
        sa.Column("error", sa.Text),
        sa.UniqueConstraint("created_by", "kind", "idempotency_key", name="job_once"),
    )
    op.create_index("job_by_state", "job", ["state", "id"])
    op.create_table(
        "chunk",
        sa.Column("job_id", _NUMBER, sa.ForeignKey("job.id", name="chunk_of_job"), primary_key=True),
        sa.Column("number", sa.BigInteger, primary_key=True),
        sa.Column("work", sa.Text, nullable=False),
        sa.Column("done", sa.Boolean, nullable=False),
    )
    op.create_index(
        "chunk_to_do",
        "chunk",
        ["job_id", "number"],
        sqlite_where=sa.text("NOT done"),
        postgresql_where=sa.text("NOT done"),
    )
    op.create_table(
        "finding",
        sa.Column("id", _NUMBER, primary_key=True),
        sa.Column("job_id", _NUMBER, sa.ForeignKey("job.id", name="finding_of_job"), nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("datastore", sa.Text, nullable=False),
        sa.Column("path", sa.Text),
        sa.Column("dataset_id", sa.Uuid),
        sa.Column("bytes", sa.BigInteger),
        sa.Column("expected", sa.Text),
        sa.Column("observed", sa.Text),
    )
    op.create_index("finding_by_kind", "finding", ["job_id", "kind", "id"])
    op.create_table(
        "coverage",
        sa.Column("job_id", _NUMBER, sa.ForeignKey("job.id", name="coverage_of_job"), primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("count", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "checksum",
        sa.Column("datastore", sa.Text, primary_key=True),
        sa.Column("path", sa.Text, primary_key=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("identity", sa.Text, nullable=False),
        sa.Column("algorithm", sa.Text, nullable=False),
        sa.Column("checksum", sa.Text, nullable=False),
        sa.Column("verified_at", sa.BigInteger, nullable=False),
    )
