"""What datastores record about the files of datasets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, islice, repeat
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from butlerql.storage.datastores.tree import Datastore, FileDatastore
from butlerql.storage.dialect import UuidText, raw
from butlerql.storage.registry.dataset_types import DatasetType, by_keys

if TYPE_CHECKING:
    from butlerql.storage.registry.datasets import Dataset
    from butlerql.storage.repository import Repository
    from butlerql.storage.snapshot import Snapshot

__all__ = [
    "WHOLE",
    "Artifact",
    "RecordSource",
    "artifacts",
    "derived_components",
    "filenames",
    "is_whole",
    "record_sources",
    "record_tables",
    "recorded_rows",
    "recorded_tables",
    "stored",
]

# How the Butler writes "the whole dataset" where a component is part of a primary key; others have been seen.
WHOLE = frozenset({"__NULL_STRING__", "", None})
# Rows begin with the dataset's UUID. Positions, since it takes a row longer to find a column by its name.
_PATH, _COMPONENT = 1, 2
_WANTED = {"id": UuidText()}
_TABLES = "tables of records"
_FILE_COLUMNS = ("path", "component", "formatter", "storage_class", "file_size", "checksum")


class Artifact(NamedTuple):
    """A file or object that holds a dataset, or a component of one; several datasets may share one."""

    datastore: FileDatastore
    uri: str
    """Absolute, quoted; a member of a zip file is in the fragment."""

    path: str | None
    """Local path, None where the datastore is no file system."""

    component: str | None
    formatter: str
    """Class that reads it."""

    storage_class: str
    """Of the file: a component's own where a dataset is split."""

    size: int | None
    """Bytes; None if it was not recorded."""

    checksum: str | None


class RecordSource(NamedTuple):
    """The records of a datastore, in SQL."""

    datastore: FileDatastore
    table: sa.FromClause
    """Alias of its table."""

    own: sa.ColumnElement[bool]
    """Condition that a row is of this datastore, where several share the table; see `_shared_out`."""

    def holds(self, uuid: sa.ColumnElement[str]) -> sa.Exists:
        """Condition that there is a record of a dataset."""
        return sa.exists().where(self.table.c.dataset_id == uuid, self.own)


def record_tables(datastore: Datastore) -> list[str]:
    """Return the tables that hold the records of a datastore and of all below it, each once, in order."""
    return list(dict.fromkeys(leaf.records_table for leaf in datastore.leaves if isinstance(leaf, FileDatastore)))


async def recorded_tables(snapshot: Snapshot, datastore: Datastore) -> list[str]:
    """Return those of `record_tables` that exist: the Butler makes each when it first opens the repository to write."""
    known: frozenset[str] | None = snapshot.kept.get(_TABLES)
    if known is None:
        meta = sa.table("opaque_meta", sa.column("table_name"), schema=snapshot.repository.tables.location.schema)
        rows = await snapshot.rows(sa.select(meta.c.table_name))
        known = snapshot.kept.setdefault(_TABLES, frozenset(name for (name,) in rows))
    return [table for table in record_tables(datastore) if table in known]


async def record_sources(snapshot: Snapshot, datastore: Datastore | None = None) -> list[RecordSource]:
    """Say where the records of each file datastore are, in the order in which they are asked.

    Parameters
    ----------
    snapshot
        What to read from.
    datastore
        It, or what is below it; by default all of the repository.
    """
    repository = snapshot.repository
    wanted = set((datastore or repository.datastore).leaves)
    tables = await recorded_tables(snapshot, repository.datastore)
    leaves = [leaf for leaf in repository.datastore.leaves if isinstance(leaf, FileDatastore)]
    found = []
    for leaf in leaves:
        if leaf not in wanted or leaf.records_table not in tables:
            continue
        records = repository.tables.records(leaf.records_table).alias()
        sharing = [other for other in leaves if other.records_table == leaf.records_table]
        own: sa.ColumnElement[bool] = sa.true()
        if len(sharing) > 1:
            own = _has(repository, leaf, records)
            if leaf is sharing[0]:
                own = sa.or_(own, ~sa.or_(*(_has(repository, other, records) for other in sharing)))
        found.append(RecordSource(leaf, records, own))
    return found


