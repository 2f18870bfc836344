"""Statements and earnings: what a distributor is told is what the ledger says."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distrib import clock
from distrib.brands.tables import Brand
from distrib.config import Settings
from distrib.db import Database
from distrib.ledger.chart import AccountKind
from distrib.ledger.service import fold, read_balances
from distrib.settlement.batch import NothingToSettle, cancel_batch
from distrib.settlement.maturation import mature
from distrib.settlement.statement import (
    Balances,
    Earning,
    Statement,
    list_earnings,
    read_balance_sheet,
    read_statement,
)
from tests import factories
from tests.factories import NOON, days, draw_up, give_back, ids_of, order, refund, take

DAY = date(2026, 3, 1)


def statement(db: Database, brand: Brand, who: int, **period: Any) -> Statement:
    with db.snapshot() as session:
        return read_statement(session, brand=brand, distributor_id=who, **period)


def earnings(db: Database, brand: Brand, who: int, page: int = 50) -> list[Earning]:
    """All earnings, page by page."""
    found: list[Earning] = []
    before = None
    with db.snapshot() as session:
        while True:
            part = list_earnings(
                session, brand_id=brand.id, distributor_id=who, before=before, limit=page
            )
            found += part
            if len(part) < page:
                return found
            before = (part[-1].day, part[-1].source_id)


def rows(told: Statement) -> list[tuple[int, int, int, int]]:
    """Days as (day of March, earned, reversed, paid)."""
    return [((d.day - DAY).days + 1, d.earned, d.reversed, d.paid) for d in told.days]


@pytest.fixture
def ann(db: Database, settings: Settings, brand: Brand) -> int:
    """Ann, who earned 10.00 and 20.00 on the 1st, 30.00 on the 2nd, lost 5.00 of the first order
    on the 3rd, was paid what was available on the 17th, and lost 20.00 afterwards."""
    who = factories.chain(db, brand)
    ids_of(take(db, brand, order("o-1", 10_000), order("o-2", 15_000, 5_000)))
    ids_of(take(db, brand, order("o-3", 30_000, placed_at=NOON + days(1))))
    ids_of(give_back(db, brand, refund("r-1", "o-1", (1, 0, 5_000), refunded_at=NOON + days(2))))
    factories.settle(db, settings, brand, date(2026, 3, 16), NOON + days(16))
    ids_of(give_back(db, brand, refund("r-2", "o-2", refunded_at=NOON + days(17))))
    return who["ann"]


def test_a_statement(db: Database, brand: Brand, ann: int) -> None:
    told = statement(db, brand, ann)
    assert told.balances == Balances(
        pending=3_000, available=-2_000, reserved=0, paid=2_500, reversed=2_500
    )
    assert told.balances.earned == 6_000
    assert rows(told) == [
        (18, 0, 2_000, 0),
        (17, 0, 0, 2_500),
        (3, 0, 500, 0),
        (2, 3_000, 0, 0),
        (1, 3_000, 0, 0),
    ]
    assert (told.currency, told.first, told.last) == ("CNY", None, None)


@pytest.mark.parametrize(
    "period, told_days",
    [
        ((1, 31), [18, 17, 3, 2, 1]),
        ((2, 17), [17, 3, 2]),
        ((2, None), [18, 17, 3, 2]),
        ((None, 2), [2, 1]),
        ((4, 16), []),
        ((17, 17), [17]),
    ],
)
def test_a_period(
    db: Database,
    brand: Brand,
    ann: int,
    period: tuple[int | None, int | None],
    told_days: list[int],
) -> None:
    first, last = (day and date(2026, 3, day) for day in period)
    told = statement(db, brand, ann, first=first, last=last)
    assert [row[0] for row in rows(told)] == told_days
    assert (told.first, told.last) == (first, last)
    assert told.balances == statement(db, brand, ann).balances, "balances are those of now"


def test_days_are_those_of_the_brand(db: Database, settings: Settings) -> None:
    brand = factories.brand(db, time_zone="America/New_York", hold_days=0)
    who = factories.chain(db, brand)
    # half past midnight, and half past eleven in the evening, summer time
    for name, at in (("o-1", "2026-03-10T04:30:00+00:00"), ("o-2", "2026-03-11T03:30:00+00:00")):
        ids_of(take(db, brand, order(name, 10_000, placed_at=datetime.fromisoformat(at))))
    paid_at = datetime.fromisoformat("2026-03-12T03:59:00+00:00")
    factories.settle(db, settings, brand, date(2026, 3, 10), paid_at)
    told = statement(db, brand, who["ann"])
    assert [(d.day, d.earned, d.paid) for d in told.days] == [
        (date(2026, 3, 11), 0, 2_000),
        (date(2026, 3, 10), 2_000, 0),
    ]


def test_earnings(db: Database, brand: Brand, ann: int) -> None:
    found = earnings(db, brand, ann)
    assert [
        (e.day.day, e.kind, e.order_external_id, e.level, e.amount, e.status, e.batch)
        for e in found
    ] == [
        (18, "refund", "o-2", 1, -2_000, "available", None),
        (3, "refund", "o-1", 1, -500, "paid", 1),
        (2, "order", "o-3", 1, 3_000, "pending", None),
        (1, "order", "o-2", 1, 2_000, "paid", 1),
        (1, "order", "o-1", 1, 1_000, "paid", 1),
    ]
    assert {e.shop for e in found} == {"shop"}
    assert found[2].available_on == date(2026, 3, 17)
    assert found[3].order_id == found[3].source_id != found[0].source_id


def test_an_earning_from_hold_to_bank(db: Database, settings: Settings, brand: Brand) -> None:
    bo = factories.chain(db, brand)["bo"]
    ids_of(take(db, brand, order("o-1", 10_000)))

    def told() -> tuple[int | None, int, str, int | None]:
        (one,) = earnings(db, brand, bo)
        return one.level, one.amount, one.status, one.batch

    assert told() == (2, 500, "pending", None)
    later, cutoff = NOON + days(15), date(2026, 3, 16)
    with clock.travel(later):
        mature(db, brand_id=brand.id)
    assert told() == (2, 500, "available", None)
    batch = draw_up(db, brand, cutoff, later)
    assert told() == (2, 500, "reserved", 1)
    with db.transaction() as session:
        cancel_batch(session, brand_id=brand.id, number=1)
    assert told() == (2, 500, "available", None)
    batch = draw_up(db, brand, cutoff, later)
    factories.pay(db, settings, batch, later)
    assert told() == (2, 500, "paid", 2)


def test_nobody_earned_nothing(db: Database, brand: Brand) -> None:
    told = statement(db, brand, 12345)
    assert (told.balances, told.days) == (Balances(0, 0, 0, 0, 0), ())
    assert earnings(db, brand, 12345) == []


@pytest.mark.parametrize("page", [1, 2, 3, 7, 24, 25, 26])
def test_paging_through_all_earnings(
    db: Database, many_earnings: tuple[Brand, int], page: int
) -> None:
    brand, ann = many_earnings
    whole = earnings(db, brand, ann, 1_000)
    assert len(whole) == 25
    assert earnings(db, brand, ann, page) == whole
    keys = [(e.day, e.source_id) for e in whole]
    assert keys == sorted(set(keys), reverse=True)


@pytest.fixture(scope="module")
def many_earnings(db: Database) -> tuple[Brand, int]:
    """Twenty orders on four days, and five refunds."""
    brand = factories.brand(db)
    who = factories.chain(db, brand)
    placed = [order(f"o-{n}", 1_000 + n, 500, placed_at=NOON + days(n % 4)) for n in range(20)]
    ids_of(take(db, brand, *placed))
    back = [refund(f"r-{n}", f"o-{n}", (1, 1), refunded_at=NOON + days(4 + n)) for n in range(5)]
    ids_of(give_back(db, brand, *back))
    return brand, who["ann"]


# -- any story ------------------------------------------------------------------------------------

EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("order"), st.sampled_from(["ann", "bo", "cy"]), st.integers(1, 20_000)),
        st.tuples(st.just("refund"), st.integers(0, 9), st.integers(1, 20_000)),
        st.tuples(st.just("wait"), st.integers(1, 20)),
        st.tuples(st.just("settle")),
        st.tuples(st.just("fold")),
    ),
    min_size=3,
    max_size=14,
)


@given(EVENTS)
@settings(max_examples=12)
def test_what_is_told_agrees_with_the_ledger(
    db: Database, settings: Settings, events: list[Any]
) -> None:
    brand = factories.brand(db)
    who = factories.chain(db, brand)
    now, placed = NOON, 0
    for number, (what, *rest) in enumerate(events):
        match what:
            case "order":
                one = order(f"o-{placed}", rest[1], distributor=rest[0], placed_at=now)
                ids_of(take(db, brand, one))
                placed += 1
            case "refund" if placed:
                back = refund(f"r-{number}", f"o-{rest[0] % placed}", (1, 0, rest[1]))
                give_back(db, brand, back, now=now)  # too much is refused
            case "wait":
                now += days(rest[0])
            case "settle":
                cutoff = clock.day_of(now, brand.time_zone)
                with suppress(NothingToSettle):
                    factories.settle(db, settings, brand, cutoff, now)
            case "fold":
                with db.transaction() as session:
                    fold(session, brand_id=brand.id, postings=3)
        now += timedelta(minutes=1)
    for distributor in who.values():
        told, items = statement(db, brand, distributor), earnings(db, brand, distributor, 3)
        with db.snapshot() as session:
            ledger = read_balances(session, brand_id=brand.id, owner=distributor)
            sheet = read_balance_sheet(session, brand=brand, distributor_id=distributor)
        kinds = ("HELD", "AVAILABLE", "RESERVED", "PAID", "CLAWED_BACK")
        wanted = [ledger.get((AccountKind[kind], "CNY"), 0) for kind in kinds]
        assert told.balances == sheet == Balances(*wanted)
        assert told.balances.earned == sum(day.earned for day in told.days)
        assert told.balances.reversed == sum(day.reversed for day in told.days)
        assert told.balances.paid == sum(day.paid for day in told.days)
        by_status: Counter[str] = Counter()
        for item in items:
            by_status[item.status] += item.amount
        sums = told.balances
        assert by_status["pending"] == sums.pending
        assert by_status["available"] == sums.available
        assert by_status["reserved"] == sums.reserved == 0
        assert by_status["paid"] == sums.paid
        assert sum(item.amount for item in items if item.kind == "order") == sums.earned
        assert -sum(item.amount for item in items if item.kind == "refund") == sums.reversed
