"""When the attempts of each run began, so that those of a time need not be gone through where all of a run are."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add it, and find it out for the runs that are there."""
    run = sa.table("run", *(sa.column(name, sa.BigInteger) for name in ("id", "first_start", "last_start")))
    execution = sa.table("execution", sa.column("run_id", sa.BigInteger), sa.column("started_at", sa.BigInteger))
    starts = {}
    for name, end in (("first_start", sa.func.min), ("last_start", sa.func.max)):
        op.add_column("run", sa.Column(name, sa.BigInteger))
        start = execution.c.started_at
        known = sa.case((sa.func.count() == sa.func.count(start), end(start)))
        starts[name] = sa.select(known).where(execution.c.run_id == run.c.id).scalar_subquery()
    op.execute(sa.update(run).values(starts))
