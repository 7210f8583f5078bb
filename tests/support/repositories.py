"""Real Butler repositories for the tests, made by the real Butler and copied for each who wants to write."""

from __future__ import annotations

import itertools
import shutil
import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import yaml
from lsst.daf.butler import Butler, Config
from sqlalchemy import Engine, event

from tests.support.postgres import Server

__all__ = ["Content", "Dialect", "Layout", "RealRepository", "Repositories"]

Dialect = Literal["sqlite", "postgresql"]

_MANAGERS = "lsst.daf.butler.registry."
_COLLECTIONS = {
    "synthInt": _MANAGERS + "collections.synthIntKey.SynthIntKeyCollectionManager",
    "nameKey": _MANAGERS + "collections.nameKey.NameKeyCollectionManager",
}
_DATASETS = _MANAGERS + "datasets.byDimensions.ByDimensionsDatasetRecordStorageManagerUUID"
UNIVERSES = "resource://lsst.daf.butler/configs/old_dimensions/daf_butler_universe{}.yaml"

# Of generated ones: each is a database on disk, and is soon built again.
_KEPT = 32


@event.listens_for(Engine, "connect")
def _do_not_wait_for_the_disk(link: Any, record: Any) -> None:
    """Let the real Butler's commits on SQLite skip their fsync, which is most of what building costs."""
    if isinstance(link, sqlite3.Connection):
        link.execute("PRAGMA synchronous = OFF")


@dataclass(frozen=True)
class Layout:
    """How a repository lays out its registry."""

    dialect: Dialect = "sqlite"
    collections: Literal["synthInt", "nameKey"] = "synthInt"
    datasets: Literal["2.0.0", "1.0.0"] = "2.0.0"
    universe: int | None = None
    """Version of the dimension universe, 0 to 8; `None` is the Butler's own."""
    icu_locale: str | None = None
    """PostgreSQL only: compare strings by this locale, not by their bytes."""
    namespace: str | None = None
    """PostgreSQL only: put the tables into this schema."""

    def __str__(self) -> str:
        parts = [self.dialect]
        if (self.collections, self.datasets) != ("synthInt", "2.0.0"):
            parts += [self.collections, self.datasets]
        if self.universe is not None:
            parts.append(f"universe{self.universe}")
        parts += [extra for extra in (self.icu_locale, self.namespace) if extra is not None]
        return "-".join(parts)


@dataclass(frozen=True)
class Content:
    """What a repository holds.

    Two contents of one name are the same content: the first that is asked for is built, and kept.
    """

    name: str
    fill: Callable[[Butler, Path], None] = field(compare=False)
    """Fills an empty repository. The directory given is for files outside of the datastores."""
    config: Callable[[], dict[str, Any]] = field(default=dict, compare=False)
    """What its ``butler.yaml`` says beside the registry; with a base, the base's is used."""
    base: Content | None = field(default=None, compare=False)
    """The content to start from, instead of an empty repository."""


