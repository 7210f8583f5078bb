"""The registry of what answers each field: loaders, column functions and the types of abstract rows."""

# Whatever is raised here becomes the error of a field.
# ruff: noqa: BLE001

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

from butlerql.scopes import Scope

__all__ = ["Column", "Loader", "LoaderContext", "Loaders", "RegisteredLoader", "Stream", "TypeOfRow", "fetch", "pick"]

Loader: TypeAlias = Callable[..., Awaitable[Sequence[Any]]]
"""``async (context, parents, **arguments)``: one value, or one exception, a parent, in their order."""

Column: TypeAlias = Callable[[Sequence[Any]], Sequence[Any]]
"""``(parents)``: one value, or one exception, a parent, in their order; pure, no waiting."""

TypeOfRow: TypeAlias = Callable[[Any], str | None]
"""The name of the object type of a row that an interface or a union promised."""

Stream: TypeAlias = Callable[..., Awaitable[AsyncIterator[Any]]]
"""``async (context, **arguments)``: the rows of a subscription, one after another; it holds nothing while it waits."""

_LoaderT = TypeVar("_LoaderT", bound=Loader)
_ColumnT = TypeVar("_ColumnT", bound=Column)
_StreamT = TypeVar("_StreamT", bound=Stream)
_TypeOfRowT = TypeVar("_TypeOfRowT", bound=TypeOfRow)

_TARGET = re.compile(r"[A-Za-z]\w*\.[A-Za-z]\w*", re.ASCII)


class LoaderContext(Protocol):
    """What the engine asks of the context of a request."""

    def savepoint(self) -> AbstractAsyncContextManager[Any]:
        """Hold the connection of the request, in a savepoint; nobody else gets it meanwhile."""

    def require_scope(self, scope: Scope) -> None:
        """Make sure that whoever asks may do something.

        Raises
        ------
        ForbiddenError
            Raised if not.
        """


class RegisteredLoader(NamedTuple):
    """A loader, whether it uses the database, and which scope whoever asks needs."""

    load: Loader
    database: bool
    scope: Scope | None = None


