"""Tags and certifications: after each change a twin that the real Butler changed has the same rows in all tables."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any
from uuid import UUID

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from lsst.daf.butler import Butler, CollectionType, DatasetRef, Timespan
from lsst.daf.butler.registry import ConflictingDefinitionError, DatasetTypeError

from butlerql.storage.changes import Change
from butlerql.storage.errors import ConflictError, InvalidArgumentError
from butlerql.storage.registry import looked_rows, settling
from butlerql.storage.registry.certifying import certify, decertify
from butlerql.storage.registry.collections import by_names
from butlerql.storage.registry.pages import PageRequest
from butlerql.storage.registry.ranges import groups_of
from butlerql.storage.registry.selection import DatasetSelection, select
from butlerql.storage.registry.tagging import TagConflict, tag, untag
from butlerql.storage.registry.timespans import Timespan as OurTimespan
from butlerql.storage.registry.where import Where
from butlerql.storage.repository import Repository
from tests.support.generated import Spec, specs
from tests.support.registry_rows import registry_rows
from tests.support.repositories import Dialect, Layout, RealRepository, Repositories
from tests.support.rich import RICH

_LAYOUTS = [Layout("sqlite"), Layout("postgresql"), Layout("postgresql", collections="nameKey", namespace="butler")]
_TAG, _CALIBRATION = "a new tag", "a new calibration"
_RUN, _TYPES = "u/alice/run1", ("calexp", "config")
_DAY = 86_400_000_000_000
_TEMPORAL = {"visit", "exposure", "group", "day_obs"}
_bounds = st.none() | st.integers(0, 12).map(lambda day: 1_704_067_200_000_000_000 + day * _DAY // 2)


def _associate(butler: Butler, name: str, refs: Sequence[DatasetRef], policy: TagConflict) -> None:
    """Tag with the real Butler; raises ConflictingDefinitionError where it would."""
    keys = {(ref.datasetType.name, ref.dataId.required_values) for ref in refs}
    if len(keys) < len(refs):
        raise ConflictingDefinitionError("two of the selection clash")
    tagged = {
        (ref.datasetType.name, ref.dataId.required_values): ref
        for found in butler.registry.queryDatasetTypes("*")
        for ref in {one.ref for one in butler.registry.queryDatasetAssociations(found, collections=[name])}
    }
    others = [
        (ref, tagged[key])
        for ref in refs
        if (key := (ref.datasetType.name, ref.dataId.required_values)) in tagged and tagged[key].id != ref.id
    ]
    with butler.transaction():
        if policy is TagConflict.REPLACE:
            butler.registry.disassociate(name, [other for _, other in others])
        if policy is TagConflict.KEEP:
            left_out = {ref.id for ref, _ in others}
            refs = [ref for ref in refs if ref.id not in left_out]
        butler.registry.associate(name, refs)


def _decertify(butler: Butler, name: str, refs: Sequence[DatasetRef], when: OurTimespan) -> None:
    """Decertify with the real Butler, which names data IDs: only where the datasets themselves are valid."""
    begin, end = when.bounds
    ids = {ref.id: ref for ref in refs}
    with butler.transaction():
        for kind in {ref.datasetType for ref in refs}:
            if not kind.isCalibration():
                raise DatasetTypeError(kind.name)
            for found in list(butler.registry.queryDatasetAssociations(kind, collections=[name])):
                assert found.timespan is not None
                own_begin, own_end = found.timespan.nsec
                both = max(begin, own_begin), min(end, own_end)
                if found.ref.id in ids and both[0] < both[1]:
                    cut = Timespan(None, None, _nsec=both)
                    butler.registry.decertify(name, kind.name, cut, dataIds=[found.ref.dataId])


class _Pair:
    """A repository that we change, and its twin that the real Butler changes."""

    def __init__(self, ours: RealRepository, twin: RealRepository, opened: Repository) -> None:
        self.ours = ours
        self.twin = twin
        self._opened = opened
        self.butler = twin.open(writeable=True)
        for repository in (ours, twin):
            with_new = repository.open(writeable=True)
            with_new.collections.register(_TAG, CollectionType.TAGGED)
            with_new.collections.register(_CALIBRATION, CollectionType.CALIBRATION)

    async def refs(self, selection: DatasetSelection) -> list[DatasetRef]:
        """Ask our own query what a selection shows, and the real Butler what these are."""
        async with self._opened.snapshot() as snapshot:
            [page] = await (await select(snapshot, selection)).pages(snapshot, PageRequest(10_000))
        refs = [self.butler.get_dataset(UUID(one.uuid)) for one in page.rows]
        return [ref for ref in refs if ref is not None]

    async def do(self, action: str, name: str, selection: DatasetSelection, *more: Any) -> None:
        """Make a change here and there, and compare."""
        refs = await self.refs(selection)
        before = registry_rows(self.ours)
        expected: type[Exception] | None = None
        try:
            self._by_butler(action, name, refs, *more)
        except (ConflictingDefinitionError, DatasetTypeError) as error:
            expected = ConflictError if isinstance(error, ConflictingDefinitionError) else InvalidArgumentError
        changed: Any = None
        with nullcontext() if expected is None else pytest.raises(expected):
            changed = await self._by_us(action, name, selection, *more)
        after = registry_rows(self.ours)
        assert after == registry_rows(self.twin)
        if expected is not None:
            assert after == before
        elif action in ("tag", "untag"):
            was, now = (self._tagged(rows, name) for rows in (before, after))
            assert changed.changed == len(now - was if action == "tag" else was - now)
            assert changed.replaced == (len(was - now) if action == "tag" else 0)
        elif action == "certify":
            assert changed == len(refs)

    def _by_butler(self, action: str, name: str, refs: Sequence[DatasetRef], *more: Any) -> None:
        registry = self.butler.registry
        match action:
            case "tag":
                _associate(self.butler, name, refs, *more)
            case "untag":
                registry.disassociate(name, refs)
            case "certify":
                if any(not ref.datasetType.isCalibration() for ref in refs):
                    raise DatasetTypeError(name)
                keys = {(ref.datasetType.name, ref.dataId.required_values) for ref in refs}
                if len(keys) < len(refs):
                    raise ConflictingDefinitionError("two of the selection clash")
                with self.butler.transaction():
                    registry.certify(name, refs, Timespan(None, None, _nsec=more[0].bounds))
            case "decertify":
                _decertify(self.butler, name, refs, *more)

    async def _by_us(self, action: str, name: str, selection: DatasetSelection, *more: Any) -> Any:
        actions: Mapping[str, Any] = {"tag": tag, "untag": untag, "certify": certify, "decertify": decertify}
        async with self._opened.change() as change:
            collection = (await by_names(change, [name]))[name]
            return await actions[action](change, collection, selection, *more)

    def _tagged(self, rows: Mapping[str, list[tuple[Any, ...]]], name: str) -> set[Any]:
        key = next(row[0] for row in rows["collection"] if name in row)
        tags = (row for table, found in rows.items() if table.startswith("dataset_tags_") for row in found)
        return {row[1] for row in tags if row[2] == key}


@pytest.mark.parametrize("layout", _LAYOUTS, ids=str)
@given(data=st.data(), spec=specs())
@settings(max_examples=4, phases=[Phase.explicit, Phase.generate])
async def test_generated_changes_are_the_butlers(
    data: st.DataObject, spec: Spec, repositories: Repositories, layout: Layout
) -> None:
    with repositories.private(spec.content, layout) as ours, repositories.private(spec.content, layout) as twin:
        opened = await Repository.open(ours.uri, snapshot_seconds=60, writable=True)
        try:
            pair = _Pair(ours, twin, opened)
            for _ in range(6):
                await _change_something(data, spec, pair)
        finally:
            await opened.close()


async def _change_something(data: st.DataObject, spec: Spec, pair: _Pair) -> None:
    selection = data.draw(_selections(spec, pair))
    action = data.draw(st.sampled_from(["tag", "tag", "untag", "certify", "certify", "decertify"]))
    if action in ("tag", "untag"):
        name = data.draw(st.sampled_from([_TAG, *(one.name for one in spec.tags)]))
        more = [data.draw(st.sampled_from(TagConflict))] if action == "tag" else []
    else:
        name = data.draw(st.sampled_from([_CALIBRATION, *(one.name for one in spec.calibrations)]))
        begin, end = data.draw(
            st.tuples(_bounds, _bounds).filter(lambda two: OurTimespan(*two).bounds[0] < OurTimespan(*two).bounds[1])
        )
        more = [OurTimespan(begin, end)]
    await pair.do(action, name, selection, *more)


@st.composite
def _selections(draw: st.DrawFn, spec: Spec, pair: _Pair) -> DatasetSelection:
    # Of what has a time itself the Butler overlooks conflicts at other times.
    types = [one.name for one in spec.types if not (one.is_calibration and _TEMPORAL & set(one.dimensions))]
    calibrations = [one.name for one in spec.types if one.is_calibration and one.name in types]
    names = draw(st.lists(st.sampled_from(types), max_size=2) if types else st.just([]))
    names = draw(st.sampled_from([names, calibrations]))
    runs = [one.name for one in spec.runs]
    every = [*runs, *(one.name for one in (*spec.tags, *spec.calibrations, *spec.chains)), _TAG, _CALIBRATION]
    kind = draw(st.sampled_from(["runs", "collections", "first", "everywhere"]))
    if kind == "runs":
        return DatasetSelection(dataset_types=names, runs=draw(st.lists(st.sampled_from(runs), max_size=2)))
    if kind == "everywhere":
        return DatasetSelection(dataset_types=names, collections=["*"])
    found = draw(st.lists(st.sampled_from(every), min_size=1, max_size=3))
    if kind == "first":
        found = [name for name in found if name not in {one.name for one in (*spec.calibrations, *spec.chains)} - {""}]
        found = [name for name in found if name != _CALIBRATION]
        return DatasetSelection(dataset_types=names, collections=found, find_first=True)
    return DatasetSelection(dataset_types=names, collections=found)


@pytest.fixture
def real(repositories: Repositories, dialect: Dialect) -> Iterator[RealRepository]:
    with repositories.private(RICH, Layout(dialect)) as made:
        yield made


@pytest.fixture
async def opened(real: RealRepository) -> AsyncIterator[Repository]:
    repository = await Repository.open(real.uri, snapshot_seconds=60, writable=True)
    yield repository
    await repository.close()


async def _tag(opened: Repository, selection: DatasetSelection, *, until: asyncio.Event | None = None) -> int:
    """Tag datasets in ``tag/empty``; with an event, commit when it comes."""

    async def work(change: Change) -> int:
        collection = (await by_names(change, ["tag/empty"]))["tag/empty"]
        done = await tag(change, collection, selection)
        if until is not None:
            await until.wait()
        return done.changed

    return await opened.write(work)


@pytest.mark.parametrize("find_first", [False, True])
async def test_where_regions_are_looked_at_what_a_query_shows_is_tagged(
    opened: Repository, real: RealRepository, monkeypatch: pytest.MonkeyPatch, *, find_first: bool
) -> None:
    # As where many data IDs may fulfil the condition; few rows at a time, so that there are several chunks.
    for limit in ("_MOST", "_MOST_RANGES", "_MOST_ROWS"):
        monkeypatch.setattr(settling, limit, 0)
    monkeypatch.setattr(looked_rows, "_FIRST", 2)
    monkeypatch.setattr(looked_rows, "_MOST", 3)
    selection = DatasetSelection(
        dataset_types=["calexp"],
        collections=["u/alice/run1", *(["u/bob/100% #1"] if find_first else [])],
        where=Where("skymap = 'rings µ' AND tract = 0", None, None),
        find_first=find_first,
    )
    async with opened.snapshot() as snapshot:
        sets = await select(snapshot, selection)
        assert all(group.looks for group in groups_of(opened, sets.parts))
        [page] = await sets.pages(snapshot, PageRequest(1000))
        everything = await sets.counts(snapshot, [0])
    assert everything == [len(page.rows)]
    assert len(page.rows) > 3
    assert await _tag(opened, selection) == len(page.rows)
    tagged = real.open().query_datasets("calexp", collections="tag/empty")
    assert {str(ref.id) for ref in tagged} == {one.uuid for one in page.rows}


async def test_datasets_that_are_named_are_tagged_whatever_they_are(opened: Repository, real: RealRepository) -> None:
    refs = [ref for kind in _TYPES for ref in real.open().query_datasets(kind, collections=_RUN)]
    assert len({ref.datasetType.dimensions for ref in refs}) > 1
    known = [str(ref.id) for ref in refs]
    # Twice, in capitals, and of nothing.
    uuids = [*known, known[0].upper(), known[1].replace("-", ""), "00000000-0000-0000-0000-000000000000"]
    for number in (len(refs), 0):
        assert await _tag(opened, DatasetSelection(uuids=uuids)) == number
    tagged = [ref for kind in _TYPES for ref in _tagged(real, kind)]
    assert {ref.id for ref in tagged} == {ref.id for ref in refs}
    for wrong in (["x"], [known[0], "é"]):
        with pytest.raises(InvalidArgumentError, match="is no UUID"):
            await _tag(opened, DatasetSelection(uuids=wrong))


def _tagged(real: RealRepository, kind: str) -> Sequence[DatasetRef]:
    return real.open().query_datasets(kind, collections="tag/empty", explain=False)


async def test_who_comes_second_is_told_of_the_clash(opened: Repository, real: RealRepository) -> None:
    first, second = (DatasetSelection(dataset_types=["config"], runs=[f"u/alice/run{n}"]) for n in (1, 2))
    go = asyncio.Event()
    leading = asyncio.create_task(_tag(opened, first, until=go))
    await asyncio.sleep(0.3)
    following = asyncio.create_task(_tag(opened, second))
    await asyncio.sleep(0.3)
    assert not following.done()
    go.set()
    assert await leading == 1
    with pytest.raises(ConflictError):
        await following
    [ref] = real.open().query_datasets("config", collections="tag/empty")
    assert ref.run == "u/alice/run1"


async def test_certifications_at_the_same_time_do_not_overlap(opened: Repository, real: RealRepository) -> None:
    async def certified(run: str, until: asyncio.Event | None = None) -> int:
        async with opened.change() as change:
            collection = (await by_names(change, ["HSC/calib/none"]))["HSC/calib/none"]
            selection = DatasetSelection(
                dataset_types=["bias"], runs=[run], data_id={"instrument": "HSC", "detector": 0}
            )
            done = await certify(change, collection, selection, OurTimespan(None, None))
            if until is not None:
                await until.wait()
            return done

    go = asyncio.Event()
    leading = asyncio.create_task(certified("HSC/calib/run", go))
    await asyncio.sleep(0.3)
    following = asyncio.create_task(certified("HSC/raw/all"))
    await asyncio.sleep(0.3)
    assert not following.done()
    go.set()
    assert await leading == 1
    with pytest.raises(ConflictError):
        await following
    assert len(real.open().query_datasets("bias", collections="HSC/calib/none", find_first=False)) == 1


async def test_the_number_of_statements_does_not_grow_with_the_datasets(
    opened: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, statements = Change._run, []

    async def noted(change: Change, statement: Any, *rest: Any) -> Any:
        statements.append(statement)
        return await run(change, statement, *rest)

    monkeypatch.setattr(Change, "_run", noted)
    assert await _tag(opened, DatasetSelection(dataset_types=["calexp"], runs=["u/žofie/běh č. 1"])) == 1
    few = len(statements)
    assert await _tag(opened, DatasetSelection(dataset_types=["calexp"], runs=["u/alice/run1"])) == 8
    assert len(statements) - few <= few


async def test_nothing_temporary_is_left_behind(opened: Repository) -> None:
    selection = DatasetSelection(runs=["u/alice/run1"])
    assert await _tag(opened, selection) > 0
    # On the same connection, in the same transaction even.
    async with opened.change() as change:
        collection = (await by_names(change, ["tag/empty"]))["tag/empty"]
        assert (await tag(change, collection, selection)).changed == 0
        assert (await untag(change, collection, selection)).changed > 0
