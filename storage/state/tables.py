"""The tables of the own state; migrations make them, and a test holds both against each other.

Moments are whole microseconds since 1970 in UTC, by the clock of the database (`NOW`).
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from butlerql.storage.dialect import UuidText

__all__ = [
    "AUDIT",
    "CHECKSUM",
    "CHUNK",
    "COVERAGE",
    "DESCRIPTION",
    "FINDING",
    "JOB",
    "METADATA",
    "NOW",
    "REGISTRY",
    "REVISIONS",
]

REVISIONS = ("0001", "0002")
"""All that there have been, the one that this program needs last."""

METADATA = sa.MetaData()

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
"""SQLite numbers rows by itself only in a column of exactly this type."""

REGISTRY = sa.Table("registry", METADATA, sa.Column("name", sa.Text, primary_key=True))
"""Whose state this is: one row, the name of the registry's file, or of its database and schema."""

JOB = sa.Table(
    "job",
    METADATA,
    sa.Column("id", _NUMBER, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("subject", sa.Text),  # name of what it is about
    sa.Column("request", sa.Text, nullable=False),  # JSON, as its kind understands it
    sa.Column("created_by", sa.Text, nullable=False),
    sa.Column("idempotency_key", sa.Text),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("started_at", sa.BigInteger),
    sa.Column("ended_at", sa.BigInteger),
    sa.Column("wait_until", sa.BigInteger),
    sa.Column("cancelled_by", sa.Text),  # who asked for it; it stops after the chunks that run
    sa.Column("holder", sa.Text),
    sa.Column("lease_until", sa.BigInteger),
    sa.Column("planned", sa.Boolean, nullable=False),  # whether all chunks are there
    sa.Column("done", sa.BigInteger, nullable=False),
    sa.Column("total", sa.BigInteger, nullable=False),
    sa.Column("unit", sa.Text, nullable=False),
    sa.Column("bytes_done", sa.BigInteger, nullable=False),
    sa.Column("active_micros", sa.BigInteger, nullable=False),  # how long it has run, pauses left out
    sa.Column("message", sa.Text),
    sa.Column("result", sa.Text),  # JSON
    sa.Column("error", sa.Text),
    sa.UniqueConstraint("created_by", "kind", "idempotency_key", name="job_once"),
    sa.Index("job_by_state", "state", "id"),
)

CHUNK = sa.Table(
    "chunk",
    METADATA,
    sa.Column("job_id", _NUMBER, sa.ForeignKey("job.id", name="chunk_of_job"), primary_key=True),
    sa.Column("number", sa.BigInteger, primary_key=True),
    sa.Column("work", sa.Text, nullable=False),  # JSON
    sa.Column("done", sa.Boolean, nullable=False),
    sa.Index("chunk_to_do", "job_id", "number", sqlite_where=sa.text("NOT done"), postgresql_where=sa.text("NOT done")),
)

FINDING = sa.Table(
    "finding",
    METADATA,
    sa.Column("id", _NUMBER, primary_key=True),
    sa.Column("job_id", _NUMBER, sa.ForeignKey("job.id", name="finding_of_job"), nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("datastore", sa.Text, nullable=False),
    sa.Column("path", sa.Text),  # as in the datastore's records
    sa.Column("dataset_id", UuidText),  # where it is about one dataset, not about a file
    sa.Column("bytes", sa.BigInteger),
    sa.Column("expected", sa.Text),
    sa.Column("observed", sa.Text),
    sa.Index("finding_by_kind", "job_id", "kind", "id"),
)

COVERAGE = sa.Table(
    "coverage",
    METADATA,
    sa.Column("job_id", _NUMBER, sa.ForeignKey("job.id", name="coverage_of_job"), primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("count", sa.BigInteger, nullable=False),
)
"""How many there were of what a validation looked at, and of what it did not, by the reason."""

CHECKSUM = sa.Table(
    "checksum",
    METADATA,
    sa.Column("datastore", sa.Text, primary_key=True),
    sa.Column("path", sa.Text, primary_key=True),
    sa.Column("owner", sa.Text, nullable=False),  # whose content it is: others' may be another
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("identity", sa.Text, nullable=False),
    sa.Column("algorithm", sa.Text, nullable=False),
    sa.Column("checksum", sa.Text, nullable=False),
    sa.Column("verified_at", sa.BigInteger, nullable=False),
)
"""Contents as they were when last read, and by what one knows that they are the same since."""


AUDIT = sa.Table(
    "audit",
    METADATA,
    sa.Column("id", _NUMBER, primary_key=True),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("made_by", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("target", sa.Text, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),  # JSON
    sa.Column("outcome", sa.Text, nullable=False),
)
"""Every change: written down before it is made, and its outcome after."""

DESCRIPTION = sa.Table(
    "description",
    METADATA,
    sa.Column("dataset_type", sa.Text, primary_key=True),
    sa.Column("text", sa.Text, nullable=False),
)
"""What dataset types are, as was said through the service."""


class _Now(FunctionElement[int]):
    """The database's clock, which goes on within a transaction."""

    type = sa.BigInteger()
    inherit_cache = True


@compiles(_Now, "sqlite")
def _now_of_sqlite(element: _Now, compiler: SQLCompiler, **options: Any) -> str:
    return "CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)"


@compiles(_Now, "postgresql")
def _now_of_postgresql(element: _Now, compiler: SQLCompiler, **options: Any) -> str:
    return "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)"


NOW = _Now()
