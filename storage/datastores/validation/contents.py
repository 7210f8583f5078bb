"""Whether contents are what they were: files are read, and their checksums compared.

The checksum is the Butler's own: BLAKE2b with 64 bytes, in hexadecimal.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from typing import NamedTuple

from butlerql.storage.datastores.artifacts.store import ArtifactStore, Entry, Kind, path_bytes

__all__ = ["ALGORITHM", "Contents", "Outcome", "Reader", "Seen", "Skipped", "Verified"]

ALGORITHM = "blake2b"
_ATTEMPTS = 3
"""How often a file is read that changes meanwhile."""


class Seen(NamedTuple):
    """What was read of an artifact by an earlier validation."""

    owner: str
    """Whose it was; of other datasets the content may be another."""

    identity: str
    checksum: str
    verified_at: int
    """Microseconds since 1970 UTC."""


class Skipped(StrEnum):
    """Why contents were not looked at."""

    SAMPLE = "not in the sample"
    LATELY = "verified lately"
    CHANGING = "changing while it was read"


class Verified(NamedTuple):
    """What was read of an artifact."""

    text: str
    """Path as in the records."""

    owner: str
    size: int
    identity: str
    checksum: str


@dataclass(frozen=True)
class Contents:
    """Which contents are read, and how fast.

    Attributes
    ----------
    sample
        Share of the artifacts, 0 to 1.
    seed
        Which share.
    not_since
        Those that were verified after this and are the same since are left out; microseconds since 1970 UTC.
    rate
        Bytes a second of one process at most; None: as fast as it goes.
    """

    sample: float = 1.0
    seed: int = 0
    not_since: int | None = None
    rate: float | None = None

    def chooses(self, path: str) -> bool:
        """Whether an artifact is in the sample: the same for the same seed, whatever process asks."""
        if self.sample >= 1:
            return True
        digest = blake2b(path_bytes(path), digest_size=8, salt=self.seed.to_bytes(16, "little", signed=True)).digest()
        return int.from_bytes(digest, "little") < self.sample * 2**64


class Outcome(NamedTuple):
    """What came of reading an artifact: what was read, or why it was not."""

    verified: Verified | None = None
    expected: str | None = None
    """The checksum that it should have, if it has another."""

    observed: str | None = None
    is_recorded: bool = True
    """Whether there was something to compare with."""

    skipped: Skipped | None = None
    bytes_read: int = 0


class Reader:
    """Reads contents from a store, no faster than it may."""

    def __init__(self, store: ArtifactStore, contents: Contents) -> None:
        self._store = store
        self._contents = contents
        self._begun = time.monotonic()
        self._read = 0

    def verify(self, entry: Entry, text: str, owner: str, recorded: str | None, seen: Seen | None) -> Outcome:
        """Compare the content of a file with what was recorded, else with what was seen before.

        Parameters
        ----------
        entry
            The file.
        text
            Its path as in the records.
        owner
            Whose it is.
        recorded
            Its checksum in the datastore's records.
        seen
            What was read of it before.

        Raises
        ------
        FileNotFoundError
            Raised if it went away.
        UnreadableArtifactError
            Raised if it cannot be read.
        """
        if not self._contents.chooses(entry.path):
            return Outcome(skipped=Skipped.SAMPLE)
        if seen is not None and seen.owner != owner:
            seen = None
        wanted = recorded
        if seen is not None:
            if self._was_lately(entry, recorded, seen):
                return Outcome(skipped=Skipped.LATELY)
            wanted = recorded or seen.checksum
        begin = self._read
        for _ in range(_ATTEMPTS):
            checksum, size = self._digest(entry.path)
            # What seems wrong is read again.
            again = checksum if wanted in {None, checksum} else self._digest(entry.path)[0]
            [after] = self._store.stat([entry.path])
            if after.identity == entry.identity:
                break
            if after.kind is not Kind.FILE:
                raise FileNotFoundError(entry.path)
            entry = after
        else:
            return Outcome(skipped=Skipped.CHANGING, bytes_read=self._read - begin)
        read = self._read - begin
        if again != checksum:
            return Outcome(expected=wanted, observed="two readings differ", bytes_read=read)
        if wanted not in {None, checksum}:
            return Outcome(expected=wanted, observed=checksum, bytes_read=read)
        verified = Verified(text, owner, size, _written(entry), checksum)
        return Outcome(verified, is_recorded=wanted is not None, bytes_read=read)

    def _was_lately(self, entry: Entry, recorded: str | None, seen: Seen) -> bool:
        """Whether a content was verified lately, and is the same since."""
        not_since = self._contents.not_since
        is_same = seen.identity == _written(entry) and recorded in {None, seen.checksum}
        return is_same and not_since is not None and seen.verified_at >= not_since

    def _digest(self, path: str) -> tuple[str, int]:
        digest, size = blake2b(), 0
        for block in self._store.read(path):
            digest.update(block)
            size += len(block)
            self._read += len(block)
            if self._contents.rate is not None:
                ahead = self._read / self._contents.rate - (time.monotonic() - self._begun)
                if ahead > 0:
                    time.sleep(ahead)
        return digest.hexdigest(), size


def _written(entry: Entry) -> str:
    """Write the identity of an artifact down."""
    return " ".join(map(str, entry.identity or ()))
