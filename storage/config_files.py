"""Configuration files: reading YAML and JSON with the Butler's two kinds of include, and laying one over another.

Messages name the file and the line, never what stands there: it may be a password.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from butlerql.storage.errors import InvalidConfigError
from butlerql.storage.locations import absolute_uri, local_path

__all__ = ["merged", "read_mapping"]

_INCLUDES = "includeConfigs"
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def merged(under: Mapping[Any, Any], over: Mapping[Any, Any]) -> dict[Any, Any]:
    """Lay one mapping over another: mappings are merged key by key, anything else (lists too) is replaced."""
    result = dict(under)
    for key, value in over.items():
        below = result.get(key)
        if isinstance(value, Mapping):
            result[key] = merged(below if isinstance(below, Mapping) else {}, value)
        else:
            result[key] = value
    return result


def read_mapping(path: Path) -> dict[Any, Any]:
    """Read a configuration file whose name ends in ``.yaml`` or ``.json``, with everything that it includes.

    Raises
    ------
    FileNotFoundError
        Raised if there is no such file (an included file that is missing is an `InvalidConfigError`).
    InvalidConfigError
        Raised if it cannot be read or understood, or is not a mapping.
    """
    return _read_mapping(path, ())


def _read_mapping(path: Path, including: tuple[Path, ...]) -> dict[Any, Any]:
    if path in including:
        raise InvalidConfigError(f"{path} includes itself. Remove one of the includes.")
    if path.suffix not in {".yaml", ".json"}:
        raise InvalidConfigError(f"{path} is no configuration: its name must end in .yaml or .json.")
    including = (*including, path)
    content = _read_yaml(path, including) if path.suffix == ".yaml" else _read_json(path)
    if content is None:
        content = {}
    if not isinstance(content, dict):
        raise InvalidConfigError(f"{path} must hold a mapping of keys to values.")
    expanded: dict[Any, Any] = _expanded(content, path, including)
    return expanded


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise InvalidConfigError(f"{path} cannot be read: {error.strerror}.") from error


def _read_json(path: Path) -> Any:
    try:
        return json.loads(_read_bytes(path))
    except json.JSONDecodeError as error:
        raise InvalidConfigError(f"{path}, line {error.lineno}, column {error.colno}: not valid JSON.") from None
    except UnicodeDecodeError:
        raise InvalidConfigError(f"{path} is not text in UTF-8.") from None


def _read_yaml(path: Path, including: tuple[Path, ...]) -> Any:
    """Read YAML whose ``!include`` tags name other YAML files."""

    class Loader(_Loader):  # type: ignore[misc]
        """Knows the directory that includes are relative to."""

    def include(loader: Any, node: yaml.Node) -> Any:
        if isinstance(node, yaml.SequenceNode):
            return [included(name) for name in loader.construct_sequence(node)]
        if isinstance(node, yaml.MappingNode):
            return {key: included(name) for key, name in loader.construct_mapping(node).items()}
        return included(loader.construct_scalar(node))

    def included(name: Any) -> Any:
        if not isinstance(name, str):
            raise InvalidConfigError(f"{path}: !include needs names of files.")
        file = _local(absolute_uri(name, directory=str(path.parent)), path)
        if file in including:
            raise InvalidConfigError(f"{file} includes itself. Remove one of the includes.")
        try:
            return _read_yaml(file, (*including, file))
        except FileNotFoundError:
            raise InvalidConfigError(f"{path} includes {file}, which does not exist.") from None

    Loader.add_constructor("!include", include)
    data = _read_bytes(path)
    try:
        return yaml.load(data, Loader)  # noqa: S506 - a safe loader and one tag more
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise InvalidConfigError(f"{path}{where}: not valid YAML.") from None
    except (yaml.YAMLError, ValueError):
        raise InvalidConfigError(f"{path}: not valid YAML.") from None


def _expanded(node: Any, path: Path, including: tuple[Path, ...]) -> Any:
    """Replace each ``includeConfigs`` key by what its files hold, under what stands beside it; outer ones first."""
    if isinstance(node, list):
        return [_expanded(item, path, including) for item in node]
    if not isinstance(node, dict):
        return node
    if _INCLUDES in node:
        names = node[_INCLUDES]
        below: dict[Any, Any] = {}
        for name in names if isinstance(names, list) else [names]:
            below = merged(below, _read_mapping(_find(name, path), including))
        node = merged(below, {key: value for key, value in node.items() if key != _INCLUDES})
    return {key: _expanded(value, path, including) for key, value in node.items()}


def _find(name: Any, path: Path) -> Path:
    """Find a file of ``includeConfigs``: relative to the current directory, else to the including file."""
    if not isinstance(name, str):
        raise InvalidConfigError(f"{path}: `{_INCLUDES}` needs names of files.")
    name = os.path.expandvars(name)
    for directory in (os.getcwd(), str(path.parent)):
        file = _local(absolute_uri(name, directory=directory), path)
        if os.path.exists(file):
            return file
    raise InvalidConfigError(f"{path} includes {file}, which does not exist.")


def _local(uri: str, path: Path) -> Path:
    file = local_path(uri)
    if file is None:
        raise InvalidConfigError(f"{path} includes a file that is not local. Copy it beside the configuration.")
    return Path(file)
