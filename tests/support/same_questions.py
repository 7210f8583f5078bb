"""Questions of the registry that are asked of the Butler and of us."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from astropy.time import Time
from lsst.daf.butler import Butler, Timespan
from lsst.daf.butler._exceptions import ButlerUserError
from lsst.daf.butler.queries import Query
from lsst.sphgeom import Region

from butlerql.storage.errors import ButlerQLError
from butlerql.storage.registry import data_ids, dimension_records
from butlerql.storage.registry.pages import PageRequest
from butlerql.storage.registry.selection import DatasetSelection, select
from butlerql.storage.registry.where import Where
from butlerql.storage.snapshot import Snapshot
from tests.support.repositories import RealRepository
from tests.support.snapshots import snapshot_of

__all__ = ["Both", "DataIds", "Datasets", "Records", "assert_same", "instant", "region", "span", "uuids"]

_ALL = PageRequest(10_000)


class Both(NamedTuple):
    """A value as the Butler takes it, and as it stands in JSON."""

    theirs: Any
    ours: Any


def instant(tai: str) -> Both:
    """Give a time on the TAI scale."""
    return Both(Time(tai, scale="tai", format="isot"), f"{tai}/tai")


def span(begin: str | None, end: str | None) -> Both:
    """Give a timespan of two such times, or of one and no bound."""
    bounds = [None if tai is None else Time(tai, scale="tai", format="isot") for tai in (begin, end)]
    return Both(Timespan(*bounds), {"begin": begin, "end": end})


def region(pos: str) -> Both:
    """Give a region as the IVOA writes it."""
    return Both(Region.from_ivoa_pos(pos), pos)


def uuids(*texts: str) -> Both:
    """Give a list of UUIDs."""
    return Both([UUID(text) for text in texts], list(texts))


@dataclass(frozen=True)
class _Question:
    where: str = ""
    bind: Mapping[str, Any] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    order: Sequence[str] = ()

    def bound(self, which: int) -> dict[str, Any]:
        """Give what is bound, as one of both takes it."""
        return {name: value[which] if isinstance(value, Both) else value for name, value in self.bind.items()}

    def __str__(self) -> str:
        return " ".join(str(value) for value in vars(self).values() if value)

    def narrowed(self, query: Any) -> Any:
        """Put the condition to the Butler."""
        return query.where(self.values).where(self.where, bind=self.bound(0))

    def condition(self) -> Where:
        """Put the condition to us."""
        return Where(self.where, self.bound(1))


@dataclass(frozen=True)
class DataIds(_Question):
    """Asks for the data IDs of some dimensions, perhaps only those with datasets in some collections."""

    of: Sequence[str] = ()
    having: Sequence[str] = ()
    collections: Sequence[str] = ()

    def theirs(self, query: Query) -> list[Any]:
        """Ask the Butler."""
        for kind in self.having:
            query = query.join_dataset_search(kind, self.collections)
        found = self.narrowed(query.data_ids(self.of)).order_by(*self.order)
        return [tuple(one.required_values) for one in found]

    async def ours(self, snapshot: Snapshot) -> list[Any]:
        """Ask us."""
        group = snapshot.repository.universe.group(self.of)
        conditions = await _conditions(snapshot, group, self)
        page = await data_ids.page(snapshot, group, conditions, _ALL)
        assert await data_ids.count(snapshot, group, conditions) == len(page.rows)
        return [one.required for one in page.rows]


@dataclass(frozen=True)
class Records(_Question):
    """Asks for the records of an element, perhaps only those with datasets in some collections."""

    of: str = ""
    having: Sequence[str] = ()
    collections: Sequence[str] = ()

    def theirs(self, query: Query) -> list[Any]:
        """Ask the Butler."""
        for kind in self.having:
            query = query.join_dataset_search(kind, self.collections)
        found = self.narrowed(query.dimension_records(self.of)).order_by(*self.order)
        return [tuple(one.dataId.required_values) for one in found]

    async def ours(self, snapshot: Snapshot) -> list[Any]:
        """Ask us."""
        element = snapshot.repository.universe.element(self.of)
        group = dimension_records.dimensions_of(element, snapshot.repository.universe.group)
        conditions = await _conditions(snapshot, group, self)
        page = await dimension_records.page(snapshot, element, conditions, _ALL)
        assert await dimension_records.count(snapshot, element, conditions) == len(page.rows)
        return [record.data_id.required for record in page.rows]


@dataclass(frozen=True)
class Datasets(_Question):
    """Asks for the datasets of a type in some collections, all of them or the first of each data ID."""

    of: str = ""
    collections: Sequence[str] = ()
    first: bool = False

    def theirs(self, query: Query) -> list[Any]:
        """Ask the Butler."""
        found = self.narrowed(query.datasets(self.of, self.collections, find_first=self.first))
        return [str(ref.id) for ref in found.order_by(*self.order)]

    async def ours(self, snapshot: Snapshot) -> list[Any]:
        """Ask us."""
        selection = DatasetSelection(
            dataset_types=[self.of],
            collections=self.collections,
            data_id=self.values,
            where=self.condition(),
            find_first=self.first,
        )
        sets = await select(snapshot, selection)
        [page] = await sets.pages(snapshot, _ALL, self.order)
        assert await sets.counts(snapshot, [0]) == [len(page.rows)]
        return [dataset.uuid for dataset in page.rows]


async def _conditions(snapshot: Snapshot, group: Any, question: DataIds | Records) -> data_ids.DataIdConditions:
    return await data_ids.find_conditions(
        snapshot,
        group,
        types=question.having or None,
        collections=question.collections if question.having else None,
        values=question.values,
        where=question.condition(),
        order_by=question.order,
    )


async def assert_same(repository: RealRepository, question: DataIds | Records | Datasets, there: int | None) -> None:
    """See that both find the same, and so many; or that both refuse, if there is no number."""
    expected = _asked(repository.butler, question)
    async with snapshot_of(repository) as snapshot:
        if there is None:
            assert isinstance(expected, Exception)
            with pytest.raises(ButlerQLError):
                await question.ours(snapshot)
            return
        found = await question.ours(snapshot)
    assert not isinstance(expected, Exception), expected
    assert len(found) == len(set(found)) == there, (found, expected)
    if question.order:
        assert found == expected
    else:
        assert set(found) == set(expected)


def _asked(butler: Butler, question: DataIds | Records | Datasets) -> list[Any] | Exception:
    with butler.query() as query:
        try:
            return question.theirs(query)
        except (ButlerUserError, AssertionError, ValueError) as error:
            return error
