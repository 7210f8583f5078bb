"""How large a document may be, before anything is validated or run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
)

from butlerql.settings import Settings

__all__ = ["Size", "check_size", "limit_error", "measure"]

INTROSPECTIONS = 5
"""How often one operation may ask for ``__schema`` or ``__type``: each costs as much as a large page of data."""

CEILING = 10**9
"""Fragments that spread fragments multiply; beyond this the count is no longer interesting."""


@dataclass(frozen=True, slots=True)
class Size:
    """What an operation comes to when its fragments are written out."""

    depth: int = 0
    aliases: int = 0
    selections: int = 0
    introspections: int = 0


@dataclass(slots=True)
class _Own:
    """What one definition holds itself, and the fragments that it spreads, each with the depth it is spread at."""

    size: Size
    spreads: list[tuple[str, int]]


def check_size(document: DocumentNode, settings: Settings) -> list[GraphQLError]:
    """Hold every operation of a document against the limits.

    Parameters
    ----------
    document
        A parsed document. It need not be valid: unknown fragments and cycles count as nothing here,
        validation refuses them.
    settings
        ``maximum_depth``, ``maximum_aliases`` and ``maximum_selections``.

    Returns
    -------
    errors
        One for each limit that an operation exceeds, with code ``LIMIT_EXCEEDED``.
    """
    errors = []
    for operation, size in measure(document):
        name = f"The operation {operation.name.value}" if operation.name else "The operation"
        for found, setting, maximum, says in (
            (size.depth, "maximum_depth", settings.maximum_depth, "nests fields {} deep"),
            (size.aliases, "maximum_aliases", settings.maximum_aliases, "uses {} aliases"),
            (size.selections, "maximum_selections", settings.maximum_selections, "selects {} fields"),
            (size.introspections, "introspections", INTROSPECTIONS, "asks {} times for the schema"),
        ):
            if found > maximum:
                count = f"{CEILING} or more" if found == CEILING else str(found)
                errors.append(
                    limit_error(f"{name} {says.format(count)}, fragments included", setting, maximum, [operation])
                )
    return errors


def limit_error(
    what: str, limit: str, maximum: int, nodes: list[OperationDefinitionNode] | None = None
) -> GraphQLError:
    """Say which limit of a document was exceeded, and how to get by.

    Parameters
    ----------
    what
        What was found, as the beginning of a sentence.
    limit
        Name of the setting.
    maximum
        Its value.
    nodes
        Where it was found.
    """
    return GraphQLError(
        f"{what}; at most {maximum} are allowed here ({limit}). Split the request into several.",
        nodes,
        extensions={"code": "LIMIT_EXCEEDED", "limit": limit, "maximum": maximum},
    )


def measure(document: DocumentNode) -> Iterator[tuple[OperationDefinitionNode, Size]]:
    """Measure each operation, every fragment being walked once however often it is spread.

    Parameters
    ----------
    document
        A parsed document.

    Yields
    ------
    operation, size
        Each operation in turn. Counts stop at ``CEILING``.
    """
    fragments = {
        definition.name.value: _own(definition.selection_set)
        for definition in document.definitions
        if isinstance(definition, FragmentDefinitionNode)
    }
    known: dict[str, Size] = {}
    for name in fragments:
        _settle(name, fragments, known)
    for definition in document.definitions:
        if isinstance(definition, OperationDefinitionNode):
            yield definition, _total(_own(definition.selection_set), known)


def _own(selection_set: SelectionSetNode) -> _Own:
    depth = aliases = selections = introspections = 0
    spreads: list[tuple[str, int]] = []
    stack = [(selection_set, 1)]
    while stack:
        inside, level = stack.pop()
        for selection in inside.selections:
            if isinstance(selection, FieldNode):
                depth = max(depth, level)
                selections += 1
                aliases += selection.alias is not None
                introspections += selection.name.value in ("__schema", "__type")
                if selection.selection_set:
                    stack.append((selection.selection_set, level + 1))
            elif isinstance(selection, InlineFragmentNode):
                stack.append((selection.selection_set, level))
            elif isinstance(selection, FragmentSpreadNode):
                spreads.append((selection.name.value, level))
    return _Own(Size(depth, aliases, selections, introspections), spreads)


def _total(own: _Own, known: dict[str, Size]) -> Size:
    depth, aliases = own.size.depth, own.size.aliases
    selections, introspections = own.size.selections, own.size.introspections
    for name, level in own.spreads:
        inside = known.get(name, Size())
        if inside.depth:
            depth = max(depth, level - 1 + inside.depth)
        aliases += inside.aliases
        selections += inside.selections
        introspections += inside.introspections
    return Size(*(min(CEILING, count) for count in (depth, aliases, selections, introspections)))


def _settle(root: str, fragments: dict[str, _Own], known: dict[str, Size]) -> None:
    """Measure a fragment after those that it spreads, without recursion: a chain of them may be thousands long."""
    path = [(root, iter(fragments[root].spreads))] if root not in known else []
    on_path = {root}
    while path:
        name, spreads = path[-1]
        for spread, _ in spreads:
            if spread in fragments and spread not in known and spread not in on_path:
                path.append((spread, iter(fragments[spread].spreads)))
                on_path.add(spread)
                break
        else:
            path.pop()
            on_path.remove(name)
            known[name] = _total(fragments[name], known)
