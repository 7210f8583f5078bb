"""The datastores of a repository: one, or a chain that may hold chains."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import quote

from butlerql.plain import plain
from butlerql.storage.config import BUTLER_ROOT, RepositoryConfig
from butlerql.storage.errors import InvalidConfigError, UnknownDatastoreError, UnsupportedRepositoryError
from butlerql.storage.locations import ArtifactRoot, absolute_uri, local_path

__all__ = ["ChainedDatastore", "Datastore", "FileDatastore", "InMemoryDatastore", "build_datastores"]

_SCHEMES = frozenset({"dav", "davs", "file", "gs", "http", "https", "s3"})


@dataclass(frozen=True, eq=False)
class Datastore:
    """A datastore. Compared by identity: two of one repository may have the same name."""

    name: str
    """As in the registry's tables."""

    parent: ChainedDatastore | None = field(default=None, init=False, repr=False)

    @property
    def is_ephemeral(self) -> bool:
        """Whether what it holds dies with the process that put it there."""
        raise NotImplementedError

    @property
    def leaves(self) -> Iterator[FileDatastore | InMemoryDatastore]:
        """The datastores that hold something themselves, in the order in which they are asked."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[Datastore]:
        """Iterate over this datastore and all below it, depth first."""
        yield self

    def find(self, name: str) -> Datastore:
        """Return this datastore, or one below it, by name.

        Raises
        ------
        UnknownDatastoreError
            Raised if there is none of that name.
        """
        name = plain(name)
        for datastore in self:
            if datastore.name == name:
                return datastore
        known = ", ".join(f"'{datastore.name}'" for datastore in self)
        raise UnknownDatastoreError(f"There is no datastore '{name}'. There are: {known}.")


@dataclass(frozen=True, eq=False)
class FileDatastore(Datastore):
    """Files below a root, or anywhere for those that were ingested in place."""

    root: str
    """Absolute path of the root directory, or URI if it is not local."""

    root_uri: str
    """Absolute URI of the root, quoted, with a slash at its end."""

    records_table: str
    """Table of the registry's database that lists the files."""

    checksum: bool
    """Whether checksums are recorded."""

    trust_get_request: bool
    """Whether files without a record are looked for by their expected name."""

    @property
    def is_ephemeral(self) -> bool:
        return False

    @cached_property
    def artifacts(self) -> ArtifactRoot:
        """What turns the paths of its records into URIs."""
        return ArtifactRoot(self.root_uri)

    @property
    def leaves(self) -> Iterator[FileDatastore | InMemoryDatastore]:
        yield self


@dataclass(frozen=True, eq=False)
class InMemoryDatastore(Datastore):
    """Objects in the memory of another process: there is never anything to see from here."""

    @property
    def is_ephemeral(self) -> bool:
        return True

    @property
    def leaves(self) -> Iterator[FileDatastore | InMemoryDatastore]:
        yield self


@dataclass(frozen=True, eq=False)
class ChainedDatastore(Datastore):
    """Several datastores that are asked in order."""

    children: tuple[Datastore, ...]

    @property
    def is_ephemeral(self) -> bool:
        return all(child.is_ephemeral for child in self.children)

    @property
    def leaves(self) -> Iterator[FileDatastore | InMemoryDatastore]:
        for child in self.children:
            yield from child.leaves

    def __iter__(self) -> Iterator[Datastore]:
        yield self
        for child in self.children:
            yield from child


def build_datastores(config: RepositoryConfig) -> Datastore:
    """Make the tree of datastores that a configuration describes.

    Raises
    ------
    InvalidConfigError
        Raised if a datastore lacks a root or a table, or has one of the wrong kind.
    UnsupportedRepositoryError
        Raised if a root is reached by an unknown scheme.
    """
    return _build(config.datastore, config)


def _build(section: Mapping[str, Any], config: RepositoryConfig) -> Datastore:
    kind = str(section["cls"]).rpartition(".")[2]
    if kind == "InMemoryDatastore":
        return InMemoryDatastore(f"InMemoryDatastore@{time.time()}")
    if kind == "ChainedDatastore":
        children = tuple(_build(child, config) for child in section["datastores"])
        # With commas alone between the children's names, as the Butler has it.
        chain = ChainedDatastore(f"ChainedDatastore[{','.join(child.name for child in children)}]", children)
        for child in children:
            object.__setattr__(child, "parent", chain)
        return chain
    return _build_file_datastore(section, config)


def _build_file_datastore(section: Mapping[str, Any], config: RepositoryConfig) -> FileDatastore:
    root = section["root"]
    records = section.get("records")
    table = records.get("table") if isinstance(records, Mapping) else None
    if not isinstance(root, str) or not root:
        raise InvalidConfigError(f"{config.file}: the `root` of a datastore must be a path or URI.")
    if not isinstance(table, str) or not table:
        raise InvalidConfigError(f"{config.file}: the datastore at {root} needs the name of its `records.table`.")
    # The name keeps <butlerRoot>: repositories can be moved.
    name = section.get("name", f"FileDatastore@{root}")
    if not isinstance(name, str):
        raise InvalidConfigError(f"{config.file}: the `name` of the datastore at {root} must be a text.")
    uri = _root_uri(root, config.root)
    scheme = uri.partition(":")[0]
    if scheme not in _SCHEMES:
        raise UnsupportedRepositoryError(
            f"{config.file}: the datastore at {root} is reached by the unknown '{scheme}'."
        )
    uri = uri if uri.endswith("/") else uri + "/"
    path = local_path(uri)
    return FileDatastore(
        name=name,
        root=uri if path is None else path.rstrip("/") or "/",
        root_uri=uri,
        records_table=table,
        checksum=bool(section.get("checksum", False)),
        trust_get_request=bool(section.get("trust_get_request", False)),
    )


def _root_uri(root: str, butler_root: str) -> str:
    """Put the repository's root in; a local one is a path already, whatever characters it holds."""
    if root.startswith(BUTLER_ROOT) and butler_root.startswith("/"):
        path = os.path.normpath(butler_root + os.path.expandvars(root.removeprefix(BUTLER_ROOT)))
        return f"file://{quote(path)}"
    return absolute_uri(root.replace(BUTLER_ROOT, butler_root))
