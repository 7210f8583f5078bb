"""The batch engine at work on one request: level after level, and how graphql-core is told."""

# Whatever is raised here becomes the error of a field.
# ruff: noqa: BLE001

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import chain
from types import NoneType
from typing import Any, Final

from graphql import GraphQLError, GraphQLObjectType, GraphQLOutputType, GraphQLResolveInfo, Undefined, is_abstract_type
from graphql.execution.collect_fields import FieldDetailsList
from graphql.pyutils import AwaitableOrValue, Path, is_iterable
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from butlerql.resolvers.binding import Binding, Composite, Leaf, ListOf, Shape
from butlerql.resolvers.completion import Failure, Group, LeafPart, ListPart, ObjectPart, Part, Rows, located_errors
from butlerql.resolvers.loaders import LoaderContext, RegisteredLoader, fetch, pick
from butlerql.resolvers.selections import Identity, SelectedField, Selections

__all__ = ["BatchExecutionContext", "Uncompleted"]

_NULLS: Final = frozenset({NoneType, type(Undefined)})
_LISTS: Final = frozenset({list, tuple})


class Uncompleted:
    """What a root field answered: a row, rows or a leaf, of which the engine completes what is below."""

    __slots__ = ("binding", "value")

    def __init__(self, value: Any, binding: Binding) -> None:
        self.value = value
        self.binding = binding


