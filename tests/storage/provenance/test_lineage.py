"""Lineage is what going along the edges finds, breadth first."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import pairwise
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from butlerql.storage.errors import InvalidArgumentError, LimitExceededError
from butlerql.storage.provenance import lineage
from butlerql.storage.provenance.ingest import ingest
from butlerql.storage.provenance.lineage import Lineage, lineages
from butlerql.storage.provenance.records import QuantumRecord, Source, SourceKind
from butlerql.storage.provenance.traces import (
    count_derived,
    count_edges,
    dataset_numbers,
    derived_traces,
    producers_of,
    traces_of_quanta,
    users_of,
)
from butlerql.storage.registry.pages import PageRequest
from butlerql.storage.state.database import State
from tests.support.provenance_state import emptied, noted

Steps = list[tuple[frozenset[int], frozenset[int]]]
"""Numbers of the datasets that each unit of work reads and writes."""

SETTINGS = settings(
    max_examples=settings.default.max_examples // 2,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
SOURCE = Source(SourceKind.PROVENANCE_GRAPH, "graph", "1")


def uuid(number: int) -> UUID:
    return UUID(int=number)


@st.composite
def steps(draw: st.DrawFn) -> Steps:
    """Make work, which may go in circles; each dataset is written once at most."""
    datasets = st.sets(st.integers(1, 8), max_size=3)
    found: Steps = []
    written: set[int] = set()
    for _ in range(draw(st.integers(0, 6))):
        outputs = draw(datasets) - written
        written |= outputs
        found.append((frozenset(draw(datasets)), frozenset(outputs)))
    return found


async def take_in(state: State, done: Steps) -> None:
    await emptied(state)
    records = [
        QuantumRecord("run", "task", {"exposure": place}, inputs=(*map(uuid, reads),), outputs=(*map(uuid, writes),))
        for place, (reads, writes) in enumerate(done)
    ]
    await ingest(state, SOURCE, all_at_once(records))


async def all_at_once(records: list[QuantumRecord]) -> AsyncIterator[list[QuantumRecord]]:
    yield records


def walk(done: Steps, start: int, depth: int, *, is_upstream: bool) -> tuple[set[int], set[int], set[object], bool]:
    """Find datasets, units of work and edges; and whether there is more."""
    datasets, quanta, edges, front = {start}, set(), set(), {start}
    ways = [(writes, reads) if is_upstream else (reads, writes) for reads, writes in done]
    for _ in range(depth):
        new = {place for place, (near, _) in enumerate(ways) if near & front}
        edges |= {(dataset, place, is_upstream) for place in new for dataset in ways[place][0] & front}
        new -= quanta
        quanta |= new
        reached = {dataset for place in new for dataset in ways[place][1]}
        edges |= {(dataset, place, not is_upstream) for place in new for dataset in ways[place][1]}
        front = reached - datasets
        datasets |= reached
    return datasets, quanta, edges, any(near & front for near, _ in ways)


def found_by(one: Lineage) -> tuple[set[int], set[int], set[object], bool]:
    places = {quantum.id: int(quantum.data_id_values["exposure"]) for quantum in one.quanta}
    edges: set[object] = {(UUID(edge.dataset).int, places[edge.quantum_id], edge.is_output) for edge in one.edges}
    assert len(edges) == len(one.edges) and len(places) == len(one.quanta)
    return {UUID(trace.uuid).int for trace in one.datasets}, set(places.values()), edges, one.truncated


@SETTINGS
@given(done=steps(), depth=st.integers(0, 4), is_upstream=st.booleans())
async def test_lineage(state: State, done: Steps, depth: int, is_upstream: bool) -> None:
    await take_in(state, done)
    known = sorted({number for reads, writes in done for number in reads | writes})
    found = await lineages(state, [str(uuid(n)) for n in [*known, 99]], is_upstream=is_upstream, depth=depth)
    assert [found_by(one) for one in found[:-1]] == [
        walk(done, number, depth, is_upstream=is_upstream) for number in known
    ]
    assert found[-1] == Lineage([], [], [], truncated=False)
    for number, one in zip(known, found, strict=False):
        assert one.datasets[0].uuid == str(uuid(number))


@SETTINGS
@given(done=steps(), size=st.integers(1, 3))
async def test_what_read_and_wrote_a_dataset(state: State, done: Steps, size: int) -> None:
    await take_in(state, done)
    known = sorted({number for reads, writes in done for number in reads | writes})
    by_uuid = await dataset_numbers(state, [str(uuid(number)) for number in [*known, 99]])
    assert set(by_uuid) == {str(uuid(number)) for number in known}
    numbers = [by_uuid[str(uuid(number))] for number in known]
    producers = await producers_of(state, numbers)
    users: list[list[int]] = [[] for _ in known]
    derived: list[list[tuple[int, int]]] = [[] for _ in known]
    after = [None] * len(known)
    for pages_of, lists in ((users_of, users), (derived_traces, derived)):
        for place, number in enumerate(numbers):
            request = PageRequest(size)
            while True:
                [page] = await pages_of(state, [number], request)
                lists[place] += [
                    int(row.data_id_values["exposure"]) if pages_of is users_of else UUID(row.uuid).int
                    for row in page.rows
                ]
                if not page.has_next:
                    break
                request = PageRequest(size, after=page.keys[-1])
        # All at once give the same first page.
        assert [page.rows for page in await pages_of(state, numbers, PageRequest(size))] == [
            (await pages_of(state, [number], PageRequest(size)))[0].rows for number in numbers
        ]
    del after
    for place, number in enumerate(known):
        writers = [where for where, (_, writes) in enumerate(done) if number in writes]
        producer = producers.get(numbers[place])
        assert ([] if producer is None else [producer.data_id_values["exposure"]]) == writers
        readers = [where for where, (reads, _) in enumerate(done) if number in reads]
        assert users[place] == readers
        assert sorted(derived[place]) == sorted(dataset for where in readers for dataset in done[where][1])
    assert await count_edges(state, numbers, "dataset_id", is_output=False) == list(map(len, users))
    assert await count_derived(state, numbers) == list(map(len, derived))


async def test_what_a_unit_of_work_reads_and_writes(state: State) -> None:
    await take_in(state, [(frozenset({1, 2, 3}), frozenset({4})), (frozenset(), frozenset({5}))])
    one, other = await traces_of_quanta(state, [1, 2], PageRequest(2), is_output=False)
    assert {UUID(trace.uuid).int for trace in one.rows} < {1, 2, 3} and one.has_next and other.rows == []
    [rest] = await traces_of_quanta(state, [1], PageRequest(2, after=one.keys[-1]), is_output=False)
    assert {UUID(trace.uuid).int for trace in [*one.rows, *rest.rows]} == {1, 2, 3} and not rest.has_next
    written = await traces_of_quanta(state, [1, 2], PageRequest(2), is_output=True)
    assert [[UUID(trace.uuid).int for trace in page.rows] for page in written] == [[4], [5]]


async def test_a_large_lineage_is_cut_and_says_so(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lineage, "LARGEST", 5)
    await take_in(state, [(frozenset(range(10, 30)), frozenset({1})), (frozenset({1}), frozenset({2}))])
    wide, narrow = await lineages(state, [str(uuid(1)), str(uuid(2))], is_upstream=True, depth=1)
    assert (len(wide.edges), wide.truncated) == (5, True)
    assert (len(narrow.edges), narrow.truncated) == (2, True)
    [down] = await lineages(state, [str(uuid(1))], is_upstream=False, depth=3)
    assert (len(down.edges), down.truncated) == (2, False)


async def test_ten_thousand_datasets_are_not_cut(state: State) -> None:
    levels = [
        [range(at, at + 200) for at in range(2_000 * level + 1, 2_000 * level + 2_001, 200)] for level in range(5)
    ]
    steps = [
        (frozenset(reads), frozenset(writes)) for pair in pairwise(levels) for writes, reads in zip(*pair, strict=True)
    ]
    await take_in(state, [(frozenset().union(*levels[0]), frozenset({0})), *steps])
    counts = []
    for start, datasets in ((0, 10_001), (1, 801)):
        with noted(state) as statements:
            [found] = await lineages(state, [str(uuid(start))], is_upstream=True, depth=5)
        assert (len(found.datasets), found.truncated) == (datasets, False)
        counts.append(len(statements))
    assert counts[0] <= counts[1] + 2


async def test_a_depth_has_its_limits(state: State) -> None:
    for depth, error in ((-1, InvalidArgumentError), (101, LimitExceededError)):
        with pytest.raises(error):
            await lineages(state, [], is_upstream=True, depth=depth)
