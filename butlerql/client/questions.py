"""What can be asked, in the words of the Butler: each function says what is to be sent, and how the answer is read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from operator import index
from types import EllipsisType
from typing import Any, Generic, Protocol, TypeVar
from uuid import UUID

from butlerql.client.rows import (
    COLLECTION,
    DATA_ID,
    DATASET,
    DATASET_TYPE,
    DIMENSION_RECORD,
    Collection,
    DataId,
    Dataset,
    DatasetType,
    DimensionRecord,
    Kind,
)
from butlerql.client.values import json_value
from butlerql.plain import plain

__all__ = [
    "Listing",
    "Lookup",
    "find_dataset",
    "get_dataset",
    "query_collections",
    "query_data_ids",
    "query_dataset_types",
    "query_datasets",
    "query_dimension_records",
]

Row = TypeVar("Row")

_TYPES = {
    "bind": "JSON!",
    "collections": "[String!]!",
    "dataId": "DataIdValues!",
    "datasetType": "String!",
    "datasetTypes": "[String!]!",
    "dimensions": "[String!]!",
    "element": "String!",
    "flattenChains": "Boolean!",
    "names": "[String!]!",
    "orderBy": "[String!]!",
    "select": "DatasetSelection!",
    "timespan": "TimespanInput!",
    "types": "[CollectionType!]!",
    "uuid": "UUID!",
    "where": "String!",
}
"""Argument to its type; what has no value is not sent."""


class Named(Protocol):
    """A dataset type, ours or the Butler's."""

    @property
    def name(self) -> str:
        """Its name."""


class Span(Protocol):
    """A timespan, ours or the Butler's."""

    @property
    def begin(self) -> Any:
        """Where it begins, on the TAI scale; None where unbounded."""

    @property
    def end(self) -> Any:
        """Where it ends, likewise."""


Names = str | Named | Iterable[str | Named] | EllipsisType
"""One or several; an ellipsis means all."""


@dataclass(frozen=True)
class Lookup(Generic[Row]):
    """One object that is asked for."""

    field: str
    kind: Kind[Row]
    variables: dict[str, Any]

    @property
    def document(self) -> str:
        """The query in GraphQL."""
        return _document(self.field, self.variables, {}, self.kind.fields)


@dataclass(frozen=True)
class Listing(Generic[Row]):
    """Objects that come in pages."""

    field: str
    kind: Kind[Row]
    variables: dict[str, Any]
    limit: int | None = None
    explain: bool = False

    @property
    def document(self) -> str:
        """The query of one page in GraphQL."""
        page = f"nodes {{ {self.kind.fields} }} pageInfo {{ hasNextPage endCursor }}"
        return _document(self.field, self.variables, {"first": "Int!", "after": "String"}, page)


def query_datasets(
    dataset_type: str | Named,
    collections: Names | None = None,
    *,
    find_first: bool = True,
    data_id: Mapping[str, Any] | None = None,
    where: str = "",
    bind: Mapping[str, Any] | None = None,
    generated_by: Mapping[str, Any] | None = None,
    order_by: str | Iterable[str] | None = None,
    limit: int | None = None,
    explain: bool = False,
    **kwargs: Any,
) -> Listing[Dataset]:
    """List datasets of a type.

    Parameters
    ----------
    dataset_type
        The dataset type, or its name.
    collections
        Names, searched in the order given; globs if ``find_first`` is off. Required if it is on.
    find_first
        Per data ID only the first in search order.
    data_id, **kwargs
        Only datasets whose data IDs agree with these values.
    where, bind
        A condition in the Butler's expression language, and values for the identifiers in it.
    generated_by
        Only what such work wrote, named as in the API: ``{"hosts": ["node-17"], "startedAfter": "2026-11-20T00:00Z"}``.
    order_by
        Dimensions and columns, descending with ``-`` in front.
    limit
        At most so many; no more pages are read than that takes.
    explain
        Whether it is an `EmptyResultError` if there is none.
    """
    select = _given(
        datasetTypes=_names(dataset_type),
        collections=_names(collections),
        findFirst=find_first,
        dataId=_data_id(data_id, kwargs) or None,
        where=where or None,
        bind=bind,
        generatedBy=generated_by,
    )
    return Listing("datasets", DATASET, _given(select=select, orderBy=_names(order_by)), _limit(limit), explain)


def query_data_ids(
    dimensions: str | Iterable[str],
    *,
    data_id: Mapping[str, Any] | None = None,
    where: str = "",
    bind: Mapping[str, Any] | None = None,
    dataset_types: Names | None = None,
    collections: Names | None = None,
    order_by: str | Iterable[str] | None = None,
    limit: int | None = None,
    explain: bool = False,
    **kwargs: Any,
) -> Listing[DataId]:
    """List data IDs.

    Parameters
    ----------
    dimensions
        Their dimensions.
    data_id, **kwargs
        Only data IDs that agree with these values.
    where, bind
        A condition in the Butler's expression language, and values for the identifiers in it.
    dataset_types, collections
        Only data IDs for which there is a dataset of each of these types, in these collections.
    order_by
        Dimensions and columns, descending with ``-`` in front.
    limit
        At most so many; no more pages are read than that takes.
    explain
        Whether it is an `EmptyResultError` if there is none.
    """
    variables = _given(
        dimensions=_names(dimensions),
        dataId=_data_id(data_id, kwargs) or None,
        where=where or None,
        bind=bind,
        datasetTypes=_names(dataset_types),
        collections=_names(collections),
        orderBy=_names(order_by),
    )
    return Listing("dataIds", DATA_ID, variables, _limit(limit), explain)


