"""What is purged is also written to files: who loses our state must not lose datasets."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping

import orjson
import sqlalchemy as sa

from butlerql.storage.datastores.deletion.plans import Plan
from butlerql.storage.errors import StateUnavailableError
from butlerql.storage.repository import Repository

__all__ = ["EXPORTS", "Exports"]

EXPORTS = "butlerql-deletions"
"""Name of the directory, beside the state where that is a file, else in the repository's root."""


class Exports:
    """A file a plan: a line of JSON a dataset, ``{"dataset_id": ..., "rows": {...}}``; see `rows.Rows`.

    Parameters
    ----------
    repository
        Whose datasets.
    """

    def __init__(self, repository: Repository) -> None:
        url = sa.make_url(repository.state.place.url)
        on_sqlite = url.get_backend_name() == "sqlite" and url.database
        self.directory = os.path.join(os.path.dirname(url.database or "") if on_sqlite else repository.root, EXPORTS)

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
        StateUnavailableError
            Raised if that cannot be done; nothing may be purged then.
        """
        lines = b"".join(
            b'{"dataset_id":%s,"rows":%s}\n' % (orjson.dumps(uuid), text.encode()) for uuid, text in rows.items()
        )
        try:
            await asyncio.to_thread(self._append, plan.id, lines)
        except OSError as error:
            raise StateUnavailableError(
                f"What is to be purged cannot be written to {self.directory} first: {error.strerror}."
            ) from error

    def _append(self, plan: int, lines: bytes) -> None:
        os.makedirs(self.directory, exist_ok=True)
        file = os.open(
            os.path.join(self.directory, f"plan-{plan}.jsonl"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666
        )
        try:
            while lines:
                lines = lines[os.write(file, lines) :]
            os.fsync(file)
        finally:
            os.close(file)
