"""Generated questions about data IDs: dimensions, values, dataset types and collections, there or not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st
from lsst.daf.butler import Butler, InvalidQueryError
from lsst.daf.butler.queries import Query

from butlerql.storage.registry.data_ids import DataIdConditions, find_conditions
from butlerql.storage.snapshot import Snapshot

__all__ = ["Question", "asked", "conditions_of", "questions"]

_PREFERRED = ("chain/all", "chain/calib", "HSC/runs/ci_hsc/20240806T180642Z", "run")
"""Collections that hold much, so that answers are not empty too often."""


@dataclass(frozen=True)
class Question:
    """Which data IDs, or records, exist."""

    dimensions: tuple[str, ...]
    values: Mapping[str, Any]
    types: tuple[str, ...]
    collections: tuple[str, ...]


def questions(butler: Butler, dimensions: Sequence[str]) -> st.SearchStrategy[Question]:
    """Draw questions that the Butler, too, understands."""
    known = {
        name: sorted({record.dataId[name] for record in butler.query_dimension_records(name, explain=False)}, key=str)
        for name in ("instrument", "skymap", "visit", "detector", "tract", "physical_filter", "band")
        if name in butler.dimensions
    }
    nothing: dict[str, Any] = {"instrument": "no", "skymap": "no", "physical_filter": "no", "band": "no"}
    values = {
        name: st.sampled_from([*values, *values, nothing.get(name, 987_654)])
        for name, values in known.items()
        if values
    }
    types = sorted(dataset_type.name for dataset_type in butler.registry.queryDatasetTypes())
    collections = sorted(butler.collections.query("*", include_chains=True))
    preferred = [name for name in _PREFERRED if name in collections]
    return st.builds(
        _question,
        st.lists(st.sampled_from(dimensions), max_size=3, unique=True),
        st.lists(st.sampled_from(sorted(values)), max_size=2, unique=True).flatmap(
            lambda names: st.fixed_dictionaries({name: values[name] for name in names})
        ),
        st.fixed_dictionaries({name: values[name] for name in ("instrument", "skymap") if name in values}),
        st.lists(st.sampled_from(types), max_size=3, unique=True),
        st.one_of(st.just(preferred), st.lists(st.sampled_from(collections), min_size=1, max_size=3, unique=True)),
    )


def _question(
    dimensions: Sequence[str],
    values: Mapping[str, Any],
    governors: Mapping[str, Any],
    types: Sequence[str],
    collections: Sequence[str],
) -> Question:
    # The Butler insists on the governor of whatever depends on one.
    needed = {"visit": "instrument", "detector": "instrument", "physical_filter": "instrument", "tract": "skymap"}
    more = {needed[name]: governors[needed[name]] for name in values if name in needed}
    return Question(tuple(dimensions), {**more, **values}, tuple(types), tuple(collections))


def asked(butler: Butler, question: Question, read: Callable[[Query], Sequence[Any]]) -> Sequence[Any] | Exception:
    """Let the Butler answer; gives the error that it raises."""
    with butler.query() as everything:
        query = everything
        try:
            for name in question.types:
                query = query.join_dataset_search(name, question.collections)
            return list(read(query.where(question.values)))
        except (InvalidQueryError, NotImplementedError, TypeError) as error:
            return error


async def conditions_of(snapshot: Snapshot, question: Question) -> DataIdConditions:
    """Ask the same of us."""
    return await find_conditions(
        snapshot,
        snapshot.repository.universe.group(question.dimensions),
        types=question.types or None,
        collections=question.collections if question.types else None,
        values=question.values,
    )