class RealRepository:
    """A repository on disk, with the real Butler to ask about it.

    Parameters
    ----------
    directory
        Its root.
    content, layout
        What it is a copy of.
    database
        Name of its PostgreSQL database; `None` on SQLite.
    server
        Where that database is.
    """

    def __init__(
        self, directory: Path, content: Content, layout: Layout, database: str | None, server: Server | None
    ) -> None:
        self.directory = directory
        self.content = content
        self.layout = layout
        self.database = database
        self.server = server
        self._opened: list[Butler] = []

    @property
    def uri(self) -> str:
        """Path of the root."""
        return str(self.directory)

    @property
    def dialect(self) -> Dialect:
        """``"sqlite"`` or ``"postgresql"``."""
        return self.layout.dialect

    @property
    def sqlite_file(self) -> Path:
        """The registry's file; SQLite only."""
        return self.directory / "gen3.sqlite3"

    @cached_property
    def butler(self) -> Butler:
        """A real Butler that reads."""
        return self.open()

    def open(self, *, writeable: bool = False, **options: Any) -> Butler:
        """Open a further real Butler; it is closed with this repository."""
        butler = Butler.from_config(self.uri, writeable=writeable, **options)
        self._opened.append(butler)
        return butler

    def rewrite_config(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Let ``change`` alter the mapping that ``butler.yaml`` holds."""
        path = self.directory / "butler.yaml"
        config = yaml.safe_load(path.read_text())
        change(config)
        path.write_text(yaml.safe_dump(config))

    def close(self) -> None:
        """Close every Butler opened here."""
        for butler in self._opened:
            butler.close()
        self._opened.clear()
        self.__dict__.pop("butler", None)

    def remove(self) -> None:
        """Close, and take the files and the database away."""
        self.close()
        shutil.rmtree(self.directory)
        if self.database is not None and self.server is not None:
            self.server.drop_database(self.database)

    def __repr__(self) -> str:
        return f"<{self.content.name} on {self.layout}>"


class Repositories:
    """All repositories of a test session.

    A content without a base is built once a layout, by the real Butler, and never used itself: what tests see are
    copies (of the directory, and ``CREATE DATABASE ... TEMPLATE``). A content with a base is filled into such a copy.

    Parameters
    ----------
    directory
        Where they are put.
    server
        Gives the PostgreSQL server; called only when one is needed.
    """

    def __init__(self, directory: Path, server: Callable[[], Server]) -> None:
        self._directory = directory
        self._server = server
        self._numbers = itertools.count()
        directory.mkdir(exist_ok=True)
        self._pristine: dict[tuple[Content, Layout], RealRepository] = {}
        self._shared: dict[tuple[Content, Layout], RealRepository] = {}
        self._generated: OrderedDict[tuple[Content, Layout], RealRepository] = OrderedDict()

    def shared(self, content: Content, layout: Layout) -> RealRepository:
        """Give the repository of this content that everybody reads; nobody may write to it.

        With a base it may be gone when some dozens of others have been asked for.
        """
        key = (content, layout)
        kept = self._shared if content.base is None else self._generated
        if key not in kept:
            kept[key] = self._produce(content, layout)
        if key in self._generated:
            self._generated.move_to_end(key)
            if len(self._generated) > _KEPT:
                self._generated.popitem(last=False)[1].remove()
        return kept[key]

    @contextmanager
    def private(self, content: Content, layout: Layout) -> Iterator[RealRepository]:
        """Give a repository of this content to write to, which goes with the block."""
        repository = self._produce(content, layout)
        try:
            yield repository
        finally:
            repository.remove()

    @contextmanager
    def copy(self, repository: RealRepository) -> Iterator[RealRepository]:
        """Give what a repository was when built, to write to, which goes with the block."""
        with self.private(repository.content, repository.layout) as copy:
            yield copy

    def close(self) -> None:
        """Close every Butler that was opened."""
        for repository in (*self._shared.values(), *self._generated.values()):
            repository.close()

    def _produce(self, content: Content, layout: Layout) -> RealRepository:
        repository = self._copy(self._build(content.base or content, layout), content)
        if content.base is not None:
            self._fill(repository)
        return repository

    def _build(self, content: Content, layout: Layout) -> RealRepository:
        key = (content, layout)
        if key not in self._pristine:
            repository = self._make(content, layout)
            self._fill(repository)
            self._pristine[key] = repository
        return self._pristine[key]

    def _fill(self, repository: RealRepository) -> None:
        outside = self._directory / f"outside{next(self._numbers)}"
        outside.mkdir()
        repository.content.fill(repository.open(writeable=True), outside)
        # What the test will read is on disk, and PostgreSQL copies no database that is open.
        repository.close()

    def _make(self, content: Content, layout: Layout) -> RealRepository:
        directory = self._place()
        registry: dict[str, Any] = {
            "managers": {
                "collections": _COLLECTIONS[layout.collections],
                "datasets": {"cls": _DATASETS, "schema_version": layout.datasets},
            }
        }
        server = database = None
        if layout.dialect == "postgresql":
            server = self._server()
            database = server.create_database(icu_locale=layout.icu_locale)
            registry["db"] = server.url(database)
            if layout.namespace is not None:
                registry["namespace"] = layout.namespace
        dimensions = None if layout.universe is None else UNIVERSES.format(layout.universe)
        Butler.makeRepo(
            directory, config=Config({"registry": registry, **content.config()}), dimensionConfig=dimensions
        )
        return RealRepository(directory, content, layout, database, server)

    def _copy(self, source: RealRepository, content: Content) -> RealRepository:
        directory = self._place()
        shutil.copytree(source.directory, directory, symlinks=True)
        database = None
        if source.database is not None and source.server is not None:
            database = source.server.create_database(template=source.database)
            config = directory / "butler.yaml"
            old, new = source.server.url(source.database), source.server.url(database)
            config.write_text(config.read_text().replace(old, new))
        return RealRepository(directory, content, source.layout, database, source.server)

    def _place(self) -> Path:
        return self._directory / f"repository{next(self._numbers)}"
