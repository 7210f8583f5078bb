"""Files that this process may not read or write, even if it is root's."""

from __future__ import annotations

import ctypes
import os
import pwd
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

__all__ = ["may_not_write", "threads_of_nobody"]


def threads_of_nobody(*paths: Path) -> ThreadPoolExecutor:
    """Make threads to which files are closed that are closed to others than their owner; the given ones can be found.

    Root's threads see files as nobody does. No other thread of the process is concerned: this is Linux, where it
    is the thread that has a user.
    """
    if os.geteuid() != 0:
        return ThreadPoolExecutor(2)
    _let_through(paths)
    return ThreadPoolExecutor(2, initializer=ctypes.CDLL(None).setfsuid, initargs=(pwd.getpwnam("nobody").pw_uid,))


@contextmanager
def may_not_write(*paths: Path) -> Iterator[None]:
    """Take away the right to write to some files or directories, for the length of the block.

    Root may write to everything, so it becomes nobody meanwhile.
    """
    before = [(path, path.stat().st_mode) for path in paths]
    for path, mode in before:
        path.chmod(mode & ~0o222 | 0o444 | (0o111 if path.is_dir() else 0))
    root = os.geteuid() == 0
    if root:
        _let_through(paths)
        os.seteuid(pwd.getpwnam("nobody").pw_uid)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        for path, mode in before:
            path.chmod(mode)


def _let_through(paths: Iterable[Path]) -> None:
    """Let nobody come to some files: what pytest makes is for its user alone."""
    for directory in {parent for path in paths for parent in path.parents} - {Path("/")}:
        directory.chmod(directory.stat().st_mode | 0o111)
