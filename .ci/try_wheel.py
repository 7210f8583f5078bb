"""Try a wheel as its users will: in a fresh environment, away from the checkout, on the demonstration repository."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.request
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
QUERY = """
{ findDataset(datasetType: "calexp", dataId: {instrument: "HSC", visit: 903334, detector: 16},
              collections: ["HSC/runs/ci_hsc"]) { filename run { name } } }
"""


def check_contents(wheel: Path) -> None:
    """The rooms are in the package, each once, as files; and so is the explorer page."""
    names = zipfile.ZipFile(wheel).namelist()
    outside = {name.split("/")[0] for name in names if not name.startswith(("butlerql/", "butlerql-"))}
    assert not outside, f"beside the package the wheel holds {outside}"
    assert len(names) == len(set(names)), "the wheel holds something twice"
    for room in ("schema", "resolvers", "storage"):
        assert f"butlerql/{room}/__init__.py" in names, f"the wheel has no butlerql/{room}"
    migrations = "storage/state/migrations"
    for name in (
        *("py.typed", "queries.graphql", "schema/schema.graphql", "static/index.html"),
        *(f"{migrations}/env.py", f"{migrations}/versions/r0001_jobs_and_checksums.py"),
    ):
        assert f"butlerql/{name}" in names, f"the wheel has no butlerql/{name}"


def install(wheel: Path, directory: Path) -> Path:
    """Install the wheel alone, without extras; give the directory of its programs."""
    venv.create(directory, with_pip=True)
    programs = directory / "bin"
    options = ["--quiet", "--disable-pip-version-check", "-c", str(ROOT / "constraints.txt")]
    subprocess.run([programs / "python", "-m", "pip", "install", *options, wheel.resolve()], check=True)
    return programs


def try_service(programs: Path, repository: Path, directory: Path) -> None:
    """Check the repository, serve it, ask for one dataset, and look at the explorer page."""
    # Neither the checkout nor what it installed is in the way.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    subprocess.run([programs / "butlerql", "check", repository], cwd=directory, env=environment, check=True)
    subprocess.run([programs / "butlerql", "state", "upgrade", repository], cwd=directory, env=environment, check=True)
    service = subprocess.Popen(
        [programs / "butlerql", "serve", repository, "--port", "0"],
        cwd=directory,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert service.stdout is not None
        address = next(found[0] for line in service.stdout if (found := re.search(r"http://[\d.]+:\d+", line)))
        request = urllib.request.Request(
            f"{address}/graphql", json.dumps({"query": QUERY}).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            answer = json.load(response)
        assert "errors" not in answer, answer
        found = answer["data"]["findDataset"]
        assert Path(found["filename"]).is_file(), found
        assert found["run"]["name"] == "HSC/runs/ci_hsc/20240806T180642Z", found
        with urllib.request.urlopen(f"{address}/", timeout=60) as response:
            page = response.read().decode()
        assert "assets/" in page, page
    finally:
        service.terminate()
        service.wait(timeout=60)


def main() -> None:
    """Try the wheel that the command line names."""
    wheel = Path(sys.argv[1])
    check_contents(wheel)
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        repository = directory / "repository"
        subprocess.run([sys.executable, "-m", "butlerql.demonstration", repository], check=True)
        try_service(install(wheel, directory / "environment"), repository, directory)
    print(f"{wheel.name} works in a fresh environment.")


if __name__ == "__main__":
    main()
