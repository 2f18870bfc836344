"""Commission leaves the hold while orders, backdated orders and refunds stream in."""

from __future__ import annotations

import itertools
import random
from contextlib import suppress
from datetime import date
from functools import partial

import pytest
from sqlalchemy.orm import Session

from distrib import clock
from distrib.brands.tables import Brand
from distrib.commission.outcome import Status
from distrib.db import Database
from distrib.errors import DistribError
from distrib.ledger.chart import AccountKind
from distrib.ledger.service import fold, read_balances
from distrib.settlement import batch as batches
from distrib.settlement.batch import draw_up_batch
from distrib.settlement.maturation import begin_maturation, mature, post_maturations
from tests.races.world import (
    background,
    blocked,
    days_ago,
    distributor_id,
    findings,
    give_back,
    held,
    meanwhile,
    order,
    refund,
    take,
    together,
    value,
    wait_until,
)


def _available(db: Database, brand: Brand, name: str) -> int:
    with db.transaction() as session:
        found = read_balances(session, brand_id=brand.id, owner=distributor_id(db, brand, name))
    return found.get((AccountKind.AVAILABLE, "CNY"), 0)


def _day(back: float) -> date:
    return clock.day_of(days_ago(back), "Asia/Shanghai")


def test_maturing_day_by_day_while_orders_stream_in(db: Database, shop: Brand) -> None:
    """Three threads take orders of the last forty days and refund some; two let the hold end, day
    by day, one folds, and all the while the audit adds up every account."""
    days = itertools.count()

    def stream(seed: int) -> None:
        mine = random.Random(seed)
        for _ in range(15):
            one = order(
                f"d{mine.randrange(12)}", quantity=3, placed_at=days_ago(mine.uniform(0, 40))
            )
            (outcome,) = take(db, shop, one)
            assert outcome.status is Status.ACCEPTED
            if mine.random() < 0.5:
                (outcome,) = give_back(db, shop, refund(one, quantity=mine.choice([1, 2, 3])))
                assert outcome.status is Status.ACCEPTED

    def ripen() -> None:
        mature(db, brand_id=shop.id, through=_day(max(0, 30 - next(days) / 2)))

    def fold_some() -> None:
        with db.transaction() as session:
            fold(session, brand_id=shop.id, postings=11)

    def audit() -> None:
        assert findings(db, shop) == []

    with meanwhile(ripen, ripen, fold_some, audit):
        together(*[partial(stream, seed) for seed in range(3)])
    assert findings(db, shop) == []
    mature(db, brand_id=shop.id)
    assert findings(db, shop) == []
    assert value(db, "SELECT count(*) FROM maturation WHERE brand_id = :b", b=shop.id) >= 2


def test_maturing_the_same_day_four_times_at_once(db: Database, shop: Brand) -> None:
    take(db, shop, *[order("d5", placed_at=days_ago(20)) for _ in range(10)])
    posted = together(*[partial(mature, db, brand_id=shop.id)] * 4)
    assert sorted(posted) == [0, 0, 0, 3]
    assert (held(db, shop, "d5"), _available(db, shop, "d5")) == (0, 10_000)
    assert findings(db, shop) == []


def test_an_order_that_waited_for_the_hold_to_end_is_available(db: Database, shop: Brand) -> None:
    """The day matures while the order waits: what it pays goes to available, for nobody would
    come back to move it."""
    with Session(db.engine) as session:
        begin_maturation(session, brand_id=shop.id, through=_day(3))
        taking = background(partial(take, db, shop, order("d5", placed_at=days_ago(20))))
        wait_until(lambda: blocked(db) == 1, "the order waits")
        session.commit()
    taking()
    assert (held(db, shop, "d5"), _available(db, shop, "d5")) == (0, 1_000)
    assert findings(db, shop) == []


def test_a_refund_that_waited_for_the_hold_to_end_claws_back(db: Database, shop: Brand) -> None:
    one = order("d5", placed_at=days_ago(20), quantity=2)
    take(db, shop, one)
    with Session(db.engine) as session:
        begin_maturation(session, brand_id=shop.id, through=_day(3))
        giving = background(partial(give_back, db, shop, refund(one, quantity=1)))
        wait_until(lambda: blocked(db) == 1, "the refund waits")
        session.commit()
    giving()
    with db.transaction() as session:
        post_maturations(session, brand_id=shop.id)
    assert (held(db, shop, "d5"), _available(db, shop, "d5")) == (0, 1_000)
    assert findings(db, shop) == []


def test_orders_and_refunds_between_the_two_steps(db: Database, shop: Brand) -> None:
    """The day has begun to leave the hold and is not posted: backdated orders and refunds of that
    day go to available, and what is in the hold stays a fixed set."""
    one = order("d5", placed_at=days_ago(20), quantity=2)
    take(db, shop, one)
    with db.transaction() as session:
        begin_maturation(session, brand_id=shop.id, through=_day(0))
    assert findings(db, shop) == []
    give_back(db, shop, refund(one))
    take(db, shop, order("d5", placed_at=days_ago(30)))
    assert findings(db, shop) == []
    with db.transaction() as session:
        post_maturations(session, brand_id=shop.id)
    assert (held(db, shop, "d5"), _available(db, shop, "d5")) == (0, 1_000)
    assert findings(db, shop) == []


def test_a_batch_drawn_up_while_its_days_begin_to_mature(
    db: Database, shop: Brand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the batch's posting of what has begun and its look at how far that is, another
    process begins the next days. The batch may not take what is still in the hold."""
    take(db, shop, order("d5", placed_at=days_ago(20)))
    original = post_maturations

    def post_then_another_begins(session: Session, *, brand_id: int) -> int:
        posted = original(session, brand_id=brand_id)
        with db.transaction() as other:
            begin_maturation(other, brand_id=brand_id, through=_day(0))
        return posted

    monkeypatch.setattr(batches, "post_maturations", post_then_another_begins)
    with suppress(DistribError), db.transaction() as session:
        draw_up_batch(session, brand=shop, cutoff=_day(1), created_by="test")
    monkeypatch.undo()
    with db.transaction() as session:
        post_maturations(session, brand_id=shop.id)
    assert findings(db, shop) == []
