"""What validations wrote down: findings, what was looked at, and checksums."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.datastores.validation.contents import ALGORITHM, Seen, Verified
from butlerql.storage.datastores.validation.findings import Finding, FindingKind
from butlerql.storage.dialect import dialect_of
from butlerql.storage.registry.pages import Page, PageRequest, bounds, cut, ordered
from butlerql.storage.state.database import State
from butlerql.storage.state.tables import CHECKSUM, COVERAGE, FINDING, NOW

__all__ = [
    "FindingCount",
    "FoundRow",
    "add",
    "count_findings",
    "counts",
    "counts_of",
    "coverage",
    "coverage_of",
    "findings",
    "have_checksums",
    "seen",
]


@dataclass(frozen=True)
class FindingCount:
    """How many findings there are of a kind."""

    kind: FindingKind
    count: int
    bytes: int


class FoundRow(NamedTuple):
    """A finding that was written down."""

    id: int
    datastore: str
    finding: Finding


async def add(
    connection: AsyncConnection,
    job: int,
    datastore: str,
    found: Sequence[Finding],
    looked_at: Mapping[str, int],
    verified: Mapping[str, Verified],
) -> None:
    """Write down what came of a stretch.

    Parameters
    ----------
    connection
        A transaction of the state.
    job
        Number of the validation.
    datastore
        Name of what was looked at.
    found
        What is wrong.
    looked_at
        How many there were of what; added to what is there.
    verified
        Contents that were read, by the path in the records.
    """
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    if found:
        rows = [{"job_id": job, "datastore": datastore, **one._asdict()} for one in found]
        await connection.execute(sa.insert(FINDING), rows)
    if looked_at:
        more = insert(COVERAGE)
        more = more.on_conflict_do_update(
            index_elements=list(COVERAGE.primary_key), set_={"count": COVERAGE.c.count + more.excluded.count}
        )
        await connection.execute(
            more, [{"job_id": job, "name": name, "count": count} for name, count in looked_at.items()]
        )
    if verified:
        kept = insert(CHECKSUM).values(verified_at=NOW)
        kept = kept.on_conflict_do_update(
            index_elements=list(CHECKSUM.primary_key),
            set_={column.name: kept.excluded[column.name] for column in CHECKSUM.c if not column.primary_key},
        )
        await connection.execute(
            kept,
            [
                {
                    "datastore": datastore,
                    "path": path,
                    "owner": one.owner,
                    "size": one.size,
                    "identity": one.identity,
                    "algorithm": ALGORITHM,
                    "checksum": one.checksum,
                }
                for path, one in verified.items()
            ],
        )


async def seen(state: State, datastore: str, paths: Sequence[str]) -> dict[str, Seen]:
    """Find what was read of artifacts before, by their paths in the records."""
    wanted = dialect_of(state.place.url).rows("paths", {"path": sa.Text()}, [(path,) for path in paths])
    statement = sa.select(
        CHECKSUM.c.path, CHECKSUM.c.owner, CHECKSUM.c.identity, CHECKSUM.c.checksum, CHECKSUM.c.verified_at
    ).where(
        CHECKSUM.c.datastore == datastore,
        CHECKSUM.c.algorithm == ALGORITHM,
        CHECKSUM.c.path.in_(sa.select(wanted.c.path)),
    )

    async def read(connection: AsyncConnection) -> dict[str, Seen]:
        return {row[0]: Seen(*row[1:]) for row in await connection.execute(statement)}

    return await state.read(read, absent={})


async def have_checksums(state: State, datastores: Sequence[str]) -> bool:
    """Tell whether validations recorded the checksum of anything in some datastores."""
    given = state.dialect.rows("datastores", {"name": sa.Text()}, [(name,) for name in datastores])
    recorded = sa.exists().where(CHECKSUM.c.datastore == given.c.name, CHECKSUM.c.algorithm == ALGORITHM)

    async def find(connection: AsyncConnection) -> bool:
        return (await connection.execute(sa.select(given.c.name).where(recorded).limit(1))).first() is not None

    return await state.read(find, absent=False)


async def counts(connection: AsyncConnection, job: int) -> list[FindingCount]:
    """Count the findings of a validation, kind by kind."""
    number, size = sa.func.count(), sa.func.coalesce(sa.func.sum(FINDING.c.bytes), 0)
    statement = sa.select(FINDING.c.kind, number, size).where(FINDING.c.job_id == job).group_by(FINDING.c.kind)
    found = {FindingKind(row[0]): (row[1], int(row[2])) for row in await connection.execute(statement)}
    looked_at = await coverage(connection, job)
    unrecorded = FindingKind.CHECKSUM_NOT_RECORDED
    if looked_at.get(unrecorded):
        found[unrecorded] = (looked_at[unrecorded], looked_at.get(f"{unrecorded} bytes", 0))
    return [FindingCount(kind, *found[kind]) for kind in FindingKind if kind in found]


async def coverage(connection: AsyncConnection, job: int) -> dict[str, int]:
    """Tell how many there were of what was looked at, and of what was not."""
    statement = sa.select(COVERAGE.c.name, COVERAGE.c.count).where(COVERAGE.c.job_id == job).order_by(COVERAGE.c.name)
    return dict(tuple(row) for row in await connection.execute(statement))


async def counts_of(state: State, job: int) -> list[FindingCount]:
    """Count the findings of a validation, kind by kind, as they are now."""
    nothing: list[FindingCount] = []
    return await state.read(lambda connection: counts(connection, job), absent=nothing)


async def coverage_of(state: State, job: int) -> dict[str, int]:
    """Tell what was looked at, and what was not, as it is now."""
    nothing: dict[str, int] = {}
    return await state.read(lambda connection: coverage(connection, job), absent=nothing)


async def findings(
    state: State, job: int, request: PageRequest, *, kinds: Sequence[FindingKind] | None = None
) -> Page[FoundRow]:
    """Read a page of the findings of a validation, in the order in which they were found.

    Parameters
    ----------
    state
        Where they are.
    job
        Number of the validation.
    request
        Which page; keys are numbers of findings.
    kinds
        Which; None: all.
    """
    columns = [FINDING.c[name] for name in Finding._fields]
    statement = (
        sa.select(FINDING.c.id, FINDING.c.datastore, *columns)
        .where(*_chosen(job, kinds), *bounds([FINDING.c.id], request))
        .order_by(*ordered([FINDING.c.id], request))
        .limit(request.limit + 1)
    )

    async def read(connection: AsyncConnection) -> list[FoundRow]:
        rows = await connection.execute(statement)
        return [FoundRow(row[0], row[1], Finding(FindingKind(row[2]), *row[3:])) for row in rows]

    nothing: list[FoundRow] = []
    return cut([((row.id,), row) for row in await state.read(read, absent=nothing)], request)


async def count_findings(state: State, job: int, *, kinds: Sequence[FindingKind] | None = None) -> int:
    """Count what `findings` reads."""
    statement = sa.select(sa.func.count()).select_from(FINDING).where(*_chosen(job, kinds))

    async def count(connection: AsyncConnection) -> int:
        return int((await connection.execute(statement)).scalar_one())

    return await state.read(count, absent=0)


def _chosen(job: int, kinds: Sequence[FindingKind] | None) -> list[sa.ColumnElement[bool]]:
    return [FINDING.c.job_id == job, *([] if kinds is None else [FINDING.c.kind.in_(kinds)])]