class Loaders:
    """What answers the fields of the schema, by ``Type.field``.

    A registration for a field of an interface answers for every object type that implements it and has none of
    its own. Every other field is the attribute of its row that has the field's name in snake case.

    Attributes
    ----------
    loaders, columns, streams
        By ``Type.field``.
    interfaces
        By the name of the interface or union.
    """

    def __init__(self) -> None:
        self.loaders: dict[str, RegisteredLoader] = {}
        self.columns: dict[str, Column] = {}
        self.streams: dict[str, Stream] = {}
        self.interfaces: dict[str, TypeOfRow] = {}

    @classmethod
    def merged(cls, *parts: Loaders) -> Loaders:
        """Put registries together.

        Raises
        ------
        ValueError
            If two of them answer the same field.
        """
        whole = cls()
        for part in parts:
            for target, registered in part.loaders.items():
                whole._register_loader(target, registered)
            for target, column in part.columns.items():
                whole._register_column(target, column)
            for target, stream in part.streams.items():
                whole._register_stream(target, stream)
            for name, type_of_row in part.interfaces.items():
                whole._register_interface(name, type_of_row)
        return whole

    def field(self, target: str, *, database: bool = True) -> Callable[[_LoaderT], _LoaderT]:
        """Register the decorated loader.

        Parameters
        ----------
        target
            ``Type.field``, as the schema spells them.
        database
            Whether it uses the connection of the request. Such loaders run one after another, each in a savepoint;
            the others (files, object stores, network) run in parallel, outside.

        Raises
        ------
        ValueError
            If ``target`` is not of that form, or is answered already.
        """

        def register(loader: _LoaderT) -> _LoaderT:
            self._register_loader(target, RegisteredLoader(loader, database))
            return loader

        return register

    def mutation(self, name: str, *, scope: Scope) -> Callable[[_LoaderT], _LoaderT]:
        """Register the decorated loader of a mutation; it runs outside of the request's snapshot.

        Parameters
        ----------
        name
            Name of the field of ``Mutation``.
        scope
            What whoever asks has to be allowed; otherwise the loader is not called.
        """

        def register(loader: _LoaderT) -> _LoaderT:
            self._register_loader(f"Mutation.{name}", RegisteredLoader(loader, database=False, scope=scope))
            return loader

        return register

    def column(self, target: str) -> Callable[[_ColumnT], _ColumnT]:
        """Register the decorated column function.

        Parameters
        ----------
        target
            ``Type.field``, as the schema spells them.

        Raises
        ------
        ValueError
            If ``target`` is not of that form, or is answered already.
        """

        def register(column: _ColumnT) -> _ColumnT:
            self._register_column(target, column)
            return column

        return register

    def stream(self, target: str) -> Callable[[_StreamT], _StreamT]:
        """Register the decorated function, which gives the rows of a subscription.

        Parameters
        ----------
        target
            ``Subscription.field``, as the schema spells it.

        Raises
        ------
        ValueError
            If ``target`` is not of that form, or is answered already.
        """

        def register(stream: _StreamT) -> _StreamT:
            self._register_stream(target, stream)
            return stream

        return register

    def interface(self, name: str) -> Callable[[_TypeOfRowT], _TypeOfRowT]:
        """Register the decorated function, which names the object type of a row of an interface or a union.

        Raises
        ------
        ValueError
            If the interface or union has one already.
        """

        def register(type_of_row: _TypeOfRowT) -> _TypeOfRowT:
            self._register_interface(name, type_of_row)
            return type_of_row

        return register

    def _register_loader(self, target: str, registered: RegisteredLoader) -> None:
        self._check(target)
        self.loaders[target] = registered

    def _register_column(self, target: str, column: Column) -> None:
        self._check(target)
        self.columns[target] = column

    def _register_stream(self, target: str, stream: Stream) -> None:
        self._check(target)
        self.streams[target] = stream

    def _register_interface(self, name: str, type_of_row: TypeOfRow) -> None:
        if name in self.interfaces:
            raise ValueError(f"The types of {name} are told by two functions.")
        self.interfaces[name] = type_of_row

    def _check(self, target: str) -> None:
        if not _TARGET.fullmatch(target):
            raise ValueError(f"{target!r} is not of the form 'Type.field'.")
        if target in self.loaders or target in self.columns or target in self.streams:
            raise ValueError(f"{target} is answered twice.")


async def fetch(
    registered: RegisteredLoader,
    name: str,
    context: LoaderContext,
    parents: Sequence[Any],
    arguments: dict[str, Any],
) -> Sequence[Any]:
    """Run a loader, in a savepoint if it uses the database.

    Parameters
    ----------
    registered
        The loader.
    name
        ``Type.field``, for the error.
    context
        The context of the request.
    parents
        The rows whose field it is.
    arguments
        By their names in snake case; what the client left out and has no default is absent.

    Returns
    -------
    values
        One value or exception a parent.

    Raises
    ------
    ForbiddenError
        If whoever asks has not the scope that is needed.
    RuntimeError
        If the loader answers another number of values than there are parents: nobody could tell which is whose.
    TypeError
        If it answers no sequence.
    """
    if registered.scope is not None:
        context.require_scope(registered.scope)
    if registered.database:
        async with context.savepoint():
            values = await registered.load(context, parents, **arguments)
    else:
        values = await registered.load(context, parents, **arguments)
    return _one_each(name, values, parents)


def pick(column: Column, name: str, parents: Sequence[Any]) -> Sequence[Any]:
    """Call a column function; what it raises is the value of every parent.

    Parameters
    ----------
    column
        The function.
    name
        ``Type.field``, for the error.
    parents
        The rows whose field it is.
    """
    try:
        return _one_each(name, column(parents), parents)
    except Exception as error:
        return [error] * len(parents)


def _one_each(name: str, values: Sequence[Any], parents: Sequence[Any]) -> Sequence[Any]:
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise TypeError(f"{name} answered {type(values).__name__} where a sequence, one value a parent, is due.")
    if len(values) != len(parents):
        raise RuntimeError(f"{name} answered {len(values)} values for {len(parents)} parents.")
    # Rows are told apart by identity: a sequence that makes its items when they are read would make others each time.
    return values if isinstance(values, list | tuple) else list(values)
