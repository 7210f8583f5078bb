"""The page of the schema says what the schema says."""

from __future__ import annotations

import runpy

from tests.docs.pages import ROOT


def test_the_page_is_up_to_date() -> None:
    generator = runpy.run_path(str(ROOT / "docs" / "generate_reference.py"))
    assert generator["PAGE"].read_text(encoding="utf-8") == generator["render"](), (
        "docs/reference/schema.md is not what the schema says. Write it anew: python docs/generate_reference.py"
    )


def test_everything_in_it_is_described() -> None:
    text = (ROOT / "docs" / "reference" / "schema.md").read_text(encoding="utf-8")
    assert "(no description)" not in text
