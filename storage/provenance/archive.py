"""ZIP archives whose members are stored as they are, as quantum graphs are kept.

Nothing in such a file is believed: places and sizes are held against those of the file before anything is read, so that
a file takes no more memory than there are limits here, and a member whose checksum is not that of its content is not
read at all.

Sources: ``lsst.pipe.base.quantum_graph`` for how graphs use them, PKWARE's APPNOTE.TXT 4.3 for the format.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from hashlib import blake2b
from typing import BinaryIO, NamedTuple

from butlerql.storage.errors import InvalidSourceError

__all__ = ["Archive", "Member", "Window"]

_END = struct.Struct("<4s4H2LH")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_FULL_32 = 0xFFFFFFFF
_ZIP_64 = 1

# A graph has ten members, which takes less than a kilobyte.
_DIRECTORY_LIMIT = 1 << 16
_CONTENT_LIMIT = 1 << 26
_CHUNK = 1 << 20
_WINDOW = 1 << 16


class Member(NamedTuple):
    """A file in an archive."""

    name: str
    offset: int
    """Of its content, in the archive."""

    size: int
    checksum: int
    """CRC-32."""


class Archive:
    """A ZIP archive.

    Parameters
    ----------
    file
        What it is read from; any part is, in any order.

    Attributes
    ----------
    members
        What is in it that is stored as it is, by name.

    Raises
    ------
    InvalidSourceError
        Raised if it is no such archive, or if its directory does not fit the file.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = file.seek(0, 2)
        self._checksums: dict[Member, int] = {}
        try:
            self._directory = self._read_directory()
            self.members = {member.name: member for member in self._members()}
        except struct.error:
            raise InvalidSourceError("This is no quantum graph file, or its end is missing.") from None

    def read(self, offset: int, size: int) -> bytes:
        """Read a part of the file.

        Raises
        ------
        InvalidSourceError
            Raised if it is shorter.
        """
        if offset < 0 or offset + size > self._size:
            raise InvalidSourceError("The file is shorter than it says itself.")
        self._file.seek(offset)
        parts = []
        while size:
            part = self._file.read(size)
            if not part:
                raise InvalidSourceError("The file became shorter while it was read.")
            parts.append(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def digest(self) -> str:
        """Tell whether it is another than one before, for which each member is read once."""
        digest = blake2b(self._directory, digest_size=16)
        for member in self.members.values():
            digest.update(struct.pack("<L", self._checksum(member)))
        return digest.hexdigest()

    def member(self, name: str) -> Member:
        """Find a member, and see that it is sound, for which it is read once.

        Raises
        ------
        InvalidSourceError
            Raised if it is not there, or its checksum is not that of its content.
        """
        member = self.members.get(name)
        if member is None:
            raise InvalidSourceError(f"The member {name!r} is missing.")
        if self._checksum(member) != member.checksum:
            raise InvalidSourceError(f"The member {name!r} is damaged: its checksum is not that of its content.")
        return member

    def _checksum(self, member: Member) -> int:
        if member not in self._checksums:
            checksum = 0
            for begin in range(0, member.size, _CHUNK):
                checksum = zlib.crc32(self.read(member.offset + begin, min(_CHUNK, member.size - begin)), checksum)
            self._checksums[member] = checksum
        return self._checksums[member]

    def content(self, member: Member) -> bytes:
        """Read a member that is small.

        Raises
        ------
        InvalidSourceError
            Raised if it is not.
        """
        if member.size > _CONTENT_LIMIT:
            raise InvalidSourceError(f"The member {member.name!r} is larger than can be meant.")
        return self.read(member.offset, member.size)

    def _read_directory(self) -> bytes:
        offset, size = self._place_of_directory()
        if size > _DIRECTORY_LIMIT:
            raise InvalidSourceError("This is a ZIP file of more members than a quantum graph has.")
        return self.read(offset, size)

    def _members(self) -> Iterator[Member]:
        directory, place = self._directory, 0
        while place < len(directory):
            entry = _ENTRY.unpack_from(directory, place)
            _, _, _, flags, method, _, _, checksum, packed, whole, name_size, extra_size, comment_size, *_, begin = (
                entry
            )
            place += _ENTRY.size
            name = directory[place : place + name_size].decode("utf-8", "replace")
            extra = directory[place + name_size : place + name_size + extra_size]
            place += name_size + extra_size + comment_size
            whole, packed, begin = _widened(extra, whole, packed, begin)
            if entry[0] != b"PK\1\2":
                raise InvalidSourceError("The directory of the ZIP file is damaged.")
            if method == 0 and not flags & 1 and packed == whole:
                local = _LOCAL.unpack(self.read(begin, _LOCAL.size))
                begin += _LOCAL.size + local[-2] + local[-1]
                if local[0] != b"PK\3\4" or begin + whole > self._size:
                    raise InvalidSourceError(f"The member {name!r} of the ZIP file is not where it should be.")
                yield Member(name, begin, whole, checksum)

    def _place_of_directory(self) -> tuple[int, int]:
        # Nobody writes a comment behind it.
        place = self._size - _END.size
        if place < 0:
            raise InvalidSourceError("This is no quantum graph file: it is too short to be one.")
        signature, _, _, _, _, size, offset, _ = _END.unpack(self.read(place, _END.size))
        if signature != b"PK\5\6":
            raise InvalidSourceError("This is no quantum graph file, or its end is missing.")
        if _FULL_32 in (size, offset):
            _, _, place, _ = _LOCATOR.unpack(self.read(place - _LOCATOR.size, _LOCATOR.size))
            *_, size, offset = _END_64.unpack(self.read(place, _END_64.size))
        return offset, size


class Window:
    """A member of an archive of which parts are read that are close to each other."""

    def __init__(self, archive: Archive, member: Member) -> None:
        self._archive = archive
        self._member = member
        self._begin = 0
        self._content = b""

    def read(self, offset: int, size: int) -> bytes:
        """Read a part.

        Raises
        ------
        InvalidSourceError
            Raised if it is not in the member.
        """
        begin = offset - self._begin
        if begin < 0 or begin + size > len(self._content):
            if offset + size > self._member.size:
                raise InvalidSourceError(f"The member {self._member.name!r} ends before what should be in it.")
            ahead = min(max(size, _WINDOW), self._member.size - offset)
            self._content = self._archive.read(self._member.offset + offset, ahead)
            self._begin, begin = offset, 0
        return self._content[begin : begin + size]


def _widened(extra: bytes, *values: int) -> list[int]:
    """Replace numbers that did not fit by those in the ZIP64 field."""
    result = list(values)
    place = 0
    while place + 4 <= len(extra):
        kind, size = struct.unpack_from("<2H", extra, place)
        place += 4
        if kind == _ZIP_64:
            wide = iter(struct.unpack_from(f"<{size // 8}Q", extra, place))
            result = [next(wide, value) if value == _FULL_32 else value for value in values]
        place += size
    return result
