"""A repository for any version of the dimension universe: two records of each element, and datasets of each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lsst.daf.butler import Butler, DatasetType, Dimension, DimensionConfig, DimensionElement

from butlerql.storage.universe import Universe
from tests.support.repositories import UNIVERSES, Content
from tests.support.rich_dimensions import span, square

__all__ = ["ONE_OF_EACH", "UNIVERSE_VERSIONS", "universe_of"]

UNIVERSE_VERSIONS = range(9)
"""Those that the installed Butler ships."""


def universe_of(version: int) -> Universe:
    """Take the universe that the Butler gave to new repositories once."""
    return Universe.from_json(json.dumps(DimensionConfig(UNIVERSES.format(version)).toDict()))


def _fill(butler: Butler, outside: Path) -> None:
    universe = butler.dimensions
    elements = universe.sorted(universe.elements)
    for element in elements:
        # Values of an element without a table (band) are in the records of another.
        if element.has_own_table:
            butler.registry.insertDimensionData(element, *(_record(element, n) for n in (0, 1)))
    butler.collections.register("run")
    groups = [["htm7"], [], *([name] for name in universe.dimensions.names if name not in universe.skypix_dimensions)]
    # Elements that are no dimensions: what they join.
    groups += [list(element.required.names) for element in elements if element.name not in universe.dimensions.names]
    for names in groups:
        dimensions = universe.conform(names)
        dataset_type = DatasetType("of_" + "_".join(names or ["nothing"]), dimensions, "StructuredDataDict")
        butler.registry.registerDatasetType(dataset_type)
        # Without dimensions there can be only one.
        data_ids = [
            {name: _value(_key_type(universe.dimensions[name]), name, n) for name in dimensions.required}
            for n in ((0, 1) if names else (0,))
        ]
        butler.registry.insertDatasets(dataset_type, data_ids, run="run", expand=False)


def _key_type(dimension: Dimension) -> str:
    return "string" if dimension.primaryKey.getPythonType() is str else "int"


def _record(element: DimensionElement, number: int) -> dict[str, Any]:
    """Make a record whose every reference is to the record of the same number."""
    return {column.name: _value(column.type, column.name, number) for column in element.schema.all}


def _value(type_: str, name: str, number: int) -> Any:
    values = {
        # As good a pixel of the sky as any, and small enough for every other key.
        "int": (131_072 if name == "htm7" else 1) + number,
        # A key and the references to it have to agree.
        "string": f"ž{number}",
        "hash": bytes([number]) * 20,
        "bool": bool(number),
        "float": number + 0.5,
        "region": square(10 + number, 0, 1),
        "timespan": span(f"2024-01-0{number + 1}T00:00:00", f"2024-01-0{number + 2}T00:00:00"),
    }
    return values[type_]


ONE_OF_EACH = Content("one of each", _fill)
"""Two records of each element, and a dataset type of each dimension and each join, with two datasets each."""
