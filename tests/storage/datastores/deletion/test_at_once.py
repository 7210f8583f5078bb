"""Two of ours and a stock Butler tag, chain, delete and restore the same at once: nothing is lost or half done."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from lsst.daf.butler import Butler, CollectionType

from butlerql.storage.changes import Change
from butlerql.storage.datastores.deletion.plans import DeletionScope, Outcome, PlanState
from butlerql.storage.registry.collection_changes import ChainEdit, edit_chain
from butlerql.storage.registry.collections import CollectionType as OurType
from butlerql.storage.registry.registering import registered
from butlerql.storage.registry.selection import DatasetSelection
from butlerql.storage.registry.tagging import Tagged, tag, untag
from butlerql.storage.state.audit import BEGUN
from tests.support.deleted import Deleter, deleter
from tests.support.repositories import RealRepository
from tests.support.validated import validated

ROUNDS = 3
CHAIN, SHARED = "chain", "shared tag"


async def by_us(ours: Deleter, who: str, scope: DeletionScope) -> list[dict[Outcome, int]]:
    """Tag what the others delete, and delete and restore what they tag."""
    write, found = ours.repository.write, []
    chosen = DatasetSelection(runs=["b"])
    for turn in range(ROUNDS):
        own = f"{who}/{turn}"

        async def make(change: Change, own: str = own) -> Tagged:
            collection = await registered(change, own, OurType.TAGGED, create=True)
            await edit_chain(change, CHAIN, [own], ChainEdit.EXTEND)
            return await tag(change, collection, DatasetSelection(runs=["c"]))

        async def share(change: Change) -> Tagged:
            return await tag(change, await registered(change, SHARED, OurType.TAGGED, create=False), chosen)

        async def unshare(change: Change) -> Tagged:
            return await untag(change, await registered(change, SHARED, OurType.TAGGED, create=False), chosen)

        assert (await write(make)).changed == 4
        plan = await ours.plan(scope, runs=["b"])
        plan = await ours.delete(plan, grace_seconds=3600)
        assert plan.state is PlanState.DETACHED, (await ours.job(plan)).error
        found.append(await ours.outcomes(plan))
        await write(share if turn % 2 else unshare)
        plan = await ours.restore(plan)
        assert plan.state is PlanState.RESTORED, (await ours.outcomes(plan), await ours.job(plan))
    return found


def by_a_butler(butler: Butler, stop: float) -> None:
    """Tag the same, untag it, and extend the same chain."""

    def insist(change: Callable[..., Any], *arguments: Any) -> None:
        # It does not try again by itself where others were in the way; a dataset that is purged cannot be tagged.
        while True:
            try:
                return change(*arguments)
            except Exception:
                if time.monotonic() > stop:
                    raise
                time.sleep(0.02)
                butler.registry.refresh()

    refs = butler.query_datasets("thing", "b")
    insist(butler.collections.register, "Butler/tag", CollectionType.TAGGED)
    for turn in range(ROUNDS):
        own = f"Butler/{turn}"
        insist(butler.collections.register, own, CollectionType.TAGGED)
        insist(butler.collections.extend_chain, CHAIN, own)
        insist(butler.registry.associate, own, refs[turn : turn + 1])
        insist(butler.registry.associate, "Butler/tag", refs)
        if turn < ROUNDS - 1:
            insist(butler.registry.disassociate, "Butler/tag", refs)
            insist(butler.registry.disassociate, own, refs)


@pytest.mark.slow
@pytest.mark.parametrize("scope", list(DeletionScope))
async def test_nothing_is_lost_and_nothing_is_half_done(things: RealRepository, scope: DeletionScope) -> None:
    butler = things.open(writeable=True)
    butler.collections.register(SHARED, CollectionType.TAGGED)
    butler.collections.register(CHAIN, CollectionType.CHAINED)
    before = {ref.id: butler.get(ref) for ref in butler.query_datasets("thing", ["a", "b", "c"], find_first=False)}
    async with deleter(things.uri) as one, deleter(things.uri) as other:
        stock = asyncio.to_thread(by_a_butler, butler, time.monotonic() + 120)
        both = (by_us(ours, who, scope) for ours, who in ((one, "one"), (other, "other")))
        first, second, _ = await asyncio.gather(*both, stock)
        assert (await validated(one.repository)).findings == []
        log = await one.log()
        assert len(log) == 4 * ROUNDS and BEGUN not in log
    for outcomes in (*first, *second):
        # What the other has detached meanwhile was not to be had, what somebody tagged meanwhile stayed.
        assert set(outcomes) <= {Outcome.DETACHED, Outcome.BLOCKED, Outcome.SKIPPED_CHANGED}
    butler = things.open()
    refs = butler.query_datasets("thing", ["a", "b", "c"], find_first=False)
    assert {ref.id: butler.get(ref) for ref in refs} == before
    owns = {f"{who}/{turn}" for who in ("one", "other", "Butler") for turn in range(ROUNDS)}
    assert set(butler.collections.get_info(CHAIN).children) == owns
    for name in owns:
        tagged = butler.query_datasets("thing", name, explain=False)
        assert len(tagged) == (4 if not name.startswith("Butler") else name.endswith(str(ROUNDS - 1))), name
    assert len(butler.query_datasets("thing", "Butler/tag")) == 4