def query_dimension_records(
    element: str,
    *,
    data_id: Mapping[str, Any] | None = None,
    where: str = "",
    bind: Mapping[str, Any] | None = None,
    dataset_types: Names | None = None,
    collections: Names | None = None,
    order_by: str | Iterable[str] | None = None,
    limit: int | None = None,
    explain: bool = False,
    **kwargs: Any,
) -> Listing[DimensionRecord]:
    """List what the registry knows of a dimension element.

    Parameters
    ----------
    element
        Name of the element.
    data_id, **kwargs
        Only records that agree with these values.
    where, bind
        A condition in the Butler's expression language, and values for the identifiers in it.
    dataset_types, collections
        Only records for which there is a dataset of each of these types, in these collections.
    order_by
        Dimensions and columns, descending with ``-`` in front.
    limit
        At most so many; no more pages are read than that takes.
    explain
        Whether it is an `EmptyResultError` if there is none.
    """
    variables = _given(
        element=element,
        dataId=_data_id(data_id, kwargs) or None,
        where=where or None,
        bind=bind,
        datasetTypes=_names(dataset_types),
        collections=_names(collections),
        orderBy=_names(order_by),
    )
    return Listing("dimensionRecords", DIMENSION_RECORD, variables, _limit(limit), explain)


def query_dataset_types(expression: Names = "*") -> Listing[DatasetType]:
    """List dataset types by name.

    Parameters
    ----------
    expression
        Names or globs.
    """
    return Listing("datasetTypes", DATASET_TYPE, _given(names=_names(expression)))


def query_collections(
    expression: Names = "*", collection_types: Any = None, *, flatten_chains: bool = False
) -> Listing[Collection]:
    """List collections by name.

    Parameters
    ----------
    expression
        Names or globs.
    collection_types
        Only these: one or several of ``"RUN"``, ``"TAGGED"``, ``"CALIBRATION"``, ``"CHAINED"``, or the Butler's own.
    flatten_chains
        Whether chains are replaced by the collections that they reach.
    """
    types = [collection_types] if isinstance(collection_types, str | Enum) else collection_types
    variables = _given(names=_names(expression), types=types, flattenChains=flatten_chains)
    return Listing("collections", COLLECTION, variables)


def find_dataset(
    dataset_type: str | Named,
    data_id: Mapping[str, Any] | None = None,
    *,
    collections: Names,
    timespan: Span | None = None,
    **kwargs: Any,
) -> Lookup[Dataset]:
    """Find the first dataset in search order; None if there is none.

    Parameters
    ----------
    dataset_type
        The dataset type, or its name; of a component too.
    data_id, **kwargs
        What it is of.
    collections
        Names, searched in the order given.
    timespan
        When a calibration must be valid.
    """
    variables = _given(
        datasetType=_names(dataset_type)[0],
        dataId=_data_id(data_id, kwargs),
        collections=_names(collections),
        timespan=None if timespan is None else {"begin": _instant(timespan.begin), "end": _instant(timespan.end)},
    )
    return Lookup("findDataset", DATASET, variables)


def get_dataset(id: UUID | str) -> Lookup[Dataset]:  # noqa: A002 - as the Butler has it
    """Look a dataset up; None if there is none.

    Parameters
    ----------
    id
        Its UUID.
    """
    return Lookup("dataset", DATASET, _given(uuid=id))


def _document(field: str, variables: Iterable[str], more: Mapping[str, str], fields: str) -> str:
    types = {**{name: _TYPES[name] for name in variables}, **more}
    declared = ", ".join(f"${name}: {kind}" for name, kind in types.items())
    passed = ", ".join(f"{name}: ${name}" for name in types)
    return f"query {field}({declared}) {{ {field}({passed}) {{ {fields} }} }}"


def _given(**arguments: Any) -> dict[str, Any]:
    return {name: json_value(value) for name, value in arguments.items() if value is not None}


def _names(given: Any) -> Any:
    if given is None:
        return None
    if given is ...:
        return ["*"]
    given = plain(given)
    several = [given] if isinstance(given, str) or hasattr(given, "name") else given
    return [getattr(one, "name", one) for one in several]


def _data_id(given: Any, more: Mapping[str, Any]) -> dict[str, Any]:
    return {**getattr(given, "mapping", given or {}), **more}


def _instant(given: Any) -> Any:
    """Take an instant of astropy's in TAI, to the nanosecond."""
    return given.tai.datetime64 if hasattr(given, "tai") else given


def _limit(given: int | None) -> int | None:
    if given is None:
        return None
    if index(given) < 0:
        raise ValueError("limit must not be negative. Leave it out to have all: they are read as they are needed.")
    return index(given)
