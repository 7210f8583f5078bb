"""Data IDs of units of work as others wrote them down, brought to what the repository has."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from dataclasses import replace

from butlerql.storage.errors import InvalidSourceError
from butlerql.storage.provenance.batches import written_data_id
from butlerql.storage.provenance.lenient_json import integer_of
from butlerql.storage.provenance.records import QuantumRecord, Record, Skipped
from butlerql.storage.registry import dataset_types
from butlerql.storage.snapshot import Snapshot
from butlerql.storage.universe import DimensionGroup

__all__ = ["KnownTasks", "known_tasks"]

_TRACES = ("_log", "_metadata")
"""What work leaves, in types with the dimensions of the work; the latter is believed where they differ."""


async def known_tasks(snapshot: Snapshot) -> KnownTasks:
    """Find out which tasks have left logs or metadata."""
    types = await dataset_types.all_types(snapshot)
    return KnownTasks(
        {
            kind.name.removesuffix(trace): kind.dimensions
            for trace in _TRACES
            for kind in types
            if kind.name.endswith(trace)
        }
    )


class KnownTasks:
    """The tasks of which a repository knows the dimensions.

    Parameters
    ----------
    dimensions
        By label.
    """

    def __init__(self, dimensions: Mapping[str, DimensionGroup]) -> None:
        self._dimensions = dimensions

    def brought(self, record: Record) -> Record:
        """Give a record, if it is a unit of work with no more than the required dimensions; as it is if none are known.

        Raises
        ------
        InvalidSourceError
            Raised if it lacks one, or a value is of the wrong type.
        """
        if not isinstance(record, QuantumRecord) or record.task not in self._dimensions:
            return record
        group, given = self._dimensions[record.task], record.data_id
        lacking = [name for name in group.required if name not in given]
        if lacking:
            raise InvalidSourceError(f"The data ID lacks {', '.join(lacking)}.")
        return replace(record, data_id={name: _value(group, name, given[name]) for name in group.required})

    async def each_brought(self, batches: AsyncIterable[Sequence[Record]]) -> AsyncIterator[Sequence[Record]]:
        """Give records likewise, and in place of those for which that cannot be, that they are skipped."""
        async for batch in batches:
            yield [self._brought_or_skipped(record) for record in batch]

    def _brought_or_skipped(self, record: Record) -> Record:
        try:
            return self.brought(record)
        except InvalidSourceError as error:
            assert isinstance(record, QuantumRecord)
            return Skipped(f"{record.run}, {record.task}, {written_data_id(record.data_id)}", str(error))


def _value(group: DimensionGroup, name: str, value: int | str) -> int | str:
    is_number = group.universe.dimensions[name].primary_key.type == "int"
    if is_number and isinstance(value, str) and value.isascii() and value.isdigit():
        # Longer ones are no numbers of 64 bits.
        value = integer_of(int(value[:30]))
    if is_number != isinstance(value, int):
        raise InvalidSourceError(f"{value!r} is no value of {name}, which is {'a number' if is_number else 'text'}.")
    return value
