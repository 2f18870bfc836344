"""Changing what prices orders (the tree, the plan) while orders stream in."""

from __future__ import annotations

import itertools
import random
from datetime import timedelta
from functools import partial

from sqlalchemy.orm import Session

from distrib import clock
from distrib.brands.tables import Brand
from distrib.commission.intake import take_orders
from distrib.commission.outcome import Status
from distrib.commission.service import publish_plan
from distrib.db import Database
from distrib.tree.facts import CycleRefused
from distrib.tree.service import enrol_distributor, move_distributor
from tests.races.world import (
    background,
    blocked,
    findings,
    give_back,
    held,
    meanwhile,
    order,
    refund,
    rows,
    take,
    together,
    value,
    wait_until,
)


def _move(db: Database, brand: Brand, name: str, sponsor: str) -> str:
    try:
        with db.transaction() as session:
            move_distributor(session, brand_id=brand.id, distributor=name, sponsor=sponsor)
    except CycleRefused:
        return "refused"
    return "moved"


def _publish(db: Database, brand: Brand, rate: str) -> int:
    document = {"name": "other", "rules": [{"name": "all", "rates": [rate, "3%", "1%"]}]}
    with db.transaction() as session:
        return publish_plan(session, brand=brand, document=document, published_by="test").number


def test_moves_and_plans_while_orders_stream_in(db: Database, shop: Brand) -> None:
    """Four threads take orders, of now and of the past minutes, and some refunds; one moves
    distributors about, one publishes plans, and all the while the audit prices everything again."""
    rates = itertools.cycle(["11%", "12%", "13%"])
    chance = random.Random(3)

    def stream(seed: int) -> int:
        mine = random.Random(seed)
        for n in range(15):
            back = timedelta(seconds=mine.choice([0, 0, 1, 300]))
            one = order(f"d{mine.randrange(12)}", quantity=2, placed_at=clock.now() - back)
            (outcome,) = take(db, shop, one)
            assert outcome.status is Status.ACCEPTED
            if n % 5 == 0:
                (outcome,) = give_back(db, shop, refund(one, quantity=1))
                assert outcome.status is Status.ACCEPTED
        return 15

    def move() -> str:
        return _move(db, shop, f"d{chance.randrange(2, 12)}", f"d{chance.randrange(2)}")

    def audit() -> None:
        assert findings(db, shop) == []

    with meanwhile(move, lambda: _publish(db, shop, next(rates)), audit):
        together(*[partial(stream, seed) for seed in range(4)])
    assert findings(db, shop) == []
    versions = "SELECT count(DISTINCT plan_version_id) FROM orders WHERE brand_id = :b"
    assert value(db, versions, b=shop.id) >= 2
    edges = "SELECT count(*) FROM sponsorship WHERE brand_id = :b AND valid_to IS NOT NULL"
    assert value(db, edges, b=shop.id) >= 1


def test_orders_wait_for_a_move_and_are_priced_by_their_own_time(db: Database, shop: Brand) -> None:
    """One was placed before the move, one after; both come while the move is under way."""
    before = order("d5")
    with Session(db.engine) as session:
        move_distributor(session, brand_id=shop.id, distributor="d5", sponsor="d6")
        after = order("d5")
        taking = [background(partial(take, db, shop, each)) for each in (before, after)]
        wait_until(lambda: blocked(db) == 2, "the orders wait for the move")
        session.commit()
    assert [join()[0].status for join in taking] == [Status.ACCEPTED] * 2
    assert (held(db, shop, "d1"), held(db, shop, "d6")) == (500 + 200, 500)
    assert findings(db, shop) == []


def test_a_move_waits_for_orders_and_begins_after_them(db: Database, shop: Brand) -> None:
    with Session(db.engine) as session:
        take_orders(session, brand=shop, orders=[order("d5")])
        moving = background(partial(_move, db, shop, "d5", "d6"))
        wait_until(lambda: blocked(db) == 1, "the move waits for the order")
        session.commit()
    assert moving() == "moved"
    assert (held(db, shop, "d1"), held(db, shop, "d6")) == (500, 0)
    assert findings(db, shop) == []


def test_a_plan_waits_for_orders_and_begins_after_them(db: Database, shop: Brand) -> None:
    with Session(db.engine) as session:
        take_orders(session, brand=shop, orders=[order("d5")])
        publishing = background(partial(_publish, db, shop, "20%"))
        wait_until(lambda: blocked(db) == 1, "the plan waits for the order")
        session.commit()
    assert publishing() == 2
    assert held(db, shop, "d5") == 1_000
    take(db, shop, order("d5"))
    assert held(db, shop, "d5") == 3_000
    assert findings(db, shop) == []


def test_distributors_move_under_each_other_at_once(db: Database, shop: Brand) -> None:
    """Each of a ring wants to be under the next: all but one can."""
    ring = ["d2", "d3", "d4", "d5"]
    results = together(
        *[partial(_move, db, shop, name, ring[(n + 1) % 4]) for n, name in enumerate(ring)]
    )
    assert sorted(results) == ["moved", "moved", "moved", "refused"]
    assert findings(db, shop) == []


def test_plans_published_at_once_follow_each_other(db: Database, shop: Brand) -> None:
    numbers = together(*[partial(_publish, db, shop, f"{n}%") for n in range(1, 7)])
    assert sorted(numbers) == [2, 3, 4, 5, 6, 7]
    starts = rows(
        db,
        "SELECT effective_from FROM plan_version WHERE brand_id = :b ORDER BY number",
        b=shop.id,
    )
    assert starts == sorted(set(starts))


def test_the_same_plan_published_at_once_is_one_version(db: Database, shop: Brand) -> None:
    assert set(together(*[partial(_publish, db, shop, "9%")] * 6)) == {2}
    assert value(db, "SELECT count(*) FROM plan_version WHERE brand_id = :b", b=shop.id) == 2


def test_enrolled_and_sold_at_once(db: Database, shop: Brand) -> None:
    """A distributor is enrolled eight times at once: there is one of it, and it can sell."""

    def enrol() -> int:
        with db.transaction() as session:
            return enrol_distributor(
                session, brand_id=shop.id, external_id="new", name="New", sponsor="d3"
            ).id

    assert len(set(together(*[enrol] * 8))) == 1
    (outcome,) = take(db, shop, order("new"))
    assert outcome.status is Status.ACCEPTED
    assert (held(db, shop, "new"), held(db, shop, "d3")) == (1_000, 500)
    assert findings(db, shop) == []
