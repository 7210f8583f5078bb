"""What is kept of a state of the database is true of no other."""

from __future__ import annotations

from lsst.daf.butler import CollectionType

from butlerql.storage.kept import Kept
from butlerql.storage.registry.chains import search_path
from butlerql.storage.registry.collections import by_names
from butlerql.storage.repository import Repository
from tests.support.repositories import Content, Dialect, Layout, Repositories
from tests.support.snapshots import statements_of

_CHAINS = Content(
    "two runs and a chain",
    lambda butler, _: (
        butler.collections.register("a"),
        butler.collections.register("b"),
        butler.collections.register("chain", CollectionType.CHAINED),
        butler.collections.redefine_chain("chain", ["a"]),
    ),
)


async def test_it_lasts_until_another_program_commits(repositories: Repositories, dialect: Dialect) -> None:
    async def path(opened: Repository) -> tuple[list[str], int]:
        async with opened.snapshot() as snapshot:
            with statements_of(snapshot) as statements:
                found = [one.name for one in await search_path(snapshot, ["chain"])]
                found += await by_names(snapshot, ["c"])
        return found, len(statements)

    with repositories.private(_CHAINS, Layout(dialect)) as repository:
        writer = repository.open(writeable=True)
        opened = await Repository.open(repository.uri)
        # The name that is not there is asked for each time.
        assert [await path(opened) for _ in range(2)] == [(["a"], 3), (["a"], 1)]
        writer.collections.redefine_chain("chain", ["b", "a"])
        assert [await path(opened) for _ in range(2)] == [(["b", "a"], 3), (["b", "a"], 1)]
        writer.collections.register("c")
        assert (await path(opened))[0] == ["b", "a", "c"]
        if dialect == "postgresql":  # On SQLite nobody commits while somebody reads.
            async with opened.snapshot() as earlier:
                writer.collections.x_remove("c")
                assert await by_names(earlier, ["c"])
                assert (await path(opened))[0] == ["b", "a"]
        await opened.close()


def test_what_was_not_used_for_longest_goes() -> None:
    kept = Kept(2)
    assert kept.setdefault("a", 1) == 1
    assert kept.setdefault("b", 2) == 2
    assert kept.setdefault("a", 3) == 1
    kept.setdefault("c", 4)
    assert [kept.get(key) for key in "abc"] == [1, None, 4]
