"""A private PostgreSQL server for the length of a test session."""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import ISOLATION_LEVEL_AUTOCOMMIT, connection

__all__ = ["HOW_TO_INSTALL", "Server", "find_binaries", "run_server"]

HOW_TO_INSTALL = (
    "No PostgreSQL server was found, so its half of the tests is skipped. "
    "Install one (Debian: apt-get install postgresql; macOS: brew install postgresql) or put its bin directory on PATH."
)

SUPERUSER = "butler"

# Everybody on loopback is trusted but one role, which has to know its password.
ACCESS = """\
local all all trust
host all guarded 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 trust
"""

# Nothing here outlives the session, so nothing has to survive a crash.
SETTINGS = {
    "autovacuum": "off",
    "checkpoint_timeout": "1h",
    "fsync": "off",
    "full_page_writes": "off",
    "listen_addresses": "127.0.0.1",
    "max_connections": "200",
    "max_wal_senders": "0",
    "max_wal_size": "4GB",
    "shared_buffers": "128MB",
    "synchronous_commit": "off",
    "wal_level": "minimal",
}

# The shell outlives us: when its standard input closes, because we closed it or because we were killed, it stops the
# server at once, without the last checkpoint that nobody will read, and removes the files.
KEEPER = 'dir=$1; shift; "$@" & server=$!; read -r _; kill -QUIT "$server"; wait "$server"; rm -rf "$dir"'


def find_binaries() -> Path | None:
    """Find the directory that holds ``initdb`` and ``postgres``.

    Returns
    -------
    directory
        The first that has both: from ``PATH``, from ``pg_config``, then from where Debian, Red Hat, Homebrew and
        Postgres.app put them, newest version first. `None` if there is none.
    """
    for directory in _candidates():
        if os.access(directory / "initdb", os.X_OK) and os.access(directory / "postgres", os.X_OK):
            return directory
    return None


def _candidates() -> Iterator[Path]:
    # Debian's /usr/bin has clients only, and what is on PATH may be a link to the one program.
    for program in ("initdb", "postgres"):
        if found := shutil.which(program):
            yield Path(found).parent
            yield Path(found).resolve().parent
    if pg_config := shutil.which("pg_config"):
        said = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, check=False)
        if said.returncode == 0:
            yield Path(said.stdout.strip())
    for pattern in (
        "usr/lib/postgresql/*/bin",
        "usr/pgsql-*/bin",
        "usr/lib/postgresql*/bin",
        "usr/local/pgsql/bin",
        "opt/homebrew/opt/postgresql*/bin",
        "usr/local/opt/postgresql*/bin",
        "Applications/Postgres.app/Contents/Versions/*/bin",
    ):
        yield from sorted(Path("/").glob(pattern), key=_version, reverse=True)


def _version(directory: Path) -> tuple[int, ...]:
    digits = "".join(c if c.isdigit() else " " for c in str(directory)).split()
    return tuple(int(number) for number in digits)


