"""What answers are made of, and how they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, NamedTuple, TypeVar
from uuid import UUID

__all__ = [
    "COLLECTION",
    "DATASET",
    "DATASET_TYPE",
    "DATA_ID",
    "DATA_IDS",
    "DIMENSION_RECORD",
    "Collection",
    "DataId",
    "Dataset",
    "DatasetType",
    "DimensionRecord",
    "Kind",
    "Region",
    "Timespan",
    "WholeNumbers",
]

Row = TypeVar("Row")
Value = TypeVar("Value")

WholeNumbers = Mapping[str, frozenset[str]]
"""Dimension element to those columns of its records that hold whole numbers; `DATA_IDS` to those dimensions."""

DATA_IDS = ""


class Kind(NamedTuple, Generic[Row]):
    """What to ask of an object, and how to read the answer."""

    fields: str
    read: Callable[[dict[str, Any], WholeNumbers], Row]


@dataclass(frozen=True, eq=False)
class _Values(Mapping[str, Value]):
    mapping: Mapping[str, Value]

    def __getitem__(self, name: str) -> Value:
        return self.mapping[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.mapping)

    def __len__(self) -> int:
        return len(self.mapping)


@dataclass(frozen=True, eq=False)
class DataId(_Values[int | str]):
    """Dimension name to value, required and implied; equal to any mapping of the same. It can be passed back."""

    def __hash__(self) -> int:
        return hash(frozenset(self.mapping.items()))


@dataclass(frozen=True)
class Dataset:
    """A dataset.

    Attributes
    ----------
    uuid
        The Butler's identifier of it.
    dataset_type
        Name of its dataset type.
    data_id
        What it is of.
    run
        Name of the RUN collection that it was written into.
    filename
        Path or URI of its file in the first datastore that has it; None if none has, or if it is split in several.
    size
        Bytes of its files there, by the records; None if none has it or they are not recorded.
    ingest_date
        When the registry came to know it, in UTC.
    """

    uuid: UUID
    dataset_type: str
    data_id: DataId
    run: str
    filename: str | None
    size: int | None
    ingest_date: datetime | None


@dataclass(frozen=True)
class DatasetType:
    """A dataset type.

    Attributes
    ----------
    name
        Its name.
    storage_class
        Name of its storage class.
    dimensions
        Names of its dimensions, the required ones before the implied ones.
    is_calibration
        Whether its datasets can be certified for a timespan.
    """

    name: str
    storage_class: str
    dimensions: tuple[str, ...]
    is_calibration: bool


@dataclass(frozen=True)
class Collection:
    """A collection.

    Attributes
    ----------
    name
        Its name.
    type
        ``"RUN"``, ``"TAGGED"``, ``"CALIBRATION"`` or ``"CHAINED"``.
    doc
        What its makers wrote about it.
    children
        Names of a chain's members, in search order; empty if it is no chain.
    """

    name: str
    type: str
    doc: str | None
    children: tuple[str, ...]


class Region(NamedTuple):
    """A region on the sky: ICRS degrees, with the circle that bounds it."""

    ra: float
    dec: float
    radius: float
    stcs: str
    vertices: list[list[float]] | None
    kind: str


class Timespan(NamedTuple):
    """A stretch of time: TAI to the nanosecond, None where unbounded, and UTC to the microsecond; ISO 8601."""

    begin: str | None
    end: str | None
    begin_utc: str | None = None
    end_utc: str | None = None
    is_empty: bool = False


@dataclass(frozen=True, eq=False)
class DimensionRecord(_Values[Any]):
    """What the registry knows of one value of a dimension: a mapping of all columns.

    A timespan is a `Timespan`, a region a `Region`.

    Attributes
    ----------
    element
        Name of the dimension element.
    data_id
        What it is of.
    """

    element: str
    data_id: DataId

    @property
    def timespan(self) -> Timespan | None:
        """When it was; None if the element has no timespan or the record lacks it."""
        return self.mapping.get("timespan")

    @property
    def region(self) -> Region | None:
        """Where on the sky it lies; None if the element has no region or the record lacks it."""
        return self.mapping.get("region")


def _whole(values: dict[str, Any], names: frozenset[str]) -> dict[str, Any]:
    """Read whole numbers: the large ones come as text."""
    return {name: int(value) if isinstance(value, str) and name in names else value for name, value in values.items()}


def _data_id(answer: dict[str, Any], numbers: WholeNumbers) -> DataId:
    return DataId(_whole(answer["values"], numbers[DATA_IDS]))


def _dataset(answer: dict[str, Any], numbers: WholeNumbers) -> Dataset:
    files = answer["artifacts"]
    sizes = [file["size"] for file in files if file["datastore"] == files[0]["datastore"]]
    ingested = answer["ingestDate"]
    return Dataset(
        UUID(answer["uuid"]),
        answer["datasetType"]["name"],
        _data_id(answer["dataId"], numbers),
        answer["run"]["name"],
        answer["filename"],
        sum(map(int, sizes)) if sizes and None not in sizes else None,
        None if ingested is None else datetime.fromisoformat(ingested),
    )


def _dataset_type(answer: dict[str, Any], numbers: WholeNumbers) -> DatasetType:
    dimensions = tuple(dimension["name"] for dimension in answer["dimensions"])
    return DatasetType(answer["name"], answer["storageClass"]["name"], dimensions, answer["isCalibration"])


def _collection(answer: dict[str, Any], numbers: WholeNumbers) -> Collection:
    children = tuple(child["name"] for child in answer.get("children", ()))
    return Collection(answer["name"], answer["type"], answer["doc"], children)


def _record(answer: dict[str, Any], numbers: WholeNumbers) -> DimensionRecord:
    element = answer["element"]["name"]
    values = _whole(answer["values"], numbers[element])
    if (span := values.get("timespan")) is not None:
        values["timespan"] = Timespan(
            span["begin"], span["end"], span["beginUtc"], span["endUtc"], is_empty=span["isEmpty"]
        )
    if (region := values.get("region")) is not None:
        values["region"] = Region(**region)
    return DimensionRecord(values, element, _data_id(answer["dataId"], numbers))


DATA_ID = Kind("values", _data_id)
DATASET = Kind(
    "uuid datasetType { name } dataId { values } run { name } filename ingestDate"
    " artifacts { datastore { name } size }",
    _dataset,
)
DATASET_TYPE = Kind("name storageClass { name } dimensions { name } isCalibration", _dataset_type)
COLLECTION = Kind("name type doc ... on ChainedCollection { children { name } }", _collection)
DIMENSION_RECORD = Kind("element { name } dataId { values } values", _record)
