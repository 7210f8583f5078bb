"""What the real Butler makes of an expression, or why it refuses it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from lsst.daf.butler import DataCoordinate, DimensionGroup
from lsst.daf.butler.queries._expression_strings import convert_expression_string_to_predicate
from lsst.daf.butler.queries._identifiers import IdentifierContext
from lsst.daf.butler.queries.predicate_constraints_summary import PredicateConstraintsSummary
from lsst.daf.butler.queries.tree import ColumnExpression, ColumnSet, ComparisonOperator, Predicate
from lsst.daf.butler.queries.visitors import PredicateVisitFlags, SimplePredicateVisitor

__all__ = ["butler_predicate"]


class _Regions(SimplePredicateVisitor):
    """Finds overlaps of regions where the Butler has none: its query driver refuses them only when it makes SQL."""

    def visit_comparison(
        self, a: ColumnExpression, operator: ComparisonOperator, b: ColumnExpression, flags: PredicateVisitFlags
    ) -> None:
        misplaced = flags & (PredicateVisitFlags.HAS_OR_SIBLINGS | PredicateVisitFlags.INVERTED)
        if operator == "overlaps" and a.column_type == "region" and misplaced:
            raise NotImplementedError


def butler_predicate(
    text: str,
    dimensions: DimensionGroup,
    bind: Mapping[str, Any] | None = None,
    *,
    dataset_type: str | None = None,
    constrained: Mapping[str, Any] | None = None,
) -> Predicate | Exception:
    """Ask the Butler for the predicate of an expression, or the error that refuses it."""
    datasets = set() if dataset_type is None else {dataset_type}
    context = IdentifierContext(dimensions, datasets, bind)
    universe = dimensions.universe
    data_id = DataCoordinate.standardize(constrained or {}, universe=universe)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            predicate = convert_expression_string_to_predicate(text, context=context, universe=universe)
            columns = ColumnSet(dimensions)
            predicate.gather_required_columns(columns)
            PredicateConstraintsSummary(predicate).apply_default_data_id(
                data_id, dimensions, validate_governor_constraints=True
            )
            predicate.visit(_Regions())
        except Exception as error:  # noqa: BLE001 - it raises what its parts raise
            return error
    return LookupError(columns.dataset_fields) if columns.dataset_fields.keys() - datasets else predicate
