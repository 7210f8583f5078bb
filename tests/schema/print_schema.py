"""Print the schema for the newest default dimension universe, as ``schema/schema.graphql`` has it."""

from __future__ import annotations

import json

from lsst.daf.butler import DimensionUniverse

from butlerql.schema.build import build_schema, print_sdl
from butlerql.storage.universe import Universe


def default_universe() -> Universe:
    """Take the universe that the Butler gives to new repositories."""
    return Universe.from_json(json.dumps(DimensionUniverse().dimensionConfig.toDict()))


def printed() -> str:
    """Print the schema for the default universe."""
    return print_sdl(build_schema(default_universe()))


if __name__ == "__main__":
    print(printed(), end="")
