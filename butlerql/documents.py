"""Parse and validate documents, once each."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from graphql import DocumentNode, GraphQLError, GraphQLSchema, GraphQLSyntaxError, parse, validate
from graphql.validation.rules import overlapping_fields_can_be_merged as overlapping

from butlerql.limits import check_size, limit_error
from butlerql.request_errors import Code, RequestError
from butlerql.settings import Settings

__all__ = ["Documents"]

KEPT = 512
"""How many documents are remembered."""

KEPT_CHARACTERS = 16_384
"""Longer ones are not: the tree of a document takes some hundred times the memory of its text."""

COMPARISONS = 100_000
"""How many pairs of fields may be compared to see whether they can be merged. graphql-core's own bound is five times
that, which a document of 1 kB makes use of for more than a second; twenty screens of distinct fields need a tenth."""

overlapping.MAX_COMPLEXITY_BUDGET = COMPARISONS


class Documents:
    """The documents that have been asked for lately, ready to run.

    Parameters
    ----------
    schema
        What they are validated against.
    settings
        The limits of a document.
    """

    def __init__(self, schema: GraphQLSchema, settings: Settings) -> None:
        self._schema = schema
        self._settings = settings
        self._kept: OrderedDict[str, DocumentNode] = OrderedDict()

    async def get(self, text: str) -> DocumentNode:
        """Parse and validate a text, or remember having done so.

        Parameters
        ----------
        text
            A GraphQL document.

        Raises
        ------
        RequestError
            If it is too large (``LIMIT_EXCEEDED``), malformed or invalid.
        """
        if (document := self._kept.get(text)) is not None:
            self._kept.move_to_end(text)
            return document
        # A hostile document within all limits still takes a second to validate: other requests go on meanwhile.
        document = await asyncio.to_thread(self._prepare, text)
        if len(text) <= KEPT_CHARACTERS:
            self._kept[text] = document
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return document

    def _prepare(self, text: str) -> DocumentNode:
        settings = self._settings
        if len(text) > settings.maximum_document_characters:
            raise _refusal(
                [
                    limit_error(
                        f"The document is {len(text)} characters long",
                        "maximum_document_characters",
                        settings.maximum_document_characters,
                    )
                ]
            )
        try:
            document = parse(text, max_tokens=settings.maximum_tokens)
        except GraphQLSyntaxError as error:
            if error.message.startswith("Syntax Error: Document contains more than"):
                what = f"The document holds more than {settings.maximum_tokens} tokens"
                raise _refusal([limit_error(what, "maximum_tokens", settings.maximum_tokens)]) from None
            raise _refusal([_coded(error, Code.GRAPHQL_PARSE_FAILED)]) from None
        if errors := check_size(document, settings):
            raise _refusal(errors)
        if errors := validate(self._schema, document):
            raise _refusal([_invalid(error) for error in errors])
        return document


def _invalid(error: GraphQLError) -> GraphQLError:
    if error.message == "Validation aborted.":
        return limit_error(
            "The document selects the same fields, or spreads fragments, over and over", "comparisons", COMPARISONS
        )
    return _coded(error, Code.GRAPHQL_VALIDATION_FAILED)


def _coded(error: GraphQLError, code: Code) -> GraphQLError:
    error.extensions = {**(error.extensions or {}), "code": str(code)}
    return error


def _refusal(errors: list[GraphQLError]) -> RequestError:
    return RequestError(Code.GRAPHQL_VALIDATION_FAILED, errors[0].message, errors=errors, well_formed=True)
