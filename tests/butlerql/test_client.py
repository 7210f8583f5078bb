"""The clients give what the real Butler's own methods give when they are asked the same."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.time import Time
from graphql import GraphQLInputObjectType, build_schema
from lsst.daf.butler import CollectionType, DatasetRef
from lsst.daf.butler import Timespan as ButlerTimespan

from butlerql.client import Client, DataId, Dataset, EmptyResultError, Timespan
from butlerql.storage.provenance.ingest import ingest
from butlerql.storage.provenance.records import ExecutionRecord, QuantumRecord, QuantumStatus, Source, SourceKind
from butlerql.storage.repository import Repository
from tests.docs.pages import ROOT
from tests.support.client_questions import BothClients
from tests.support.provenance_state import in_batches
from tests.support.repositories import Layout, RealRepository, Repositories
from tests.support.served import serving
from tests.support.small import SMALL

_SCHEMA = build_schema((ROOT / "schema" / "schema.graphql").read_text(encoding="utf-8"))


def needs(field: str, argument: str) -> pytest.MarkDecorator:
    """Wait for an argument that the client knows and the server may not yet have."""
    assert _SCHEMA.query_type is not None
    select = _SCHEMA.type_map["DatasetSelection"]
    assert isinstance(select, GraphQLInputObjectType)
    there = argument in (select.fields if field == "select" else _SCHEMA.query_type.fields[field].args)
    return pytest.mark.skipif(not there, reason=f"The schema has no argument {argument} of {field} yet.")


@pytest.fixture(scope="module")
def rich_server(rich: RealRepository, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(f"rich={rich.uri}", log=tmp_path_factory.mktemp("rich") / "log") as address:
        yield address


@pytest.fixture(scope="module")
def ci_hsc_server(ci_hsc: RealRepository, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(f"ci_hsc={ci_hsc.uri}", log=tmp_path_factory.mktemp("ci_hsc") / "log") as address:
        yield address


def _for_the_butler(values: Mapping[str, Any]) -> dict[str, Any]:
    """Give plain values: of NumPy's the Butler takes only some."""
    return {name: value.tolist() if hasattr(value, "tolist") else value for name, value in values.items()}


def agrees(ours: Dataset, theirs: DatasetRef) -> bool:
    return (
        ours.uuid == theirs.id
        and ours.dataset_type == theirs.datasetType.name
        and ours.data_id == dict(theirs.dataId.mapping)
        and ours.run == theirs.run
    )


_DATASETS: list[tuple[str, Any, dict[str, Any]]] = [
    ("calexp", "chain/outer", {}),
    ("calexp", ["u/alice/run2", "u/alice/run1"], {"instrument": "HSC"}),
    ("calexp", ("u/alice/run1", "u/alice/run2"), {"find_first": False}),
    ("calexp", "*", {"find_first": False, "data_id": {"instrument": "HSC", "detector": np.uint8(1)}}),
    ("calexp", "chain/outer", {"data_id": {"instrument": np.str_("HSC")}, "visit": np.int64(101)}),
    ("coadd", "*", {"find_first": False}),
    ("sky_tile", "*", {"find_first": False}),
    ("config", "*", {"find_first": False}),
    ("per_band", "*", {"find_first": False, "band": "r"}),
    ("bias", "HSC/calib/run", {}),
    ("never_made", "*", {"find_first": False}),
]


@pytest.mark.parametrize(("name", "collections", "options"), _DATASETS)
def test_datasets(rich: RealRepository, rich_server: str, name: str, collections: Any, options: dict[str, Any]) -> None:
    theirs = {ref.id: ref for ref in rich.butler.query_datasets(name, collections, explain=False, **options)}
    ours = BothClients(rich_server).query_datasets(name, collections, explain=False, **options)
    assert len(ours) == len(theirs)
    assert all(agrees(found, theirs[found.uuid]) for found in ours)


def test_datasets_tell_where_their_files_are(demonstration: RealRepository, tmp_path: Path) -> None:
    with serving(f"demo={demonstration.uri}", log=tmp_path / "log") as address:
        ours = BothClients(address, repository="demo").query_datasets("calexp", "HSC/runs/ci_hsc", instrument="HSC")
    butler = demonstration.butler
    theirs = {ref.id: ref for ref in butler.query_datasets("calexp", "HSC/runs/ci_hsc")}
    assert {found.uuid for found in ours} == theirs.keys()
    for found in ours:
        ref = theirs[found.uuid]
        if butler._datastore.knows(ref):
            path = Path(butler.getURI(ref, predict=True).ospath)
            assert found.filename == str(path)
            # Of one somebody deleted the file without telling the Butler.
            assert not path.exists() or found.size == path.stat().st_size
        else:
            assert (found.filename, found.size) == (None, None)


