"""Deciding a whole list, without a database."""

from __future__ import annotations

import random
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distrib.tree.circles import find_circles
from distrib.tree.facts import Known
from distrib.tree.roster import Decision, Row, decide
from tests.tree.helpers import day

START, NOW = day(0), day(100)


def known(external_id: str, sponsor: str | None = None, joined_at: datetime = START) -> Known:
    return Known(1, external_id, external_id, f"code-{external_id}", joined_at, sponsor, sponsor)


def rows_of(edges: str) -> list[Row]:
    """Rows of ``"A A>B"``; ``B@5#x=n`` joined on day 5, has code x, name n."""
    rows = []
    for line, edge in enumerate(edges.split(), 2):
        sponsor, _, rest = edge.rpartition(">")
        rest, _, name = rest.partition("=")
        rest, _, code = rest.partition("#")
        external_id, _, joined = rest.partition("@")
        joined_at = day(int(joined)) if joined else None
        row = Row(line, [edge], external_id, name, sponsor or None, code or None, joined_at)
        rows.append(row)
    return rows


def decide_on(edges: str, **changes: object) -> Decision:
    given_: dict[str, object] = {"known": {}, "taken_codes": set(), "unreadable": {}, "now": NOW}
    return decide(rows_of(edges), **given_ | changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "edges, enrolled, unchanged, reasons",
    [
        ("", "", 0, {}),
        ("C>D B>C A>B A", "ABCD", 0, {}),
        ("A A A", "A", 2, {}),
        ("A A=x A", "A", 1, {3: "line 2 says otherwise of A"}),
        ("A>B A>B", "", 0, {2: "no distributor A", 3: "repeats line 2, which was rejected"}),
        ("X>A A>B B>C D", "D", 0, {2: "no distributor X", 3: "sponsor A was rejected (line 2)",
                                   4: "sponsor B was rejected (line 3)"}),
        ("B>A A>B", "", 0, {2: "circle: A → B → A|B → A → B", 3: "circle: A → B → A|B → A → B"}),
        ("C>A A>B B>C C>D D>E F", "F", 0, {2: "circle", 3: "circle", 4: "circle",
                                           5: "sponsor C was rejected (line 4)",
                                           6: "sponsor D was rejected (line 5)"}),
        ("B>A A>B D>C C>D", "", 0, dict.fromkeys(range(2, 6), "circle")),
        ("A#x A>B#x B>C D#y", "AD", 0, {3: "line 2 has the code x too",
                                        4: "sponsor B was rejected (line 3)"}),
        ("A@5 A>B@4 B>C A>D@5", "AD", 0, {3: "the sponsor joined later",
                                          4: "sponsor B was rejected (line 3)"}),
        ("B>C A>B@4 A@5", "A", 0, {2: "sponsor B was rejected (line 3)", 3: "joined later"}),
    ],
)  # fmt: skip
def test_examples(edges: str, enrolled: str, unchanged: int, reasons: dict[int, str]) -> None:
    found = decide_on(edges)
    assert "".join(sorted(found.enrolled)) == enrolled
    assert found.unchanged == unchanged
    assert {reject.line for reject in found.rejects} == set(reasons)
    for reject in found.rejects:
        assert any(each in reject.reason for each in reasons[reject.line].split("|"))


@pytest.mark.parametrize(
    "edges, unchanged, reason",
    [
        ("K=K", 1, None),
        ("K#code-K=K", 1, None),
        ("K@0=K", 1, None),
        ("K=K K=K", 2, None),
        ("K=x", 0, "with name K, not x"),
        ("K#x=K", 0, "with code code-K, not x"),
        ("K@1=K", 0, "with joined_at"),
        ("L>K=K", 0, "under nobody, not L; a move"),
        ("A>L=L", 0, "under K, not A; a move"),
        ("L=L", 0, "under K, not nobody; a move"),
        ("K>L=L", 1, None),
    ],
)
def test_what_is_recorded_stays(edges: str, unchanged: int, reason: str | None) -> None:
    found = decide_on(edges, known={"K": known("K"), "L": known("L", "K"), "A": known("A")})
    assert (found.unchanged, not found.enrolled) == (unchanged, True)
    assert [reason is not None and reason in each.reason for each in found.rejects] == [True] * (
        reason is not None
    )


