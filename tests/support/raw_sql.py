"""Changes to a registry that no Butler would make, or not so quickly."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing

from tests.support.repositories import RealRepository

__all__ = ["execute", "write_chains"]


def execute(repository: RealRepository, *statements: str) -> None:
    """Run statements on a private repository, in one transaction, without checks of foreign keys on SQLite."""
    if repository.server is None or repository.database is None:
        with closing(sqlite3.connect(repository.sqlite_file)) as link, link:
            for statement in statements:
                link.execute(statement)
    else:
        with repository.server.connect(repository.database) as link, link.cursor() as cursor:
            cursor.execute(";".join(statements))


def write_chains(repository: RealRepository, chains: Mapping[str, Sequence[tuple[int, str]]]) -> None:
    """Make these the members of all chains of a private repository: positions and names, without a quote in them."""
    key = "name" if repository.layout.collections == "nameKey" else "collection_id"
    rows = [(parent, position, child) for parent, members in chains.items() for position, child in members]
    execute(
        repository,
        "DELETE FROM collection_chain",
        *(
            f"INSERT INTO collection_chain (parent, position, child) SELECT p.{key}, {position}, c.{key}"
            f" FROM collection p, collection c WHERE p.name = '{parent}' AND c.name = '{child}'"
            for parent, position, child in rows
        ),
    )
