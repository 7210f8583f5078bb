"""What the documentation points to is there: files, headings, targets of make, commands and their options."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from butlerql.cli import main
from tests.docs.pages import PAGES, ROOT, blocks, prose

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_FOLDERS = ("butlerql", "schema", "resolvers", "storage", "tests", "benchmarks", "docs", "docker", "web", ".ci")
_FILE = re.compile(rf"`((?:{'|'.join(map(re.escape, _FOLDERS))})/[\w./-]*)`")

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def anchors(page: Path) -> set[str]:
    """List what the headings of a page are linked by, as on GitHub."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def code(page: Path) -> str:
    """Give all that a page sets as code."""
    inline = re.findall(r"`([^`\n]+)`", prose(page))
    return "\n".join([*inline, *(block.text for block in blocks(page) if block.language in ("sh", "python", ""))])


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    for target in _LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), target
        assert file.resolve().is_relative_to(ROOT), target
        assert not anchor or anchor in anchors(file), target


@each_page
def test_files_that_are_named_are_there(page: Path) -> None:
    missing = [name for name in _FILE.findall(prose(page)) if not (ROOT / name).exists()]
    assert [name for name in missing if not name.startswith("butlerql/static")] == []


@each_page
def test_targets_of_make_are_there(page: Path) -> None:
    targets = re.findall(r"^([\w-]+):(?!=)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(re.findall(r"^make ([a-z]+)(?=\s|$)", code(page), re.MULTILINE)) <= set(targets)


@each_page
def test_commands_have_the_options_that_are_shown(page: Path) -> None:
    for line in code(page).replace("\\\n", " ").splitlines():
        for name, rest in re.findall(r"(?:^|\s|/)butlerql ([a-z][a-z-]*)([^|;&]*)", line):
            assert name in main.commands, line
            known = {
                option
                for parameter in main.commands[name].params
                if isinstance(parameter, click.Option)
                for option in parameter.opts
            }
            assert set(re.findall(r"(?<=\s)--[a-z-]+", rest.partition("#")[0])) <= known | {"--help"}, line


def test_every_page_can_be_reached() -> None:
    start = ROOT / "README.md"
    seen, pending = {start}, [start]
    while pending:
        page = pending.pop()
        for target in _LINK.findall(prose(page)):
            file = (page.parent / target.partition("#")[0]).resolve()
            if file.suffix == ".md" and file not in seen and file.exists():
                seen.add(file)
                pending.append(file)
    assert set(PAGES) - seen == set()
