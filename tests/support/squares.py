"""A kind of job that is easy to check: each chunk squares a number and writes it down as a finding."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.errors import InvalidArgumentError
from butlerql.storage.state.database import State
from butlerql.storage.state.jobs import Job, JobKind, insert_job
from butlerql.storage.state.kinds import Kind, Planned, Step, Waiting
from butlerql.storage.state.tables import FINDING

__all__ = ["Squares", "ask", "squares_of"]


class Squares(Kind):
    """Squares the numbers of a request: ``numbers``, in as many ``stages`` as it says, with a pause after each.

    It is slow, bad or deadly where the request says so: ``seconds`` a chunk, the numbers that ``fail``, ``refuse`` or
    ``die`` (once, if they name a file that they can leave behind).
    """

    name = JobKind.VALIDATION
    unit = "numbers"

    async def plan(self, job: Job, after: Any) -> AsyncGenerator[Planned, None]:
        numbers = job.request["numbers"]
        stages = job.request.get("stages", 1)
        begin = 0 if after is None else after["place"] + 1
        # The stage that the next number belongs to, to its end.
        length = max(1, -(-len(numbers) // stages))
        for place in range(begin, min(len(numbers), (begin // length + 1) * length)):
            yield Planned({"place": place, "number": numbers[place]}, count=1)

    async def prepare(self, job: Job, work: Any) -> Any:
        return {"number": work["number"], **job.request}

    @staticmethod
    def run(argument: Any) -> Any:
        number = argument["number"]
        time.sleep(argument.get("seconds", 0))
        if number in argument.get("fail", []):
            raise KeyError("a secret")
        if number in argument.get("refuse", []):
            raise InvalidArgumentError(f"{number} is no number to square.")
        if (mark := argument.get("die", {}).get(str(number))) and not (mark != "always" and Path(mark).exists()):
            if mark != "always":
                Path(mark).touch()
            os._exit(1)
        return number * number

    async def absorb(self, connection: AsyncConnection, job: Job, work: Any, result: Any) -> Step:
        await connection.execute(
            sa.insert(FINDING).values(
                job_id=job.id, kind="SQUARE", datastore="d", path=str(work["number"]), bytes=result
            )
        )
        return Step(done=1, bytes=result, message=f"{work['number']} is squared")

    async def finish(self, connection: AsyncConnection, job: Job) -> Any | Waiting:
        if job.progress.done < len(job.request["numbers"]):
            return Waiting(until=0)
        total = sa.select(sa.func.sum(FINDING.c.bytes)).where(FINDING.c.job_id == job.id)
        return {"sum": int(await connection.scalar(total) or 0)}


async def ask(state: State, numbers: Sequence[int], *, key: str | None = None, **request: Any) -> Job:
    """Ask for numbers to be squared."""
    request = {"numbers": list(numbers), **request}
    return await state.write(
        lambda connection: insert_job(
            connection, Squares.name, request, unit=Squares.unit, user="somebody", idempotency_key=key
        )
    )


async def squares_of(state: State, job: Job) -> list[tuple[int, int]]:
    """Give the numbers that a job has squared, with their squares."""
    found = sa.select(FINDING.c.path, FINDING.c.bytes).where(FINDING.c.job_id == job.id)

    async def read(connection: AsyncConnection) -> list[tuple[int, int]]:
        return sorted((int(path), square) for path, square in await connection.execute(found))

    return await state.read(read, absent=[])
