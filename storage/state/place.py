"""Where the own state of a repository is."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError

from butlerql.storage.config import RepositoryConfig, postgresql_url
from butlerql.storage.errors import InvalidConfigError

__all__ = ["StatePlace"]

_FILE = "butlerql.sqlite3"
_SCHEMA = "butlerql"
_LONGEST_NAME = 63


@dataclass(frozen=True, slots=True)
class StatePlace:
    """A file of SQLite, or a schema in a database of PostgreSQL. Make one with `find`."""

    url: str = field(repr=False)
    """SQLAlchemy URL with an asynchronous driver; holds the password."""

    schema: str | None
    """None on SQLite."""

    registry: str
    """Whose it is. Beside the registry, not more than tells it from others there, so that both can be moved."""

    with_registry: bool = False
    """Whether one transaction can change both: it is in the registry's database, of PostgreSQL, for the same user."""

    @classmethod
    def find(cls, config: RepositoryConfig, setting: str | None = None) -> StatePlace:
        """Find the place.

        Parameters
        ----------
        config
            The repository's.
        setting
            Path of a file, or URL of a PostgreSQL database, in which ``{name}`` stands for the repository's name; None
            is beside the registry.

        Raises
        ------
        InvalidConfigError
            Raised if the setting is neither.
        """
        registry = sa.make_url(config.registry_url)
        database = registry.database or ""
        on_sqlite = registry.get_backend_name() == "sqlite"
        if setting is None:
            if on_sqlite:
                directory, name = os.path.split(database)
                return cls(_sqlite_url(os.path.join(directory, _FILE)), None, name)
            return cls(config.registry_url, _schema(config.namespace), config.namespace or "", with_registry=True)
        name = database if on_sqlite else ".".join(filter(None, (database, config.namespace)))
        setting = setting.replace("{name}", config.name)
        if "://" not in setting:
            return cls(_sqlite_url(os.path.abspath(os.path.expanduser(setting))), None, name)
        try:
            url = sa.make_url(setting)
        except ArgumentError:
            url = None
        if url is None or url.get_backend_name() not in {"postgresql", "postgres"}:
            raise InvalidConfigError("The setting `state` must be a path, or a URL that begins with postgresql://.")
        own = postgresql_url(url, "The setting `state`")
        same = not on_sqlite and _connected_to(sa.make_url(own)) == _connected_to(registry)
        return cls(own, _schema(config.namespace), name, with_registry=same)

    def __str__(self) -> str:
        url = sa.make_url(self.url)
        if self.schema is None:
            return str(url.database)
        return f"the schema '{self.schema}' of the PostgreSQL database '{url.database}'"


def _sqlite_url(path: str) -> str:
    return sa.URL.create("sqlite+aiosqlite", database=path).render_as_string(hide_password=False)


def _connected_to(url: sa.URL) -> tuple[object, ...]:
    return url.host, url.port, url.database, url.username, url.query


def _schema(namespace: str | None) -> str:
    """Name the schema: registries in several schemas of one database have each their own."""
    if namespace is None:
        return _SCHEMA
    name = f"{_SCHEMA}_{namespace}"
    if len(name.encode()) <= _LONGEST_NAME:
        return name
    # PostgreSQL would cut it short.
    return f"{_SCHEMA}_{hashlib.sha256(namespace.encode()).hexdigest()[:32]}"
