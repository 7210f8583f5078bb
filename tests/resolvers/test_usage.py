"""How much space datasets take, through GraphQL."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.support.asking import asking, codes_of, data_of
from tests.support.repositories import RealRepository

_FIGURES = "bytes artifacts datasets unsized groups { key bytes artifacts datasets }"


async def test_the_question_of_a_chain(rich: RealRepository) -> None:
    """Its figures are totals, and its children have the parts."""
    query = f"""query ($select: DatasetSelection) {{ repository {{ datastore {{ name
        usage(select: $select, by: [DATASET_TYPE, RUN]) {{ {_FIGURES}
        children {{ datastore {{ name usage(select: $select) {{ {_FIGURES} children {{ bytes }} }} }}
            bytes artifacts datasets }} }} }} }} }}"""
    async with asking(rich) as ask:
        for select in (None, {}, {"collections": ["u/*"], "where": "instrument = 'HSC' AND visit > 0"}):
            found = data_of(await ask(query, select=select))["repository"]["datastore"]["usage"]
            assert len(found["children"]) > 1
            for child in found["children"]:
                own = child["datastore"]["usage"]
                assert own["children"] == []
                assert {name: own[name] for name in ("bytes", "artifacts", "datasets")} == {
                    name: child[name] for name in ("bytes", "artifacts", "datasets")
                }
                assert [group["key"] for group in own["groups"]] == [{}]
            assert 0 < found["artifacts"] <= sum(child["artifacts"] for child in found["children"])
            assert 0 < found["datasets"] <= sum(child["datasets"] for child in found["children"])
            assert sum(group["datasets"] for group in found["groups"]) == found["datasets"]
            assert all(list(group["key"]) == ["DATASET_TYPE", "RUN"] for group in found["groups"])


async def test_what_a_selection_leaves_out_is_told(rich: RealRepository) -> None:
    query = """{ datastores {
        usage(select: {where: "instrument = 'HSC' AND visit = 101", related: true}) { datasets } } }"""
    async with asking(rich) as ask:
        found = await ask(query)
    assert data_of(found)["datastores"]
    assert found.extensions == {"unrelated": ["sky_tile_healpix"]}


async def test_wrong_selections(rich: RealRepository) -> None:
    """A field that cannot be answered is null; the others are."""
    query = """{ repository { datastore { name
        usage(select: {datasetTypes: ["nothing"]}) { bytes } other: usage { datasets } } } }"""
    async with asking(rich) as ask:
        result = await ask(query)
    assert codes_of(result) == [(["repository", "datastore", "usage"], "UNKNOWN_DATASET_TYPE")]
    assert result.data is not None
    assert result.data["repository"]["datastore"]["other"]["datasets"] > 0


async def test_space(rich: RealRepository, fresh: Callable[[RealRepository], RealRepository]) -> None:
    """A root that is gone is told, and takes nothing else with it."""
    copy = fresh(rich)
    query = "{ datastores { name root ... on FileDatastore { freeSpace totalSpace } } }"
    async with asking(copy) as ask:
        files = [one for one in data_of(await ask(query))["datastores"] if one["root"]]
        assert files
        assert all(0 < one["freeSpace"] < one["totalSpace"] for one in files)
        _move_away(files[0]["root"])
        result = await ask(query)
    assert result.data is not None
    changed = [one for one in result.data["datastores"] if one["root"]]
    assert (changed[0]["freeSpace"], changed[0]["totalSpace"]) == (None, None)
    assert all(one["totalSpace"] for one in changed[1:])
    assert {code for _, code in codes_of(result)} == {"ARTIFACT_UNREADABLE"}


def _move_away(root: str) -> None:
    Path(root).rename(f"{root}.away")
