"""What one request selects of each object type, found once for all its objects."""

# Whatever is raised here becomes the error of a field.
# ruff: noqa: BLE001

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from graphql import FieldNode, GraphQLObjectType, GraphQLString, TypeNameMetaFieldDef
from graphql.execution.collect_fields import FieldDetailsList
from graphql.execution.executor import Executor
from graphql.execution.values import get_argument_values

from butlerql.resolvers.binding import Binding, BoundField, Leaf
from butlerql.resolvers.leaves import LeafColumn

__all__ = ["Identity", "SelectedField", "Selections"]

Identity: TypeAlias = tuple[tuple[int, int], ...]
"""Says whether two fields, maybe of different object types, are the same place of the document."""

_TYPENAME = Leaf(non_null=True, column=LeafColumn(GraphQLString))


class SelectedField:
    """A field of an object type, with its place in the document.

    Attributes
    ----------
    bound
        The field, and what answers it.
    key
        Its name in the answer.
    details
        Its nodes as graphql-core collects them; the same list for the same nodes.
    identity
        Of those nodes.
    arguments
        By their names in snake case.
    error
        Why there are no arguments, or None.
    """

    __slots__ = ("arguments", "bound", "details", "error", "identity", "key")

    def __init__(self, bound: BoundField, key: str, details: FieldDetailsList, identity: Identity) -> None:
        self.bound = bound
        self.key = key
        self.details = details
        self.identity = identity
        self.arguments: dict[str, Any] = {}
        self.error: Exception | None = None

    @property
    def nodes(self) -> list[FieldNode]:
        """The nodes alone, for errors."""
        return [details.node for details in self.details]

    def null_error(self) -> TypeError:
        """Make the error of a null where none may be, in graphql-core's words."""
        return TypeError(f"Cannot return null for non-nullable field {self.bound.parent}.{self.bound.name}.")


class Selections:
    """What a request selects.

    Parameters
    ----------
    executor
        Of the request: it knows the fragments, the variables, ``@skip`` and ``@include``.
    binding
        Of the schema.
    """

    def __init__(self, executor: Executor[Any], binding: Binding) -> None:
        self._executor = executor
        self._binding = binding
        self._details: dict[Identity, FieldDetailsList] = {}
        self._fields: dict[tuple[str, Identity], Sequence[SelectedField] | Exception] = {}

    def root(self, bound: BoundField, key: str, details: FieldDetailsList) -> SelectedField:
        """Give a field of a root type, whose arguments graphql-core has taken already."""
        return SelectedField(bound, key, *self._same(details))

    def below(self, field: SelectedField, type_: GraphQLObjectType) -> Sequence[SelectedField] | Exception:
        """Give what is selected of an object type in a field.

        Returns
        -------
        fields
            In the order of the answer; or the error that graphql-core met, which every such object then has.
        """
        place = (type_.name, field.identity)
        if place not in self._fields:
            try:
                self._fields[place] = self._collect(field, type_)
            except Exception as error:
                self._fields[place] = error
        return self._fields[place]

    def _collect(self, field: SelectedField, type_: GraphQLObjectType) -> list[SelectedField]:
        executor = self._executor
        collected = executor.collect_subfields(type_, field.details)
        fields: list[SelectedField] = []
        for key, details in collected.grouped_field_set.items():
            bound = self._bound(type_, details[0].node.name.value)
            if bound is None:
                # Only in a document that was not validated; graphql-core leaves it out too.
                continue
            selected = SelectedField(bound, key, *self._same(details))
            if bound.definition.args or details[0].node.arguments:
                try:
                    selected.arguments = get_argument_values(
                        bound.definition,
                        details[0].node,
                        executor.variable_values,
                        details[0].fragment_variable_values,
                        executor.hide_suggestions,
                    )
                except Exception as error:
                    selected.error = error
            fields.append(selected)
        return fields

    def _bound(self, type_: GraphQLObjectType, name: str) -> BoundField | None:
        if name == "__typename":
            return BoundField(type_, name, TypeNameMetaFieldDef, _TYPENAME, _named(type_.name))
        return self._binding.fields.get((type_.name, name))

    def _same(self, details: FieldDetailsList) -> tuple[FieldDetailsList, Identity]:
        """Give one list, and its identity, for all lists of the same nodes, and keep it alive: identities are ids."""
        identity = tuple((id(detail.node), id(detail.fragment_variable_values)) for detail in details)
        return self._details.setdefault(identity, details), identity


def _named(name: str) -> Callable[[Sequence[Any]], list[str]]:
    return lambda rows: [name] * len(rows)
