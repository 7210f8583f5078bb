"""The configuration of a repository: butler.yaml over the defaults, as the Butler merges them.

Only what a reader needs is known here: the registry's database, datastores, storage classes, renamed dataset types.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError

from butlerql.storage.config_files import merged, read_mapping
from butlerql.storage.credentials import with_credentials
from butlerql.storage.errors import InvalidConfigError, NotARepositoryError, UnsupportedRepositoryError
from butlerql.storage.locations import absolute_uri, local_path
from butlerql.storage.repository_index import read_repository_index

__all__ = ["BUTLER_ROOT", "DatasetTypeOverride", "RepositoryConfig", "postgresql_url"]

BUTLER_ROOT = "<butlerRoot>"
"""Stands for the repository's root in `registry.db` and in the datastores' `root`, and nowhere else."""

_SEARCH_PATH = "DAF_BUTLER_CONFIG_PATH"

_REGISTRY: Mapping[str, Any] = {"db": f"sqlite:///{BUTLER_ROOT}/gen3.sqlite3"}
_DATASTORE: Mapping[str, Any] = {"cls": "lsst.daf.butler.datastores.fileDatastore.FileDatastore"}
_FILE_DATASTORE: Mapping[str, Any] = {
    "root": f"{BUTLER_ROOT}/datastore",
    "records": {"table": "file_datastore_records"},
    **_DATASTORE,
}
_DATASTORE_FILES = {
    "FileDatastore": "datastores/fileDatastore.yaml",
    "InMemoryDatastore": "datastores/inMemoryDatastore.yaml",
    "ChainedDatastore": "datastores/chainedDatastore.yaml",
}
# Parameters of a PostgreSQL URL that only libpq knows and that change nothing for us.
_LIBPQ_ONLY = frozenset({"application_name", "client_encoding", "connect_timeout", "fallback_application_name"})
_ASYNCPG = frozenset({"host", "passfile", "port", "service", "servicefile", "ssl", "target_session_attrs"})


@dataclass(frozen=True, slots=True)
class DatasetTypeOverride:
    """How this repository's configuration shows a dataset type differently from the registry."""

    rename: str | None
    storage_class: str | None


@dataclass(frozen=True, slots=True)
class RepositoryConfig:
    """What a repository's configuration says. Make one with `load`."""

    name: str
    """Label in the repository index if it was opened by one, else the name of its directory."""

    root: str
    """Local path, or URI, that ``<butlerRoot>`` stands for."""

    file: str
    """Path of the butler.yaml."""

    registry_url: str = field(repr=False)
    """SQLAlchemy URL with an asynchronous driver; holds the password."""

    namespace: str | None
    """Schema of the registry's tables on PostgreSQL; None is the connection's current one."""

    managers: Mapping[str, str]
    """Class paths by role, where the configuration names them; the registry itself has the last word."""

    dataset_type_overrides: Mapping[str, DatasetTypeOverride]
    """By the name in the registry."""

    storage_classes: Mapping[str, Any] = field(repr=False)
    """Definitions beside the Butler's own, in its syntax."""

    datastore: Mapping[str, Any] = field(repr=False)
    """The tree of datastores, each merged with the defaults of its class."""

    @classmethod
    def load(cls, uri: str) -> Self:
        """Read the configuration of a repository.

        Parameters
        ----------
        uri
            A label of the repository index, which comes first; or a directory that holds butler.yaml, or a file that
            ends in ``.yaml`` or ``.json``, or a ``file`` URI of either.

        Raises
        ------
        NotARepositoryError
            Raised if there is nothing of the kind.
        InvalidConfigError
            Raised if the configuration cannot be understood.
        UnsupportedRepositoryError
            Raised for what the Butler can open and this program cannot.
        """
        index, trouble = _read_index()
        file = _find_file(index.get(uri, uri))
        try:
            os.stat(file)
            document = read_mapping(file)
        except (FileNotFoundError, NotADirectoryError):
            known = (
                f"Known labels: {', '.join(sorted(index))}." if index else trouble or "There is no repository index."
            )
            raise NotARepositoryError(f"'{uri}' is no Butler repository: {file} does not exist. {known}") from None
        except OSError as error:
            raise NotARepositoryError(f"'{uri}' cannot be opened: {file}: {error.strerror}.") from error
        _check_kind(document, file)
        root = _root(document, file)
        registry = merged(_defaults("registry.yaml", "registry", _REGISTRY), _section(document, "registry", file))
        managers = _mapping(registry, "managers", file, "registry")
        namespace = registry.get("namespace")
        if not isinstance(namespace, str | None):
            raise _wrong(file, "registry.namespace", "must be a name")
        return cls(
            name=uri if uri in index else Path(root).name or root,
            root=root,
            file=str(file),
            registry_url=_registry_url(registry, root, file),
            namespace=namespace,
            managers=_manager_classes(managers, file),
            dataset_type_overrides=_overrides(managers, file),
            storage_classes=merged(
                _defaults("storageClasses.yaml", "storageClasses", {}), _section(document, "storageClasses", file)
            ),
            datastore=_datastore(_section(document, "datastore", file), file),
        )


