"""What the tests build is what the real Butler reads back."""

from __future__ import annotations

from collections.abc import Callable

from tests.support.repositories import RealRepository


def test_ci_hsc_holds_what_its_description_says(ci_hsc: RealRepository) -> None:
    butler = ci_hsc.butler
    assert len(butler.query_datasets("calexp", collections="HSC/runs/ci_hsc/20240806T180642Z")) == 33
    assert len(butler.query_dimension_records("visit", instrument="HSC")) == 11
    assert len(butler.query_dimension_records("detector", instrument="HSC")) == 16


def test_copy_leaves_the_original_alone(
    ci_hsc: RealRepository, fresh: Callable[[RealRepository], RealRepository]
) -> None:
    copy = fresh(ci_hsc)
    copy.open(writeable=True).collections.register("new")
    assert "new" in copy.butler.collections.query("*")
    assert "new" not in ci_hsc.butler.collections.query("*")
    assert "new" not in fresh(ci_hsc).butler.collections.query("*")
