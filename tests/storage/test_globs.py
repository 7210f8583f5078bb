"""Globs mean the same in SQL as in the Butler."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from fnmatch import fnmatchcase

import pytest
import sqlalchemy as sa
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lsst.daf.butler.utils import has_globs

from butlerql.storage.errors import InvalidArgumentError
from butlerql.storage.globs import is_glob, python_regex, split_names
from butlerql.storage.repository import Repository
from tests.support.generated import COLLECTION_NAMES
from tests.support.repositories import Layout, Repositories
from tests.support.rich import RICH

_LAYOUTS = [
    Layout("sqlite"),
    Layout("postgresql"),
    Layout("postgresql", datasets="1.0.0", icu_locale="en-US", namespace="butler"),
]

# Whatever means something in a glob or in one of the two kinds of regular expression, and some of what does not.
_ALPHABET = "ab-]![^*?\\.é🔭/ |&~$(){}+:=dZ1_%\n"
_NAMES = [*COLLECTION_NAMES, *_ALPHABET, *(a + b for a in _ALPHABET for b in "ab]!^\\"), "", "a\nb", "ab\n"]
_texts = st.text(_ALPHABET, max_size=8)
_globs = st.one_of(
    _texts,
    st.builds("{}[{}{}]{}".format, _texts, st.sampled_from(["", "!", "^", "]", "!]"]), _texts, _texts),
    st.builds("{}[{}-{}]{}".format, _texts, *[st.sampled_from(_ALPHABET)] * 2, _texts),
)


@given(_globs | st.sampled_from(COLLECTION_NAMES))
@example("a[b")
@example("[]")
@example("[\n]")
def test_glob_is_what_the_butler_takes_for_one(name: str) -> None:
    # It asks about lists; a list that is one empty name is no list to it.
    assert is_glob(name) == has_globs([name])


@given(st.lists(_globs, min_size=1, max_size=3))
def test_python_matches_as_fnmatch_does(globs: list[str]) -> None:
    fits = re.compile(python_regex(globs)).match
    assert [bool(fits(name)) for name in _NAMES] == [any(fnmatchcase(name, glob) for glob in globs) for name in _NAMES]


@pytest.fixture(scope="module", params=_LAYOUTS, ids=str)
async def repository(request: pytest.FixtureRequest, repositories: Repositories) -> AsyncIterator[Repository]:
    """Open a repository in each layout that may compare characters differently."""
    opened = await Repository.open(repositories.shared(RICH, request.param).uri)
    yield opened
    await opened.close()


@settings(max_examples=100)
@given(globs=st.lists(_globs, min_size=1, max_size=3))
@example(globs=["[^a]"])
@example(globs=["[!]"])
@example(globs=["[]-a]"])
@example(globs=["[b-a]"])
@example(globs=["[!b-a]"])
@example(globs=["[--a]"])
@example(globs=["[a-]"])
@example(globs=["[\\d]", "[[:alpha:]]", "[[.a.]]", "***:a"])
@example(globs=["", "(?i)A"])
async def test_databases_match_as_fnmatch_does(repository: Repository, globs: list[str]) -> None:
    dialect = repository.dialect
    async with repository.snapshot() as snapshot:
        names = dialect.rows("names", {"name": sa.Text()}, [(name,) for name in _NAMES])
        rows = await snapshot.rows(sa.select(names.c.name).where(dialect.matches_globs(names.c.name, globs)))
    assert sorted(row.name for row in rows) == sorted(
        name for name in _NAMES if any(fnmatchcase(name, glob) for glob in globs)
    )


async def test_a_glob_of_many_stars_is_no_trap(repository: Repository) -> None:
    glob = "a*" * 500 + "b"
    dialect = repository.dialect
    async with repository.snapshot() as snapshot:
        names = dialect.rows("names", {"name": sa.Text()}, [("a" * 1000,)])
        assert not await snapshot.rows(sa.select(names.c.name).where(dialect.matches_globs(names.c.name, [glob])))


def test_names_are_told_from_globs() -> None:
    assert split_names(["b", "a*", "b", "a[b", "?", "a*"]) == (["b", "a[b"], ["a*", "?"])


def test_what_no_database_takes_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="null character"):
        split_names(["a\0b"])
    with pytest.raises(InvalidArgumentError, match="10000 characters"):
        split_names(["*" * 10_001])
