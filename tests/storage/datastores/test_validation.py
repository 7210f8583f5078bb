"""Validations of real datastores in which something was broken on purpose: each fault is found, and nothing else."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from lsst.daf.butler import DatasetRef, FileDataset

from butlerql.storage.datastores.validation import job as validation_job
from butlerql.storage.datastores.validation.findings import Check, FindingKind
from butlerql.storage.datastores.validation.request import Request
from butlerql.storage.errors import InvalidArgumentError, UnknownDatastoreError
from butlerql.storage.registry.selection import DatasetSelection
from butlerql.storage.registry.where import Where
from butlerql.storage.repository import Repository
from tests.support.repositories import Content, Layout, RealRepository, Repositories
from tests.support.rights import threads_of_nobody
from tests.support.things import STORE, THINGS, UNSUMMED, fill
from tests.support.validated import EVERYTHING, validated

OUTSIDE = frozenset({Check.MISSING, Check.UNTRACKED, Check.SIZE})

# What the rich repository is made with; see its files.
_KNOWN = {
    ("FileDatastore_0", FindingKind.MISSING, "both_HSC_r_HSC-R_102_u_alice_run1.yaml"),
    ("FileDatastore_0", FindingKind.MISSING, "both_HSC_r_HSC-R_103_u_alice_run1.yaml"),
    ("FileDatastore_1", FindingKind.MISSING, "both_HSC_r_HSC-R_103_u_alice_run1.yaml"),
}


@pytest.fixture
def things(repositories: Repositories, dialect: Any) -> Iterator[RealRepository]:
    with repositories.private(THINGS, Layout(dialect)) as copy:
        yield copy


@asynccontextmanager
async def opened(real: RealRepository) -> AsyncIterator[Repository]:
    repository = await Repository.open(real.uri, snapshot_seconds=60)
    try:
        yield repository
    finally:
        await repository.close()


def path_of(real: RealRepository, run: str, detector: int) -> Path:
    [ref] = real.butler.query_datasets("thing", run, where=f"instrument='Cam1' AND detector={detector}")
    return Path(real.butler.getURI(ref).ospath)


async def test_all_is_well(things: RealRepository) -> None:
    async with opened(things) as repository:
        for _ in range(2):
            found = await validated(repository)
            assert found.verdict == "VALID" and found.findings == [], found.findings
            assert found.coverage["datasets"] == 16
            assert found.coverage["artifacts"] == found.coverage["contents"] == 14
        # A zip file has no checksum of its own; by now it has been seen.
        assert "CHECKSUM_NOT_RECORDED" not in found.coverage


async def test_the_rich_repository(rich_in_every_layout: RealRepository, repositories: Repositories) -> None:
    """Chains, split datasets, names that need quoting, files outside, shared files, zip files, and trash."""
    with repositories.copy(rich_in_every_layout) as real:
        async with opened(real) as repository:
            found = await validated(repository)
            [trash] = [row for row in found.rows if row.finding.kind is FindingKind.STALE_TRASH]
            assert trash.datastore.endswith("FileDatastore_0") and "calexp_HSC_r_HSC-R_103_1_3" in (
                trash.finding.path or ""
            )
            missing = {
                (row.datastore.rpartition("/")[2], row.finding.kind, (row.finding.path or "").rpartition("/")[2])
                for row in found.rows
                if row is not trash
            }
            assert missing == _KNOWN
            assert found.verdict == "INVALID"
            own = await validated(repository, repository.datastore.children[1].name)
            assert [row.finding.kind for row in own.rows] == [FindingKind.MISSING]


def write_beside(file: Path, *names: str) -> None:
    for name in names:
        (file.parent / name).write_text("x")


def change(file: Path, how: Callable[[bytearray], object]) -> None:
    content = bytearray(file.read_bytes())
    how(content)
    file.write_bytes(content)


def replace_by_directory(file: Path) -> None:
    file.unlink()
    file.mkdir()


def replace_by_link(file: Path) -> None:
    file.unlink()
    file.symlink_to("nowhere")


def replace_by_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


ODD_NAMES = ["50%", "%41", "a#b", "#", "q?", " ", "'\"\\", "n" * 255]
ODD_NAMES += ["é", "e\u0301", "new\nline", os.fsdecode(b"\xff\xfe")]

FAULTS: dict[str, tuple[Callable[[Path], object], FindingKind]] = {
    "missing": (Path.unlink, FindingKind.MISSING),
    "truncated": (lambda file: change(file, bytearray.pop), FindingKind.SIZE_MISMATCH),
    "longer": (lambda file: change(file, lambda content: content.append(10)), FindingKind.SIZE_MISMATCH),
    "empty": (lambda file: change(file, bytearray.clear), FindingKind.SIZE_MISMATCH),
    "sparse": (lambda file: os.truncate(file, 5 << 30), FindingKind.SIZE_MISMATCH),
    "flipped": (lambda file: change(file, bytearray.reverse), FindingKind.CHECKSUM_MISMATCH),
    "directory": (replace_by_directory, FindingKind.WRONG_TYPE),
    "link": (replace_by_link, FindingKind.WRONG_TYPE),
    "pipe": (replace_by_pipe, FindingKind.WRONG_TYPE),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_each_fault_is_found(things: RealRepository, fault: str) -> None:
    file = path_of(things, "b", 2)
    spoil, kind = FAULTS[fault]
    spoil(file)
    async with opened(things) as repository:
        found = await validated(repository)
        outside = await validated(repository, checks=OUTSIDE)
    assert found.kinds == {(kind, file.name)} and len(found.findings) == 1
    assert found.verdict == "INVALID"
    assert outside.findings == ([] if kind is FindingKind.CHECKSUM_MISMATCH else found.findings)


async def test_what_nobody_recorded_is_found_by_any_name(things: RealRepository) -> None:
    write_beside(path_of(things, "b", 2), *ODD_NAMES)
    async with opened(things) as repository:
        found = await validated(repository)
    assert found.kinds == {(FindingKind.UNTRACKED, name) for name in ODD_NAMES}
    assert len(found.findings) == len(ODD_NAMES)


async def test_what_cannot_be_read_is_not_missing(things: RealRepository) -> None:
    file = path_of(things, "b", 2)
    file.chmod(0)
    async with opened(things) as repository:
        found = await validated(repository, executor=threads_of_nobody(file))
    assert found.kinds == {(FindingKind.UNREADABLE, file.name)}


async def test_a_size_that_is_not_known_is_not_wrong(things: RealRepository) -> None:
    run_sql(things, "UPDATE file_datastore_records SET file_size = -1, checksum = NULL WHERE path LIKE 'a/%'")
    run_sql(things, "UPDATE file_datastore_records SET file_size = NULL WHERE path LIKE 'b/%'")
    async with opened(things) as repository:
        found = await validated(repository)
        assert found.verdict == "VALID"


@pytest.mark.parametrize("checks", [OUTSIDE, EVERYTHING], ids=["outside", "everything"])
async def test_a_file_that_two_datasets_share(things: RealRepository, checks: frozenset[Check]) -> None:
    """It is one artifact, and of the size that each of its records says."""
    file = path_of(things, "d", 1)
    size, table = file.stat().st_size, "file_datastore_records"
    one = f"SELECT dataset_id FROM {table} WHERE path LIKE 'd/%' ORDER BY dataset_id LIMIT 1"
    async with opened(things) as repository:
        run_sql(things, f"UPDATE {table} SET file_size = NULL WHERE dataset_id = ({one})")
        found = await validated(repository, checks=checks)
        assert found.findings == [] and found.coverage["artifacts"] == 14
        run_sql(things, f"UPDATE {table} SET file_size = {size + 1} WHERE dataset_id = ({one})")
        [finding] = (await validated(repository, checks=checks)).findings
        assert finding.kind is FindingKind.SIZE_MISMATCH
        assert (finding.expected, finding.observed) == (f"{size} bytes or {size + 1} bytes", f"{size} bytes")
        assert (await validated(repository, checks=checks - {Check.SIZE})).findings == []
        file.unlink()
        assert (await validated(repository, checks=checks)).kinds == {(FindingKind.MISSING, file.name)}


def run_sql(real: RealRepository, statement: str) -> None:
    """Change a registry as no Butler would."""
    if real.dialect == "sqlite":
        with sqlite3.connect(real.sqlite_file) as link:
            link.execute(statement)
        link.close()
    else:
        assert real.server is not None and real.database is not None
        with real.server.connect(real.database) as link, link.cursor() as cursor:
            cursor.execute(statement)


async def test_a_line_feed_in_records(things: RealRepository) -> None:
    """Records are read in lines, and a line feed within one is none between two."""
    files = [path_of(things, "a", detector) for detector in (1, 2)]
    for file in files:
        path = file.relative_to(things.directory / STORE)
        run_sql(
            things,
            f"UPDATE file_datastore_records SET path = replace(path, '{path.name}', 'new\n{path.name}')"
            f" WHERE path = '{path}'",
        )
        file.rename(file.with_name(f"new\n{file.name}"))
    async with opened(things) as repository:
        found = await validated(repository)
        assert found.findings == [] and found.coverage["artifacts"] == found.coverage["contents"] == 14
        files[0].with_name(f"new\n{files[0].name}").unlink()
        files[1].with_name(f"new\n{files[1].name}").write_text("x")
        assert (await validated(repository)).kinds == {
            (FindingKind.MISSING, f"new\n{files[0].name}"),
            (FindingKind.SIZE_MISMATCH, f"new\n{files[1].name}"),
        }


async def test_zip_members(things: RealRepository) -> None:
    [archive] = (things.directory / STORE).rglob("*.zip")
    with zipfile.ZipFile(archive) as old:
        contents = {name: old.read(name) for name in old.namelist()}
    members = sorted(name for name in contents if name.endswith(".yaml"))
    with zipfile.ZipFile(archive, "w") as new:
        for name, content in contents.items():
            if name != members[0]:
                new.writestr(name, content + b"\n" if name == members[1] else content)
    async with opened(things) as repository:
        found = await validated(repository)
        assert found.kinds == {
            (FindingKind.ZIP_MEMBER_MISSING, f"{archive.name}#zip-path={members[0]}"),
            (FindingKind.SIZE_MISMATCH, f"{archive.name}#zip-path={members[1]}"),
        }
        archive.write_bytes(archive.read_bytes()[:-30])
        found = await validated(repository)
        assert {kind for kind, _ in found.kinds} == {FindingKind.ZIP_MEMBER_MISSING, FindingKind.CHECKSUM_MISMATCH}


async def test_without_recorded_checksums_the_first_reading_counts(repositories: Repositories, dialect: Any) -> None:
    with repositories.private(UNSUMMED, Layout(dialect)) as real:
        file = path_of(real, "c", 3)
        async with opened(real) as repository:
            first = await validated(repository, checks=frozenset({Check.CHECKSUM}))
            assert first.verdict == "VALID" and first.coverage["CHECKSUM_NOT_RECORDED"] == 14
            before = file.stat()
            content = bytearray(file.read_bytes())
            content[-1] ^= 1
            file.write_bytes(content)
            # As a bit that rots: from outside nothing is to be seen.
            os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
            lately = await validated(repository, checks=frozenset({Check.CHECKSUM}), max_age_seconds=3600)
            assert lately.findings == [] and lately.coverage["verified lately"] == 14
            again = await validated(repository, checks=frozenset({Check.CHECKSUM}))
            assert again.kinds == {(FindingKind.CHECKSUM_MISMATCH, file.name)}
        # Somebody else's content at the same path is another.
        [ref] = real.butler.query_datasets("thing", "c", where="instrument='Cam1' AND detector=3")
        writer = real.open(writeable=True)
        writer.pruneDatasets([ref], disassociate=True, unstore=True, purge=True)
        writer.put({"new": "content"}, "thing", instrument="Cam1", detector=3, run="c")
        async with opened(real) as repository:
            assert (await validated(repository)).findings == []


async def test_samples(things: RealRepository) -> None:
    async with opened(things) as repository:
        read = [
            (await validated(repository, checks=frozenset({Check.CHECKSUM}), sample=0.5, seed=seed)).coverage
            for seed in (1, 1, 2, 3, 4, 5)
        ]
    assert read[0]["contents"] == read[1]["contents"]
    assert all(one.get("contents", 0) + one.get("not in the sample", 0) == 14 for one in read)
    assert len({one.get("contents") for one in read}) > 1


async def test_registry_and_records(things: RealRepository) -> None:
    refs = things.butler.query_datasets("thing", "a")
    ids = [ref.id for ref in sorted(refs, key=lambda ref: ref.dataId["detector"])]
    written = [one.hex if things.dialect == "sqlite" else str(one) for one in ids]
    run_sql(things, f"DELETE FROM dataset_location WHERE dataset_id = '{written[0]}'")
    run_sql(things, f"DELETE FROM file_datastore_records WHERE dataset_id = '{written[1]}'")
    run_sql(
        things,
        "INSERT INTO dataset_location_trash SELECT dataset_id, datastore_name FROM dataset_location "
        f"WHERE dataset_id = '{written[2]}'"
        if things.dialect == "sqlite"
        else "INSERT INTO dataset_location_trash (dataset_id, datastore_name) "
        f"SELECT dataset_id, datastore_name FROM dataset_location WHERE dataset_id = '{written[2]}'",
    )
    run_sql(things, f"DELETE FROM dataset_location WHERE dataset_id = '{written[2]}'")
    if things.dialect == "sqlite":
        run_sql(things, f"DELETE FROM dataset_location WHERE dataset_id = '{written[3]}'")
        run_sql(things, f"DELETE FROM dataset WHERE id = '{written[3]}'")
    async with opened(things) as repository:
        found = await validated(repository, checks=frozenset({Check.REGISTRY}))
        selected = await validated(
            repository, checks=frozenset({Check.REGISTRY}), select=DatasetSelection(collections=["a"])
        )
    expected = {
        (FindingKind.RECORD_WITHOUT_LOCATION, str(ids[0])),
        (FindingKind.LOCATION_WITHOUT_RECORD, str(ids[1])),
        (FindingKind.STALE_TRASH, str(ids[2])),
    }
    if things.dialect == "sqlite":
        expected.add((FindingKind.RECORD_WITHOUT_DATASET, str(ids[3])))
    assert found.kinds == selected.kinds == expected


async def test_a_selection(things: RealRepository) -> None:
    files = [path_of(things, run, 1) for run in ("a", "b")]
    for file in files:
        file.unlink()
    selection = DatasetSelection(
        collections=["b", "d", "z"], where=Where("instrument = 'Cam1' AND detector IN (x)", {"x": [1, 3]})
    )
    async with opened(things) as repository:
        found = await validated(repository, select=selection, checks=EVERY_BUT_UNTRACKED)
        assert found.kinds == {(FindingKind.MISSING, files[1].name)}
        assert found.coverage["datasets"] == 4 and found.coverage["artifacts"] == 4
        nothing = await validated(repository, select=DatasetSelection(collections=[]), checks=EVERY_BUT_UNTRACKED)
        assert nothing.verdict == "VALID" and nothing.coverage == {}


EVERY_BUT_UNTRACKED = frozenset(Check) - {Check.UNTRACKED}


async def test_files_in_flight_are_left_alone(things: RealRepository) -> None:
    extra = path_of(things, "b", 2).parent / "extra.yaml"
    extra.write_text("x")
    async with opened(things) as repository:
        young = await validated(repository, grace_seconds=3600)
        assert young.findings == [] and young.coverage["younger than the grace period"] == 1
        os.utime(extra, (time.time() - 4000, time.time() - 4000))
        assert (await validated(repository, grace_seconds=3600)).kinds == {(FindingKind.UNTRACKED, "extra.yaml")}


async def test_the_repositorys_own_files_are_no_artifacts(repositories: Repositories) -> None:
    content = Content("things at the root", fill, dict)
    with repositories.private(content, Layout("sqlite")) as real:
        for suffix in ("-journal", "-wal", "-shm"):
            (real.directory / f"gen3.sqlite3{suffix}").touch()
        (real.directory / "descriptions.yaml").touch()
        async with opened(real) as repository:
            found = await validated(repository, checks=frozenset({Check.UNTRACKED}))
            assert (real.directory / "butlerql.sqlite3").exists()
            assert found.findings == []


async def test_a_store_that_is_gone_is_in_doubt(things: RealRepository) -> None:
    store = things.directory / STORE
    store.rename(things.directory / "elsewhere")
    async with opened(things) as repository:
        for request in ({}, {"select": DatasetSelection(collections=["a"]), "checks": EVERY_BUT_UNTRACKED}):
            found = await validated(repository, **request)
            assert not any(kind is FindingKind.MISSING for kind, _ in found.kinds)
            assert found.verdict == "SUSPECT" or request
        store.mkdir()
        found = await validated(repository)
        assert len(found.findings) == 14


async def test_too_much_missing_is_in_doubt(things: RealRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation_job, "_CAP_COUNT", 3)
    for detector in (1, 2, 3):
        path_of(things, "a", detector).unlink()
    async with opened(things) as repository:
        assert (await validated(repository)).verdict == "INVALID"
        path_of(things, "a", 4).unlink()
        assert (await validated(repository)).verdict == "SUSPECT"


async def test_in_many_stretches_and_processes(things: RealRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the size of stretches, and whoever looks, the findings are the same."""
    path_of(things, "a", 1).unlink()
    path_of(things, "c", 4).write_text("x")
    for directory in ("", "a", "c", "z"):
        (things.directory / STORE / directory / "~extra").write_text("x")
        (things.directory / STORE / directory / "!extra").write_text("x")
    async with opened(things) as repository:
        expected = (await validated(repository)).kinds
        assert len(expected) == 4
        for files in (1, 2, 5):
            monkeypatch.setattr(validation_job, "_FILES", files)
            with ProcessPoolExecutor(2) as processes:
                found = await validated(repository, executor=processes)
            assert found.kinds == expected
            assert found.coverage["artifacts"] == 14


