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
    "DELETION_DATASET",
    "DELETION_ITEM",
    "DELETION_PLAN",
    "DELETION_USE",
    "DESCRIPTION",
    "FINDING",
    "JOB",
    "METADATA",
    "NOW",
    "REGISTRY",
    "REVISIONS",
]

REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006", "0007")
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

DELETION_PLAN = sa.Table(
    "deletion_plan",
    METADATA,
    sa.Column("id", _NUMBER, primary_key=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("scope", sa.Text, nullable=False),
    sa.Column("datastore", sa.Text),  # NULL is all
    sa.Column("selection", sa.Text, nullable=False),  # JSON
    sa.Column("overridden", sa.BigInteger, nullable=False),  # reasons that do not block, a bit each
    sa.Column("roots", sa.Text, nullable=False),  # JSON: what the root of each datastore was
    sa.Column("created_by", sa.Text, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.BigInteger, nullable=False),
    sa.Column("unlink_after", sa.BigInteger),
    sa.Column("job_id", _NUMBER, sa.ForeignKey("job.id", name="deletion_by_job")),  # the last that worked on it
    sa.Column("datasets", sa.BigInteger, nullable=False),
    sa.Column("artifacts", sa.BigInteger, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),  # of what goes
)

DELETION_DATASET = sa.Table(
    "deletion_dataset",
    METADATA,
    sa.Column("plan_id", _NUMBER, sa.ForeignKey("deletion_plan.id", name="dataset_of_plan"), primary_key=True),
    sa.Column("number", sa.BigInteger, primary_key=True),
    sa.Column("bundle", sa.BigInteger, nullable=False),  # datasets that share files have the same
    sa.Column("dataset_id", UuidText, nullable=False),
    sa.Column("dataset_type", sa.Text, nullable=False),
    sa.Column("data_id", sa.Text, nullable=False),  # JSON
    sa.Column("run", sa.Text, nullable=False),
    sa.Column("ingest_day", sa.Text, nullable=False),
    sa.Column("instrument", sa.Text),
    sa.Column("reasons", sa.BigInteger, nullable=False),  # against its deletion, and warnings, a bit each
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("rows", sa.Text),  # JSON: what was taken out of the Butler's tables
    sa.UniqueConstraint("plan_id", "dataset_id", name="deletion_dataset_once"),
    sa.Index("deletion_dataset_by_bundle", "plan_id", "bundle"),
    sa.Index("deletion_dataset_by_run", "run"),
)
"""The datasets of a plan. What was taken out is kept here whole, until and after the files are gone."""

DELETION_ITEM = sa.Table(
    "deletion_item",
    METADATA,
    sa.Column("plan_id", _NUMBER, sa.ForeignKey("deletion_plan.id", name="item_of_plan"), primary_key=True),
    sa.Column("number", sa.BigInteger, primary_key=True),
    sa.Column("bundle", sa.BigInteger, nullable=False),
    sa.Column("datastore", sa.Text),  # this and what follows is NULL for datasets without files
    sa.Column("root", sa.Text),  # absolute URI; empty where it is the datastore's, which can be moved
    sa.Column("path", sa.Text),  # relative to the root
    sa.Column("uri", sa.Text),
    sa.Column("bytes", sa.BigInteger),
    sa.Column("identity", sa.Text),  # JSON; NULL where nothing was there, or it could not be looked at
    sa.Column("stays", sa.Boolean, nullable=False),  # others use it, or it is outside the datastore's root
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.UniqueConstraint("plan_id", "datastore", "root", "path", name="deletion_item_once"),
    sa.Index("deletion_item_by_bundle", "plan_id", "bundle"),
    sa.Index("deletion_item_by_outcome", "plan_id", "outcome", "number"),
    sa.Index("deletion_item_by_path", "datastore", "path"),
)
"""The files of a plan; each dataset without any has a row of its own."""

DELETION_USE = sa.Table(
    "deletion_use",
    METADATA,
    sa.Column("plan_id", _NUMBER, sa.ForeignKey("deletion_plan.id", name="use_of_plan"), primary_key=True),
    sa.Column("item", sa.BigInteger, primary_key=True),
    sa.Column("dataset_id", UuidText, primary_key=True),  # of the plan, or another that uses the file
    sa.Column("record", sa.Text, primary_key=True),  # the path in the records; empty where there is none
    sa.Column("storage_class", sa.Text),
    sa.Column("formatter", sa.Text),
    sa.Index("deletion_use_by_dataset", "plan_id", "dataset_id"),
)
"""Which dataset has which file."""


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
