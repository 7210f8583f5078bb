"""The Butler's expression language: from text to syntax.

Source: the grammar of the Butler's own parser, found by asking it.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import Any

from lark import Lark, Token, Transformer, UnexpectedInput, UnexpectedToken, v_args
from lark.exceptions import VisitError

from butlerql.storage.errors import InvalidExpressionError
from butlerql.storage.registry.expressions.syntax import (
    Binary,
    Bound,
    Call,
    Chain,
    In,
    Name,
    Node,
    Number,
    Pair,
    Place,
    Range,
    Text,
    Time,
    Unary,
)

__all__ = ["refuse", "syntax_of"]

_DEEPEST = 100
"""How deep brackets, signs and operators may be nested; chains of AND and OR, and lists, are as long as they like."""

_GRAMMAR = r"""
?start: _any
_any: or_

?or_: and_ | and_ (_OR and_)+ -> any_of
?and_: not_ | not_ (_AND not_)+ -> all_of
?not_: comparison | _NOT not_ -> negation
?comparison: predicate | comparison COMPARED predicate -> binary
?predicate: sum | sum _IN "(" _members ")" -> within | sum _NOT _IN "(" _members ")" -> not_within
_members: member ("," member)*
?member: literal | SIGN number -> signed | SIMPLE -> name | bound | call
?sum: product | sum SIGN product -> binary
?product: simple | product FACTOR simple -> binary
?simple: literal | (SIMPLE | QUALIFIED) -> name | bound | call | SIGN simple -> signed
    | "(" or_ ")" -> grouped | "(" or_ "," or_ ")" -> pair
?literal: number | STRING -> text | TIME -> time | RANGE -> range_
number: NUMBER
bound: BIND
call: SIMPLE "(" [or_ ("," or_)*] ")"

