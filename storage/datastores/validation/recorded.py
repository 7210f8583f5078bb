"""What records say of artifacts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import NamedTuple, Self

from butlerql.storage.datastores.validation.zip_members import Member, member_of

__all__ = ["UNKNOWN", "Plain", "Recorded", "Row"]

UNKNOWN = "-1"
"""How a size is written that was not recorded."""

_SEVERAL = -2
"""Instead of a size, where records say different ones of one artifact."""


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

    @classmethod
    def of(cls, path: str, rows: Sequence[Row]) -> Self:
        """Put together what the records of an artifact say, of which the path in the store is given."""
        first = rows[0]
        if len(rows) == 1:
            owner = first.owner
        else:
            owner = blake2b("".join(sorted({row.owner for row in rows})).encode(), digest_size=16).hexdigest()
        if member_of(first.path) is not None:
            members = {Member(member_of(row.path) or "", row.bytes) for row in rows}
            return cls(path, first.path.rpartition("#")[0], owner, members=tuple(sorted(members, key=_order)))
        sizes = {row.bytes for row in rows if row.bytes is not None}
        checksums = {row.checksum for row in rows if row.checksum}
        return cls(path, first.path, owner, tuple(sorted(sizes)), min(checksums, default=None))


class Row(NamedTuple):
    """A record, as text."""

    path: str
    owner: str
    size: str
    """`UNKNOWN` if it was not recorded."""

    checksum: str = ""
    """Empty if it was not recorded, or not asked for."""

    @property
    def bytes(self) -> int | None:
        """The size; None if it was not recorded."""
        return None if self.size == UNKNOWN else int(self.size)


class Plain(NamedTuple):
    """Records of artifacts that have the same paths in the records and in the store.

    There are millions of them, and nothing is wrong with nearly all. So they stay in four texts, as the database puts
    them together, with a line for each in the same order: to read, send and keep them takes next to no time.
    """

    number: int = 0
    paths: str = ""
    owners: str = ""
    sizes: str = ""
    checksums: str = ""
    """Empty if they were not asked for."""

    @classmethod
    def of(cls, rows: Iterable[Row]) -> Plain:
        """Put rows together; no line feed may be in any."""
        columns = list(zip(*rows, strict=True))
        return cls(len(columns[0]), *map("\n".join, columns)) if columns else cls()

    @property
    def rows(self) -> list[Row]:
        """Take them apart."""
        columns = [text.split("\n") for text in self._texts] if self.number else []
        return [Row(*row) for row in zip(*columns, strict=True)]

    @property
    def by_path(self) -> dict[str, Recorded]:
        """Spell out what is recorded of each artifact."""
        rows: dict[str, list[Row]] = {}
        for row in self.rows:
            rows.setdefault(row.path, []).append(row)
        return {path: Recorded.of(path, found) for path, found in rows.items()}

    @property
    def names(self) -> list[str]:
        """The paths of all."""
        return self.paths.split("\n") if self.number else []

    @property
    def sizes_by_path(self) -> dict[str, int]:
        """Sizes of all artifacts; below zero where none was recorded, or several."""
        sizes = self.sizes.split("\n") if self.number else []
        found = dict(zip(self.names, map(int, sizes), strict=True))
        if len(found) == self.number:
            return found
        unknown = int(UNKNOWN)
        return {
            path: _SEVERAL if len(one.sizes) > 1 else unknown if one.size is None else one.size
            for path, one in self.by_path.items()
        }

    @property
    def is_whole(self) -> bool:
        """Whether each has one line: there is a line feed in none."""
        return all(text.count("\n") == self.number - 1 for text in self._texts)

    @property
    def _texts(self) -> tuple[str, ...]:
        texts = (self.paths, self.owners, self.sizes)
        return (*texts, self.checksums) if self.checksums else texts


def _order(member: Member) -> tuple[str, int]:
    return member.name, -1 if member.size is None else member.size
