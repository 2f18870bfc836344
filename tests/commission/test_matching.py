"""Which rule wins, and which rules would tie: against every situation there is, one by one."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from distrib.commission.matching import Match, Matcher, first_tie

PEOPLE = {"ann": 7, "bo": 9, "cy": 4}
SKUS = ["a", "b"]
CATEGORIES = ["tea", "tea/green", "cups"]
RANKS = ["silver", "gold"]
CHANNELS = ["shop", "live"]
TIMES = [10, 20, 30]
WINDOWS = [(one, other) for one in TIMES for other in TIMES if one < other]


@dataclass(frozen=True)
class Situation:
    """All that a rule can look at."""

    sku: str
    category: str | None
    person: str | None
    rank: int
    channel: str | None
    first: bool
    at: int


SITUATIONS = [
    Situation(*each)
    for each in product(
        [*SKUS, "z"],
        [None, *CATEGORIES, "tea/black", "teapots"],
        ["ann", "bo", "di"],
        range(len(RANKS) + 1),
        [None, *CHANNELS],
        [False, True],
        [9, 10, 20, 29, 30],
    )
]


def precedence(match: Match, s: Situation) -> tuple[int, ...] | None:
    """How specific a rule is in a situation, None where it does not hold."""
    above = [c for c in match.categories if s.category and f"{s.category}/".startswith(c + "/")]
    rank = RANKS[s.rank - 1] if s.rank else None
    window = match.window or (0, 1 << 60)
    if not (
        (not match.distributors or s.person in match.distributors)
        and (not match.skus or s.sku in match.skus)
        and (not match.categories or above)
        and (not match.ranks or rank in match.ranks)
        and (not match.channels or s.channel in match.channels)
        and (not match.first_order or s.first)
        and window[0] <= s.at < window[1]
    ):
        return None
    return (
        len(match.distributors) > 0,
        len(match.skus) > 0,
        max((len(c.split("/")) for c in above), default=0),
        len(match.ranks) > 0,
        len(match.channels) > 0,
        match.first_order,
        match.window is not None,
    )


def some(values: list[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    """Nothing twice as often as something."""
    few = st.lists(st.sampled_from(values), min_size=1, max_size=2, unique=True).map(tuple)
    return st.just(()) | st.just(()) | few


MATCHES = st.builds(
    Match,
    distributors=some(["ann", "bo"]),
    skus=some(SKUS),
    categories=some(CATEGORIES),
    ranks=some(RANKS),
    channels=some(CHANNELS),
    first_order=st.sampled_from([False, False, True]),
    window=st.none() | st.none() | st.sampled_from(WINDOWS),
)


def ties(one: Match, other: Match) -> bool:
    """Whether there is a situation in which both hold with the same precedence."""
    return any(
        (p := precedence(one, s)) is not None and p == precedence(other, s) for s in SITUATIONS
    )


@given(st.lists(MATCHES, min_size=2, max_size=3))
@settings(max_examples=150)
@example([Match(categories=("tea", "tea/green")), Match(categories=("cups", "tea/green"))])
@example([Match(categories=("tea",)), Match(categories=("tea/green",))])
@example([Match(window=(10, 20)), Match(window=(20, 30))])
@example([Match(window=(10, 30)), Match(window=(20, 30))])
@example([Match(skus=("a",), channels=("shop",)), Match(skus=("a", "b"), channels=("shop",))])
@example([Match(skus=("a",), categories=("tea",)), Match(skus=("a",), categories=("cups",))])
def test_a_tie_is_found_exactly_when_there_is_one(matches: list[Match]) -> None:
    pairs = {
        (i + 1, j + 1)
        for j in range(len(matches))
        for i in range(j)
        if ties(matches[i], matches[j])
    }
    found = first_tie(matches)
    assert (found in pairs) if pairs else (found is None)


@st.composite
def tables(draw: st.DrawFn) -> list[Match]:
    """Matches of which no two tie."""
    chosen: list[Match] = []
    for match in draw(st.lists(MATCHES, min_size=1, max_size=6)):
        if first_tie([*chosen, match]) is None:
            chosen.append(match)
    return chosen


def naive(matches: list[Match], s: Situation) -> int:
    """The rule of a situation, 0 for none."""
    held = [(p, no) for no, m in enumerate(matches, 1) if (p := precedence(m, s)) is not None]
    return max(held, default=((), 0))[1]


def rules_of(
    matcher: Matcher,
    orders: list[tuple[list[Situation], list[tuple[str, str | None]]]],
) -> list[list[int]]:
    """Each order: a situation a level (of the first, what belongs to the order), and its lines."""
    lines = [(n, *line) for n, (_, each) in enumerate(orders) for line in each]
    people = [[PEOPLE.get(s.person or "", 5) for s in levels] for levels, _ in orders]
    found = matcher.rules_of(
        np.array([n for n, _, _ in lines], np.int64),
        [sku for _, sku, _ in lines],
        [category for _, _, category in lines],
        channel=[levels[0].channel for levels, _ in orders],
        at=np.array([levels[0].at for levels, _ in orders], np.int64),
        first=np.array([levels[0].first for levels, _ in orders], bool),
        rank=np.array([[s.rank for s in levels] for levels, _ in orders]).reshape(-1, 3),
        upline=np.array(people, np.int64).reshape(-1, 3),
    )
    assert found.shape == (len(lines), 3)
    return found.tolist()  # type: ignore[no-any-return]


@given(st.data(), tables(), st.integers(1, 4))
@settings(max_examples=150)
def test_the_matcher_finds_what_looking_at_every_rule_finds(
    data: st.DataObject, matches: list[Match], count: int
) -> None:
    matcher = Matcher(matches, RANKS, PEOPLE)
    situations = st.sampled_from(SITUATIONS)
    line = situations.map(lambda s: (s.sku, s.category))
    orders = [
        (
            data.draw(st.lists(situations, min_size=3, max_size=3)),
            data.draw(st.lists(line, max_size=4)),
        )
        for _ in range(count)
    ]
    expected = []
    for levels, lines in orders:
        of = levels[0]
        for sku, category in lines:
            row = [
                Situation(sku, category, s.person, s.rank, of.channel, of.first, of.at)
                for s in levels
            ]
            expected.append([naive(matches, s) for s in row])
    assert rules_of(matcher, orders) == expected
    assert rules_of(matcher, orders) == expected, "what it has decided once it decides again"


def test_more_kinds_of_lines_than_fit_a_table() -> None:
    """Many people and windows: the combinations are too many to list, those that occur are few."""
    people = {f"p{n}": n for n in range(1, 3_001)}
    matches = [Match(distributors=(name,)) for name in people]
    matches += [Match(window=(n, n + 1)) for n in range(2_000)]
    matcher = Matcher(matches, [], people)
    found = matcher.rules_of(
        np.array([0, 1, 2]),
        ["a", "a", "a"],
        [None, None, None],
        channel=None,
        at=np.array([5, 1_999, 2_000]),
        first=None,
        rank=None,
        upline=np.array([[17, 0, 3_000], [4_000, 1, 0], [0, 4_000, 2]]),
    )
    assert found.tolist() == [[17, 3_006, 3_000], [5_000, 1, 5_000], [0, 0, 2]]


PRECEDENCE = [
    Match(distributors=("ann",)),
    Match(skus=("a",), categories=("tea",)),
    Match(skus=("a",)),
    Match(categories=("tea/green",)),
    Match(categories=("tea",), ranks=("gold",), channels=("shop",), first_order=True),
    Match(categories=("tea",)),
    Match(ranks=("gold",)),
    Match(channels=("shop",)),
    Match(first_order=True),
    Match(window=(10, 20)),
    Match(),
]


@pytest.mark.parametrize(
    "situation, rule",
    [
        (Situation("a", "tea/green", "ann", 2, "shop", True, 10), 1),
        (Situation("a", "tea/green", "bo", 2, "shop", True, 10), 2),
        (Situation("a", "teapots", "bo", 2, "shop", True, 10), 3),
        (Situation("b", "tea/green/fine", "bo", 2, "shop", True, 10), 4),
        (Situation("b", "tea/black", "bo", 2, "shop", True, 10), 5),
        (Situation("b", "tea/black", "bo", 2, "shop", False, 10), 6),
        (Situation("b", "tea", "bo", 1, "shop", True, 10), 6),
        (Situation("b", "Tea", "bo", 2, "shop", True, 10), 7),  # letter case matters
        (Situation("b", None, "bo", 1, "shop", True, 10), 8),
        (Situation("b", None, "bo", 1, "live", True, 10), 9),
        (Situation("b", None, "bo", 1, None, False, 10), 10),
        (Situation("b", None, "bo", 1, None, False, 19), 10),
        (Situation("b", None, "bo", 1, None, False, 20), 11),
        (Situation("b", None, "bo", 1, None, False, 9), 11),
        (Situation("A", "tea ", "bo", 0, "Shop", False, 9), 11),
    ],
)
def test_the_most_specific_rule_wins(situation: Situation, rule: int) -> None:
    assert first_tie(PRECEDENCE) is None
    matcher = Matcher(PRECEDENCE, RANKS, PEOPLE)
    lines = [(situation.sku, situation.category)]
    assert rules_of(matcher, [([situation] * 3, lines)]) == [[rule] * 3]


def test_candidates_are_what_a_line_may_fall_under_best_first() -> None:
    matcher = Matcher(PRECEDENCE, RANKS, PEOPLE)
    assert [c.rule_no for c in matcher.candidates("b", "tea/black")] == [1, 5, 6, 7, 8, 9, 10, 11]
    assert [c.rule_no for c in matcher.candidates("a", None)] == [1, 3, 7, 8, 9, 10, 11]


def test_a_distributor_nobody_knows_matches_nobody() -> None:
    matcher = Matcher([Match(distributors=("ghost",)), Match()], [], {})
    situation = Situation("a", None, None, 0, None, False, 0)
    assert rules_of(matcher, [([situation] * 3, [("a", None)])]) == [[2, 2, 2]]
