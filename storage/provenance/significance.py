"""How likely it is that chance alone makes values so much greater than others.

Each test asks for one direction only, assumes nothing of how values are distributed, and needs counts alone, so that a
database can prepare it however many values there are. Each gives None where there are too few to tell: where it would
give more than `LIKELY_CHANCE` even if they were as far apart as can be.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, comb, erfc, exp, lgamma, log, sqrt

__all__ = ["FEWEST_PAIRS", "LIKELY_CHANCE", "fisher", "mann_whitney", "sign_test"]

LIKELY_CHANCE = 0.05
"""What is as likely as this, or more, may well be chance."""

FEWEST_PAIRS = 5
"""So many pairs tell, if all go the same way: 2**-5 is less than `LIKELY_CHANCE`."""

_EXACT = 400
"""Up to so many pairs of a value on each side, all orders are counted."""


def sign_test(up: int, down: int) -> float | None:
    """Give the chance that so many of all pairs that differ go up, if each goes up or down as a coin falls.

    Parameters
    ----------
    up, down
        How many pairs do.

    Returns
    -------
    float or None
        As `scipy.stats.binomtest` with ``alternative="greater"``.
    """
    number = up + down
    if number < FEWEST_PAIRS:
        return None
    start = _log_choices(number, up) - number * log(2)
    return _tail(up, number, start, lambda one: (number - one) / (one + 1))


def fisher(hits: int, number: int, other_hits: int, other_number: int) -> float | None:
    """Give the chance that of all hits so many are on this side, if each is on either side by chance.

    Fisher's exact test: right for any numbers, and failures are often few.

    Parameters
    ----------
    hits, number
        How many there are on this side, and among how many.
    other_hits, other_number
        The same of the other side.

    Returns
    -------
    float or None
        As `scipy.stats.fisher_exact` with ``alternative="greater"``.
    """
    if _are_few(number, other_number):
        return None
    total, whole = hits + other_hits, number + other_number
    most = min(total, number)
    start = _log_choices(total, hits) + _log_choices(whole - total, number - hits) - _log_choices(whole, number)
    return _tail(
        hits, most, start, lambda one: (total - one) * (number - one) / ((one + 1) * (whole - total - number + one + 1))
    )


def mann_whitney(wins: float, number: int, other_number: int, ties: float) -> float | None:
    """Give the chance that values win so often against others, if they are of the same kind.

    For values that are not of the same data: it looks at their order alone, so that extremes weigh no more than others.

    Parameters
    ----------
    wins
        How often one value of each side, all combined with all, has the greater one on this side; half where they are
        the same. This is Mann and Whitney's U.
    number, other_number
        How many values there are.
    ties
        Sum of ``t**3 - t`` over values of which there are ``t`` that are the same.

    Returns
    -------
    float or None
        As `scipy.stats.mannwhitneyu` with ``alternative="greater"``: exact for few values, all different; else by the
        normal distribution with corrections for ties and continuity.
    """
    if _are_few(number, other_number):
        return None
    whole, most = number + other_number, number * other_number
    if not ties and most <= _EXACT:
        orders = [1] + [0] * most
        for place in range(1, number + 1):
            for one in range(most, other_number + place - 1, -1):
                orders[one] -= orders[one - other_number - place]
            for one in range(place, most + 1):
                orders[one] += orders[one - place]
        return sum(orders[ceil(wins) :]) / comb(whole, number)
    variance = most / 12 * (whole + 1 - ties / (whole * (whole - 1)))
    if variance <= 0:
        return 1.0
    return erfc((wins - most / 2 - 0.5) / sqrt(2 * variance)) / 2


def _are_few(number: int, other_number: int) -> bool:
    """Tell whether even the rarest of all orders is too likely; of many there is no need to count them."""
    few = min(number, other_number)
    whole = number + other_number
    return few == 0 or (whole * LIKELY_CHANCE < 1 and comb(whole, few) * LIKELY_CHANCE < 1)


def _log_choices(number: int, chosen: int) -> float:
    return lgamma(number + 1) - lgamma(chosen + 1) - lgamma(number - chosen + 1)


def _tail(begin: int, end: int, start: float, ratio: Callable[[int], float]) -> float:
    """Add up probabilities of counts, until they no longer matter.

    Parameters
    ----------
    begin, end
        The first count, and the last one possible.
    start
        Logarithm of the probability of the first one.
    ratio
        Of a count, by how much the next one is the more probable.
    """
    total = term = 1.0
    for one in range(begin, end):
        factor = ratio(one)
        term *= factor
        total += term
        if total > 1e300:
            return 1.0  # What is most probable is among them, and the first one is next to impossible.
        if factor < 1 and term < total * 1e-17:
            break
    return min(1.0, exp(start + log(total)))
