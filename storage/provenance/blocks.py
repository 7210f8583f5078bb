"""Blocks of compressed JSON in the members of a quantum graph file, and the table that tells where they are.

Sources: ``lsst.pipe.base.quantum_graph._multiblock`` and ``._common``.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any

import orjson
import zstandard

from butlerql.storage.errors import InvalidSourceError
from butlerql.storage.provenance.archive import Archive, Member, Window
from butlerql.storage.provenance.lenient_json import parse

__all__ = ["INTEGER_SIZES", "Addresses", "Blocks", "Unpacker"]

# Of a block, in bytes: a task that logs more is broken, and what it logs is not worth the memory.
_LIMIT = 1 << 26
INTEGER_SIZES = range(1, 17)
"""Bytes that an integer may have."""

_size_of = zstandard.frame_content_size
# Of a member, in bytes: the blocks in it are understood together.
_AHEAD = 1 << 14
_PAGE_ROWS = 256
_PAGES = 256


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
            self._decompress = zstandard.ZstdDecompressor(dict_data=known, max_window_size=_LIMIT).decompress
        except zstandard.ZstdError as error:
            raise InvalidSourceError(f"The dictionary of a quantum graph is none: {error}.") from None

    def content(self, block: bytes | memoryview) -> bytes:
        """Decompress a block.

        Raises
        ------
        InvalidSourceError
            Raised if it is damaged, or would become too large.
        """
        try:
            size = _size_of(block)
            if 0 <= size <= _LIMIT:
                return self._decompress(block)
            if size > _LIMIT:
                raise InvalidSourceError(f"A block of {size} bytes is more than can be meant.")
            # The frame does not tell.
            return self._decompress(block, max_output_size=_LIMIT)
        except zstandard.ZstdError as error:
            raise InvalidSourceError(f"A block cannot be decompressed: {error}.") from None

    def unpack(self, block: bytes | memoryview) -> Any:
        """Make a JSON value of a block; see `content`."""
        return parse(self.content(block))

    def unpack_all(self, blocks: Sequence[bytes | memoryview]) -> list[Any]:
        """Make JSON values of blocks, as `unpack` does.

        Raises
        ------
        InvalidSourceError
            Raised also if they would become too large together, or do not tell.
        """
        if len(blocks) == 1:
            return [self.unpack(blocks[0])]
        try:
            sizes = list(map(_size_of, blocks))
            if min(sizes) < 0 or sum(sizes) > _LIMIT:
                raise InvalidSourceError("Blocks are too large to be understood together.")
            return list(map(orjson.loads, map(self._decompress, blocks)))
        except (zstandard.ZstdError, orjson.JSONDecodeError):
            return list(map(self.unpack, blocks))


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
        self._integer_size = integer_size
        self._window = Window(archive, member)

    def __iter__(self) -> Iterator[list[bytes]]:
        """Go through all blocks, as many at a time as some kilobytes hold.

        Raises
        ------
        InvalidSourceError
            Raised if a block does not fit in; what comes behind it cannot be found.
        """
        width, place = self._integer_size, 0
        while place < self._member.size:
            ahead = self._archive.read(self._member.offset + place, min(_AHEAD, self._member.size - place))
            some, behind = list[bytes](), 0
            while (begin := behind + width) <= len(ahead):
                end = begin + int.from_bytes(ahead[behind:begin], "big")
                if end > len(ahead):
                    break
                some.append(ahead[begin:end])
                behind = end
            if not some:
                size = int.from_bytes(self._window.read(place, width), "big")
                self._check(size)
                some, behind = [bytes(self._window.read(place + width, size))], width + size
            yield some
            place += behind

    def at(self, address: tuple[int, int]) -> memoryview:
        """Read the block of which the table gives offset and size, the size of the size with it."""
        offset, size = address
        self._check(size)
        block = self._window.read(offset, size)
        width = self._integer_size
        if int.from_bytes(block[:width], "big") != size - width:
            raise InvalidSourceError(f"A block of {self._member.name!r} is not where the table says.")
        return block[width:]

    def _check(self, size: int) -> None:
        if size > _LIMIT:
            raise InvalidSourceError(f"A block of {size} bytes in {self._member.name!r} is more than can be meant.")


class Addresses:
    """The table of where the blocks of a UUID are, sorted by UUID; pages of it are kept.

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
        self._rows = int.from_bytes(head[:width], "big")
        self._width = width
        self._row_size = 16 + width * (1 + 2 * kinds)
        self._begin = 1 + 2 * width
        if int.from_bytes(head[width:], "big") != kinds or self._begin + self._rows * self._row_size != member.size:
            raise InvalidSourceError(f"The table {member.name!r} is not as large as it says.")
        self._pages: OrderedDict[int, tuple[list[bytes], bytes]] = OrderedDict()
        self._firsts = [
            archive.read(member.offset + self._begin + row * self._row_size, 16)
            for row in range(0, self._rows, _PAGE_ROWS)
        ]

    def find(self, uuid: str, kind: int) -> tuple[int, int] | None:
        """Find offset and size of the block of a kind that a UUID, of 32 digits, has; None if it has none."""
        key = bytes.fromhex(uuid)
        number = bisect_right(self._firsts, key) - 1
        if number < 0:
            return None
        keys, page = self._pages.get(number) or self._read(number)
        row = bisect_left(keys, key)
        if row == len(keys) or keys[row] != key:
            return None
        width = self._width
        place = row * self._row_size + 16 + width * (1 + 2 * kind)
        size = int.from_bytes(page[place + width : place + 2 * width], "big")
        return (int.from_bytes(page[place : place + width], "big"), size) if size else None

    def _read(self, number: int) -> tuple[list[bytes], bytes]:
        begin = number * _PAGE_ROWS
        rows = min(_PAGE_ROWS, self._rows - begin)
        offset = self._member.offset + self._begin + begin * self._row_size
        page = self._archive.read(offset, rows * self._row_size)
        keys = [page[place : place + 16] for place in range(0, len(page), self._row_size)]
        self._pages[number] = keys, page
        if len(self._pages) > _PAGES:
            self._pages.popitem(last=False)
        return keys, page
