"""How fields are declared."""

from __future__ import annotations

from typing import Any

from butlerql.schema.fields import LoadedField, loaded, split_docstring
from butlerql.schema.query import Query


def test_docstrings_are_taken_apart() -> None:
    text, parameters = split_docstring(
        """What it gives.

        And more of that,
        on two lines.

        Parameters
        ----------
        one
            Its meaning,
            on two lines.
        other_one

            After a blank line.
        """
    )
    assert text == "What it gives.\n\nAnd more of that,\non two lines."
    assert parameters == {"one": "Its meaning, on two lines.", "other_one": "After a blank line."}


def test_docstrings_without_parameters() -> None:
    assert split_docstring("What it gives.") == ("What it gives.", {})
    assert split_docstring("") == ("", {})


def test_a_loaded_field_is_recognised() -> None:
    @loaded
    def size(self: Any, unit: str) -> int:  # type: ignore[empty-body]
        """How large it is.

        Parameters
        ----------
        unit
            In what.
        """

    assert isinstance(size, LoadedField)
    assert size.is_loaded
    assert size.description == "How large it is."
    assert [(argument.python_name, argument.description) for argument in size.arguments] == [("unit", "In what.")]


def test_every_root_field_is_loaded() -> None:
    fields = Query.__strawberry_definition__.fields  # type: ignore[attr-defined]
    assert fields
    assert all(isinstance(field, LoadedField) for field in fields)
