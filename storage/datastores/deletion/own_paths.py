"""Files that no record of the Butler tells of any more, and that are ours to see to."""

from __future__ import annotations

from collections.abc import Sequence

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.datastores.artifacts.store import Entry, without_devices
from butlerql.storage.datastores.deletion.plans import DETACHING, Outcome
from butlerql.storage.datastores.deletion.unlinking import CLAIM
from butlerql.storage.datastores.validation.catalogue import is_text
from butlerql.storage.state.database import State
from butlerql.storage.state.tables import DELETION_DATASET, DELETION_ITEM, DELETION_USE

__all__ = ["own_paths"]

_OURS = (Outcome.DETACHED, Outcome.RESTORE_CONFLICT, Outcome.FAILED, Outcome.LOST)


async def own_paths(state: State, datastore: str, entries: Sequence[Entry]) -> set[str]:
    """Tell which files of a datastore wait for their deletion, are in the middle of it, or could not be put back.

    Parameters
    ----------
    state
        Where the journal is.
    datastore
        Its name.
    entries
        Files in it; those whose paths are no text are nobody's. What was lost is ours again if it is the one it was.
    """
    claimed = {entry.path for entry in entries if entry.path.rpartition("/")[2].startswith(CLAIM)}
    seen = {entry.path: without_devices(entry.identity or ()) for entry in entries if is_text(entry.path)}
    dataset, use, item = DELETION_DATASET.c, DELETION_USE.c, DELETION_ITEM.c
    # What is detached is in the journal before its files are said to be.
    is_detached = sa.exists().where(
        use.plan_id == item.plan_id,
        use.item == item.number,
        dataset.plan_id == use.plan_id,
        dataset.dataset_id == use.dataset_id,
        dataset.outcome.in_([DETACHING, Outcome.DETACHED]),
    )
    is_ours = sa.or_(item.outcome.in_(_OURS), sa.and_(item.outcome == Outcome.PENDING, is_detached))
    wanted = state.dialect.rows("paths", {"path": sa.Text()}, [(path,) for path in seen])
    statement = sa.select(item.path, item.outcome, item.identity).where(
        item.datastore == datastore, item.root == "", is_ours, item.path.in_(sa.select(wanted.c.path))
    )

    async def read(connection: AsyncConnection) -> set[str]:
        return {
            path
            for path, outcome, identity in await connection.execute(statement)
            if outcome != Outcome.LOST or seen[path] == without_devices(orjson.loads(identity or "[]"))
        }

    nothing: set[str] = set()
    return claimed | await state.read(read, absent=nothing)
