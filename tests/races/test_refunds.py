"""Refunds that come at the same instant: as other refunds of the order, as themselves, or as the
order itself."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from functools import partial

import psycopg
import pytest
from sqlalchemy.orm import Session

from distrib.brands.tables import Brand
from distrib.commission.intake import take_orders
from distrib.commission.outcome import Outcome, Status
from distrib.commission.refunds import apply_waiting, take_refunds
from distrib.db import Database
from distrib.orders.document import RefundIn
from tests.races.world import (
    background,
    blocked,
    findings,
    give_back,
    held,
    order,
    refund,
    take,
    together,
    value,
    wait_until,
)

WAITING = "commission.waiting"
"""The check that names refunds whose order is here: until the sweeper comes there may be some."""


def _sweep(db: Database, brand: Brand) -> int:
    return db.run(lambda session: apply_waiting(session, brand=brand))


def _count(db: Database, brand: Brand, table: str) -> int:
    return int(value(db, f"SELECT count(*) FROM {table} WHERE brand_id = :b", b=brand.id))


# -- refunds of one order -------------------------------------------------------------------------


def test_more_refunds_than_the_order_has_units(db: Database, shop: Brand) -> None:
    """Twelve come back of eight: eight are accepted, whichever, and nothing is left to pay."""
    one = order("d5", quantity=8, price=1_234)
    take(db, shop, one)
    works = [partial(give_back, db, shop, refund(one, quantity=1)) for _ in range(12)]
    counted = Counter(each.status for (each,) in together(*works))
    assert counted == {Status.ACCEPTED: 8, Status.REJECTED: 4}
    assert [held(db, shop, name) for name in ("d5", "d1", "d0")] == [0, 0, 0]
    assert findings(db, shop) == []


def test_partial_and_full_refunds_at_once(db: Database, shop: Brand) -> None:
    """Whatever the order in which they take effect, what is paid is what remains."""
    one = order("d5", quantity=10, price=333, lines=3)
    take(db, shop, one)
    parts = [refund(one, quantity=3, line_no=1 + n % 3) for n in range(9)]
    outcomes = together(*[partial(give_back, db, shop, each) for each in [*parts, refund(one)]])
    assert outcomes[-1][0].status is Status.ACCEPTED
    returned = value(
        db,
        "SELECT sum(x.quantity) FROM refund_line x JOIN refund r"
        " ON r.brand_id = x.brand_id AND r.id = x.refund_id WHERE r.brand_id = :b",
        b=shop.id,
    )
    assert returned == 30
    assert held(db, shop, "d5") == 0
    assert findings(db, shop) == []


def test_the_same_refund_eight_times_at_once(db: Database, shop: Brand) -> None:
    one = order("d5", quantity=4)
    take(db, shop, one)
    back = refund(one, quantity=1)
    outcomes = [each for (each,) in together(*[partial(give_back, db, shop, back)] * 8)]
    assert Counter(each.status for each in outcomes) == {Status.ACCEPTED: 1, Status.DUPLICATE: 7}
    assert len({each.id for each in outcomes}) == 1
    assert held(db, shop, "d5") == 3_000
    assert findings(db, shop) == []


def test_chunks_of_refunds_in_different_order(db: Database, shop: Brand) -> None:
    """Six chunks, each with a refund of most of twenty orders: they lock the orders in one order,
    so none is ever the victim of a deadlock."""
    orders = [order(f"d{2 + n % 10}", quantity=6) for n in range(20)]
    take(db, shop, *orders)
    chance = random.Random(7)
    chunks = [[refund(one, quantity=1) for one in chance.sample(orders, 15)] for _ in range(6)]

    def once(chunk: list[RefundIn]) -> list[Outcome]:
        with db.transaction() as session:
            return take_refunds(session, brand=shop, refunds=chunk)

    outcomes = together(*[partial(once, chunk) for chunk in chunks])
    assert {each.status for chunk in outcomes for each in chunk} == {Status.ACCEPTED}
    assert _count(db, shop, "refund") == 90
    assert findings(db, shop) == []


# -- a refund and its order -----------------------------------------------------------------------


def test_a_refund_and_its_order_at_the_same_instant(db: Database, shop: Brand) -> None:
    """Fifteen times: either the refund finds the order, or the order finds the refund, or neither
    sees the other and the sweeper brings them together. Always applied, never twice."""
    seen: Counter[str] = Counter()
    for n in range(15):
        one = order(f"d{2 + n % 10}", quantity=2)
        back = refund(one, quantity=1)
        ((taken,), (given,)) = together(
            partial(take, db, shop, one), partial(give_back, db, shop, back)
        )
        assert taken.status is Status.ACCEPTED
        swept = _sweep(db, shop)
        seen["refund found order" if given.status is Status.ACCEPTED else "refund waited"] += 1
        seen["swept"] += swept
        assert _sweep(db, shop) == 0
        (again,) = give_back(db, shop, back)
        assert again.status is Status.DUPLICATE
    assert _count(db, shop, "refund") == 15
    assert _count(db, shop, "waiting_refund") == 0
    assert held(db, shop, "d0") == 15 * 200
    assert findings(db, shop) == [], seen


def _refund_commits_first(refunds: Session, orders: Session) -> None:
    refunds.commit()
    orders.commit()


def _order_commits_first(refunds: Session, orders: Session) -> None:
    orders.commit()
    refunds.commit()


@pytest.mark.parametrize("end", [_refund_commits_first, _order_commits_first])
@pytest.mark.parametrize("order_comes_first", [True, False])
def test_neither_sees_the_other(
    db: Database,
    shop: Brand,
    end: Callable[[Session, Session], None],
    order_comes_first: bool,
) -> None:
    """Both transactions are open at once, so both miss each other; the sweeper does not."""
    one = order("d5", quantity=2)
    back = refund(one, quantity=1)
    with Session(db.engine) as orders, Session(db.engine) as refunds:
        if order_comes_first:
            take_orders(orders, brand=shop, orders=[one])
        (outcome,) = take_refunds(refunds, brand=shop, refunds=[back])
        assert outcome.status is Status.WAITING
        if not order_comes_first:
            take_orders(orders, brand=shop, orders=[one])
        end(refunds, orders)
    assert held(db, shop, "d5") == 2_000
    assert [each for each in findings(db, shop) if not each.startswith(WAITING)] == []
    assert _sweep(db, shop) == 1
    assert held(db, shop, "d5") == 1_000
    assert findings(db, shop) == []


def test_sweepers_orders_and_repeats_all_at_once(db: Database, shop: Brand) -> None:
    """Refunds wait. Then come, at the same instant, their orders, the same refunds again, and two
    sweepers; whoever is first, each refund is applied once."""
    orders = [order(f"d{2 + n % 10}", quantity=2) for n in range(10)]
    backs = [refund(one, quantity=1) for one in orders]
    give_back(db, shop, *backs[:5])
    together(
        *[partial(take, db, shop, *chunk) for chunk in (orders[:4], orders[4:7], orders[7:])],
        *[partial(give_back, db, shop, *chunk) for chunk in (backs[:6], backs[::-1])],
        *[lambda: [Outcome(Status.WAITING)] * _sweep(db, shop)] * 2,
    )
    _sweep(db, shop)
    assert _count(db, shop, "refund") == 10
    assert _count(db, shop, "waiting_refund") == 0
    assert held(db, shop, "d0") == 10 * 200
    assert findings(db, shop) == []


def test_four_sweepers_share_the_work(db: Database, shop: Brand) -> None:
    orders = [order(f"d{2 + n % 10}", quantity=2) for n in range(20)]
    with Session(db.engine) as session:
        take_orders(session, brand=shop, orders=orders)
        give_back(db, shop, *[refund(one, quantity=1) for one in orders])
        session.commit()
    assert sum(together(*[partial(_sweep, db, shop)] * 4)) == 20
    assert _count(db, shop, "refund") == 20
    assert findings(db, shop) == []


def test_an_order_comes_while_its_refund_is_swept_and_sent_again(db: Database, shop: Brand) -> None:
    """The order is about to apply the refund that waits for it; the same refund comes again, sees
    no order, and is kept once more. It must not be applied again."""
    one = order("d5", quantity=2)
    back = refund(one, quantity=1)
    give_back(db, shop, back)
    with Session(db.engine) as session:
        take_orders(session, brand=shop, orders=[one])  # applies and removes what waits
        again = background(partial(give_back, db, shop, back))
        wait_until(lambda: blocked(db) or again.ended(), "the refund comes again")
        session.commit()
    (outcome,) = again()
    assert outcome.status in (Status.WAITING, Status.DUPLICATE)
    _sweep(db, shop)
    assert _count(db, shop, "refund") == 1
    assert _count(db, shop, "waiting_refund") == 0
    assert held(db, shop, "d5") == 1_000
    assert findings(db, shop) == []


def test_early_refunds_in_opposite_order_are_no_deadlock(db: Database, shop: Brand) -> None:
    """Two chunks of refunds that came before their orders, each the other turned round. Both wait
    for the refund in their middle; when it is rolled back both go on."""
    a, middle, b = (refund(f"absent-{n}") for n in range(3))

    def once(*refunds: RefundIn) -> list[Outcome]:
        with db.transaction() as session:
            return take_refunds(session, brand=shop, refunds=refunds)

    with Session(db.engine) as session:
        take_refunds(session, brand=shop, refunds=[middle])
        joins = [background(partial(once, *each)) for each in ((a, middle, b), (b, middle, a))]
        wait_until(lambda: blocked(db) == 2, "both chunks wait")
        session.rollback()
        for join in joins:
            try:
                assert {each.status for each in join()} == {Status.WAITING}
            except psycopg.errors.UniqueViolation:
                continue
    assert _count(db, shop, "waiting_refund") == 3