def test_datasets_that_work_wrote(repositories: Repositories, tmp_path: Path) -> None:
    with repositories.private(SMALL, Layout("sqlite")) as real:
        one, *_ = found = list(real.butler.query_datasets("flat", "run"))

        async def tell() -> None:
            repository = await Repository.open(real.uri)
            attempt = ExecutionRecord(0, QuantumStatus.SUCCESSFUL, "node-17", 1_000_000)
            record = QuantumRecord("run", "make", {}, executions=(attempt,), outputs=(one.id,))
            await ingest(repository.state, Source(SourceKind.JSON_LINES, "lines", ""), in_batches([record]))
            await repository.close()

        asyncio.run(tell())
        with serving(f"small={real.uri}", log=tmp_path / "log") as address:
            asked = BothClients(address)
            assert len(asked.query_datasets("flat", "run")) == len(found) > 1
            for work in ({"hosts": ("node-*",)}, {"startedAfter": datetime(1970, 1, 1, tzinfo=UTC), "tasks": ["make"]}):
                assert [dataset.uuid for dataset in asked.query_datasets("flat", "run", generated_by=work)] == [one.id]
            assert asked.query_datasets("flat", "run", generated_by={"hosts": []}) == []


def test_a_dataset_type_of_the_butler_is_as_good_as_its_name(rich: RealRepository, rich_server: str) -> None:
    asked = BothClients(rich_server)
    kind = rich.butler.get_dataset_type("calexp")
    [own] = asked.query_dataset_types("calexp")
    expected = asked.query_datasets("calexp", "chain/outer")
    assert asked.query_datasets(kind, "chain/outer") == asked.query_datasets(own, "chain/outer") == expected


def test_a_data_id_can_be_passed_back(rich: RealRepository, rich_server: str) -> None:
    asked = BothClients(rich_server)
    for found in asked.query_datasets("calexp", "chain/outer"):
        assert asked.find_dataset("calexp", found.data_id, collections="chain/outer") == found
        assert asked.get_dataset(found.uuid) == asked.get_dataset(str(found.uuid)) == found
        theirs = rich.butler.get_dataset(found.uuid)
        assert theirs is not None
        assert asked.find_dataset("calexp", theirs.dataId, collections="chain/outer") == found
    assert asked.get_dataset("00000000-0000-0000-0000-000000000000") is None


@pytest.mark.parametrize(
    "span",
    [
        ButlerTimespan(Time("2024-01-01T21:00:00", scale="tai"), Time("2024-01-01T22:00:00", scale="tai")),
        ButlerTimespan(None, Time("2023-12-31T00:00:00", scale="tai")),
        ButlerTimespan(Time("2024-06-15T00:00:00", scale="utc"), None),
    ],
)
@pytest.mark.parametrize("detector", [0, 1, 2])
def test_calibrations_are_found_by_timespan(
    rich: RealRepository, rich_server: str, span: ButlerTimespan, detector: int
) -> None:
    data_id = {"instrument": "HSC", "detector": detector}
    theirs = rich.butler.find_dataset("bias", data_id, collections="HSC/calib", timespan=span)
    asked = BothClients(rich_server)
    found = asked.find_dataset("bias", data_id, collections="HSC/calib", timespan=span)
    assert (found and found.uuid) == (theirs and theirs.id)
    begin, end = (None if time is None else time.tai.datetime64 for time in (span.begin, span.end))
    assert asked.find_dataset("bias", data_id, collections=["HSC/calib"], timespan=Timespan(begin, end)) == found


_DATA_IDS: list[tuple[Any, dict[str, Any]]] = [
    ("visit", {}),
    ("band", {}),
    ([], {}),
    (("visit", "detector"), {"instrument": "HSC"}),
    (np.array(["visit", "detector"]), {"data_id": {"instrument": "HSC"}, "visit": np.array(101)}),
    ({"tract", "patch"}, {}),
    (["exposure"], {"data_id": {}, "instrument": "HSC"}),
]


@pytest.mark.parametrize(("dimensions", "options"), _DATA_IDS)
def test_data_ids(rich: RealRepository, rich_server: str, dimensions: Any, options: dict[str, Any]) -> None:
    plain = dimensions if isinstance(dimensions, str) else [str(name) for name in dimensions]
    theirs = rich.butler.query_data_ids(plain, explain=False, **_for_the_butler(options))
    ours = BothClients(rich_server).query_data_ids(dimensions, **options)
    assert len(ours) == len(theirs)
    assert set(ours) == {DataId(dict(data_id.mapping)) for data_id in theirs}


