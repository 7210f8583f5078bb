"""Which dataset types take part in a selection, and under which conditions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from butlerql.storage.errors import InvalidDataIdError, InvalidExpressionError, UnsupportedJoinError
from butlerql.storage.globs import is_glob
from butlerql.storage.registry import dataset_types
from butlerql.storage.registry.collections import Collection
from butlerql.storage.registry.combinations import check_relations
from butlerql.storage.registry.conditions import Condition
from butlerql.storage.registry.dataset_types import DatasetType
from butlerql.storage.registry.ranges import Part
from butlerql.storage.registry.settling import Settled, settle
from butlerql.storage.registry.where import Where
from butlerql.storage.repository import Repository
from butlerql.storage.snapshot import Snapshot

__all__ = ["TakingPart", "taking_part"]


class Member(NamedTuple):
    """A dataset type that takes part."""

    dataset_type: DatasetType
    condition: Condition | None
    data_ids: Sequence[Mapping[str, Any]] | None = None
    """What data IDs have to hold, any of these; None if only the values of all."""


@dataclass(frozen=True)
class TakingPart:
    """The dataset types that take part in a selection."""

    members: Sequence[Member]
    values: Mapping[str, Any]
    """What all data IDs have to hold."""
    unrelated: Sequence[str]
    """Names of dataset types that would, if anything related them to the conditions."""

    @property
    def types(self) -> list[DatasetType]:
        """Dataset types that take part."""
        return [member.dataset_type for member in self.members]

    async def parts(
        self, snapshot: Snapshot, parent: int, collections: Mapping[DatasetType, Sequence[Collection]]
    ) -> list[Part]:
        """Say where the datasets are.

        Parameters
        ----------
        snapshot
            What to read from.
        parent
            Index of the object that they are asked for.
        collections
            Where those of each type may be.
        """
        parts = []
        for kind, condition, data_ids in self.members:
            if not collections[kind]:
                continue
            settled = Settled(data_ids or (), None, condition)
            if data_ids is None:
                settled = await settle(snapshot, kind, self.values, condition)
            position = await dataset_types.position(snapshot, kind)
            parts.append(Part(parent, position, kind, collections[kind], **settled._asdict()))
        return parts


def taking_part(
    repository: Repository,
    kinds: Iterable[DatasetType],
    names: Iterable[str],
    values: Mapping[str, Any],
    where: Where,
    related: bool | None = None,
) -> TakingPart:
    """Find out which dataset types can be asked for what.

    Parameters
    ----------
    repository
        Whose registry.
    kinds
        Dataset types.
    names
        Names and globs by which they were found.
    values
        What data IDs have to hold.
    where
        What else has to hold.
    related
        Whether those that lack a dimension of the conditions are related to it; None: those that are named in full.

    Raises
    ------
    InvalidDataIdError
        Raised if one that is named in full lacks a dimension, and shall not be related to it.
    InvalidExpressionError
        Raised if the condition makes no sense for one that is named in full, or for none at all.
    UnsupportedJoinError
        Raised if one that is named in full cannot be related.
    """
    named = frozenset(name for name in names if not is_glob(name))
    members: list[Member] = []
    unrelated: list[str] = []
    refused: InvalidExpressionError | None = None
    for kind in kinds:
        is_named = kind.name in named
        try:
            member = _member(repository, kind, values, where, related=is_named if related is None else related)
        except (InvalidDataIdError, InvalidExpressionError, UnsupportedJoinError) as error:
            if is_named:
                raise
            if isinstance(error, UnsupportedJoinError):
                unrelated.append(kind.name)
            elif isinstance(error, InvalidExpressionError):
                refused = refused or error
        else:
            members.append(member)
    if refused is not None and not members and not unrelated:
        raise refused
    return TakingPart(members, values, unrelated)


def _member(
    repository: Repository, kind: DatasetType, values: Mapping[str, Any], where: Where, *, related: bool
) -> Member:
    dimensions = kind.dimensions
    condition = where.condition(repository, dimensions, dataset_type=kind, constrained=values)
    spoken_of = {*values, *(() if condition is None else condition.dimensions)}
    foreign = [name for name in repository.universe.dimensions if name in spoken_of.difference(dimensions.names)]
    if foreign and not related:
        raise InvalidDataIdError(
            f"Dataset type '{kind.name}' has no dimension {', '.join(foreign)}; it has "
            f"{', '.join(dimensions.names) or 'none'}. Leave it out, or have it related."
        )
    if foreign or condition is not None:
        check_relations(repository, dimensions, [dimensions], values, condition=condition)
    return Member(kind, condition)
