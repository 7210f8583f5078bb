"""What a block leaves behind: threads, open files, connections, complaints of the event loop."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.support.repositories import RealRepository

__all__ = ["connections_of", "nothing_left_behind"]

# asyncpg forgets a future when a connection breaks while it asks the server to cancel a statement of it.
_ASYNCPG_INTERRUPTED = "unexpected connection_lost() call"


def connections_of(repository: RealRepository) -> list[tuple[str, str]]:
    """List our connections to a repository's PostgreSQL database: their states and statements."""
    assert repository.server is not None
    with repository.server.connect() as link, link.cursor() as cursor:
        cursor.execute(
            "SELECT state, query FROM pg_stat_activity WHERE datname = %s AND application_name = 'butlerql'",
            (repository.database,),
        )
        return [(state, query) for state, query in cursor.fetchall()]


@asynccontextmanager
async def nothing_left_behind(repository: RealRepository) -> AsyncIterator[None]:
    """Fail if the block leaves a thread, an open file or a connection, or if the event loop had to complain."""
    loop = asyncio.get_running_loop()
    complaints: list[dict[str, Any]] = []
    handler = loop.get_exception_handler()
    # Threads that asyncio.to_thread uses are kept; they are not ours.
    await asyncio.gather(*(asyncio.to_thread(time.sleep, 0.01) for _ in range(2)))
    gc.collect()
    # What is there now stays, and is not looked through again: late in a session that takes seconds.
    gc.freeze()
    before = _held()
    loop.set_exception_handler(lambda _, complaint: complaints.append(complaint))
    try:
        yield
        gc.collect()
        await asyncio.sleep(0)
        deadline = time.monotonic() + 5
        while (left := _held() - before) and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        assert not left, left
        if repository.database is not None:
            while (open_ := connections_of(repository)) and time.monotonic() < deadline:
                await asyncio.sleep(0.02)
            assert not open_, open_
        ours = [each for each in complaints if str(each.get("exception")) != _ASYNCPG_INTERRUPTED]
        assert not ours, ours
    finally:
        loop.set_exception_handler(handler)


def _held() -> set[str]:
    threads = {f"thread {thread.name}" for thread in threading.enumerate() if "asyncio_" not in thread.name}
    files = set()
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            files.add(f"{descriptor}: {os.readlink(f'/proc/self/fd/{descriptor}')}")
        except OSError:
            continue
    return threads | files
