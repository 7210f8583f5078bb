"""Repositories to delete from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.repositories import Layout, RealRepository, Repositories
from tests.support.things import THINGS


@pytest.fixture
def things(repositories: Repositories, dialect: Any) -> Iterator[RealRepository]:
    """Give files of one dataset, of several, and zip files, on each database."""
    with repositories.private(THINGS, Layout(dialect)) as copy:
        yield copy


@pytest.fixture
def twin(repositories: Repositories, dialect: Any) -> Iterator[RealRepository]:
    """Give the same once more."""
    with repositories.private(THINGS, Layout(dialect)) as copy:
        yield copy
