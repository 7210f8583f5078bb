"""The page on the Butler's own test cases has all of them, and files of ours that are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import lsst.daf.butler
import pytest

from tests.docs.pages import ROOT

_PAGE = (ROOT / "docs/explanation/butler-test-cases.md").read_text(encoding="utf-8")
_BUTLER = Path(lsst.daf.butler.__file__).parent
_CASES = ROOT / "tests/storage/registry/butler_cases"


@pytest.mark.parametrize(
    ("heading", "file"), [("Queries", "tests/butler_queries.py"), ("Registry", "registry/tests/_registry.py")]
)
def test_every_case_of_the_butler_is_told(heading: str, file: str) -> None:
    tree = ast.parse((_BUTLER / file).read_text(encoding="utf-8"))
    methods = [node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    [section] = re.findall(rf"^## {heading}$(.*?)(?=^## |\Z)", _PAGE, re.MULTILINE | re.DOTALL)
    assert f"`lsst/daf/butler/{file}`" in section
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == [one for one in methods if one.startswith("test")]


def test_files_of_cases_are_there() -> None:
    assert set(re.findall(r"`(test_\w+\.py)`", _PAGE)) == {path.name for path in _CASES.glob("test_*.py")}
