"""Run the web application: the socket, the worker processes, and what a slow client may do."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from starlette.applications import Starlette
from uvicorn import Config, Server
from uvicorn.config import STARTUP_FAILURE
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.supervisors import Multiprocess

from butlerql.app import create_app
from butlerql.graphql_http import Service
from butlerql.logs import configure_logging
from butlerql.opening import open_services
from butlerql.settings import Settings
from butlerql.storage.errors import InvalidConfigError

__all__ = ["Served", "bind", "is_loopback", "run", "url_of"]

HEAD_BYTES = 65_536
"""How long the request line and the headers may be together."""

SHUTDOWN_SECONDS = 10
"""How long requests that are under way may still take when the service is told to stop."""


@dataclass(frozen=True, slots=True)
class Served:
    """What a worker process has to know; it is handed over to each.

    Parameters
    ----------
    repositories
        Where each label's repository is.
    settings
        All settings.
    """

    repositories: Mapping[str, str]
    settings: Settings


class PatientProtocol(HttpToolsProtocol):
    """HTTP/1.1 that waits for the head of a request no longer, and takes of it no more, than it should.

    uvicorn itself ends idle connections only.
    """

    def __init__(self, *arguments: Any, receive_seconds: float, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._receive_seconds = receive_seconds
        self._head_timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._in_body = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._in_body or not (self.cycle is None or self.cycle.response_complete):
            return
        self._await_head()
        self._head_bytes += len(data)
        if self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("The head of the request is too long.")

    def on_headers_complete(self) -> None:
        self._in_body = True
        self._head_bytes = 0
        self._stop_timer()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_body = False
        super().on_message_complete()

    def _await_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self._receive_seconds, self._give_up)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _give_up(self) -> None:
        self._head_timer = None
        # After an upgrade the connection belongs to another protocol.
        if self.transport.get_protocol() is self and not self.transport.is_closing():
            self.transport.close()


def run(served: Served, listener: socket.socket) -> None:
    """Serve until told to stop.

    Parameters
    ----------
    served
        The repositories and settings.
    listener
        A bound socket, see `bind`.
    """
    settings = served.settings
    config = Config(
        partial(_application, served),
        factory=True,
        workers=settings.workers,
        http=partial(PatientProtocol, receive_seconds=settings.receive_seconds),  # type: ignore[arg-type]
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
    if settings.workers > 1:
        Multiprocess(config, sockets=[listener]).run()
        return
    server = Server(config)
    # It has stopped properly when it raises Ctrl-C again.
    with suppress(KeyboardInterrupt):
        server.run(sockets=[listener])
    if not server.started:
        sys.exit(STARTUP_FAILURE)


def bind(host: str, port: int) -> socket.socket:
    """Take an address, before anything else is told or done.

    Parameters
    ----------
    host
        A name or an address.
    port
        0 for any that is free.

    Raises
    ------
    InvalidConfigError
        If it cannot be had.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.create_server(address[:2], family=family, backlog=2048)
    except OSError as error:
        raise InvalidConfigError(f"Cannot listen on {host}, port {port}: {error.strerror or error}.") from error
    listener.set_inheritable(True)
    return listener


def is_loopback(host: str) -> bool:
    """Tell whether an address can be reached from this machine alone.

    Parameters
    ----------
    host
        A name or an address. A name that cannot be looked up counts as reachable from elsewhere.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError:
        return False
    return all(ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback for *_, address in found)


def url_of(listener: socket.socket) -> str:
    """Say where a socket can be reached, as a URL without a path."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _application(served: Served) -> Starlette:
    """Make the application within a worker process; it opens the repositories when it starts."""
    configure_logging(served.settings.log_level, served.settings.log_format)
    services: dict[str, Service] = {}

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with open_services(served.repositories, served.settings) as opened:
            services.update(opened)
            yield
            services.clear()

    return create_app(services, served.settings, lifespan=lifespan)
