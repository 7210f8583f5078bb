"""What a validation is asked to do."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from butlerql.storage.datastores.tree import Datastore, FileDatastore
from butlerql.storage.datastores.validation.findings import Check
from butlerql.storage.errors import InvalidArgumentError
from butlerql.storage.registry.selection import DatasetSelection
from butlerql.storage.registry.selection_text import selection_of, written

__all__ = ["Request"]

_DAY = 86_400


@dataclass(frozen=True)
class Request:
    """What a validation is asked to do.

    Attributes
    ----------
    datastore
        Name.
    select
        Only the artifacts of these datasets; None: the whole datastore.
    checks
        What to check; None: MISSING, SIZE, and UNTRACKED where there is no selection.
    grace_seconds
        Files younger than this are not called untracked: they may be in flight.
    sample
        Share of the contents to read, 0 to 1.
    seed
        Which share.
    max_age_seconds
        Contents that were verified more recently than this are not read; None: all are.
    rate_limit
        Bytes a second that are read at most; None: no limit.
    """

    datastore: str
    select: DatasetSelection | None = None
    checks: frozenset[Check] | None = None
    grace_seconds: int = _DAY
    sample: float = 1.0
    seed: int = 0
    max_age_seconds: int | None = None
    rate_limit: int | None = None

    def validated(self, root: Datastore) -> Request:
        """See that it makes sense for a repository's datastores, and put defaults in.

        Raises
        ------
        UnknownDatastoreError
            Raised if there is no datastore of that name.
        InvalidArgumentError
            Raised if it makes no sense.
        """
        datastore = root.find(self.datastore)
        if not any(isinstance(leaf, FileDatastore) for leaf in datastore.leaves):
            raise InvalidArgumentError(f"Datastore '{datastore.name}' keeps nothing that could be looked at from here.")
        checks = self.checks
        if checks is None:
            checks = frozenset({Check.MISSING, Check.SIZE, *([Check.UNTRACKED] if self.select is None else [])})
        if not checks:
            raise InvalidArgumentError("There is nothing to check; name at least one check, or leave `checks` out.")
        if self.select is not None and Check.UNTRACKED in checks:
            raise InvalidArgumentError("What is untracked belongs to no selection; leave UNTRACKED out, or `select`.")
        if not 0 <= self.sample <= 1:
            raise InvalidArgumentError("`sample` is a share, from 0 to 1.")
        for name, value in (("graceSeconds", self.grace_seconds), ("maxAgeSeconds", self.max_age_seconds)):
            if value is not None and value < 0:
                raise InvalidArgumentError(f"`{name}` cannot be negative.")
        if self.rate_limit is not None and self.rate_limit < 1:
            raise InvalidArgumentError("`rateLimit` is at least one byte a second; leave it out for no limit.")
        return replace(self, checks=checks)

    @property
    def reads_contents(self) -> bool:
        """Whether contents are compared with checksums, so that these are needed."""
        return Check.CHECKSUM in (self.checks or ())

    @property
    def as_json(self) -> dict[str, Any]:
        """What `from_json` reads."""
        return {
            **vars(self),
            "select": None if self.select is None else written(self.select),
            "checks": None if self.checks is None else sorted(self.checks),
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Request:
        """Read a request that was written down."""
        select, checks = values["select"], values["checks"]
        return cls(
            **{
                **values,
                "select": None if select is None else selection_of(select),
                "checks": None if checks is None else frozenset(map(Check, checks)),
            }
        )