def _wrong(file: Path, key: str, problem: str) -> InvalidConfigError:
    return InvalidConfigError(f"{file}: `{key}` {problem}.")


def _read_index() -> tuple[Mapping[str, str], str]:
    """Return the index, and why it is empty if it cannot be read: a path may still be meant."""
    try:
        return read_repository_index(), ""
    except InvalidConfigError as error:
        return {}, str(error)


def _find_file(target: str) -> Path:
    if "\0" in target:
        raise NotARepositoryError("A name with a null character is no Butler repository.")
    path = local_path(uri := absolute_uri(target))
    if path is None:
        scheme = uri.partition(":")[0]
        raise UnsupportedRepositoryError(
            f"'{target}' cannot be opened: configurations are read from local files only, not by {scheme}. "
            "Copy its butler.yaml here and add the key `root` with the repository's URI."
        )
    return Path(path, "butler.yaml") if path.endswith("/") or os.path.isdir(path) else Path(path)


def _root(document: Mapping[Any, Any], file: Path) -> str:
    root = document.get("root")
    if root is None:
        return str(file.parent)
    if not isinstance(root, str) or not root:
        raise _wrong(file, "root", "must be a path or URI")
    uri = absolute_uri(root)
    return (local_path(uri) or uri).rstrip("/") or "/"


def _check_kind(document: Mapping[Any, Any], file: Path) -> None:
    kind = document.get("cls")
    last = str(kind).rpartition(".")[2]
    if last == "RemoteButler":
        raise UnsupportedRepositoryError(
            f"{file} describes a client of a remote Butler server. Give the repository that the server itself reads."
        )
    if kind is not None and last != "DirectButler":
        raise UnsupportedRepositoryError(f"{file}: `cls` names an unknown kind of Butler, {last}.")


def _section(document: Mapping[Any, Any], component: str, file: Path) -> Mapping[Any, Any]:
    """Return a component's part of a document; included files may name the component a second time."""
    section = document.get(component, {})
    if isinstance(section, Mapping) and component in section:
        section = section[component]
    if not isinstance(section, Mapping):
        raise _wrong(file, component, "must be a mapping")
    return section


def _defaults(name: str, component: str, own: Mapping[Any, Any]) -> dict[Any, Any]:
    """Lay the files of that name in the search path over our own defaults; the first directory has the last word."""
    result = dict(own)
    path = os.environ.get(_SEARCH_PATH)
    for directory in reversed(path.split(os.pathsep) if path is not None else []):
        folder = local_path(absolute_uri(directory))
        file = Path(folder, name) if folder else None
        if file and os.path.exists(file):
            document = read_mapping(file)
            result = merged(result, _section(document, component, file) if component in document else document)
    return result


def _mapping(parent: Mapping[Any, Any], key: str, file: Path, path: str) -> Mapping[Any, Any]:
    value = parent.get(key, {})
    if not isinstance(value, Mapping):
        raise _wrong(file, f"{path}.{key}", "must be a mapping")
    return value


def _manager_classes(managers: Mapping[Any, Any], file: Path) -> dict[str, str]:
    classes = {}
    for role, value in managers.items():
        name = value.get("cls") if isinstance(value, Mapping) else value
        if name is None and not isinstance(value, Mapping):
            continue
        if not isinstance(name, str):
            raise _wrong(file, f"registry.managers.{role}", "must name a class, alone or as its key `cls`")
        classes[str(role)] = name
    return classes


def _overrides(managers: Mapping[Any, Any], file: Path) -> dict[str, DatasetTypeOverride]:
    datasets = managers.get("datasets")
    if not isinstance(datasets, Mapping):
        return {}
    path = "registry.managers.datasets.config"
    config = datasets.get("config") or {}
    if not isinstance(config, Mapping):
        raise _wrong(file, path, "must be a mapping")
    result = {}
    for name, value in _mapping(config, "overrides", file, path).items():
        if not isinstance(value, Mapping):
            raise _wrong(file, f"{path}.overrides.{name}", "must be a mapping")
        rename, storage_class = value.get("rename"), value.get("storageClass")
        if not isinstance(rename, str | None) or not isinstance(storage_class, str | None):
            raise _wrong(file, f"{path}.overrides.{name}", "may hold `rename` and `storageClass`, both names")
        result[str(name)] = DatasetTypeOverride(rename, storage_class)
    return result


