"""Dataset types: their names, storage classes, dimensions, and the tables that their datasets are in."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import sqlalchemy as sa

from butlerql.plain import plain
from butlerql.storage.errors import BadCursorError, UnknownComponentError, UnknownDatasetTypeError
from butlerql.storage.globs import check_text, python_regex, split_names
from butlerql.storage.registry.field_orders import field_order
from butlerql.storage.registry.pages import Page, PageRequest, cut, page_of
from butlerql.storage.snapshot import Snapshot
from butlerql.storage.universe import DimensionGroup

__all__ = [
    "DatasetType",
    "all_types",
    "by_keys",
    "components",
    "find",
    "find_or_none",
    "match",
    "page",
    "pages",
    "parent",
]

_CACHE = "dataset types"
_COMPONENTS = 1_000
"""Places that are left for the components of each dataset type."""


@dataclass(frozen=True, slots=True)
class DatasetType:
    """A kind of dataset, or of a component that can be read alone, as this repository's configuration shows it."""

    key: int
    """Number in the registry; a component has its parent's."""

    name: str
    storage_class: str
    dimensions: DimensionGroup
    tags_table: str
    calibs_table: str | None
    component: str | None = None

    def __hash__(self) -> int:
        return hash((self.key, self.component))

    @property
    def is_calibration(self) -> bool:
        """Whether its datasets may be certified."""
        return self.calibs_table is not None

    @property
    def is_component(self) -> bool:
        """Whether it is a part of another dataset type."""
        return self.component is not None

    @property
    def parent_name(self) -> str:
        """Name of the dataset type that the registry knows."""
        return self.name.partition(".")[0]


class _Known:
    """All dataset types of a snapshot, by name as the database orders them."""

    def __init__(self, types: Sequence[DatasetType]) -> None:
        self.types = types
        self.by_name = {dataset_type.name: dataset_type for dataset_type in types}
        self.by_key = {dataset_type.key: dataset_type for dataset_type in types}
        self.positions = {dataset_type.name: position for position, dataset_type in enumerate(types)}


async def all_types(snapshot: Snapshot) -> Sequence[DatasetType]:
    """Read all dataset types, without components, by name as the database orders them."""
    return (await _known(snapshot)).types


async def by_keys(snapshot: Snapshot, keys: Iterable[int]) -> list[DatasetType]:
    """Find the dataset types of some numbers that other tables of the same snapshot hold."""
    known = (await _known(snapshot)).by_key
    return [known[key] for key in keys]


async def find(snapshot: Snapshot, name: str) -> DatasetType:
    """Find a dataset type, or a component's, by name.

    Raises
    ------
    UnknownDatasetTypeError
        Raised if there is none of this name.
    UnknownComponentError
        Raised if the dataset type's storage class has no such component.
    """
    known = (await _known(snapshot)).by_name
    name = plain(name)
    name, dot, component = name.partition(".")
    if name not in known:
        raise UnknownDatasetTypeError(
            f"No dataset type is named '{name}'. The field datasetTypes lists them all; its argument names takes globs."
        )
    if not dot:
        return known[name]
    found = _component(snapshot, known[name], component)
    if found is None:
        names = ", ".join(_component_classes(snapshot, known[name])) or "none"
        raise UnknownComponentError(
            f"Dataset type '{name}' ({known[name].storage_class}) has no component '{component}'; it has {names}."
        )
    return found


async def find_or_none(snapshot: Snapshot, name: str) -> DatasetType | None:
    """Find a dataset type, or a component's, by name; None if there is none."""
    try:
        return await find(snapshot, name)
    except (UnknownDatasetTypeError, UnknownComponentError):
        return None


async def position(snapshot: Snapshot, dataset_type: DatasetType) -> int:
    """Tell the place of a dataset type in the order of names; components follow their parent."""
    known = await _known(snapshot)
    return known.positions[dataset_type.parent_name] * _COMPONENTS + _position_in_parent(snapshot, known, dataset_type)


async def parent(snapshot: Snapshot, dataset_type: DatasetType) -> DatasetType:
    """Find the dataset type that a component belongs to; any other is its own."""
    return (await _known(snapshot)).by_key[dataset_type.key]


def components(snapshot: Snapshot, dataset_type: DatasetType) -> list[DatasetType]:
    """List the types of all components of a dataset type by name; a component has none of its own."""
    if dataset_type.is_component:
        return []
    found = (_component(snapshot, dataset_type, name) for name in _component_classes(snapshot, dataset_type))
    return [component for component in found if component is not None]


