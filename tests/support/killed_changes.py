"""Changes that are killed; in a process of its own, because it forks."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from graphql import parse

from butlerql.resolvers.context import Limits
from butlerql.resolvers.service import build_service
from butlerql.storage.repository import Repository
from butlerql.storage.state import migrating  # noqa: F401 - so that it is there before the forks
from tests.support.forks import serve
from tests.support.killed_jobs import Killer


async def change(uri: str, mutation: str, at: int) -> None:
    """Ask for a change by the service, and die before the at-th of: a statement, a commit, what follows a commit."""
    repository = await Repository.open(uri, writable=True)
    await repository.state.upgrade()
    killer = Killer(at)
    killer.watch_statements(repository.state)
    killer.watch_commits(repository.state)
    writing = repository._writing
    sa.event.listen(writing.engine.sync_engine, "before_cursor_execute", killer.point)
    commit = writing.driver.commit

    async def watched(link: Any) -> None:
        killer.point()
        await commit(link)
        killer.point()

    writing.driver.commit = watched  # type: ignore[method-assign]
    service = build_service(repository, Limits())
    result = await service.execute(parse(mutation))
    assert result.errors is None, result.errors
    await service.close()


if __name__ == "__main__":
    serve(change)
