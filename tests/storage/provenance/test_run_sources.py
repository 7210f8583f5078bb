"""What runs hold of provenance, found through the registry, on both databases."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from lsst.daf.butler import Butler, CollectionType

from butlerql.storage.datastores.artifacts.local import LocalStore
from butlerql.storage.datastores.artifacts.objects import ObjectStore
from butlerql.storage.errors import InvalidArgumentError, InvalidSourceError, UnknownCollectionError
from butlerql.storage.provenance import run_contents
from butlerql.storage.provenance.executions import executions_of
from butlerql.storage.provenance.filters import QuantumFilter
from butlerql.storage.provenance.ingest import Ingested, ingest
from butlerql.storage.provenance.quanta import find_quanta
from butlerql.storage.provenance.reading import Reading, read_graph, read_lines
from butlerql.storage.provenance.records import (
    DatasetRecord,
    QuantumRecord,
    Record,
    RunRecord,
    Skipped,
    Source,
    SourceKind,
    TaskRecord,
)
from butlerql.storage.provenance.run_sources import sources_of_run
from butlerql.storage.provenance.task_records import told_of
from butlerql.storage.registry.pages import PageRequest
from butlerql.storage.repository import Repository
from tests.storage.provenance.test_graph_file import of_kind, records_of
from tests.storage.provenance.test_task_records import RUNS, traces_in
from tests.support.object_store import run_object_server
from tests.support.pipelines.recorded import Recorded
from tests.support.provenance_records import one_by_one
from tests.support.repositories import Content, Dialect, Layout, RealRepository, Repositories


@pytest.fixture(scope="module")
def real(pipelines: Recorded, repositories: Repositories, dialect: Dialect) -> RealRepository:
    """Give a copy of the repository without graphs, on each database."""

    def fill(butler: Butler, outside: Path) -> None:
        butler.collections.register("chain", CollectionType.CHAINED)
        with Butler.from_config(str(pipelines.repository)) as source:
            for run in ("raw/all", *RUNS):
                butler.collections.register(run)
                refs = source.query_all_datasets(run, find_first=False)
                butler.transfer_from(
                    source, refs, transfer="copy", register_dataset_types=True, transfer_dimensions=True
                )

    return repositories.shared(Content("pipelines", fill), Layout(dialect))


@pytest.fixture
async def opened(real: RealRepository, tmp_path: Path) -> AsyncIterator[Repository]:
    repository = await Repository.open(real.uri, state=str(tmp_path / "state.sqlite3"))
    yield repository
    await repository.close()


async def read(repository: Repository, run: str) -> tuple[list[Source], list[Record]]:
    sources, records = [], []
    async for found in sources_of_run(repository, run):
        if isinstance(found, Skipped):
            records.append(found)
            continue
        sources.append(found.source)
        async for batch in found.batches:
            records += one_by_one(batch)
    return sources, records


def shown(record: Record) -> str:
    """Write a record down; the order of a data ID's values means nothing."""
    if isinstance(record, QuantumRecord | DatasetRecord) and record.data_id is not None:
        record = replace(record, data_id=dict(sorted(record.data_id.items())))
    return repr(record)


