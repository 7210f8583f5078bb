"""Random documents over the schema of `engine_world`, with their variables."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from graphql import GraphQLObjectType, GraphQLSchema, get_named_type, is_composite_type, is_union_type
from hypothesis import strategies as st

__all__ = ["Document", "documents"]

_VARIABLES: dict[str, tuple[str, tuple[Any, ...]]] = {
    # Name: type with default, and values; ... stands for none given.
    "first": ("Int = 1", (..., 0, 2, 3, None)),
    "colour": ("Colour! = BLUE", (..., "RED")),
    "filter": ("Filter", (..., None, {}, {"colour": "RED", "words": ["a"]})),
    "n": ("Int = 3", (..., 1, 2, 4, 5, None)),
    "yes": ("Boolean!", (True,)),
    "no": ("Boolean!", (False,)),
    "either": ("Boolean = true", (..., True, True, True, False, False, None)),
}
_ARGUMENTS = (
    "",
    "(first: 1)",
    "(first: $first)",
    "(colours: [BLUE, $colour])",
    "(filter: $filter)",
    '(filter: {words: ["x"], atLeast: $first}, colours: [])',
)
_NEEDED = ("(n: 1)", "(n: $n)")
_DIRECTIVES = ("", "", "", "", "@include(if: $yes)", "@skip(if: $no)", "@include(if: $either)", "@skip(if: $yes)")


class Document(NamedTuple):
    """An operation's selection, its fragments, the variables it declares and their values."""

    selection: str
    fragments: str
    declarations: str
    variables: dict[str, Any]

    def text(self, operation: str, directive: str) -> str:
        """Write it out."""
        declarations = f"({self.declarations})" if self.declarations else ""
        return f"{operation} Q{declarations} {directive}\n{self.selection}\n{self.fragments}"


@dataclass
class _Writer:
    schema: GraphQLSchema
    draw: st.DrawFn
    budget: int
    used: set[str] = field(default_factory=set)
    fragments: list[tuple[str, str, str]] = field(default_factory=list)

    def pick(self, choices: Any) -> Any:
        chosen = self.draw(st.sampled_from(list(choices)))
        if isinstance(chosen, str):
            self.used.update(re.findall(r"\$(\w+)", chosen))
        return chosen

    def selection(self, type_: Any, depth: int) -> str:
        self.budget -= 1
        count = self.draw(st.integers(2, 4)) if self.budget > 0 else 1
        return "{ " + " ".join(self.selected(type_, depth) for _ in range(count)) + " }"

    def selected(self, type_: Any, depth: int) -> str:
        form = self.pick(["field"] * 9 + ["__typename", "inline", "spread"])
        directive = self.pick(_DIRECTIVES)
        if depth <= 0 and form in ("inline", "spread"):
            form = "field"
        if form == "inline":
            condition = self.condition(type_)
            on = f"on {condition}" if condition else ""
            return f"... {on} {directive} {self.selection(condition or type_, depth - 1)}"
        if form == "spread":
            return f"...{self.fragment(type_, depth)} {directive}"
        if is_union_type(type_) and depth > 0:
            condition = self.condition(type_)
            return f"... on {condition} {directive} {self.selection(condition, depth - 1)}"
        if form == "__typename" or is_union_type(type_):
            return f"{self.pick(['', 'kind: '])}__typename {directive}"
        return self.field(type_, depth, directive)

    def field(self, type_: Any, depth: int, directive: str) -> str:
        composite = depth > 0 and self.budget > 0 and self.draw(st.sampled_from([True, True, True, False]))
        names = [
            name for name, field in type_.fields.items() if is_composite_type(get_named_type(field.type)) == composite
        ]
        name = self.pick(names)
        definition = type_.fields[name]
        arguments = ""
        if "first" in definition.args:
            arguments = self.pick(_ARGUMENTS)
        elif "n" in definition.args:
            arguments = self.pick(_NEEDED)
        # Equal keys must mean equal fields, wherever selections are merged.
        variant = (*_ARGUMENTS, *_NEEDED).index(arguments)
        if name == "pal":
            alias = f"pal{type_.name}: "
        elif variant:
            alias = f"{name}_{variant}: "
        else:
            alias = self.pick(["", "", f"other_{name}: "])
        below = self.selection(get_named_type(definition.type), depth - 1) if composite else ""
        return f"{alias}{name}{arguments} {directive} {below}"

    def condition(self, type_: Any) -> Any:
        if type_ in (self.schema.query_type, self.schema.mutation_type):
            return self.draw(st.sampled_from([None, type_]))
        if isinstance(type_, GraphQLObjectType):
            others = [other for other in ("Named", "Thing") if self.schema.is_sub_type(self.of(other), type_)]
            return self.draw(st.sampled_from([None, type_, *map(self.of, others)]))
        return self.of(self.pick(["Cat", "Dog", "Named", "Thing", *(["Rock"] if type_.name == "Thing" else [])]))

    def fragment(self, type_: Any, depth: int) -> str:
        fitting = [
            name
            for name, condition, _ in self.fragments
            if condition == type_.name or (is_composite_type(type_) and condition in ("Named", "Thing"))
        ]
        roots = (self.schema.query_type, self.schema.mutation_type)
        if fitting and type_ not in roots and type_.name != "Rock" and self.draw(st.booleans()):
            return str(self.pick(fitting))
        condition = self.condition(type_) or type_
        text = self.selection(condition, depth - 1)
        name = f"F{len(self.fragments)}"
        self.fragments.append((name, condition.name, text))
        return name

    def of(self, name: str) -> Any:
        return self.schema.type_map[name]


@st.composite
def documents(draw: st.DrawFn, schema: GraphQLSchema, root: Any) -> Document:
    """Draw a document that is valid for one root type, but for values of variables that the type system lets pass."""
    writer = _Writer(schema, draw, budget=16)
    selection = writer.selection(root, 4)
    declarations = " ".join(f"${name}: {_VARIABLES[name][0]}" for name in sorted(writer.used))
    variables = {name: draw(st.sampled_from(_VARIABLES[name][1])) for name in sorted(writer.used)}
    fragments = "\n".join(f"fragment {name} on {condition} {text}" for name, condition, text in writer.fragments)
    return Document(
        selection, fragments, declarations, {name: value for name, value in variables.items() if value is not ...}
    )
