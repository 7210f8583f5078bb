"""Validating a datastore, as a job."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from sqlalchemy.ext.asyncio import AsyncConnection

from butlerql.storage.datastores.artifacts.store import Entry, path_bytes
from butlerql.storage.datastores.deletion.own_paths import own_paths
from butlerql.storage.datastores.records import RecordSource, record_sources
from butlerql.storage.datastores.tree import FileDatastore
from butlerql.storage.datastores.validation import catalogue, results
from butlerql.storage.datastores.validation.catalogue import Catalogue
from butlerql.storage.datastores.validation.contents import Contents, Seen, Verified
from butlerql.storage.datastores.validation.findings import Check, Finding, FindingKind, Verdict
from butlerql.storage.datastores.validation.looking import Listing, Looked, Stretch, Wrong, look, look_again
from butlerql.storage.datastores.validation.own_files import own_files
from butlerql.storage.datastores.validation.recorded import Plain
from butlerql.storage.datastores.validation.registry_check import DISAGREEMENTS, MOST, disagreements
from butlerql.storage.datastores.validation.request import Request
from butlerql.storage.registry.datasets import Dataset
from butlerql.storage.registry.pages import Page, PageRequest
from butlerql.storage.registry.selection import select
from butlerql.storage.repository import Repository
from butlerql.storage.snapshot import Snapshot
from butlerql.storage.state.jobs import Job, JobKind
from butlerql.storage.state.kinds import Kind, Planned, Step

__all__ = ["Validation"]

_FILES = 20_000
"""Records of a stretch."""

_BYTES = 1 << 28
"""Bytes of a stretch, where contents are read."""

_TIMES_UNINDEXED = 4
"""So much longer are stretches where no index has the order of paths, so that each takes a look at all records."""

_DATASETS = 2_000
"""Datasets of a stretch, where there is a selection: their artifacts are looked at one by one."""

_PLANNING_SECONDS = 600.0
"""How long one statement about all records may take."""

_BUTLER_SECONDS = 10
"""How long a Butler may be between two transactions that belong together."""

_MOST_LISTED = 100_000
"""Disagreements of a kind that are written down."""

_CAP_SHARE, _CAP_COUNT = 0.1, 20
"""Where more than this share, and more than so many, are missing, untracked or unreadable, the store is in doubt."""

_UNREACHED = "stretches of which nothing can be said"
_UNRECORDED = str(FindingKind.CHECKSUM_NOT_RECORDED)


@dataclass
class _Reviewed:
    """What is written down of a chunk."""

    findings: list[Finding]
    looked_at: Counter[str]
    verified: dict[str, Verified]
    bytes: int = 0


class Validation(Kind):
    """Looks whether a datastore holds what is recorded, nothing else, and as it was put there.

    Parameters
    ----------
    repository
        Whose datastores, and whose own state.
    workers
        How many look at once: they share the rate limit.
    """

    name = JobKind.VALIDATION
    unit = "artifacts"

    def __init__(self, repository: Repository, workers: int) -> None:
        self._repository = repository
        self._state = repository.state
        self._workers = workers
        self._reading = asyncio.Lock()
        self._elsewhere: dict[tuple[int, int], set[str]] = {}

    async def plan(self, job: Job, after: Any) -> AsyncGenerator[Planned]:
        """Cut the datastore, or what it has of a selection, into stretches; registry and records are compared last."""
        request = Request.from_json(job.request)
        for index, leaf in enumerate(self._leaves(request)):
            if after is not None and index < after["leaf"]:
                continue
            before = after if after is not None and index == after["leaf"] else {}
            if "kind" not in before:
                async for work in self._stretches(request, leaf, before):
                    yield Planned({"leaf": index, **work}, work["count"])
            if Check.REGISTRY in (request.checks or ()) and request.select is None:
                done = DISAGREEMENTS.index(FindingKind(before["kind"])) + 1 if "kind" in before else 0
                for kind in DISAGREEMENTS[done:]:
                    yield Planned({"leaf": index, "kind": kind, "count": 0}, 0)

    async def prepare(self, job: Job, work: Any) -> Sequence[Stretch]:
        """Read what should be there."""
        if "kind" in work:
            return ()
        request = Request.from_json(job.request)
        leaf = self._leaves(request)[work["leaf"]]
        checksums = request.reads_contents
        async with self._snapshot() as snapshot:
            source = await _source(snapshot, leaf)
            if source is None:
                found = Catalogue(Plain(), {})
            elif request.select is None:
                found = await catalogue.within(snapshot, source, work["after"], work["until"], checksums=checksums)
            else:
                page = await _datasets(snapshot, request, work["after"])
                uuids = [dataset.uuid for dataset in page.rows]
                found = await catalogue.of_datasets(snapshot, source, uuids, checksums=checksums)
        seen: Mapping[str, Seen] = {}
        if checksums:
            seen = await results.seen(self._state, leaf.name, found.texts)
        listing = None
        own = found.others.pop(leaf.root_uri, [])
        if request.select is None:
            not_artifacts = own_files(self._repository, leaf)
            listing = Listing(work["after"], work["until"], not_artifacts.union(one.path for one in own))
        stretch = Stretch(
            leaf.root_uri,
            found.plain,
            own,
            request.checks or frozenset(),
            listing,
            seen,
            self._contents(job, request),
        )
        outside = (
            replace(stretch, root=root, plain=Plain(), others=others, listing=None)
            for root, others in found.others.items()
        )
        return [stretch, *outside]

    @staticmethod
    def run(stretches: Sequence[Stretch]) -> list[Looked]:
        """Look at them."""
        return [look(stretch) for stretch in stretches]

    async def review(self, job: Job, work: Any, result: Sequence[Looked]) -> _Reviewed:
        """Drop what has changed in the records meanwhile: it says nothing."""
        request = Request.from_json(job.request)
        leaf = self._leaves(request)[work["leaf"]]
        if "kind" in work:
            return await self._disagreements(request, leaf, FindingKind(work["kind"]))
        reviewed = _Reviewed([], Counter(), {})
        wrong = [one for looked in result for one in looked.wrong]
        untracked: list[Entry] = []
        for looked in result:
            _count(reviewed, looked, is_own=looked.root == leaf.root_uri)
            oldest = looked.now - request.grace_seconds * 1_000_000_000
            old = [entry for entry in looked.untracked if entry.modified is None or entry.modified <= oldest]
            reviewed.looked_at["younger than the grace period"] += len(looked.untracked) - len(old)
            if Check.UNTRACKED in (request.checks or ()):
                untracked += old
        if wrong or untracked:
            async with self._snapshot() as snapshot:
                source = await _source(snapshot, leaf)
                if source is not None and wrong:
                    wrong = await _still_recorded(snapshot, source, wrong, request)
                if source is not None and untracked:
                    untracked = await self._unknown(snapshot, source, untracked, (job.id, work["leaf"]))
        if untracked:
            ours = await own_paths(self._state, leaf.name, untracked)
            untracked = [entry for entry in untracked if entry.path not in ours]
        reviewed.findings += [one.finding for one in wrong]
        for entry in await asyncio.to_thread(look_again, leaf.root_uri, untracked) if untracked else []:
            uri = leaf.root_uri + quote(path_bytes(entry.path))
            kind = FindingKind.UNREADABLE if entry.problem is not None else FindingKind.UNTRACKED
            reviewed.findings.append(Finding(kind, uri, entry.size, observed=entry.problem))
        if request.select is not None and Check.REGISTRY in (request.checks or ()):
            async with self._snapshot() as snapshot:
                uuids = [dataset.uuid for dataset in (await _datasets(snapshot, request, work["after"])).rows]
            found = [one for kind in DISAGREEMENTS for one in await self._disagreeing(leaf, kind, among=uuids)]
            reviewed.findings += await self._once_more(request, leaf, found)
        reviewed.looked_at["datasets"] = work["datasets"]
        return reviewed

    async def _unknown(
        self, snapshot: Snapshot, source: RecordSource, entries: Sequence[Entry], place: tuple[int, int]
    ) -> list[Entry]:
        """Leave out what somebody has a record of, in this datastore or another."""
        recorded = await catalogue.known(snapshot, source, [entry.path for entry in entries])
        if place not in self._elsewhere:
            self._elsewhere[place] = await catalogue.elsewhere(snapshot, source)
        recorded |= self._elsewhere[place]
        return [entry for entry in entries if entry.path not in recorded]

    async def absorb(self, connection: AsyncConnection, job: Job, work: Any, result: _Reviewed) -> Step:
        """Write findings, coverage and checksums down."""
        leaf = self._leaves(Request.from_json(job.request))[work["leaf"]]
        looked_at = {name: count for name, count in result.looked_at.items() if count}
        await results.add(connection, job.id, leaf.name, result.findings, looked_at, result.verified)
        return Step(work["count"], result.bytes)

    async def finish(self, connection: AsyncConnection, job: Job) -> dict[str, Any]:
        """Come to a verdict."""
        found = {one.kind: one.count for one in await results.counts(connection, job.id)}
        coverage = await results.coverage(connection, job.id)
        most = max(_CAP_COUNT, math.floor(_CAP_SHARE * coverage.get("artifacts", 0)))
        doubtful = (FindingKind.MISSING, FindingKind.UNTRACKED, FindingKind.UNREADABLE)
        if coverage.pop(_UNREACHED, 0) or any(found.get(kind, 0) > most for kind in doubtful):
            verdict = Verdict.SUSPECT
        else:
            verdict = Verdict.INVALID if found.keys() - {FindingKind.CHECKSUM_NOT_RECORDED} else Verdict.VALID
        return {"verdict": verdict, "coverage": coverage}

    @asynccontextmanager
    async def _snapshot(self, seconds: float | None = None) -> AsyncIterator[Snapshot]:
        """Read the registry; one at a time, since each connection keeps pages of its own in memory."""
        async with self._reading, self._repository.snapshot(seconds) as snapshot:
            yield snapshot

    def _leaves(self, request: Request) -> list[FileDatastore]:
        datastore = self._repository.datastore.find(request.datastore)
        return [leaf for leaf in datastore.leaves if isinstance(leaf, FileDatastore)]

    async def _stretches(
        self, request: Request, leaf: FileDatastore, before: Mapping[str, Any]
    ) -> AsyncIterator[dict[str, Any]]:
        """Cut a datastore into stretches, those behind one that was planned before."""
        if request.select is not None:
            key = before.get("last")
            while True:
                async with self._snapshot() as snapshot:
                    page = await _datasets(snapshot, request, key)
                if page.rows:
                    number = len(page.rows)
                    yield {"after": key, "last": page.keys[-1], "count": number, "datasets": number}
                    key = page.keys[-1]
                if not page.has_next:
                    return
        begin = before.get("until", "")
        if begin is None:
            return
        times = 1 if self._repository.dialect.indexes_by_bytes else _TIMES_UNINDEXED
        most = _BYTES * times if request.reads_contents else None
        async with self._snapshot(_PLANNING_SECONDS) as snapshot:
            source = await _source(snapshot, leaf)
            ends: Sequence[tuple[str | None, int]] = [(None, 0)]
            if source is not None:
                ends = await catalogue.stretches(snapshot, source, begin, _FILES * times, most)
            datasets = 0 if source is None or before else await catalogue.datasets(snapshot, source)
        for end, count in ends:
            yield {"after": begin, "until": end, "count": count, "datasets": datasets}
            begin, datasets = end, 0

    def _contents(self, job: Job, request: Request) -> Contents:
        age, rate = request.max_age_seconds, request.rate_limit
        return Contents(
            request.sample,
            request.seed,
            None if age is None else job.created_at - age * 1_000_000,
            None if rate is None else rate / self._workers,
        )

    async def _disagreements(self, request: Request, leaf: FileDatastore, kind: FindingKind) -> _Reviewed:
        """Find all datasets of which registry and datastore say different things."""
        reviewed = _Reviewed([], Counter(), {})
        found: list[Finding] = []
        while True:
            more = await self._disagreeing(leaf, kind, after=found[-1].dataset_id if found else None)
            found += more
            if len(more) < MOST:
                break
            if len(found) >= _MOST_LISTED:
                reviewed.looked_at[f"more of {kind} may follow"] = 1
                break
        reviewed.findings += await self._once_more(request, leaf, found)
        return reviewed

    async def _once_more(self, request: Request, leaf: FileDatastore, found: Sequence[Finding]) -> list[Finding]:
        """Keep what is so a little later, too: a Butler puts and prunes in several transactions."""
        if found:
            await asyncio.sleep(min(request.grace_seconds, _BUTLER_SECONDS))
        kept: list[Finding] = []
        for kind in DISAGREEMENTS:
            uuids = [one.dataset_id for one in found if one.kind is kind and one.dataset_id is not None]
            for begin in range(0, len(uuids), MOST):
                kept += await self._disagreeing(leaf, kind, among=uuids[begin : begin + MOST])
        return kept

    async def _disagreeing(
        self, leaf: FileDatastore, kind: FindingKind, *, after: str | None = None, among: Sequence[str] | None = None
    ) -> list[Finding]:
        async with self._snapshot(_PLANNING_SECONDS) as snapshot:
            source = await _source(snapshot, leaf)
            return [] if source is None else await disagreements(snapshot, source, kind, after=after, among=among)


async def _source(snapshot: Snapshot, leaf: FileDatastore) -> RecordSource | None:
    """Find where the records of a datastore are; None if there never were any."""
    return next((source for source in await record_sources(snapshot) if source.datastore is leaf), None)


async def _still_recorded(
    snapshot: Snapshot, source: RecordSource, wrong: Sequence[Wrong], request: Request
) -> list[Wrong]:
    """Keep what is wrong with artifacts of which the records say the same as before."""
    texts = list({one.recorded.text for one in wrong})
    now = await catalogue.catalogue(snapshot, source, texts, checksums=request.reads_contents)
    same = set(now.plain.by_path.values()).union(*now.others.values())
    return [one for one in wrong if one.recorded in same]


async def _datasets(snapshot: Snapshot, request: Request, after: Sequence[Any] | None) -> Page[Dataset]:
    assert request.select is not None
    sets = await select(snapshot, request.select)
    key = None if after is None else tuple(after)
    [page] = await sets.pages(snapshot, PageRequest(_DATASETS, after=key))
    return page


def _count(reviewed: _Reviewed, looked: Looked, *, is_own: bool) -> None:
    """Add what was looked at."""
    counted = reviewed.looked_at
    counted.update(looked.skipped)
    if looked.failure is not None:
        counted[looked.failure] += looked.unreached
        counted[_UNREACHED] += is_own
    counted["artifacts"] += looked.artifacts
    counted["bytes"] += looked.bytes
    counted["contents"] += looked.contents
    counted["bytesRead"] += looked.bytes_read
    counted[_UNRECORDED] += looked.unrecorded
    counted[f"{_UNRECORDED} bytes"] += looked.unrecorded_bytes
    reviewed.bytes += looked.bytes_read or looked.bytes
    reviewed.verified |= {one.text: one for one in looked.verified}
