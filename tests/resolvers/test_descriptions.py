"""Descriptions through GraphQL."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from butlerql.opening import open_service
from butlerql.settings import Settings
from tests.support.asking import asking, data_of
from tests.support.repositories import RealRepository

_QUERY = """{ datasetTypes(names: ["calexp", "raw"]) { nodes { name description storageClass { name description } } }
    component: datasetType(name: "packed.data") { description } }"""


async def test_descriptions(rich: RealRepository, fresh: Callable[[RealRepository], RealRepository]) -> None:
    """Of the repository's own file, as it is when it is asked."""
    copy = fresh(rich)
    async with asking(copy) as ask:
        nothing = data_of(await ask(_QUERY))
        assert [node["description"] for node in nothing["datasetTypes"]["nodes"]] == [None, None]
        assert nothing["component"] == {"description": None}
        name = nothing["datasetTypes"]["nodes"][0]["storageClass"]["name"]
        own = Path(copy.uri, "descriptions.yaml")
        _write(own, f'calexp: An image.\n"packed.*": A part.\nstorageClasses: {{{name}: A class.}}\n')
        found = data_of(await ask(_QUERY))
    calexp, raw = found["datasetTypes"]["nodes"]
    assert (calexp["description"], raw["description"]) == ("An image.", None)
    assert calexp["storageClass"]["description"] == "A class."
    assert found["component"] == {"description": "A part."}


async def test_problems_are_logged_once_and_stop_nothing(
    rich: RealRepository,
    fresh: Callable[[RealRepository], RealRepository],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    copy = fresh(rich)
    own, other = Path(copy.uri, "descriptions.yaml"), tmp_path / "other.yaml"
    _write(own, "calexp: [\n")
    _write(other, "calexp: Of another file.\nraw: 1\n")
    service = await open_service(copy.uri, Settings(description_files=[other]))
    try:
        assert service.repository.descriptions.of_dataset_type("calexp") == "Of another file."
    finally:
        await service.close()
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [message.partition(":")[0] for message in told] == [f"{own}, line 2", f"{other}, line 2"]
    caplog.clear()
    async with asking(copy) as ask:
        for _ in range(2):
            assert data_of(await ask(_QUERY))["component"] == {"description": None}
    assert len([record for record in caplog.records if str(own) in record.getMessage()]) == 1


def _write(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")
