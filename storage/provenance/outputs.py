"""What units of work wrote.

What there is of a unit of work was written by its last attempt: those before it failed, and what one that fails has
written is overwritten or taken away by the next. So conditions on attempts are on the last one. A machine on which
everything failed, and was done again elsewhere, has written nothing.
"""

from __future__ import annotations

import sqlalchemy as sa

from butlerql.storage.dialect import Dialect
from butlerql.storage.provenance.filters import QuantumFilter, quantum_conditions
from butlerql.storage.provenance.tables import DATASET, EDGE, QUANTUM, RUN

__all__ = ["looked_up", "outputs_of", "runs_of"]


def outputs_of(dialect: Dialect, chosen: QuantumFilter) -> sa.Select[tuple[str]]:
    """Select the UUIDs of what units of work were to write, metadata and logs with it; one may come several times."""
    tables = dialect.each(dialect.each(QUANTUM, EDGE), DATASET)
    return _selected(dialect, chosen).select_from(tables).where(EDGE.c.quantum_id == QUANTUM.c.id)


def looked_up(dialect: Dialect, chosen: QuantumFilter) -> sa.Select[tuple[str]]:
    """Select the same, so that it can be asked of one UUID after another whether it is among them."""
    tables = dialect.each(dialect.each(DATASET, EDGE), QUANTUM)
    # The sum keeps SQLite from seeking all units of work of the conditions among those that wrote a dataset.
    return _selected(dialect, chosen).select_from(tables).where(QUANTUM.c.id == EDGE.c.quantum_id + 0)


def runs_of(dialect: Dialect, chosen: QuantumFilter) -> sa.Select[tuple[str]]:
    """Select the names of the runs that units of work wrote to."""
    runs = sa.select(QUANTUM.c.run_id).where(*quantum_conditions(dialect, chosen, only_last=True))
    return sa.select(RUN.c.name).where(RUN.c.id.in_(runs))


def _selected(dialect: Dialect, chosen: QuantumFilter) -> sa.Select[tuple[str]]:
    conditions = quantum_conditions(dialect, chosen, only_last=True)
    return sa.select(DATASET.c.uuid).where(DATASET.c.id == EDGE.c.dataset_id, EDGE.c.is_output, *conditions)
