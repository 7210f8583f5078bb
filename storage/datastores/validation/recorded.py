"""What records say of artifacts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from butlerql.storage.datastores.validation.zip_members import Member

__all__ = ["UNKNOWN", "Recorded", "Row", "Singles"]

UNKNOWN = "-1"
"""How a size is written that was not recorded."""


class Recorded(NamedTuple):
    """What records say of an artifact; several datasets may share one."""

    path: str
    """Relative to the root of the store."""

    text: str
    """How the records write it, without the member of a zip file."""

    owner: str
    """Tells whose it is: the UUID of its dataset as the database writes it, or a digest of several."""

    sizes: tuple[int, ...] = ()
    """Bytes, each number that is recorded once."""

    checksum: str | None = None
    members: tuple[Member, ...] = ()
    """Of a zip file, of which nothing else is recorded."""

    @property
    def size(self) -> int | None:
        """Bytes; None if they are not recorded."""
        return self.sizes[0] if self.sizes else None


class Row(NamedTuple):
    """A record, as text."""

    path: str
    owner: str
    size: str
    """`UNKNOWN` if it was not recorded."""

    checksum: str
    """Empty if it was not recorded."""

    @property
    def bytes(self) -> int | None:
        """The size; None if it was not recorded."""
        return None if self.size == UNKNOWN else int(self.size)

    @property
    def recorded(self) -> Recorded:
        """What is said of the artifact, if it is of this dataset alone."""
        sizes = () if self.bytes is None else (self.bytes,)
        return Recorded(self.path, self.path, self.owner, sizes, self.checksum or None)


class Singles(NamedTuple):
    """Artifacts of one dataset each, with paths that are the same in the records and in the store.

    There are millions of them, and nothing is wrong with nearly all. So they stay in four texts, as the database puts
    them together, with a line for each in the same order: to read, send and keep them takes next to no time.
    """

    number: int = 0
    paths: str = ""
    owners: str = ""
    sizes: str = ""
    checksums: str = ""

    @classmethod
    def of(cls, rows: Iterable[Row]) -> Singles:
        """Put rows together; no line feed may be in any."""
        columns = list(zip(*rows, strict=True))
        return cls(len(columns[0]), *map("\n".join, columns)) if columns else cls()

    @property
    def rows(self) -> list[Row]:
        """Take them apart."""
        return list(map(Row._make, zip(*self._columns, strict=True)))

    @property
    def by_path(self) -> dict[str, Recorded]:
        """Spell out what is recorded of each."""
        return {row.path: row.recorded for row in self.rows}

    @property
    def names(self) -> list[str]:
        """The paths of all."""
        return self.paths.split("\n") if self.number else []

    @property
    def sizes_by_path(self) -> dict[str, int]:
        """Sizes of all, -1 where none was recorded."""
        sizes = self.sizes.split("\n") if self.number else []
        return dict(zip(self.names, map(int, sizes), strict=True))

    @property
    def is_whole(self) -> bool:
        """Whether each has one line, and a path of its own: there is a line feed in none, and none has two records."""
        breaks = {column.count("\n") for column in self[1:]}
        return breaks <= {self.number - 1}

    @property
    def _columns(self) -> list[list[str]]:
        return [column.split("\n") for column in self[1:]] if self.number else [[], [], [], []]
