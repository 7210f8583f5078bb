"""Datasets that share files are a bundle: they go together, or none of them goes."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.datastores.deletion.plans import BLOCKING, Outcome, Plan, Reason, bits
from butlerql.storage.state.tables import DELETION_DATASET, DELETION_ITEM, DELETION_USE

__all__ = ["settle"]


async def settle(connection: AsyncConnection, plan: Plan) -> None:
    """Conclude from what is written down of a plan who goes with whom, and what is left alone."""
    dataset, item, use = DELETION_DATASET.c, DELETION_ITEM.c, DELETION_USE.c
    of_plan = dataset.plan_id == plan.id
    await _forget_strangers(connection, plan)
    await _bundle(connection, plan)
    stops = dataset.reasons.op("&")(bits(BLOCKING - plan.overridden)) != 0
    shared = dataset.reasons.op("|")(bits([Reason.SHARED_ARTIFACT]))
    is_planned = sa.exists().where(of_plan, dataset.dataset_id == use.dataset_id).correlate(DELETION_USE)
    # Others have a file of these. Few are blocked or shared as a rule: all begins with those.
    foreign = sa.select(use.item).where(use.plan_id == plan.id, use.record == "", ~is_planned)
    has_foreign = sa.select(use.dataset_id).where(use.plan_id == plan.id, use.item.in_(foreign))
    await connection.execute(
        sa.update(DELETION_DATASET).where(of_plan, dataset.dataset_id.in_(has_foreign)).values(reasons=shared)
    )
    if Reason.SHARED_ARTIFACT not in plan.overridden:
        # What shares files with one that stays, stays.
        stopped = sa.select(dataset.bundle).where(of_plan, stops)
        others = [of_plan, sa.not_(stops), dataset.bundle.in_(stopped)]
        await connection.execute(sa.update(DELETION_DATASET).where(*others).values(reasons=shared))
    await connection.execute(sa.update(DELETION_DATASET).where(of_plan, stops).values(outcome=Outcome.BLOCKED))
    blocked = sa.select(dataset.dataset_id).where(of_plan, dataset.outcome == Outcome.BLOCKED)
    kept = sa.select(use.item).where(use.plan_id == plan.id, use.dataset_id.in_(blocked)).union(foreign)
    await connection.execute(
        sa.update(DELETION_ITEM).where(item.plan_id == plan.id, item.number.in_(kept)).values(stays=True)
    )
    its = [use.plan_id == plan.id, use.item == item.number, of_plan, dataset.dataset_id == use.dataset_id]
    goes = sa.exists().where(*its, dataset.outcome == Outcome.PENDING).correlate(DELETION_ITEM)
    await connection.execute(
        sa.update(DELETION_ITEM).where(item.plan_id == plan.id, item.stays, ~goes).values(outcome=Outcome.BLOCKED)
    )
    await _say_why(connection, plan)


async def _say_why(connection: AsyncConnection, plan: Plan) -> None:
    """Write down of files that are left alone what their datasets are left alone for: a statement a reason."""
    dataset, item, use = DELETION_DATASET.c, DELETION_ITEM.c, DELETION_USE.c
    blocked = [dataset.plan_id == plan.id, dataset.outcome == Outcome.BLOCKED]
    combinations = (await connection.scalars(sa.select(dataset.reasons).distinct().where(*blocked))).all()
    for reason in sorted(BLOCKING - plan.overridden):
        bit = bits([reason])
        if not any(one & bit for one in combinations):
            continue
        those = sa.select(dataset.dataset_id).where(*blocked, dataset.reasons.op("&")(bit) != 0)
        its = sa.select(use.item).where(use.plan_id == plan.id, use.dataset_id.in_(those))
        why = sa.func.coalesce(item.reason + "; ", "") + f"{reason} blocks it, unless the plan overrides that"
        await connection.execute(
            sa.update(DELETION_ITEM)
            .where(item.plan_id == plan.id, item.outcome == Outcome.BLOCKED, item.number.in_(its))
            .values(reason=why)
        )


async def _forget_strangers(connection: AsyncConnection, plan: Plan) -> None:
    """Take out what chunks have noted of each other's datasets as if they were none of the plan's."""
    dataset, item, use = DELETION_DATASET.c, DELETION_ITEM.c, DELETION_USE.c
    # Not by IN: SQLite would combine every file with every dataset.
    is_planned = sa.exists().where(dataset.plan_id == plan.id, dataset.dataset_id == use.dataset_id)
    is_file = sa.exists().where(item.plan_id == plan.id, item.number == use.item, item.path.is_not(None))
    noted = [use.plan_id == plan.id, use.record == ""]
    await connection.execute(sa.delete(DELETION_USE).where(*noted, is_planned, is_file))


async def _bundle(connection: AsyncConnection, plan: Plan) -> None:
    """Give datasets that share files, through others perhaps, the number of the first of them."""
    dataset, use = DELETION_DATASET.c, DELETION_USE.c
    shared = (
        sa.select(use.item)
        .where(use.plan_id == plan.id)
        .group_by(use.item)
        .having(sa.func.count(use.dataset_id.distinct()) > 1)
    )
    pairs = (
        sa.select(use.item, dataset.number)
        .join_from(
            DELETION_USE,
            DELETION_DATASET,
            sa.and_(dataset.plan_id == use.plan_id, dataset.dataset_id == use.dataset_id),
        )
        .where(use.plan_id == plan.id, use.item.in_(shared))
        .distinct()
    )
    first: dict[int, int] = {}

    def root(number: int) -> int:
        while first.setdefault(number, number) != number:
            first[number] = first[first[number]]
            number = first[number]
        return number

    by_item: dict[int, int] = {}
    for item, number in (await connection.execute(pairs.order_by(use.item, dataset.number))).all():
        one, other = sorted((root(number), root(by_item.setdefault(item, number))))
        first[other] = one
    given = sa.bindparam("given", type_=sa.BigInteger)
    bundle = sa.bindparam("its_bundle", type_=sa.BigInteger)
    for table, numbers in (
        (DELETION_DATASET, {number: root(number) for number in first}),
        (DELETION_ITEM, {item: root(number) for item, number in by_item.items()}),
    ):
        change = sa.update(table).where(table.c.plan_id == plan.id, table.c.number == given).values(bundle=bundle)
        if numbers:
            await connection.execute(change, [{"given": number, "its_bundle": its} for number, its in numbers.items()])
