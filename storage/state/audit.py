"""The audit log: who changes what, written down before it is done, and the outcome after.

An entry is written before its change, and says `BEGUN`; its outcome is written with the change, see `Change.note`. A
crash leaves `BEGUN`: where own state is in the registry's database the change was not made then, elsewhere it was made
wholly or not at all. None is made of which the log knows nothing.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.errors import ButlerQLError, UncertainError
from butlerql.storage.registry.pages import Ordering, Page, PageRequest, bounds, cut, ordered
from butlerql.storage.state.database import State, Work
from butlerql.storage.state.tables import AUDIT, NOW

__all__ = ["BEGUN", "DONE", "FAILED", "AuditEntry", "audited", "begin", "count_entries", "ended", "find_entries"]

BEGUN = "BEGUN"
"""Under way, or its end was never written: the service died, or lost the database."""

DONE = "DONE"

FAILED = "FAILED"
"""For a reason that nobody foresaw; others are told by their code."""

_log = logging.getLogger(__name__)
_NEWEST_FIRST = [Ordering(AUDIT.c.id, is_descending=True)]


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """A change as it was written down."""

    id: int
    at: int
    """Microseconds since 1970."""
    user: str
    action: str
    target: str
    """Name of what was changed."""
    detail: Any
    """What was asked for, as JSON."""
    outcome: str
    """`BEGUN`, `DONE`, `FAILED`, or the code of an error: nothing was changed then."""


@asynccontextmanager
async def audited(
    state: State, *, user: str, action: str, target: str, detail: Mapping[str, Any]
) -> AsyncIterator[Work[None]]:
    """Write down a change before the block makes it; and why not, if it raises.

    Parameters
    ----------
    state
        Where the log is.
    user
        Who makes it.
    action
        Name of the mutation.
    target
        Name of what is changed.
    detail
        What was asked for, as JSON.

    Yields
    ------
    done
        Writes that it is done, in the transaction that makes it: to be given to `Change.note`, or called in one of own
        state.

    Raises
    ------
    StateError
        Raised if it cannot be written down; nothing is changed then.
    BusyError
        Raised if another program keeps the own state locked.
    """
    number = await state.write(
        lambda connection: begin(connection, user=user, action=action, target=target, detail=detail)
    )
    try:
        yield ended(number, DONE)
    except UncertainError:
        raise
    except Exception as error:
        outcome = error.code if isinstance(error, ButlerQLError) else FAILED
        try:
            await state.write(ended(number, outcome))
        except ButlerQLError:
            _log.exception("The outcome %s of the change %d could not be written down.", outcome, number)
        raise


async def begin(connection: AsyncConnection, *, user: str, action: str, target: str, detail: Mapping[str, Any]) -> int:
    """Write down a change that is about to be made, in a transaction of the state; see `audited`.

    Returns
    -------
    number
        Of the entry, for `ended`.
    """
    new = sa.insert(AUDIT).values(
        at=NOW, made_by=user, action=action, target=target, detail=json.dumps(detail), outcome=BEGUN
    )
    return int((await connection.execute(new.returning(AUDIT.c.id))).scalar_one())


def ended(number: int, outcome: str) -> Work[None]:
    """Give what writes the outcome of a change down, unless there is one already."""
    change = sa.update(AUDIT).where(AUDIT.c.id == number, AUDIT.c.outcome == BEGUN).values(outcome=outcome)

    async def write(connection: AsyncConnection) -> None:
        await connection.execute(change)

    return write


async def find_entries(state: State, request: PageRequest) -> Page[AuditEntry]:
    """Look at a page of the log, the newest entries first; keys are their numbers."""
    statement = (
        sa.select(AUDIT)
        .where(*bounds(_NEWEST_FIRST, request))
        .order_by(*ordered(_NEWEST_FIRST, request))
        .limit(request.limit + 1)
    )

    async def find(connection: AsyncConnection) -> list[AuditEntry]:
        return [_entry_of(row) for row in await connection.execute(statement)]

    entries: list[AuditEntry] = await state.read(find, absent=[])
    return cut([((entry.id,), entry) for entry in entries], request)


async def count_entries(state: State) -> int:
    """Count the entries of the log."""

    async def count(connection: AsyncConnection) -> int:
        return int((await connection.execute(sa.select(sa.func.count()).select_from(AUDIT))).scalar_one())

    return await state.read(count, absent=0)


def _entry_of(row: sa.Row[*tuple[Any, ...]]) -> AuditEntry:
    return AuditEntry(row.id, row.at, row.made_by, row.action, row.target, json.loads(row.detail), row.outcome)
