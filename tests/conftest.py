"""Fixtures that every room's tests share: the two databases, and real repositories on them."""

from __future__ import annotations

import fcntl
import gc
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from butlerql import demonstration as demonstration_repository
from tests.support.ci_hsc import CI_HSC
from tests.support.pipelines.recorded import Recorded, record
from tests.support.postgres import HOW_TO_INSTALL, Server, find_binaries, run_server
from tests.support.repositories import Content, Dialect, Layout, RealRepository, Repositories
from tests.support.rich import RICH
from tests.support.universes import ONE_OF_EACH, UNIVERSE_VERSIONS

# "ci" gives the same examples every time, so that a failure is the change's; "fuzz" looks for new ones.
hypothesis.settings.register_profile("ci", derandomize=True, deadline=None, max_examples=25, print_blob=True)
hypothesis.settings.register_profile("fuzz", deadline=None, max_examples=1_000, print_blob=True)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

# The Butler makes so much that lasts, and so many short-lived objects, that by default a tenth of the time is spent on
# looking for what nobody refers to any more.
gc.set_threshold(200_000, 20, 20)

# Repositories and databases come and go by the thousand. Where there is room for them in memory, they are kept there: a
# disk takes longer to make and remove their files than the tests take for themselves.
_MEMORY = Path("/dev/shm")
if _IN_MEMORY := os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > 4 << 30:
    tempfile.tempdir = os.environ["TMPDIR"] = str(_MEMORY)

DEMONSTRATION = Content("demonstration", demonstration_repository.fill, lambda: dict(demonstration_repository.CONFIG))

EVERY_LAYOUT = [
    Layout("sqlite"),
    Layout("postgresql"),
    Layout("sqlite", collections="nameKey", datasets="1.0.0"),
    Layout("postgresql", collections="nameKey", datasets="1.0.0"),
    Layout("sqlite", collections="nameKey"),
    Layout("postgresql", datasets="1.0.0", icu_locale="en-US", namespace="butler"),
]


def pytest_collection_finish() -> None:
    """See to it that nobody looks through all modules and tests again and again for what can be freed."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """Run a PostgreSQL server for the session."""
    binaries = find_binaries()
    if binaries is None:
        if os.environ.get("CI") == "true":
            pytest.fail(HOW_TO_INSTALL, pytrace=False)
        pytest.skip(HOW_TO_INSTALL)
    with run_server(binaries, _MEMORY if _IN_MEMORY else Path("/tmp")) as server:
        yield server


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def dialect(request: pytest.FixtureRequest) -> Dialect:
    """Name each database in turn."""
    chosen: Dialect = request.param
    return chosen


@pytest.fixture(scope="session")
def repositories(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repositories]:
    """Build and keep the repositories of the session."""
    made = Repositories(tmp_path_factory.mktemp("repositories"), lambda: request.getfixturevalue("postgres"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def ci_hsc(repositories: Repositories, dialect: Dialect) -> RealRepository:
    """Give the ci_hsc subset, to read, on each database."""
    return repositories.shared(CI_HSC, Layout(dialect))


@pytest.fixture(scope="session")
def rich(repositories: Repositories, dialect: Dialect) -> RealRepository:
    """Give the repository that has one of everything, to read, on each database."""
    return repositories.shared(RICH, Layout(dialect))


@pytest.fixture(scope="session", params=EVERY_LAYOUT, ids=str)
def rich_in_every_layout(request: pytest.FixtureRequest, repositories: Repositories) -> RealRepository:
    """Give the repository that has one of everything, to read, in each layout that is in use."""
    return repositories.shared(RICH, request.param)


@pytest.fixture(scope="session")
def demonstration(repositories: Repositories, dialect: Dialect) -> RealRepository:
    """Give what `make demo` serves, to read, on each database."""
    return repositories.shared(DEMONSTRATION, Layout(dialect))


@pytest.fixture(scope="session", params=UNIVERSE_VERSIONS)
def every_universe(request: pytest.FixtureRequest, repositories: Repositories) -> RealRepository:
    """Give a repository of each version of the dimension universe, to read; on SQLite."""
    return repositories.shared(ONE_OF_EACH, Layout(universe=request.param))


@pytest.fixture(scope="session")
def pipelines(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """Give a repository into which pipelines were run, with their journal, to read; built once for all workers."""
    directory = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        directory = directory.parent
    with (directory / "pipelines.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        place = directory / "pipelines"
        if not place.exists():
            record(directory / "pipelines-unfinished")
            (directory / "pipelines-unfinished").rename(place)
    return Recorded(place)


@pytest.fixture
def fresh(repositories: Repositories) -> Iterator[Callable[[RealRepository], RealRepository]]:
    """Give a function that copies a repository, to write to, for the length of the test."""
    with ExitStack() as stack:
        yield lambda repository: stack.enter_context(repositories.copy(repository))


@pytest.fixture(scope="session", autouse=True)
def _loopback_only() -> Iterator[None]:
    """Let no test reach beyond this machine."""
    connect, resolve = socket.socket.connect, socket.getaddrinfo

    def guarded_connect(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            _refuse_foreign(address[0])
        connect(self, address)

    def guarded_resolve(host: Any, *arguments: Any, **options: Any) -> Any:
        _refuse_foreign(host)
        return resolve(host, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded_connect)
        patch.setattr(socket, "getaddrinfo", guarded_resolve)
        yield


def _refuse_foreign(host: Any) -> None:
    name = host.decode() if isinstance(host, bytes) else host
    if name not in (None, "", "localhost", "::1", "0.0.0.0") and not str(name).startswith("127."):
        raise RuntimeError(f"A test tried to reach {name!r}; tests use this machine alone.")
