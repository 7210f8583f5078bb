"""The tables of provenance, in the own state; see `butlerql.storage.state.tables` for what they have in common.

Runs, tasks, hosts and datasets are here by themselves: provenance stays when the registry forgets what it is about.
Numbers of rows are given out by who ingests, one at a time, so that they are known before the rows are there. The large
tables have no foreign keys: PostgreSQL would look each of them up.
"""

from __future__ import annotations

import sqlalchemy as sa

from butlerql.storage.dialect import UuidText
from butlerql.storage.state.tables import METADATA

__all__ = [
    "DATASET",
    "EDGE",
    "EXCEPTION",
    "EXECUTION",
    "HOST",
    "HOST_SUMMARY",
    "PACKAGES",
    "PIPELINE_EXECUTION",
    "PIPELINE_TASK",
    "PLAN",
    "QUANTUM",
    "RUN",
    "SKIPPED",
    "SOURCE",
    "TASK",
    "TASK_SUMMARY",
    "TASK_USE",
]


def _number() -> sa.Column[int]:
    # SQLite takes a column of exactly this type for the row's own number, and needs no index then.
    kind = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    return sa.Column("id", kind, primary_key=True, autoincrement=False)


def _named(table: str) -> sa.Table:
    """Make a table of names, so that others have short numbers in their place."""
    return sa.Table(table, METADATA, _number(), sa.Column("name", sa.Text, nullable=False, unique=True))


SOURCE = sa.Table(
    "source",
    METADATA,
    _number(),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("records", sa.BigInteger, nullable=False),  # so many are taken in; who goes on passes over them
    sa.Column("executions", sa.BigInteger, nullable=False),
    sa.Column("quanta", sa.BigInteger, nullable=False),
    sa.Column("ended_at", sa.BigInteger),  # NULL while something of it may be missing
    sa.UniqueConstraint("kind", "name", "digest", name="source_once"),
)

SKIPPED = sa.Table(
    "skipped",
    METADATA,
    sa.Column("source_id", sa.BigInteger, sa.ForeignKey("source.id", name="skipped_of_source"), primary_key=True),
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
)

RUN = sa.Table(
    "run",
    METADATA,
    _number(),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("hosts_summed", sa.Boolean, nullable=False),  # whether its rows of `host_summary`, and what follows, hold
    sa.Column("first_start", sa.BigInteger),  # of its attempts; NULL where it is not known of all of them
    sa.Column("last_start", sa.BigInteger),
    sa.Column("packages", sa.Text),  # digest; those of the run itself, whatever its graphs say
)

TASK = _named("task")
HOST = _named("host")
EXCEPTION = _named("exception")

PACKAGES = sa.Table(
    "packages",
    METADATA,
    sa.Column("digest", sa.Text, primary_key=True),
    sa.Column("content", sa.Text, nullable=False),  # JSON, name to version
)

PIPELINE_EXECUTION = sa.Table(
    "pipeline_execution",
    METADATA,
    _number(),
    sa.Column("uuid", UuidText, nullable=False, unique=True),
    sa.Column("run_id", sa.BigInteger, sa.ForeignKey("run.id", name="pipeline_execution_in_run"), nullable=False),
    sa.Column("pipeline", sa.Text),
    sa.Column("made_by", sa.Text),
    sa.Column("command", sa.Text),
    sa.Column("created_at", sa.BigInteger),
    sa.Column("packages", sa.Text),
    sa.Index("pipeline_execution_by_run", "run_id"),
)

PIPELINE_TASK = sa.Table(
    "pipeline_task",
    METADATA,
    sa.Column("task_id", sa.BigInteger, sa.ForeignKey("task.id", name="pipeline_task_of_task"), primary_key=True),
    sa.Column("run_id", sa.BigInteger, sa.ForeignKey("run.id", name="pipeline_task_in_run"), primary_key=True),
    sa.Column("pipeline_execution_id", sa.BigInteger, primary_key=True, autoincrement=False),  # 0 where none is known
    sa.Column("task_class", sa.Text),
    sa.Column("config", UuidText),
    sa.Column("config_digest", sa.Text),
    sa.Column("initial_outputs", sa.Text),  # JSON, names of dataset types; NULL where no graph says
    sa.Index("pipeline_task_by_pipeline_execution", "pipeline_execution_id"),
)

TASK_USE = sa.Table(
    "task_use",
    METADATA,
    sa.Column("task_id", sa.BigInteger, sa.ForeignKey("task.id", name="use_by_task"), primary_key=True),
    sa.Column("is_output", sa.Boolean, primary_key=True),
    sa.Column("dataset_type", sa.Text, primary_key=True),
    sa.Index("task_use_by_dataset_type", "dataset_type"),
)
"""Dataset types that a task was ever known to read or write."""

