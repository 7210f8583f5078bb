"""What an artifact store does: tell what it holds, look at single artifacts, read and remove them.

Calls block, and may come from many threads at once. Paths are relative to the root of the store. They are text, in
which bytes of a file name that are no UTF-8 are surrogates (see `os.fsdecode`). Their order is that of their bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum, auto
from typing import BinaryIO, NamedTuple, Protocol

from butlerql.storage.errors import UnreadableArtifactError

__all__ = [
    "BLOCK",
    "ArtifactStore",
    "Ended",
    "Entry",
    "Identity",
    "Kind",
    "Removal",
    "Removed",
    "path_bytes",
    "path_text",
    "unexpected",
    "unreadable",
    "without_devices",
]

BLOCK = 1 << 18
"""Bytes that are read at once. For many more, memory would come fresh from the system each time, which takes longer."""


class Kind(StrEnum):
    """What is at a path."""

    FILE = auto()
    """A file or object, or a link that leads to a file."""

    DIRECTORY = auto()
    """A directory, or a link that leads to one."""

    DANGLING = auto()
    """A link that leads nowhere."""

    OTHER = auto()
    """A device, a pipe or a socket."""

    MISSING = auto()
    """Nothing."""

    UNREADABLE = auto()
    """Something or nothing: it could not be looked at."""


Identity = tuple[int | str, ...]


def without_devices(identity: Identity) -> Identity:
    """Leave out the numbers of devices: a network file system has another after each mount."""
    return tuple(part for place, part in enumerate(identity) if place % 4 or isinstance(part, str))


class Entry(NamedTuple):
    """What a store tells of a path."""

    path: str

    kind: Kind

    size: int | None = None
    """Bytes, of a file."""

    identity: Identity | None = None
    """The same as long as it is the same artifact with the same content, to be compared and nothing else. Of a file
    system device, inode, size and time of change, of a link its own and its target's; of an object the ETag and the
    time of change."""

    modified: int | None = None
    """When it was changed by the store's clock, in nanoseconds since 1970 UTC."""

    problem: str | None = None
    """Why it could not be looked at: `EACCES`, `403`; None unless it is unreadable."""


class Removal(NamedTuple):
    """A file that is to go, if it is still the one that is meant."""

    path: str

    identity: Identity
    """What it was when it was looked at."""

    claim: str
    """Name that nothing else has: it is renamed to that, in its directory, before it goes. The same at every try."""


class Removed(StrEnum):
    """What became of it."""

    REMOVED = auto()
    """It is gone, by this call or an earlier one of the same claim."""

    GONE = auto()
    """There was nothing."""

    CHANGED = auto()
    """Something else was there, and is."""

    FAILED = auto()
    """It is there."""


Ended = tuple[Removed, str | None]
"""What became of a file that was to go, and why it did not."""


class ArtifactStore(Protocol):
    """A place where artifacts are, below a root."""

    @property
    def root(self) -> str:
        """Absolute URI of the root, quoted, with a slash at its end."""

    def list(self, after: str = "", expected: dict[str, int] | None = None) -> Iterator[Entry]:
        """Go through all that is below the root, in order, each once; but for what is as expected.

        What comes or goes meanwhile may be in it or not. Directories are not in it, unless they were not looked into:
        those that could not be read (`UNREADABLE`), and those that links lead to (`DIRECTORY`). Their paths end with a
        slash, and of what is below them nothing is said.

        Parameters
        ----------
        after
            Only paths behind this one.
        expected
            Sizes of files by their paths, in bytes. Those that are found so are taken out of this, and left out: to
            make nothing of them is quicker.

        Raises
        ------
        UnreadableArtifactError
            Raised if the root is not there or cannot be read, or if reading cannot go on.
        """

    def stat(self, paths: Sequence[str]) -> Sequence[Entry]:
        """Look at some paths: one entry each, in their order.

        A path is `MISSING` only if the store said so and its root is there.
        """

    def read(self, path: str) -> Iterator[bytes]:
        """Read a file in blocks.

        Raises
        ------
        FileNotFoundError
            Raised if there is nothing.
        UnreadableArtifactError
            Raised if it is no file, or cannot be read.
        """

    def open(self, path: str) -> BinaryIO:
        """Open a file to read any part of it; raises as `read` does, also when it is read."""

    def now(self) -> int:
        """Tell the time by the store's clock, as far as that can be found out, in nanoseconds since 1970 UTC."""

    def mark(self) -> Identity:
        """Tell what the root is: the same as long as it is the same place.

        Raises
        ------
        UnreadableArtifactError
            Raised if it is not there, cannot be read, or is empty where that is a sign that it is not the right one.
        """

    def removes_exactly(self) -> bool:
        """Tell whether what somebody puts in the place of a file in the moment when it is removed is certain to stay.

        Raises
        ------
        UnavailableDatastoreError
            Raised if nothing can be removed from here at all.
        """

    @property
    def at_once(self) -> int:
        """How many files are claimed before the first is removed: where claiming keeps nobody away, few."""

    def claim(self, removal: Removal) -> Ended | None:
        """Give a file that is to be removed its new name, where that is possible.

        Returns
        -------
        ended
            None if it can be removed now; else what became of it.
        """

    def remove(self, removal: Removal) -> Ended:
        """Remove a file that was claimed, and say why not if not."""

    def put_back(self, removal: Removal) -> Ended:
        """Give a file its name back that was claimed, or perhaps was not: somebody has a record of it."""


def unexpected(entries: Iterable[Entry], expected: dict[str, int]) -> Iterator[Entry]:
    """Leave out files of the expected sizes, and take them out of these."""
    for entry in entries:
        if entry.kind is Kind.FILE and expected.get(entry.path) == entry.size:
            del expected[entry.path]
        else:
            yield entry


def path_bytes(path: str) -> bytes:
    """Return the bytes of a path, by which it is ordered."""
    return path.encode("utf-8", "surrogateescape")


def path_text(path: bytes) -> str:
    """Return the text of a path; see `path_bytes`."""
    return path.decode("utf-8", "surrogateescape")


def unreadable(place: str, problem: str) -> UnreadableArtifactError:
    """Make the error of what could not be read."""
    return UnreadableArtifactError(
        f"{place} cannot be read ({problem}). It may be there all the same; try again later."
    )
