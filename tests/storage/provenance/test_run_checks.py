"""Runs of real pipelines are whole; each thing that is spoilt in one is found as what it is, and nothing else is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from lsst.daf.butler import Butler, DatasetRef, DatasetType

from butlerql.storage.errors import BadCursorError
from butlerql.storage.provenance.filters import QuantumFilter
from butlerql.storage.provenance.graph_file import GraphFile
from butlerql.storage.provenance.ingest import ingest
from butlerql.storage.provenance.records import (
    Skipped,
    Source,
    SourceKind,
    TaskRecord,
)
from butlerql.storage.provenance.run_checks import RunChecks
from butlerql.storage.provenance.run_problems import RunProblem, RunProblemKind
from butlerql.storage.provenance.run_sources import sources_of_run
from butlerql.storage.provenance.task_summaries import find_task_summaries
from butlerql.storage.registry.collections import by_names
from butlerql.storage.registry.pages import PageRequest
from butlerql.storage.repository import Repository
from tests.support.pipelines.recorded import Recorded
from tests.support.provenance_state import in_batches
from tests.support.raw_sql import execute
from tests.support.repositories import Content, Dialect, Layout, RealRepository, Repositories

ONE, JOBS = "full/one", "batch/heavy"
RUNS = (ONE, "full/many", JOBS)


@pytest.fixture(scope="module")
def known(pipelines: Recorded, repositories: Repositories, dialect: Dialect) -> RealRepository:
    """Give a copy of the repository, without graphs, whose provenance is taken in; on each database."""

    def fill(butler: Butler, outside: Path) -> None:
        with Butler.from_config(str(pipelines.repository)) as source:
            for run in ("raw/all", *RUNS):
                butler.collections.register(run)
                refs = source.query_all_datasets(run, find_first=False)
                butler.transfer_from(
                    source, refs, transfer="copy", register_dataset_types=True, transfer_dimensions=True
                )
        [root] = butler.get_datastore_roots().values()
        assert root is not None
        with ThreadPoolExecutor(1) as pool:
            pool.submit(asyncio.run, open_and_take_in(root.ospath)).result()

    return repositories.shared(Content("pipelines with provenance", fill), Layout(dialect))


async def open_and_take_in(uri: str) -> None:
    async with opened(uri) as repository:
        await take_in(repository)


async def take_in(repository: Repository, runs: Sequence[str] = RUNS) -> None:
    for run in runs:
        async for found in sources_of_run(repository, run):
            assert not isinstance(found, Skipped)
            await ingest(repository.state, found.source, found.batches)


@asynccontextmanager
async def opened(uri: str, **options: Any) -> AsyncIterator[Repository]:
    repository = await Repository.open(uri, **options)
    try:
        yield repository
    finally:
        await repository.close()


async def found(repository: Repository, run: str, *kinds: RunProblemKind) -> list[RunProblem]:
    """Find all problems; counted they are as many."""
    kinds = kinds or tuple(RunProblemKind)
    async with repository.snapshot() as snapshot:
        one = (await by_names(snapshot, [run]))[run]
    checks = RunChecks(repository, repository.snapshot)
    page = await checks.page(one, kinds, PageRequest(1000))
    assert not page.has_next
    [counts] = await checks.counts([one], kinds)
    assert counts == {kind: number for kind in kinds if (number := sum(one.kind is kind for one in page.rows))}
    return page.rows


def one_of(butler: Butler, dataset_type: str, run: str = ONE, **data_id: int) -> DatasetRef:
    values: dict[str, Any] = {"instrument": "Cam", **data_id} if data_id else {}
    ref = butler.find_dataset(dataset_type, values, collections=run)
    assert ref is not None
    return ref


def purge(butler: Butler, *refs: DatasetRef) -> None:
    butler.pruneDatasets(refs, unstore=True, purge=True, disassociate=True)


def put(butler: Butler, name: str, **data_id: Any) -> DatasetRef:
    kind = DatasetType(name, butler.dimensions.conform(data_id), "StructuredDataDict")
    butler.registry.registerDatasetType(kind)
    return butler.put({}, kind, data_id, run=ONE)


async def test_whole_runs_have_no_problems(known: RealRepository) -> None:
    async with opened(known.uri) as repository:
        async with repository.snapshot() as snapshot:
            runs = list((await by_names(snapshot, [*RUNS, "raw/all"])).values())
        checks = RunChecks(repository, repository.snapshot)
        counts = await checks.counts(runs)
        consistent = await checks.consistent(runs, counts)
        told = {run.name: one for run, one in zip(runs, consistent, strict=True)}
        assert told == {**dict.fromkeys(RUNS, True), "raw/all": None}
        # What jobs wrote is in the datastore without sizes.
        assert {kind for count in counts for kind in count} == {RunProblemKind.INCOMPLETE_RECORD}
        assert [found for run, found in zip(runs, counts, strict=True) if run.name in {ONE, "full/many"}] == [{}, {}]
        for run, count in zip(runs, counts, strict=True):
            assert len(await found(repository, run.name)) == count.total()


@pytest.fixture(scope="module")
async def spoilt(known: RealRepository, repositories: Repositories) -> AsyncIterator[Spoilt]:
    """Give a copy that is spoilt by one test after another."""
    with repositories.copy(known) as copy:
        async with opened(copy.uri) as repository:
            yield Spoilt(copy, copy.open(writeable=True), repository, {})


class Spoilt(NamedTuple):
    """A repository in which something is wrong, and what."""

    real: RealRepository
    butler: Butler
    repository: Repository
    wrong: dict[RunProblemKind, set[str]]

    async def with_more(self, kind: RunProblemKind, *refs: DatasetRef) -> list[RunProblem]:
        """See that what was wrong still is, and more, and nothing else."""
        self.wrong.setdefault(kind, set()).update(str(ref.id) for ref in refs)
        every = await found(self.repository, ONE)
        assert len(every) == sum(map(len, self.wrong.values()))
        by_kind: dict[RunProblemKind, set[str]] = {}
        for one in every:
            by_kind.setdefault(one.kind, set()).add(str(one.uuid))
        assert by_kind == self.wrong
        return [one for one in every if one.kind is kind and one.uuid in {str(ref.id) for ref in refs}]


async def test_an_output_that_was_purged(spoilt: Spoilt) -> None:
    ref = one_of(spoilt.butler, "postISRCCD", exposure=1, detector=1)
    purge(spoilt.butler, ref)
    [one] = await spoilt.with_more(RunProblemKind.OUTPUT_NOT_IN_REGISTRY, ref)
    assert one.dataset is None and one.quantum is not None
    assert (one.quantum.task_label, one.quantum.data_id_values) == ("isr", dict(ref.dataId.required))


async def test_an_output_that_was_unstored(spoilt: Spoilt) -> None:
    ref = one_of(spoilt.butler, "calexp", exposure=1, detector=1)
    raw = one_of(spoilt.butler, "raw", "raw/all", exposure=1, detector=1)
    spoilt.butler.pruneDatasets([ref, raw], unstore=True, purge=False, disassociate=False)
    [one] = await spoilt.with_more(RunProblemKind.OUTPUT_NOT_STORED, ref)
    assert one.dataset is not None and one.quantum is not None
    assert (one.dataset.uuid, one.dataset_type_name, one.quantum.task_label) == (str(ref.id), "calexp", "calibrate")
    # That is told though nothing is known of the work.
    [one] = await found(spoilt.repository, "raw/all")
    assert (one.kind, one.uuid, one.quantum) == (RunProblemKind.OUTPUT_NOT_STORED, str(raw.id), None)


async def test_datasets_that_nobody_made(spoilt: Spoilt) -> None:
    raw = put(spoilt.butler, "raw", exposure=1, detector=2, instrument="Cam")
    notes, bare = put(spoilt.butler, "notes", instrument="Cam"), put(spoilt.butler, "bare")
    assert len(await spoilt.with_more(RunProblemKind.NO_PRODUCER, raw, notes)) == 2
    # What has no dimensions is made when a pipeline is initialised, unless a task is known to write it.
    task = TaskRecord("summarize", "elsewhere", outputs=("bare",))
    await ingest(spoilt.repository.state, Source(SourceKind.JSON_LINES, "lines", "1"), in_batches([task]))
    assert len(await spoilt.with_more(RunProblemKind.NO_PRODUCER, bare)) == 1


async def test_a_log_or_metadata_that_are_gone(spoilt: Spoilt) -> None:
    log = one_of(spoilt.butler, "isr_log", exposure=1, detector=1)
    metadata = one_of(spoilt.butler, "calibrate_metadata", exposure=2, detector=2)
    for kind, ref in ((RunProblemKind.QUANTUM_WITHOUT_LOG, log), (RunProblemKind.QUANTUM_WITHOUT_METADATA, metadata)):
        purge(spoilt.butler, ref)
        [one] = await spoilt.with_more(kind, ref)
        assert one.quantum is not None and one.quantum.data_id_values == dict(ref.dataId.required)
        assert one.dataset_type_name == ref.datasetType.name
    # Taken in again, it is known to be gone, and no other problem; what was a success still is one.
    before = await find_task_summaries(spoilt.repository.state, QuantumFilter(runs=[ONE]))
    await take_in(spoilt.repository, [ONE])
    await spoilt.with_more(RunProblemKind.QUANTUM_WITHOUT_LOG)
    assert await find_task_summaries(spoilt.repository.state, QuantumFilter(runs=[ONE])) == before


async def test_what_was_written_at_the_beginning_is_gone(
    known: RealRepository, repositories: Repositories, pipelines: Recorded
) -> None:
    kind = RunProblemKind.OUTPUT_NOT_IN_REGISTRY
    with repositories.copy(known) as copy:
        butler = copy.open(writeable=True)
        gone = [one_of(butler, name) for name in ("isr_config", "packages", "src_schema")]
        purge(butler, *gone, one_of(butler, "calexp", exposure=1, detector=1))
        async with opened(copy.uri) as repository:
            config, packages, output = await found(repository, ONE)
            assert {one.kind for one in (config, packages, output)} == {kind}
            assert (config.uuid, config.dataset_type_name, config.quantum) == (str(gone[0].id), "isr_config", None)
            assert (packages.uuid, packages.dataset_type_name) == (
                None,
                "packages",
            ) and "initialised" in packages.detail
            # What tasks write beside is told by graphs alone.
            await take_graph_in(repository, pipelines.graph("one"))
            every = await found(repository, ONE)
            assert [one.dataset_type_name for one in every] == ["isr_config", "packages", "src_schema", "calexp"]
            async with repository.snapshot() as snapshot:
                run = (await by_names(snapshot, [ONE]))[ONE]
            checks = RunChecks(repository, repository.snapshot)
            for backward in (False, True):
                request, read = PageRequest(1, backward), []
                while True:
                    page = await checks.page(run, [kind], request)
                    read += page.rows
                    if not (page.has_previous if backward else page.has_next):
                        break
                    [key] = page.keys
                    request = request._replace(**{"before" if backward else "after": key})
                assert read == (every[::-1] if backward else every)


async def test_records_that_are_incomplete(spoilt: Spoilt) -> None:
    refs = one_of(spoilt.butler, "src", exposure=1, detector=1), one_of(spoilt.butler, "packages")
    for ref, size in zip(refs, ("NULL", "-1"), strict=True):
        uuid = ref.id.hex if spoilt.real.dialect == "sqlite" else str(ref.id)
        execute(spoilt.real, f"UPDATE file_datastore_records SET file_size = {size} WHERE dataset_id = '{uuid}'")
        [one] = await spoilt.with_more(RunProblemKind.INCOMPLETE_RECORD, ref)
        assert " has no size of " in one.detail
    spoilt.real.rewrite_config(lambda config: config.update(datastore={"checksum": True}))
    stored = [ref for ref in spoilt.butler.query_all_datasets(ONE, find_first=False) if spoilt.butler.stored(ref)]
    async with opened(spoilt.real.uri) as repository:
        incomplete = await spoilt._replace(repository=repository).with_more(RunProblemKind.INCOMPLETE_RECORD, *stored)
    assert len(incomplete) == len(stored) and all(" has no checksum of " in one.detail for one in incomplete)


async def test_plans_that_nobody_carried_out(known: RealRepository, pipelines: Recorded, tmp_path: Path) -> None:
    """All that is in the run is what a graph planned, and of no attempt anything is known."""
    async with opened(known.uri, state=str(tmp_path / "state.sqlite3")) as repository:
        run = JOBS
        incomplete = await found(repository, run)
        assert all(one.kind is RunProblemKind.INCOMPLETE_RECORD for one in incomplete)
        await take_graph_in(repository, pipelines.graph("heavy"))
        never = await found(repository, run)
        planned, others = never[: -len(incomplete)], never[-len(incomplete) :]
        assert [one.uuid for one in others] == [one.uuid for one in incomplete]
        entries = {(entry.task, *entry.data_id.items()) for entry in pipelines.journal if entry.run == run}
        assert len(planned) == len(entries) and {one.kind for one in planned} == {RunProblemKind.NEVER_RAN}
        assert {one.detail for one in planned} == {"It was planned, and no attempt at it is known."}
        await take_graph_in(repository, pipelines.graph("heavy.provenance"))
        assert {one.kind for one in await found(repository, run)} == {RunProblemKind.INCOMPLETE_RECORD}


async def take_graph_in(repository: Repository, path: Path) -> None:
    with path.open("rb") as file:
        graph = GraphFile(file, path.name)
        await ingest(repository.state, graph.source, in_batches(graph.records()))


async def test_what_was_killed_never_ran_as_far_as_one_knows(pipelines: Recorded, tmp_path: Path) -> None:
    """In a run whose logs and metadata are in a graph: what is blocked is not missed, and failures have no metadata."""
    async with opened(str(pipelines.repository), state=str(tmp_path / "state.sqlite3")) as repository:
        run = "batch/retried"
        await take_in(repository, [run])
        killed = [entry for entry in pipelines.journal if entry.run == run and entry.end is None]
        one, *others = await found(repository, run)
        assert one.kind is RunProblemKind.NEVER_RAN and one.quantum is not None and "killed" in one.detail
        assert [one.quantum.data_id_values] == [entry.data_id for entry in killed]
        assert {other.kind for other in others} == {RunProblemKind.INCOMPLETE_RECORD}


async def test_cursors_that_somebody_made_up(known: RealRepository) -> None:
    async with opened(known.uri) as repository:
        async with repository.snapshot() as snapshot:
            run = (await by_names(snapshot, [ONE]))[ONE]
        checks = RunChecks(repository, repository.snapshot)
        for key in (
            (),
            ("x",),
            (1,),
            ("NEVER_RAN", 1),
            ("NEVER_RAN", "a", "b", 1),
            ("NO_PRODUCER",),
            ("NO_PRODUCER", "nothing", "x"),
            ("NO_PRODUCER", "src", "x"),
            ("OUTPUT_NOT_IN_REGISTRY", "x", 1, 2),
            ("INCOMPLETE_RECORD", "src", 1),
        ):
            for request in (PageRequest(3, after=key), PageRequest(3, backward=True, before=key)):
                with pytest.raises(BadCursorError):
                    await checks.page(run, tuple(RunProblemKind), request)
