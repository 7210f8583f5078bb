"""Blocks of compressed JSON in the members of a quantum graph file, and the table that tells where they are.

Sources: ``lsst.pipe.base.quantum_graph._multiblock`` and ``._common``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from struct import Struct
from typing import Any, cast

import numpy as np
import zstandard

from butlerql.storage.errors import InvalidSourceError
from butlerql.storage.provenance.archive import Archive, Member, Window
from butlerql.storage.provenance.lenient_json import parse

__all__ = ["INTEGER_SIZES", "Addresses", "Blocks", "Unpacker"]

# Of a block, in bytes: a task that logs more is broken, and what it logs is not worth the memory.
_LIMIT = 1 << 26
INTEGER_SIZES = {1: "B", 2: "H", 4: "I", 8: "Q"}
"""Bytes that an integer may have, and how `struct` names it."""

_size_of = zstandard.frame_content_size
# Of a member, in bytes: the blocks in it are understood together.
_AHEAD = 1 << 14
# And what they become, or is read elsewhere for them.
_TOGETHER = 1 << 24
_PAGE_ROWS = 128


class Unpacker:
    """Makes JSON values of compressed blocks.

    Parameters
    ----------
    dictionary
        What they were compressed with; empty if with none.

    Raises
    ------
    InvalidSourceError
        Raised if it is no dictionary.
    """

    def __init__(self, dictionary: bytes = b"") -> None:
        try:
            known = zstandard.ZstdCompressionDict(dictionary) if dictionary else None
            self._decompressor = zstandard.ZstdDecompressor(dict_data=known, max_window_size=_LIMIT)
        except zstandard.ZstdError as error:
            raise InvalidSourceError(f"The dictionary of a quantum graph is none: {error}.") from None

    def content(self, block: bytes) -> bytes:
        """Decompress a block.

        Raises
        ------
        InvalidSourceError
            Raised if it is damaged, or would become too large.
        """
        try:
            size = _size_of(block)
            if 0 <= size <= _LIMIT:
                return self._decompressor.decompress(block)
            if size > _LIMIT:
                raise InvalidSourceError(f"A block of {size} bytes is more than can be meant.")
            # The frame does not tell.
            return self._decompressor.decompress(block, max_output_size=_LIMIT)
        except zstandard.ZstdError as error:
            raise InvalidSourceError(f"A block cannot be decompressed: {error}.") from None

    def unpack(self, block: bytes) -> Any:
        """Make a JSON value of a block; see `content`."""
        return parse(self.content(block))

    def contents(self, blocks: Sequence[bytes]) -> Sequence[Any]:
        """Decompress blocks into what can be read as bytes.

        Raises
        ------
        InvalidSourceError
            Raised if one of them is damaged, does not tell how large it is, or would be too large with the others.
        """
        if len(blocks) < 2:
            return list(map(self.content, blocks))
        try:
            sizes = list(map(_size_of, blocks))
            if min(sizes) < 0 or sum(sizes) > _TOGETHER:
                raise InvalidSourceError("Blocks are too large to be understood together.")
            return cast("Sequence[Any]", self._decompressor.multi_decompress_to_buffer([*blocks]))
        except zstandard.ZstdError as error:
            raise InvalidSourceError(f"One of some blocks cannot be decompressed: {error}.") from None


class Blocks:
    """A member that consists of blocks, one after the other, each behind its size.

    Attributes
    ----------
    name
        Of the member.
    """

    def __init__(self, archive: Archive, member: Member, integer_size: int) -> None:
        self.name = member.name
        self._archive = archive
        self._member = member
        self._integer = Struct(f">{INTEGER_SIZES[integer_size]}")
        self._window = Window(archive, member)

    def __iter__(self) -> Iterator[list[bytes]]:
        """Go through all blocks, as many at a time as some kilobytes hold.

        Raises
        ------
        InvalidSourceError
            Raised if a block does not fit in; what comes behind it cannot be found.
        """
        width, read, place = self._integer.size, self._integer.unpack_from, 0
        while place < self._member.size:
            ahead = self._archive.read(self._member.offset + place, min(_AHEAD, self._member.size - place))
            some, behind, last = list[bytes](), 0, len(ahead)
            while (begin := behind + width) <= last and (end := begin + read(ahead, behind)[0]) <= last:
                some.append(ahead[begin:end])
                behind = end
            if not some:
                [size] = read(self._window.read(place, width))
                self._check(size)
                some, behind = [self._window.read(place + width, size)], width + size
            yield some
            place += behind

    def at(self, offsets: Sequence[int], sizes: Sequence[int]) -> list[bytes]:
        """Read the blocks that are where the table says; none of those whose sizes are 0.

        Raises
        ------
        InvalidSourceError
            Raised if one of them is not there, or if they would be too large together.
        """
        if len(sizes) > 1 and sum(sizes) > _TOGETHER:
            raise InvalidSourceError("Blocks are too large to be read together.")
        width, read, found = self._integer.size, self._integer.unpack_from, list[bytes]()
        for offset, size in zip(offsets, sizes, strict=True):
            if size:
                self._check(size)
                block = self._window.read(offset, size)
                if size <= width or read(block)[0] != size - width:
                    raise InvalidSourceError(f"A block of {self.name!r} is not where the table says.")
                found.append(block[width:])
        return found

    def _check(self, size: int) -> None:
        if size > _LIMIT:
            raise InvalidSourceError(f"A block of {size} bytes in {self.name!r} is more than can be meant.")


class Addresses:
    """The table of where the blocks of a UUID are, sorted by UUID, of which pages are read that are asked for.

    Parameters
    ----------
    archive, member
        Where it is.
    kinds
        How many addresses a UUID has.

    Raises
    ------
    InvalidSourceError
        Raised if it is not as large as it says.
    """

    def __init__(self, archive: Archive, member: Member, kinds: int) -> None:
        self._archive = archive
        self._member = member
        width = archive.read(member.offset, 1)[0] if member.size else 0
        if width not in INTEGER_SIZES:
            raise InvalidSourceError(f"The table {member.name!r} has integers of {width} bytes.")
        head = archive.read(member.offset + 1, 2 * width)
        self._rows = int.from_bytes(head[:width])
        integer = f">u{width}"
        self._row = np.dtype([("key", "S16"), ("index", integer), ("addresses", integer, (kinds, 2))])
        self._begin = 1 + 2 * width
        if int.from_bytes(head[width:]) != kinds or self._begin + self._rows * self._row.itemsize != member.size:
            raise InvalidSourceError(f"The table {member.name!r} is not as large as it says.")
        firsts = [self._read(row, 16) for row in range(0, self._rows, _PAGE_ROWS)]
        self._firsts = np.frombuffer(b"".join(firsts), "S16")

    def find(self, uuids: Sequence[str], kind: int) -> tuple[list[int], list[int]]:
        """Find offsets, and sizes with those of the sizes, of the blocks of a kind that UUIDs, of 32 digits, have.

        Both are 0 where there is none.
        """
        if not self._rows:
            return [0] * len(uuids), [0] * len(uuids)
        keys = np.frombuffer(bytes.fromhex("".join(uuids)), "S16")
        pages = np.unique(np.maximum(self._firsts.searchsorted(keys, "right") - 1, 0)).tolist()
        page_size = _PAGE_ROWS * self._row.itemsize
        rows = np.frombuffer(b"".join([self._read(page * _PAGE_ROWS, page_size) for page in pages]), self._row)
        found = rows[np.minimum(rows["key"].searchsorted(keys), len(rows) - 1)]
        offsets, sizes = (found["addresses"][:, kind] * (found["key"] == keys)[:, None]).T.tolist()
        return offsets, sizes

    def _read(self, row: int, size: int) -> bytes:
        """Read some bytes from the beginning of a row, fewer at the end of the table."""
        place = self._begin + row * self._row.itemsize
        return self._archive.read(self._member.offset + place, min(size, self._member.size - place))
