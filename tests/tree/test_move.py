"""Moving, and the upline of any instant."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from distrib import clock
from distrib.brands.tables import Brand
from distrib.db import Database
from distrib.errors import InvalidInput
from distrib.tree import facts, queries
from tests import factories
from tests.tree.helpers import (
    day,
    enrol,
    enrol_all,
    findings,
    history,
    move,
    take_order,
    upline,
)

TICK = timedelta(microseconds=1)


def test_the_upline_of_any_instant_can_be_asked_for(db: Database, brand: Brand) -> None:
    enrol_all(db, brand, "A A>B B>C C>D X")
    move(db, brand, "C", "X", at=day(10))
    move(db, brand, "X", "B", at=day(20))
    move(db, brand, "C", None, at=day(30))
    for instant, expected in (
        (-1, ""),
        (0, "CBA"),
        (9.99, "CBA"),
        (10, "CX"),
        (19.99, "CX"),
        (20, "CXBA"),
        (30, "C"),
        (400, "C"),
    ):
        assert upline(db, brand, "D", day(instant)) == expected
    assert upline(db, brand, "D", day(20) - TICK) == "CX"
    assert [upline(db, brand, "D", day(20), n) for n in range(6)] == [
        "", "C", "CX", "CXB", "CXBA", "CXBA",
    ]  # fmt: skip
    assert not findings(db, brand)


def test_a_move_closes_one_edge_and_opens_another(db: Database, brand: Brand) -> None:
    enrol_all(db, brand, "A X A>B")
    opened = move(db, brand, "B", "X", at=day(7))
    assert (opened.valid_from, opened.valid_to) == (day(7), None)
    assert [(p.sponsor, p.valid_from, p.valid_to) for p in history(db, brand, "B")] == [
        ("A", day(0), day(7)),
        ("X", day(7), None),
    ]


def test_a_move_without_an_instant_begins_now(db: Database, brand: Brand) -> None:
    enrol_all(db, brand, "A X A>B")
    with clock.travel(day(9)):
        assert move(db, brand, "B", "X").valid_from == day(9)
        # twice in one instant: one after the other
        assert move(db, brand, "B", "A").valid_from == day(9) + TICK
        assert move(db, brand, "B", None).valid_from == day(9) + 2 * TICK
    assert not findings(db, brand)


def test_moving_to_the_present_sponsor_changes_nothing(db: Database, brand: Brand) -> None:
    enrol_all(db, brand, "A X A>B")
    first = move(db, brand, "B", "X", at=day(7))
    with db.transaction() as session:
        take_order(session, brand, day(8))
    for again in (None, day(7), day(1)):  # the same request again, its answer having been lost
        assert move(db, brand, "B", "X", at=again).valid_from == first.valid_from
    assert move(db, brand, "A", None).valid_from == day(0)
    assert [len(history(db, brand, each)) for each in "AXB"] == [1, 1, 2]


@pytest.mark.parametrize(
    "tree, distributor, sponsor, path",
    [
        ("A A>B", "A", "B", "A → B"),
        ("A A>B B>C", "A", "C", "A → B → C"),
        ("A A>C C>B B>X", "A", "B", "A → C → B"),
        ("R R>A A>B B>C C>D", "B", "D", "B → C → D"),
        (
            "A A>B B>C C>D D>E E>F F>G G>H H>I I>J J>K",
            "A",
            "K",
            "A → B → C → D → … 3 more … → H → I → J → K",
        ),
    ],
)
def test_a_cycle_is_refused_and_its_path_named(
    db: Database, brand: Brand, *, tree: str, distributor: str, sponsor: str, path: str
) -> None:
    enrol_all(db, brand, tree)
    with pytest.raises(facts.CycleRefused) as refused:
        move(db, brand, distributor, sponsor)
    assert refused.value.detail == f"{sponsor} is below {distributor}: {path}"
    assert refused.value.status == 409
    assert len(history(db, brand, distributor)) == 1


def test_a_long_cycle_is_refused(db: Database, brand: Brand) -> None:
    names = [f"n{i}" for i in range(60)]
    for sponsor, name in zip([None, *names], names, strict=False):
        enrol(db, brand, name, sponsor)
    with pytest.raises(facts.CycleRefused, match="51 more") as refused:
        move(db, brand, "n1", "n59")
    assert refused.value.field == "sponsor"


def test_a_move_of_the_past_closes_no_cycle_at_any_instant_since(
    db: Database, brand: Brand
) -> None:
    enrol_all(db, brand, "A A>B")
    move(db, brand, "B", None, at=day(8))
    # at present B is not below A, but from the fifth day to the eighth it was
    with pytest.raises(facts.CycleRefused, match="B is below A: A → B"):
        move(db, brand, "A", "B", at=day(5))
    with pytest.raises(facts.CycleRefused):
        move(db, brand, "A", "B", at=day(8) - TICK)
    move(db, brand, "A", "B", at=day(8))
    assert not findings(db, brand)


@pytest.mark.parametrize(
    "edges, refused",
    [
        # "A>B 1-3": B stood under A from day 1 to day 3. May A go under the last one from day 2 on?
        ("A>B 1-3", True),
        ("A>B 0-2", False),
        ("A>B 3-", True),
        ("A>B 0-9 B>C 0-5 C>D 0-4", True),
        ("A>B 0-3 B>C 0-5 C>D 0-9", True),
        ("A>B 4-5 B>C 3-6 C>D 1-9", True),
        ("A>B 1-9 B>C 3-6 C>D 4-5", True),
        ("A>B 0-2 B>C 0- C>D 0-", False),
        # never at once: the first ended before the second began
        ("A>B 0-4 B>C 4-", False),
        ("A>B 4- B>C 0-4", False),
        ("A>B 5- B>C 0-9 C>D 0-4", False),
        ("A>B 0-4 B>C 5- C>D 0-", False),
        ("A>B 6- B>C 3-9 C>D 1-5", False),
        ("A>B 3-5 B>C 1-4 C>D 6-", False),
    ],
)
def test_a_cycle_is_one_if_any_instant_sees_it(
    db: Database, brand: Brand, edges: str, refused: bool
) -> None:
    enrol_all(db, brand, "A B C D")
    words = edges.split()
    for edge, span in zip(words[::2], words[1::2], strict=True):
        sponsor, _, below = edge.partition(">")
        begins, _, ends = span.partition("-")
        move(db, brand, below, sponsor, at=day(float(begins or 0) + 0.001))
        if ends:
            move(db, brand, below, None, at=day(float(ends) + 0.001))
    last = words[-2][-1]
    if refused:
        with pytest.raises(facts.CycleRefused):
            move(db, brand, "A", last, at=day(2.001))
    else:
        move(db, brand, "A", last, at=day(2.001))
    assert not findings(db, brand)


def test_nothing_already_priced_changes(db: Database, brand: Brand) -> None:
    enrol_all(db, brand, "A X A>B")
    with db.transaction() as session:
        take_order(session, brand, day(50))
        take_order(session, brand, day(40))
    for early in (day(40), day(50)):
        with pytest.raises(facts.MoveInThePast, match="latest order") as refused:
            move(db, brand, "B", "X", at=early)
        assert (refused.value.status, refused.value.field) == (409, "at")
    assert move(db, brand, "B", "X", at=day(50) + TICK).valid_from == day(50) + TICK
    with clock.travel(day(50)):
        with db.transaction() as session:
            take_order(session, brand, day(60))  # taken by a process whose clock is ahead
        assert move(db, brand, "B", "A").valid_from == day(60) + TICK
    other = factories.brand(db)  # another brand's orders hold up nobody
    enrol_all(db, other, "A B")
    move(db, other, "B", "A", at=day(1))


def test_moves_of_one_distributor_follow_each_other(db: Database, brand: Brand) -> None:
    enrol_all(db, brand, "A X A>B")
    with pytest.raises(facts.MoveInThePast, match="present sponsorship"):
        move(db, brand, "B", "X", at=day(0))
    move(db, brand, "B", "X", at=day(5))
    for early in (day(3), day(5)):
        with pytest.raises(facts.MoveInThePast, match="present sponsorship"):
            move(db, brand, "B", None, at=early)
    assert move(db, brand, "B", None, at=day(5) + TICK).valid_from == day(5) + TICK


def test_nobody_moves_under_somebody_who_has_not_joined(db: Database, brand: Brand) -> None:
    enrol(db, brand, "A")
    enrol(db, brand, "X", joined_at=day(9))
    with pytest.raises(facts.MoveInThePast, match="the sponsor X joins"):
        move(db, brand, "A", "X", at=day(8))
    with clock.travel(day(8)):  # a clock that is behind
        assert move(db, brand, "A", "X").valid_from == day(9)


def test_what_cannot_be_moved(db: Database, brand: Brand) -> None:
    enrol_all(db, brand, "A")
    enrol(db, factories.brand(db), "theirs")
    for distributor, sponsor, error in (
        ("A", "A", facts.SelfSponsorship),
        ("A", "nobody", facts.SponsorNotFound),
        ("A", "theirs", facts.SponsorNotFound),
        ("A", "\0", facts.SponsorNotFound),
        ("theirs", "A", facts.DistributorNotFound),
        ("theirs", None, facts.DistributorNotFound),
        ("\ud800", None, facts.DistributorNotFound),
    ):
        with pytest.raises(error):
            move(db, brand, distributor, sponsor)
    with pytest.raises(facts.MoveInTheFuture):
        move(db, brand, "A", None, at=clock.now() + timedelta(minutes=1))
    with pytest.raises(InvalidInput):
        move(db, brand, "A", None, at=datetime(2025, 1, 1))  # noqa: DTZ001
    with pytest.raises(InvalidInput):
        move(db, brand, "A", None, at=datetime(1900, 1, 1, tzinfo=UTC))


def test_present_sponsors_and_direct_downline(db: Database, brand: Brand) -> None:
    enrol_all(db, brand, "A A>B A>C B>D")
    move(db, brand, "D", "A")
    move(db, brand, "B", None)
    with db.transaction() as session:
        id_of = {
            each.external_id: each.id
            for each in queries.list_distributors(session, brand_id=brand.id).distributors
        }
        below = {
            name: "".join(
                each.external_id
                for each in queries.direct_downline(
                    session, brand_id=brand.id, distributor_id=id_of[name]
                )
            )
            for name in "ABCD"
        }
        sponsors = queries.present_sponsors(
            session, brand_id=brand.id, distributor_ids=list(id_of.values())
        )
    assert below == {"A": "CD", "B": "", "C": "", "D": ""}
    assert sponsors == {id_of["C"]: "A", id_of["D"]: "A"}
