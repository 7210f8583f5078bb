"""How likely chance is: as SciPy says."""

from __future__ import annotations

from collections import Counter
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from butlerql.storage.provenance.significance import LIKELY_CHANCE, fisher, mann_whitney, sign_test

COUNTS = st.integers(0, 40) | st.integers(0, 20_000)


@given(up=COUNTS, down=COUNTS)
def test_sign_test(up: int, down: int) -> None:
    found = sign_test(up, down)
    if up + down == 0 or stats.binomtest(up + down, up + down, alternative="greater").pvalue > LIKELY_CHANCE:
        assert found is None
    else:
        expected = stats.binomtest(up, up + down, alternative="greater").pvalue
        assert found == pytest.approx(expected, rel=1e-6, abs=1e-300)


@given(hits=COUNTS, misses=COUNTS, other_hits=COUNTS, other_misses=COUNTS)
def test_fisher(hits: int, misses: int, other_hits: int, other_misses: int) -> None:
    number, other_number = hits + misses, other_hits + other_misses
    found = fisher(hits, number, other_hits, other_number)
    if stats.fisher_exact([[number, 0], [0, other_number]], alternative="greater").pvalue > LIKELY_CHANCE + 1e-9:
        assert found is None
    else:
        expected = stats.fisher_exact([[hits, misses], [other_hits, other_misses]], alternative="greater").pvalue
        assert found == pytest.approx(expected, rel=1e-6, abs=1e-300)


def test_fisher_of_millions() -> None:
    found = fisher(2_000, 1_000_000, 3_600, 2_000_000)
    assert found == pytest.approx(
        stats.fisher_exact([[2_000, 998_000], [3_600, 1_996_400]], "greater").pvalue, rel=1e-6
    )


VALUES = st.integers(0, 30).map(float)


@given(
    these=st.lists(VALUES, max_size=30) | st.lists(st.floats(0, 9), unique=True, max_size=18),
    others=st.lists(VALUES, max_size=30) | st.lists(st.floats(10, 19), unique=True, max_size=18),
)
def test_mann_whitney(these: list[float], others: list[float]) -> None:
    wins = sum((one > other) + (one == other) / 2 for one, other in product(these, others))
    ties = sum(count**3 - count for count in Counter(these + others).values())
    found = mann_whitney(wins, len(these), len(others), ties)
    surest = [range(1, len(these) + 1), range(-len(others), 0)]
    if (
        not all(surest)
        or stats.mannwhitneyu(*surest, alternative="greater", method="exact").pvalue > LIKELY_CHANCE + 1e-9
    ):
        assert found is None
    elif len(set(these + others)) == 1:
        assert found == 1.0
    else:
        is_exact = ties == 0 and len(these) * len(others) <= 400
        method = "exact" if is_exact else "asymptotic"
        expected = stats.mannwhitneyu(these, others, alternative="greater", method=method).pvalue
        assert found == pytest.approx(expected, rel=1e-6, abs=1e-300)
