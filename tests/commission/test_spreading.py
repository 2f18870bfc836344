"""Columns of divided amounts against the plain ``money.allocate``, group by group."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distrib.commission.spreading import hand_out, spread, sums
from distrib.money import MAX_AMOUNT, allocate

WEIGHTS = st.sampled_from([0, 1, 1, 2, 3, 7]) | st.integers(0, 1_000) | st.integers(0, MAX_AMOUNT)
TOTALS = st.sampled_from([0, 1, 2, 5, 100]) | st.integers(0, 10_000) | st.integers(0, MAX_AMOUNT)
GROUPS = st.lists(st.tuples(TOTALS, st.lists(WEIGHTS, max_size=6)), max_size=5)


def ints(values: list[int]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """A column."""
    return np.array(values, np.int64)


@given(GROUPS, st.randoms(use_true_random=False))
def test_spread_is_allocate_for_each_group(
    groups: list[tuple[int, list[int]]], random: Random
) -> None:
    groups = [(total if any(weights) else 0, weights) for total, weights in groups]
    entries = [(g, weight) for g, (_, weights) in enumerate(groups) for weight in weights]
    random.shuffle(entries)  # a group's entries need not stand together
    parts = spread(
        ints([total for total, _ in groups]),
        ints([g for g, _ in entries]),
        ints([weight for _, weight in entries]),
    )
    for number, (total, _) in enumerate(groups):
        mine = [i for i, (g, _) in enumerate(entries) if g == number]
        expected = allocate(total, [entries[i][1] for i in mine])
        assert [int(parts[i]) for i in mine] == expected
        assert sum(expected) == total


@pytest.mark.parametrize(
    "total, weights, parts",
    [
        (100, [1, 1, 1], [34, 33, 33]),
        (2, [1, 1, 1], [1, 1, 0]),
        (1, [0, 1, 2], [0, 0, 1]),
        (1, [1, 0, 1], [1, 0, 0]),  # a tie goes to the earlier one, never to a weight of zero
        (500, [1_000, 500], [333, 167]),
        # the product of these passes 64 bits
        (MAX_AMOUNT, [MAX_AMOUNT, MAX_AMOUNT, MAX_AMOUNT], [3 * 10**12] * 3),
        (MAX_AMOUNT - 1, [MAX_AMOUNT, MAX_AMOUNT], [MAX_AMOUNT // 2, MAX_AMOUNT // 2 - 1]),
        (10**12, [2 * MAX_AMOUNT // 3, 0, MAX_AMOUNT // 3], [666_666_666_667, 0, 333_333_333_333]),
    ],
)
def test_worked_examples(total: int, weights: list[int], parts: list[int]) -> None:
    group = ints([0] * len(weights))
    assert spread(ints([total]), group, ints(weights)).tolist() == parts


@pytest.mark.parametrize("group, weight", [([], []), ([1, 1], [5, 5]), ([0, 1], [0, 5])])
def test_nothing_to_be_spread_over(group: list[int], weight: list[int]) -> None:
    with pytest.raises(ValueError, match="nothing to be spread over"):
        spread(ints([7, 0]), ints(group), ints(weight))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), min_size=1, max_size=8))
def test_hand_out_gives_to_the_largest_rests(entries: list[tuple[int, int]]) -> None:
    group, rest = [g for g, _ in entries], [r for _, r in entries]
    floor = ints([10] * len(entries))
    for give in range(1, len(entries) + 1):
        left = [min(give, group.count(g)) for g in range(4)]
        made = hand_out(floor, ints(rest), ints(left), ints(group)) - floor
        for g in range(4):
            mine = [i for i in range(len(group)) if group[i] == g]
            best = sorted(mine, key=lambda i: (-rest[i], i))[: left[g]]
            assert [i for i in mine if made[i]] == sorted(best)
    assert floor.tolist() == [10] * len(entries), "what was given is left as it was"


def test_sums() -> None:
    assert sums(ints([1, 2, 4]), ints([2, 0, 2]), 4).tolist() == [2, 0, 5, 0]
    assert sums(ints([]), ints([]), 2).tolist() == [0, 0]
