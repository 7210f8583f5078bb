"""What a kind of job has to say of itself, so that it can be run in chunks, stopped anywhere, and go on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, ClassVar

from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.state.jobs import Job, JobKind

__all__ = ["Kind", "Planned", "Step", "Waiting"]


@dataclass(frozen=True, slots=True)
class Planned:
    """A chunk that is still to be done."""

    work: Any
    """What the kind has to know of it, as JSON; short, where it can be looked up again."""

    count: int
    """How many units of progress it is."""


@dataclass(frozen=True, slots=True)
class Step:
    """By how much a chunk that is done brings a job on."""

    done: int
    """In units of progress."""

    bytes: int = 0
    """How many were looked at."""

    message: str | None = None
    """What to tell those who watch; None leaves it as it is."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A job that goes on later, with more chunks."""

    until: int
    """By the database's clock, in microseconds since 1970."""


class Kind(ABC):
    """A kind of job.

    A job is planned (`plan`); each of its chunks is prepared here, run wherever the executor runs it, reviewed and
    absorbed here; then the job is finished. Whoever does this may be killed at any point, and another then goes on:
    `prepare`, `run` and `review` may be called again for a chunk, and must give the same; what `absorb` and `finish`
    write is in the same transaction as the mark that the chunk, or the job, is done, and so is written once.
    """

    name: ClassVar[JobKind]

    unit: ClassVar[str]
    """What progress counts, in the plural."""

    @abstractmethod
    def plan(self, job: Job, after: Any) -> AsyncGenerator[Planned, None]:
        """Cut the work into chunks, in an order that is always the same.

        Parameters
        ----------
        job
            Its ``request`` says what is to be done.
        after
            The work of the last chunk that was planned before; the chunks that follow it are wanted. None for all.
        """

    async def prepare(self, job: Job, work: Any) -> Any:
        """Make the argument for `run`; may ask the registry, in a snapshot of its own."""
        return work

    @staticmethod
    def run(argument: Any) -> Any:
        """Do the work of a chunk, on another thread, process or machine; what it takes and gives can be pickled.

        A kind that has none of its own prepares and reviews, and nothing is sent anywhere.
        """
        return argument

    async def review(self, job: Job, work: Any, result: Any) -> Any:
        """Look once more at what `run` gave, before it is absorbed; may ask the registry, in a snapshot of its own."""
        return result

    @abstractmethod
    async def absorb(self, connection: AsyncConnection, job: Job, work: Any, result: Any) -> Step:
        """Write down what came out of a chunk. It may be called again where the transaction has to be."""

    async def stopped(self, connection: AsyncConnection, job: Job) -> None:  # noqa: B027 - most have nothing to do
        """Take notice that a job has failed or was cancelled, in the transaction that says so; its state is which."""

    @abstractmethod
    async def finish(self, connection: AsyncConnection, job: Job) -> Any | Waiting:
        """Conclude, when all chunks are done.

        Returns
        -------
        result
            What the job's ``result`` is to be, as JSON; or that more chunks follow, see `plan`, at a later time.
        """
