"""Real commits in real threads."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from distrib import clock
from distrib.brands.tables import Brand
from distrib.db import Database, Lock, lock
from distrib.errors import DistribError
from distrib.tree.tables import Sponsorship
from tests.tree.helpers import (
    enrol,
    enrol_all,
    errors,
    findings,
    history,
    move,
    take_order,
    together,
    upline,
)

pytestmark = pytest.mark.races


@pytest.mark.parametrize("round_", range(5))
def test_of_two_moves_that_close_a_cycle_one_is_refused(
    db: Database, brand: Brand, round_: int
) -> None:
    enrol_all(db, brand, "A B")
    outcomes = together(lambda: move(db, brand, "A", "B"), lambda: move(db, brand, "B", "A"))
    assert errors(outcomes) == ["CycleRefused"]
    assert len(history(db, brand, "A")) + len(history(db, brand, "B")) == 3
    assert not findings(db, brand)


def test_of_many_moves_round_a_ring_one_is_refused(db: Database, brand: Brand) -> None:
    names = "ABCDEFGH"
    enrol_all(db, brand, " ".join(names))
    ring = zip(names, [*names[1:], names[0]], strict=True)
    outcomes = together(
        *(lambda name=name, above=above: move(db, brand, name, above) for name, above in ring)
    )
    assert errors(outcomes) == ["CycleRefused"]
    assert not findings(db, brand)


def test_two_moves_of_one_distributor_follow_each_other(db: Database, brand: Brand) -> None:
    enrol_all(db, brand, "A B C D")
    outcomes = together(*(lambda above=above: move(db, brand, "A", above) for above in "BCD"))
    assert not errors(outcomes)
    assert sorted(str(period.sponsor) for period in history(db, brand, "A")) == [
        "B", "C", "D", "None",
    ]  # fmt: skip
    assert not findings(db, brand)


def test_random_moves_and_enrolments_leave_a_forest(db: Database, brand: Brand) -> None:
    names = "ABCDEFGH"
    enrol_all(db, brand, " ".join(names))
    begun = clock.now()

    def work(seed: int) -> Callable[[], int]:
        def run() -> int:
            luck, done = random.Random(seed), 0
            for step in range(12):
                name, above = luck.sample(names, 2)
                try:
                    if luck.random() < 0.2:
                        enrol(db, brand, f"new-{seed}-{step}", above, joined_at=begun)
                    elif luck.random() < 0.2:
                        move(db, brand, name, above, at=clock.now() - timedelta(milliseconds=20))
                    else:
                        move(db, brand, name, luck.choice([above, None]))
                    done += 1
                except DistribError:
                    pass
            return done

        return run

    outcomes = together(*map(work, range(8)))
    assert not errors(outcomes)
    assert sum(each for each in outcomes if isinstance(each, int)) > 10
    assert not findings(db, brand)


def test_enrolled_at_once_with_the_same_facts_it_is_enrolled_once(
    db: Database, brand: Brand
) -> None:
    enrol_all(db, brand, "S")
    outcomes = together(*[lambda: enrol(db, brand, "A", "S", code="a").id] * 8)
    assert not errors(outcomes)
    assert len(set(outcomes)) == 1
    assert not findings(db, brand)


def test_enrolled_at_once_with_other_facts_the_first_counts(db: Database, brand: Brand) -> None:
    outcomes = together(*(lambda n=n: enrol(db, brand, "A", name=f"n{n}") for n in range(6)))
    assert errors(outcomes) == ["DistributorExists"] * 5
    assert len(history(db, brand, "A")) == 1


def test_a_code_is_given_once(db: Database, brand: Brand) -> None:
    outcomes = together(*(lambda n=n: enrol(db, brand, f"n{n}", code="c") for n in range(6)))
    assert errors(outcomes) == ["CodeTaken"] * 5
    assert not findings(db, brand)


def test_a_move_waits_for_orders_being_priced_and_begins_after_them(
    db: Database, brand: Brand
) -> None:
    enrol_all(db, brand, "A X A>B")
    moved: list[Sponsorship] = []
    with db.transaction() as session:
        lock(session, brand.id, Lock.FACTS, shared=True)
        mover = threading.Thread(target=lambda: moved.append(move(db, brand, "B", "X")))
        mover.start()
        mover.join(0.2)
        assert mover.is_alive()
        placed = clock.now() + timedelta(seconds=5)  # by a clock that is ahead
        take_order(session, brand, placed)
    mover.join()
    assert moved[0].valid_from == placed + timedelta(microseconds=1)
    assert upline(db, brand, "B", placed) == "A"
    assert upline(db, brand, "B", moved[0].valid_from) == "X"


def test_an_enrolment_waits_for_nobody(db: Database, brand: Brand) -> None:
    enrol_all(db, brand, "A")
    joined: list[datetime] = []
    with db.transaction() as session:
        lock(session, brand.id, Lock.FACTS)
        enroller = threading.Thread(
            target=lambda: joined.append(enrol(db, brand, "B", "A").joined_at)
        )
        enroller.start()
        enroller.join(10)
        assert joined