def test_data_ids_of_datasets(ci_hsc: RealRepository, ci_hsc_server: str) -> None:
    registry = ci_hsc.butler.registry
    theirs = registry.queryDataIds(["visit", "detector"], datasets=["calexp"], collections="*")
    ours = BothClients(ci_hsc_server).query_data_ids(["visit", "detector"], dataset_types="calexp", collections="*")
    assert set(ours) == {DataId(dict(data_id.mapping)) for data_id in theirs.expanded()}


@pytest.mark.parametrize("element", ["instrument", "visit", "exposure", "detector", "visit_definition", "patch"])
def test_dimension_records(rich: RealRepository, rich_server: str, element: str) -> None:
    theirs = {frozenset(record.dataId.required.items()): record for record in _records(rich, element)}
    ours = BothClients(rich_server).query_dimension_records(element)
    assert len(ours) == len(theirs)
    for found in ours:
        assert found.element == element
        required = rich.butler.dimensions[element].required.names
        expected = theirs[frozenset((name, found.data_id[name]) for name in required)].toDict()
        region, timespan = expected.pop("region", None), expected.pop("timespan", None)
        assert {name: found[name] for name in found if name not in ("region", "timespan")} == expected
        assert (found.region is None) == (region is None)
        assert (found.timespan is None) == (timespan is None)


def _records(repository: RealRepository, element: str) -> list[Any]:
    return repository.butler.query_dimension_records(element, explain=False)


def test_dataset_types(rich: RealRepository, rich_server: str) -> None:
    asked = BothClients(rich_server)
    theirs = {kind.name: kind for kind in rich.butler.registry.queryDatasetTypes("*")}
    ours = asked.query_dataset_types()
    assert ours == asked.query_dataset_types(...)
    assert [kind.name for kind in ours] == sorted(theirs)
    for kind in ours:
        other = theirs[kind.name]
        assert kind.storage_class == other.storageClass_name
        assert set(kind.dimensions) == set(other.dimensions.names)
        assert kind.is_calibration == other.isCalibration()
    assert [kind.name for kind in asked.query_dataset_types(["sky_*", "raw"])] == [
        name for name in sorted(theirs) if name == "raw" or name.startswith("sky_")
    ]


@pytest.mark.parametrize("types", [None, "RUN", CollectionType.CHAINED, {CollectionType.TAGGED, CollectionType.RUN}])
@pytest.mark.parametrize("flatten", [False, True])
def test_collections(rich: RealRepository, rich_server: str, types: Any, *, flatten: bool) -> None:
    wanted = CollectionType.RUN if types == "RUN" else types
    theirs = {
        info.name: info
        for info in rich.butler.collections.query_info("*", wanted, flatten_chains=flatten, include_doc=True)
    }
    ours = BothClients(rich_server).query_collections("*", types, flatten_chains=flatten)
    assert {found.name for found in ours} == theirs.keys()
    for found in ours:
        other = theirs[found.name]
        assert (found.type, found.doc or "") == (other.type.name, other.doc or "")
        assert found.children == tuple(other.children)


@pytest.mark.parametrize("size", [1, 2, 7, 10_000])
def test_pages_of_any_size_give_the_same(rich: RealRepository, rich_server: str, size: int) -> None:
    paged, whole = BothClients(rich_server, page_size=size), BothClients(rich_server)
    questions: list[tuple[str, Any, Mapping[str, Any]]] = [
        ("query_datasets", ["calexp", "*"], {"find_first": False}),
        ("query_data_ids", [["visit", "detector"]], {"instrument": "HSC"}),
        ("query_dimension_records", ["detector"], {}),
        ("query_dataset_types", [], {}),
        ("query_collections", [], {}),
    ]
    for method, arguments, options in questions:
        rows = getattr(whole, method)(*arguments, **options)
        assert len(rows) > 2
        assert getattr(paged, method)(*arguments, **options) == rows
        if method in ("query_dataset_types", "query_collections"):
            continue
        for limit in (0, 1, np.int16(2), len(rows), len(rows) + 1):
            assert getattr(paged, method)(*arguments, limit=limit, **options) == rows[:limit]


def test_nothing_is_nothing_unless_an_explanation_is_wanted(rich_server: str) -> None:
    asked = BothClients(rich_server)
    assert asked.query_datasets("never_made", "*", find_first=False) == []
    assert asked.query_datasets("never_made", "*", find_first=False, explain=True, limit=0) == []
    with pytest.raises(EmptyResultError):
        asked.query_datasets("never_made", "*", find_first=False, explain=True)


