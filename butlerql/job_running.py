"""Jobs that a command runs itself: shown, brought on, and stopped with Ctrl-C."""

from __future__ import annotations

import asyncio
import multiprocessing
import signal
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from butlerql.storage.errors import BusyError, StateError, UnknownJobError

if TYPE_CHECKING:
    from butlerql.storage.repository import Repository
    from butlerql.storage.state.jobs import Job
    from butlerql.storage.state.kinds import Kind
    from butlerql.storage.state.workers import Workers

__all__ = ["STOPPED", "bring_on", "known_job", "until_stopped"]

STOPPED = 128 + signal.SIGINT
"""Exit status after Ctrl-C, as shells have it."""

_LOOK_SECONDS = 0.5


async def until_stopped(work: Coroutine[None, None, int]) -> int:
    """Do the work of a command, which is cancelled by Ctrl-C or SIGTERM; give the exit status."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    try:
        return await work
    except asyncio.CancelledError:
        return STOPPED
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


async def known_job(repository: Repository, number: int) -> Job:
    """Find a job that there is.

    Raises
    ------
    UnknownJobError
        Raised if there is none with this number.
    """
    from butlerql.storage.state.jobs import find_job

    job = await find_job(repository.state, number)
    if job is None:
        raise UnknownJobError(f"There is no job {number}.")
    return job


async def bring_on(repository: Repository, job: Job, kinds: Sequence[Kind], workers: Workers) -> Job:
    """Run a job here until it ends or has to wait, or wait for one who does; a progress bar shows it.

    Parameters
    ----------
    repository
        Whose it is.
    job
        Which.
    kinds
        Those that it may be of.
    workers
        Who does its chunks.
    """
    from butlerql.storage.state.coordinator import Coordinator
    from butlerql.storage.state.jobs import ENDED, JobState

    coordinator = Coordinator(repository.state, kinds, workers.make_executor, width=2 * workers.number)
    try:
        async with _progress_bar(repository, job):
            while True:
                was_run = await coordinator.run_next(job.id)
                job = await known_job(repository, job.id)
                if job.state in ENDED or (job.state is JobState.WAITING and not was_run):
                    return job
                if not was_run:
                    # A service has it, or one that died had it lately.
                    await asyncio.sleep(_LOOK_SECONDS)
    except asyncio.CancelledError:
        # What they are at would be done again.
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        await coordinator.close()


@asynccontextmanager
async def _progress_bar(repository: Repository, job: Job) -> AsyncIterator[None]:
    """Show how far a job is, if somebody sees it."""
    from rich.console import Console
    from rich.filesize import decimal
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    name, size = TextColumn(f"job {job.id}"), TextColumn("{task.description}")
    with Progress(
        SpinnerColumn(), name, BarColumn(), MofNCompleteColumn(), size, TimeRemainingColumn(), console=console
    ) as bar:
        task = bar.add_task(job.progress.unit, total=None)

        async def watch() -> None:
            while True:
                with suppress(BusyError, StateError):
                    progress = (await known_job(repository, job.id)).progress
                    text = f"{progress.unit}, {decimal(progress.bytes_done)}"
                    bar.update(task, completed=progress.done, total=progress.total, description=text)
                await asyncio.sleep(_LOOK_SECONDS)

        watching = asyncio.create_task(watch())
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.wait({watching})
