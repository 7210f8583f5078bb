"""Settling conditions beforehand: where only a few data IDs can fulfil one, an index leads to their datasets.

What a condition says of dimensions can be told without datasets. So it is asked first which data IDs of the dimensions
that it touches fulfil it; if they are few, they take its place. Otherwise it is asked of each row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from butlerql.storage.registry import combination_pages
from butlerql.storage.registry.combination_pages import Wanted, given_slots
from butlerql.storage.registry.combinations import combine
from butlerql.storage.registry.conditions import Condition, key_of
from butlerql.storage.registry.dataset_searches import Given
from butlerql.storage.registry.dataset_types import DatasetType
from butlerql.storage.registry.keyed_records import Key, remember_implied
from butlerql.storage.registry.pages import PageRequest
from butlerql.storage.registry.ranges import Among
from butlerql.storage.registry.topology import chosen_elements
from butlerql.storage.snapshot import Snapshot
from butlerql.storage.universe import DimensionGroup, Element

__all__ = ["Settled", "settle"]

_MOST = 1_000
"""So many data IDs may stand for a condition."""

_MOST_RANGES = 200
"""So many data IDs become ranges of their own if they leave dimensions open: each may have many rows."""

_MOST_ROWS = 20
"""So many if they do not: more are sought quicker by way of a table."""


class Settled(NamedTuple):
    """What stands for a condition."""

    data_ids: Sequence[Mapping[str, Any]]
    """What data IDs have to hold, any of these."""

    among: Among | None
    """What they have to hold beside that."""

    condition: Condition | None
    """What still has to be asked of each dataset."""


async def settle(
    snapshot: Snapshot, kind: DatasetType, values: Mapping[str, Any], condition: Condition | None
) -> Settled:
    """Find the data IDs that fulfil a condition, if they are few.

    At most one statement, the same for all dataset types of the same dimensions.

    Parameters
    ----------
    snapshot
        What to read from.
    kind
        Dataset type that is asked for.
    values
        What data IDs, or what is related to them, have to hold.
    condition
        What else has to hold of them.
    """
    key = ("settled", kind.dimensions, kind.is_calibration, condition, tuple(values.items()))
    if key not in snapshot.cache:
        snapshot.cache[key] = await _settle(snapshot, kind, values, condition)
    settled: Settled = snapshot.cache[key]
    return settled


async def _settle(
    snapshot: Snapshot, kind: DatasetType, values: Mapping[str, Any], condition: Condition | None
) -> Settled:
    dimensions = kind.dimensions
    required = set(dimensions.required)
    of_datasets, of_dimensions = (None, None) if condition is None else condition.fields_apart()
    spoken_of = {*values, *(() if of_dimensions is None else of_dimensions.dimensions)}
    if of_dimensions is None and spoken_of <= required:
        return Settled([values], None, condition)
    fixed, rest = ({}, None) if of_dimensions is None else of_dimensions.fixed(required)
    full = snapshot.repository.universe.group({*dimensions.names, *spoken_of})
    # When calibrations have to be valid, is told by what they are related to: it has to be asked of each of them.
    if not kind.is_calibration or not chosen_elements(full, "temporal"):
        if rest is None and spoken_of <= required:
            data_ids = _spelled_out(values, fixed, _most_ranges(dimensions, [*values, *fixed]))
            if not data_ids or fixed.keys() <= data_ids[0].keys():
                return Settled(data_ids, None, of_datasets)
        touched = _touched(dimensions, spoken_of)
        if touched.required and not any(element.is_skypix for element in touched.elements):
            single = [*values, *(name for name, few in fixed.items() if len(few) == 1)]
            keys = await _keys(snapshot, touched, values, of_dimensions, _implying(touched, single))
            if keys is not None:
                return _few(dimensions, touched.required, keys, of_datasets)
    return Settled(_spelled_out(values, fixed, _MOST_RANGES), None, condition)


def _touched(dimensions: DimensionGroup, spoken_of: Iterable[str]) -> DimensionGroup:
    """Choose the dimensions of datasets that tell whether something holds; all of them if it is of other dimensions."""
    universe = dimensions.universe
    touched: set[str] = set()
    for name in spoken_of:
        if name not in dimensions.names:
            return dimensions
        if name in dimensions.required:
            touched.add(name)
        else:
            touched.update(own for own in dimensions.required if name in universe.group([own]).names)
    return universe.group(touched)


async def _keys(
    snapshot: Snapshot,
    touched: DimensionGroup,
    values: Mapping[str, Any],
    condition: Condition | None,
    element: Element | None,
) -> Sequence[Key] | None:
    """Read the data IDs of the dimensions that are touched, and what they imply; None if there are many."""
    repository = snapshot.repository

    def make() -> Wanted:
        shape = None if condition is None else condition.shape
        slots = given_slots(values)
        given = Given(touched, {})
        made = combine(repository, touched, constraint=slots, condition=shape, element=element, given=given)
        return Wanted(made, touched.required, slots)

    key = key_of(condition, "settling", touched, element, tuple(values))
    wanted = repository.statements.get(key, make).of(values, condition)
    request = PageRequest(_MOST)
    if element is None or wanted.records is None:
        page = await combination_pages.page(snapshot, wanted, request)
        return None if page.has_next else page.rows
    names = [*map(element.column_of, element.required), *element.implied]
    found = await combination_pages.page_of_records(
        snapshot, wanted, request, lambda records: [records.c[name] for name in names]
    )
    if found.has_next:
        return None
    remember_implied(snapshot, element, names, found.rows)
    return wanted.complete(found.keys)


def _implying(touched: DimensionGroup, known: Iterable[str]) -> Element | None:
    """Find the element each of whose records stands for one data ID: what it implies is asked of the datasets next."""
    open_ones = set(touched.required).difference(known)
    for element in touched.elements:
        if element.implied and not element.is_cached and open_ones <= set(element.required) <= set(touched.required):
            return element
    return None


def _few(dimensions: DimensionGroup, names: Sequence[str], keys: Sequence[Key], condition: Condition | None) -> Settled:
    """Let a few data IDs stand for a condition."""
    if not keys or len(keys) <= _most_ranges(dimensions, names):
        return Settled([dict(zip(names, key, strict=True)) for key in keys], None, condition)
    columns = dict(zip(names, zip(*keys, strict=True), strict=True))
    same = {name: column[0] for name, column in columns.items() if len(set(column)) == 1}
    others = {name: column for name, column in columns.items() if name not in same}
    among = Among(tuple(others), list(zip(*others.values(), strict=True))) if others else None
    return Settled([same], among, condition)


def _most_ranges(dimensions: DimensionGroup, names: Iterable[str]) -> int:
    """How many data IDs are better ranges of their own."""
    return _MOST_ROWS if set(dimensions.required) <= set(names) else _MOST_RANGES


def _spelled_out(values: Mapping[str, Any], fixed: Mapping[str, Sequence[Any]], most: int) -> list[Mapping[str, Any]]:
    """Combine the values that dimensions may have, of as many dimensions as that makes few data IDs of."""
    data_ids: list[Mapping[str, Any]] = [values]
    for name, few in sorted(fixed.items(), key=lambda item: len(item[1])):
        if name in values:
            data_ids = [one for one in data_ids if values[name] in few]
        elif len(data_ids) * len(few) <= most:
            data_ids = [{**one, name: value} for one in data_ids for value in few]
    return data_ids
