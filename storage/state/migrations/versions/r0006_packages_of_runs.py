"""Versions of the software that runs were made with."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Say which each run has."""
    op.add_column("run", sa.Column("packages", sa.Text))
