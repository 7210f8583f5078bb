"""Processes that change the same collections of a repository at once: some by the service, one with a stock Butler.

Each is told which of the datasets are its own, and what comes out does not depend on who was first.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from typing import Any

from graphql import parse
from lsst.daf.butler import Butler, CollectionType, Timespan

from butlerql.resolvers.context import Limits
from butlerql.resolvers.service import build_service
from butlerql.storage.repository import Repository

__all__ = ["CALIBRATION", "CHAIN", "ROUNDS", "TAG", "WRITERS", "own", "same"]

WRITERS = ("service 0", "service 1", "Butler")
ROUNDS = 3
CHAIN, TAG, CALIBRATION = "shared chain", "shared tag", "shared calibration"

_CREATE = (
    """mutation ($name: String!) { createCollection(input: {name: $name, type: TAGGED}) { collection { name } } }"""
)
_EXTEND = """mutation ($name: String!) { editChain(input: {name: "shared chain", children: [$name], mode: EXTEND}) {
    collection { name } } }"""
_REMOVE = "mutation ($name: String!) { removeCollection(input: {name: $name, unlinkFromParents: true}) { name } }"
_TAG = """mutation ($name: String!, $select: DatasetSelection!) {
    tagDatasets(input: {collection: $name, select: $select}) { changed } }"""
_UNTAG = """mutation ($name: String!, $select: DatasetSelection!) {
    untagDatasets(input: {collection: $name, select: $select}) { changed } }"""
_CERTIFY = """mutation ($select: DatasetSelection!) {
    certifyDatasets(input: {collection: "shared calibration", select: $select, timespan: {}}) { changed } }"""


def own(writer: int, turn: int) -> str:
    """Name the collection that only one writer makes."""
    return f"own/{writer}/{turn}"


def same(turn: int) -> str:
    """Name the collection that all make."""
    return f"same/{turn}"


async def _by_service(uri: str, writer: int) -> None:
    service = build_service(await Repository.open(uri, snapshot_seconds=60, writable=True), Limits())

    async def ask(mutation: str, **variables: Any) -> None:
        result = await service.execute(parse(mutation), variables=variables)
        assert result.errors is None, (mutation, result.errors)

    for turn in range(ROUNDS):
        detector = writer * ROUNDS + turn
        where = f"instrument = 'Cam' AND detector = {detector}"
        chosen = {"runs": ["run"], "datasetTypes": ["flat"], "where": where}
        await ask(_CREATE, name=own(writer, turn))
        await ask(_EXTEND, name=own(writer, turn))
        await ask(_TAG, name=TAG, select=chosen)
        await ask(_CERTIFY, select=chosen)
        # The very same of everybody.
        everybody = {"runs": ["run"], "datasetTypes": ["flat"], "where": "instrument = 'Cam' AND detector < 5"}
        await ask(_TAG, name=same(turn), select=everybody)
        if turn % 3 == 2:
            await ask(_UNTAG, name=TAG, select=chosen)
            await ask(_REMOVE, name=own(writer, turn))
    await service.close()


def _by_butler(uri: str, writer: int) -> None:
    butler = Butler.from_config(uri, writeable=True)
    refs = sorted(butler.query_datasets("flat", collections="run"), key=lambda ref: ref.dataId["detector"])

    def insist(change: Callable[..., Any], *arguments: Any) -> None:
        # It does not try again by itself where others were in the way.
        for _ in range(20):
            try:
                change(*arguments)
            except Exception as error:  # noqa: BLE001 - whatever it is, the last is told
                problem = error
                time.sleep(0.05)
                butler.registry.refresh()
            else:
                return
        raise problem

    tagged = CollectionType.TAGGED
    for turn in range(ROUNDS):
        ref, name = refs[writer * ROUNDS + turn], own(writer, turn)
        insist(butler.collections.register, name, tagged)
        insist(butler.collections.extend_chain, CHAIN, name)
        insist(butler.registry.associate, TAG, [ref])
        insist(butler.registry.certify, CALIBRATION, [ref], Timespan(None, None))
        insist(butler.collections.register, same(turn), tagged)
        insist(butler.registry.associate, same(turn), refs[:5])
        if turn % 3 == 2:
            insist(butler.registry.disassociate, TAG, [ref])
            insist(butler.collections.remove_from_chain, CHAIN, name)
            insist(butler.collections.x_remove, name)
    butler.close()


if __name__ == "__main__":
    place, number = sys.argv[1], int(sys.argv[2])
    if number < len(WRITERS) - 1:
        asyncio.run(_by_service(place, number))
    else:
        _by_butler(place, number)