async def match(
    snapshot: Snapshot,
    names: Sequence[str],
    *,
    components: bool = False,
    storage_classes: Collection[str] | None = None,
    dimensions: Iterable[str] | None = None,
) -> list[DatasetType]:
    """List the dataset types that fit names, by name as the database orders them, each component behind its parent.

    Parameters
    ----------
    snapshot
        What to read from.
    names
        Names and globs.
    components
        Whether globs mean components too. A component that is named in full is always found.
    storage_classes
        Only types that have one of these storage classes.
    dimensions
        Only types that have all these dimensions, required or implied, and maybe others.

    Raises
    ------
    UnknownDatasetTypeError, UnknownComponentError
        Raised if something is named in full and is not there.
    UnknownDimensionError
        Raised if a dimension is not in the universe.
    """
    literals, globs = split_names(names)
    known = await _known(snapshot)
    found = {await find(snapshot, name) for name in literals}
    if globs:
        fits = re.compile(python_regex(globs)).match
        found.update(dataset_type for dataset_type in _listed(snapshot, known, components) if fits(dataset_type.name))
    if storage_classes is not None:
        found = {dataset_type for dataset_type in found if dataset_type.storage_class in storage_classes}
    if dimensions is not None:
        wanted = {snapshot.repository.universe.dimension(name).name for name in dimensions}
        found = {dataset_type for dataset_type in found if wanted.issubset(dataset_type.dimensions.names)}
    return _ordered(known, found)


async def page(
    snapshot: Snapshot, chosen: Collection[DatasetType], request: PageRequest, order_by: Sequence[str] | None = None
) -> Page[DatasetType]:
    """Cut one page out of some dataset types.

    The key of a row is the name of the type and the component's, which is empty for the type itself. In another order
    it is what was asked to order by, the name of the type, and the place of the component behind it.

    Parameters
    ----------
    snapshot
        What to read from.
    chosen
        The dataset types.
    request
        Which page.
    order_by
        ``name``, ``storageClass``, ``isCalibration``, ``isComponent``, each with or without a minus in front; by name
        if nothing is given.

    Raises
    ------
    BadCursorError
        Raised if a key of the request is not one of such a page.
    InvalidExpressionError
        Raised if nothing can be ordered by what was asked for.
    """
    if not order_by:
        return (await pages(snapshot, [chosen], request))[0]
    known = await _known(snapshot)
    listed = list(chosen)
    table = snapshot.repository.dialect.rows(
        "chosen",
        {
            "number": sa.Integer(),
            "name": sa.Text(),
            "component": sa.Integer(),
            "storage_class": sa.Text(),
            "is_calibration": sa.Integer(),
            "is_component": sa.Integer(),
        },
        [
            (
                number,
                one.parent_name,
                _position_in_parent(snapshot, known, one),
                one.storage_class,
                int(one.is_calibration),
                int(one.is_component),
            )
            for number, one in enumerate(listed)
        ],
    )
    c = table.c
    fields = {
        "name": [c.name, c.component],
        "storageClass": [c.storage_class],
        "isCalibration": [c.is_calibration],
        "isComponent": [c.is_component],
    }
    key = field_order(order_by, fields, fields["name"])
    found = await page_of(snapshot, sa.select(c.number), key, request)
    return Page([listed[row.number] for row in found.rows], found.keys, found.has_next, found.has_previous)


async def pages(
    snapshot: Snapshot, chosen: Sequence[Collection[DatasetType]], request: PageRequest
) -> list[Page[DatasetType]]:
    """Cut the same page out of each of several sets of dataset types; see `page`."""
    known = await _known(snapshot)
    after = None if request.after is None else await _place(snapshot, known, request.after)
    before = None if request.before is None else await _place(snapshot, known, request.before)
    result = []
    for types in chosen:
        rows = []
        for dataset_type in _ordered(known, types):
            place = _place_of(known, dataset_type)
            if (after is None or place > after) and (before is None or place < before):
                rows.append(((dataset_type.parent_name, dataset_type.component or ""), dataset_type))
        if request.backward:
            rows.reverse()
        result.append(cut(rows[: request.limit + 1], request))
    return result


async def _known(snapshot: Snapshot) -> _Known:
    """Give all dataset types, read again only if their table has changed since an earlier snapshot."""
    known: _Known | None = snapshot.kept.get(_CACHE)
    if known is None:
        cached = snapshot.repository.cache.get(_CACHE)
        content = await _content(snapshot)
        if cached is None or cached[0] != content:
            cached = (content, _Known(await _read(snapshot)))
            snapshot.repository.cache[_CACHE] = cached
        known = snapshot.kept.setdefault(_CACHE, cached[1])
    return known


async def _content(snapshot: Snapshot) -> str | None:
    """Read the whole table as one text, which takes a fraction of the time that its rows take.

    Nothing less would do: the number of a dataset type that is removed may be given to the next one. The dimensions
    that a key stands for never change.
    """
    columns = snapshot.repository.tables.dataset_type.c
    row = reduce(lambda line, column: line.concat("|").concat(column), (_text(column) for column in columns))
    rows = await snapshot.rows(sa.select(sa.func.aggregate_strings(row, ",")))
    content: str | None = rows[0][0]
    return content


