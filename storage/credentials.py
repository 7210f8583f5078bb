"""User names and passwords for registries, from the list that LSST programs keep.

The rules are those of ``lsst.utils.db_auth``. No message shows a password.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import sqlalchemy as sa
import yaml

from butlerql.storage.errors import InvalidConfigError

__all__ = ["with_credentials"]

_INLINE = "LSST_DB_AUTH_CREDENTIALS"
_FILE = "LSST_DB_AUTH"
_DEFAULT_FILE = "~/.lsst/db-auth.yaml"


def with_credentials(url: sa.URL) -> sa.URL:
    """Fill in user name and password from the first entry that fits the database's URL.

    A user name in the URL is kept, a password in it gives way. Without host or database, list or fitting entry, the URL
    comes back as it is, and the driver's own means (``.pgpass``, ``PGPASSWORD``) apply.

    Raises
    ------
    InvalidConfigError
        Raised if the file may be read by others, or if the list is malformed up to the entry that fits.
    """
    if url.host is None or url.database is None:
        return url
    source, entries = _read_list()
    for number, entry in enumerate(entries, start=1):
        place = f"{source}, entry {number}"
        if not isinstance(entry, dict) or not isinstance(entry.get("url"), str):
            raise InvalidConfigError(f"{place}: needs a mapping with `url` and `password`.")
        if _fits(entry["url"], url, place):
            username, password = url.username or entry.get("username"), entry.get("password")
            if not isinstance(password, str | int) or not isinstance(username, str | None):
                raise InvalidConfigError(f"{place}: `password` and `username` must be texts; put them in quotes.")
            return url.set(username=username, password=str(password))
    return url


def _fits(pattern: str, url: sa.URL, place: str) -> bool:
    """Compare an entry's URL; of host and database it may hold globs, what it leaves out is not compared."""
    wanted = urlparse(pattern)
    if wanted.scheme == "" or "+" in wanted.scheme:
        raise InvalidConfigError(f"{place}: `url` must begin with a dialect alone, like postgresql://.")
    if wanted.scheme != url.get_backend_name():
        return False
    if wanted.path not in {"", "/"} and not fnmatch(url.database or "", wanted.path.lstrip("/")):
        return False
    if wanted.username is not None and wanted.username != url.username:
        return False
    if wanted.hostname is None:
        raise InvalidConfigError(f"{place}: `url` has no host.")
    if not fnmatch(url.host or "", wanted.hostname):
        return False
    try:
        return wanted.port in {None, url.port}
    except ValueError:
        raise InvalidConfigError(f"{place}: the port in `url` is no number.") from None


def _read_list() -> tuple[str, Iterable[Any]]:
    """Return where the list comes from, for messages, and its entries."""
    if text := os.environ.get(_INLINE):
        source = f"The environment variable {_INLINE}"
        try:
            entries = json.loads(text)
        except json.JSONDecodeError:
            raise InvalidConfigError(f"{source} does not hold valid JSON.") from None
    else:
        path = Path(os.environ.get(_FILE, _DEFAULT_FILE)).expanduser()
        source = f"The credentials file {path}"
        if not path.is_file():
            return source, []
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise InvalidConfigError(f"{source} may be read by others. Restrict it: chmod 600 {path}")
        try:
            entries = yaml.safe_load(path.read_bytes())
        except OSError as error:
            raise InvalidConfigError(f"{source} cannot be read: {error.strerror}.") from error
        except yaml.YAMLError:
            raise InvalidConfigError(f"{source} does not hold valid YAML.") from None
    if not isinstance(entries, list):
        raise InvalidConfigError(f"{source} must hold a list.")
    return source, entries
