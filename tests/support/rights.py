"""Files that this process may not write to, even if it is root's."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["may_not_write"]


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
        # What pytest makes is for its user alone.
        for directory in {parent for path in paths for parent in path.parents} - {Path("/")}:
            directory.chmod(directory.stat().st_mode | 0o111)
        os.seteuid(pwd.getpwnam("nobody").pw_uid)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        for path, mode in before:
            path.chmod(mode)
