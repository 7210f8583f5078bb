"""The service as it runs: sockets, processes, and clients that dawdle."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator
from functools import partial

import httpx
import pytest
from uvicorn import Config, Server

from butlerql.app import create_app
from butlerql.serving import PatientProtocol, bind, is_loopback, url_of
from butlerql.settings import Settings
from butlerql.storage.errors import InvalidConfigError
from tests.support.tiny_service import TinyService

RECEIVE_SECONDS = 0.4


@pytest.fixture
async def address(service: TinyService) -> AsyncIterator[tuple[str, int]]:
    """Run a real server with little patience on a port of its own."""
    settings = Settings(receive_seconds=RECEIVE_SECONDS, maximum_body_bytes=20_000)
    listener = bind("127.0.0.1", 0)
    config = Config(
        create_app({"tiny": service}, settings),
        http=partial(PatientProtocol, receive_seconds=RECEIVE_SECONDS),  # type: ignore[arg-type]
        ws="none",
        log_config=None,
        access_log=False,
        timeout_keep_alive=1,
        timeout_graceful_shutdown=1,
    )
    server = Server(config)
    # The signals belong to pytest.
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment]
    running = asyncio.ensure_future(server.serve([listener]))
    while not server.started:
        await asyncio.sleep(0.01)
    yield listener.getsockname()[:2]
    server.should_exit = True
    await running


async def send(address: tuple[str, int], data: bytes, patience: float = 20.0) -> bytes:
    """Send bytes, and read until the server closes."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(data)
    try:
        return await asyncio.wait_for(reader.read(), patience)
    finally:
        writer.close()


def head(method: str = "POST", **headers: str) -> bytes:
    lines = [f"{method} /graphql HTTP/1.1", "Host: test", *(f"{k.replace('_', '-')}: {v}" for k, v in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def test_requests_share_a_connection(address: tuple[str, int]) -> None:
    async with httpx.AsyncClient(base_url=f"http://{address[0]}:{address[1]}") as client:
        for _ in range(3):
            response = await client.post("/graphql", json={"query": "{ hello }"})
            assert response.json() == {"data": {"hello": "Hello, world!"}}
            await asyncio.sleep(RECEIVE_SECONDS * 0.7)
        large = await client.post("/graphql", json={"query": "{ items(first: 20000) { id name } }"})
        assert len(large.json()["data"]["items"]) == 20_000


async def test_a_request_may_take_longer_to_answer_than_to_send(address: tuple[str, int], service: TinyService) -> None:
    waiting = asyncio.ensure_future(
        send(address, head(Content_Type="application/json", Content_Length="22") + b'{"query": "{ sleep }"}', 60)
    )
    await asyncio.sleep(RECEIVE_SECONDS * 2)
    assert not waiting.done()
    assert service.running == 1
    waiting.cancel()
    while service.running:
        await asyncio.sleep(0.01)
    assert service.cancelled == 1


@pytest.mark.parametrize("sent", [b"", b"\r\n", b"POST /graphql HT", head()[:-2], head()[:-2] + b"X: 1\r\n"])
async def test_a_head_that_does_not_come_ends_the_connection(address: tuple[str, int], sent: bytes) -> None:
    started = time.perf_counter()
    assert await send(address, sent) == b""
    assert RECEIVE_SECONDS * 0.9 < time.perf_counter() - started < RECEIVE_SECONDS + 10


async def test_nor_does_it_help_to_have_sent_a_whole_request_before(address: tuple[str, int]) -> None:
    answer = await send(address, head("DELETE") + b"POST /gr")
    assert answer.startswith(b"HTTP/1.1 405 ")
    assert answer.count(b"HTTP/1.1") == 1


async def test_a_body_that_does_not_come_is_told_so(address: tuple[str, int]) -> None:
    answer = await send(address, head(Content_Type="application/json", Content_Length="100") + b'{"query":')
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"REQUEST_TIMEOUT" in answer


@pytest.mark.parametrize("length", ["Content-Length: 10000000", "Transfer-Encoding: chunked"])
async def test_a_body_that_is_too_large_is_told_so_even_to_who_sends_it_all_first(
    address: tuple[str, int], length: str
) -> None:
    name, _, value = length.partition(": ")
    chunk = b" " * 10_000
    body = chunk * 14 if name == "Content-Length" else (b"2710\r\n" + chunk + b"\r\n") * 14 + b"0\r\n\r\n"
    request = head(**{"Content_Type": "application/json", name.replace("-", "_"): value.replace("10000000", "140000")})
    answer = await send(address, request + body)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"PAYLOAD_TOO_LARGE" in answer


async def test_an_endless_body_is_cut_off(address: tuple[str, int]) -> None:
    reader, writer = await asyncio.open_connection(*address)
    writer.write(head(Content_Type="application/json", Transfer_Encoding="chunked"))
    sent = 0
    with contextlib.suppress(ConnectionError):
        while sent < 50_000_000:
            writer.write(b"2710\r\n" + b" " * 10_000 + b"\r\n")
            sent += 10_000
            await writer.drain()
            if reader.at_eof():
                break
    writer.close()
    assert sent < 50_000_000


async def test_a_head_without_end_is_cut_off(address: tuple[str, int]) -> None:
    answer = await send(address, head()[:-2] + b"X-Long: " + b"x" * 100_000)
    assert answer.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET /graphql?query=%00 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /%ff/graphql?query={hello} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET //graphql HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /graphql HTTP/1.1\r\nHost: x\r\nAccept: \xff;q=\xff\r\nConnection: close\r\n\r\n",
        b"GET /graphql HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade, close\r\n\r\n",
        b"POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: -1\r\n\r\n",
    ],
)
async def test_nonsense_breaks_nothing(address: tuple[str, int], sent: bytes) -> None:
    answer = await send(address, sent)
    assert answer == b"" or int(answer.split()[1]) < 500
    async with httpx.AsyncClient(base_url=f"http://{address[0]}:{address[1]}") as client:
        assert (await client.get("/health/live")).status_code == 200


async def test_a_person_gets_the_page(address: tuple[str, int]) -> None:
    answer = await send(address, b"GET / HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b"<title>ButlerQL</title>" in answer


def test_binding_takes_the_port() -> None:
    with bind("127.0.0.1", 0) as listener:
        assert url_of(listener) == f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(InvalidConfigError, match=r"Cannot listen on 127\.0\.0\.1, port .*in use"):
            bind("127.0.0.1", listener.getsockname()[1])


def test_an_address_of_another_machine_cannot_be_taken() -> None:
    with pytest.raises(InvalidConfigError, match=r"Cannot listen on 127\.0\.0\.1\.5"):
        bind("127.0.0.1.5", 0)


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.1.2.3", True), ("localhost", True), ("::1", True), ("0.0.0.0", False)],
)
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_the_protocol_leaves_a_connection_alone_that_was_handed_over() -> None:
    async def scenario() -> bool:
        left, right = socket.socketpair()
        config = Config(create_app({}, Settings()), log_config=None)
        config.load()
        from uvicorn.server import ServerState

        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_accepted_socket(
            lambda: PatientProtocol(config, ServerState(), {}, receive_seconds=0.05), left
        )
        transport.set_protocol(asyncio.Protocol())
        await asyncio.sleep(0.2)
        closing = transport.is_closing()
        transport.close()
        right.close()
        return closing

    assert asyncio.run(scenario()) is False
