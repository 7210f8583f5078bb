"""An artifact store that goes wrong at a chosen call."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from enum import Enum, auto
from typing import BinaryIO

from butlerql.storage.datastores.artifacts.store import ArtifactStore, Entry, Kind, unexpected, unreadable

__all__ = ["Fault", "FaultyStore"]


class Fault(Enum):
    """What a call does instead of what it should."""

    FAIL = auto()
    """It cannot look or read."""

    DELAY = auto()
    """It takes long."""

    LIE = auto()
    """It leaves an entry out of a listing, says that nothing is there, or gives other bytes."""


class FaultyStore:
    """Does what another store does, but for one call, or from that on.

    An entry that is listed, a path that is looked at, a block that is read and a file that is opened are a call each.

    Parameters
    ----------
    store
        The other store.
    fault
        What goes wrong.
    at
        In which call, counted from 1.
    for_ever
        Whether in all that follow, too.
    seconds
        How long a delay is.
    """

    def __init__(
        self, store: ArtifactStore, fault: Fault, at: int, *, for_ever: bool = False, seconds: float = 0.1
    ) -> None:
        self._store = store
        self._fault = fault
        self._at = at
        self._for_ever = for_ever
        self._seconds = seconds
        self._numbers = itertools.count(1)
        self._last = 0

    @property
    def root(self) -> str:
        return self._store.root

    def list(self, after: str = "", expected: dict[str, int] | None = None) -> Iterator[Entry]:
        return unexpected(self._list(after), expected or {})

    def _list(self, after: str) -> Iterator[Entry]:
        for entry in self._store.list(after):
            fault = self._next()
            if fault is Fault.FAIL:
                raise unreadable(self.root, "EIO")
            if fault is not Fault.LIE:
                yield entry

    def stat(self, paths: Sequence[str]) -> Sequence[Entry]:
        entries = []
        for entry in self._store.stat(paths):
            match self._next():
                case Fault.FAIL:
                    entries.append(Entry(entry.path, Kind.UNREADABLE, problem="EIO"))
                case Fault.LIE:
                    entries.append(Entry(entry.path, Kind.MISSING))
                case _:
                    entries.append(entry)
        return entries

    def read(self, path: str) -> Iterator[bytes]:
        for block in self._store.read(path):
            fault = self._next()
            if fault is Fault.FAIL:
                raise unreadable(path, "EIO")
            yield bytes(byte ^ 1 for byte in block) if fault is Fault.LIE else block

    def open(self, path: str) -> BinaryIO:
        if self._next() is Fault.FAIL:
            raise unreadable(path, "EIO")
        return self._store.open(path)

    def now(self) -> int:
        return self._store.now()

    @property
    def went_wrong(self) -> bool:
        """Whether there were as many calls."""
        return self._last >= self._at

    def _next(self) -> Fault | None:
        """Count a call, wait if it is one that takes long, and tell what goes wrong in it."""
        number = self._last = next(self._numbers)
        if number != self._at and not (self._for_ever and number > self._at):
            return None
        if self._fault is Fault.DELAY:
            time.sleep(self._seconds)
        return self._fault
