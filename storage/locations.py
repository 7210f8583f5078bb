"""Paths and URIs, read the way the Butler's resource layer (lsst.resources) reads them.

A text without ``://`` is a local path: ``~`` and ``$VARIABLE`` are expanded, it is made absolute and normalised.
A text that holds what looks like an escape (``%41``) is taken as quoted already, even if it is a plain path.
What follows the last ``#`` of the last component is a fragment (the member of a zip file).
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import ParseResult, quote, unquote, urlparse

__all__ = ["ArtifactRoot", "Place", "absolute_uri", "local_path"]

_ESCAPE = re.compile(r"%[A-F0-9]{2}")
_EUPS = re.compile(r"\$\{?[A-Z_]+_DIR\}?/")
# Relative paths of characters that are the same in a URI, and those that need quoting and nothing else; absolute URIs
# that can stay as they are. Each with a simple fragment at most.
_FRAGMENT = "(#[A-Za-z0-9_.=~-]+)?"
_PLAIN = re.compile(rf"([A-Za-z0-9_-][A-Za-z0-9_.~/-]*){_FRAGMENT}").fullmatch
_QUOTABLE = re.compile(rf"(?!file:)([^%$#/~.][^%$#]*){_FRAGMENT}").fullmatch
_UNSAFE = re.compile(r"[^A-Za-z0-9_.~/-]+")
_URI = re.compile(rf"file://(/[A-Za-z0-9_.~/%-]*){_FRAGMENT}").fullmatch
_ALL_PLAIN = re.compile(r"(?:[A-Za-z0-9_-][A-Za-z0-9_.~/-]*\n)*").fullmatch
"""Lines, each a plain path without a fragment."""


class Place(NamedTuple):
    """Where an artifact is."""

    uri: str
    path: str | None
    """Local path without any fragment, or None where it is not a local file."""


def _parse(text: str) -> ParseResult:
    """Split a path or URI into parts; the path of what has no scheme is unquoted, expanded and normalised."""
    if "://" not in text and not text.startswith("file:") and not _ESCAPE.search(text):
        head, slash, last = text.rpartition("/")
        name, hash_, fragment = last.rpartition("#")
        if not hash_:
            name, fragment = last, ""
        text = quote(head + slash + name) + hash_ + fragment
    parts = urlparse(text)
    if parts.scheme == "file" and not posixpath.isabs(parts.path):
        return parts._replace(path=posixpath.normpath(posixpath.join(os.getcwd(), parts.path)))
    if parts.scheme:
        return parts
    path = os.path.expanduser(unquote(parts.path))
    if _EUPS.match(path):
        # The Butler would ask EUPS; we take such a variable as any other.
        path = os.path.expandvars(path)
    return parts._replace(path=_normal(os.path.expandvars(path)))


def _normal(path: str) -> str:
    """Normalise a local path, keeping a slash at its end; two at its start would begin a host name in a URI."""
    normal = os.path.normpath(f"/{path.lstrip('/')}" if path.startswith("/") else path)
    return f"{normal}/" if path.endswith("/") and not normal.endswith("/") else normal


def absolute_uri(text: str, *, directory: str | None = None) -> str:
    """Return the absolute URI, quoted, of a path or URI.

    Parameters
    ----------
    text
        A path or URI.
    directory
        Local directory that relative paths start from; by default the current one.
    """
    parts = _parse(text)
    if not parts.scheme:
        path = _normal(os.path.join(directory or os.getcwd(), parts.path))
        parts = parts._replace(scheme="file", path=quote(path))
    return parts.geturl()


def local_path(uri: str) -> str | None:
    """Return the local path of an absolute URI, or None where it is not a ``file`` one."""
    parts = urlparse(uri)
    return unquote(parts.path) if parts.scheme == "file" else None


class ArtifactRoot:
    """Turns the paths of file records into URIs, for one datastore root.

    Parameters
    ----------
    root
        Absolute URI of the root.
    """

    def __init__(self, root: str) -> None:
        self._root = urlparse(root)
        # normpath keeps two leading slashes; one component more shows what it makes of the root
        self._prefix = self._place(posixpath.join(self._root.path, "x"), ParseResult("", "", "", "", "", "")).uri[:-1]
        self._local = self._root.scheme == "file"
        self._directory = unquote(urlparse(self._prefix).path)

    def place(self, path: str) -> Place:
        """Return where the artifact is that a record calls ``path``: relative to the root, or an absolute URI."""
        # Nearly all paths are one of these, and there are many: what follows takes ten times as long.
        if "//" not in path and "/." not in path:
            if plain := _PLAIN(path):
                return Place(self._prefix + path, self._directory + plain[1] if self._local else None)
            if (quotable := _QUOTABLE(path)) and path[-1] != "/":
                name, fragment = quotable.groups("")
                # Much quicker than to have all of it quoted.
                quoted = _UNSAFE.sub(lambda found: quote(found[0]), name)
                return Place(self._prefix + quoted + fragment, self._directory + name if self._local else None)
        elif uri := _URI(path):
            return Place(path, unquote(uri[1]))
        parts = _parse(path)
        if not parts.scheme and not os.path.isabs(parts.path):
            # Unquoted a second time: so the Butler finds what it wrote.
            return self._place(posixpath.join(self._root.path, quote(unquote(parts.path))), parts)
        if not parts.scheme:
            parts = parts._replace(scheme="file", path=quote(parts.path))
        return Place(parts.geturl(), unquote(parts.path) if parts.scheme == "file" else None)

    def places(self, paths: Sequence[str]) -> tuple[Sequence[str], Sequence[str | None]]:
        """Return the URIs, and the local paths, of many artifacts; see `place`."""
        text = "\n".join([*paths, ""])
        if "//" in text or "/." in text or text.count("\n") != len(paths) or not _ALL_PLAIN(text):
            places = list(map(self.place, paths))
            return [place.uri for place in places], [place.path for place in places]
        local = [self._directory + path for path in paths] if self._local else [None] * len(paths)
        return [self._prefix + path for path in paths], local

    def _place(self, path: str, record: ParseResult) -> Place:
        uri = self._root._replace(
            path=posixpath.normpath(path), params=record.params, query=record.query, fragment=record.fragment
        )
        return Place(uri.geturl(), unquote(uri.path) if uri.scheme == "file" else None)