def test_a_contradicted_row_of_somebody_recorded_does_not_hold_up_those_below() -> None:
    found = decide_on("K=x K>B B>C", known={"K": known("K", joined_at=day(7))})
    assert list(found.enrolled) == ["B", "C"]
    assert [joins_at for _, joins_at in found.enrolled.values()] == [NOW, NOW]


def test_codes_that_are_taken_and_rows_that_could_not_be_read() -> None:
    found = decide_on("A#x U>B B>C U", taken_codes={"x"}, unreadable={"U": 9, "V": 10})
    assert list(found.enrolled) == ["U", "B", "C"]  # another row of U could be read
    found = decide_on("A#x U>B B>C", taken_codes={"x"}, unreadable={"U": 9})
    assert {reject.line: reject.reason for reject in found.rejects} == {
        2: "another distributor has the code x",
        3: "the sponsor U was rejected (line 9)",
        4: "the sponsor B was rejected (line 3)",
    }


def test_nobody_joins_before_a_sponsor_whose_clock_is_ahead() -> None:
    found = decide_on("B>C K>B", known={"K": known("K", joined_at=day(101))})
    assert {name: joins_at for name, (_, joins_at) in found.enrolled.items()} == {
        "B": day(101),
        "C": day(101),
    }


@given(st.lists(st.integers(-2, 14), max_size=14), st.randoms(use_true_random=False))
def test_whoever_reaches_a_root_is_enrolled_after_its_sponsor(
    pointers: list[int], shuffle: random.Random
) -> None:
    """Sponsors are drawn by number: -1 is a root, -2 recorded, beyond the list unknown."""
    names = [f"n{i}" for i in range(len(pointers))]
    rows = [
        Row(i, [], name, name, None if to == -1 else "known" if to == -2 else f"n{to}", None, None)
        for i, (name, to) in enumerate(zip(names, pointers, strict=True))
        if to != i
    ]
    missing = {i for i, to in enumerate(pointers) if to == i}

    def reaches(i: int) -> bool:
        met = set()
        while i not in met and i not in missing and 0 <= i < len(pointers):
            met.add(i)
            i = pointers[i]
        return i in (-1, -2)

    shuffle.shuffle(rows)
    found = decide(rows, known={"known": known("known")}, taken_codes=(), unreadable={}, now=NOW)
    expected = {names[row.line] for row in rows if reaches(row.line)}
    assert set(found.enrolled) == expected
    assert len(found.rejects) + len(expected) == len(rows)
    assert {reject.line for reject in found.rejects} == {
        row.line for row in rows if row.external_id not in expected
    }
    seen = {"known", None}
    for row, _ in found.enrolled.values():
        assert row.sponsor in seen
        seen.add(row.external_id)
    on_circle = {row.line for row in rows if _returns(row.line, pointers)}
    assert {each.line for each in found.rejects if "circle" in each.reason} == on_circle


def _returns(start: int, pointers: list[int]) -> bool:
    here = start
    for _ in pointers:
        here = pointers[here] if pointers[here] != here else -1
        if here == start:
            return True
        if not 0 <= here < len(pointers):
            return False
    return False


@given(st.dictionaries(st.integers(0, 12), st.none() | st.integers(0, 15), max_size=13))
def test_each_circle_is_found_once(sponsor_of: dict[int, int | None]) -> None:
    def circle_of(start: int) -> frozenset[int]:
        met: list[int] = []
        here: int | None = start
        while here is not None and here in sponsor_of and here not in met:
            met.append(here)
            here = sponsor_of[here]
        return frozenset(met) if here == start and met else frozenset()

    found = find_circles(sponsor_of)
    assert sorted(map(sorted, found)) == sorted(
        map(sorted, {circle_of(each) for each in sponsor_of} - {frozenset()})
    )
    for circle in found:
        for sponsor, below in zip(circle, [*circle[1:], circle[0]], strict=True):
            assert sponsor_of[below] == sponsor
