"""Print the schema for version 8 of the default dimension universe, as ``schema/schema.graphql`` has it."""

from __future__ import annotations

from graphql import print_schema

from butlerql.schema.build import build_schema
from butlerql.storage.universe import Universe
from tests.support.universes import universe_of


def default_universe() -> Universe:
    """Take a universe that the Butler gives to new repositories."""
    return universe_of(8)


def printed() -> str:
    """Print the schema for the default universe."""
    return print_schema(build_schema(default_universe())) + "\n"


if __name__ == "__main__":
    print(printed(), end="")
