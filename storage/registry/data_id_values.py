"""Data IDs: from what users write to values that are complete and agree with the records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import repeat
from operator import add, itemgetter
from typing import Any, NamedTuple

import sqlalchemy as sa

from butlerql.storage.errors import InvalidDataIdError
from butlerql.storage.registry.data_id_keys import Condition, Lookup, ParsedKeys, parse_keys
from butlerql.storage.registry.keyed_records import Key, known_implied, read_records
from butlerql.storage.registry.spatial import pixel_exists
from butlerql.storage.snapshot import Snapshot
from butlerql.storage.universe import DimensionGroup, Element

__all__ = ["DataId", "constraint", "existing", "expand", "mappings", "resolve"]

Value = int | str


class DataId(NamedTuple):
    """Values of all dimensions of a group, in the order of its names; None where what is implied is not known."""

    dimensions: DimensionGroup
    values: Key

    @property
    def required(self) -> Key:
        """Values of the required dimensions."""
        return self.values[: len(self.dimensions.required)]

    @property
    def mapping(self) -> dict[str, Value]:
        """Dimension name to value, without what is not known."""
        found = dict(zip(self.dimensions.names, self.values, strict=True))
        return {name: value for name, value in found.items() if value is not None} if None in self.values else found

    def key_of(self, element: Element) -> Key:
        """Values of the required dimensions of an element, all of which it has."""
        names = self.dimensions.names
        return tuple(self.values[names.index(name)] for name in element.required)


def mappings(data_ids: Sequence[DataId]) -> list[dict[str, Value]]:
    """Give the `DataId.mapping` of each; quicker, where they are many of the same dimensions."""
    groups = {data_id.dimensions for data_id in data_ids}
    if len(groups) == 1:
        [group] = groups
        columns = list(zip(*(data_id.values for data_id in data_ids), strict=True))
        if not any(None in column for column in columns[len(group.required) :]):
            blank: dict[str, Value] = dict.fromkeys(group.names, 0)
            found = [blank.copy() for _ in data_ids]
            for name, column in zip(group.names, columns, strict=True):
                for mapping, value in zip(found, column, strict=True):
                    mapping[name] = value
            return found
    return [data_id.mapping for data_id in data_ids]


async def resolve(
    snapshot: Snapshot, values: Mapping[str, Any], dimensions: DimensionGroup | None = None
) -> DataId | None:
    """Make one complete data ID of what a user wrote.

    Parameters
    ----------
    snapshot
        What to read from.
    values
        See `parse_keys`.
    dimensions
        What it has to tell at least. The data ID that is returned has these dimensions and those that were given.

    Returns
    -------
    DataId or None
        None if there is no record of something that it names, or if its parts are not related to each other.

    Raises
    ------
    InvalidDataIdError
        Raised if the values cannot be understood, contradict the records, single out no record, or are not enough.
    """
    universe = snapshot.repository.universe
    parsed = parse_keys(universe, values, dimensions)
    if not await _look_up(snapshot, parsed):
        return None
    known = parsed.values
    group = universe.group([*known, *(dimensions.names if dimensions is not None else ())])
    missing = [name for name in group.required if name not in known]
    if missing:
        lacking = ", ".join(f"'{name}'" for name in missing)
        raise InvalidDataIdError(f"The data ID lacks {lacking}. Add what is missing.")
    found = (await existing(snapshot, [(group, tuple(known[name] for name in group.required))]))[0]
    if found is None:
        return None
    for name, value in zip(group.names, found.values, strict=True):
        if known.get(name, value) != value:
            raise InvalidDataIdError(
                f"The data ID gives '{name}' as {known[name]!r}, but by the records it is {value!r}. "
                "Correct it or leave it out."
            )
    return found


async def constraint(snapshot: Snapshot, values: Mapping[str, Any]) -> dict[str, Value] | None:
    """Read what a user wrote as conditions on dimensions, required or implied, of as many data IDs as fit.

    Parameters
    ----------
    snapshot
        What to read from.
    values
        See `parse_keys`; it need not be a whole data ID. Columns of records are replaced by the required dimensions of
        the one record that they single out.

    Returns
    -------
    dict or None
        Dimension to value; None if nothing can fit because a record that is told by its columns does not exist.

    Raises
    ------
    InvalidDataIdError
        Raised if the values cannot be understood, contradict each other, or tell a record by columns that several have.
    """
    parsed = parse_keys(snapshot.repository.universe, values)
    return parsed.values if await _look_up(snapshot, parsed) else None


async def expand(snapshot: Snapshot, ids: Sequence[tuple[DimensionGroup, Key]]) -> list[DataId]:
    """Complete data IDs with what they imply.

    Parameters
    ----------
    snapshot
        What to read from. What was read is kept for the length of the snapshot.
    ids
        Dimensions and the values of the required ones.

    Returns
    -------
    list
        In the order of ``ids``. Equal ones are one object.
    """
    known: dict[DimensionGroup, dict[Key, DataId]] = snapshot.cache.setdefault("data IDs", {})
    by_group: dict[DimensionGroup, list[Key]] = {}
    groups = {group for group, _ in ids}
    if len(groups) == 1:
        by_group[ids[0][0]] = list(map(itemgetter(1), ids))
    else:
        for group, key in ids:
            by_group.setdefault(group, []).append(key)
    for group, keys in by_group.items():
        made = known.setdefault(group, {})
        new = list(set(keys).difference(made))
        values = await _with_implied(snapshot, group, new) if new else ()
        # Tens of thousands at a time: this makes the named tuples without a call of Python each.
        made.update(zip(new, map(partial(tuple.__new__, DataId), zip(repeat(group), values)), strict=True))
    if len(groups) == 1:
        return list(map(known[ids[0][0]].__getitem__, by_group[ids[0][0]]))
    return [known[group][key] for group, key in ids]


async def existing(snapshot: Snapshot, ids: Sequence[tuple[DimensionGroup, Key]]) -> list[DataId | None]:
    """Complete data IDs of which it is not known whether they exist.

    Parameters
    ----------
    snapshot
        What to read from.
    ids
        See `expand`.

    Returns
    -------
    list
        In the order of ``ids``; None where there is no record of a required dimension, or none of a relation among
        dimensions.
    """
    found = await expand(snapshot, ids)
    wanted: dict[Element, set[DataId]] = {}
    for data_id in set(found):
        for element in data_id.dimensions.elements:
            if element.name in data_id.dimensions.required or element.always_join:
                wanted.setdefault(element, set()).add(data_id)
    gone: set[DataId] = set()
    for element, data_ids in wanted.items():
        if element.is_skypix:
            gone.update(data_id for data_id in data_ids if not pixel_exists(element, data_id.key_of(element)[0]))
        else:
            known = await _implied(snapshot, element, [data_id.key_of(element) for data_id in data_ids])
            gone.update(data_id for data_id in data_ids if data_id.key_of(element) not in known)
    return [None if data_id in gone else data_id for data_id in found]


async def _with_implied(snapshot: Snapshot, group: DimensionGroup, keys: Sequence[Key]) -> Iterable[Key]:
    """Add the implied values to those of the required dimensions."""
    if not group.implied:
        return keys
    elements = _implying(group)
    telling = [name for name in group.required if any(name in element.required for element in elements)]
    places = [group.required.index(name) for name in telling]
    # All detectors of a visit imply the same.
    parts: Sequence[Key] = keys
    if len(places) == 1:
        parts = [(key[places[0]],) for key in keys]
    elif len(places) < len(group.required):
        parts = list(map(itemgetter(*places), keys))
    distinct = list(set(parts))
    columns: dict[str, Sequence[Any]] = dict(zip(telling, zip(*distinct, strict=True), strict=True))
    for element in elements:
        wanted: list[Key] = list(zip(*(columns[name] for name in element.required), strict=True))
        found = await _implied(snapshot, element, wanted)
        unknown = (None,) * len(element.implied)
        rows = [found.get(key, unknown) for key in wanted]
        columns = dict(zip(element.implied, zip(*rows, strict=True), strict=True)) | columns
    implied = dict(zip(distinct, zip(*(columns[name] for name in group.implied), strict=True), strict=True))
    return map(add, keys, map(implied.__getitem__, parts))


def _implying(group: DimensionGroup) -> list[Element]:
    """Elements whose records hold the implied values, each behind those that tell its own required dimensions."""
    waiting = [element for element in group.elements if element.implied]
    known = set(group.required)
    ordered: list[Element] = []
    while waiting:
        element = next(element for element in waiting if known.issuperset(element.required))
        waiting.remove(element)
        ordered.append(element)
        known.update(element.implied)
    return ordered


async def _implied(snapshot: Snapshot, element: Element, keys: Iterable[Key]) -> dict[Key, Key]:
    """Read what records imply, by their required dimensions; those that are not known yet in one statement.

    What is missing from the result does not exist. Of elements that have few records all are read, and kept.
    """
    about = ("implied by", element.name)
    size = len(element.required)
    if element.is_cached:
        kept: dict[Key, Key] | None = snapshot.kept.get(about)
        if kept is None:
            table = snapshot.repository.tables.element(element)
            names = (*map(element.column_of, element.required), *element.implied)
            rows = await snapshot.rows(sa.select(*(table.c[name] for name in names)))
            kept = snapshot.kept.setdefault(about, {tuple(row[:size]): tuple(row[size:]) for row in rows})
        return kept
    known = known_implied(snapshot, element)
    missing = [key for key in set(keys).difference(known) if None not in key]
    if missing:
        await read_records(snapshot, element, missing, "nothing more", lambda _table: ())
    return known


async def _look_up(snapshot: Snapshot, parsed: ParsedKeys) -> bool:
    """Replace what is told by columns of records by dimensions; False if a record does not exist."""
    for lookup in parsed.lookups.values():
        if not await _resolve_text(snapshot, lookup, parsed.values):
            return False
        if lookup.conditions and not await _resolve_columns(snapshot, lookup, parsed.values):
            return False
    return True


async def _resolve_text(snapshot: Snapshot, lookup: Lookup, values: dict[str, Value]) -> bool:
    """Take a string for an alternate key, else for a number."""
    element, text = lookup.element, lookup.text
    if text is None:
        return True
    by_key = await _records(snapshot, element, [text], values)
    if lookup.number is None:
        if not by_key:
            return False
    else:
        own = element.primary_key
        by_number = await _records(snapshot, element, [Condition(own.name, own.type, lookup.number, text.key)], values)
        if not by_key:
            _adopt(values, {element.name: lookup.number})
            return True
        if by_number and by_number != by_key:
            raise InvalidDataIdError(
                f"'{text.value}' is the {text.column} of one {element.name} and the number of another. "
                f"Give the number as a number, or write '{element.name}.{text.column}'."
            )
    _adopt(values, _single(element, by_key, [text], values))
    return True


async def _resolve_columns(snapshot: Snapshot, lookup: Lookup, values: dict[str, Value]) -> bool:
    """Take the record that has certain values in certain columns."""
    element, conditions = lookup.element, lookup.conditions
    own = [
        Condition(element.primary_key.name, element.primary_key.type, values[name], name)
        for name in (element.name,)
        if name in values
    ]
    found = await _records(snapshot, element, [*own, *conditions], values)
    if found:
        _adopt(values, _single(element, found, conditions, values))
        return True
    if own and await _records(snapshot, element, own, values):
        raise InvalidDataIdError(
            f"The record of {element.name} {own[0].value!r} does not have {_shown(conditions)}. "
            "Correct it or leave it out."
        )
    return False


async def _records(
    snapshot: Snapshot, element: Element, conditions: Sequence[Condition], values: Mapping[str, Value]
) -> list[Key]:
    """Find up to two records by some columns and the other dimensions that are known; gives what they require."""
    tables = snapshot.repository.tables
    table = tables.element(element)
    others = [name for name in (*element.required, *element.implied) if name != element.name and name in values]
    statement = (
        sa.select(*(table.c[element.column_of(name)] for name in element.required))
        .where(*(table.c[condition.column] == condition.value for condition in conditions))
        .where(*(table.c[element.column_of(name)] == values[name] for name in others))
        .limit(2)
    )
    return [tuple(row) for row in await snapshot.rows(statement)]


def _single(
    element: Element, found: Sequence[Key], conditions: Sequence[Condition], values: Mapping[str, Value]
) -> dict[str, Value]:
    """Insist on one record."""
    if len(found) > 1:
        lacking = [f"'{name}'" for name in element.required if name not in values]
        raise InvalidDataIdError(
            f"Several records of {element.name} have {_shown(conditions)}. Add {' or '.join(lacking)} to the data ID."
        )
    return dict(zip(element.required, found[0], strict=True))


def _adopt(values: dict[str, Value], found: Mapping[str, Value]) -> None:
    for name, value in found.items():
        if values.setdefault(name, value) != value:
            raise InvalidDataIdError(
                f"The data ID gives '{name}' as {values[name]!r}, and other keys of it as {value!r}. "
                "Correct one of them."
            )


def _shown(conditions: Iterable[Condition]) -> str:
    return " and ".join(f"{condition.column} = {repr(condition.value)[:100]}" for condition in conditions)