def is_whole(component: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
    """Condition that a record is of a whole dataset, not of a component of it."""
    return sa.or_(component.is_(None), component.in_(sorted(filter(None, WHOLE))), component == "")


async def artifacts(
    snapshot: Snapshot, datasets: Sequence[Dataset], datastore: Datastore | None = None
) -> list[list[Artifact]]:
    """Return where the files of datasets are, by the records: one statement a table of records.

    Parameters
    ----------
    snapshot
        What to read from.
    datasets
        Any datasets, components and repetitions among them.
    datastore
        Where to look; by default in all of the repository.

    Returns
    -------
    list
        For each dataset the files of each datastore in turn, empty if none has it. A component has its own file where
        the dataset is split, else the one that it shares. A component that is derived from others has all files of a
        split dataset.
    """
    rows_by_leaf = await recorded_rows(snapshot, datasets, datastore or snapshot.repository.datastore, _FILE_COLUMNS)
    derived = await derived_components(snapshot, {dataset.dataset_type for dataset in datasets})
    result: list[list[Artifact]] = [[]] * len(datasets)
    for leaf, rows_by_id in rows_by_leaf:
        chosen = _chosen(datasets, rows_by_id, derived)
        made = _made(leaf, list(chain.from_iterable(chosen)))
        result = [[*found, *islice(made, len(rows))] for found, rows in zip(result, chosen, strict=True)]
    return result


def _made(leaf: FileDatastore, rows: Sequence[Any]) -> Iterator[Artifact]:
    """Make artifacts of rows, tens of thousands at a time: by columns, and without a call of Python each."""
    if not rows:
        return iter(())
    _, paths, components, formatters, classes, sizes, checksums = zip(*rows, strict=True)
    parts = [None if component in WHOLE else component for component in components]
    bytes_ = [None if size == -1 else size for size in sizes]
    places = leaf.artifacts.places(paths)
    columns = zip(repeat(leaf), *places, parts, formatters, classes, bytes_, checksums)
    return map(partial(tuple.__new__, Artifact), columns)


async def filenames(snapshot: Snapshot, datasets: Sequence[Dataset]) -> list[str | None]:
    """Return the local path, else the URI, of each dataset's file in the first datastore that has a record of it.

    None if no datastore has, and for a dataset that this datastore keeps split in several files. Nothing is looked at
    but the records, as in the Butler's ``getManyURIs``; its ``getURI`` passes over datastores whose file is gone.
    """
    rows_by_leaf = await recorded_rows(snapshot, datasets, snapshot.repository.datastore, ("path", "component"))
    derived = await derived_components(snapshot, {dataset.dataset_type for dataset in datasets})
    result: list[str | None] = [None] * len(datasets)
    left: Sequence[int] = range(len(datasets))
    for leaf, rows_by_id in rows_by_leaf:
        own = [index for index in left if datasets[index].uuid in rows_by_id]
        rows = _chosen([datasets[index] for index in own], rows_by_id, derived)
        single = [(index, some[0][_PATH]) for index, some in zip(own, rows, strict=True) if len(some) == 1]
        uris, paths = leaf.artifacts.places([path for _, path in single])
        for (index, _), uri, path in zip(single, uris, paths, strict=True):
            result[index] = uri if path is None else path
        left = sorted(set(left).difference(own))
    return result


async def stored(snapshot: Snapshot, datasets: Sequence[Dataset], datastore: Datastore | None = None) -> list[bool]:
    """Tell of each dataset whether a datastore (by default any) has a record of it; of a component, of its parent."""
    rows_by_leaf = await recorded_rows(snapshot, datasets, datastore or snapshot.repository.datastore, ())
    recorded = {key for _, rows_by_id in rows_by_leaf for key in rows_by_id}
    return [dataset.uuid in recorded for dataset in datasets]


async def derived_components(snapshot: Snapshot, kinds: Iterable[DatasetType]) -> frozenset[DatasetType]:
    """Find which of some dataset types are components that are derived from others."""
    components = [kind for kind in kinds if kind.component is not None]
    parents = await by_keys(snapshot, [component.key for component in components]) if components else []
    classes = snapshot.repository.storage_classes
    return frozenset(
        component
        for component, parent in zip(components, parents, strict=True)
        if component.component in classes.get(parent.storage_class).derived
    )


def _chosen(datasets: Sequence[Dataset], rows_by_id: _Rows, derived: frozenset[DatasetType]) -> Sequence[Sequence[Any]]:
    """Choose the rows that each dataset is read from."""
    found = [rows_by_id.get(dataset.uuid, ()) for dataset in datasets]
    if max(map(len, found), default=1) == 1 and all(dataset.dataset_type.component is None for dataset in datasets):
        return found
    return [
        _of_component(dataset.dataset_type, rows, derived) if rows else rows
        for dataset, rows in zip(datasets, found, strict=True)
    ]


def _of_component(dataset_type: DatasetType, rows: Sequence[Any], derived: frozenset[DatasetType]) -> Sequence[Any]:
    """Choose, among a dataset's rows in one datastore, those that a dataset of this type is read from."""
    component = dataset_type.component
    if component is not None and rows[0][_COMPONENT] not in WHOLE and dataset_type not in derived:
        return [row for row in rows if row[_COMPONENT] == component]
    return rows if len(rows) == 1 else sorted(rows, key=lambda row: row[_COMPONENT] or "")


_Rows = Mapping[str, Sequence[Any]]


async def recorded_rows(
    snapshot: Snapshot, datasets: Sequence[Dataset], datastore: Datastore, columns: Sequence[str]
) -> list[tuple[FileDatastore, _Rows]]:
    """Read the records of datasets: of each file datastore in order the rows, by the dataset's UUID."""
    repository = snapshot.repository
    # In their order, neighbours are found on the same pages of the index.
    uuids = sorted({dataset.uuid for dataset in datasets})
    wanted = {leaf for leaf in datastore.leaves if isinstance(leaf, FileDatastore)}
    found: dict[FileDatastore, _Rows] = {}
    for table in await recorded_tables(snapshot, datastore) if uuids else []:
        sharing = [
            leaf
            for leaf in repository.datastore.leaves
            if isinstance(leaf, FileDatastore) and leaf.records_table == table
        ]
        statement = repository.statements.get(
            ("records of datasets", table, tuple(columns)), partial(_records, repository, table, columns, sharing)
        )
        given = repository.dialect.given("wanted", _WANTED, [(uuid,) for uuid in uuids])
        rows = await snapshot.rows(statement, given)
        found.update(_shared_out(repository.dialect.uuids(map(itemgetter(0), rows)), rows, sharing))
    return [(leaf, found[leaf]) for leaf in datastore.leaves if leaf in wanted and leaf in found]


def _records(
    repository: Repository, table: str, columns: Sequence[str], sharing: Sequence[FileDatastore]
) -> sa.Select[Any]:
    """Select records, and for each datastore that shares the table whether it has the dataset.

    The records of a table that several datastores share do not tell them apart; the Butler takes them all for each
    one's. What does is where the registry keeps which datastore has what, or had until its trash is emptied.
    """
    tables = repository.tables
    records = tables.records(table)
    chosen: list[sa.ColumnElement[Any]] = [raw(records.c.dataset_id), *(records.c[column] for column in columns)]
    if len(sharing) > 1:
        chosen += [_has(repository, leaf, records).label(f"in_{index}") for index, leaf in enumerate(sharing)]
    ids = repository.dialect.slots("wanted", _WANTED)
    return sa.select(*chosen).where(records.c.dataset_id.in_(sa.select(ids.c.id)))


def _has(repository: Repository, leaf: FileDatastore, records: sa.FromClause) -> sa.ColumnElement[bool]:
    """Condition that the registry says that a datastore has the dataset of a record, or had it."""
    tables = repository.tables
    return sa.or_(
        *(
            sa.exists()
            .where(kept.c.datastore_name == leaf.name, kept.c.dataset_id == records.c.dataset_id)
            .correlate(records)
            for kept in (tables.location, tables.trash)
        )
    )


def _shared_out(
    uuids: Sequence[str], rows: Sequence[Any], sharing: Sequence[FileDatastore]
) -> dict[FileDatastore, _Rows]:
    """Give each row to its datastore; to the first where the registry does not say to which."""
    if len(sharing) == 1:
        return {sharing[0]: _by_id(uuids, rows)}
    kept: list[tuple[list[str], list[Any]]] = [([], []) for _ in sharing]
    for uuid, row in zip(uuids, rows, strict=True):
        owners = [index for index, has in enumerate(row[-len(sharing) :]) if has] or [0]
        for index in owners:
            kept[index][0].append(uuid)
            kept[index][1].append(row[: -len(sharing)])
    return {leaf: _by_id(*own) for leaf, own in zip(sharing, kept, strict=True)}


def _by_id(uuids: Sequence[str], rows: Sequence[Any]) -> _Rows:
    result: dict[str, tuple[Any, ...]] = dict(zip(uuids, zip(rows, strict=True), strict=True))
    if len(result) < len(rows):
        result.clear()
        for uuid, row in zip(uuids, rows, strict=True):
            result[uuid] = (*result.get(uuid, ()), row)
    return result
