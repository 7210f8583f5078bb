"""Where and when: which elements of a group say so."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from butlerql.storage.errors import UnsupportedJoinError
from butlerql.storage.universe import DimensionGroup, Element

__all__ = ["chosen_elements", "overlap_to_join", "split_skypix"]


def split_skypix(name: str) -> tuple[str, int]:
    """Take the name of a skypix dimension apart: system and level."""
    system = re.sub(r"\d+$", "", name)
    return system, int(name[len(system) :])


def chosen_elements(group: DimensionGroup, topology: str) -> dict[str, Element]:
    """Choose the most precise element of each family that the group has.

    Parameters
    ----------
    group
        Some dimensions.
    topology
        "spatial" or "temporal".

    Returns
    -------
    dict
        Family to element, in the universe's order of what is in the families; each system of pixels is a family of its
        own, its finest level the most precise.
    """
    members: dict[str, list[Element]] = {}
    for element in group.elements:
        if element.is_skypix and topology == "spatial":
            members.setdefault(split_skypix(element.name)[0], []).append(element)
        elif not element.is_skypix:
            family = element.spatial if topology == "spatial" else element.temporal
            if family is not None:
                members.setdefault(family, []).append(element)
    families = group.universe.families[topology]
    return {
        family: max(elements, key=lambda element: split_skypix(element.name)[1])
        if elements[0].is_skypix
        else min(elements, key=lambda element: families[family].index(element.name))
        for family, elements in members.items()
    }


def overlap_to_join(
    group: DimensionGroup, joined: Iterable[DimensionGroup], named: Iterable[Sequence[Element]] = ()
) -> tuple[Element, Element] | None:
    """Find the two elements whose regions have to overlap for a combination of dimensions to be one that exists.

    Parameters
    ----------
    group
        All dimensions of a query.
    joined
        Dimensions of what is in the query that relates its dimensions by itself: datasets.
    named
        Pairs of elements whose overlap a condition asks for: they need no other.

    Returns
    -------
    tuple or None
        None if no overlap has to be looked for. If one of the two is a skypix dimension it comes second.

    Raises
    ------
    UnsupportedJoinError
        Raised if it cannot be told which regions have to overlap, if the registry does not know which do, or if the
        overlap of a pair means nothing: both are of one family, and related by their dimensions.

    Notes
    -----
    The Butler's rule: two families of regions that nothing relates have to overlap, by their most precise elements;
    datasets relate the families that they have. Pixels of other levels than the common one are related by datasets
    only.
    """
    chosen = chosen_elements(group, "spatial")
    connected = {family: {family} for family in chosen}
    for dimensions in joined:
        present = {element.name for element in dimensions.elements}
        together = [family for family, element in chosen.items() if element.name in present]
        merged = set().union(*(connected[family] for family in together))
        connected |= dict.fromkeys(merged, merged)
    for pair in named:
        families = [_family(element) for element in pair]
        if families[0] == families[1]:
            raise UnsupportedJoinError(
                f"{pair[0].name} and {pair[1].name} are related by their dimensions. "
                "Leave out that their regions overlap."
            )
        _check_known(group, *pair)
        merged = set().union(*(connected[family] for family in families))
        connected |= dict.fromkeys(merged, merged)
    parts = list({id(part): part for part in connected.values()}.values())
    if len(parts) < 2:
        return None
    if len(parts) > 2 or any(len(part) > 1 for part in parts):
        raise UnsupportedJoinError(
            f"There is more than one way to relate {_listed(chosen)} by where they are on the sky. "
            "Ask for fewer of them."
        )
    first, second = sorted((chosen[family] for [family] in parts), key=lambda element: element.is_skypix)
    _check_known(group, first, second)
    return first, second


def _check_known(group: DimensionGroup, first: Element, second: Element) -> None:
    """See that the registry keeps the overlaps of two elements."""
    common = group.universe.skypix_common
    pixels = [element.name for element in (first, second) if element.is_skypix]
    if pixels not in ([], [common]):
        raise UnsupportedJoinError(
            f"The registry does not know how {first.name} and {second.name} overlap; of all pixels it knows those of "
            f"{common} only. Name a dataset type that has both."
        )


def _family(element: Element) -> str:
    family = split_skypix(element.name)[0] if element.is_skypix else element.spatial
    assert family is not None
    return family


def _listed(chosen: Mapping[str, Element]) -> str:
    return " and ".join(element.name for element in chosen.values())
