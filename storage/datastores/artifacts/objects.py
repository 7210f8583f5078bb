"""A bucket of an object store that speaks S3, or what is below a prefix of it."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import unquote, urlsplit

from butlerql.storage.datastores.artifacts.conditional_delete import ConditionalDelete
from butlerql.storage.datastores.artifacts.s3_access import Keys, s3_access
from butlerql.storage.datastores.artifacts.store import (
    BLOCK,
    Ended,
    Entry,
    Identity,
    Kind,
    Removal,
    Removed,
    path_bytes,
    unexpected,
    unreadable,
)
from butlerql.storage.errors import UnavailableDatastoreError

if TYPE_CHECKING:
    from obstore import ObjectMeta

__all__ = ["ObjectStore"]

_AHEAD = 1 << 16
"""Bytes that are read at once of what is opened: the list at the end of a zip file is seldom longer."""

_DENIED = {"PermissionDeniedError": "403", "UnauthenticatedError": "401"}
_STATUS = re.compile(r"status code: (\d{3})")

# A server that does not answer is asked again, for as long as somebody may wait for it.
_PATIENCE: Any = {"max_retries": 3, "retry_timeout": timedelta(seconds=30), "backoff": {"base": 2}}
_CLIENT: Any = {"connect_timeout": timedelta(seconds=5), "timeout": timedelta(seconds=60), "allow_http": True}


class ObjectStore:
    """Objects below a root.

    An object whose name has an empty step, one of dots alone or a control character can neither be listed nor looked at
    by the library that is used here; the Butler does not make such names.

    Parameters
    ----------
    root
        ``s3://bucket/``, ``s3://profile@bucket/prefix/``: absolute, quoted, with a slash at its end.
    environ
        Environment variables, which tell the endpoint and the credentials; see `s3_access`.

    Raises
    ------
    UnavailableDatastoreError
        Raised if the library is not installed, or the endpoint or the credentials make no sense.
    """

    def __init__(self, root: str, environ: Mapping[str, str]) -> None:
        try:
            import obstore
            from obstore.exceptions import BaseError
            from obstore.store import S3Store
        except ImportError:
            raise UnavailableDatastoreError(
                f"The objects at {root} can be looked at only with obstore, which is not installed: "
                "pip install 'butlerql[s3]'."
            ) from None
        parts = urlsplit(root)
        profile, _, bucket = parts.netloc.rpartition("@")
        access = s3_access(profile or None, environ)
        config = {
            "aws_endpoint_url_s3": access.endpoint,
            "region": access.region,
            # Buckets of several tenants have a colon in their name, which no host has.
            "virtual_hosted_style_request": "false",
        }
        self.root = root
        self._delete = ConditionalDelete(access, bucket, unquote(parts.path).strip("/"))
        self._obstore = obstore
        self._errors: tuple[type[Exception], ...] = (BaseError, OSError, ValueError)
        try:
            self._store = S3Store(
                bucket,
                prefix=unquote(parts.path).strip("/") or None,
                config=_given(config),
                credential_provider=None if access.keys is None else _provider(access.keys),
                client_options=_CLIENT,
                retry_config=_PATIENCE,
            )
        except self._errors:
            raise UnavailableDatastoreError(
                f"The object store of {root} cannot be used: its endpoint or its bucket makes no sense."
            ) from None

    def list(self, after: str = "", expected: dict[str, int] | None = None) -> Iterator[Entry]:
        """Go through all objects; see `ArtifactStore.list`."""
        try:
            chunks = iter(self._obstore.list(self._store, offset=after or None))
            first = next(chunks, [])
        except self._errors as error:
            raise unreadable(self.root, _problem(error)) from None
        return unexpected(self._listed(first, chunks, path_bytes(after)), expected or {})

    def stat(self, paths: Sequence[str]) -> Sequence[Entry]:
        """Look at some paths; see `ArtifactStore.stat`."""
        entries = [self._look(path) for path in paths]
        if any(entry.kind is Kind.MISSING for entry in entries) and (problem := self._problem_of_bucket()) is not None:
            return [
                Entry(entry.path, Kind.UNREADABLE, problem=problem) if entry.kind is Kind.MISSING else entry
                for entry in entries
            ]
        return entries

    def read(self, path: str) -> Iterator[bytes]:
        """Read an object in blocks; see `ArtifactStore.read`."""
        try:
            for block in self._obstore.get(self._store, path).stream(min_chunk_size=BLOCK):
                yield bytes(block)
        except FileNotFoundError:
            raise
        except self._errors as error:
            raise unreadable(f"{self.root}{path}", _problem(error)) from None

    def open(self, path: str) -> BinaryIO:
        """Open an object; see `ArtifactStore.open`."""
        try:
            size = self._obstore.head(self._store, path)["size"]
        except FileNotFoundError:
            raise
        except self._errors as error:
            raise unreadable(f"{self.root}{path}", _problem(error)) from None

        def fetch(begin: int, end: int) -> bytes:
            try:
                return bytes(self._obstore.get_range(self._store, path, start=begin, end=end))
            except FileNotFoundError:
                raise
            except self._errors as error:
                raise unreadable(f"{self.root}{path}", _problem(error)) from None

        return io.BufferedReader(_Opened(size, fetch), _AHEAD)

    def now(self) -> int:
        """Tell the time; see `ArtifactStore.now`. It is nearly the same as here, or every request would be refused."""
        return time.time_ns()

    def mark(self) -> Identity:
        """Tell what the root is, see `ArtifactStore.mark`: a bucket is what its name says.

        An empty one may be another of the same name. That is also what is left where the last object was removed and
        nobody wrote it down.
        """
        try:
            first = next(iter(self._obstore.list(self._store, chunk_size=1)), None)
        except self._errors as error:
            raise unreadable(self.root, _problem(error)) from None
        if not first:
            raise unreadable(self.root, "it is empty; are its endpoint and its name right? If so, put an object there")
        return ()

    def removes_exactly(self) -> bool:
        """Tell whether it removes objects under conditions; it is tried with an object of our own."""
        return self._delete.is_honoured()

    at_once = 512

    def claim(self, _: Removal) -> Ended | None:
        """Do nothing, see `ArtifactStore.claim`: objects have no other names."""
        return None

    def put_back(self, _: Removal) -> Ended:
        """Say that it stays; see `ArtifactStore.put_back`."""
        return Removed.CHANGED, None

    def remove(self, removal: Removal) -> Ended:
        """Remove an object if its ETag is the one it was; see `ArtifactStore.remove`."""
        found = self._look(removal.path)
        if found.kind is Kind.MISSING:
            if (problem := self._problem_of_bucket()) is not None:
                return Removed.FAILED, problem
            return Removed.GONE, None
        if found.kind is Kind.UNREADABLE:
            return Removed.FAILED, found.problem
        if found.identity != removal.identity:
            return Removed.CHANGED, "another object is in its place"
        problem = self._delete.delete(removal.path, str(removal.identity[0]))
        if problem in {None, "404"}:
            return Removed.REMOVED, None
        return (Removed.CHANGED, "another object is in its place") if problem == "412" else (Removed.FAILED, problem)

    def _listed(
        self, first: Sequence[ObjectMeta], rest: Iterator[Sequence[ObjectMeta]], after: bytes
    ) -> Iterator[Entry]:
        chunk: Sequence[ObjectMeta] | None = first
        while chunk is not None:
            for found in chunk:
                # The library takes a slash at the end of the path behind which to begin for nothing.
                if path_bytes(found["path"]) > after:
                    yield _entry(found["path"], found)
            try:
                chunk = next(rest, None)
            except self._errors as error:
                raise unreadable(self.root, _problem(error)) from None

    def _look(self, path: str) -> Entry:
        try:
            return _entry(path, self._obstore.head(self._store, path))
        except FileNotFoundError:
            return Entry(path, Kind.MISSING)
        except UnicodeEncodeError:
            # Names of objects are UTF-8.
            return Entry(path, Kind.MISSING)
        except self._errors as error:
            return Entry(path, Kind.UNREADABLE, problem=_problem(error))

    def _problem_of_bucket(self) -> str | None:
        """Tell why nothing can be said of what is not found: of a bucket that is gone HEAD says the same."""
        try:
            next(iter(self._obstore.list(self._store, chunk_size=1)), None)
        except self._errors as error:
            return _problem(error)
        return None


class _Opened(io.RawIOBase):
    """An object of which any part can be read."""

    def __init__(self, size: int, fetch: Callable[[int, int], bytes]) -> None:
        self._size = size
        self._fetch = fetch
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        begin = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        self._place = begin + offset
        return self._place

    def readinto(self, buffer: Any) -> int:
        end = min(self._place + len(buffer), self._size)
        if self._place >= end:
            return 0
        block = self._fetch(self._place, end)
        buffer[: len(block)] = block
        self._place += len(block)
        return len(block)


def _given(config: Mapping[str, str | None]) -> Any:
    return {name: value for name, value in config.items() if value is not None}


def _provider(keys: Keys) -> Any:
    credential = {
        "access_key_id": keys.access_key,
        "secret_access_key": keys.secret_key,
        "token": keys.session_token,
        "expires_at": None,
    }
    return lambda: credential


def _entry(path: str, found: ObjectMeta) -> Entry:
    # A listing tells fractions of seconds, looking at an object does not.
    modified = int(found["last_modified"].timestamp())
    return Entry(path, Kind.FILE, found["size"], (found["e_tag"] or "", modified), modified * 1_000_000_000)


def _problem(error: Exception) -> str:
    """Say why something failed, in a word: the library's own words may hold anything."""
    if isinstance(error, ValueError):
        return "no such name can be asked for"
    status = _STATUS.search(str(error))
    if status is not None:
        return status[1]
    return _DENIED.get(type(error).__name__, "no answer")