async def test_while_the_butler_ingests_a_thousand_files(
    repositories: Repositories, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It also takes every third batch away again: what comes and goes leaves no finding."""
    monkeypatch.setattr(validation_job, "_FILES", 100)
    with repositories.private(THINGS, Layout("sqlite")) as real:
        writer = real.open(writeable=True)
        kind = writer.get_dataset_type("thing")
        file = tmp_path / "content.yaml"
        file.write_text("a: 1\n")
        data_ids = [
            writer.registry.expandDataId(instrument="Cam1", detector=n, dimensions=kind.dimensions)
            for n in (1, 2, 3, 4)
        ]

        def ingest(batch: int) -> None:
            runs = [f"batch{batch}/{number}" for number in range(25)]
            for run in runs:
                writer.collections.register(run)
            refs = [DatasetRef(kind, data_id, run) for run in runs for data_id in data_ids]
            writer.ingest(*(FileDataset(str(file), [ref]) for ref in refs), transfer="copy")
            if batch % 3 == 0:
                writer.pruneDatasets(refs, disassociate=True, unstore=True, purge=True)

        async def ingest_all() -> None:
            for batch in range(10):
                await asyncio.to_thread(ingest, batch)

        async with opened(real) as repository:
            task = asyncio.create_task(ingest_all())
            meanwhile = []
            while not task.done():
                meanwhile.append(await validated(repository, grace_seconds=60))
            await task
            assert len(meanwhile) > 1
            assert [one.findings for one in meanwhile] == [[]] * len(meanwhile)
            after = await validated(repository)
            assert after.findings == [] and after.coverage["artifacts"] == 14 + 600


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        ({"datastore": "nowhere"}, UnknownDatastoreError),
        ({"checks": frozenset()}, InvalidArgumentError),
        ({"checks": frozenset({Check.UNTRACKED}), "select": DatasetSelection()}, InvalidArgumentError),
        ({"sample": 1.5}, InvalidArgumentError),
        ({"sample": float("nan")}, InvalidArgumentError),
        ({"grace_seconds": -1}, InvalidArgumentError),
        ({"max_age_seconds": -1}, InvalidArgumentError),
        ({"rate_limit": 0}, InvalidArgumentError),
    ],
    ids=lambda value: "".join(value) if isinstance(value, dict) else value.__name__,
)
async def test_requests_that_make_no_sense(
    rich: RealRepository, request_: dict[str, Any], error: type[Exception]
) -> None:
    async with opened(rich) as repository:
        with pytest.raises(error):
            Request(**{"datastore": repository.datastore.name, **request_}).validated(repository.datastore)
