"""What is known of an answer while it grows: values for many positions at once, and what went wrong in them.

The engine goes down the levels of a query and sets, for each field of each group of rows, a *part*: the values of
that field, one a row. A part of leaves is ready at once. A part of lists stands on a part of their items; a part of
objects stands on the *groups* of the next level, where equal rows are one. When there is no deeper level, groups and
parts are finished from the bottom up: dicts are made, and nulls where none may be climb to where one may.

A position is what a response path names: a row of a group, an item of a list. An error is kept once, at the position
that it made null; only when all is done are the paths found that lead there, which may be many.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate, islice
from typing import Any, NamedTuple

from graphql import FieldNode, GraphQLError, GraphQLObjectType, located_error

from butlerql.resolvers.selections import SelectedField

__all__ = ["Failure", "Group", "LeafPart", "ListPart", "ObjectPart", "Part", "Rows", "located_errors"]


class Failure(NamedTuple):
    """Why a position is null.

    Attributes
    ----------
    error
        As it was raised or answered.
    nodes
        The field that met it.
    path
        From the position to where it was met: not empty if nulls climbed.
    """

    error: Exception
    nodes: list[FieldNode]
    path: tuple[str | int, ...] = ()

    def seen_from(self, key: str | int) -> Failure:
        """Give the failure as the position above sees it."""
        return Failure(self.error, self.nodes, (key, *self.path))


class Part:
    """Values for a row of positions.

    Attributes
    ----------
    values
        Fit for output; None where null.
    failures
        Of the positions that an error made null.
    flawed
        The positions that have errors deeper in them; of those among the failures this does not matter.
    """

    __slots__ = ("failures", "flawed", "values")

    def __init__(self, values: Sequence[Any], failures: dict[int, Failure]) -> None:
        self.values = values
        self.failures = failures
        self.flawed: set[int] = set()

    def finish(self, propagate: bool) -> None:
        """Set the values, when all that they stand on is finished.

        Parameters
        ----------
        propagate
            Whether a null where none may be makes what holds it null.
        """
        raise NotImplementedError

    def below(self, position: int) -> Iterator[tuple[str | int, Part, int]]:
        """Give key, part and position of everything directly in a flawed position that is null or flawed itself."""
        raise NotImplementedError


class LeafPart(Part):
    """Leaves."""

    __slots__ = ()

    def finish(self, propagate: bool) -> None:
        """Do nothing: leaves are ready from the start."""

    def below(self, position: int) -> Iterator[tuple[str | int, Part, int]]:
        """Give nothing: a leaf is never flawed."""
        return iter(())


class ListPart(Part):
    """Lists.

    Parameters
    ----------
    count
        How many positions there are.
    failures
        What is known of them already.
    positions
        Those that hold a list, in order; None if all do.
    lengths
        Of those lists.
    items
        The items of all lists, one list after the other.
    items_non_null
        Whether an item must not be null.
    """

    __slots__ = ("_items", "_items_non_null", "_lengths", "_positions", "_starts")

    def __init__(
        self,
        count: int,
        failures: dict[int, Failure],
        positions: Sequence[int] | None,
        lengths: Sequence[int],
        items: Part,
        items_non_null: bool,
    ) -> None:
        super().__init__([None] * count, failures)
        self._positions = range(count) if positions is None else positions
        self._lengths = lengths
        self._items = items
        self._items_non_null = items_non_null
        self._starts: list[int] = []

    def finish(self, propagate: bool) -> None:
        """Cut the items into lists; see `Part.finish`."""
        items = self._items
        items.finish(propagate)
        remaining = iter(items.values)
        values: list[Any] = [None] * len(self.values)
        for position, length in zip(self._positions, self._lengths, strict=True):
            values[position] = list(islice(remaining, length))
        self.values = values
        if not items.failures and not items.flawed:
            return
        self._starts = list(accumulate(self._lengths, initial=0))
        climbs = propagate and self._items_non_null
        for item in sorted(items.failures.keys() | items.flawed):
            # Empty lists start where the next one does; the last that starts there has the item.
            index = bisect_right(self._starts, item) - 1
            position = self._positions[index]
            if climbs and item in items.failures:
                if position not in self.failures:
                    self.failures[position] = items.failures[item].seen_from(item - self._starts[index])
                    values[position] = None
            else:
                self.flawed.add(position)

    def below(self, position: int) -> Iterator[tuple[str | int, Part, int]]:
        """Give the bad items of a list; see `Part.below`."""
        index = bisect_left(self._positions, position)
        start = self._starts[index]
        for item in range(start, self._starts[index + 1]):
            if item in self._items.failures or item in self._items.flawed:
                yield item - start, self._items, item


class Rows:
    """Distinct rows, in the order of their first appearance. Rows are the same if they are one object."""

    __slots__ = ("_indices", "items")

    def __init__(self) -> None:
        self.items: list[Any] = []
        self._indices: dict[int, int] = {}

    def add(self, rows: Sequence[Any]) -> Sequence[int]:
        """Add rows that are not there yet.

        Returns
        -------
        indices
            Where each of ``rows`` is among the items.
        """
        identities = list(map(id, rows))
        indices = self._indices
        known = len(indices)
        fresh = dict(zip(identities, rows, strict=True))
        if known:
            fresh = {identity: row for identity, row in fresh.items() if identity not in indices}
        indices.update(zip(fresh, range(known, known + len(fresh)), strict=True))
        self.items.extend(fresh.values())
        if len(fresh) == len(rows):
            return range(known, known + len(fresh))
        return list(map(indices.__getitem__, identities))


class Group:
    """The rows of one level that have the same object type and the same selection.

    Attributes
    ----------
    type
        Their object type.
    fields
        The selection.
    rows
        The rows.
    parts
        One a field, set by the engine.
    results
        One a row, set when finished; None where nulls climbed out of the row.
    failures, flawed
        As in `Part`, by row.
    """

    __slots__ = ("_bad", "failures", "fields", "flawed", "parts", "results", "rows", "type")

    def __init__(self, type_: GraphQLObjectType, fields: Sequence[SelectedField]) -> None:
        self.type = type_
        self.fields = fields
        self.rows = Rows()
        self.parts: list[Part] = []
        self.results: list[dict[str, Any] | None] = []
        self.failures: dict[int, Failure] = {}
        self.flawed: set[int] = set()
        self._bad: list[tuple[str, Part]] = []

    def finish(self, propagate: bool) -> None:
        """Finish the parts and make the dicts; see `Part.finish`."""
        # A copy of a ready dict, then one key after the other: as fast as a dict display of known keys, and half the
        # time of dict(zip(keys, values)).
        blank = dict.fromkeys(field.key for field in self.fields)
        results: list[Any] = [blank.copy() for _ in self.rows.items]
        for field, part in zip(self.fields, self.parts, strict=True):
            part.finish(propagate)
            key = field.key
            for result, value in zip(results, part.values, strict=True):
                result[key] = value
            if part.failures or part.flawed:
                self._bad.append((key, part))
                self.flawed |= part.flawed
                if propagate and field.bound.shape.non_null:
                    for row, failure in part.failures.items():
                        if row not in self.failures:
                            self.failures[row] = failure.seen_from(key)
                else:
                    self.flawed |= part.failures.keys()
        for row in self.failures:
            results[row] = None
        self.results = results

    def below(self, row: int) -> Iterator[tuple[str | int, Part, int]]:
        """Give the bad fields of a row; see `Part.below`."""
        for key, part in self._bad:
            if row in part.failures or row in part.flawed:
                yield key, part, row


class ObjectPart(Part):
    """Objects.

    Parameters
    ----------
    count
        How many positions there are.
    failures
        What is known of them already.
    """

    __slots__ = ("_links",)

    def __init__(self, count: int, failures: dict[int, Failure]) -> None:
        super().__init__([None] * count, failures)
        self._links: list[tuple[Group, Sequence[int], Sequence[int]]] = []

    def link(self, group: Group, positions: Sequence[int] | None, rows: Sequence[Any]) -> None:
        """Say which positions hold objects of a group.

        Parameters
        ----------
        group
            Of the next level.
        positions
            In order; None for all.
        rows
            One a position.
        """
        self._links.append((group, range(len(self.values)) if positions is None else positions, group.rows.add(rows)))

    def finish(self, propagate: bool) -> None:
        """Take the dicts of the groups; see `Part.finish`."""
        values: list[Any] = [None] * len(self.values)
        for group, positions, rows in self._links:
            results = map(group.results.__getitem__, rows)
            if len(positions) == len(values):
                values = list(results)
            else:
                for position, result in zip(positions, results, strict=True):
                    values[position] = result
            if group.failures or group.flawed:
                for position, row in zip(positions, rows, strict=True):
                    if row in group.failures:
                        self.failures[position] = group.failures[row]
                    elif row in group.flawed:
                        self.flawed.add(position)
        self.values = values

    def below(self, position: int) -> Iterator[tuple[str | int, Part, int]]:
        """Give the bad fields of an object; see `Part.below`."""
        for group, positions, rows in self._links:
            index = bisect_left(positions, position)
            if index < len(positions) and positions[index] == position:
                return group.below(rows[index])
        return iter(())


def located_errors(part: Part, position: int, path: Sequence[str | int]) -> list[GraphQLError]:
    """Give the errors of a finished position, each at every path that leads to it, in the order of the answer.

    Parameters
    ----------
    part, position
        Where to begin.
    path
        The response path of that position.
    """
    errors: list[GraphQLError] = []
    # A stack of our own: the depth of a query must not meet Python's limit here.
    pending: list[tuple[Part, int, tuple[str | int, ...]]] = [(part, position, tuple(path))]
    while pending:
        part, position, here = pending.pop()
        failure = part.failures.get(position)
        if failure is not None:
            errors.append(located_error(failure.error, failure.nodes, [*here, *failure.path]))
        elif position in part.flawed:
            found = [(below, index, (*here, key)) for key, below, index in part.below(position)]
            pending.extend(reversed(found))
    return errors