QUANTUM = sa.Table(
    "quantum",
    METADATA,
    _number(),
    sa.Column("run_id", sa.BigInteger, sa.ForeignKey("run.id", name="quantum_in_run"), nullable=False),
    sa.Column("task_id", sa.BigInteger, sa.ForeignKey("task.id", name="quantum_of_task"), nullable=False),
    sa.Column("data_id", sa.Text, nullable=False),  # JSON of the required dimensions, by name
    sa.Column("uuid", UuidText),
    sa.Column("status", sa.SmallInteger, nullable=False),  # of the last attempt
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("is_blocked", sa.Boolean, nullable=False),  # whether a graph says so: its status, if there is no attempt
    sa.UniqueConstraint("run_id", "task_id", "data_id", name="quantum_once"),
    sa.Index("quantum_by_status", "run_id", "task_id", "status", "attempts"),
)

PLAN = sa.Table(
    "plan",
    METADATA,
    sa.Column("quantum_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("pipeline_execution_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Index("plan_by_pipeline_execution", "pipeline_execution_id", "quantum_id"),
    sqlite_with_rowid=False,
)
"""Which graphs planned a unit of work."""

EXECUTION = sa.Table(
    "execution",
    METADATA,
    _number(),
    sa.Column("quantum_id", sa.BigInteger, nullable=False),
    sa.Column("run_id", sa.BigInteger, nullable=False),  # as that of its quantum: questions filter on both
    sa.Column("task_id", sa.BigInteger, nullable=False),
    sa.Column("pipeline_execution_id", sa.BigInteger),
    sa.Column("attempt", sa.Integer, nullable=False),  # by time, among all of its quantum
    sa.Column("number", sa.Integer, nullable=False),  # as its source numbers them
    sa.Column("believed", sa.SmallInteger, nullable=False),  # rank of its best source, 0 the most to be believed
    sa.Column("status", sa.SmallInteger, nullable=False),
    sa.Column("host_id", sa.BigInteger),
    sa.Column("started_at", sa.BigInteger),
    sa.Column("ended_at", sa.BigInteger),
    sa.Column("run_time", sa.Double),
    sa.Column("cpu_time", sa.Double),
    sa.Column("max_rss", sa.BigInteger),
    sa.Column("process_index", sa.Integer),
    sa.Column("exception_id", sa.BigInteger),
    sa.Column("message", sa.Text),
    sa.Column("caveats", sa.Integer),
    sa.Column("log", UuidText),
    sa.Column("metadata", UuidText),
    sa.Index("execution_by_quantum", "quantum_id"),
    sa.Index("execution_by_task", "run_id", "task_id", "status"),
    sa.Index("execution_by_host", "host_id", "started_at"),
    sa.Index("execution_by_time", "started_at"),
)

DATASET = sa.Table(
    "dataset",
    METADATA,
    _number(),
    sa.Column("uuid", UuidText, nullable=False, unique=True),
    sa.Column("dataset_type", sa.Text),
    sa.Column("data_id", sa.Text),  # JSON of the required dimensions
    sa.Column("run_id", sa.BigInteger),
    sa.Column("produced", sa.Boolean),
)

EDGE = sa.Table(
    "edge",
    METADATA,
    sa.Column("quantum_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("is_output", sa.Boolean, primary_key=True),
    sa.Column("dataset_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Index("edge_by_dataset", "dataset_id", "is_output", "quantum_id"),
)

TASK_SUMMARY = sa.Table(
    "task_summary",
    METADATA,
    sa.Column("run_id", sa.BigInteger, sa.ForeignKey("run.id", name="task_summary_of_run"), primary_key=True),
    sa.Column("task_id", sa.BigInteger, sa.ForeignKey("task.id", name="task_summary_of_task"), primary_key=True),
    sa.Column("content", sa.Text),  # JSON; NULL where something was added since
)
"""What is summed up already; a row for each task of each run."""

HOST_SUMMARY = sa.Table(
    "host_summary",
    METADATA,
    sa.Column("run_id", sa.BigInteger, sa.ForeignKey("run.id", name="host_summary_of_run"), primary_key=True),
    sa.Column("host_id", sa.BigInteger, primary_key=True, autoincrement=False),  # 0 for all whose host is not known
    sa.Column("executions", sa.BigInteger, nullable=False),
    sa.Column("successful", sa.BigInteger, nullable=False),
    sa.Column("failed", sa.BigInteger, nullable=False),
    sa.Column("recovered_elsewhere", sa.BigInteger, nullable=False),
    sa.Column("quanta", sa.BigInteger, nullable=False),
    sa.Column("tasks", sa.Text, nullable=False),  # JSON, their numbers
    sa.Column("first_seen", sa.BigInteger),
    sa.Column("last_seen", sa.BigInteger),
    sa.Column("last_success", sa.BigInteger),
)
"""What is summed up already of each run."""
