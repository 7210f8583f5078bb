"""How a field is declared: its arguments, type and docstring here, its loader in the resolvers' room."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, ClassVar, Final

from strawberry.types.field import StrawberryField

__all__ = ["EVERYTHING", "LoadedField", "loaded", "split_docstring"]

# The glob that every name matches: the default of arguments that take names.
EVERYTHING: Final = ["*"]


class LoadedField(StrawberryField):
    """A field that a loader (or a column function) of the resolvers' room answers.

    The engine finds it at ``GraphQLField.extensions["strawberry-definition"]`` and refuses to start
    when nothing is registered for it. A field that is not of this class is an attribute of its row, unless
    a column function is registered for it.
    """

    is_loaded: ClassVar[bool] = True


def loaded(declaration: Callable[..., Any]) -> Any:
    """Make a field of a method without a body.

    Parameters
    ----------
    declaration
        The method. Its docstring is the description of the field; what its ``Parameters`` section says of a
        parameter is the description of that argument, unless the annotation brings one.

    Returns
    -------
    field
        A `LoadedField`. Declared as `Any`, so that a class may still say what it likes about the name.
    """
    description, parameters = split_docstring(declaration.__doc__ or "")
    field = LoadedField(description=description)(declaration)
    for argument in field.arguments:
        if argument.description is None:
            argument.description = parameters.get(argument.python_name)
    return field


def split_docstring(docstring: str) -> tuple[str, dict[str, str]]:
    """Take a numpydoc docstring apart.

    Parameters
    ----------
    docstring
        As it stands in the source.

    Returns
    -------
    text
        What stands before the ``Parameters`` section, dedented.
    parameters
        Name to description, each on one line.
    """
    text, _, section = inspect.cleandoc(docstring).partition("\n\nParameters\n----------\n")
    parameters: dict[str, list[str]] = {}
    for line in section.splitlines():
        if line and not line[0].isspace():
            lines = parameters.setdefault(line.strip(), [])
        elif line.strip():
            lines.append(line.strip())
    return text, {name: " ".join(lines) for name, lines in parameters.items()}
