"""The commands, as a person types them."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner, Result
from graphql import build_schema

from butlerql import __version__
from butlerql.cli import main
from tests.support.ci_hsc import CI_HSC
from tests.support.repositories import Dialect, Layout, RealRepository, Repositories
from tests.support.served import serving


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def assert_fails(result: Result, *told: str) -> None:
    """See one line on standard error, and the exit status for it."""
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1, result.stderr
    assert result.stderr.startswith("butlerql: ")
    for part in told:
        assert part in result.stderr


def test_version_and_help() -> None:
    assert run("--version").output == f"butlerql, version {__version__}\n"
    for arguments in (("-h",), ("serve", "-h"), ("schema", "--help"), ("check", "--help"), ("state", "upgrade", "-h")):
        assert run(*arguments).exit_code == 0


def test_schema_prints_the_definition_of_the_graph(ci_hsc: RealRepository) -> None:
    result = run("schema", ci_hsc.uri)
    assert result.exit_code == 0
    schema = build_schema(result.stdout)
    assert "datasetType" in schema.query_type.fields if schema.query_type else False
    assert "physicalFilter" in result.stdout


def test_check_says_what_is_there(ci_hsc: RealRepository) -> None:
    result = run("check", ci_hsc.uri)
    assert result.exit_code == 0
    for part in (ci_hsc.uri, "daf_butler 8", "SynthIntKeyCollectionManager", "FileDatastore@"):
        assert part in result.stdout
    assert re.search(r"^own state +none yet; would be ", result.stdout, re.MULTILINE)
    assert re.search(r"^writing +possible$", result.stdout, re.MULTILINE)
    assert re.search(f"^registry +{ci_hsc.dialect}", result.stdout, re.MULTILINE | re.IGNORECASE)
    assert "guarded" not in result.stdout


def test_state_upgrade_makes_the_state_and_check_tells_it(
    repositories: Repositories, dialect: Dialect, tmp_path: Path
) -> None:
    with repositories.private(CI_HSC, Layout(dialect)) as repository:
        result = run("state", "upgrade", repository.uri)
        assert (result.exit_code, result.stderr) == (0, "")
        assert re.search(r"^Own state in .*: revision (\w+) \(it is new\)\.$", result.stdout)
        assert re.search(r"revision (\w+) \(before: \1\)", run("state", "upgrade", repository.uri).stdout)
        assert re.search(r"^own state .*butlerql.*, revision \w+$", run("check", repository.uri).stdout, re.MULTILINE)
        elsewhere = tmp_path / "settings.yaml"
        elsewhere.write_text(f"state: {tmp_path}/nowhere/state.sqlite3")
        assert_fails(run("state", "upgrade", repository.uri, "--config", str(elsewhere)), "No such file or directory")


def test_describe_says_what_a_dataset_type_is(ci_hsc: RealRepository, tmp_path: Path) -> None:
    descriptions, file = tmp_path / "descriptions.yaml", tmp_path / "settings.yaml"
    descriptions.write_text("calexp: |\n  As the camera\n  wrote it.\nother:\nstorageClasses: {ExposureF: Pixels.}\n")
    file.write_text(f"description_files: [{descriptions}]\n")
    result = run("describe", ci_hsc.uri, "calexp", "--config", str(file))
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "dataset type   calexp",
        "description    As the camera",
        "               wrote it.",
        "dimensions     instrument, detector, visit",
        "implied        band, day_obs, physical_filter",
        "storage class  ExposureF",
        "               Pixels.",
        "Python type    lsst.afw.image.ExposureF",
    ]
    assert result.stderr == f"butlerql: {descriptions}, line 4: the description of 'other' must be a text.\n"
    assert re.search(r"^description +nobody described it$", run("describe", ci_hsc.uri, "calexp").stdout, re.MULTILINE)
    checked = run("check", ci_hsc.uri, "--config", str(file)).stdout
    assert re.search(f"^descriptions +2 in {descriptions}\n +{descriptions}, line 4: the desc", checked, re.MULTILINE)
    assert re.search(r"^descriptions +none$", run("check", ci_hsc.uri).stdout, re.MULTILINE)


def test_describe_tells_what_is_not_there(ci_hsc: RealRepository) -> None:
    assert_fails(run("describe", ci_hsc.uri, "nothing"), "No dataset type is named 'nothing'")
    assert_fails(run("describe", ci_hsc.uri, "calexp.nothing"), "has no component 'nothing'")


@pytest.mark.parametrize("command", ["serve", "schema", "check"])
def test_what_is_no_repository_is_told_in_a_line(command: str, tmp_path: Path) -> None:
    assert_fails(run(command, str(tmp_path / "nothing")), "is no Butler repository")
    (tmp_path / "butler.yaml").write_text("registry: [")
    assert_fails(run(command, str(tmp_path)), "butler.yaml")
    (tmp_path / "butler.yaml").write_text("cls: lsst.daf.butler.remote_butler.RemoteButler\n")
    assert_fails(run(command, str(tmp_path)))


def test_an_unknown_manager_is_told_in_a_line(repositories: Repositories) -> None:
    with repositories.private(CI_HSC, Layout("sqlite")) as repository:
        with closing(sqlite3.connect(repository.sqlite_file)) as database, database:
            database.execute(
                "UPDATE butler_attributes SET value = 'lsst.future.NewManager' "
                "WHERE name = 'config:registry.managers.datasets'"
            )
        for command in ("serve", "check", "schema"):
            assert_fails(run(command, repository.uri), "NewManager")


def test_a_wrong_password_is_told_in_a_line_without_it(repositories: Repositories) -> None:
    with repositories.private(CI_HSC, Layout("postgresql")) as repository:
        assert repository.server is not None and repository.database is not None
        url = repository.server.guarded_url(repository.database, "hunter2")
        repository.rewrite_config(lambda config: config["registry"].update(db=url))
        result = run("check", repository.uri)
    assert_fails(result)
    assert "hunter2" not in result.stderr


def test_settings_that_are_wrong_are_told_in_a_line(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("prot: 80\n")
    assert_fails(run("serve", "anything", "--config", str(file)), "no setting prot", "Did you mean port?")
    assert_fails(run("serve", "anything", "--port", "70000"), "--port is 70000")
    assert_fails(run("check", "anything", "--config", str(tmp_path / "nothing")), "cannot be read")


def test_nobody_is_served_elsewhere_by_mistake(ci_hsc: RealRepository) -> None:
    assert_fails(run("serve", ci_hsc.uri, "--host", "0.0.0.0"), "--insecure", "could read the", "no authentication")
    assert_fails(run("serve", ci_hsc.uri, "--host", "0.0.0.0", "--writable"), "--insecure", "could read and change the")


def test_two_repositories_of_one_name_need_labels(ci_hsc: RealRepository) -> None:
    assert_fails(run("serve", ci_hsc.uri, ci_hsc.uri), "Say label=REPO")
    assert_fails(run("serve", f"health={ci_hsc.uri}"), "'health' cannot be the label")


def test_a_port_that_is_taken(ci_hsc: RealRepository) -> None:
    from butlerql.serving import bind

    with bind("127.0.0.1", 0) as listener:
        port = str(listener.getsockname()[1])
        assert_fails(run("serve", ci_hsc.uri, "--port", port), f"Cannot listen on 127.0.0.1, port {port}")


def test_a_repository_is_asked_for() -> None:
    result = run("serve")
    assert result.exit_code == 2
    assert "REPO" in result.stderr


def test_serve(ci_hsc: RealRepository, tmp_path: Path) -> None:
    name = Path(ci_hsc.uri).name
    with serving(ci_hsc.uri, f"other={ci_hsc.uri}", log=tmp_path / "log") as address:
        told = httpx.get(f"{address}/explorer.json").json()
        assert [repository["label"] for repository in told["repositories"]] == [name, "other"]
        for path in ("graphql", f"{name}/graphql", "other/graphql"):
            answer = httpx.post(f"{address}/{path}", json={"query": "query Mine { repository { root } }"}).json()
            assert answer == {"data": {"repository": {"root": ci_hsc.uri}}}


def test_serve_with_several_processes(ci_hsc: RealRepository, tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("log_format: json\nworkers: 2\n")
    with serving(ci_hsc.uri, "--config", str(file), log=tmp_path / "log") as address:
        for _ in range(4):
            answer = httpx.post(f"{address}/graphql", json={"query": "query Mine { repository { root } }"}).json()
            assert answer == {"data": {"repository": {"root": ci_hsc.uri}}}
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    requests = [line for line in lines if line["event"] == "request"]
    assert [(line["operation"], line["status"]) for line in requests] == [("Mine", 200)] * 4
