"""Looking at artifacts: what is there beside what should be.

Nothing here knows of a database: a stretch of a datastore can be looked at by any process, on any machine that reaches
the store.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, TypeVar

from butlerql.storage.datastores.artifacts.store import ArtifactStore, Entry, Kind, path_bytes
from butlerql.storage.datastores.artifacts.stores import open_store
from butlerql.storage.datastores.validation.contents import Contents, Reader, Seen, Skipped, Verified
from butlerql.storage.datastores.validation.findings import Check, Finding, FindingKind
from butlerql.storage.datastores.validation.recorded import Plain, Recorded
from butlerql.storage.datastores.validation.zip_members import wrong_members
from butlerql.storage.errors import UnavailableDatastoreError, UnreadableArtifactError

__all__ = ["Listing", "Looked", "Stretch", "Wrong", "look", "look_again"]

_T = TypeVar("_T")

_BATCH = 500
"""Paths that are looked at in one call."""

_TYPES = {Kind.DIRECTORY: "a directory", Kind.DANGLING: "a link that leads nowhere", Kind.OTHER: "no file"}


class Wrong(NamedTuple):
    """An artifact that is not as it should be, or of which more is to be said."""

    recorded: Recorded
    finding: Finding


@dataclass(frozen=True)
class Listing:
    """What of a store is listed: all paths behind one and up to another."""

    after: str
    until: str | None
    """None: to the end."""

    known: frozenset[str] = frozenset()
    """Paths that are recorded, though not in the stretch, and that are nobody's business."""


@dataclass(frozen=True)
class Stretch:
    """Some artifacts of a store.

    Attributes
    ----------
    root
        Absolute URI of the store.
    plain
        What should be there.
    others
        What should be there as well, and is looked at one by one.
    seen
        What was read of any of these before, by their paths in the records.
    checks
        What to look for.
    listing
        What to list, which is quicker than to look at each path, and tells what is there beside; None: look at each.
    contents
        Which contents to read.
    """

    root: str
    plain: Plain
    others: Sequence[Recorded]
    checks: frozenset[Check]
    listing: Listing | None = None
    seen: Mapping[str, Seen] = field(default_factory=dict)
    contents: Contents = field(default_factory=Contents)


@dataclass
class Looked:
    """What was found, and how much was looked at."""

    root: str
    now: int = 0
    """When it was, by the store's clock, in nanoseconds since 1970 UTC."""

    wrong: list[Wrong] = field(default_factory=list)
    untracked: list[Entry] = field(default_factory=list)
    """What was listed and not expected."""

    artifacts: int = 0
    bytes: int = 0
    """By the records, else as found."""

    contents: int = 0
    """How many were read."""

    bytes_read: int = 0
    verified: list[Verified] = field(default_factory=list)
    failure: str | None = None
    """Why nothing can be said of the stretch."""

    unreached: int = 0
    """How many artifacts should be there of which nothing can be said then."""

    unrecorded: int = 0
    """Contents that there was nothing to compare with."""

    unrecorded_bytes: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    """Artifacts that something was not checked of, by reason."""


def look(stretch: Stretch) -> Looked:
    """Look at a stretch of a store.

    What is not as expected from outside was looked at twice.
    """
    looked = Looked(stretch.root)
    try:
        store = open_store(stretch.root)
        # Before anything is looked at: what comes later is younger.
        looked.now = store.now()
        _Look(stretch, store, looked).go()
    except (UnavailableDatastoreError, UnreadableArtifactError) as error:
        unreached = len(stretch.plain.sizes_by_path) + len(stretch.others)
        return Looked(looked.root, looked.now, failure=str(error), unreached=unreached)
    return looked


def look_again(root: str, entries: Sequence[Entry]) -> list[Entry]:
    """Look once more at what was listed, and keep what is as it was, or cannot be looked at."""
    store = open_store(root)
    now = [entry for batch in _batches(entries) for entry in store.stat([one.path.rstrip("/") for one in batch])]
    same = (
        one._replace(path=entry.path) if one.kind is Kind.UNREADABLE else entry
        for entry, one in zip(entries, now, strict=True)
        if one.kind is Kind.UNREADABLE or one.identity == entry.identity
    )
    return list(same)