def _text(column: sa.Column[Any]) -> sa.ColumnElement[str]:
    return sa.func.coalesce(sa.cast(column, sa.Text), "")


async def _read(snapshot: Snapshot) -> list[DatasetType]:
    """Read both tables whole: even large repositories have some thousand dataset types."""
    overrides = snapshot.repository.config.dataset_type_overrides
    table, shown = snapshot.repository.tables.dataset_type, _shown_name(snapshot)
    rows = await snapshot.rows(sa.select(*table.c, shown.label("shown")).order_by(shown))
    groups = await _groups(snapshot)
    # Where configured names clash, the Butler knows the dataset type that was registered last.
    newest: dict[str, int] = {}
    for row in rows:
        newest[row.shown] = max(row.id, newest.get(row.shown, 0))
    types = []
    for row in rows:
        if row.id == newest[row.shown]:
            override = overrides.get(row.name)
            types.append(
                DatasetType(
                    key=row.id,
                    name=row.shown,
                    storage_class=(override and override.storage_class) or row.storage_class,
                    dimensions=groups[row.dimensions_key],
                    tags_table=row.tag_association_table,
                    calibs_table=row.calibration_association_table,
                )
            )
    return types


async def _groups(snapshot: Snapshot) -> Mapping[int, DimensionGroup]:
    """Read which dimensions each ``dimensions_key`` stands for.

    The table has the required ones only, and nothing for key 0.
    """
    names: dict[int, list[str]] = {0: []}
    table = snapshot.repository.tables.dimension_graph
    for row in await snapshot.rows(sa.select(table.c.dimension_graph_id, table.c.dimension_name)):
        names.setdefault(row.dimension_graph_id, []).append(row.dimension_name)
    universe = snapshot.repository.universe
    return {key: universe.group(required) for key, required in names.items()}


def _renamed(snapshot: Snapshot) -> dict[str, str]:
    """Names that users see, by the name in the registry, of the dataset types whose names are overridden."""
    overrides = snapshot.repository.config.dataset_type_overrides
    return {name: override.rename for name, override in overrides.items() if override.rename is not None}


def _shown_name(snapshot: Snapshot) -> sa.ColumnElement[str]:
    """Name that users see, as a column."""
    name = snapshot.repository.tables.dataset_type.c.name
    renamed = _renamed(snapshot)
    return sa.case(renamed, value=name, else_=name) if renamed else name


def _component_classes(snapshot: Snapshot, dataset_type: DatasetType) -> Mapping[str, str]:
    """Components of a dataset type by name, and their storage classes."""
    return dict(sorted(snapshot.repository.storage_classes.get(dataset_type.storage_class).components.items()))


def _component(snapshot: Snapshot, dataset_type: DatasetType, name: str) -> DatasetType | None:
    storage_class = snapshot.repository.storage_classes.get(dataset_type.storage_class).components.get(name)
    if storage_class is None:
        return None
    return replace(dataset_type, name=f"{dataset_type.name}.{name}", storage_class=storage_class, component=name)


def _position_in_parent(snapshot: Snapshot, known: _Known, dataset_type: DatasetType) -> int:
    """Tell the place of a component among those of its parent, from 1; 0 for a dataset type that is none."""
    if dataset_type.component is None:
        return 0
    return 1 + list(_component_classes(snapshot, known.by_key[dataset_type.key])).index(dataset_type.component)


def _listed(snapshot: Snapshot, known: _Known, with_components: bool) -> Iterable[DatasetType]:
    for dataset_type in known.types:
        yield dataset_type
        if with_components:
            yield from components(snapshot, dataset_type)


def _place_of(known: _Known, dataset_type: DatasetType) -> tuple[int, str]:
    """Place in the order. Odd numbers, so that names that are not there have places between."""
    return 2 * known.positions[dataset_type.parent_name] + 1, dataset_type.component or ""


def _ordered(known: _Known, types: Iterable[DatasetType]) -> list[DatasetType]:
    return sorted(types, key=lambda dataset_type: _place_of(known, dataset_type))


async def _place(snapshot: Snapshot, known: _Known, key: Sequence[object]) -> tuple[int, str]:
    """Find the place that a key stands for.

    Its dataset type may be gone by now, and only the database can compare names.
    """
    match key:
        case (str(name), str(component)):
            pass
        case _:
            raise BadCursorError("This cursor is not one of a connection of dataset types.")
    if name in known.positions:
        return 2 * known.positions[name] + 1, component
    shown = _shown_name(snapshot)
    rows = await snapshot.rows(sa.select(shown).where(shown < check_text(name)))
    return 2 * len({row[0] for row in rows}), component
