"""Members of zip files, which the Butler records as ``<path>#zip-path=<member>`` (formerly ``#unzip=<member>``)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple
from urllib.parse import unquote
from zipfile import BadZipFile, ZipFile

from butlerql.storage.datastores.artifacts.store import ArtifactStore

__all__ = ["Member", "member_of", "wrong_members"]


class Member(NamedTuple):
    """A file in a zip file, as recorded."""

    name: str
    size: int | None


def member_of(path: str) -> str | None:
    """Read the name of a member off the path of a record; None if it is no member of a zip file."""
    _, mark, fragment = path.rpartition("#")
    key, equals, name = fragment.partition("=")
    return unquote(name) if mark and equals and key in {"zip-path", "unzip"} else None


def wrong_members(store: ArtifactStore, path: str, members: Sequence[Member]) -> list[tuple[Member, int | None]]:
    """Find the members that a zip file lacks, or has in another size, and say in which; None if they are not in it.

    Only the file's own list of its content is read; of what is no whole zip file it is the end that is missing.

    Raises
    ------
    FileNotFoundError
        Raised if there is no file.
    UnreadableArtifactError
        Raised if it cannot be read.
    """
    sizes: dict[str, int] = {}
    with store.open(path) as file, suppress(BadZipFile), ZipFile(file) as archive:
        sizes = {info.filename: info.file_size for info in archive.infolist()}
    found = ((member, sizes.get(member.name)) for member in members)
    return [(member, size) for member, size in found if size is None or member.size not in {None, size}]
