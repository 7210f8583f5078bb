"""What the Butler orders by: names that it may be given, and the values that they stand for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from itertools import groupby
from typing import Any

from hypothesis import strategies as st
from lsst.daf.butler import Butler, DataCoordinate, Timespan
from lsst.daf.butler.queries._identifiers import IdentifierContext, interpret_identifier
from lsst.daf.butler.queries.tree import DatasetFieldReference, DimensionKeyReference

__all__ = ["keys_of", "nulls_last", "order_names"]

_STRANGE = [
    "nope",
    "visit.nope",
    "nope.name",
    "tract",
    "day_obs",
    "visit.begin",
    "visit.timespan",
    "",
    "run",
    "a.b.c.d",
]


def order_names(
    butler: Butler, dimensions: Sequence[str], *, likely: Sequence[str] = ()
) -> st.SearchStrategy[list[str]]:
    """Draw what to order by: mostly what the elements of dimensions have, now and then what nobody knows."""
    known = [*dimensions, *likely]
    for name in butler.dimensions.conform(dimensions).elements:
        element = butler.dimensions[name]
        columns = list(element.schema.names)
        if element.temporal is not None:
            known += ["timespan.begin", "timespan.end"]
            columns += ["timespan.begin", "timespan.end"]
        known += [f"{name}.{column}" for column in columns]
    bare = [name.partition(".")[2] for name in known if "." in name]
    drawn = st.one_of(*[st.sampled_from(known)] * 8, st.sampled_from(bare), st.sampled_from(_STRANGE))
    term = st.builds("{}{}".format, st.sampled_from(["", "-"]), drawn)
    return st.lists(term, min_size=1, max_size=3)


def keys_of(
    butler: Butler, names: Sequence[str], data_id: DataCoordinate, dataset: Mapping[str, Any] | None = None
) -> tuple[Any, ...]:
    """Give the values of what is ordered by: of a data ID, and of a dataset's own fields."""
    data_id = _expanded(butler, data_id)
    context = IdentifierContext(butler.dimensions.conform(data_id.dimensions), {"dataset"} if dataset else set())
    return tuple(_value(interpret_identifier(context, name.removeprefix("-")), data_id, dataset) for name in names)


@cache
def _expanded(butler: Butler, data_id: DataCoordinate) -> DataCoordinate:
    return butler.registry.expandDataId(data_id)


def _value(term: Any, data_id: DataCoordinate, dataset: Mapping[str, Any] | None) -> Any:
    if isinstance(term, DimensionKeyReference):
        return data_id[term.dimension.name]
    if isinstance(term, DatasetFieldReference):
        assert dataset is not None
        return dataset[term.field]
    if hasattr(term, "operand"):
        timespan = _value(term.operand, data_id, dataset)
        assert timespan is None or isinstance(timespan, Timespan)
        # The bounds of no timespan are no NULLs for the Butler.
        return 0 if timespan is None else timespan.nsec[term.operator == "end_of"]
    return getattr(data_id.records[term.element.name], term.field, None)


def nulls_last(keys: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Put what has no value behind its neighbours, key by key, and leave the order otherwise."""
    if not keys or not keys[0]:
        return list(keys)
    groups = [(first, [key[1:] for key in some]) for first, some in groupby(keys, key=lambda key: key[0])]
    groups.sort(key=lambda group: group[0] is None)
    return [(first, *rest) for first, some in groups for rest in nulls_last(some)]
