"""Orders that come at the same instant."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from distrib.brands.tables import Brand
from distrib.commission.intake import take_orders
from distrib.commission.outcome import Status
from distrib.commission.refunds import take_refunds
from distrib.db import Database
from distrib.ledger.chart import AccountKind
from distrib.ledger.service import fold, read_balances
from distrib.orders.document import OrderIn
from distrib.settlement.batch import draw_up_batch
from distrib.settlement.maturation import begin_maturation, mature, post_maturations
from tests.races import world
from tests.races.world import (
    background,
    blocked,
    findings,
    held,
    never_wait,
    order,
    take,
    together,
    value,
    wait_until,
)


def test_the_same_order_eight_times_at_once(db: Database, shop: Brand) -> None:
    one = order("d5", lines=3)
    outcomes = [each for (each,) in together(*[partial(take, db, shop, one)] * 8)]
    assert Counter(each.status for each in outcomes) == {Status.ACCEPTED: 1, Status.DUPLICATE: 7}
    assert len({each.id for each in outcomes}) == 1
    for table, count in (("orders", 1), ("order_line", 3), ("commission", 9), ("open_item", 3)):
        found = value(db, f"SELECT count(*) FROM {table} WHERE brand_id = :b", b=shop.id)
        assert (table, found) == (table, count)
    assert held(db, shop, "d5") == 3_000
    assert findings(db, shop) == []


def test_the_same_order_with_two_contents_at_once(db: Database, shop: Brand) -> None:
    ones = [order("d5", name="twice", price=10_000), order("d6", name="twice", price=20_000)] * 4
    outcomes = [each for (each,) in together(*[partial(take, db, shop, one) for one in ones])]
    counted = Counter(each.status for each in outcomes)
    assert counted == {Status.ACCEPTED: 1, Status.DUPLICATE: 3, Status.REJECTED: 4}
    assert findings(db, shop) == []


def _chunks(count: int, size: int, of: int, seed: int) -> list[list[OrderIn]]:
    """``count`` chunks of ``size`` out of ``of`` orders, each in an order of its own."""
    orders = [order(f"d{2 + n % 10}") for n in range(of)]
    chance = random.Random(seed)
    return [chance.sample(orders, size) for _ in range(count)]


@pytest.mark.parametrize(
    "size,of", [(40, 40), (40, 60), (250, 300)], ids=["the same", "overlapping", "by COPY"]
)
def test_overlapping_chunks_in_different_order(
    db: Database, shop: Brand, size: int, of: int
) -> None:
    chunks = _chunks(8, size, of, seed=size + of)
    outcomes = together(*[partial(take, db, shop, *chunk) for chunk in chunks])
    accepted: list[str] = []
    ids_of: dict[str, set[int | None]] = {}
    for chunk, results in zip(chunks, outcomes, strict=True):
        for one, outcome in zip(chunk, results, strict=True):
            assert outcome.status in (Status.ACCEPTED, Status.DUPLICATE), outcome
            ids_of.setdefault(one.external_id, set()).add(outcome.id)
            if outcome.status is Status.ACCEPTED:
                accepted.append(one.external_id)
    assert sorted(accepted) == sorted(ids_of)
    assert all(len(each) == 1 for each in ids_of.values())
    found = value(db, "SELECT count(*) FROM orders WHERE brand_id = :b", b=shop.id)
    assert found == len(ids_of)
    assert findings(db, shop) == []


def test_a_chunk_whose_orders_others_take_one_after_the_other(db: Database, shop: Brand) -> None:
    """A file is being taken in while the shop's webhooks bring its newest orders one by one: each
    of eight transactions that were there first ends while the chunk waits for it."""
    orders = [order("d4") for _ in range(8)]
    with ExitStack() as stack:
        first = []
        for one in orders:
            session = stack.enter_context(Session(db.engine))
            (outcome,) = take_orders(session, brand=shop, orders=[one])
            first.append((session, outcome.id))
        join = background(partial(take, db, shop, *orders))
        for session, _ in first:
            wait_until(lambda: blocked(db) or join.ended(), "the chunk waits")
            session.commit()
        assert [(each.status, each.id) for each in join()] == [
            (Status.DUPLICATE, order_id) for _, order_id in first
        ]
    assert findings(db, shop) == []


def test_two_chunks_in_opposite_order_are_no_deadlock(db: Database, shop: Brand) -> None:
    """Both chunks wait for the order in their middle; when it is rolled back both go on. A
    deadlock would be resolved after a second, and cost one of them all its work."""
    a, middle, b = (order("d4") for _ in range(3))

    def take_once(*orders: OrderIn) -> str:
        try:
            with db.transaction() as session:
                take_orders(session, brand=shop, orders=orders)
        except psycopg.errors.UniqueViolation:
            return "came second"
        return "taken"

    with Session(db.engine) as session:
        take_orders(session, brand=shop, orders=[middle])
        joins = [background(partial(take_once, *each)) for each in ((a, middle, b), (b, middle, a))]
        wait_until(lambda: blocked(db) == 2, "both chunks wait")
        session.rollback()
        results = [join() for join in joins]
    assert "taken" in results
    assert findings(db, shop) == []


# -- nobody waits for anybody ---------------------------------------------------------------------


def _order(session: Session, brand: Brand) -> None:
    (outcome,) = take_orders(session, brand=brand, orders=[order("d5")])
    assert outcome.status is Status.ACCEPTED


def _chunk(session: Session, brand: Brand) -> None:
    take_orders(session, brand=brand, orders=[order(f"d{2 + n % 10}") for n in range(100)])


def _refund(session: Session, brand: Brand) -> None:
    (outcome,) = take_refunds(session, brand=brand, refunds=[world.refund(_paid[brand.id].pop())])
    assert outcome.status is Status.ACCEPTED


def _early_refund(session: Session, brand: Brand) -> None:
    (outcome,) = take_refunds(session, brand=brand, refunds=[world.refund(order("d5"))])
    assert outcome.status is Status.WAITING


def _fold(session: Session, brand: Brand) -> None:
    assert fold(session, brand_id=brand.id) > 0


def _post(session: Session, brand: Brand) -> None:
    assert post_maturations(session, brand_id=brand.id) > 0


def _draw_up(session: Session, brand: Brand) -> None:
    draw_up_batch(session, brand=brand, cutoff=world.days_ago(30).date(), created_by="test")


_paid: dict[int, list[OrderIn]] = {}
"""By brand: orders that can be refunded."""

INTAKE: list[Callable[[Session, Brand], None]] = [_order, _chunk, _refund, _early_refund]
BESIDE: list[Callable[[Session, Brand], None]] = [*INTAKE, _fold, _post, _draw_up]


@pytest.mark.parametrize("second", INTAKE, ids=lambda each: each.__name__)
@pytest.mark.parametrize("first", BESIDE, ids=lambda each: each.__name__)
def test_orders_and_refunds_wait_for_nobody(
    db: Database,
    shop: Brand,
    first: Callable[[Session, Brand], None],
    second: Callable[[Session, Brand], None],
) -> None:
    """While one transaction is open, another of the same brand begins, does its work, and ends;
    each pays the same three distributors."""
    _paid[shop.id] = [order("d5") for _ in range(2)]
    take(db, shop, *_paid[shop.id])
    take(db, shop, order("d5", placed_at=world.days_ago(60)))
    mature(db, brand_id=shop.id, through=world.days_ago(30).date())
    take(db, shop, order("d5", placed_at=world.days_ago(40)))
    with db.transaction() as session:
        begin_maturation(session, brand_id=shop.id, through=world.days_ago(2).date())
    with Session(db.engine) as one:
        first(one, shop)
        with db.transaction() as other:
            never_wait(other)
            second(other, shop)
        one.commit()
    with db.transaction() as session:
        post_maturations(session, brand_id=shop.id)
    assert findings(db, shop) == []


def test_many_orders_under_one_upline(db: Database, shop: Brand) -> None:
    """Six threads take orders that all pay d1 and d0, two fold, one reads: no order ever waits,
    what is read is what is committed, and the sums are exact."""
    count, waits = 25, []
    stop = threading.Event()
    owner = world.distributor_id(db, shop, "d1")

    def stream(distributor: str) -> int:
        for _ in range(count):
            (outcome,) = take(db, shop, order(distributor, price=10_000))
            assert outcome.status is Status.ACCEPTED
        return count

    def fold_on() -> int:
        folded = 0
        while not stop.is_set():
            with db.transaction() as session:
                folded += fold(session, brand_id=shop.id, postings=7)
        return folded

    def read_on() -> int:
        last = reads = 0
        while not stop.is_set():
            with db.snapshot() as session:
                balances = read_balances(session, brand_id=shop.id, owner=owner)
                committed = session.scalar(
                    text("SELECT count(*) FROM orders WHERE brand_id = :b"), {"b": shop.id}
                )
            held = balances.get((AccountKind.HELD, "CNY"), 0)
            assert held == (committed or 0) * 500
            assert held >= last
            last, reads = held, reads + 1
        return reads

    def look_for_waits() -> int:
        while not stop.is_set():
            waits.append(blocked(db))
            time.sleep(0.005)
        return len(waits)

    others = [background(work) for work in (fold_on, fold_on, read_on, look_for_waits)]
    try:
        together(*[partial(stream, f"d{n}") for n in range(2, 8)])
    finally:
        stop.set()
    folds, more_folds, reads, _ = (join() for join in others)
    assert reads
    assert waits
    assert not any(waits)
    with db.transaction() as session:
        rest = fold(session, brand_id=shop.id, wait=True)
    assert folds + more_folds + rest == 6 * count
    assert folds + more_folds > 0
    for name, share in (("d0", 200), ("d1", 500)):
        assert held(db, shop, name) == 6 * count * share
    stored = value(
        db, "SELECT sum(credits) FROM balance WHERE brand_id = :b AND account & 15 = 8", b=shop.id
    )
    assert stored == 6 * count * 1_700
    assert findings(db, shop) == []
