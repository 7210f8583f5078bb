"""What pipelines write when they are initialised: configurations, schemas and versions, once a run.

No unit of work writes them, but where one ran they were there: a configuration of its task, where the repository keeps
configurations of it, and what its graph says that it writes; and versions, where provenance has those of the run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.datastores.existence import Reading
from butlerql.storage.provenance.claims import Claim
from butlerql.storage.provenance.records import QuantumStatus
from butlerql.storage.provenance.run_contents import CONFIGS, PACKAGES
from butlerql.storage.provenance.tables import EXECUTION, PIPELINE_EXECUTION, PIPELINE_TASK, RUN, TASK, TASK_SUMMARY
from butlerql.storage.registry import dataset_types
from butlerql.storage.registry.collections import Collection
from butlerql.storage.snapshot import Snapshot
from butlerql.storage.state.database import State

__all__ = ["lost_initial_outputs"]

_Written = dict[str, str | None]
"""Names of dataset types, and the UUIDs that are recorded."""


async def lost_initial_outputs(state: State, reading: Reading, runs: Mapping[int, Collection]) -> list[Claim]:
    """Find what initialisation must have written into runs, by their numbers here, and they do not have.

    Claims are in the order of their keys, those of a run together.
    """
    tasks, versioned = await _told(state, list(runs))
    async with reading() as snapshot:
        configs = {kind.name for kind in await dataset_types.all_types(snapshot) if kind.storage_class == CONFIGS}
        present = await _present(snapshot, list(runs.values()))
    lost = []
    for number, run in sorted(runs.items()):
        written: _Written = {PACKAGES: None} if number in versioned else {}
        for label, config, others in tasks.get(number, ()):
            written |= dict.fromkeys(others)
            if config is not None or f"{label}_config" in configs:
                written[f"{label}_config"] = config
        gone = sorted(written.keys() - present.get(run.key, set()))
        lost += [Claim.of_initialisation(number, name, written[name]) for name in gone]
    return lost


async def _told(
    state: State, runs: Sequence[int]
) -> tuple[dict[int, list[tuple[str, str | None, list[str]]]], set[int]]:
    """Tell which tasks ran in each run, with the configuration and other outputs of each, and which have versions."""
    given = state.dialect.rows("given", {"id": sa.BigInteger()}, [(number,) for number in runs])
    s, e, p, g = TASK_SUMMARY.c, EXECUTION.c, PIPELINE_TASK.c, PIPELINE_EXECUTION.c
    ran = sa.exists().where(e.run_id == s.run_id, e.task_id == s.task_id, e.status != int(QuantumStatus.UNKNOWN))
    tasks = (
        sa.select(s.run_id, TASK.c.name, p.config, p.initial_outputs)
        .join_from(TASK_SUMMARY, TASK, TASK.c.id == s.task_id)
        .outerjoin(PIPELINE_TASK, sa.and_(p.task_id == s.task_id, p.run_id == s.run_id))
        .where(s.run_id.in_(sa.select(given.c.id)), ran)
        .order_by(p.pipeline_execution_id)
    )
    has_versions = sa.exists().where(g.run_id == RUN.c.id, g.packages.is_not(None))
    versioned = sa.select(RUN.c.id).where(
        RUN.c.id.in_(sa.select(given.c.id)), sa.or_(RUN.c.packages.is_not(None), has_versions)
    )

    async def find(
        connection: AsyncConnection,
    ) -> tuple[dict[int, list[tuple[str, str | None, list[str]]]], set[int]]:
        found: dict[int, list[tuple[str, str | None, list[str]]]] = {}
        for run, label, config, others in await connection.execute(tasks):
            found.setdefault(run, []).append((label, config, orjson.loads(others or "[]")))
        return found, set(await connection.scalars(versioned))

    return await state.read(find, absent=({}, set()))


async def _present(snapshot: Snapshot, runs: Sequence[Collection]) -> dict[int | str, set[str]]:
    """Name the dataset types without dimensions that each run has a dataset of."""
    bare = {kind.key: kind for kind in await dataset_types.all_types(snapshot) if not kind.dimensions.required}
    found: dict[int | str, set[str]] = {}
    # They have the same dimensions, and so the same table.
    for name, dimensions in {(kind.tags_table, kind.dimensions) for kind in bare.values()}:
        tags = snapshot.repository.tables.tags(name, dimensions)
        given = snapshot.repository.dialect.rows("given", {"key": tags.c.collection.type}, [(run.key,) for run in runs])
        statement = sa.select(tags.c.collection, tags.c.dataset_type_id).where(
            tags.c.collection.in_(sa.select(given.c.key)), tags.c.dataset_type_id.in_(list(bare))
        )
        for run, key in await snapshot.rows(statement):
            found.setdefault(run, set()).add(bare[key].name)
    return found
