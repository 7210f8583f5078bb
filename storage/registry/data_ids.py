"""Data IDs that exist: page by page, and how many there are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

from butlerql.storage.errors import InvalidArgumentError
from butlerql.storage.registry import chains, combination_pages, dataset_types, summaries
from butlerql.storage.registry.collections import Collection
from butlerql.storage.registry.combination_pages import Leading, Wanted, first_of_each, given_slots
from butlerql.storage.registry.combinations import check_relations, combine, datasets_of, lead_of
from butlerql.storage.registry.conditions import Condition, key_of
from butlerql.storage.registry.data_id_values import DataId, constraint, expand
from butlerql.storage.registry.dataset_searches import DatasetSearch
from butlerql.storage.registry.dataset_types import DatasetType
from butlerql.storage.registry.expressions.names import Scope
from butlerql.storage.registry.keyed_records import Key
from butlerql.storage.registry.orders import Order, orders_of
from butlerql.storage.registry.pages import Page, PageRequest
from butlerql.storage.registry.where import EVERYTHING, Where
from butlerql.storage.repository import Repository
from butlerql.storage.snapshot import Snapshot
from butlerql.storage.universe import DimensionGroup, Element

__all__ = [
    "DataIdConditions",
    "count",
    "count_each",
    "find_conditions",
    "find_conditions_in",
    "page",
    "page_each",
    "wanted",
]


class DataIdConditions(NamedTuple):
    """What data IDs, or what belongs to them, have to fulfil."""

    searches: Sequence[DatasetSearch] = ()
    """What there has to be a dataset of."""

    constraint: Mapping[str, Any] = MappingProxyType({})
    """Values of dimensions, required or implied, of what is wanted or related to it."""

    parents: int = 1
    """How many parents the collections of the searches are told for."""

    is_impossible: bool = False
    """Whether it is known already that nothing fulfils them."""

    condition: Condition | None = None
    """What has to hold of what is wanted, or of what is related to it."""

    order: Sequence[Order] = ()
    """What they are ordered by, before their own order."""

    def check(self, repository: Repository, dimensions: DimensionGroup, element: Element | None = None) -> None:
        """See that dimensions can be related, where nothing has to be read.

        Raises
        ------
        UnsupportedJoinError
            Raised if they cannot.
        """
        joined = [search.dimensions for search in self.searches]
        check_relations(repository, dimensions, joined, self.constraint, element, self.condition)


async def find_conditions(
    snapshot: Snapshot,
    dimensions: DimensionGroup,
    *,
    types: Sequence[str] | None = None,
    collections: Sequence[str] | None = None,
    values: Mapping[str, Any] | None = None,
    where: Where = EVERYTHING,
    order_by: Sequence[str] | None = None,
) -> DataIdConditions:
    """Find what names, values and expressions mean.

    Parameters
    ----------
    snapshot
        What to read from.
    dimensions
        What is asked for.
    types
        Names of dataset types; None for no such condition.
    collections
        Where they are looked for, names and globs; None for everywhere.
    values
        See `data_id_values.constraint`; None for no such condition.
    where
        What else has to hold.
    order_by
        What to order by, before the order of the dimensions; see `orders_of`.

    Raises
    ------
    UnknownDatasetTypeError, UnknownComponentError, UnknownCollectionError, InvalidDataIdError
        Raised if something is not there.
    InvalidExpressionError
        Raised if the condition or the order makes no sense.
    InvalidArgumentError
        Raised if collections are given, but not what to look for in them.
    """
    if types is None and collections is not None:
        raise InvalidArgumentError(
            "Collections are given, but no dataset types to look for in them. Give datasetTypes too."
        )
    given = await constraint(snapshot, values or {})
    searched = []
    if types is not None:
        searched = await chains.search_path(snapshot, ["*"] if collections is None else collections)
    found = await _conditions(snapshot, types or (), [searched], given)
    return _with(snapshot, dimensions, found, where, order_by)


async def find_conditions_in(
    snapshot: Snapshot,
    dimensions: DimensionGroup,
    types: Sequence[str],
    parents: Sequence[Collection],
    where: Where = EVERYTHING,
    order_by: Sequence[str] | None = None,
) -> DataIdConditions:
    """Find what names and expressions mean, dataset types looked for in several collections, each for itself.

    Raises
    ------
    UnknownDatasetTypeError, UnknownComponentError
        Raised if a dataset type is not there.
    InvalidArgumentError
        Raised if there are none.
    """
    if not types:
        raise InvalidArgumentError("Name at least one dataset type: a collection has data IDs by its datasets only.")
    found = await _conditions(snapshot, types, await chains.flatten(snapshot, parents), {})
    return _with(snapshot, dimensions, found, where, order_by)


async def page(
    snapshot: Snapshot, dimensions: DimensionGroup, conditions: DataIdConditions, request: PageRequest
) -> Page[DataId]:
    """Read a page of data IDs, complete, in the order of their required dimensions.

    Raises
    ------
    UnsupportedJoinError
        Raised if dimensions cannot be related.
    """
    if conditions.is_impossible:
        conditions.check(snapshot.repository, dimensions)
        return Page([], [], has_next=False, has_previous=False)
    found = await combination_pages.page(snapshot, wanted(snapshot, dimensions, conditions), request)
    return (await _expanded(snapshot, dimensions, [found]))[0]


async def page_each(
    snapshot: Snapshot, dimensions: DimensionGroup, conditions: DataIdConditions, request: PageRequest
) -> list[Page[DataId]]:
    """Read the same page of data IDs for each parent of the conditions.

    One statement for all, except where regions have to be looked at: then one or more for each parent.

    Raises
    ------
    UnsupportedJoinError
        Raised if dimensions cannot be related.
    """
    if conditions.is_impossible:
        conditions.check(snapshot.repository, dimensions)
        return [Page([], [], has_next=False, has_previous=False)] * conditions.parents
    together = wanted(snapshot, dimensions, conditions)
    if conditions.parents == 1 or not together.can_share:
        return [await page(snapshot, dimensions, one, request) for one in _each(conditions)]
    found = await combination_pages.page_each(snapshot, together, conditions.parents, request)
    return await _expanded(snapshot, dimensions, found)


async def count(snapshot: Snapshot, dimensions: DimensionGroup, conditions: DataIdConditions) -> int:
    """Count what `page` goes through."""
    if conditions.is_impossible:
        return 0
    return await combination_pages.count(snapshot, wanted(snapshot, dimensions, conditions))


async def count_each(snapshot: Snapshot, dimensions: DimensionGroup, conditions: DataIdConditions) -> list[int]:
    """Count what `page_each` goes through, for each parent."""
    if conditions.is_impossible:
        return [0] * conditions.parents
    together = wanted(snapshot, dimensions, conditions)
    if conditions.parents == 1 or not together.can_share:
        return [await count(snapshot, dimensions, one) for one in _each(conditions)]
    return await combination_pages.count_each(snapshot, together, conditions.parents)


def wanted(
    snapshot: Snapshot, dimensions: DimensionGroup, conditions: DataIdConditions, element: Element | None = None
) -> Wanted:
    """Say which combinations are wanted: of the required dimensions of a group, or of an element, for its records."""
    repository, condition = snapshot.repository, conditions.condition
    shape = conditions._replace(
        constraint=given_slots(conditions.constraint), condition=None if condition is None else condition.shape
    )
    places = tuple((search.dataset_type, tuple(map(tuple, search.collections))) for search in conditions.searches)
    key = key_of(
        condition, "wanted", dimensions, element, places, tuple(conditions.constraint), tuple(conditions.order)
    )
    made = repository.statements.get(key, lambda: _wanted(repository, dimensions, shape, element))
    return made.of(conditions.constraint, condition)


def _wanted(
    repository: Repository, dimensions: DimensionGroup, conditions: DataIdConditions, element: Element | None
) -> Wanted:
    combined = partial(
        combine,
        repository,
        dimensions,
        searches=conditions.searches,
        constraint=conditions.constraint,
        condition=conditions.condition,
        fields=[order.operand for order in conditions.order],
        # Pixels have no table of records: what has to do with them lists them.
        element=None if element is None or element.is_skypix else element,
    )
    combinations = combined()
    names = dimensions.required if element is None else element.required
    leading = None
    if not conditions.order:
        lead = lead_of(repository, combinations, names, conditions.searches, conditions.condition)
        leading = None if lead is None else Leading(lead, lambda lead: combined(lead=lead))
    descending = [order.is_descending for order in conditions.order]
    # One data ID may have several datasets to be ordered by.
    is_several = not combinations.is_unique and datasets_of(order.operand for order in conditions.order)
    if is_several and set(names).difference(conditions.constraint):
        combinations = first_of_each(combinations, [*names, *conditions.constraint], descending)
    return Wanted(combinations, names, conditions.constraint, leading, descending)


async def _conditions(
    snapshot: Snapshot,
    names: Sequence[str],
    searched: Sequence[Sequence[Collection]],
    given: Mapping[str, Any] | None,
) -> DataIdConditions:
    types = list(dict.fromkeys([await dataset_types.find(snapshot, name) for name in names]))
    places: Mapping[DatasetType, Sequence[Collection]] = {}
    if given is not None:
        governors = {name: given[name] for name in snapshot.repository.universe.governors if name in given}
        everywhere = list(dict.fromkeys(one for found in searched for one in found))
        places = await summaries.candidates(snapshot, everywhere, types, governors)
    searches = []
    for dataset_type in types:
        may_hold = set(places.get(dataset_type, ()))
        searches.append(DatasetSearch(dataset_type, [[one for one in found if one in may_hold] for found in searched]))
    impossible = given is None or any(not any(search.collections) for search in searches)
    return DataIdConditions(searches, given or {}, len(searched), impossible)


def _with(
    snapshot: Snapshot,
    dimensions: DimensionGroup,
    found: DataIdConditions,
    where: Where,
    order_by: Sequence[str] | None,
) -> DataIdConditions:
    """Add what expressions say."""
    repository = snapshot.repository
    # Names without an element in front may be of what the datasets bring in, too.
    searched = {name for search in found.searches for name in search.dimensions.names}
    spoken_of = repository.universe.group(searched.union(dimensions.names))
    types = frozenset(search.name for search in found.searches)
    condition = where.condition(repository, spoken_of, constrained=found.constraint, searched=types)
    return found._replace(condition=condition, order=orders_of(order_by or (), Scope(dimensions, searched=types)))


def _each(conditions: DataIdConditions) -> Iterator[DataIdConditions]:
    """Take the conditions of several parents apart."""
    for parent in range(conditions.parents):
        searches = [DatasetSearch(search.dataset_type, [search.collections[parent]]) for search in conditions.searches]
        impossible = any(not search.collections[0] for search in searches)
        yield conditions._replace(searches=searches, parents=1, is_impossible=impossible)


async def _expanded(snapshot: Snapshot, dimensions: DimensionGroup, pages: Sequence[Page[Key]]) -> list[Page[DataId]]:
    made = iter(await expand(snapshot, [(dimensions, key) for found in pages for key in found.rows]))
    return [Page([next(made) for _ in found.rows], found.keys, found.has_next, found.has_previous) for found in pages]