class BatchExecutionContext(StrawberryGraphQLCoreExecutionContext):
    """The executor for a schema whose root fields were installed by the engine.

    Everything else (streams of subscriptions, introspection, fields of other schemas) it executes as graphql-core does.
    ``@defer`` and ``@stream`` below a root field are ignored, as the specification allows.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._selections: Selections | None = None

    def complete_value(
        self,
        return_type: GraphQLOutputType,
        field_details_list: FieldDetailsList,
        info: GraphQLResolveInfo[Any],
        path: Path,
        result: Any,
        position_context: Any,
    ) -> AwaitableOrValue[Any]:
        """Complete a value: what a root field answered by the engine, anything else by graphql-core."""
        if isinstance(result, Uncompleted):
            return self._complete_batch(field_details_list, info, path, result)
        return super().complete_value(return_type, field_details_list, info, path, result, position_context)

    async def _complete_batch(
        self, field_details_list: FieldDetailsList, info: GraphQLResolveInfo[Any], path: Path, result: Uncompleted
    ) -> Any:
        if self._selections is None:
            self._selections = Selections(self, result.binding)
        bound = result.binding.fields[info.parent_type.name, info.field_name]
        field = self._selections.root(bound, str(path.key), field_details_list)
        part = await _Completion(self, result.binding, self._selections).complete(field, result.value)
        errors = located_errors(part, 0, path.as_list())
        if 0 in part.failures:
            # graphql-core keeps a located error as it is, and makes the field null or lets the null climb on.
            raise errors[0]
        if not self.collected_errors.has_nulled_position(path):
            self.collected_errors.errors.extend(errors)
        return part.values[0]


class _Level:
    """The groups of objects that stand equally deep in the answer to one root field."""

    def __init__(self, selections: Selections) -> None:
        self.groups: dict[tuple[str, Identity], Group] = {}
        self._selections = selections

    def group(self, type_: GraphQLObjectType, field: SelectedField) -> Group | Exception:
        """Give the group of the objects of a type that a field, of whatever parents, gives."""
        place = (type_.name, field.identity)
        if place not in self.groups:
            fields = self._selections.below(field, type_)
            if isinstance(fields, Exception):
                return fields
            self.groups[place] = Group(type_, fields)
        return self.groups[place]


class _Call:
    """One call of a loader, for the rows of all groups of a level in which the field stands."""

    def __init__(self, source: RegisteredLoader, field: SelectedField) -> None:
        self.source = source
        self.field = field
        self._rows: Sequence[Any] = ()
        self._merged: Rows | None = None
        self._values: Sequence[Any] | None = None

    def add(self, rows: Sequence[Any]) -> Sequence[int]:
        """Add the rows of a group, and give the indices of their values."""
        if not self._rows:
            self._rows = rows
            return range(len(rows))
        if self._merged is None:
            self._merged = Rows()
            self._merged.add(self._rows)
            self._rows = self._merged.items
        return self._merged.add(rows)

    async def run(self, context: LoaderContext) -> None:
        """Call the loader; what it raises is the value of every row."""
        bound = self.field.bound
        name = f"{bound.parent.name}.{bound.name}"
        try:
            self._values = await fetch(self.source, name, context, self._rows, self.field.arguments)
        except Exception as error:
            self._values = [error] * len(self._rows)

    def values(self, indices: Sequence[int]) -> Sequence[Any]:
        """Give the values of rows added."""
        if self._values is None:
            # The loader's own task was cancelled, though nobody cancelled us.
            raise asyncio.CancelledError
        if self._merged is None:
            return self._values
        return list(map(self._values.__getitem__, indices))


class _Completion:
    """The completion of one root field."""

    def __init__(self, executor: BatchExecutionContext, binding: Binding, selections: Selections) -> None:
        self._executor = executor
        self._binding = binding
        self._selections = selections

    async def complete(self, field: SelectedField, value: Any) -> Part:
        """Complete the value of a root field.

        Returns
        -------
        part
            Finished, with one position.
        """
        level = _Level(self._selections)
        root = self._place(field.bound.shape, [value], field, level)
        levels: list[_Level] = []
        while level.groups:
            levels.append(level)
            following = _Level(self._selections)
            for group, answers in await self._answers(level):
                for selected, values in zip(group.fields, answers, strict=True):
                    group.parts.append(self._place(selected.bound.shape, values, selected, following))
            level = following
        propagate = self._executor.error_propagation
        for level in reversed(levels):
            for group in level.groups.values():
                group.finish(propagate)
        root.finish(propagate)
        return root

    async def _answers(self, level: _Level) -> list[tuple[Group, list[Sequence[Any]]]]:
        """Let every field of a level be answered once, and give the values by group and field."""
        calls: dict[tuple[RegisteredLoader, Identity], list[_Call]] = {}
        answered: list[tuple[Group, list[Sequence[Any]]]] = []
        awaited: list[tuple[list[Sequence[Any]], int, _Call, Sequence[int]]] = []
        for group in level.groups.values():
            rows = group.rows.items
            answers: list[Sequence[Any]] = [()] * len(group.fields)
            for number, field in enumerate(group.fields):
                source = field.bound.source
                if field.error is not None:
                    answers[number] = [field.error] * len(rows)
                elif isinstance(source, RegisteredLoader):
                    call = _call_of(calls.setdefault((source, field.identity), []), source, field)
                    awaited.append((answers, number, call, call.add(rows)))
                else:
                    answers[number] = pick(source, f"{field.bound.parent.name}.{field.bound.name}", rows)
            answered.append((group, answers))
        await self._run([call for same in calls.values() for call in same])
        for answers, number, call, indices in awaited:
            answers[number] = call.values(indices)
        return answered

    async def _run(self, calls: Sequence[_Call]) -> None:
        """Run the loaders of a level: those that use the database one after another, the others beside them."""
        context: LoaderContext = self._executor.context_value
        beside = [call for call in calls if not call.source.database]
        if len(calls) > 1 and beside:
            async with asyncio.TaskGroup() as tasks:
                for call in beside:
                    tasks.create_task(call.run(context))
                for call in calls:
                    if call.source.database:
                        await call.run(context)
        else:
            for call in calls:
                await call.run(context)

    def _place(self, shape: Shape, values: Sequence[Any], field: SelectedField, level: _Level) -> Part:
        """Make the part of values of some type; the objects among them join groups of the level below."""
        match shape:
            case Leaf():
                return self._place_leaves(shape, values, field)
            case ListOf():
                return self._place_lists(shape, values, field, level)
            case Composite():
                return self._place_objects(shape, values, field, level)

    def _place_leaves(self, shape: Leaf, values: Sequence[Any], field: SelectedField) -> Part:
        if shape.column.untouched(values, set(map(type, values)), not shape.non_null):
            return LeafPart(values, {})
        positions, present, failures = _sifted(values, shape.non_null, field)
        coerced, errors = shape.column.serialised(present)
        if positions is None:
            outputs = coerced
            positions = range(len(values))
        else:
            outputs = [None] * len(values)
            for position, output in zip(positions, coerced, strict=True):
                outputs[position] = output
        for index, error in errors.items():
            failures[positions[index]] = Failure(error, field.nodes)
        return LeafPart(outputs, failures)

    def _place_lists(self, shape: ListOf, values: Sequence[Any], field: SelectedField, level: _Level) -> Part:
        positions, present, failures = _sifted(values, shape.non_null, field)
        if not set(map(type, present)) <= _LISTS:
            positions, present = _listed(positions, present, failures, field)
        items = self._place(shape.item, list(chain.from_iterable(present)), field, level)
        return ListPart(len(values), failures, positions, list(map(len, present)), items, shape.item.non_null)

    def _place_objects(self, shape: Composite, values: Sequence[Any], field: SelectedField, level: _Level) -> Part:
        positions, present, failures = _sifted(values, shape.non_null, field)
        part = ObjectPart(len(values), failures)
        if not is_abstract_type(shape.type):
            self._link(part, shape.type, positions, present, field, level)
            return part
        places = range(len(values)) if positions is None else positions
        by_type: dict[str, tuple[GraphQLObjectType, list[int], list[Any]]] = {}
        for position, row, type_ in zip(places, present, self._types(shape.type, present, field), strict=True):
            if isinstance(type_, Exception):
                failures[position] = Failure(type_, field.nodes)
            else:
                _, taken, rows = by_type.setdefault(type_.name, (type_, [], []))
                taken.append(position)
                rows.append(row)
        for type_, taken, rows in by_type.values():
            self._link(part, type_, taken, rows, field, level)
        return part

    def _link(
        self,
        part: ObjectPart,
        type_: GraphQLObjectType,
        positions: Sequence[int] | None,
        rows: Sequence[Any],
        field: SelectedField,
        level: _Level,
    ) -> None:
        if not rows:
            return
        group = level.group(type_, field)
        if isinstance(group, Group):
            part.link(group, positions, rows)
        else:
            for position in range(len(rows)) if positions is None else positions:
                part.failures[position] = Failure(group, field.nodes)

    def _types(self, abstract: Any, rows: Sequence[Any], field: SelectedField) -> list[GraphQLObjectType | Exception]:
        """Tell the object type of each row, asking once a distinct row."""
        type_of_row = self._binding.interfaces[abstract.name]
        known: dict[str, GraphQLObjectType] = {}

        def tell(row: Any) -> GraphQLObjectType | Exception:
            try:
                name = type_of_row(row)
                type_ = known.get(name) if isinstance(name, str) else None
                if type_ is None:
                    type_ = self._valid_type(name, abstract, row, field)
                    known[type_.name] = type_
                return type_
            except Exception as error:
                return error

        distinct = Rows()
        indices = distinct.add(rows)
        types = list(map(tell, distinct.items))
        return list(map(types.__getitem__, indices))

    def _valid_type(self, name: Any, abstract: Any, row: Any, field: SelectedField) -> GraphQLObjectType:
        """Let graphql-core judge the name of a type: its errors are its own."""
        bound = field.bound
        path = Path(None, field.key, None)
        info = self._executor.build_resolve_info(bound.definition, field.nodes, bound.parent, path)
        return self._executor.ensure_valid_runtime_type(name, abstract, field.details, info, row)


def _call_of(calls: list[_Call], source: RegisteredLoader, field: SelectedField) -> _Call:
    """Give the call with a field's arguments, added if there is none: object types may differ in their defaults."""
    for call in calls:
        if call.field.arguments == field.arguments:
            return call
    calls.append(_Call(source, field))
    return calls[-1]


