"""A directory of a file system."""

from __future__ import annotations

import errno
import os
import stat
import sys
import time
from collections.abc import Generator, Iterator, Sequence
from typing import BinaryIO
from urllib.parse import quote

from butlerql.storage.datastores.artifacts.store import (
    BLOCK,
    Ended,
    Entry,
    Identity,
    Kind,
    Removal,
    Removed,
    path_bytes,
    path_text,
    unexpected,
    unreadable,
)

__all__ = ["LocalStore"]

# Nothing has this name; or a file stands where one of its directories should.
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR})
# Where a link leads to nothing.
_NOWHERE = _ABSENT | {errno.ELOOP}

_SLASH = ord("/")

_SHOWS_TEXTS = sys.getfilesystemencoding() == "utf-8"
"""Whether the system's text of a file name is that of `path_text`."""


class LocalStore:
    """Files below a directory.

    Parameters
    ----------
    directory
        Its absolute path.
    """

    def __init__(self, directory: str) -> None:
        self._directory = path_bytes(directory.rstrip("/")) + b"/"
        self.root = f"file://{quote(self._directory)}"

    def list(self, after: str = "", expected: dict[str, int] | None = None) -> Iterator[Entry]:
        """Go through all files; see `ArtifactStore.list`."""
        # Not a copy: what is found is taken out of it.
        expected = {} if expected is None else expected
        try:
            names = self._names(b"", expected)
        except OSError as error:
            raise unreadable(path_text(self._directory), _problem(error)) from None
        return self._walk(names, path_bytes(after), expected)

    def stat(self, paths: Sequence[str]) -> Sequence[Entry]:
        """Look at some paths; see `ArtifactStore.stat`."""
        entries = [self._look(path) for path in paths]
        if any(entry.kind is Kind.MISSING for entry in entries):
            problem = self._problem_of_root()
            if problem is not None:
                return [
                    Entry(entry.path, Kind.UNREADABLE, problem=problem) if entry.kind is Kind.MISSING else entry
                    for entry in entries
                ]
        return entries

    def read(self, path: str) -> Iterator[bytes]:
        """Read a file in blocks; see `ArtifactStore.read`."""
        with self.open(path) as file:
            try:
                while block := file.read(BLOCK):
                    yield block
            except OSError as error:
                raise unreadable(path_text(self._directory) + path, _problem(error)) from None

    def open(self, path: str) -> BinaryIO:
        """Open a file; see `ArtifactStore.open`."""
        place = path_text(self._directory) + path
        try:
            # Without waiting for the other end of a pipe.
            number = os.open(self._directory + path_bytes(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except ValueError:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), place) from None
        except OSError as error:
            if error.errno in _NOWHERE:
                raise FileNotFoundError(error.errno, os.strerror(error.errno), place) from None
            raise unreadable(place, _problem(error)) from None
        if not stat.S_ISREG(os.fstat(number).st_mode):
            os.close(number)
            raise unreadable(place, "not a file")
        return os.fdopen(number, "rb", buffering=0)

    def now(self) -> int:
        """Tell the time; see `ArtifactStore.now`."""
        try:
            # A file without a name: nobody sees it, and it leaves nothing behind.
            file = os.open(self._directory, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        except (AttributeError, OSError):
            return time.time_ns()
        try:
            return os.fstat(file).st_mtime_ns
        finally:
            os.close(file)

    def mark(self) -> Identity:
        """Tell what the root is, see `ArtifactStore.mark`: an empty one may be where a file system is not mounted."""
        try:
            status = os.stat(self._directory)
            with os.scandir(self._directory) as found:
                is_empty = next(found, None) is None
        except OSError as error:
            raise unreadable(path_text(self._directory), _problem(error)) from None
        if is_empty:
            raise unreadable(path_text(self._directory), "it is empty; is its file system mounted?")
        return status.st_dev, status.st_ino

    def removes_exactly(self) -> bool:
        """Say that it does: a file is renamed first, and looked at under the name that nobody else has."""
        return True

    at_once = sys.maxsize

    def claim(self, removal: Removal) -> Ended | None:
        """Rename a file, if it is the one that is meant before and after that; see `ArtifactStore.claim`."""
        claim = _claim(removal)
        if not self._is_file(removal.path, removal.identity):
            found = self._look(removal.path)
            if found.identity != removal.identity:
                return self._left(removal, claim, found)
            if found.kind not in {Kind.FILE, Kind.DANGLING}:
                return Removed.FAILED, "not a file"
        try:
            os.rename(self._place(removal.path), self._place(claim))
        except OSError as error:
            return (Removed.GONE, None) if error.errno in _ABSENT else (Removed.FAILED, _problem(error))
        return self._unless_meant(removal, claim)

    def remove(self, removal: Removal) -> Ended:
        """Remove a file that has its new name; see `ArtifactStore.remove`."""
        claim = _claim(removal)
        if (ended := self._unless_meant(removal, claim)) is not None:
            return ended
        try:
            os.unlink(self._place(claim))
        except FileNotFoundError:
            return Removed.REMOVED, None
        except OSError as error:
            return Removed.FAILED, f"{_problem(error)}; it is kept as {removal.claim}"
        return Removed.REMOVED, None

    def put_back(self, removal: Removal) -> Ended:
        """Give a file its name back, see `ArtifactStore.put_back`; if another has that by now, nobody means this."""
        claim = _claim(removal)
        if self._look(claim).kind is Kind.MISSING:
            return Removed.CHANGED, None
        found = self._look(removal.path)
        if found.kind in {Kind.MISSING, Kind.UNREADABLE}:
            return Removed.CHANGED, self._put_back(removal, claim)
        ended = self.remove(removal)
        # It has both names where an earlier try did not come to its end.
        has_both = ended[0] is Removed.REMOVED and found.identity == removal.identity
        return (Removed.CHANGED, None) if has_both else ended

    def _left(self, removal: Removal, claim: str, found: Entry) -> Ended | None:
        """Go on where an earlier try came as far as the new name; else tell what is there instead."""
        left = self._look(claim)
        if Kind.UNREADABLE in {found.kind, left.kind}:
            return Removed.FAILED, found.problem or left.problem
        if left.kind is not Kind.MISSING:
            return self._unless_meant(removal, claim)
        if found.kind is Kind.MISSING:
            return Removed.GONE, None
        return Removed.CHANGED, "another file is in its place"

    def _unless_meant(self, removal: Removal, claim: str) -> Ended | None:
        """Put back what has been renamed, if it is not what was meant."""
        if self._is_file(claim, removal.identity):
            return None
        found = self._look(claim)
        if found.identity == removal.identity:
            return None
        if found.kind is Kind.MISSING:
            return Removed.REMOVED, None
        if found.kind is Kind.UNREADABLE:
            return Removed.FAILED, f"{found.problem}; it is kept as {removal.claim}"
        problem = self._put_back(removal, claim)
        return Removed.CHANGED, "; ".join(filter(None, ["another file was in its place", problem]))

    def _put_back(self, removal: Removal, claim: str) -> str | None:
        """Give a file its name back, unless something has it by now."""
        place, old = self._place(claim), self._place(removal.path)
        try:
            try:
                os.link(place, old, follow_symlinks=False)
            except PermissionError:
                # Not everybody may link to what others own.
                if self._look(removal.path).kind is not Kind.MISSING:
                    raise
                os.rename(place, old)
            else:
                os.unlink(place)
        except OSError as error:
            return f"it is kept as {removal.claim} ({_problem(error)})"
        return None

    def _place(self, path: str) -> bytes:
        return self._directory + path_bytes(path)

    def _walk(self, names: Sequence[bytes], after: bytes, expected: dict[str, int]) -> Iterator[Entry]:
        """Go through the root, of which the sorted content is given."""
        # A stack of our own: the depth of a tree must not meet Python's limit here.
        pending = [(b"", iter(names))]
        while pending:
            prefix, rest = pending[-1]
            below = yield from self._files(prefix, rest, after, expected)
            if below is None:
                pending.pop()
            # What is in it may all be before what was asked for.
            elif below >= after or after.startswith(below):
                try:
                    pending.append((below, iter(self._names(below, expected))))
                except OSError as error:
                    if error.errno not in _ABSENT and below > after:
                        yield Entry(path_text(below), Kind.UNREADABLE, problem=_problem(error))

    def _names(self, prefix: bytes, expected: dict[str, int]) -> Sequence[bytes]:
        """Read a directory, in the order of paths, without files of the expected sizes.

        A directory ends with the slash that follows it there.
        """
        # There may be millions of them: nothing is made, and little of Python called, for what is as expected. By the
        # open directory the system finds a file sooner than by its path.
        names: list[bytes] = []
        shown, is_file = path_text(prefix), stat.S_ISREG
        size_of = (expected if _SHOWS_TEXTS else {}).get
        directory = os.open(self._directory + prefix, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with os.scandir(directory) as found:
                for name in found:
                    slash = b""
                    try:
                        if name.is_dir(follow_symlinks=False):
                            slash = b"/"
                        elif (size := size_of(path := shown + name.name)) is not None:
                            own = name.stat(follow_symlinks=False)
                            if own.st_size == size and is_file(own.st_mode):
                                del expected[path]
                                continue
                    except OSError:
                        pass  # What it is will be asked once more.
                    names.append(os.fsencode(name.name) + slash)
        finally:
            os.close(directory)
        return sorted(names)

    def _files(
        self, prefix: bytes, names: Iterator[bytes], after: bytes, expected: dict[str, int]
    ) -> Generator[Entry, None, bytes | None]:
        """Go through the files of a directory up to the next directory in it, and give that; None at the end."""
        for name in names:
            key = prefix + name
            if key[-1] == _SLASH:
                return key
            if key <= after:
                continue
            path = path_text(key)
            try:
                entry = self._listed(path, os.lstat(self._directory + key))
            except OSError as error:
                # It may have gone away meanwhile.
                if error.errno not in _ABSENT:
                    yield Entry(path, Kind.UNREADABLE, problem=_problem(error))
            else:
                yield from unexpected([entry], expected)
        return None

    def _listed(self, path: str, own: os.stat_result) -> Entry:
        entry = self._of_status(path, own)
        # A link to a directory is not followed: it may lead anywhere, and in a circle.
        return entry._replace(path=f"{entry.path}/") if entry.kind is Kind.DIRECTORY else entry

    def _is_file(self, path: str, identity: Identity) -> bool:
        """Whether a file, and no link, with an identity is there; where not, `_look` tells what is."""
        try:
            status = os.lstat(self._place(path))
        except (OSError, ValueError):
            return False
        return stat.S_ISREG(status.st_mode) and _identity(status) == identity

    def _look(self, path: str) -> Entry:
        try:
            return self._of_status(path, os.lstat(self._directory + path_bytes(path)))
        except OSError as error:
            if error.errno in _ABSENT:
                return Entry(path, Kind.MISSING)
            return Entry(path, Kind.UNREADABLE, problem=_problem(error))
        except ValueError:
            # No file can have NUL in its name, nor a surrogate that stands for no byte.
            return Entry(path, Kind.MISSING)

    def _of_status(self, path: str, own: os.stat_result) -> Entry:
        """Tell what is at a path, following a link."""
        if stat.S_ISREG(own.st_mode):
            return Entry(path, Kind.FILE, own.st_size, _identity(own), own.st_mtime_ns)
        if not stat.S_ISLNK(own.st_mode):
            return Entry(path, _kind(own), None, _identity(own), own.st_mtime_ns)
        try:
            target = os.stat(self._directory + path_bytes(path))
        except OSError as error:
            if error.errno in _NOWHERE:
                return Entry(path, Kind.DANGLING, None, _identity(own), own.st_mtime_ns)
            return Entry(path, Kind.UNREADABLE, problem=_problem(error))
        kind = _kind(target)
        return Entry(
            path,
            kind,
            target.st_size if kind is Kind.FILE else None,
            _identity(own) + _identity(target),
            max(own.st_mtime_ns, target.st_mtime_ns),
        )

    def _problem_of_root(self) -> str | None:
        try:
            return None if stat.S_ISDIR(os.stat(self._directory).st_mode) else "the root is no directory"
        except OSError as error:
            return f"the root: {_problem(error)}"


def _claim(removal: Removal) -> str:
    """Give the new path of what is to be removed."""
    directory, slash, _ = removal.path.rpartition("/")
    return directory + slash + removal.claim


def _kind(status: os.stat_result) -> Kind:
    if stat.S_ISREG(status.st_mode):
        return Kind.FILE
    return Kind.DIRECTORY if stat.S_ISDIR(status.st_mode) else Kind.OTHER


def _identity(status: os.stat_result) -> Identity:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _problem(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, "unknown")
