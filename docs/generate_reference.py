"""Write docs/reference/schema.md: every field and type of the API, from the descriptions in the schema.

Run as ``python docs/generate_reference.py``. What is read is ``schema/schema.graphql``, which is printed from the code.
"""

# ruff: noqa: INP001 - a program, not a package

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLScalarType,
    GraphQLSchema,
    build_schema,
    is_specified_scalar_type,
    print_ast,
)
from graphql.utilities.get_default_value_ast import get_default_value_ast

__all__ = ["PAGE", "render"]

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reference" / "schema.md"
_SCHEMA = ROOT / "schema" / "schema.graphql"

_PAGING = ("first", "after", "last", "before")

_HEAD = """\
# Schema

<!-- Written by docs/generate_reference.py from the schema's descriptions. Change those, then run it again. -->

Everything that can be asked. This is the schema of repositories with version 8 of the default dimension universe; in
another one `DataId` and `DataIdFilter` have other fields, by its dimensions. `butlerql schema REPO` prints the schema
of your repository.

`!` marks what is never null. What is not marked can be null: where there is nothing, or with an error beside it.
"""


def render() -> str:
    """Write the page.

    Returns
    -------
    text
        Markdown.
    """
    schema = build_schema(_SCHEMA.read_text(encoding="utf-8"))
    types = [
        named
        for name, named in sorted(schema.type_map.items())
        if not name.startswith("__") and not is_specified_scalar_type(named)
    ]
    assert schema.query_type is not None
    sections: Mapping[str, Iterable[GraphQLNamedType]] = {
        "Questions": [schema.query_type],
        "Interfaces": [one for one in types if isinstance(one, GraphQLInterfaceType)],
        "Types": [
            one
            for one in types
            if isinstance(one, GraphQLObjectType) and one is not schema.query_type and not _is_of_pages(one)
        ],
        "Inputs": [one for one in types if isinstance(one, GraphQLInputObjectType)],
        "Enumerations": [one for one in types if isinstance(one, GraphQLEnumType)],
        "Scalars": [one for one in types if isinstance(one, GraphQLScalarType)],
        "Pages": [one for one in types if _is_of_pages(one)],
    }
    lines = [_HEAD, *_contents(sections), *_paging(schema)]
    for title, members in sections.items():
        lines.append(f"## {title}\n")
        for member in members:
            lines += _type(schema, member)
    return "\n".join(lines).rstrip() + "\n"


def _is_of_pages(named: GraphQLNamedType) -> bool:
    return isinstance(named, GraphQLObjectType) and (
        named.name.endswith(("Connection", "Edge")) or named.name == "PageInfo"
    )


def _contents(sections: Mapping[str, Iterable[GraphQLNamedType]]) -> Iterator[str]:
    for title, members in sections.items():
        yield f"- **{title}**: {', '.join(_link(member.name) for member in members)}"
    yield ""


def _paging(schema: GraphQLSchema) -> Iterator[str]:
    """Describe once the arguments that all connections have."""
    assert schema.query_type is not None
    arguments = schema.query_type.fields["datasets"].args
    yield "## Paging\n"
    yield "Fields with *(paging)* give a page of a set, as Relay's connections do, and take these arguments:\n"
    for name in _PAGING:
        yield _argument(name, arguments[name])
    yield "\nWithout `first` and `last` a page has as many items as the server's setting `default_page` says.\n"


def _type(schema: GraphQLSchema, named: GraphQLNamedType) -> Iterator[str]:
    yield f"### {named.name}\n"
    yield f"{_text(named.description)}\n"
    fields: Mapping[str, GraphQLField] = {}
    if isinstance(named, GraphQLInterfaceType):
        implementing = sorted(one.name for one in schema.get_implementations(named).objects)
        yield f"One of {', '.join(map(_link, implementing))}.\n"
        fields = named.fields
    elif isinstance(named, GraphQLObjectType):
        fields = _own_fields(named)
        if named.interfaces:
            shared = " and ".join(_link(one.name) for one in named.interfaces)
            yield f"Has the fields of {shared}{', and:' if fields else '.'}\n"
    for name, field in fields.items():
        yield from _field(name, field)
    if isinstance(named, GraphQLInputObjectType):
        for name, given in named.fields.items():
            yield _argument(name, given)
    elif isinstance(named, GraphQLEnumType):
        for name, value in named.values.items():
            yield f"- `{name}`: {_text(value.description)}"
    elif isinstance(named, GraphQLScalarType) and named.specified_by_url:
        yield f"See <{named.specified_by_url}>."
    yield ""


def _own_fields(named: GraphQLObjectType) -> dict[str, GraphQLField]:
    """Leave out what interfaces have, and describe, already."""
    shared = {name for interface in named.interfaces for name in interface.fields}
    return {name: field for name, field in named.fields.items() if name not in shared}


def _field(name: str, field: GraphQLField) -> Iterator[str]:
    own = {argument: given for argument, given in field.args.items() if argument not in _PAGING}
    paged = " *(paging)*" if len(own) + len(_PAGING) == len(field.args) else ""
    yield f"- `{name}`: {_reference(field.type)}{paged}  \n  {_text(field.description)}"
    for argument, given in own.items():
        yield f"  {_argument(argument, given)}"


def _argument(name: str, given: GraphQLArgument | GraphQLInputField) -> str:
    value = get_default_value_ast(given)
    default = f", by default `{print_ast(value)}`" if value is not None else ""
    return f"- `{name}`: {_reference(given.type)}{default}. {_text(given.description)}"


def _reference(type_: object) -> str:
    """Write a type, its name as a link unless it is GraphQL's own."""
    text = str(type_)
    name = re.sub(r"\W", "", text)
    if name in ("Boolean", "Float", "ID", "Int", "String"):
        return f"`{text}`"
    before, after = (f"`{part}`" if part else "" for part in text.split(name))
    return f"{before}{_link(name)}{after}"


def _link(name: str) -> str:
    return f"[{name}](#{name.lower()})"


def _text(description: str | None) -> str:
    """Put a description on one line."""
    return " ".join((description or "").split()) or "(no description)"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