def _sifted(
    values: Sequence[Any], non_null: bool, field: SelectedField
) -> tuple[Sequence[int] | None, Sequence[Any], dict[int, Failure]]:
    """Put nulls and exceptions aside.

    Returns
    -------
    positions
        Of what is left; None for all.
    present
        What is left.
    failures
        Exceptions, and nulls where none may be.
    """
    types = set(map(type, values))
    if types.isdisjoint(_NULLS) and not any(issubclass(type_, Exception) for type_ in types):
        return None, values, {}
    positions: list[int] = []
    failures: dict[int, Failure] = {}
    nodes = field.nodes
    for position, value in enumerate(values):
        if isinstance(value, Exception):
            failures[position] = Failure(value, nodes)
        elif value is not None and value is not Undefined:
            positions.append(position)
        elif non_null:
            failures[position] = Failure(field.null_error(), nodes)
    return positions, [values[position] for position in positions], failures


def _listed(
    positions: Sequence[int] | None, values: Sequence[Any], failures: dict[int, Failure], field: SelectedField
) -> tuple[list[int], list[Sequence[Any]]]:
    """Make lists of other iterables, as graphql-core does, and put aside what is none."""
    kept: list[int] = []
    lists: list[Sequence[Any]] = []
    for position, value in zip(range(len(values)) if positions is None else positions, values, strict=True):
        if not is_iterable(value):
            label = f"{field.bound.parent}.{field.bound.name}"
            error = GraphQLError(f"Expected Iterable, but did not find one for field '{label}'.")
            failures[position] = Failure(error, field.nodes)
            continue
        try:
            lists.append(list(value))
            kept.append(position)
        except Exception as error:
            failures[position] = Failure(error, field.nodes)
    return kept, lists
