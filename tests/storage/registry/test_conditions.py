"""What fulfils a condition fulfils it for the Butler, too."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lsst.daf.butler import Butler
from lsst.daf.butler._exceptions import ButlerUserError
from lsst.daf.butler.queries import Query
from sqlalchemy.exc import SADeprecationWarning

from butlerql.storage.errors import ButlerQLError
from butlerql.storage.registry import data_ids
from butlerql.storage.registry.pages import PageRequest
from butlerql.storage.registry.where import Where
from tests.support.generated_conditions import Sampled, conditions, identifiers, sample
from tests.support.repositories import RealRepository
from tests.support.snapshots import snapshot_of

_quiet = settings(suppress_health_check=list(HealthCheck))
_sampled = cache(sample)

_DIMENSIONS = [
    ("visit",),
    ("visit", "detector"),
    ("exposure", "detector"),
    ("exposure", "visit"),
    ("patch",),
    ("physical_filter",),
    ("visit", "tract"),
    ("instrument", "skymap"),
    ("band",),
    ("day_obs",),
]


def _asked(butler: Butler, ask: Callable[[Query], Any]) -> Any:
    with butler.query() as query, warnings.catch_warnings():
        # It negates texts in a way that SQLAlchemy is about to give up.
        warnings.simplefilter("ignore", SADeprecationWarning)
        try:
            return ask(query)
        except (ButlerUserError, AssertionError, ValueError, TypeError, NotImplementedError) as error:
            return error


@_quiet
@given(data=st.data())
async def test_data_ids(rich: RealRepository, data: st.DataObject) -> None:
    butler, sampled = rich.butler, _sampled(rich.butler)
    async with snapshot_of(rich) as snapshot:
        for _ in range(10):
            names = data.draw(st.sampled_from(_DIMENSIONS))
            text = data.draw(conditions(sampled, _named(butler, sampled, names)))
            if data.draw(st.booleans()):
                text = (
                    f"instrument IN ('HSC', 'Žofie-Cam') AND skymap != 'no' AND ({text})"
                    if "OVERLAPS" not in text
                    else text
                )
            expected = _asked(butler, lambda query: list(query.where(text).data_ids(names)))
            group = snapshot.repository.universe.group(names)
            try:
                found = await data_ids.find_conditions(snapshot, group, where=Where(text))
                page = await data_ids.page(snapshot, group, found, PageRequest(10_000))
            except ButlerQLError as error:
                assert isinstance(expected, Exception), (names, text, error)
            else:
                assert not isinstance(expected, Exception), (names, text, repr(expected), len(page.rows))
                whole = {tuple(one.mapping[name] for name in group.names) for one in expected}
                assert {one.values for one in page.rows} == whole, (names, text)
                assert len(page.rows) == len(whole)
                assert await data_ids.count(snapshot, group, found) == len(whole)


def _named(butler: Butler, sampled: Sampled, names: tuple[str, ...]) -> list[str]:
    own = identifiers(butler, sampled, names)
    more = identifiers(butler, sampled, ("visit", "detector", "patch", "exposure"))
    return own * 4 + more