_WHERE: list[tuple[str, dict[str, Any]]] = [
    ("instrument = 'HSC' AND visit > 101", {}),
    ("instrument = 'HSC' AND visit.exposure_time > :least", {"least": np.float32(1)}),
    ("instrument = :camera AND detector IN (:wanted)", {"camera": np.str_("HSC"), "wanted": np.arange(2)}),
    ("instrument = 'HSC' AND visit IN (:wanted)", {"wanted": (101, 103)}),
]


@needs("select", "where")
@pytest.mark.parametrize(("where", "bind"), _WHERE)
def test_datasets_by_condition(rich: RealRepository, rich_server: str, where: str, bind: dict[str, Any]) -> None:
    theirs = rich.butler.query_datasets("calexp", "chain/outer", where=where, bind=_for_the_butler(bind), explain=False)
    ours = BothClients(rich_server).query_datasets("calexp", "chain/outer", where=where, bind=bind)
    assert {found.uuid for found in ours} == {ref.id for ref in theirs}


@needs("dataIds", "where")
@pytest.mark.parametrize(("where", "bind"), _WHERE)
def test_data_ids_by_condition(rich: RealRepository, rich_server: str, where: str, bind: dict[str, Any]) -> None:
    dimensions = ["visit", "detector"]
    theirs = rich.butler.query_data_ids(dimensions, where=where, bind=_for_the_butler(bind), explain=False)
    ours = BothClients(rich_server).query_data_ids(dimensions, where=where, bind=bind)
    assert set(ours) == {DataId(dict(data_id.mapping)) for data_id in theirs}


@needs("dimensionRecords", "where")
def test_dimension_records_by_condition(rich: RealRepository, rich_server: str) -> None:
    where = "instrument = 'HSC' AND visit > 101"
    theirs = rich.butler.query_dimension_records("visit", where=where, explain=False)
    ours = BothClients(rich_server).query_dimension_records("visit", where=where)
    assert sorted(found["id"] for found in ours) == sorted(record.id for record in theirs)


@needs("datasets", "orderBy")
@pytest.mark.parametrize("order", ["visit", "-visit", ["-detector", "visit"], ("visit.name", "-detector")])
def test_datasets_in_order(rich: RealRepository, rich_server: str, order: Any) -> None:
    several = order if isinstance(order, str) else list(order)
    theirs = rich.butler.query_datasets("calexp", "chain/outer", instrument="HSC", order_by=several)
    names = [name.lstrip("-") for name in ([order] if isinstance(order, str) else order) if "." not in name]
    for size in (1, 2, 1_000):
        ours = BothClients(rich_server, page_size=size).query_datasets(
            "calexp", "chain/outer", instrument="HSC", order_by=order
        )
        assert [[found.data_id[name] for name in names] for found in ours] == [
            [ref.dataId[name] for name in names] for ref in theirs
        ]


@needs("dataIds", "orderBy")
@pytest.mark.parametrize("order", [["visit", "detector"], ["-detector", "-visit"]])
def test_data_ids_in_order(rich: RealRepository, rich_server: str, order: list[str]) -> None:
    options: dict[str, Any] = {"instrument": "HSC", "order_by": order, "limit": 5}
    theirs = rich.butler.query_data_ids(["visit", "detector"], **options)
    ours = BothClients(rich_server, page_size=2).query_data_ids(["visit", "detector"], **options)
    assert ours == [dict(data_id.mapping) for data_id in theirs]


@needs("dimensionRecords", "orderBy")
def test_dimension_records_in_order(rich: RealRepository, rich_server: str) -> None:
    theirs = rich.butler.query_dimension_records("visit", instrument="HSC", order_by="-visit")
    ours = BothClients(rich_server).query_dimension_records("visit", instrument="HSC", order_by="-visit")
    assert [found["id"] for found in ours] == [record.id for record in theirs]


def test_it_is_imported_without_the_server() -> None:
    script = (
        "import sys, butlerql.client; "
        "large = {'astropy', 'graphql', 'lsst', 'numpy', 'pydantic', 'sqlalchemy', 'starlette', 'strawberry'}; "
        "print(*large & {name.split('.')[0] for name in sys.modules}, 'butlerql.storage' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]


def test_methods_say_how_they_are_called() -> None:
    for method in ("query_datasets", "find_dataset"):
        signature = inspect.signature(getattr(Client, method))
        assert list(signature.parameters)[:2] == ["self", "dataset_type"]
    with Client("http://127.0.0.1") as client:
        assert next(iter(inspect.signature(client.query_datasets).parameters)) == "dataset_type"
