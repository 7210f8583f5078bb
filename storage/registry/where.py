"""Conditions as clients write them, and what they mean for each kind of thing that is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from butlerql.plain import plain
from butlerql.storage.registry.conditions import Condition
from butlerql.storage.registry.dataset_types import DatasetType
from butlerql.storage.registry.expressions.compiler import Compiler
from butlerql.storage.registry.expressions.filters import predicate_of
from butlerql.storage.registry.expressions.language import parse
from butlerql.storage.registry.expressions.names import Scope
from butlerql.storage.registry.expressions.parser import syntax_of
from butlerql.storage.registry.expressions.tree import And, Predicate
from butlerql.storage.repository import Repository
from butlerql.storage.universe import DimensionGroup

__all__ = ["EVERYTHING", "Where"]


class Where:
    """An expression, a typed filter, or both, which then have to hold together.

    Parameters
    ----------
    text
        In the Butler's expression language; None for no such condition.
    bind
        Values for its identifiers.
    given
        A typed filter; None for no such condition.

    Raises
    ------
    InvalidExpressionError
        Raised if the text is no expression at all.
    """

    def __init__(
        self,
        text: str | None = None,
        bind: Mapping[str, Any] | None = None,
        given: Mapping[str, Any] | None = None,
    ) -> None:
        self._text = text
        self._bind = bind or MappingProxyType({})
        self._given = plain(given)
        self._known: dict[tuple[Any, ...], Condition | None] = {}
        self._compiler: Compiler | None = None
        if text is not None:
            syntax_of(text)

    @property
    def parts(self) -> tuple[str | None, dict[str, Any], Any]:
        """What it was made of, as JSON can hold it."""
        return self._text, dict(self._bind), self._given

    def condition(
        self,
        repository: Repository,
        dimensions: DimensionGroup,
        *,
        dataset_type: DatasetType | None = None,
        constrained: Iterable[str] = (),
        searched: Iterable[str] = (),
    ) -> Condition | None:
        """Resolve what is named; None if everything holds.

        Parameters
        ----------
        repository
            Whose registry.
        dimensions
            Of what is asked for.
        dataset_type
            Given if datasets are asked for. Those of a component are its parent's: their fields go by its name.
        constrained
            Dimensions that have values already.
        searched
            Names of the dataset types of which there has to be a dataset, if something else is asked for.

        Raises
        ------
        InvalidExpressionError
            Raised if something is named that is not there, or compared with what it cannot be compared with.
        """
        # Dataset types of the same dimensions have the same condition, unless it names one of them.
        name = None if dataset_type is None or self._text is None else dataset_type.parent_name
        own = name if name is not None and f"{name}." in (self._text or "") else None
        key = (dimensions, own, dataset_type is None, frozenset(constrained), frozenset(searched))
        if key not in self._known:
            predicates: list[Predicate] = []
            if self._text is not None:
                scope = Scope(dimensions, name, frozenset(constrained), frozenset(searched))
                predicates.append(parse(self._text, scope, self._bind))
            if self._given is not None:
                predicates.append(predicate_of(dimensions, self._given))
            self._compiler = self._compiler or Compiler(repository.dialect)
            self._known[key] = Condition(_all(predicates), repository, self._compiler) if predicates else None
        return self._known[key]


def _all(predicates: Iterable[Predicate]) -> Predicate:
    terms = [term for one in predicates for term in (one.operands if isinstance(one, And) else (one,))]
    return terms[0] if len(terms) == 1 else And(tuple(terms))


EVERYTHING = Where()
"""No condition."""
