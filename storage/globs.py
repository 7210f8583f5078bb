"""Globs: which names a pattern with ``*``, ``?`` and ``[...]`` means, in Python and in SQL alike.

The Butler's rules hold: a name is a glob if it has one of ``*``, ``?`` or a closed ``[...]``; it is matched as
`fnmatch` does, against the whole name, upper and lower case apart, ``/`` like any other character.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Iterator, Sequence

from butlerql.plain import plain
from butlerql.storage.errors import InvalidArgumentError

__all__ = ["EVERYTHING", "check_text", "is_glob", "pattern_parts", "postgresql_regex", "python_regex", "split_names"]

EVERYTHING = "*"
"""The glob that matches every name."""

_GLOB = re.compile(r"[*?]|\[.*\]")
_MAXIMUM = 10_000
"""Characters in the globs of one list. Real ones are far shorter; each row that is read is held against all of them."""


def is_glob(name: str) -> bool:
    """Whether a name is a pattern. A bracket that is not closed does not make it one."""
    return _GLOB.search(name) is not None


def check_text(text: str) -> str:
    """Pass on a text that may go to the database.

    Raises
    ------
    InvalidArgumentError
        Raised if it has a null character, which neither database takes.
    """
    if "\0" in text:
        raise InvalidArgumentError("A text must not have a null character in it. Leave it out.")
    return text


def split_names(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Tell literal names from globs; each is kept once, in the order given.

    Raises
    ------
    InvalidArgumentError
        Raised if one has a null character, or the globs are too long altogether.
    """
    literals: list[str] = []
    globs: list[str] = []
    for name in dict.fromkeys(map(check_text, plain(list(names)))):
        (globs if is_glob(name) else literals).append(name)
    if sum(map(len, globs)) > _MAXIMUM:
        raise InvalidArgumentError(f"Globs may have {_MAXIMUM} characters altogether. Give fewer or shorter ones.")
    return literals, globs


def python_regex(globs: Sequence[str]) -> str:
    """Write the regular expression, in Python's syntax, that a name fits if it fits one of the globs."""
    return rf"\A(?:{'|'.join(map(fnmatch.translate, globs))})"


def postgresql_regex(globs: Sequence[str]) -> str:
    """Write the same in PostgreSQL's syntax."""
    return f"^(?:{'|'.join(''.join(_parts(glob)) for glob in globs)})$"


def pattern_parts(pattern: str) -> Iterator[tuple[str, bool]]:
    r"""Take a pattern of the expression language apart: each character, and whether it stands for itself.

    Only ``*`` and ``?`` do not; behind a ``\\`` they do.
    """
    characters = iter(pattern)
    for character in characters:
        if character == "\\":
            yield next(characters, character), True
        else:
            yield character, character not in "*?"


def _parts(glob: str) -> Iterator[str]:
    position = 0
    while position < len(glob):
        character = glob[position]
        position += 1
        if character == "*":
            yield ".*"
        elif character == "?":
            yield "."
        elif character == "[" and (end := _end_of_set(glob, position)) is not None:
            yield _set(glob[position:end])
            position = end + 1
        else:
            yield _escaped(character)


def _end_of_set(glob: str, start: int) -> int | None:
    """Find the bracket that closes a set; one that comes first is a member of it."""
    first = start + 1 if glob.startswith("!", start) else start
    end = glob.find("]", first + 1)
    return None if end < 0 else end


def _set(content: str) -> str:
    negated = content.startswith("!")
    members = content[1:] if negated else content
    ranges = []
    position = 0
    while position < len(members):
        low = members[position]
        is_range = members.startswith("-", position + 1) and position + 2 < len(members)
        high = members[position + 2] if is_range else low
        position += 3 if is_range else 1
        if low <= high:
            ranges.append(f"{_escaped(low)}-{_escaped(high)}")
    if not ranges:
        return "." if negated else "(?!.)."
    return f"[{'^' if negated else ''}{''.join(ranges)}]"


def _escaped(character: str) -> str:
    """Write a character so that it stands for itself inside and outside of brackets."""
    return character if character.isalnum() or not character.isascii() else rf"\u{ord(character):04x}"
