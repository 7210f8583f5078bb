"""Changes that are killed at every point there is; in a process of its own, because it forks.

For n = 1, 2, ... a child makes the chain ``chain n`` by the service, and kills itself before the n-th of: a statement,
a commit, what follows a commit. The first n at which it comes to its end is the last, and is printed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any

import sqlalchemy as sa
from graphql import parse

from butlerql.resolvers.context import Limits
from butlerql.resolvers.service import build_service
from butlerql.storage.repository import Repository
from butlerql.storage.state import migrating  # noqa: F401 - so that it is there before the forks
from tests.support.killed_jobs import Killer

CHANGE = """mutation ($name: String!) {
    createCollection(input: {name: $name, type: CHAINED, children: ["run", "tag"]}) { collection { name } }
}"""


async def change(uri: str, at: int) -> None:
    repository = await Repository.open(uri, writable=True)
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
    result = await service.execute(parse(CHANGE), variables={"name": f"chain {at}"})
    assert result.errors is None, result.errors
    await service.close()


def main(uri: str) -> int:
    at = 0
    while True:
        at += 1
        child = os.fork()
        if child == 0:
            try:
                asyncio.run(change(uri, at))
            except BaseException as error:  # noqa: BLE001 - a child that failed must not go on as its parent
                print(repr(error), file=sys.stderr, flush=True)
                os._exit(1)
            os._exit(0)
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if ended == 0:
            print(at)
        if ended != -signal.SIGKILL:
            return ended


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
