"""Files that several plans have taken the records of: the last of them removes the file."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.datastores.deletion.chunks import ChunkItem, Said, note
from butlerql.storage.datastores.deletion.plans import DETACHING, Outcome
from butlerql.storage.dialect import Dialect
from butlerql.storage.state.tables import DELETION_DATASET, DELETION_ITEM, DELETION_PLAN, DELETION_USE

__all__ = ["HANDED_OVER", "hand_over"]

HANDED_OVER = Said(Outcome.RECORDS_REMOVED, "another deletion has it, too, and removes it")

_WAITING = (Outcome.PENDING, Outcome.DETACHED, Outcome.RESTORE_CONFLICT, Outcome.LOST, Outcome.FAILED)
_AWAY = (Outcome.DETACHED, DETACHING, Outcome.RESTORE_CONFLICT, Outcome.LOST)


async def hand_over(
    connection: AsyncConnection, dialect: Dialect, plan: int, items: Sequence[ChunkItem]
) -> tuple[set[int], set[int]]:
    """Leave files to other plans, in a transaction of the state that writes: they may still be restored there.

    Returns
    -------
    given
        Numbers of those that are left to others, which is written down.
    taken
        Of those that others have left to this plan.
    """
    if not await _are_others(connection, plan):
        return set(), set()
    numbers = [(item.number,) for item in items if item.identity is not None]
    found = await _find(connection, dialect, plan, numbers)
    if found:
        # Those who look at the same time do it one after another, or each would leave it to the other.
        await connection.execute(sa.select(DELETION_PLAN.c.id).order_by(DELETION_PLAN.c.id).with_for_update())
        found = await _find(connection, dialect, plan, numbers)
    given = {number for number, is_waiting in found if is_waiting}
    await note(connection, dialect, DELETION_ITEM, plan, {HANDED_OVER: sorted(given)})
    return given, {number for number, _ in found} - given


async def _are_others(connection: AsyncConnection, plan: int) -> bool:
    """Tell whether any other plan may have the same files: to look for each of them takes longer."""
    item, other = DELETION_ITEM.c, DELETION_PLAN.c
    has_some = sa.exists().where(item.plan_id == other.id, item.outcome.in_((*_WAITING, Outcome.RECORDS_REMOVED)))
    # Of one that nobody asked to carry out nothing is away.
    others = sa.select(other.id).where(other.id != plan, other.unlink_after.is_not(None), has_some)
    return await connection.scalar(others.limit(1)) is not None


async def _find(
    connection: AsyncConnection, dialect: Dialect, plan: int, numbers: Sequence[tuple[int]]
) -> list[tuple[int, bool]]:
    """Find the same files in other plans that have not done with them, or have left them to others."""
    mine, other = DELETION_ITEM.alias("mine"), DELETION_ITEM.alias("other")
    wanted = dialect.rows("numbers", {"number": sa.BigInteger()}, numbers)
    use, dataset = DELETION_USE.c, DELETION_DATASET.c
    is_away = sa.exists().where(
        use.plan_id == other.c.plan_id,
        use.item == other.c.number,
        dataset.plan_id == use.plan_id,
        dataset.dataset_id == use.dataset_id,
        dataset.outcome.in_(_AWAY),
    )
    is_waiting = sa.and_(other.c.outcome.in_(_WAITING), is_away)
    statement = sa.select(mine.c.number, is_waiting).where(
        mine.c.plan_id == plan,
        mine.c.number.in_(sa.select(wanted.c.number)),
        mine.c.root == "",
        other.c.datastore == mine.c.datastore,
        other.c.path == mine.c.path,
        other.c.root == mine.c.root,
        other.c.identity == mine.c.identity,
        other.c.plan_id != mine.c.plan_id,
        sa.or_(is_waiting, other.c.outcome == Outcome.RECORDS_REMOVED),
    )
    return [(number, bool(waits)) for number, waits in await connection.execute(statement)]
