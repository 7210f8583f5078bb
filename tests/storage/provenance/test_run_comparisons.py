"""Runs of real pipelines are compared as their datasets tell; the own state may be in another kind of database."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from lsst.daf.butler import Butler
from lsst.utils.packages import Packages

from butlerql.storage.provenance.ingest import ingest
from butlerql.storage.provenance.records import Skipped
from butlerql.storage.provenance.run_sources import sources_of_run
from butlerql.storage.repository import Repository
from tests.support.asking import Ask, asking, data_of
from tests.support.pipelines.recorded import Recorded
from tests.support.repositories import Dialect

RUNS = ("full/one", "full/many", "batch/heavy")
FIELDS = "executions failedExecutions runTime { median } maxRss { median }"
QUERY = f"""query ($base: String!, $other: String!, $tasks: [String!]) {{
    compareRuns(base: $base, other: $other, tasks: $tasks) {{ identical
        datasetTypes {{ datasetType {{ name }} baseCount otherCount common changed }}
        tasks {{ task {{ label }} base {{ runName {FIELDS} }} other {{ runName {FIELDS} }}
            runTimeRatio maxRssRatio failureRateDifference configChanged packagesChanged }} }} }}"""


class Copied:
    """A copy of what pipelines left, to change."""

    def __init__(self, place: Path) -> None:
        self.uri = str(place)
        self._config = place / "butler.yaml"
        self._written = self._config.read_text()

    def put_packages(self, run: str, form: str, packages: Mapping[str, str]) -> None:
        """Have a run say that it was made with other versions, in a file of a given format."""
        config = yaml.safe_load(self._written)
        formatter = "lsst.daf.butler.formatters.packages.PackagesFormatter"
        parameters = {"formatter": formatter, "parameters": {"format": form}}
        config.setdefault("datastore", {})["formatters"] = {"Packages": parameters}
        self._config.write_text(yaml.safe_dump(config))
        with Butler.from_config(self.uri, writeable=True) as butler:
            [ref] = butler.query_datasets("packages", run)
            butler.pruneDatasets([ref], disassociate=True, unstore=True, purge=True)
            ref = butler.put(Packages(packages), "packages", run=run)
            assert butler.getURI(ref).getExtension() == f".{form}"
        self._config.write_text(self._written)


@pytest.fixture(scope="module")
def copied(pipelines: Recorded, tmp_path_factory: pytest.TempPathFactory) -> Copied:
    place = tmp_path_factory.mktemp("compared") / "repository"
    shutil.copytree(pipelines.repository, place)
    made = Copied(place)
    made.put_packages("full/one", "pickle", {"numpy": "1.0", "same": "7", "gone": "0.1"})
    made.put_packages("full/many", "json", {"numpy": "2.0", "same": "7", "new": "g123-dirty"})
    return made


@pytest.fixture(scope="module")
def butler(copied: Copied) -> Iterator[Butler]:
    with Butler.from_config(copied.uri) as opened:
        yield opened


@pytest.fixture(scope="module")
def where(dialect: Dialect, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[str]:
    if dialect == "sqlite":
        yield str(tmp_path_factory.mktemp("state") / "state.sqlite3")
        return
    server = request.getfixturevalue("postgres")
    database = server.create_database()
    yield server.url(database)
    server.drop_database(database)


@pytest.fixture(scope="module")
async def ask(copied: Copied, where: str) -> AsyncIterator[Ask]:
    repository = await Repository.open(copied.uri, state=where)
    for run in RUNS:
        async for found in sources_of_run(repository, run):
            assert not isinstance(found, Skipped)
            assert (await ingest(repository.state, found.source, found.batches)).skipped == 0
    await repository.close()
    async with asking(copied, state=where) as asked:
        yield asked


async def test_packages_of_runs(ask: Ask, butler: Butler) -> None:
    answer = data_of(await ask("{ runs { nodes { name provenance { packages } } } }"))
    found = {run["name"]: run["provenance"]["packages"] for run in answer["runs"]["nodes"]}
    expected = {run: dict(butler.get("packages", collections=run)) for run in RUNS}
    assert found == {**dict.fromkeys(found), **expected}


async def test_what_ingest_graph_put_in_is_not_defined_anew(ask: Ask) -> None:
    query = """{ compareRuns(base: "batch/retried", other: "batch/heavy") {
        datasetTypes { datasetType { name } baseStored otherStored definitionChanged } } }"""
    found = data_of(await ask(query))["compareRuns"]["datasetTypes"]
    both = {one["datasetType"]["name"] for one in found if one["baseStored"] and one["otherStored"]}
    assert {"isr_config", "isr_log", "isr_metadata"} <= both
    assert not any(one["definitionChanged"] for one in found)


@pytest.mark.parametrize(("base", "other"), [("full/one", "full/many"), ("batch/heavy", "full/one"), (*RUNS[:1] * 2,)])
async def test_runs_of_pipelines(ask: Ask, butler: Butler, base: str, other: str) -> None:
    answer = data_of(await ask(QUERY, base=base, other=other))["compareRuns"]
    counts = []
    for run in (base, other):
        refs = butler.query_all_datasets(run, find_first=False, limit=None)
        counts.append({(ref.datasetType.name, ref.dataId) for ref in refs})
    names = sorted({name for name, _ in counts[0] | counts[1]})

    def number(of: Any, name: str) -> int:
        return sum(kind == name for kind, _ in of)

    assert [
        (one["datasetType"]["name"], one["baseCount"], one["otherCount"], one["common"])
        for one in answer["datasetTypes"]
    ] == [(name, *(number(of, name) for of in (*counts, counts[0] & counts[1]))) for name in names]
    assert answer["identical"] is (None if base == other else False)
    # Of what jobs wrote without a registry, no sizes were recorded.
    assert any(one["changed"] for one in answer["datasetTypes"]) is ({base, other} == {"full/one", "full/many"})

    versions = [butler.get("packages", collections=run) for run in (base, other)]
    changed = {
        name: tuple(of.get(name) for of in versions)
        for name in {*versions[0], *versions[1]}
        if versions[0].get(name) != versions[1].get(name)
    }
    assert [one["task"]["label"] for one in answer["tasks"]] == ["calibrate", "gather", "isr"]
    for one in answer["tasks"]:
        assert one["packagesChanged"] == changed
        configs = [butler.get(f"{one['task']['label']}_config", collections=run) for run in (base, other)]
        assert one["configChanged"] is (configs[0].saveToString() != configs[1].saveToString())
        assert one["configChanged"] is ("batch/heavy" in (base, other))
        sides = [one["base"], one["other"]]
        # Of two quanta of `gather` that are blocked, nothing is known without a graph.
        for side, run in zip(sides, (base, other), strict=True):
            assert side is None or side["runName"] == run
        for ratio, measure in (("runTimeRatio", "runTime"), ("maxRssRatio", "maxRss")):
            medians = [side and side[measure] and side[measure]["median"] for side in sides]
            assert one[ratio] == (pytest.approx(medians[1] / medians[0]) if all(medians) else None)
        rates = [side["failedExecutions"] / side["executions"] if side else None for side in sides]
        expected = None if None in rates else pytest.approx(rates[1] - rates[0])
        assert one["failureRateDifference"] == expected
    assert any(one["runTimeRatio"] is not None for one in answer["tasks"])
    assert any(one["failureRateDifference"] for one in answer["tasks"]) is (base != other)


async def test_some_tasks_alone(ask: Ask) -> None:
    query = 'query ($tasks: [String!]) { compareRuns(base: "full/one", other: "raw/all", tasks: $tasks) { tasks {'
    query += " task { label } base { runName } other { runName } configChanged packagesChanged runTimeRatio } } }"
    for tasks, labels in ((["is?"], ["isr"]), ([], []), (["nobody"], []), (None, ["calibrate", "gather", "isr"])):
        found = data_of(await ask(query, tasks=tasks))["compareRuns"]["tasks"]
        assert [one["task"]["label"] for one in found] == labels
        nothing = ("other", "configChanged", "packagesChanged", "runTimeRatio")
        assert all(one["base"] and not any(one[name] for name in nothing) for one in found)
