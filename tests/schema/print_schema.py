"""Print the schema for version 8 of the default dimension universe, as ``schema/schema.graphql`` has it."""

from __future__ import annotations

import json

from graphql import print_schema
from lsst.daf.butler import DimensionUniverse

from butlerql.schema.build import build_schema
from butlerql.storage.universe import Universe


def default_universe() -> Universe:
    """Take a universe that the Butler gives to new repositories."""
    return Universe.from_json(json.dumps(DimensionUniverse(version=8).dimensionConfig.toDict()))


def printed() -> str:
    """Print the schema for the default universe."""
    return print_schema(build_schema(default_universe())) + "\n"


if __name__ == "__main__":
    print(printed(), end="")
