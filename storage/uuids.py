"""UUIDs as text: lower-case digits with hyphens, as they are shown, and without, as SQLite keeps them.

They come by the ten thousand, so there is a way to write many of them by what runs in C.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from butlerql.storage.errors import InvalidArgumentError

__all__ = ["digits_of", "digits_of_each", "hyphenated", "hyphenated_each"]

_DIGITS = re.compile("[0-9a-f]{32}")
_LOWER = bytes(range(256)).lower()
_SHOWN = b"00000000-0000-0000-0000-000000000000\n"
_PLACES = [place for place, character in enumerate(_SHOWN) if character == ord("0")]


def digits_of(uuid: str) -> str:
    """Leave out hyphens, and capital letters.

    Raises
    ------
    InvalidArgumentError
        Raised if it is no UUID.
    """
    digits = uuid.replace("-", "").lower()
    if _DIGITS.fullmatch(digits) is None:
        raise InvalidArgumentError(f"{uuid!r:.80} is no UUID.")
    return digits


def digits_of_each(uuids: Sequence[str]) -> list[str]:
    """Do as `digits_of` with many."""
    try:
        text = "\n".join(uuids).encode().translate(_LOWER, b"-").decode()
        # Line feeds are passed over by `fromhex`.
        if text[32::33] == "\n" * (len(uuids) - 1) and len(bytes.fromhex(text)) == len(uuids) * 16:
            return text.split()
    except ValueError:
        pass
    return list(map(digits_of, uuids))


def hyphenated(digits: str) -> str:
    """Put the hyphens into 32 digits."""
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def hyphenated_each(digits: Iterable[str]) -> list[str]:
    """Do as `hyphenated` with many."""
    given = "".join(digits).encode()
    shown = bytearray(_SHOWN * (len(given) // 32))
    for position, place in enumerate(_PLACES):
        shown[place :: len(_SHOWN)] = given[position::32]
    return shown.decode().splitlines()
