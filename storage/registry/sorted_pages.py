"""Pages of datasets in an order that was asked for: one pass over all that is selected."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa

from butlerql.storage.registry.chosen_rows import Fields, ambiguous, chosen_rows, settled_groups
from butlerql.storage.registry.dataset_types import DatasetType
from butlerql.storage.registry.datasets import Dataset, by_uuids
from butlerql.storage.registry.orders import Order
from butlerql.storage.registry.pages import OrderBy, Ordering, Page, PageRequest, pages_of
from butlerql.storage.registry.ranges import Filter, Part, Wanted
from butlerql.storage.snapshot import Snapshot

__all__ = ["sorted_pages"]


async def sorted_pages(
    snapshot: Snapshot,
    parts: Sequence[Part],
    parents: int,
    request: PageRequest,
    order: Callable[[DatasetType], Sequence[Order]],
    *,
    wanted: Wanted = Wanted.DATASETS,
    filters: Sequence[Filter] = (),
) -> list[Page[Dataset]]:
    """Read the same page of the datasets of each of several parents.

    Parameters
    ----------
    snapshot, parts, parents, wanted, filters
        See `dataset_pages`.
    request
        Which page. Its keys are what is ordered by, a UUID, and the place of a dataset type.
    order
        Tells what to order by, for datasets of a type; of the same kinds for all.

    Raises
    ------
    BadCursorError
        Raised if a key of the request is none of such a page.
    AmbiguousCalibrationError
        Raised if several certifications of one data ID are found first.
    """
    groups = await settled_groups(snapshot, parts, wanted, filters)
    if not groups:
        return [Page([], [], has_next=False, has_previous=False) for _ in range(parents)]
    # Of the same kinds for all, and so of the same directions.
    descending = [term.is_descending for term in order(parts[0].dataset_type)]
    selects = [chosen_rows(group, wanted, _fields(order(group.parts[0].dataset_type)), descending) for group in groups]
    entries = sa.union_all(*selects).subquery()
    fields = [column for name, column in entries.c.items() if name.startswith("field_")]
    key: list[OrderBy] = [Ordering(*term) for term in zip(fields, descending, strict=True)]
    key += [entries.c.uuid, entries.c.place]
    statement = sa.select(entries.c.uuid, entries.c.place, entries.c.several)
    pages = await pages_of(snapshot, statement, entries.c.parent, key, parents, request)
    return await _datasets(snapshot, parts, pages)


def _fields(order: Sequence[Order]) -> Fields:
    """Give what is ordered by."""
    return lambda source, table: source.fields(table, [term.operand for term in order])


async def _datasets(snapshot: Snapshot, parts: Sequence[Part], pages: Sequence[Page[Any]]) -> list[Page[Dataset]]:
    """Look up the datasets of pages."""
    kinds = {part.place: part.dataset_type for part in parts}
    for page in pages:
        for row in page.rows:
            if row.several > 1:
                raise ambiguous(kinds[row.place])
    found = await by_uuids(snapshot, [row.uuid for page in pages for row in page.rows])
    known = iter([dataset for dataset in found if dataset is not None])
    return [
        Page(
            [next(known)._replace(dataset_type=kinds[row.place]) for row in page.rows],
            page.keys,
            page.has_next,
            page.has_previous,
        )
        for page in pages
    ]
