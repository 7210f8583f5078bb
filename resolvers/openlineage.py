"""Events of OpenLineage are taken into provenance as they come."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from butlerql.resolvers.context import RequestContext
from butlerql.scopes import Scope
from butlerql.storage.errors import InvalidSourceError
from butlerql.storage.provenance.ingest import Ingested, ingest_at_once
from butlerql.storage.provenance.known_tasks import KnownTasks, known_tasks
from butlerql.storage.provenance.openlineage import records_of
from butlerql.storage.provenance.records import Record, Source, SourceKind

__all__ = ["take_in_events"]

# It never ends; workflow systems write the same as lines.
_SOURCE = Source(SourceKind.JSON_LINES, "OpenLineage", "")


async def take_in_events(context: RequestContext, events: Sequence[Any]) -> dict[str, Any]:
    """Take events in: all that can be understood, in one transaction.

    Returns
    -------
    answer
        As OpenLineage answers a batch, and how many units of work and attempts were new.

    Raises
    ------
    ForbiddenError, ReadOnlyError
        Raised if whoever asks may not.
    BusyError
        Raised if the registry cannot be read just now.
    StateError
        Raised if the state cannot be written to.
    """
    context.require_scope(Scope.INGEST)
    context.repository.require_writable()
    async with context.repository.snapshot() as snapshot:
        tasks = await known_tasks(snapshot)
    records, failed = await asyncio.to_thread(_understood, tasks, events)
    taken = await ingest_at_once(context.repository.state, _SOURCE, records) if records else Ingested(0, 0, 0, 0)
    return {
        "status": "partial_success" if failed else "success",
        "summary": {
            "received": len(events),
            "successful": len(events) - len(failed),
            "failed": len(failed),
            "retriable": 0,
            "non_retriable": len(failed),
        },
        "failed_events": failed,
        "quanta": taken.quanta,
        "executions": taken.executions,
    }


def _understood(tasks: KnownTasks, events: Sequence[Any]) -> tuple[list[Record], list[dict[str, Any]]]:
    """Give what events tell, and name those that cannot be understood."""
    records: list[Record] = []
    failed: list[dict[str, Any]] = []
    for index, event in enumerate(events):
        try:
            records += [tasks.brought(record) for record in records_of(event)]
        except InvalidSourceError as error:
            failed.append({"index": index, "reason": str(error), "retriable": False})
    return records, failed
