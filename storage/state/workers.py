"""What chunks of jobs run on: processes of this machine, or a Dask cluster."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker
from typing import TYPE_CHECKING, Any, TypeVar

from butlerql.storage.errors import InvalidConfigError

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["Workers", "processes", "workers"]

_CONNECT_SECONDS = 10
_PRELOADED = (
    "butlerql.storage.state.workers",
    "butlerql.storage.datastores.validation.job",
    "butlerql.storage.provenance.reading",
)

T = TypeVar("T")


@dataclass(frozen=True)
class Workers:
    """Who does the chunks of jobs."""

    number: int
    make_executor: Callable[[], Executor]


@contextmanager
def workers(number: int | None = None, dask_scheduler: str | None = None) -> Iterator[Workers]:
    """Be connected, within the block, to what chunks run on.

    Parameters
    ----------
    number
        How many work at once; None: as many as there are cores, or threads of the cluster.
    dask_scheduler
        Address of a scheduler of Dask; None: they are processes of this machine.

    Raises
    ------
    InvalidConfigError
        Raised if there is no scheduler of Dask where one should be, or Dask is not installed.
    """
    if dask_scheduler is None:
        yield processes(number or os.cpu_count() or 1)
        return
    with _connected(dask_scheduler) as client:
        yield Workers(number or sum(client.nthreads().values()) or 1, lambda: _OnDask(client))


def processes(number: int) -> Workers:
    """Give so many processes of this machine, which are started when they are needed."""
    return Workers(number, lambda: _processes(number))


def _processes(number: int) -> Executor:
    # Forked from a process without threads, in which what takes long to import is there already. Ctrl-C, which a
    # terminal tells all processes, is left to the one that gives the work: the others inherit that they do not hear it.
    multiprocessing.set_forkserver_preload(list(_PRELOADED))
    resource_tracker.ensure_running()  # It would have us hear it again.
    heard = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, heard)
    return ProcessPoolExecutor(number, multiprocessing.get_context("forkserver"), initializer=_begin)


def _begin() -> None:
    """Make a worker ready, and see to it that it does not outlive who gives the work, however that dies."""
    # As in the service: in the many objects that it makes, most of which live shortly, cycles are sought in vain.
    gc.freeze()
    gc.set_threshold(500_000, 10, 10)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def _connected(address: str) -> Iterator[Client]:
    try:
        from distributed import Client
    except ImportError:
        raise InvalidConfigError(
            "Work can be given to Dask only where it is installed: pip install 'butlerql[dask]'."
        ) from None
    try:
        client = Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise InvalidConfigError(f"There is no scheduler of Dask at {address}: {error}") from error
    with client:
        yield client


class _OnDask(Executor):
    """Has work done by a cluster; a worker that dies is the scheduler's business."""

    def __init__(self, client: Client) -> None:
        # Two chunks that look the same are done twice: what they look at may have changed.
        self._executor = client.get_executor(pure=False)

    def submit(self, work: Callable[..., T], /, *arguments: Any, **named: Any) -> Future[T]:
        """Have something done."""
        future: Future[T] = self._executor.submit(work, *arguments, **named)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Give the work up, or wait for it."""
        self._executor.shutdown(wait=wait and not cancel_futures)
