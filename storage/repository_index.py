"""The index that maps labels to repositories, from the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import yaml

from butlerql.storage.config_files import read_mapping
from butlerql.storage.errors import InvalidConfigError
from butlerql.storage.locations import absolute_uri, local_path

__all__ = ["read_repository_index"]

_FILE = "DAF_BUTLER_REPOSITORY_INDEX"
_INLINE = "DAF_BUTLER_REPOSITORIES"


def read_repository_index() -> Mapping[str, str]:
    """Read the index: label to path or URI of a repository or of its butler.yaml.

    ``DAF_BUTLER_REPOSITORY_INDEX`` names a YAML or JSON file, ``DAF_BUTLER_REPOSITORIES`` holds its text.

    Raises
    ------
    InvalidConfigError
        Raised if both variables are set, or if the index is missing or is not a flat mapping of text to text.
    """
    file, text = os.environ.get(_FILE), os.environ.get(_INLINE)
    if file and text:
        raise InvalidConfigError(f"Only one of the environment variables {_INLINE} and {_FILE} may be set.")
    if text:
        try:
            content = yaml.safe_load(text)
        except yaml.YAMLError:
            raise InvalidConfigError(f"The environment variable {_INLINE} does not hold valid YAML.") from None
        source = f"The environment variable {_INLINE}"
    elif file:
        path = local_path(absolute_uri(file))
        if path is None:
            raise InvalidConfigError(f"The repository index {file} is not a local file, which is not supported.")
        try:
            content = read_mapping(Path(path))
        except FileNotFoundError:
            raise InvalidConfigError(f"The repository index {path} ({_FILE}) does not exist.") from None
        source = f"The repository index {path}"
    else:
        return {}
    if not isinstance(content, dict) or not all(isinstance(part, str) for pair in content.items() for part in pair):
        raise InvalidConfigError(f"{source} must be a flat mapping of labels to repositories.")
    return content
