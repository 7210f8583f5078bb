"""What an operator may set, in a YAML file, by the environment or on the command line."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, InitSettingsSource, NoDecode, SettingsConfigDict

from butlerql.scopes import Scope
from butlerql.storage.errors import InvalidConfigError

__all__ = ["LogFormat", "LogLevel", "Settings", "load_settings"]

PREFIX = "BUTLERQL_"


class LogLevel(StrEnum):
    """How much is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """How a log line is written."""

    CONSOLE = "console"
    JSON = "json"


class Settings(BaseSettings):
    """Every setting with its default; `load_settings` reads them from where they are given."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    workers: Annotated[int, Field(ge=1, le=256)] = 1

    writable: bool = False
    scopes: Annotated[list[Scope] | None, NoDecode] = None
    origins: Annotated[list[str], NoDecode] = []
    state: Annotated[str | None, Field(min_length=1)] = None

    job_workers: Annotated[int | None, Field(ge=1, le=1024)] = None
    dask_scheduler: Annotated[str | None, Field(min_length=1)] = None

    deletion_grace_seconds: Annotated[int, Field(ge=0, lt=2**31)] = 7 * 86_400
    deletion_grace_floor_seconds: Annotated[int, Field(ge=0, lt=2**31)] = 86_400
    deletion_plan_seconds: Annotated[int, Field(ge=1, lt=2**31)] = 7 * 86_400
    deletion_datasets: Annotated[int, Field(ge=1)] = 1_000_000
    deletion_bytes: Annotated[int, Field(ge=0)] = 10**15
    deletion_unconditional: bool = False
    deletion_exports: Annotated[str | None, Field(min_length=1)] = None

    default_page: Annotated[int, Field(ge=1)] = 100
    maximum_page: Annotated[int, Field(ge=1)] = 10_000

    request_seconds: Annotated[float, Field(gt=0, le=86_400)] = 30.0
    snapshot_seconds: Annotated[float, Field(gt=0, le=86_400)] = 5.0
    receive_seconds: Annotated[float, Field(gt=0, le=86_400)] = 20.0

    maximum_body_bytes: Annotated[int, Field(ge=1024)] = 8 * 1024 * 1024
    maximum_document_characters: Annotated[int, Field(ge=1024)] = 200_000
    maximum_tokens: Annotated[int, Field(ge=100)] = 10_000
    maximum_depth: Annotated[int, Field(ge=15)] = 30
    maximum_aliases: Annotated[int, Field(ge=0)] = 100
    maximum_selections: Annotated[int, Field(ge=200)] = 2_000

    description_files: Annotated[list[Path], NoDecode] = []

    log_level: LogLevel = LogLevel.INFO
    log_format: LogFormat = LogFormat.CONSOLE

    @field_validator("description_files", mode="before")
    @classmethod
    def _separated(cls, value: Any) -> Any:
        """In the environment a list is one text, like PATH."""
        return [file for file in value.split(os.pathsep) if file] if isinstance(value, str) else value

    @field_validator("origins", "scopes", mode="before")
    @classmethod
    def _words(cls, value: Any) -> Any:
        """In the environment a list is one text."""
        return value.split() if isinstance(value, str) else value

    @field_validator("scopes")
    @classmethod
    def _can_read(cls, value: list[Scope] | None) -> list[Scope] | None:
        if value is not None and Scope.READ not in value:
            raise ValueError("READ has to be among them, everybody may ask")
        return value

    @model_validator(mode="after")
    def _pages_fit(self) -> Settings:
        if self.default_page > self.maximum_page:
            raise ValueError(f"default_page ({self.default_page}) is above maximum_page ({self.maximum_page})")
        return self

    @model_validator(mode="after")
    def _graces_fit(self) -> Settings:
        if self.deletion_grace_seconds < self.deletion_grace_floor_seconds:
            raise ValueError(
                f"deletion_grace_seconds ({self.deletion_grace_seconds}) is below deletion_grace_floor_seconds "
                f"({self.deletion_grace_floor_seconds})"
            )
        return self


def load_settings(file: Path | None = None, overrides: Mapping[str, Any] | None = None) -> Settings:
    """Read the settings: what the command line says, else the environment, else the file, else the default.

    Parameters
    ----------
    file
        A YAML file with some of the settings, by name.
    overrides
        What the command line gave, by name of the setting.

    Raises
    ------
    InvalidConfigError
        If the file cannot be read, or a setting is unknown or has a value that it cannot have.
    """
    overrides = dict(overrides or {})
    from_file = _read_file(file) if file is not None else {}
    from_environment = EnvSettingsSource(Settings)
    _refuse_unknown(from_file, f"in {file}", spelling=str)
    _refuse_unknown(_environment_names(), "in the environment", spelling=_environment_name)
    sources = (InitSettingsSource(Settings, overrides), from_environment, InitSettingsSource(Settings, from_file))
    try:
        return Settings(_build_sources=(sources, {}))  # type: ignore[call-arg]  # pydantic-settings knows it, its stub does not
    except ValidationError as error:
        raise InvalidConfigError("; ".join(_explain(problem, overrides, file) for problem in error.errors())) from error


def _read_file(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidConfigError(f"The settings file {file} cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise InvalidConfigError(f"The settings file {file} is not valid YAML: {reason}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise InvalidConfigError(f"The settings file {file} must hold `setting: value` lines.")
    return {str(key): value for key, value in content.items()}


def _environment_names() -> list[str]:
    return [name.removeprefix(PREFIX).lower() for name in os.environ if name.startswith(PREFIX)]


def _environment_name(setting: str) -> str:
    return PREFIX + setting.upper()


def _refuse_unknown(names: Any, where: str, spelling: Any) -> None:
    for name in names:
        if name not in Settings.model_fields:
            close = difflib.get_close_matches(name, Settings.model_fields, n=1)
            hint = (
                f" Did you mean {spelling(close[0])}?" if close else " See docs/reference/settings.md for all of them."
            )
            raise InvalidConfigError(f"There is no setting {spelling(name)} ({where}).{hint}")


def _explain(problem: Any, overrides: Mapping[str, Any], file: Path | None) -> str:
    if not problem["loc"]:
        return f"The settings do not fit together: {problem['msg'].removeprefix('Value error, ')}."
    name = str(problem["loc"][0])
    if name in overrides:
        where = f"--{name.replace('_', '-')}"
    elif _environment_name(name) in os.environ:
        where = _environment_name(name)
    else:
        where = f"{name} in {file}"
    return f"{where} is {problem['input']!r}: {problem['msg'][:1].lower()}{problem['msg'][1:]}."
