"""What a chunk of a plan says, as rows of the tables that the plan is in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.datastores.artifacts.store import Entry, Kind
from butlerql.storage.datastores.deletion.files import File, Place
from butlerql.storage.datastores.deletion.listing import Listed
from butlerql.storage.datastores.deletion.plans import Outcome, Plan, Reason, bits
from butlerql.storage.dialect import Dialect
from butlerql.storage.state.bulk import add_rows
from butlerql.storage.state.tables import DELETION_DATASET, DELETION_ITEM, DELETION_USE
from butlerql.storage.uuids import digits_of_each

__all__ = ["Frozen", "freeze"]

_PENDING = str(Outcome.PENDING)

_FILES_OF_ONE = 1 << 12
"""Numbers of items that each dataset has for its own files."""

_KEY = ("datastore", "root", "path")
"""Columns by which a file of a plan is known."""

_PATH = DELETION_ITEM.c.keys().index("path")

_Key = tuple[str, str, str]


@dataclass
class Frozen:
    """A chunk of a plan, to be written down: rows of the tables, with their columns in the tables' order."""

    plan: int
    roots: Mapping[str, Any]
    """What the roots of datastores are, by name."""

    datasets: list[tuple[Any, ...]] = field(default_factory=list)
    items: list[tuple[Any, ...]] = field(default_factory=list)
    uses: list[tuple[Any, ...]] = field(default_factory=list)
    shared: list[tuple[_Key, tuple[Any, ...]]] = field(default_factory=list)
    """Uses of files that another chunk may have, too: what the file is known by, and what follows its number."""

    async def write(self, connection: AsyncConnection, dialect: Dialect) -> None:
        """Write it down. A file that another chunk has is the same item."""
        await add_rows(connection, dialect, DELETION_DATASET, self.datasets)
        # By their paths, which the longest indexes have in order.
        await add_rows(connection, dialect, DELETION_ITEM, sorted(self.items, key=lambda row: row[_PATH] or ""))
        numbers = await self._numbers(connection, dialect)
        uses = [(self.plan, numbers[key], *rest) for key, rest in self.shared]
        await add_rows(connection, dialect, DELETION_USE, self.uses + uses)

    async def _numbers(self, connection: AsyncConnection, dialect: Dialect) -> dict[_Key, int]:
        """Tell the numbers of the files that another chunk may have, too."""
        if not self.shared:
            return {}
        item = DELETION_ITEM.c
        keys = list(dict.fromkeys(key for key, _ in self.shared))
        asked = dialect.rows("asked", {name: sa.Text() for name in _KEY}, keys)
        statement = (
            sa.select(item.number, *(item[name] for name in _KEY))
            .select_from(dialect.each(asked, DELETION_ITEM))
            .where(item.plan_id == self.plan, *(item[name] == asked.c[name] for name in _KEY))
        )
        return {(name, root, path): number for number, name, root, path in await connection.execute(statement)}


def freeze(
    plan: Plan,
    first: int,
    datasets: Sequence[Listed],
    files: Mapping[str, Sequence[File]],
    entries: Mapping[Place, Entry],
    reasons: Mapping[str, int],
    users: Mapping[Place, set[str]],
    roots: Mapping[str, Any],
) -> Frozen:
    """Put together what is known of the datasets of a chunk.

    Parameters
    ----------
    plan
        Which plan.
    first
        How many datasets stand before this chunk.
    datasets
        In order.
    files
        Of each that has any, in order.
    entries
        What there is in place of each file.
    reasons
        What was found of each dataset, a bit each.
    users
        Who has a file, where it may be more than one.
    roots
        What the roots of datastores are, by name.
    """
    frozen = Frozen(plan.id, roots)
    trust_mode, outside_root = bits([Reason.TRUST_MODE]), bits([Reason.OUTSIDE_ROOT])
    items: dict[Place, tuple[int, _Key]] = {}
    digits = digits_of_each([one.uuid for one in datasets])
    for number, its_digits, (uuid, kind, values, _, run, day) in zip(count(first + 1), digits, datasets):
        why = reasons[uuid]
        own = number * _FILES_OF_ONE
        its = files.get(uuid, ())
        if not its:
            frozen.items.append((plan.id, own, number, *[None] * 6, False, _PENDING, None, 0))
            frozen.uses.append((plan.id, own, its_digits, "", None, None))
        for new, (leaf, place, uri, record, recorded, storage_class, formatter, is_outside) in enumerate(its, own):
            if leaf.trust_get_request:
                why |= trust_mode
            if is_outside:
                why |= outside_root
            if place not in items:
                size, identity, problem = _seen(entries[place], recorded)
                key = (leaf.name, place[0] if is_outside else "", place[1])
                known = (uri, size, identity, is_outside, _PENDING, problem, 0)
                frozen.items.append((plan.id, new, number, *key, *known))
                items[place] = new, key
            item, key = items[place]
            if place in users and users[place] != {uuid}:
                frozen.shared.append((key, (its_digits, record, storage_class, formatter)))
            else:
                frozen.uses.append((plan.id, item, its_digits, record, storage_class, formatter))
        data_id = dict(zip(kind.dimensions.required, values, strict=True))
        what = (kind.name, orjson.dumps(data_id).decode(), run, day, data_id.get("instrument"))
        frozen.datasets.append((plan.id, number, number, its_digits, *what, why, _PENDING, None, None))
    here = {one.uuid for one in datasets}
    for place, some in users.items():
        others = digits_of_each(sorted(some - here))
        frozen.shared += [(items[place][1], (other, "", None, None)) for other in others]
    return frozen


def _seen(entry: Entry, recorded: int | None) -> tuple[int | None, str | None, str | None]:
    """Tell the bytes of a file, its identity as text, and what is wrong with it."""
    if entry.kind is Kind.MISSING:
        return None, None, "its file is not there"
    identity = None if entry.identity is None else orjson.dumps(entry.identity).decode()
    return recorded if entry.size is None else entry.size, identity, entry.problem
