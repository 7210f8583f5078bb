"""Configurations of tasks: Python that assigns every value, which is never run."""

from __future__ import annotations

from hashlib import blake2b
from uuid import UUID

from butlerql.storage.errors import InvalidSourceError
from butlerql.storage.provenance.records import TaskRecord

__all__ = ["config_digest", "told_of_task"]


def config_digest(config: str) -> str:
    """Return the digest of the text of a configuration, the same wherever it is found."""
    return blake2b(config.strip().encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def told_of_task(run: str, label: str, uuid: UUID, content: bytes) -> TaskRecord:
    """Tell of a task what the dataset of its configuration tells.

    Raises
    ------
    InvalidSourceError
        Raised if it is no text.
    """
    try:
        config = content.decode()
    except UnicodeDecodeError:
        raise InvalidSourceError("A configuration that is no text.") from None
    return TaskRecord(label, run, config=uuid, config_digest=config_digest(config))
