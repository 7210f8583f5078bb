"""The two clients: the same questions over the two kinds of connection."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import httpx

from butlerql.client import questions
from butlerql.client.core import HEADERS, Core, Pages, Steps, certificates, endpoint, sending
from butlerql.client.questions import Listing, Lookup

__all__ = ["AsyncClient", "Client"]

P = ParamSpec("P")
Row = TypeVar("Row")
Result = TypeVar("Result")
Asker = TypeVar("Asker")
Made = TypeVar("Made")

_PAGE = 1_000
_SECONDS = 60.0


def _asking(
    question: Callable[P, Made], ask: Callable[[Asker, Made], Result]
) -> Callable[Concatenate[Asker, P], Result]:
    """Make a method of a question and a way to ask it."""

    @wraps(question)
    def method(self: Asker, /, *args: P.args, **kwargs: P.kwargs) -> Result:
        return ask(self, question(*args, **kwargs))

    signature = inspect.signature(question)
    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    method.__signature__ = signature.replace(parameters=[own, *signature.parameters.values()])  # type: ignore[attr-defined]
    return method


class Client:
    """Ask a server, and wait for its answers.

    Parameters
    ----------
    url
        Address of the server, or of its GraphQL endpoint.
    repository
        Label of the repository; None is the server's first.
    page_size
        How many rows are read at once where there are many.
    timeout
        Seconds that one answer may take.
    headers
        What to send with each request.
    transport
        Who carries the requests, if not httpx's own.
    """

    def __init__(
        self,
        url: str,
        repository: str | None = None,
        *,
        page_size: int = _PAGE,
        timeout: float = _SECONDS,
        headers: Mapping[str, str] | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._url = endpoint(url, repository)
        self._core = Core(page_size)
        self._http = httpx.Client(
            headers={**HEADERS, **(headers or {})}, timeout=timeout, transport=transport, verify=certificates()
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def execute(self, document: str, /, **variables: Any) -> dict[str, Any]:
        """Ask in GraphQL; give the ``data`` of the answer.

        Parameters
        ----------
        document
            The query.
        **variables
            Values of its variables, of Python or NumPy.

        Raises
        ------
        QueryError
            Raised if the answer has errors.
        NoAnswerError, BadAnswerError
            Raised if there is no answer.
        """
        return self._run(self._core.execute(document, variables))

    def _look_up(self, lookup: Lookup[Row]) -> Row | None:
        steps = self._core.look_up(lookup)
        return self._run(steps)

    def _list(self, listing: Listing[Row]) -> Iterator[Row]:
        pages = Pages(self._core, listing)
        while pages.more:
            yield from self._run(pages.next())

    def _run(self, steps: Steps[Result]) -> Result:
        answer = None
        while True:
            try:
                step = steps.send(answer)
            except StopIteration as end:
                result: Result = end.value
                return result
            if isinstance(step, bytes):
                with sending(self._url):
                    answer = self._http.post(self._url, content=step)
            else:
                time.sleep(step)
                answer = None

    find_dataset = _asking(questions.find_dataset, _look_up)
    get_dataset = _asking(questions.get_dataset, _look_up)
    query_collections = _asking(questions.query_collections, _list)
    query_data_ids = _asking(questions.query_data_ids, _list)
    query_dataset_types = _asking(questions.query_dataset_types, _list)
    query_datasets = _asking(questions.query_datasets, _list)
    query_dimension_records = _asking(questions.query_dimension_records, _list)


class AsyncClient:
    """Ask a server without blocking; see `Client`. What gives many rows is an asynchronous iterator.

    Parameters
    ----------
    url, repository, page_size, timeout, headers, transport
        See `Client`.
    """

    def __init__(
        self,
        url: str,
        repository: str | None = None,
        *,
        page_size: int = _PAGE,
        timeout: float = _SECONDS,
        headers: Mapping[str, str] | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._url = endpoint(url, repository)
        self._core = Core(page_size)
        self._http = httpx.AsyncClient(
            headers={**HEADERS, **(headers or {})}, timeout=timeout, transport=transport, verify=certificates()
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def execute(self, document: str, /, **variables: Any) -> dict[str, Any]:
        """Ask in GraphQL; see `Client.execute`.

        Parameters
        ----------
        document
            The query.
        **variables
            Values of its variables, of Python or NumPy.
        """
        return await self._run(self._core.execute(document, variables))

    async def _look_up(self, lookup: Lookup[Row]) -> Row | None:
        steps = self._core.look_up(lookup)
        return await self._run(steps)

    async def _list(self, listing: Listing[Row]) -> AsyncIterator[Row]:
        pages = Pages(self._core, listing)
        while pages.more:
            for row in await self._run(pages.next()):
                yield row

    async def _run(self, steps: Steps[Result]) -> Result:
        answer = None
        while True:
            try:
                step = steps.send(answer)
            except StopIteration as end:
                result: Result = end.value
                return result
            if isinstance(step, bytes):
                with sending(self._url):
                    answer = await self._http.post(self._url, content=step)
            else:
                await asyncio.sleep(step)
                answer = None

    find_dataset = _asking(questions.find_dataset, _look_up)
    get_dataset = _asking(questions.get_dataset, _look_up)
    query_collections = _asking(questions.query_collections, _list)
    query_data_ids = _asking(questions.query_data_ids, _list)
    query_dataset_types = _asking(questions.query_dataset_types, _list)
    query_datasets = _asking(questions.query_datasets, _list)
    query_dimension_records = _asking(questions.query_dimension_records, _list)
