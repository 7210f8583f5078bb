"""The service as it is really run, in a process of its own."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

__all__ = ["serving"]

_BUTLERQL = [sys.executable, "-c", "from butlerql.cli import main; main(prog_name='butlerql')"]


@contextmanager
def serving(*arguments: str, log: Path) -> Iterator[str]:
    """Run ``butlerql serve``, give the address that it prints, and see that it stops when told to.

    Parameters
    ----------
    arguments
        Repositories and options; the port is chosen here.
    log
        Where to write what the service says on standard error.
    """
    with (
        log.open("w") as errors,
        subprocess.Popen(
            [*_BUTLERQL, "serve", *arguments, "--port", "0"], stdout=subprocess.PIPE, stderr=errors
        ) as process,
    ):
        assert process.stdout is not None
        try:
            printed = b""
            while not (found := re.search(rb"Open (http://127\.0\.0\.1:\d+)/ ", printed)):
                line = process.stdout.readline()
                assert line, log.read_text()
                printed += line
            address = found[1].decode()
            _wait_until_ready(address, process)
            yield address
            process.send_signal(signal.SIGINT)
            assert process.wait(30) in (0, -signal.SIGINT)
        finally:
            # Not killed at once: workers would be left behind.
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(30)
            process.kill()
    assert "Traceback" not in log.read_text()


def _wait_until_ready(address: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    with httpx.Client(timeout=10) as client:
        while time.monotonic() < deadline and process.poll() is None:
            try:
                if client.get(f"{address}/health/ready").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)
    pytest.fail("the service does not become ready")
