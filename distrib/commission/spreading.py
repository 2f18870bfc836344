"""Dividing amounts over many lines at once, without loss. Pure.

What :func:`distrib.money.allocate` does for one amount, these do for a column of groups: largest
remainder, earlier entries first on a tie, and the parts of a group sum to its total exactly.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from distrib.money import allocate

Ints = np.ndarray[Any, np.dtype[np.int64]]

_EXACT = 1 << 62
_FEW = 4


def sums(values: Ints, group: Ints, groups: int) -> Ints:
    """The sum of each group."""
    total = np.zeros(groups, np.int64)
    np.add.at(total, group, values)
    return total


def sums_of_levels(values: Ints, group: Ints, groups: int) -> Ints:
    """The sum of each group and level. Shape (groups, levels)."""
    total = np.zeros((groups, values.shape[1]), np.int64)
    np.add.at(total, group, values)
    return total


def hand_out(floor: Ints, rest: Ints, left: Ints, group: Ints) -> Ints:
    """``floor``, and a unit more for the ``left[g]`` entries of each group with the largest rests.

    :param left: units to hand out by group, at most as many as the group has entries.
    """
    made = floor.copy()
    if not left.any():
        return made
    if int(left.max()) <= _FEW and bool((group[1:] >= group[:-1]).all()):
        return _hand_out_few(made, rest, left, group)
    inorder = np.lexsort((-rest, group))
    of = group[inorder]
    starts = np.searchsorted(of, np.arange(len(left)))
    winners = inorder[np.arange(len(of)) - starts[of] < left[of]]
    made[winners] += 1
    return made


def _hand_out_few(made: Ints, rest: Ints, left: Ints, group: Ints) -> Ints:
    """The same without sorting, for groups that stand together: a unit to each group's largest
    rest, then to its next. Most orders have few lines, and a sort of all costs more."""
    starts = np.flatnonzero(np.r_[True, group[1:] != group[:-1]])
    lengths = np.diff(np.r_[starts, len(group)])
    rest = rest.copy()
    for unit in range(int(left.max())):
        largest = np.repeat(np.maximum.reduceat(rest, starts), lengths)
        found = np.flatnonzero((rest == largest) & (left > unit)[group])
        of = group[found]
        winners = found[np.r_[True, of[1:] != of[:-1]]]
        made[winners] += 1
        rest[winners] = -1
    return made


def spread(total: Ints, group: Ints, weight: Ints) -> Ints:
    """Parts of each group's total in proportion to the weights of its entries.

    :param total: amounts by group, zero or above; zero where the group has no weight.
    :param group: the group of each entry; ``weight`` likewise, zero or above.
    :raises ValueError: when a total has nothing to be spread over.
    """
    if not len(group):
        if total.any():
            raise ValueError("an amount has nothing to be spread over")
        return np.zeros(0, np.int64)
    weights = sums(weight, group, len(total))
    if (total[weights == 0] != 0).any():
        raise ValueError("an amount has nothing to be spread over")
    if int(total.max()) * int(weight.max()) >= _EXACT:
        return _one_by_one(total, group, weight)
    floor, rest = np.divmod(total[group] * weight, np.maximum(weights, 1)[group])
    return hand_out(floor, rest, total - sums(floor, group, len(total)), group)


def _one_by_one(total: Ints, group: Ints, weight: Ints) -> Ints:
    """The same with integers of any size."""
    parts = np.zeros(len(group), np.int64)
    for number in np.flatnonzero(total).tolist():
        mine = np.flatnonzero(group == number)
        parts[mine] = allocate(int(total[number]), weight[mine].tolist())
    return parts
