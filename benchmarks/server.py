"""Servers in processes of their own, as users start them: the service, and that of the Butler."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import venv
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import httpx
from lsst.daf.butler.remote_butler import RemoteButler
from lsst.daf.butler.remote_butler._factory import RemoteButlerFactory

__all__ = ["served", "served_by_butler"]


@contextmanager
def served(repository: Path) -> Iterator[str]:
    """Serve a repository on loopback; gives the address."""
    with _running([str(Path(sys.executable).with_name("butlerql")), "serve", str(repository)], "health/ready") as url:
        yield url


@contextmanager
def served_by_butler(repository: Path, environment: Path) -> Iterator[RemoteButler]:
    """Serve a repository by the Butler's own server; gives a client of it.

    Parameters
    ----------
    repository
        Where it is.
    environment
        Where the server is installed, if it is not yet: it needs other versions of what the service is built on.
    """
    if not environment.exists():
        venv.create(environment, with_pip=True)
        needed = f"lsst-daf-butler[remote,server]=={version('lsst-daf-butler')}"
        subprocess.run([environment / "bin/pip", "install", "--quiet", needed], check=True)
    repositories = {"one": {"config_uri": str(repository), "authorized_groups": ["*"]}}
    settings = {
        "DAF_BUTLER_SERVER_REPOSITORIES": json.dumps(repositories),
        "DAF_BUTLER_SERVER_GAFAELFAWR_URL": "DISABLED",
        "DAF_BUTLER_SERVER_AUTHENTICATION": "cadc",  # With no further proxy in front of it.
    }
    command = [str(environment / "bin/uvicorn"), "--factory", "lsst.daf.butler.remote_butler.server:create_app"]
    with _running(command, "api/butler/repo/one/butler.json", settings) as url:
        factory = RemoteButlerFactory.create_factory_for_url(f"{url}/api/butler/repo/one")
        yield factory.create_butler_for_access_token("nobody's")


@contextmanager
def _running(command: list[str], ready: str, settings: Mapping[str, str] | None = None) -> Iterator[str]:
    """Run a server until it is not needed any more; gives the address when it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [*command, "--port", str(port)]
    environment = {**os.environ, **(settings or {})}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            _wait(f"{url}/{ready}")
            yield url
        finally:
            process.terminate()


def _wait(url: str) -> None:
    for _ in range(600):
        try:
            if httpx.get(url).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise TimeoutError(f"Nothing answers at {url}.")