@pytest.mark.parametrize("run", RUNS)
async def test_finds_all_that_is_in_a_run(
    opened: Repository, real: RealRepository, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In pages of any size, also where one ends between the log and the metadata of a unit of work."""
    expected: Counter[str] = Counter()
    outputs: dict[str, set[str]] = {}
    for traces, _ in traces_in(real.butler, run).values():
        for record in told_of(traces):
            if isinstance(record, DatasetRecord):
                ref = real.butler.get_dataset(record.uuid)
                assert ref is not None
                data_id = dict(ref.dataId.required)
                record = replace(record, dataset_type=ref.datasetType.name, data_id=data_id)  # noqa: PLW2901
                outputs.setdefault(traces.task, set()).add(ref.datasetType.name)
            expected[shown(record)] += 1
    assert all(f"{label}_metadata" in some and len(some) > 2 for label, some in outputs.items()) and expected
    for size in (1_000, 3):
        monkeypatch.setattr(run_contents, "_PAGE", size)
        [source], records = await read(opened, run)
        assert (source.kind, source.name) == (SourceKind.TASK_RECORDS, run)
        others = (record for record in records if not isinstance(record, TaskRecord | RunRecord))
        assert Counter(map(shown, others)) == expected
        assert of_kind(records, RunRecord) == [RunRecord(run, real.butler.get("packages", collections=run))]
        configs = {ref.id for ref in real.butler.query_all_datasets(run, name="*_config")}
        tasks = of_kind(records, TaskRecord)
        assert {task.config for task in tasks if task.config is not None} == configs
        assert {
            label: {kind for task in tasks if task.label == label for kind in task.outputs or ()} for label in outputs
        } == outputs


@pytest.fixture
async def copied(pipelines: Recorded, tmp_path: Path) -> AsyncIterator[Repository]:
    """Give a copy of the repository with all that is in it, to change."""
    shutil.copytree(pipelines.repository, tmp_path / "repository")
    repository = await Repository.open(str(tmp_path / "repository"))
    yield repository
    await repository.close()


async def test_reads_a_graph_that_is_in_the_repository(pipelines: Recorded, copied: Repository) -> None:
    [graph, rest], records = await read(copied, "batch/retried")
    assert (graph.kind, rest.kind) == (SourceKind.PROVENANCE_GRAPH, SourceKind.TASK_RECORDS)
    # What was killed is in the registry, and in the graph, without having been there.
    [packages] = of_kind(records, RunRecord)
    assert records == [*records_of(pipelines.graph("retried.provenance")), packages]


async def test_the_digest_tells_whether_a_run_changed(copied: Repository) -> None:
    [before], _ = await read(copied, "full/one")
    assert (await read(copied, "full/one"))[0] == [before]
    with Butler.from_config(copied.root, writeable=True) as butler:
        [ref] = butler.query_datasets(
            "isr_log", collections="full/one", where="instrument = 'Cam' AND exposure = 1 AND detector = 1"
        )
        butler.pruneDatasets([ref], unstore=True, purge=True, disassociate=True)
    [after], _ = await read(copied, "full/one")
    assert (after.kind, after.name) == (before.kind, before.name) and after.digest != before.digest


async def test_files_that_are_gone_or_broken_stop_nothing(copied: Repository) -> None:
    place = Path(copied.root)
    _, whole = await read(copied, "full/one")
    logs = sorted((place / "full/one/calibrate_log").rglob("*.json"))
    logs[0].unlink()
    logs[1].write_bytes(b"\x00")
    logs[2].unlink()
    logs[2].mkdir()
    next((place / "full/one/isr_config").iterdir()).write_bytes(b"\xff")
    next((place / "batch/retried/run_provenance").iterdir()).write_bytes(b"")
    _, records = await read(copied, "full/one")
    skipped = of_kind(records, Skipped)
    assert {record.name for record in skipped} >= {str(log.relative_to(place)) for log in logs[:3]} and len(
        skipped
    ) == 4
    assert len(of_kind(records, QuantumRecord)) == len(of_kind(whole, QuantumRecord))
    [rest], [unread, _] = await read(copied, "batch/retried")
    assert rest.kind is SourceKind.TASK_RECORDS and unread.name.endswith("run_provenance_batch_retried.qg")


async def test_what_is_not_there_is_an_error(opened: Repository) -> None:
    with pytest.raises(UnknownCollectionError):
        await read(opened, "nobody/run")
    with pytest.raises(InvalidArgumentError):
        await read(opened, "chain")
    _, records = await read(opened, "raw/all")
    assert records == []


async def test_reads_files_wherever_they_are(pipelines: Recorded, tmp_path: Path) -> None:
    path = pipelines.graph("retried.provenance")
    lines = tmp_path / "executions.jsonl"
    lines.write_text('{"run": "r", "task": "t", "dataId": {}, "attempt": 0, "status": "FAILED"}\n' * 4_001)
    async with read_graph(LocalStore(str(path.parent)), path.name) as reading:
        records = list(one_by_one([record async for batch in reading.batches for record in batch]))
    assert reading.source.name == path.name and records == records_of(path)
    async with read_lines(LocalStore(str(tmp_path)), lines.name) as reading:
        sizes = [len(batch) async for batch in reading.batches]
    assert sizes == [2_000, 2_000, 1]
    for read_any in (read_graph, read_lines):
        with pytest.raises(InvalidSourceError):
            async with read_any(LocalStore(str(tmp_path)), "nothing"):
                pass


async def test_reads_objects(pipelines: Recorded) -> None:
    path = pipelines.graph("retried.provenance")
    with run_object_server() as server:
        server.fill("graphs", {"some/where.qg": path.read_bytes()})
        store = ObjectStore("s3://graphs/", server.environ)
        async with read_graph(store, "some/where.qg") as reading:
            records = list(one_by_one([record async for batch in reading.batches for record in batch]))
        with pytest.raises(InvalidSourceError):
            async with read_graph(store, "nothing"):
                pass
    assert reading.source.name == "where.qg" and records == records_of(path)


@pytest.fixture(scope="module")
def spoiled(pipelines: Recorded, tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """Give a copy of the bench, files of which may be spoiled for a while."""
    directory = tmp_path_factory.mktemp("spoiled") / "bench"
    shutil.copytree(pipelines.directory, directory)
    return Recorded(directory)


@pytest.mark.parametrize("spoils", ["a file", "a directory"])
async def test_what_could_not_be_read_is_read_when_it_can_be(spoiled: Recorded, tmp_path: Path, spoils: str) -> None:
    repository = await Repository.open(str(spoiled.repository), state=str(tmp_path / "state.sqlite3"))
    whole = sorted((spoiled.repository / "full/one/isr_metadata").rglob("*.json"))
    file = whole[0] if spoils == "a file" else spoiled.repository / "full/one/isr_metadata"
    aside = tmp_path / "aside"
    file.rename(aside)
    if spoils == "a file":
        file.write_bytes(aside.read_bytes()[:10])

    async def taken_in() -> Ingested:
        [reading] = [found async for found in sources_of_run(repository, "full/one")]
        assert isinstance(reading, Reading)
        return await ingest(repository.state, reading.source, reading.batches)

    for _ in range(2):
        first = await taken_in()
        assert first.skipped == (1 if spoils == "a file" else len(whole))
    if spoils == "a file":
        file.unlink()
    aside.rename(file)
    repaired = await taken_in()
    assert (repaired.quanta, repaired.executions) == (first.quanta, first.executions)
    assert (repaired.skipped, await taken_in()) == (0, repaired)
    quanta = (await find_quanta(repository.state, QuantumFilter(tasks=["isr"]), PageRequest(1000))).rows
    attempts = await executions_of(repository.state, [one.id for one in quanta])
    assert len(attempts) == len(whole) and all(one.host for some in attempts for one in some)
    await repository.close()
