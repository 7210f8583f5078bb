"""Two runs are compared as by going through what the real Butler has of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import count, cycle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from lsst.daf.butler import Butler, DatasetRef, FileDataset

from butlerql.resolvers import run_comparisons as comparing
from butlerql.storage.datastores import run_comparisons
from butlerql.storage.repository import Repository
from tests.support.asking import Ask, asking, codes_of, data_of
from tests.support.raw_sql import execute
from tests.support.repositories import Dialect, Layout, RealRepository, Repositories
from tests.support.rich import RICH
from tests.support.rich_files import metrics
from tests.support.validated import validated

VISITS = [{"instrument": "HSC", "visit": visit} for visit in (101, 102, 103)]
POOL: list[tuple[str, Mapping[str, Any]]] = [
    ("config", {}),
    *((name, data_id) for name in ("both", "packed", "split", "second_only") for data_id in VISITS),
    *(("calexp", {"instrument": "HSC", "visit": 101, "detector": detector}) for detector in range(4)),
]
"""What runs may have: in a datastore without checksums, in one with them, in both; in parts and whole."""

NUMBERS = (1, 2, 100)
"""What is in files; those of the first two are as long as each other."""

FIELDS = """datasetType { name } baseCount otherCount baseBytes otherBytes baseStored otherStored common changed
    comparedByChecksum comparedBySize definitionChanged
    onlyInBase(first: 100) { totalCount nodes { uuid } } onlyInOther(first: 100) { totalCount nodes { uuid } }"""
QUERY = f"""query ($base: String!, $other: String!, $datastore: String, $types: [String!]) {{
    compareRuns(base: $base, other: $other, datastore: $datastore, datasetTypes: $types) {{
        identical base {{ name }} other {{ name }} datasetTypes {{ {FIELDS} }} }} }}"""


@dataclass(frozen=True)
class Planted:
    """What one run has of a place in the pool: a number, or nothing; and which datastores lost it."""

    number: int
    lost: tuple[int, ...] = ()


@dataclass
class Run:
    """A run, and what it has."""

    name: str
    refs: dict[tuple[str, Any], DatasetRef] = field(default_factory=dict)


PLANTED = st.builds(Planted, st.sampled_from(NUMBERS), st.sampled_from([()] * 6 + [(0,), (1,), (0, 1)]))
HOWS = ["none", "other", "same", "other", "base alone", "other", "other alone"]
HOW = st.sampled_from(HOWS)
PAIRS = st.tuples(*(st.tuples(PLANTED, HOW, PLANTED) for _ in POOL))
"""What becomes of each place in two runs."""

DIFFERENT = tuple(
    (Planted(1), how, Planted(NUMBERS[place % len(NUMBERS)])) for place, how in zip(range(len(POOL)), cycle(HOWS))
)
"""Of all that can be, and nothing lost."""


@pytest.fixture(scope="module")
def real(repositories: Repositories, dialect: Dialect) -> Iterator[RealRepository]:
    with repositories.private(RICH, Layout(dialect)) as made:
        yield made


@pytest.fixture(scope="module")
def butler(real: RealRepository) -> Butler:
    return real.open(writeable=True)


@pytest.fixture(scope="module")
async def ask(real: RealRepository) -> AsyncIterator[Ask]:
    async with asking(real) as asked:
        yield asked


NEW = count()


def make(butler: Butler, wanted: Mapping[int, Planted]) -> Run:
    """Put datasets into a new run, and have datastores lose some."""
    run = Run(f"compared/{next(NEW)}")
    butler.collections.register(run.name)
    children = butler._datastore.datastores
    with butler.transaction():
        for place, planted in wanted.items():
            name, data_id = POOL[place]
            thing = metrics(planted.number) if name in ("packed", "split") else {"number": planted.number}
            ref = butler.put(thing, name, data_id, run=run.name)
            run.refs[name, tuple(data_id.values())] = ref
    for place, planted in wanted.items():
        name, data_id = POOL[place]
        ref = run.refs[name, tuple(data_id.values())]
        for child in planted.lost:
            if children[child].knows(ref):
                children[child].trash(ref)
                children[child].emptyTrash()
    return run


def files_of(child: Any, ref: DatasetRef, *, validated: bool) -> dict[Any, tuple[int, str | None, str]]:
    """Give size, checksum and storage class of each file that a datastore has of a dataset, by component."""
    return {
        info.component: (
            info.file_size,
            info.checksum or (blake2b(Path(location.uri.ospath).read_bytes()).hexdigest() if validated else None),
            info.storageClass.name,
        )
        for location, info in child._get_dataset_locations_info(ref)
    }


def compared(butler: Butler, base: Run, other: Run, children: Sequence[int], *, validated: bool) -> dict[str, Any]:
    """Compare as the API says, one dataset after the other."""
    stores = [butler._datastore.datastores[child] for child in children]
    files = {
        ref.id: [found for store in stores if (found := files_of(store, ref, validated=validated))]
        for run in (base, other)
        for ref in run.refs.values()
    }
    by_store = {
        ref.id: [files_of(store, ref, validated=validated) for store in stores]
        for run in (base, other)
        for ref in run.refs.values()
    }
    result = {}
    for name in sorted({name for name, _ in (*base.refs, *other.refs)}):
        mine, its = ({key: ref for key, ref in run.refs.items() if key[0] == name} for run in (base, other))
        outcomes: Counter[str] = Counter()
        for key in mine.keys() & its.keys():
            differs, ways = False, set()
            for one, two in zip(by_store[mine[key].id], by_store[its[key].id], strict=True):
                if one and two:
                    differs |= one.keys() != two.keys() or any(one[part][:2] != two[part][:2] for part in one)
                    ways.add(all(one[part][1] and two[part][1] for part in one) if one.keys() == two.keys() else False)
            outcomes["changed"] += differs
            outcomes["comparedByChecksum"] += True in ways
            outcomes["comparedBySize"] += ways == {False}
        classes = [
            {f[2] for ref in refs.values() for found in files[ref.id] for f in found.values()} for refs in (mine, its)
        ]
        figures = {}
        for side, refs in (("base", mine), ("other", its)):
            sizes = [f[0] for ref in refs.values() for found in files[ref.id] for f in found.values()]
            figures |= {
                f"{side}Count": len(refs),
                f"{side}Stored": sum(bool(files[ref.id]) for ref in refs.values()),
                f"{side}Bytes": sum(sizes),
            }
        only = {
            field: {"totalCount": len(keys), "nodes": [{"uuid": str(refs[key].id)} for key in sorted(keys)]}
            for field, refs, keys in (
                ("onlyInBase", mine, mine.keys() - its.keys()),
                ("onlyInOther", its, its.keys() - mine.keys()),
            )
        }
        result[name] = {
            **{way: outcomes[way] for way in ("changed", "comparedByChecksum", "comparedBySize")},
            **figures,
            **only,
            "datasetType": {"name": name},
            "common": len(mine.keys() & its.keys()),
            "definitionChanged": all(classes) and classes[0] != classes[1],
        }
    return result


def identical(types: Mapping[str, Any]) -> bool | None:
    every = types.values()
    if any(one["changed"] or not one["baseCount"] == one["common"] == one["otherCount"] for one in every):
        return False
    return True if all(one["comparedByChecksum"] == one["common"] for one in every) else None


async def check(ask: Ask, butler: Butler, base: Run, other: Run, *, validated: bool) -> None:
    first, second = (child.name for child in butler._datastore.datastores)
    for datastore, children in ((None, (0, 1)), (first, (0,)), (second, (1,)))[: 1 if base is other else 3]:
        answer = data_of(await ask(QUERY, base=base.name, other=other.name, datastore=datastore))["compareRuns"]
        expected = compared(butler, base, other, children, validated=validated)
        assert {one["datasetType"]["name"]: one for one in answer["datasetTypes"]} == expected
        assert [one["datasetType"]["name"] for one in answer["datasetTypes"]] == sorted(expected)
        assert answer["identical"] is identical(expected)
        assert (answer["base"]["name"], answer["other"]["name"]) == (base.name, other.name)


async def validate(real: RealRepository) -> None:
    """Have all contents read, and their checksums recorded."""
    repository = await Repository.open(real.uri, snapshot_seconds=60)
    for child in repository.datastore.children:
        await validated(repository, child.name)
    await repository.close()


@settings(
    max_examples=settings.default.max_examples // 12,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(pairs=PAIRS)
@example(pairs=DIFFERENT)
async def test_generated_runs(
    ask: Ask, butler: Butler, real: RealRepository, monkeypatch: pytest.MonkeyPatch, pairs: list[Any]
) -> None:
    monkeypatch.setattr(run_comparisons, "_CHUNK", 3)
    monkeypatch.setattr(comparing, "_DATASETS", 3)
    both: tuple[dict[int, Planted], dict[int, Planted]] = ({}, {})
    for place, (first, how, second) in enumerate(pairs):
        if how not in {"none", "other alone"}:
            both[0][place] = first
        if how not in {"none", "base alone"}:
            both[1][place] = first if how == "same" else second
    base, other = (make(butler, wanted) for wanted in both)
    await check(ask, butler, base, other, validated=False)
    await validate(real)
    await check(ask, butler, base, other, validated=True)
    await check(ask, butler, base, base, validated=True)


async def test_pages_of_what_one_run_has_alone(ask: Ask, butler: Butler) -> None:
    both = [place for place, (name, _) in enumerate(POOL) if name in {"both", "calexp"}]
    base, other = make(butler, {place: Planted(1) for place in both}), make(butler, {both[0]: Planted(1)})
    query = """query ($base: String!, $other: String!, $after: String, $types: [String!]) {
        compareRuns(base: $base, other: $other, datasetTypes: $types) { datasetTypes { datasetType { name }
            back: onlyInBase(last: 3) { nodes { uuid } }
            onlyInBase(first: 2, after: $after) { totalCount groups(by: [DATASET_TYPE]) { datasets }
                nodes { uuid } pageInfo { hasNextPage endCursor } } } } }"""
    names = {"base": base.name, "other": other.name}
    for types, kind in ((["calexp"], "calexp"), (["b*h"], "both")):
        expected = [str(ref.id) for (name, _), ref in base.refs.items() if name == kind][kind == "both" :]
        found: list[str] = []
        after = None
        while True:
            [one] = data_of(await ask(query, **names, types=types, after=after))["compareRuns"]["datasetTypes"]
            page = one["onlyInBase"]
            assert one["datasetType"]["name"] == kind and page["totalCount"] == len(expected)
            assert page["groups"] == [{"datasets": len(expected)}]
            assert [node["uuid"] for node in one["back"]["nodes"]] == expected[-3:]
            found += [node["uuid"] for node in page["nodes"]]
            after = page["pageInfo"]["endCursor"]
            if not page["pageInfo"]["hasNextPage"]:
                break
        assert found == expected
    [(_, code)] = codes_of(await ask(query, base=other.name, other=base.name, types=["both"], after=after))
    assert code == "BAD_CURSOR"
    nothing = data_of(await ask(QUERY, **names, types=[]))["compareRuns"]
    assert nothing["datasetTypes"] == [] and nothing["identical"] is True


async def test_what_was_written_as_something_else(ask: Ask, butler: Butler, real: RealRepository) -> None:
    places = {name: place for place, (name, _) in enumerate(POOL)}
    wanted = {places[name]: Planted(1) for name in ("both", "split", "calexp")}
    base, other = make(butler, wanted), make(butler, wanted)
    for (name, _), ref in base.refs.items():
        uuid = ref.id.hex if real.dialect == "sqlite" else str(ref.id)
        part = "= 'summary'" if name == "split" else "IS NOT NULL"
        if name != "calexp":
            change = f"SET storage_class = 'StructuredDataList' WHERE dataset_id = '{uuid}' AND component {part}"
            execute(real, f"UPDATE file_datastore_records_1 {change}")

    async def changed(datastore: str | None = None) -> list[str]:
        answer = data_of(await ask(QUERY, base=base.name, other=other.name, datastore=datastore))
        return [one["datasetType"]["name"] for one in answer["compareRuns"]["datasetTypes"] if one["definitionChanged"]]

    assert await changed() == ["both", "split"]
    assert await changed(butler._datastore.datastores[0].name) == []
    # What ``ingest-graph`` writes down of anything tells nothing.
    formatter = "lsst.pipe.base.quantum_graph.formatter.ProvenanceFormatter"
    change = f"SET formatter = '{formatter}' WHERE storage_class = 'StructuredDataList' AND component = 'summary'"
    execute(real, f"UPDATE file_datastore_records_1 {change}")
    assert await changed() == ["both"]


async def test_sizes_that_nobody_recorded(ask: Ask, butler: Butler, tmp_path: Path) -> None:
    kind = butler.get_dataset_type("calexp")
    for run in ("unsized/1", "unsized/2"):
        (tmp_path / "file.yaml").write_text("a: 1")
        butler.collections.register(run)
        data_id = butler.registry.expandDataId(POOL[-1][1], dimensions=kind.dimensions)
        file = FileDataset(str(tmp_path / "file.yaml"), DatasetRef(kind, data_id, run=run))
        butler.ingest(file, transfer="copy", record_validation_info=False)
    answer = data_of(await ask(QUERY, base="unsized/1", other="unsized/2"))["compareRuns"]
    [one] = answer["datasetTypes"]
    assert (one["baseStored"], one["baseBytes"], one["otherBytes"], one["common"]) == (1, None, None, 1)
    assert one["changed"] == one["comparedByChecksum"] == one["comparedBySize"] == 0
    assert answer["identical"] is None


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ('base: "nobody/run", other: "zip"', "UNKNOWN_COLLECTION"),
        ('base: "zip", other: "nobody/*"', "UNKNOWN_COLLECTION"),
        ('base: "zip", other: "chain/all"', "UNKNOWN_COLLECTION"),
        ('base: "zip", other: "zip", datastore: "x"', "UNKNOWN_DATASTORE"),
        ('base: "zip", other: "zip", datasetTypes: ["x"]', "UNKNOWN_DATASET_TYPE"),
        ('base: "zip", other: "zip", datasetTypes: ["split.x"]', "UNKNOWN_COMPONENT"),
        ('base: "zip", other: "zip", datasetTypes: ["split.data"]', "INVALID_ARGUMENT"),
    ],
)
async def test_what_cannot_be_compared_is_told(ask: Ask, arguments: str, code: str) -> None:
    result = await ask(f"{{ compareRuns({arguments}) {{ datasetTypes {{ common }} }} }}")
    assert [found for _, found in codes_of(result)] == [code]


async def test_a_part_that_only_one_has(ask: Ask, butler: Butler, real: RealRepository) -> None:
    place = [name for name, _ in POOL].index("split")
    base, other = make(butler, {place: Planted(1)}), make(butler, {place: Planted(1)})
    [ref] = base.refs.values()
    uuid = ref.id.hex if real.dialect == "sqlite" else str(ref.id)
    execute(real, f"DELETE FROM file_datastore_records_1 WHERE dataset_id = '{uuid}' AND component = 'data'")
    store = butler._datastore.datastores[1].name
    for is_validated in (False, True):
        if is_validated:
            await validate(real)
        for names in ({"base": base.name, "other": other.name}, {"base": other.name, "other": base.name}):
            answer = data_of(await ask(QUERY, **names, datastore=store))["compareRuns"]
            [one] = answer["datasetTypes"]
            assert (one["changed"], one["comparedByChecksum"], one["comparedBySize"]) == (1, 0, 1)
            assert answer["identical"] is False
