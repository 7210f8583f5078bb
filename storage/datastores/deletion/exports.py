"""What is purged is also written to files: who loses our state must not lose datasets."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping

import orjson
import sqlalchemy as sa

from butlerql.storage.datastores.deletion.plans import Plan
from butlerql.storage.errors import InvalidConfigError, StateUnavailableError
from butlerql.storage.repository import Repository

__all__ = ["EXPORTS", "Exports"]

EXPORTS = "butlerql-deletions"
"""Name of the directory where the setting names none: beside the state, or in the repository's root."""


class Exports:
    """A file a plan: a line of JSON a dataset, ``{"dataset_id": ..., "rows": {...}}``; see `rows.Rows`.

    Parameters
    ----------
    repository
        Whose datasets.

    Attributes
    ----------
    directory
        Where the files are; None if nothing names a place and there is none to choose.
    """

    def __init__(self, repository: Repository) -> None:
        state = sa.make_url(repository.state.place.url)
        self.directory: str | None = None
        if repository.exports is not None:
            directory = repository.exports.replace("{name}", repository.name)
            self.directory = os.path.abspath(os.path.expanduser(directory))
        elif state.get_backend_name() == "sqlite":
            self.directory = os.path.join(os.path.dirname(state.database or ""), EXPORTS)
        elif repository.root.startswith("/"):
            self.directory = os.path.join(repository.root, EXPORTS)

    def require(self) -> str:
        """Give the directory.

        Raises
        ------
        StateUnavailableError
            Raised if there is none.
        """
        if self.directory is None:
            raise StateUnavailableError(
                "What is purged is written to files first, and there is no place for them: neither own state nor the "
                "repository's root is on a file system. Operators name a directory (deletion_exports)."
            )
        return self.directory

    async def append(self, plan: Plan, rows: Mapping[str, str]) -> None:
        """Write rows down, and see that they are on the disk.

        Parameters
        ----------
        plan
            Whose file.
        rows
            JSON, by UUID.

        Raises
        ------
        InvalidConfigError
            Raised if that cannot be done; nothing may be purged then.
        """
        directory = self.require()
        lines = b"".join(
            b'{"dataset_id":%s,"rows":%s}\n' % (orjson.dumps(uuid), text.encode()) for uuid, text in rows.items()
        )
        try:
            await asyncio.to_thread(_append, directory, plan.id, lines)
        except OSError as error:
            raise InvalidConfigError(
                f"What is to be purged cannot be written to {directory} first: {error.strerror}. "
                "Operators say where it is (deletion_exports)."
            ) from error


def _append(directory: str, plan: int, lines: bytes) -> None:
    os.makedirs(directory, exist_ok=True)
    file = os.open(os.path.join(directory, f"plan-{plan}.jsonl"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        while lines:
            lines = lines[os.write(file, lines) :]
        os.fsync(file)
    finally:
        os.close(file)
