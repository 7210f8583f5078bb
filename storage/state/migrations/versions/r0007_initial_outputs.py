"""Which dataset types tasks write when a pipeline is initialised."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Say it of each task of each pipeline execution."""
    op.add_column("pipeline_task", sa.Column("initial_outputs", sa.Text))