_OR.2: /or(?![A-Za-z0-9_.])/i
_AND.2: /and(?![A-Za-z0-9_.])/i
_NOT.2: /not(?![A-Za-z0-9_.])/i
_IN.2: /in(?![A-Za-z0-9_.])/i
COMPARED.2: "=" | "!=" | "<=" | ">=" | "<" | ">" | /overlaps(?![A-Za-z0-9_.])/i
SIGN: "+" | "-"
FACTOR: "*" | "/" | "%"
TIME.3: /[Tt]'[^'\n]*'/
STRING: /'[^'\n]*'/
RANGE.3: /-?[0-9]+\s*\.\.\s*-?[0-9]+(\s*:\s*[1-9][0-9]*)?/
NUMBER.2: /[0-9]+(\.[0-9]*)?([Ee][-+]?[0-9]+)?|\.[0-9]+([Ee][-+]?[0-9]+)?/
QUALIFIED.1: /[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*){1,2}/
SIMPLE: /[A-Za-z_][A-Za-z0-9_]*/
BIND: /:[A-Za-z_][A-Za-z0-9_]*/
%ignore /[ \t\n]+/
"""

_SHOWN = {
    "_OR": "OR",
    "_AND": "AND",
    "_NOT": "NOT",
    "_IN": "IN",
    "COMPARED": "a comparison",
    "SIGN": "+ or -",
    "FACTOR": "* / or %",
    "TIME": "a time",
    "STRING": "a text",
    "RANGE": "a range",
    "NUMBER": "a number",
    "QUALIFIED": "an identifier",
    "SIMPLE": "an identifier",
    "BIND": ":name",
    "LPAR": "(",
    "RPAR": ")",
    "COMMA": ",",
    "$END": "the end",
}
_RANGE = re.compile(r"(-?\d+)\s*\.\.\s*(-?\d+)(?:\s*:\s*(\d+))?")


@lru_cache(maxsize=256)
def syntax_of(text: str) -> Node | None:
    """Parse an expression; None if it is blank, which every combination fulfils.

    Raises
    ------
    InvalidExpressionError
        Raised if it cannot be parsed; says where, and what is allowed there.
    """
    if not text.strip(" \t\n"):
        return None
    try:
        node: Any = _parser().parse(text)
    except UnexpectedInput as error:
        raise _unexpected(text, error) from None
    except VisitError as error:
        raise error.orig_exc from None
    return node.node  # type: ignore[no-any-return]


def refuse(text: str, place: Place, message: str) -> InvalidExpressionError:
    """Make an error that says where in a text something is wrong."""
    line = text.count("\n", 0, place.begin)
    column = place.begin - (text.rfind("\n", 0, place.begin) + 1)
    shown = text[place.begin : place.end]
    shown = f"'{shown[:60]}...'" if len(shown) > 60 else f"'{shown}'"
    where = f"at character {column + 1}" + (f" of line {line + 1}" if "\n" in text else "")
    return InvalidExpressionError(f"{message} ({where}: {shown})", place.begin)


def _unexpected(text: str, error: UnexpectedInput) -> InvalidExpressionError:
    expected = getattr(error, "accepts", None) or getattr(error, "expected", None) or getattr(error, "allowed", None)
    allowed = sorted({_SHOWN.get(name, name) for name in expected or ()})
    hint = f"; allowed here: {', '.join(allowed)}" if allowed else ""
    position = error.pos_in_stream
    if isinstance(error, UnexpectedToken) and error.token.type == "$END":
        return InvalidExpressionError(f"The expression ends too early{hint}.", len(text))
    begin = len(text) if position is None else position
    length = len(str(error.token)) if isinstance(error, UnexpectedToken) else 1
    what = "This was not expected" if isinstance(error, UnexpectedToken) else "This character means nothing"
    return refuse(text, Place(begin, begin + length), f"{what}{hint}")


@cache
def _parser() -> Lark:
    return Lark(_GRAMMAR, parser="lalr", transformer=_Builder(), propagate_positions=False, maybe_placeholders=False)


class _Built:
    """A node, and how deep it is."""

    __slots__ = ("depth", "node")

    def __init__(self, node: Node, *below: _Built) -> None:
        self.node = node
        self.depth: int = 1 + max((one.depth for one in below), default=0)
        if self.depth > _DEEPEST:
            raise InvalidExpressionError(
                f"The expression is nested deeper than {_DEEPEST} levels. Write it flatter.", node.place.begin
            )


def _place(*parts: _Built | Token) -> Place:
    first, last = parts[0], parts[-1]
    begin = first.node.place.begin if isinstance(first, _Built) else first.start_pos
    end = last.node.place.end if isinstance(last, _Built) else last.end_pos
    assert begin is not None
    assert end is not None
    return Place(begin, end)


@v_args(inline=True)
class _Builder(Transformer[Token, Any]):
    """Makes nodes while the text is parsed, so that nothing goes through a tree again."""

    def any_of(self, *operands: _Built) -> _Built:
        return _Built(Chain("OR", tuple(one.node for one in operands), _place(*operands)), *operands)

    def all_of(self, *operands: _Built) -> _Built:
        return _Built(Chain("AND", tuple(one.node for one in operands), _place(*operands)), *operands)

    def negation(self, operand: _Built) -> _Built:
        return _Built(Unary("NOT", operand.node, _place(operand)), operand)

    def binary(self, left: _Built, operator: Token, right: _Built) -> _Built:
        node = Binary(operator.upper(), left.node, right.node, _place(left, right))
        return _Built(node, left, right)

    def within(self, operand: _Built, *members: _Built) -> _Built:
        return self._in(operand, members, is_negated=False)

    def not_within(self, operand: _Built, *members: _Built) -> _Built:
        return self._in(operand, members, is_negated=True)

    def _in(self, operand: _Built, members: tuple[_Built, ...], *, is_negated: bool) -> _Built:
        nodes = tuple(one.node for one in members)
        return _Built(In(operand.node, nodes, is_negated, _place(operand, *members)), operand, *members)

    def signed(self, operator: Token, operand: _Built) -> _Built:
        place = _place(operator, operand)
        if isinstance(operand.node, Number):
            return _Built(Number(-operand.node.value if operator == "-" else operand.node.value, place))
        return _Built(Unary(str(operator), operand.node, place), operand)

    def grouped(self, operand: _Built) -> _Built:
        return _Built(operand.node, operand)

    def pair(self, begin: _Built, end: _Built) -> _Built:
        return _Built(Pair(begin.node, end.node, _place(begin, end)), begin, end)

    def name(self, token: Token) -> _Built:
        return _Built(Name(str(token), _place(token)))

    def bound(self, token: Token) -> _Built:
        return _Built(Bound(str(token)[1:], _place(token)))

    def call(self, name: Token, *arguments: _Built) -> _Built:
        place = _place(name, *arguments)
        return _Built(Call(name.upper(), tuple(one.node for one in arguments), place), *arguments)

    def number(self, token: Token) -> _Built:
        return _Built(Number(_number(str(token)), _place(token)))

    def text(self, token: Token) -> _Built:
        return _Built(Text(str(token)[1:-1], _place(token)))

    def time(self, token: Token) -> _Built:
        return _Built(Time(str(token)[2:-1], _place(token)))

    def range_(self, token: Token) -> _Built:
        match = _RANGE.fullmatch(token)
        assert match is not None
        start, stop, step = match.groups()
        return _Built(Range(_whole(start), _whole(stop), _whole(step or "1"), _place(token)))


def _number(text: str) -> int | float:
    return _whole(text) if text.isdigit() else float(text)


def _whole(text: str) -> int:
    # Python refuses to read thousands of digits; no registry holds as many as twenty.
    return int(text) if len(text) < 40 else (-1 if text.startswith("-") else 1) * 10**40
