"""The rows of a registry, to compare two repositories that were changed in the same way."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from typing import Any

from tests.support.repositories import RealRepository

__all__ = ["registry_rows"]


def registry_rows(repository: RealRepository) -> Mapping[str, list[tuple[Any, ...]]]:
    """Read every row of every table of a registry, in an order of their own; but for times and numbers of ranges."""
    if repository.server is None or repository.database is None:
        with closing(sqlite3.connect(repository.sqlite_file)) as link:
            names = [name for (name,) in link.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            tables = {name: link.execute(f'SELECT * FROM "{name}"') for name in names if not name.startswith("sqlite_")}
            return {name: _rows(name, [one[0] for one in rows.description], rows) for name, rows in tables.items()}
    found = {}
    with repository.server.connect(repository.database) as link, link.cursor() as cursor:
        namespace = repository.layout.namespace or "public"
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", (namespace,))
        for (name,) in cursor.fetchall():
            cursor.execute(f'SELECT * FROM "{namespace}"."{name}"')
            assert cursor.description is not None
            found[name] = _rows(name, [one[0] for one in cursor.description], cursor.fetchall())
    return found


def _rows(table: str, columns: list[str], rows: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    left_out = {"ingest_date"} if table == "dataset" else {"id"} if table.startswith("dataset_calibs_") else set()
    kept = [index for index, column in enumerate(columns) if column not in left_out]
    return sorted((tuple(row[index] for index in kept) for row in rows), key=repr)
