"""Debts: who owes, since when, and how old each part of it is."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import text

from distrib import clock, ids
from distrib.brands.tables import Brand
from distrib.config import Settings
from distrib.db import Database
from distrib.errors import InvalidInput
from distrib.settlement.adjustments import approve_adjustment, request_adjustment
from distrib.settlement.batch import cancel_batch, remove_payout
from distrib.settlement.debts import (
    BUCKETS,
    CSV_HEADER,
    Ages,
    Debt,
    debt_of,
    list_debts,
    sum_debts,
    write_debts_csv,
)
from distrib.settlement.maturation import mature
from distrib.tree.service import enrol_distributor
from tests import factories
from tests.factories import NOON, days, give_back, ids_of, order, refund, take
from tests.races.world import findings

MATURED = NOON + days(15)
NOW = NOON + days(120)
TODAY = date(2026, 6, 29)


@dataclass(frozen=True)
class Item:
    """An open item as the model has it: its day, and its amount."""

    day: date
    amount: int


def aged(items: list[Item], as_of: date) -> tuple[int, date | None, Ages]:
    """The plain definition: pay the oldest first, one unit at a time as it were."""
    purse = sum(item.amount for item in items if item.amount > 0)
    ages = [0, 0, 0, 0]
    since = None
    for item in sorted((item for item in items if item.amount < 0), key=lambda item: item.day):
        paid = min(purse, -item.amount)
        purse -= paid
        left = -item.amount - paid
        if not left:
            continue
        since = since or item.day
        age = (as_of - item.day).days
        bucket = next(n for n, (_, last) in enumerate(BUCKETS) if last is None or age <= last)
        ages[bucket] += left
    return sum(ages), since, (ages[0], ages[1], ages[2], ages[3])


def debts(db: Database, brand: Brand, now: datetime = NOW, **options: Any) -> list[Debt]:
    with clock.travel(now), db.snapshot() as session:
        return list_debts(session, brand=brand, **options)


def totals(db: Database, brand: Brand, now: datetime = NOW, **options: Any) -> tuple[Any, ...]:
    with clock.travel(now), db.snapshot() as session:
        found = sum_debts(session, brand=brand, **options)
    return found.debtors, found.amount, found.ages


@pytest.fixture
def owing(db: Database, settings: Settings, brand: Brand) -> dict[str, int]:
    """Ann was paid for four orders of 100.00 (10.00 each); they came back 105, 62, 61 and 20 days
    ago, and since then she has earned 12.00, so the oldest refund and 2.00 of the next are settled.
    Bo and Cy, above her, owe theirs."""
    who = factories.chain(db, brand)
    ids_of(take(db, brand, *(order(f"o-{n}", 10_000) for n in range(4))))
    factories.settle(db, settings, brand, date(2026, 3, 16), MATURED)
    for n, ago in enumerate((105, 62, 61, 20)):
        ids_of(give_back(db, brand, refund(f"r-{n}", f"o-{n}", refunded_at=NOW - days(ago))))
    ids_of(take(db, brand, order("new", 12_000, placed_at=NOW - days(18))))
    with clock.travel(NOW):
        mature(db, brand_id=brand.id)
    return who


def test_the_oldest_is_settled_first(db: Database, brand: Brand, owing: dict[str, int]) -> None:
    found = {each.external_id: each for each in debts(db, brand)}
    ann = found["ann"]
    assert (ann.amount, ann.ages, ann.since) == (2_800, (1_000, 0, 1_800, 0), date(2026, 4, 28))
    assert found["bo"].ages == (500, 0, 900, 0)
    assert found["cy"].ages == (200, 0, 360, 0)
    assert totals(db, brand) == (3, 4_760, (1_700, 0, 3_060, 0))
    assert findings(db, brand) == []
    with db.transaction() as session:
        for each in found.values():
            owed = debt_of(session, brand=brand, distributor_id=each.distributor_id)
            assert owed == each.amount == sum(each.ages)


def test_what_is_still_held_settles_nothing(
    db: Database, brand: Brand, owing: dict[str, int]
) -> None:
    ids_of(take(db, brand, order("held", 90_000, placed_at=NOW)))
    assert debts(db, brand)[0].amount == 2_800


def test_without_debts(db: Database, brand: Brand) -> None:
    factories.chain(db, brand)
    ids_of(take(db, brand, order("o-1", 10_000)))
    assert debts(db, brand) == []
    assert totals(db, brand) == (0, 0, (0, 0, 0, 0))
    with pytest.raises(InvalidInput, match="yet to come") as caught:
        debts(db, brand, as_of=date(2026, 6, 30))
    assert caught.value.field == "as_of"


def test_pages(db: Database, brand: Brand, owing: dict[str, int]) -> None:
    whole = debts(db, brand)
    assert [each.external_id for each in whole] == ["ann", "bo", "cy"]
    found: list[Debt] = []
    after = None
    while part := debts(db, brand, after=after, limit=1):
        found += part
        after = (part[-1].amount, part[-1].distributor_id)
    assert found == whole == debts(db, brand, limit=None)


def test_equal_debts_follow_each_other(db: Database, settings: Settings, brand: Brand) -> None:
    factories.plan(db, brand, "10%")
    names = [f"d-{n}" for n in range(7)]
    factories.enrol(db, brand, dict.fromkeys(names))
    ids_of(take(db, brand, *(order(f"o-{n}", 10_000, distributor=n) for n in names)))
    factories.settle(db, settings, brand, date(2026, 3, 16), MATURED)
    ids_of(give_back(db, brand, *(refund("r", f"o-{n}", refunded_at=MATURED) for n in names)))
    found: list[str] = []
    after = None
    while part := debts(db, brand, after=after, limit=3):
        found += [each.external_id for each in part]
        after = (part[-1].amount, part[-1].distributor_id)
    assert found == names


def test_an_export_is_safe_to_open(db: Database, settings: Settings, brand: Brand) -> None:
    factories.plan(db, brand, "10%")
    name = "=cmd|' /C calc'!A0"
    with db.transaction() as session:
        enrol_distributor(
            session,
            brand_id=brand.id,
            external_id=name,
            name=f"@{name}",
            sponsor=None,
            code="cmd",
            joined_at=factories.LONG_AGO,
        )
    ids_of(take(db, brand, order("o-1", 12_345, distributor=name)))
    factories.settle(db, settings, brand, date(2026, 3, 16), MATURED)
    ids_of(give_back(db, brand, refund("r-1", "o-1", refunded_at=NOW - days(31))))
    file = io.StringIO(newline="")
    with clock.travel(NOW), db.snapshot() as session:
        assert write_debts_csv(session, file, brand=brand) == 1
    header, row = csv.reader(io.StringIO(file.getvalue(), newline=""))
    assert tuple(header) == CSV_HEADER
    assert row == [
        *(f"'{name}", f"'@{name}", "active", "CNY", "12.35", "2026-05-29"),
        *("0.00", "12.35", "0.00", "0.00"),
    ]


def test_adjustments_are_of_their_own_day(
    db: Database, brand: Brand, owing: dict[str, int]
) -> None:
    for kind, amount, ago in (("overpaid", 700, 40), ("write_off", 500, 2)):
        with clock.travel(NOW - days(ago)), db.transaction() as session:
            asked = request_adjustment(
                session,
                brand=brand,
                distributor_id=owing["ann"],
                kind=kind,
                amount=amount,
                reason="x",
                requested_by="a",
            )
            approve_adjustment(session, brand_id=brand.id, adjustment_id=asked.id, approved_by="b")
    (ann, *_) = debts(db, brand)
    assert (ann.amount, ann.ages) == (3_000, (1_000, 700, 1_300, 0))
    assert findings(db, brand) == []


# -- as of another day ----------------------------------------------------------------------------


def test_as_of_a_day_that_has_passed(
    db: Database, settings: Settings, brand: Brand, owing: dict[str, int]
) -> None:
    """What the report of a day said on that day it says ever after."""
    said: dict[date, Any] = {}

    def note(now: datetime) -> None:
        """Remember the report of this moment, by the day before which nothing more happens."""
        said[clock.day_of(now, brand.time_zone)] = debts(db, brand, now), totals(db, brand, now)

    note(NOW)
    # she earns more than she owes, and is paid: all her items leave
    later = NOW + days(10)
    ids_of(take(db, brand, order("big", 50_000, placed_at=later)))
    note(later)
    paying = later + days(16)
    with clock.travel(paying):
        mature(db, brand_id=brand.id)
    note(paying)
    draft = factories.draw_up(db, brand, clock.day_of(paying, "Asia/Shanghai"), paying + days(1))
    note(paying + days(1))
    ids_of(give_back(db, brand, refund("r-b", "big", (1, 0, 5_000), refunded_at=paying + days(2))))
    note(paying + days(2))
    with clock.travel(paying + days(3)), db.transaction() as session:
        remove_payout(
            session, brand_id=brand.id, number=draft.number, no=1, removed_by="x", reason="x"
        )
    note(paying + days(3))
    with clock.travel(paying + days(4)), db.transaction() as session:
        cancel_batch(session, brand_id=brand.id, number=draft.number)
    note(paying + days(4))
    factories.settle(
        db, settings, brand, clock.day_of(paying + days(5), "Asia/Shanghai"), paying + days(5)
    )
    note(paying + days(5))
    end = paying + days(9)
    assert {len(found) for found, _ in said.values()} > {0, 3}
    for day, (found, summed) in said.items():
        assert debts(db, brand, end, as_of=day) == found, day
        assert totals(db, brand, end, as_of=day) == summed, day
    assert findings(db, brand) == []


# -- against the model ----------------------------------------------------------------------------

_amounts = st.integers(-500, 500).filter(bool)
_items = st.lists(st.tuples(st.integers(0, 130), _amounts), min_size=1, max_size=12)


@given(people=st.lists(_items, min_size=1, max_size=4), age=st.integers(0, 3))
@hypothesis_settings(max_examples=60)
def test_ages_are_those_of_the_model(
    db: Database, people: list[list[tuple[int, int]]], age: int
) -> None:
    """Open items written as they would be: refunds and adjustments of any day."""
    brand = factories.brand(db)
    names = [f"d-{n}" for n in range(len(people))]
    who = factories.enrol(db, brand, dict.fromkeys(names))
    as_of = TODAY - timedelta(days=age)
    model: dict[str, list[Item]] = defaultdict(list)
    with db.transaction() as session:
        session.execute(text("SET LOCAL session_replication_role = replica"))
        for name, items in zip(names, people, strict=True):
            for ago, amount in items:
                day = TODAY - timedelta(days=ago)
                write_item(session, brand, who[name], day, amount, refunded=ago % 2 == 0)
                if day <= as_of:
                    model[name].append(Item(day, amount))
    # read as of an earlier day, and as of today when that day is today: both ways are tried
    found = {each.external_id: each for each in debts(db, brand, as_of=as_of)}
    expected = {
        name: aged(items, as_of)
        for name, items in model.items()
        if sum(item.amount for item in items) < 0
    }
    assert {name: (d.amount, d.since, d.ages) for name, d in found.items()} == expected
    sums = [sum(ages[n] for _, _, ages in expected.values()) for n in range(4)]
    assert totals(db, brand, as_of=as_of) == (len(expected), sum(sums), tuple(sums))


def write_item(
    session: Any, brand: Brand, who: int, day: date, amount: int, *, refunded: bool
) -> None:
    """An open item of an adjustment, or of a refund of a matured order, with what dates it."""
    number = ids.new()
    at = datetime.combine(day, datetime.min.time(), UTC)
    facts = {
        "b": brand.id,
        "id": number,
        "who": who,
        "day": day,
        "at": at,
        "amount": amount,
        "order": ids.new(),
        "kind": "overpaid" if amount < 0 else "underpaid",
    }
    if refunded:
        session.execute(
            text(
                "INSERT INTO orders (brand_id, id, shop, external_id, content_hash, currency,"
                " referral, placed_at, effective_at, recorded_at, available_on)"
                " VALUES (:b, :order, 's', :order ::text, '', 'CNY', 'none', :at, :at, :at, :day)"
            ),
            facts,
        )
        session.execute(
            text(
                "INSERT INTO refund (brand_id, id, order_id, no, external_id, content_hash,"
                " refunded_at, recorded_at) VALUES (:b, :id, :order, 1, 'r', '', :at, :at)"
            ),
            facts,
        )
        session.execute(
            text(
                "INSERT INTO maturation (brand_id, through, previous, posting_id, created_at,"
                " posted_at) VALUES (:b, :day, '1970-01-01', :id, :at, :at) ON CONFLICT DO NOTHING"
            ),
            facts,
        )
    else:
        session.execute(
            text(
                "INSERT INTO adjustment (brand_id, id, distributor_id, kind, amount, asset, reason,"
                " state, requested_by, requested_at, decided_by, decided_at, available_on)"
                " VALUES (:b, :id, :who, :kind, :amount, 'CNY', 'x', 'approved', 'a', :at, 'b',"
                " :at, :day)"
            ),
            facts,
        )
    session.execute(
        text(
            "INSERT INTO open_item (brand_id, distributor_id, posting_id, asset, amount,"
            " available_on, held) VALUES (:b, :who, :id, 'CNY', :amount, :day, false)"
        ),
        facts,
    )