class Server:
    """A running server, on 127.0.0.1, that trusts everybody.

    Parameters
    ----------
    port
        Where it listens.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self._numbers = itertools.count()

    def url(self, database: str, *, user: str = SUPERUSER, password: str | None = None) -> str:
        """Give the address of a database, as SQLAlchemy and the Butler read it."""
        secret = "" if password is None else f":{password}"
        return f"postgresql+psycopg2://{user}{secret}@127.0.0.1:{self.port}/{database}"

    def guarded_url(self, database: str, password: str | None = None) -> str:
        """Give the address of a database for the one role that needs a password (it is ``open sesame``)."""
        return self.url(database, user="guarded", password=password)

    @contextmanager
    def connect(self, database: str = "postgres") -> Iterator[connection]:
        """Connect as the superuser; every statement commits."""
        link = psycopg2.connect(host="127.0.0.1", port=self.port, user=SUPERUSER, dbname=database)
        try:
            link.set_isolation_level(ISOLATION_LEVEL_AUTOCOMMIT)
            yield link
        finally:
            link.close()

    def create_database(self, *, template: str | None = None, icu_locale: str | None = None) -> str:
        """Create a database that has the ``btree_gist`` extension, which the Butler needs.

        Parameters
        ----------
        template
            The database to copy. Nobody may be connected to it.
        icu_locale
            Compare strings by this locale (``"en-US"``, ``"sv"``) instead of by their bytes.

        Returns
        -------
        name
            The new database.
        """
        name = f"test_{next(self._numbers)}"
        if icu_locale is None:
            source, locale = template or "template1", sql.SQL("")
        else:
            # Only template0 may be copied into another locale.
            source = "template0"
            locale = sql.SQL(" LOCALE_PROVIDER icu ICU_LOCALE {} LOCALE 'C'").format(sql.Literal(icu_locale))
        create = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(source))
        with self.connect() as link, link.cursor() as cursor:
            cursor.execute(create + locale)
        if icu_locale is not None:
            self._add_extension(name)
        return name

    def drop_database(self, name: str) -> None:
        """Drop a database, whoever is connected to it."""
        with self.connect() as link, link.cursor() as cursor:
            cursor.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def _add_extension(self, name: str) -> None:
        with self.connect(name) as link, link.cursor() as cursor:
            cursor.execute("CREATE EXTENSION btree_gist")

    def _prepare(self) -> None:
        self._add_extension("template1")
        with self.connect() as link, link.cursor() as cursor:
            cursor.execute("CREATE ROLE guarded SUPERUSER LOGIN PASSWORD 'open sesame'")


@contextmanager
def run_server(binaries: Path, place: Path = Path("/tmp")) -> Iterator[Server]:
    """Run a server until the end of the block, or of this process however it ends.

    Parameters
    ----------
    binaries
        As `find_binaries` gives it.
    place
        Where to put its files. The path of a socket has to fit into about 100 characters, and the server's user must
        get there.
    """
    directory = Path(tempfile.mkdtemp(prefix="pg-", dir=place))
    user = _user()
    if user is not None:
        shutil.chown(directory, user)
    try:
        _initialise(binaries, directory, user)
        process, port = _start(binaries, directory, user)
        try:
            server = Server(port)
            server._prepare()
            yield server
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(timeout=300)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _user() -> str | None:
    """Choose whom the server runs as: it refuses to run as root."""
    if os.geteuid() != 0:
        return None
    import pwd

    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _initialise(binaries: Path, directory: Path, user: str | None) -> None:
    done = subprocess.run(
        [
            *(binaries / "initdb", "--no-sync", "--no-instructions", "--auth=trust", f"--username={SUPERUSER}"),
            *("--encoding=UTF8", "--locale=C", "--pgdata", directory / "data"),
        ],
        cwd=directory,
        user=user,
        group=_group(user),
        extra_groups=None if user is None else [],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"initdb failed:\n{done.stdout}")
    (directory / "data" / "pg_hba.conf").write_text(ACCESS)


def _group(user: str | None) -> int | None:
    if user is None:
        return None
    import pwd

    return pwd.getpwnam(user).pw_gid


def _start(binaries: Path, directory: Path, user: str | None) -> tuple[subprocess.Popen[bytes], int]:
    log = directory / "log"
    for _ in range(5):
        port = _free_port()
        with log.open("wb") as output:
            process = subprocess.Popen(
                [
                    *("/bin/sh", "-c", KEEPER, "keeper", directory, binaries / "postgres", "-D", directory / "data"),
                    *("-p", str(port), "-k", directory),
                    *(f"--{name}={value}" for name, value in SETTINGS.items()),
                ],
                cwd=directory,
                user=user,
                group=_group(user),
                extra_groups=None if user is None else [],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                # A Ctrl-C is for the tests; the server goes when they have gone.
                start_new_session=True,
            )
        if _answers(port, log):
            return process, port
        # Somebody took the port between our look and the server's.
        process.kill()
        process.wait()
    raise RuntimeError(f"PostgreSQL does not start:\n{log.read_text()}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(port: int, log: Path) -> bool:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            psycopg2.connect(host="127.0.0.1", port=port, user=SUPERUSER, dbname="postgres").close()
        except psycopg2.OperationalError:
            if "database system is shut down" in log.read_text() or "FATAL:  could not create" in log.read_text():
                return False
            time.sleep(0.05)
        else:
            return True
    return False
