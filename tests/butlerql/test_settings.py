"""Settings from a file, the environment and the command line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from butlerql.scopes import Scope
from butlerql.settings import LogFormat, Settings, load_settings
from butlerql.storage.errors import InvalidConfigError


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("BUTLERQL_"):
            monkeypatch.delenv(name)


def write(directory: Path, text: str) -> Path:
    file = directory / "settings.yaml"
    file.write_text(text)
    return file


def test_the_defaults() -> None:
    settings = load_settings()
    assert settings == Settings()
    assert (settings.host, settings.port, settings.default_page, settings.maximum_page) == (
        "127.0.0.1",
        8080,
        100,
        10_000,
    )
    assert (settings.request_seconds, settings.snapshot_seconds) == (30, 5)


def test_the_command_line_comes_before_the_environment_and_that_before_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path, "port: 1\nworkers: 2\nhost: localhost\nlog_format: json\n")
    monkeypatch.setenv("BUTLERQL_PORT", "3")
    monkeypatch.setenv("BUTLERQL_WORKERS", "4")
    settings = load_settings(file, {"port": 5})
    assert (settings.port, settings.workers, settings.host) == (5, 4, "localhost")
    assert settings.log_format is LogFormat.JSON


def test_a_list_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [Path("/a.yaml"), Path("b.yaml")]
    file = write(tmp_path, "description_files: [/a.yaml, b.yaml]\n")
    assert load_settings(file).description_files == files
    monkeypatch.setenv("BUTLERQL_DESCRIPTION_FILES", os.pathsep.join(map(str, files)))
    assert load_settings().description_files == files
    monkeypatch.setenv("BUTLERQL_DESCRIPTION_FILES", "")
    assert load_settings(file).description_files == []
    monkeypatch.delenv("BUTLERQL_DESCRIPTION_FILES")
    with pytest.raises(InvalidConfigError, match="description_files"):
        load_settings(write(tmp_path, "description_files: {a: b}\n"), {})


def test_scopes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path, "scopes: [READ, TAG]\n")
    assert load_settings(file).scopes == [Scope.READ, Scope.TAG]
    monkeypatch.setenv("BUTLERQL_SCOPES", "READ ADMIN")
    assert load_settings(file).scopes == [Scope.READ, Scope.ADMIN]
    monkeypatch.setenv("BUTLERQL_SCOPES", "TAG")
    with pytest.raises(InvalidConfigError, match=r"BUTLERQL_SCOPES is 'TAG'.*READ has to be among them"):
        load_settings()
    monkeypatch.setenv("BUTLERQL_SCOPES", "READ WRITE")
    with pytest.raises(InvalidConfigError, match=r"BUTLERQL_SCOPES is 'WRITE': input should be 'READ', 'TAG'"):
        load_settings()


def test_an_empty_file_sets_nothing(tmp_path: Path) -> None:
    assert load_settings(write(tmp_path, "# nothing yet\n")) == Settings()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("prot: 1", "There is no setting prot (in {file}). Did you mean port?"),
        ("something_else: 1", "There is no setting something_else (in {file}). See docs/reference/settings.md"),
        ("port: many", "port in {file} is 'many': input should be a valid integer"),
        ("port: 70000", "port in {file} is 70000: input should be less than or equal to 65535"),
        ("log_level: loud", "log_level in {file} is 'loud': input should be 'debug', 'info', 'warning' or 'error'"),
        ("default_page: 20\nmaximum_page: 10", "default_page (20) is above maximum_page (10)"),
        ("deletion_grace_seconds: 60", "deletion_grace_seconds (60) is below deletion_grace_floor_seconds (86400)"),
        (
            "deletion_plan_seconds: 0",
            "deletion_plan_seconds in {file} is 0: input should be greater than or equal to 1",
        ),
        ("[1, 2]", "The settings file {file} must hold `setting: value` lines."),
        ("a: [", "The settings file {file} is not valid YAML: while parsing"),
        ("\x00", "The settings file {file} is not valid YAML"),
    ],
)
def test_a_wrong_file_is_refused_with_the_key(tmp_path: Path, text: str, told: str) -> None:
    file = write(tmp_path, text)
    with pytest.raises(InvalidConfigError) as caught:
        load_settings(file)
    assert told.format(file=file) in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for place in (tmp_path / "nothing.yaml", tmp_path):
        with pytest.raises(InvalidConfigError, match="cannot be read"):
            load_settings(place)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("BUTLERQL_PORT", "many", "BUTLERQL_PORT is 'many'"),
        ("BUTLERQL_PROT", "1", "There is no setting BUTLERQL_PROT (in the environment). Did you mean BUTLERQL_PORT?"),
    ],
)
def test_a_wrong_environment_is_refused_with_the_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidConfigError) as caught:
        load_settings()
    assert told in str(caught.value)


def test_a_wrong_option_is_named_as_on_the_command_line() -> None:
    with pytest.raises(InvalidConfigError, match="--port is 70000"):
        load_settings(None, {"port": 70_000})
