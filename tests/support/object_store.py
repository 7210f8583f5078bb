"""An object store that speaks S3, on this machine, for the tests that need one."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import boto3
from moto.server import ThreadedMotoServer

__all__ = ["ObjectServer", "run_forbidding_server", "run_object_server"]

_KEYS = {"AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": "s3kr/t+"}


class ObjectServer(NamedTuple):
    """A server, and a client of another make than ours."""

    url: str
    client: Any

    @property
    def environ(self) -> Mapping[str, str]:
        """Variables by which the Butler, and we, find it and may use it."""
        return {"S3_ENDPOINT_URL": self.url, "AWS_DEFAULT_REGION": "us-east-1", **_KEYS}

    def fill(self, bucket: str, objects: Mapping[str, bytes]) -> None:
        """Make a bucket that holds some objects."""
        self.client.create_bucket(Bucket=bucket)
        for key, content in objects.items():
            self.client.put_object(Bucket=bucket, Key=key, Body=content)


@contextmanager
def run_object_server() -> Iterator[ObjectServer]:
    """Run a server for the length of the block."""
    # It writes a line for each request.
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        client = boto3.client(
            "s3",
            endpoint_url=url,
            region_name="us-east-1",
            aws_access_key_id=_KEYS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=_KEYS["AWS_SECRET_ACCESS_KEY"],
        )
        yield ObjectServer(url, client)
        client.close()
    finally:
        server.stop()


@contextmanager
def run_forbidding_server() -> Iterator[str]:
    """Run a server that answers everything with 403 for the length of the block; give its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(403)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_PUT = do_DELETE = do_GET  # noqa: N815 - as the base class calls them

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
