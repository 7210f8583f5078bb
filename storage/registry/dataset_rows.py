"""Rows of datasets: in the order of the data IDs, from as many ranges of an index as there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from butlerql.storage.dialect import raw
from butlerql.storage.errors import AmbiguousCalibrationError
from butlerql.storage.registry.pages import Key, check_key
from butlerql.storage.registry.ranges import Source, TableGroup, Wanted
from butlerql.storage.snapshot import Snapshot
from butlerql.storage.statements import Slot, placed

__all__ = ["FEWEST", "Bound", "Read", "Row", "deduplicated", "fetch"]

FEWEST = 4
"""So few ranges are read in full at once, and so few rows of a range are worth a first look."""

Row = sa.Row[*tuple[Any, ...]]
"""Parent, place and rank of a dataset, its UUID as the driver gives it, and the required values of its data ID."""


class Bound(NamedTuple):
    """Where a page begins or ends within a dataset type: data ID, and UUID unless only the first found counts."""

    key: Key
    forward: bool


class Read(NamedTuple):
    """What a statement must give."""

    rows: int
    backward: bool
    wanted: Wanted
    bounds: Sequence[Bound]

    @property
    def shape(self) -> Read:
        """The same with slots in place of what is in the bounds, and without the number of rows."""
        bounds = tuple(
            Bound(tuple(_slot(number, place) for place in range(len(bound.key))), bound.forward)
            for number, bound in enumerate(self.bounds)
        )
        return Read(0, self.backward, self.wanted, bounds)

    @property
    def parameters(self) -> dict[str, Any]:
        """The values of the slots."""
        return {
            _slot(number, place).name: value
            for number, bound in enumerate(self.bounds)
            for place, value in enumerate(bound.key)
        }


def _slot(number: int, place: int) -> Slot:
    return Slot(f"bound_{number}_{place}")


async def fetch(
    snapshot: Snapshot, sources: Sequence[tuple[Source, int]], ask: Read, limit: int | None
) -> Sequence[Row]:
    """Run the statement: the first rows of each range, merged in the order of the request."""
    for bound in ask.bounds:
        table = sources[0][0].table.c
        check_key(bound.key, [*(table[name] for name in sources[0][0].group.dimensions.required), table.dataset_id])
    repository = snapshot.repository
    single = limit is not None and len(sources[0][0].group.parts) == 1
    few = sum(source.size for source, _ in sources) <= FEWEST
    form = _Form(single, limit is not None, apart=single and few and repository.dialect.merges)
    keys = tuple((source.key, source.size if form.apart else None) for source, _ in sources)
    known = all(key is not None for key, _ in keys)
    statement = repository.statements.get(
        (keys, ask.shape, form) if known else None,
        lambda: _statement([source.shape for source, _ in sources], ask.shape, form),
    )
    parameters = ask.parameters
    for source, most in sources:
        parameters |= source.parameters_apart if form.apart else {**source.parameters, _most(source).name: most}
    return await snapshot.rows(statement, parameters if limit is None else {**parameters, _LIMIT.name: limit})


class _Form(NamedTuple):
    """How rows are read."""

    single: bool
    """Of one part."""
    limited: bool
    """Up to a limit of all of them."""
    apart: bool
    """Of each range by itself."""


_LIMIT = Slot("limit")


def _most(source: Source) -> Slot:
    return Slot(f"most_{source.name}")


def _statement(sources: Sequence[Source], ask: Read, form: _Form) -> sa.Select[Any]:
    if form.apart:
        selects = [_range(one, ask) for source in sources for one in source.apart()]
    else:
        selects = [_first_rows(source, ask) for source in sources]
    merged = sa.union_all(*selects).subquery() if len(selects) > 1 else selects[0].subquery()
    parent, place, rank, uuid, *values = merged.c
    down = sa.desc if ask.backward else sa.asc
    order = [*map(down, values), down(uuid) if ask.wanted is Wanted.DATASETS else rank]
    if not form.single:
        # SQLite would not see that this is the order of its index.
        order = [parent, down(place), *order]
    statement = sa.select(parent, place, rank, raw(uuid), *values).order_by(*order)
    return statement.limit(placed(_LIMIT, sa.Integer())) if form.limited else statement


def _first_rows(source: Source, ask: Read) -> sa.Select[Any]:
    """Select the first rows of each range of a source."""

    def first_rows(table: sa.FromClause) -> sa.Select[Any]:
        values = [table.c[name] for name in source.group.dimensions.required]
        order = [*values, table.c.dataset_id] if source.certified else values
        ordered = [column.desc() if ask.backward else column.asc() for column in order]
        return _wanted_rows(source, table, ask).order_by(*ordered).limit(placed(_most(source), sa.Integer()))

    joined, table, conditions = source.dialect.top_rows(source.ranges, source.table, first_rows)
    return sa.select(*_columns(source, table)).select_from(joined).where(*conditions)


def _range(source: Source, ask: Read) -> sa.Select[Any]:
    """Select the rows of a range by itself."""
    table = source.table.alias()
    return _wanted_rows(source, table, ask).add_columns(*_columns(source, table))


def _wanted_rows(source: Source, table: sa.FromClause, ask: Read) -> sa.Select[Any]:
    values = [table.c[name] for name in source.group.dimensions.required]
    rows = source.rows(table).where(*_between(values, table.c.dataset_id, ask))
    # A certification whose regions turn out not to overlap must not hide the next.
    if source.certified and ask.wanted is not Wanted.FIRST and not source.group.looks:
        rows = rows.where(source.first_certification(table, ask.wanted))
    return rows


def _columns(source: Source, table: sa.FromClause) -> list[sa.ColumnElement[Any]]:
    of_range = [source.values[name].label(name) for name in ("parent", "place", "rank")]
    return [*of_range, table.c.dataset_id, *(table.c[name] for name in source.group.dimensions.required)]


def _between(
    values: Sequence[sa.ColumnElement[Any]], uuid: sa.ColumnElement[str], ask: Read
) -> list[sa.ColumnElement[bool]]:
    """Conditions of the bounds, in a form that an index on the values serves."""
    conditions: list[sa.ColumnElement[bool]] = []
    for bound, forward in ask.bounds:
        *key, end = bound
        last = placed(end, uuid.type)
        beyond = ">" if forward else "<"
        if not values:
            conditions.append(
                sa.false() if ask.wanted is not Wanted.DATASETS else uuid.op(beyond, is_comparison=True)(last)
            )
            continue
        columns = sa.tuple_(*values)
        limits = [placed(value, column.type) for value, column in zip(key, values, strict=True)]
        limit = sa.tuple_(*limits)
        if ask.wanted is not Wanted.DATASETS:
            conditions.append(columns.op(beyond, is_comparison=True)(limit))
        else:
            conditions.append(columns.op(f"{beyond}=", is_comparison=True)(limit))
            inside = uuid > last if forward else uuid < last
            conditions.append(sa.or_(*(column != value for column, value in zip(values, limits, strict=True)), inside))
    return conditions


def deduplicated(rows: Sequence[Row], group: TableGroup, ask: Read) -> Sequence[Row]:
    """Keep each dataset once, or the first found of each data ID.

    Raises
    ------
    AmbiguousCalibrationError
        Raised if there are several first ones of a data ID among as many of a part as were asked for, but for the last:
        it only tells that there are more.
    """
    if ask.wanted is Wanted.DATASETS and group.disjoint:
        return rows
    kept: list[Row] = []
    part: tuple[int, int] | None = None
    begin = 0
    for row in rows:
        if (row[0], row[1]) != part:
            part, last, begin = (row[0], row[1]), None, len(kept)
        values = row[4:]
        if last is None or values != last[4:]:
            last = row
            kept.append(row)
        elif ask.wanted is Wanted.DATASETS:
            if row[3] != last[3]:
                last = row
                kept.append(row)
        elif ask.wanted is Wanted.FIRST and row[2] == last[2] and len(kept) - begin < ask.rows:
            raise _ambiguous(group, row)
    return kept


def _ambiguous(group: TableGroup, row: Row) -> AmbiguousCalibrationError:
    part = next(part for part in group.parts if (part.parent, part.place) == (row[0], row[1]))
    data_id = dict(zip(group.dimensions.required, row[4:], strict=True))
    return AmbiguousCalibrationError(
        f"Collection '{part.collections[row[2]].name}' has several certified datasets of type "
        f"'{part.dataset_type.name}' for {data_id}. Give a timespan (findDataset), or do not ask for the first only."
    )
