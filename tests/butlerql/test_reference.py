"""The reference pages name everything that there is, and nothing that there is not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum
from pathlib import Path

import click
import pytest

from butlerql.cli import main
from butlerql.request_errors import Code
from butlerql.settings import PREFIX, Settings
from butlerql.storage.errors import ButlerQLError

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


def page(name: str) -> str:
    return (REFERENCE / name).read_text(encoding="utf-8")


def codes(error: type[ButlerQLError] = ButlerQLError) -> Iterator[str]:
    if "code" in vars(error):
        yield error.code
    for inside in error.__subclasses__():
        yield from codes(inside)


def test_every_setting_is_documented_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", page("settings.md"), re.MULTILINE))
    defaults = {
        name: str(field.default.value if isinstance(field.default, Enum) else field.default)
        for name, field in Settings.model_fields.items()
    }
    assert rows == defaults
    assert PREFIX in page("settings.md")


def test_every_code_is_documented() -> None:
    documented = re.findall(r"^\| `([A-Z_]+)`", page("errors.md"), re.MULTILINE)
    assert sorted(documented) == sorted({*codes(), *Code})


@pytest.mark.parametrize("command", main.commands.values(), ids=lambda command: str(command.name))
def test_every_command_is_documented_with_its_options(command: click.Command) -> None:
    text = page("command-line.md")
    assert f"## butlerql {command.name}\n" in text
    section = text.split(f"## butlerql {command.name}\n")[1].split("\n## ")[0]
    inner = list(command.commands.values()) if isinstance(command, click.Group) else []
    assert all(f"butlerql {command.name} {found.name} " in section for found in inner)
    for parameter in [*command.params, *(parameter for found in inner for parameter in found.params)]:
        if isinstance(parameter, click.Option):
            assert all(option in section for option in parameter.opts if option.startswith("--"))


def test_no_command_is_documented_that_is_not_there() -> None:
    assert set(re.findall(r"^## butlerql ([\w-]+)", page("command-line.md"), re.MULTILINE)) == set(main.commands)
