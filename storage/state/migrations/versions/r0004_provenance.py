"""Provenance: what ran, where and how it ended, and what it read and wrote."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from butlerql.storage.dialect import UuidText

revision = "0004"
down_revision = "0003"

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add its tables."""
    op.create_table(
        "source",
        sa.Column("id", _NUMBER, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("records", sa.BigInteger, nullable=False),
        sa.Column("executions", sa.BigInteger, nullable=False),
        sa.Column("quanta", sa.BigInteger, nullable=False),
        sa.Column("ended_at", sa.BigInteger),
        sa.UniqueConstraint("kind", "name", "digest", name="source_once"),
    )
    op.create_table(
        "skipped",
        sa.Column("source_id", sa.BigInteger, sa.ForeignKey("source.id", name="skipped_of_source"), primary_key=True),
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
    )
    op.create_table(
        "run",
        sa.Column("id", _NUMBER, primary_key=True, autoincrement=False),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("hosts_summed", sa.Boolean, nullable=False),
    )
    op.create_table(
        "task",
        sa.Column("id", _NUMBER, primary_key=True, autoincrement=False),
        sa.Column("name", sa.Text, nullable=False, unique=True),
    )
    op.create_table(
        "host",
        sa.Column("id", _NUMBER, primary_key=True, autoincrement=False),
        sa.Column("name", sa.Text, nullable=False, unique=True),
    )
    op.create_table(
        "exception",
        sa.Column("id", _NUMBER, primary_key=True, autoincrement=False),
        sa.Column("name", sa.Text, nullable=False, unique=True),
    )
    op.create_table(
        "packages",
        sa.Column("digest", sa.Text, primary_key=True),
        sa.Column("content", sa.Text, nullable=False),
    )
    op.create_table(
        "pipeline_execution",
        sa.Column("id", _NUMBER, primary_key=True, autoincrement=False),
        sa.Column("uuid", UuidText(), nullable=False, unique=True),
        sa.Column("run_id", sa.BigInteger, sa.ForeignKey("run.id", name="pipeline_execution_in_run"), nullable=False),
        sa.Column("pipeline", sa.Text),
        sa.Column("made_by", sa.Text),
        sa.Column("command", sa.Text),
        sa.Column("created_at", sa.BigInteger),
        sa.Column("packages", sa.Text),
    )
    op.create_index("pipeline_execution_by_run", "pipeline_execution", ["run_id"])
    op.create_table(
        "pipeline_task",
        sa.Column("task_id", sa.BigInteger, sa.ForeignKey("task.id", name="pipeline_task_of_task"), primary_key=True),
        sa.Column("run_id", sa.BigInteger, sa.ForeignKey("run.id", name="pipeline_task_in_run"), primary_key=True),
        sa.Column("pipeline_execution_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("task_class", sa.Text),
        sa.Column("config", UuidText()),
        sa.Column("config_digest", sa.Text),
    )
    op.create_index("pipeline_task_by_pipeline_execution", "pipeline_task", ["pipeline_execution_id"])
    op.create_table(
        "task_use",
        sa.Column("task_id", sa.BigInteger, sa.ForeignKey("task.id", name="use_by_task"), primary_key=True),
        sa.Column("is_output", sa.Boolean, primary_key=True),
        sa.Column("dataset_type", sa.Text, primary_key=True),
    )
    op.create_index("task_use_by_dataset_type", "task_use", ["dataset_type"])
    op.create_table(
        "quantum",
        sa.Column("id", _NUMBER, primary_key=True, autoincrement=False),
        sa.Column("run_id", sa.BigInteger, sa.ForeignKey("run.id", name="quantum_in_run"), nullable=False),
        sa.Column("task_id", sa.BigInteger, sa.ForeignKey("task.id", name="quantum_of_task"), nullable=False),
        sa.Column("data_id", sa.Text, nullable=False),
        sa.Column("uuid", UuidText()),
        sa.Column("status", sa.SmallInteger, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("is_blocked", sa.Boolean, nullable=False),
        sa.UniqueConstraint("run_id", "task_id", "data_id", name="quantum_once"),
    )
    op.create_index("quantum_by_status", "quantum", ["run_id", "task_id", "status", "attempts"])
    op.create_table(
        "plan",
        sa.Column("quantum_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("pipeline_execution_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sqlite_with_rowid=False,
    )
    op.create_index("plan_by_pipeline_execution", "plan", ["pipeline_execution_id", "quantum_id"])
    op.create_table(
        "execution",
        sa.Column("id", _NUMBER, primary_key=True, autoincrement=False),
        sa.Column("quantum_id", sa.BigInteger, nullable=False),
        sa.Column("run_id", sa.BigInteger, nullable=False),
        sa.Column("task_id", sa.BigInteger, nullable=False),
        sa.Column("pipeline_execution_id", sa.BigInteger),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("believed", sa.SmallInteger, nullable=False),
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
        sa.Column("log", UuidText()),
        sa.Column("metadata", UuidText()),
    )
    op.create_index("execution_by_quantum", "execution", ["quantum_id"])
    op.create_index("execution_by_task", "execution", ["run_id", "task_id", "status"])
    op.create_index("execution_by_host", "execution", ["host_id", "started_at"])
    op.create_index("execution_by_time", "execution", ["started_at"])
    op.create_table(
        "dataset",
        sa.Column("id", _NUMBER, primary_key=True, autoincrement=False),
        sa.Column("uuid", UuidText(), nullable=False, unique=True),
        sa.Column("dataset_type", sa.Text),
        sa.Column("data_id", sa.Text),
        sa.Column("run_id", sa.BigInteger),
        sa.Column("produced", sa.Boolean),
    )
    op.create_table(
        "edge",
        sa.Column("quantum_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("is_output", sa.Boolean, primary_key=True),
        sa.Column("dataset_id", sa.BigInteger, primary_key=True, autoincrement=False),
    )
    op.create_index("edge_by_dataset", "edge", ["dataset_id", "is_output", "quantum_id"])
    op.create_table(
        "task_summary",
        sa.Column("run_id", sa.BigInteger, sa.ForeignKey("run.id", name="task_summary_of_run"), primary_key=True),
        sa.Column("task_id", sa.BigInteger, sa.ForeignKey("task.id", name="task_summary_of_task"), primary_key=True),
        sa.Column("content", sa.Text),
    )
    op.create_table(
        "host_summary",
        sa.Column("run_id", sa.BigInteger, sa.ForeignKey("run.id", name="host_summary_of_run"), primary_key=True),
        sa.Column("host_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("executions", sa.BigInteger, nullable=False),
        sa.Column("successful", sa.BigInteger, nullable=False),
        sa.Column("failed", sa.BigInteger, nullable=False),
        sa.Column("recovered_elsewhere", sa.BigInteger, nullable=False),
        sa.Column("quanta", sa.BigInteger, nullable=False),
        sa.Column("tasks", sa.Text, nullable=False),
        sa.Column("first_seen", sa.BigInteger),
        sa.Column("last_seen", sa.BigInteger),
        sa.Column("last_success", sa.BigInteger),
    )