class _Look:
    """One look at a stretch."""

    def __init__(self, stretch: Stretch, store: ArtifactStore, looked: Looked) -> None:
        self._stretch = stretch
        self._store = store
        self._looked = looked
        self._reader = Reader(store, stretch.contents)

    def go(self) -> None:
        """Look at everything."""
        stretch = self._stretch
        waiting = stretch.plain.sizes_by_path
        if stretch.listing is not None:
            self._list(stretch.listing, waiting)
        left = [self._plain[path] for path in waiting]
        for batch in _batches([*left, *stretch.others]):
            # What was listed differently is looked at for the second time, the rest for the first.
            entries = self._store.stat([one.path for one in batch])
            doubtful = [(one, entry) for one, entry in zip(batch, entries, strict=True) if not self._fits(one, entry)]
            again = self._store.stat([one.path for one, _ in doubtful])
            latest = {one.path: entry for (one, _), entry in zip(doubtful, again, strict=True)}
            for one, entry in zip(batch, entries, strict=True):
                now = latest.get(one.path, entry)
                if now.kind is not entry.kind and not self._fits(one, now):
                    # The two looks differ, and a third decides.
                    [now] = self._store.stat([one.path])
                self._looked.artifacts += 1
                self._looked.bytes += (now.size or 0) if one.size is None else one.size
                if self._fits(one, now):
                    self._look_into(one, now)
                else:
                    self._report(one, now)

    @cached_property
    def _plain(self) -> dict[str, Recorded]:
        """What is recorded of each; it takes a while, and nothing needs it where all is well."""
        return self._stretch.plain.by_path

    def _list(self, listing: Listing, waiting: dict[str, int]) -> None:
        """List what is there, and take what is as expected away from what is waited for."""
        until = None if listing.until is None else path_bytes(listing.until)
        checks, looked = self._stretch.checks, self._looked
        any_size, looks_into = Check.SIZE not in checks, Check.CHECKSUM in checks
        number, bytes_ = len(waiting), sum(waiting.values())
        differing: dict[str, int] = {}
        for entry in self._store.list(listing.after, {} if looks_into else waiting):
            path = entry.path
            recorded = waiting.pop(path, None)
            if recorded is not None:
                if entry.kind is not Kind.FILE or not (any_size or recorded in {-1, entry.size}):
                    differing[path] = recorded
                    continue
                if recorded < 0:
                    bytes_ += (entry.size or 0) - recorded
                if looks_into:
                    self._look_into(self._plain[path], entry)
            elif until is not None and path_bytes(path) > until:
                break
            elif path not in listing.known:
                if entry.kind is Kind.UNREADABLE:
                    name = path_bytes(path).decode(errors="replace")
                    looked.skipped[f"{name} cannot be read ({entry.problem})"] += 1
                else:
                    looked.untracked.append(entry)
        waiting |= differing
        looked.artifacts += number - len(waiting)
        looked.bytes += bytes_ - sum(waiting.values())

    def _fits(self, one: Recorded, entry: Entry) -> bool:
        """Whether something is as it should be, as far as one sees from outside."""
        if entry.kind is not Kind.FILE:
            return False
        return Check.SIZE not in self._stretch.checks or all(size == entry.size for size in one.sizes)

    def _look_into(self, one: Recorded, entry: Entry) -> None:
        """Look at the inside of what is as it should be from outside."""
        try:
            if one.members:
                self._look_at_members(one)
            if Check.CHECKSUM in self._stretch.checks:
                self._read(one, entry)
        except FileNotFoundError:
            [now] = self._store.stat([one.path])
            if self._fits(one, now):
                # It is there again, or could not be looked at for a moment.
                self._looked.skipped[Skipped.CHANGING] += 1
            else:
                self._report(one, now)
        except UnreadableArtifactError as error:
            self._add(FindingKind.UNREADABLE, one, observed=str(error))

    def _look_at_members(self, one: Recorded) -> None:
        for member, found in wrong_members(self._store, one.path, one.members):
            if found is None:
                kind, check = FindingKind.ZIP_MEMBER_MISSING, Check.MISSING
                finding = Finding(kind, f"{one.text}#zip-path={member.name}", member.size)
            else:
                kind, check = FindingKind.SIZE_MISMATCH, Check.SIZE
                finding = Finding(
                    kind,
                    f"{one.text}#zip-path={member.name}",
                    member.size,
                    f"{member.size} bytes",
                    f"{found} bytes",
                )
            if check in self._stretch.checks:
                self._looked.wrong.append(Wrong(one, finding))

    def _read(self, one: Recorded, entry: Entry) -> None:
        outcome = self._reader.verify(entry, one.text, one.owner, one.checksum, self._stretch.seen.get(one.text))
        self._looked.bytes_read += outcome.bytes_read
        if outcome.skipped is not None:
            self._looked.skipped[outcome.skipped] += 1
            return
        self._looked.contents += 1
        if outcome.verified is None:
            self._add(FindingKind.CHECKSUM_MISMATCH, one, outcome.expected, outcome.observed)
            return
        self._looked.verified.append(outcome.verified)
        if not outcome.is_recorded:
            self._looked.unrecorded += 1
            self._looked.unrecorded_bytes += outcome.verified.size

    def _report(self, one: Recorded, entry: Entry) -> None:
        """Say what is wrong with something as seen from outside."""
        match entry.kind:
            case Kind.MISSING:
                if Check.MISSING in self._stretch.checks:
                    self._add(FindingKind.MISSING, one)
                else:
                    self._looked.skipped["not there"] += 1
            case Kind.UNREADABLE:
                self._add(FindingKind.UNREADABLE, one, observed=entry.problem)
            case Kind.FILE:
                sizes = " or ".join(f"{size} bytes" for size in one.sizes)
                self._add(FindingKind.SIZE_MISMATCH, one, sizes, f"{entry.size} bytes")
            case _:
                self._add(FindingKind.WRONG_TYPE, one, "a file", _TYPES[entry.kind])

    def _add(self, kind: FindingKind, one: Recorded, expected: str | None = None, observed: str | None = None) -> None:
        self._looked.wrong.append(Wrong(one, Finding(kind, one.text, one.size, expected, observed)))


def _batches(things: Sequence[_T]) -> Iterator[Sequence[_T]]:
    for begin in range(0, len(things), _BATCH):
        yield things[begin : begin + _BATCH]