def _datastore(section: Mapping[Any, Any], file: Path) -> dict[Any, Any]:
    """Merge a datastore's section with the defaults of its class, and so its children's."""
    result = _defaults("datastore.yaml", "datastore", _DATASTORE)
    kind = str(section.get("cls", result["cls"])).rpartition(".")[2]
    if kind not in _DATASTORE_FILES:
        raise UnsupportedRepositoryError(
            f"{file} configures a datastore of the class {kind}. Known are {', '.join(_DATASTORE_FILES)}."
        )
    if kind == "FileDatastore":
        result = merged(result, _FILE_DATASTORE)
    result = merged(result, _defaults(_DATASTORE_FILES[kind], "datastore", {}))
    result = merged(result, section)
    if kind == "ChainedDatastore":
        children = result.get("datastores")
        if not isinstance(children, list) or not all(isinstance(child, Mapping) for child in children):
            raise _wrong(file, "datastore.datastores", "must be a list of mappings")
        result["datastores"] = [
            _datastore(_section(child, "datastore", file) if "datastore" in child else child, file)
            for child in children
        ]
    return result


def _registry_url(registry: Mapping[Any, Any], root: str, file: Path) -> str:
    """Complete the database's URL and give it an asynchronous driver."""
    db = registry["db"]
    try:
        url = sa.make_url(db) if isinstance(db, str) else None
    except ArgumentError:
        url = None
    if url is None:
        raise _wrong(file, "registry.db", "is no database URL")
    url = url.set(
        username=url.username or _text(registry, "username", file),
        password=url.password or _text(registry, "password", file),
        host=url.host or _text(registry, "host", file),
        port=url.port or _port(registry, file),
        database=url.database or _text(registry, "database", file),
    )
    backend = url.get_backend_name()
    if backend == "sqlite":
        return _sqlite_url(url, root, file)
    if backend not in {"postgresql", "postgres"}:
        raise UnsupportedRepositoryError(f"{file}: `registry.db` names {backend}; known are sqlite and postgresql.")
    return postgresql_url(url, f"{file}: `registry.db`")


def postgresql_url(url: sa.URL, source: str) -> str:
    """Complete a URL of a PostgreSQL database by what is known of users, and give it an asynchronous driver.

    Parameters
    ----------
    url
        As PostgreSQL's own clients take it.
    source
        Where it is written, for messages.

    Raises
    ------
    InvalidConfigError
        Raised if the list of credentials is malformed.
    UnsupportedRepositoryError
        Raised for a parameter that is not known here.
    """
    url = with_credentials(url.set(drivername="postgresql"))
    query = {"ssl" if key == "sslmode" else key: value for key, value in url.query.items() if key not in _LIBPQ_ONLY}
    if unknown := sorted(query.keys() - _ASYNCPG):
        raise UnsupportedRepositoryError(
            f"{source} has the parameter {unknown[0]}, which is not supported. "
            "Use the environment variables of PostgreSQL clients (PGSSLROOTCERT and the like) instead."
        )
    return url.set(drivername="postgresql+asyncpg", query=query).render_as_string(hide_password=False)


def _text(registry: Mapping[Any, Any], key: str, file: Path) -> str | None:
    value = registry.get(key)
    if key == "password" and isinstance(value, int):
        return str(value)
    if not isinstance(value, str | None):
        raise _wrong(file, f"registry.{key}", "must be a text; put it in quotes")
    return value


def _port(registry: Mapping[Any, Any], file: Path) -> int | None:
    value = registry.get("port")
    if value is None:
        return None
    if not str(value).isdigit():
        raise _wrong(file, "registry.port", "must be a number")
    return int(value)


def _sqlite_url(url: sa.URL, root: str, file: Path) -> str:
    if not url.database:
        raise _wrong(file, "registry.db", "must name a file; a database in memory has no other readers")
    if BUTLER_ROOT in url.database and not root.startswith("/"):
        raise _wrong(file, "registry.db", f"cannot be below {root}: SQLite needs a local file")
    path = os.path.abspath(url.database.replace(BUTLER_ROOT, root))
    return sa.URL.create("sqlite+aiosqlite", database=path).render_as_string(hide_password=False)
