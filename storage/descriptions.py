"""What dataset types and storage classes are, in words: from files that people write.

The registry has no place for that. A file is a YAML mapping of names or globs of dataset types to texts; under
`storageClasses` it may hold another one, of storage classes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import yaml

from butlerql.storage.globs import is_glob, python_regex

__all__ = ["FILE_NAME", "STORAGE_CLASSES", "Descriptions"]

FILE_NAME = "descriptions.yaml"
"""Name of a repository's own file, in its root."""

STORAGE_CLASSES = "storageClasses"
"""Key of a file's texts for storage classes."""

_State = tuple[int, int, int]


class _Texts:
    """The texts of one file for one kind of thing: exact names come before globs, and of these the last that fits."""

    def __init__(self) -> None:
        self.exact: dict[str, str] = {}
        self.globs: dict[str, str] = {}

    @property
    def size(self) -> int:
        """How many there are."""
        return len(self.exact) + len(self.globs)

    def add(self, name: str, text: str) -> bool:
        """Take a text in; False if there was one of that name."""
        texts = self.globs if is_glob(name) else self.exact
        is_new = texts.pop(name, None) is None
        texts[name] = text
        return is_new

    def find(self, name: str) -> str | None:
        """Look a name up."""
        if name in self.exact:
            return self.exact[name]
        fitting = (text for glob, text in reversed(self.globs.items()) if re.match(python_regex([glob]), name))
        return next(fitting, None)


class _Content(NamedTuple):
    """What was read of a file."""

    state: _State | str
    """What tells whether it has changed since; why it could not be read."""

    dataset_types: _Texts
    storage_classes: _Texts
    problems: tuple[str, ...]


class Descriptions:
    """Texts of several files, of which later ones win.

    Files are read when they are asked for first, and again when they have changed; see `refresh`. What is wrong in one
    takes nothing else with it.

    Parameters
    ----------
    own
        A file that need not be there, the first; None if there cannot be any.
    files
        Other files.
    """

    def __init__(self, own: Path | None, files: Iterable[Path] = ()) -> None:
        self._own = own
        self.files = (*(() if own is None else (own,)), *files)
        self._contents: dict[Path, _Content] = {}
        self._reading = Lock()

    def refresh(self) -> list[str]:
        """Read the files that have changed since they were read; say what is wrong in these, to one of those who ask.

        Returns
        -------
        problems
            A sentence each, with the file and the line.
        """
        problems: list[str] = []
        with self._reading:
            for file in self.files:
                state = _state(file)
                known = self._contents.get(file)
                if known is None or known.state != state:
                    self._contents[file] = content = self._read(file, state)
                    problems += content.problems
        return problems

    def counts(self) -> dict[Path, int]:
        """Tell how many texts each file had when it was last read; those that could not be read are left out."""
        return {
            file: content.dataset_types.size + content.storage_classes.size
            for file, content in self._contents.items()
            if not isinstance(content.state, str)
        }

    def of_dataset_type(self, name: str) -> str | None:
        """Describe a dataset type, or a component of one, as the files said when they were last read."""
        return next(filter(None, (content.dataset_types.find(name) for content in self._latest())), None)

    def of_storage_class(self, name: str) -> str | None:
        """Describe a storage class, as the files said when they were last read."""
        return next(filter(None, (content.storage_classes.find(name) for content in self._latest())), None)

    def _latest(self) -> Iterator[_Content]:
        return (self._contents[file] for file in reversed(self.files) if file in self._contents)

    def _read(self, file: Path, state: _State | str) -> _Content:
        content = _Content(state, _Texts(), _Texts(), ())
        problems: list[str] = []
        if isinstance(state, str):
            if file != self._own or state != _ABSENT:
                problems.append(f"{file} cannot be read: {state}.")
        else:
            problems.extend(_fill(file, content))
        return content._replace(problems=tuple(problems))


_ABSENT = "there is no such file"


def _state(file: Path) -> _State | str:
    try:
        found = file.stat()
    except FileNotFoundError:
        return _ABSENT
    except OSError as error:
        return str(error.strerror)
    return found.st_mtime_ns, found.st_size, found.st_ino


def _fill(file: Path, content: _Content) -> Iterator[str]:
    """Take in what is in a file, and say what is wrong with it."""
    try:
        # Nodes, since they know their lines. Not the loader in C: where they nest deeply it ends the process.
        root = yaml.compose(file.read_bytes(), Loader=yaml.SafeLoader)
    except OSError as error:
        yield f"{file} cannot be read: {error.strerror}."
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        yield f"{file}{line}: not valid YAML: {error.problem}."
    except (yaml.YAMLError, RecursionError):
        yield f"{file}: not valid YAML in UTF-8."
    else:
        if isinstance(root, yaml.MappingNode):
            yield from _add(file, root, content.dataset_types, content.storage_classes)
        elif root is not None:
            yield f"{file}, line {root.start_mark.line + 1}: must hold `name: text` lines."


def _add(file: Path, mapping: yaml.MappingNode, texts: _Texts, classes: _Texts | None) -> Iterator[str]:
    for key, value in mapping.value:
        place = f"{file}, line {key.start_mark.line + 1}"
        if not isinstance(key, yaml.ScalarNode):
            yield f"{place}: must be a name and a text."
        elif classes is not None and key.value == STORAGE_CLASSES and isinstance(value, yaml.MappingNode):
            yield from _add(file, value, classes, None)
        elif not isinstance(value, yaml.ScalarNode) or value.tag != "tag:yaml.org,2002:str" or not value.value.strip():
            yield f"{place}: the description of '{key.value}' must be a text."
        elif not texts.add(key.value, value.value.strip()):
            yield f"{place}: '{key.value}' has a second description, which is used."
