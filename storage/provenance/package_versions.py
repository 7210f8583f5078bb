"""Versions of software that a run was made with, as the ``packages`` dataset of the run has them.

Whoever writes into a repository can put anything there, so nothing in such a file is ever run.

Source: ``lsst.utils.packages.Packages``, which writes YAML, JSON and pickles.
"""

from __future__ import annotations

import io
import pickle
import posixpath
from collections.abc import Callable, Mapping
from typing import Any

import yaml

from butlerql.storage.errors import InvalidSourceError
from butlerql.storage.provenance.lenient_json import name_of, object_of, parse, text_of
from butlerql.storage.provenance.records import RunRecord

__all__ = ["told_of_run", "versions_of"]

_SIZE = 1 << 20
"""Bytes of a file; a thousand packages take some ten thousand."""

_CLASS = "Packages"
_MODULES = frozenset({"lsst.utils.packages", "lsst.base.packages", "lsst.base"})
"""Where the class is, and was before."""


def told_of_run(run: str, path: str, content: bytes) -> RunRecord:
    """Tell of a run what its ``packages`` dataset tells.

    Parameters
    ----------
    run
        Its name.
    path
        Of the file: its extension tells the format.
    content
        What is in the file.

    Raises
    ------
    InvalidSourceError
        Raised if it is none that the Butler writes.
    """
    read = _READERS.get(posixpath.splitext(path)[1])
    if read is None:
        raise InvalidSourceError(f"Versions of packages are in files of {', '.join(_READERS)}.")
    if len(content) > _SIZE:
        raise InvalidSourceError(f"It is larger than {_SIZE} bytes.")
    return RunRecord(run, versions_of(read(content)))


def versions_of(packages: Any) -> Mapping[str, str]:
    """Take versions by name of the package.

    Raises
    ------
    InvalidSourceError
        Raised if it is anything else.
    """
    return {name_of(name): text_of(version) for name, version in object_of(packages).items()}


def _from_yaml(content: bytes) -> Any:
    try:
        # It knows texts, lists and mappings alone, and what a tag says of them means nothing to it.
        return yaml.load(content, Loader=yaml.BaseLoader)  # noqa: S506
    except (yaml.YAMLError, ValueError, RecursionError):
        raise InvalidSourceError("What should be YAML is none.") from None


def _from_pickle(content: bytes) -> Any:
    try:
        return dict(_Unpickler(io.BytesIO(content)).load())
    except InvalidSourceError:
        raise
    except Exception:  # noqa: BLE001 - a broken pickle raises anything
        raise InvalidSourceError("What should be a pickle of packages is none.") from None


class _Packages(dict[Any, Any]):
    """Stands for the class of the Butler."""

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        # So in old pickles.
        self.update(state["_packages"])


class _Unpickler(pickle.Unpickler):
    """Makes texts, numbers, lists, mappings and sets, which need no class, and mappings for the one class it knows."""

    def find_class(self, module: str, name: str) -> type:
        """Find the class; any other, and any function, is refused."""
        if name == _CLASS and module in _MODULES:
            return _Packages
        raise InvalidSourceError(f"A pickle that asks for more than packages: {module}.{name}."[:200])


_READERS: Mapping[str, Callable[[bytes], Any]] = {
    ".yaml": _from_yaml,
    ".json": parse,
    ".pickle": _from_pickle,
    ".pkl": _from_pickle,
}
