"""Taking orders: what becomes of each, and what it pays."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from distrib import clock, ids
from distrib.brands.tables import Brand
from distrib.commission.intake import (
    CurrencyNotAccepted,
    NotYetJoined,
    OrderDiffers,
    UnknownCode,
    UnknownDistributor,
    take_orders,
)
from distrib.commission.outcome import CLOCK_TOLERANCE, Outcome, Status
from distrib.commission.tables import Commission, OpenItem, PlanVersion
from distrib.db import Database
from distrib.errors import InvalidInput
from distrib.ledger.chart import AccountKind
from distrib.ledger.service import read_balances
from distrib.ledger.tables import Transfer
from distrib.money import MAX_AMOUNT
from distrib.orders.document import MAX_QUANTITY, LineIn, OrderIn
from distrib.orders.tables import Order, OrderLine
from distrib.tree.service import move_distributor
from tests import factories
from tests.factories import LONG_AGO, NOON, days, ids_of, order, take

Paid = dict[tuple[str, int, int], tuple[int, int]]
"""(order, line, level) → (distributor, amount)."""


def paid(db: Database, brand: Brand) -> Paid:
    """All commissions of the brand."""
    with db.transaction() as session:
        rows = session.execute(
            select(Order.external_id, Commission)
            .join(
                Order, (Order.brand_id == Commission.brand_id) & (Order.id == Commission.order_id)
            )
            .where(Commission.brand_id == brand.id)
        )
        return {
            (external_id, row.line_no, row.level): (row.distributor_id, row.amount)
            for external_id, row in rows
        }


def look(db: Database, brand: Brand, order_id: int | None) -> Order:
    assert order_id is not None
    with db.transaction() as session:
        return session.get_one(Order, (brand.id, order_id))


def rows_of(db: Database, brand: Brand) -> dict[str, int]:
    """How many rows the brand has in each table that an order writes."""
    with db.transaction() as session:
        return {
            table.__tablename__: session.scalar(
                select(func.count()).select_from(table).where(table.brand_id == brand.id)
            )
            or 0
            for table in (Order, OrderLine, Commission, Transfer, OpenItem)
        }


NOTHING = {"orders": 0, "order_line": 0, "commission": 0, "transfer": 0, "open_item": 0}


# -- one order ------------------------------------------------------------------------------------


def test_an_order_pays_three_levels(db: Database, brand: Brand) -> None:
    who = factories.chain(db, brand)
    with clock.travel(NOON + timedelta(minutes=1)), db.transaction() as session:
        (outcome,) = take_orders(session, brand=brand, orders=[order("o-1", 10_000, 999)])
    assert (outcome.status, outcome.error) == (Status.ACCEPTED, None)
    row = look(db, brand, outcome.id)
    assert (row.shop, row.external_id, row.referral, row.currency) == (
        "shop",
        "o-1",
        "direct",
        "CNY",
    )
    assert row.distributor_id == who["ann"]
    assert (row.placed_at, row.effective_at) == (NOON, NOON)
    assert row.recorded_at == NOON + timedelta(minutes=1)
    assert row.available_on == date(2026, 3, 16)
    assert paid(db, brand) == {
        ("o-1", 1, 1): (who["ann"], 1_000),
        ("o-1", 1, 2): (who["bo"], 500),
        ("o-1", 1, 3): (who["cy"], 200),
        ("o-1", 2, 1): (who["ann"], 100),
        ("o-1", 2, 2): (who["bo"], 50),
        ("o-1", 2, 3): (who["cy"], 20),
    }
    for name, pending in (("ann", 1_100), ("bo", 550), ("cy", 220)):
        assert factories.balances(db, brand, who[name]).pending == pending
    assert rows_of(db, brand) == {
        "orders": 1, "order_line": 2, "commission": 6, "transfer": 3, "open_item": 3
    }  # fmt: skip


@pytest.mark.parametrize(
    "line, base",
    [
        (LineIn("a", 3, 1_000), 3_000),
        (LineIn("a", 3, 1_000, discount=500), 2_500),
        (LineIn("a", 3, 1_000, discount=3_000), 0),
        (LineIn("a", 1, 1_000, shipping=600, tax=130), 1_000),
        (LineIn("a", 1, 0, shipping=600), 0),
        (LineIn("a", 1, MAX_AMOUNT), MAX_AMOUNT),
        (LineIn("a", MAX_QUANTITY, MAX_AMOUNT // MAX_QUANTITY), MAX_AMOUNT),
    ],
)
def test_commission_is_on_price_less_discount(
    db: Database, brand: Brand, line: LineIn, base: int
) -> None:
    who = factories.chain(db, brand, "10%")
    ids_of(take(db, brand, order("o-1", lines=[line])))
    assert paid(db, brand) == ({("o-1", 1, 1): (who["ann"], base // 10)} if base else {})


@pytest.mark.parametrize(
    "reference, referral, levels",
    [
        ({"distributor": "ann"}, "direct", ("ann", "bo", "cy")),
        ({"distributor": "bo"}, "direct", ("bo", "cy")),
        ({"distributor": "cy"}, "direct", ("cy",)),
        ({"code": "code-ann"}, "code", ("ann", "bo", "cy")),
        ({"distributor": None}, "none", ()),
    ],
)
def test_who_gets_the_credit(
    db: Database, brand: Brand, reference: dict[str, Any], referral: str, levels: tuple[str, ...]
) -> None:
    who = factories.chain(db, brand)
    (order_id,) = ids_of(take(db, brand, order("o-1", 10_000, **reference)))
    row = look(db, brand, order_id)
    assert (row.referral, row.referral_code) == (referral, reference.get("code"))
    assert paid(db, brand) == {
        ("o-1", 1, n): (who[name], amount)
        for n, (name, amount) in enumerate(zip(levels, (1_000, 500, 200), strict=False), 1)
    }


@pytest.mark.parametrize("levels", [1, 2])
def test_a_brand_with_fewer_levels(db: Database, levels: int) -> None:
    brand = factories.brand(db, levels=levels)
    factories.chain(db, brand)
    ids_of(take(db, brand, order("o-1", 10_000)))
    found = {level: amount for (_, _, level), (_, amount) in paid(db, brand).items()}
    assert found == {level: 1_000 // level for level in range(1, levels + 1)}


# -- refused --------------------------------------------------------------------------------------

LATER = NOON + CLOCK_TOLERANCE
FAR = datetime.max.replace(tzinfo=UTC)

REFUSED: list[tuple[str, OrderIn, type[Exception], str]] = [
    ("unknown distributor", order("x", 100, distributor="dan"), UnknownDistributor, "distributor"),
    ("unknown code", order("x", 100, code="ann"), UnknownCode, "code"),
    ("joins later", order("x", 100, placed_at=LONG_AGO - days(1)), NotYetJoined, "distributor"),
    (
        "joins later, by code",
        order("x", 100, code="code-ann", placed_at=LONG_AGO - timedelta(microseconds=1)),
        NotYetJoined,
        "code",
    ),
    ("another currency", order("x", 100, currency="USD"), CurrencyNotAccepted, "currency"),
    ("no currency", order("x", 100, currency="XXX"), InvalidInput, "currency"),
    (
        "yet to come",
        order("x", 100, placed_at=LATER + timedelta(seconds=1)),
        InvalidInput,
        "placed_at",
    ),
    ("the end of days", order("x", 100, placed_at=FAR), InvalidInput, "placed_at"),
    (
        "no time zone",
        order("x", 100, placed_at=datetime(2026, 3, 1)),  # noqa: DTZ001
        InvalidInput,
        "placed_at",
    ),
    ("no lines", order("x"), InvalidInput, "lines"),
    ("no shop", order("x", 100, shop=" "), InvalidInput, "shop"),
    ("no name", order("", 100), InvalidInput, "external_id"),
    ("a long name", order("x" * 201, 100), InvalidInput, "external_id"),
    ("NUL", order("x\0", 100), InvalidInput, "external_id"),
    ("an empty buyer", order("x", 100, buyer=""), InvalidInput, "buyer"),
    (
        "two references",
        OrderIn("shop", "x", NOON, "CNY", (LineIn("a", 1, 1),), distributor="ann", code="code-ann"),
        InvalidInput,
        "code",
    ),
    ("no units", order("x", lines=[LineIn("a", 0, 1)]), InvalidInput, "lines[0].quantity"),
    (
        "a negative price",
        order("x", lines=[LineIn("a", 1, 1), LineIn("a", 1, -1)]),
        InvalidInput,
        "lines[1].unit_price",
    ),
    (
        "a discount above the price",
        order("x", lines=[LineIn("a", 2, 5, discount=11)]),
        InvalidInput,
        "lines[0].discount",
    ),
    ("a huge price", order("x", MAX_AMOUNT + 1), InvalidInput, "lines[0].unit_price"),
    ("a huge total", order("x", MAX_AMOUNT, 1), InvalidInput, "lines"),
    ("a huge line", order("x", lines=[LineIn("a", MAX_QUANTITY, 9_001)]), InvalidInput, "lines"),
    ("tax counts", order("x", lines=[LineIn("a", 1, MAX_AMOUNT, tax=1)]), InvalidInput, "lines"),
    ("no SKU", order("x", lines=[LineIn("", 1, 1)]), InvalidInput, "lines[0].sku"),
    (
        "an empty category",
        order("x", lines=[LineIn("a", 1, 1, "")]),
        InvalidInput,
        "lines[0].category",
    ),
]

CANNOT_BE_KEPT: list[tuple[str, OrderIn, type[Exception], str]] = [
    ("half a letter", order("\ud800", 100), InvalidInput, "external_id"),
    ("half a letter", order("x", 100, buyer="\udfff"), InvalidInput, "buyer"),
    ("half a letter", order("x", lines=[LineIn("a\ud800", 1, 1)]), InvalidInput, "lines[0].sku"),
    ("half a letter", order("x", 100, distributor="\ud800"), InvalidInput, "distributor"),
    (
        "more units than 64 bits",
        order("x", lines=[LineIn("a", 2**63, 0)]),
        InvalidInput,
        "lines[0].quantity",
    ),
    (
        "more units than anybody sells",
        order("x", lines=[LineIn("a", MAX_QUANTITY + 1, 0)]),
        InvalidInput,
        "lines[0].quantity",
    ),
    (
        "the beginning of days, east",
        order("x", 100, placed_at=datetime.fromisoformat("0001-01-01T00:00:00+08:00")),
        InvalidInput,
        "placed_at",
    ),
    (
        "the beginning of days, referred by nobody",
        order("x", 100, placed_at=datetime(1, 1, 1, tzinfo=UTC), distributor=None),
        InvalidInput,
        "placed_at",
    ),
]
EVERY_REFUSAL = [pytest.param(*case[1:], id=case[0]) for case in [*REFUSED, *CANNOT_BE_KEPT]]


@pytest.mark.parametrize("wrong, error, field", EVERY_REFUSAL)
def test_a_refused_order_writes_nothing_and_disturbs_no_other(
    db: Database, wrong: OrderIn, error: type[Exception], field: str
) -> None:
    brand = factories.brand(db, time_zone="America/New_York")
    who = factories.chain(db, brand)
    outcomes = take(db, brand, order("o-1", 100), wrong, order("o-2", 100), now=NOON)
    assert [each.status for each in outcomes] == ["accepted", "rejected", "accepted"]
    refused = outcomes[1].error
    assert refused is not None
    assert type(refused) is error
    assert (outcomes[1].id, refused.field) == (None, field)
    assert {key[0] for key in paid(db, brand)} == {"o-1", "o-2"}
    assert rows_of(db, brand)["orders"] == 2
    assert factories.balances(db, brand, who["ann"]).pending == 20


def test_the_words_name_what_is_wrong(db: Database, brand: Brand) -> None:
    factories.chain(db, brand)
    wrong = [each for _, each, _, _ in REFUSED[:5]]
    words = [str(take(db, brand, each, now=NOON)[0].error) for each in wrong]
    assert words == [
        "the brand has no distributor 'dan'",
        "no distributor has the code 'ann'",
        "distributor 'ann' joined after the order was placed",
        "distributor 'code-ann' joined after the order was placed",
        "the brand takes CNY, the order is in USD",
    ]
    assert rows_of(db, brand) == NOTHING


def test_no_orders_is_no_work(db: Database, brand: Brand) -> None:
    assert take(db, brand) == []


def test_every_line_of_a_refused_order_stays_out(db: Database, brand: Brand) -> None:
    factories.chain(db, brand)
    (outcome,) = take(db, brand, order("x", *[100] * 300, distributor="dan"))
    assert outcome.status is Status.REJECTED
    assert rows_of(db, brand) == NOTHING


# -- the same again -------------------------------------------------------------------------------


def test_the_same_again_is_a_duplicate(db: Database, brand: Brand) -> None:
    factories.chain(db, brand)
    placed_elsewhere = NOON.astimezone(clock.zone("Asia/Tokyo"))
    first = take(db, brand, order("o-1", 100))[0]
    before = rows_of(db, brand)
    for same in (order("o-1", 100), order("o-1", 100, placed_at=placed_elsewhere)):
        assert take(db, brand, same, now=NOON + days(9)) == [Outcome(Status.DUPLICATE, first.id)]
    assert rows_of(db, brand) == before


DIFFERENT: list[Callable[[], OrderIn]] = [
    lambda: order("o-1", 101),
    lambda: order("o-1", 100, 0),
    lambda: order("o-1", 100, placed_at=NOON - timedelta(seconds=1)),
    lambda: order("o-1", 100, distributor="bo"),
    lambda: order("o-1", 100, distributor=None),
    lambda: order("o-1", 100, code="code-ann"),
    lambda: order("o-1", 100, distributor="nobody"),
    lambda: order("o-1", 100, buyer="eve"),
    lambda: order("o-1", lines=[LineIn("sku-2", 1, 100)]),
    lambda: order("o-1", lines=[LineIn("sku-1", 1, 100, "tea")]),
    lambda: order("o-1", lines=[LineIn("sku-1", 1, 100, tax=1)]),
    lambda: order("o-1", lines=[LineIn("sku-1", 1, 100, shipping=1)]),
    lambda: order("o-1", lines=[LineIn("sku-1", 1, 101, discount=1)]),
    lambda: order("o-1", lines=[LineIn("sku-1", 2, 50)]),
]


@pytest.mark.parametrize("different", DIFFERENT)
@pytest.mark.parametrize("together", [True, False])
def test_the_same_order_with_another_content_is_refused(
    db: Database, brand: Brand, different: Callable[[], OrderIn], together: bool
) -> None:
    factories.chain(db, brand)
    chunks = (
        [[order("o-1", 100), different()]] if together else [[order("o-1", 100)], [different()]]
    )
    first, second = [each for chunk in chunks for each in take(db, brand, *chunk, now=NOON)]
    assert first.status is Status.ACCEPTED
    assert (second.status, second.id, type(second.error)) == (Status.REJECTED, None, OrderDiffers)
    assert rows_of(db, brand)["orders"] == 1


def test_another_shop_or_brand_is_another_order(db: Database, brand: Brand) -> None:
    factories.chain(db, brand)
    other = factories.brand(db)
    factories.chain(db, other)
    ids_of(take(db, brand, order("o-1", 100), order("o-1", 200, shop="market")))
    ids_of(take(db, other, order("o-1", 300)))


def test_twice_in_one_chunk(db: Database, brand: Brand) -> None:
    factories.chain(db, brand)
    once, twice, other, again = take(
        db, brand, order("o-1", 100), order("o-1", 100), order("o-2", 5), order("o-1", 100)
    )
    assert [once.status, other.status] == ["accepted", "accepted"]
    assert twice == again == Outcome(Status.DUPLICATE, once.id)
    assert rows_of(db, brand)["orders"] == 2


def test_a_repeat_of_what_was_refused_is_refused_likewise(db: Database, brand: Brand) -> None:
    factories.chain(db, brand)
    first, second = take(db, brand, *[order("o-1", 100, distributor="dan")] * 2)
    assert first == second
    assert isinstance(second.error, UnknownDistributor)


ALONE_OR_TOGETHER: list[tuple[str, list[OrderIn]]] = [
    ("wrong, then right", [order("o", 100, distributor="dan"), order("o", 100)]),
    ("wrong twice, then right", [*[order("o", 100, distributor="dan")] * 2, order("o", 100)]),
    ("invalid, then right", [order("o", 100, currency="USD"), order("o", 100)]),
    ("right, then wrong", [order("o", 100), order("o", 100, distributor="dan")]),
    ("right, other, right", [order("o", 100), order("o", 101), order("o", 100)]),
    ("recorded, other, recorded", [order("known", 7), order("known", 8), order("known", 7)]),
    ("other than recorded, then recorded", [order("known", 8), order("known", 7)]),
    ("wrong in two ways", [order("o", 1, distributor="dan"), order("o", 1, code="dan")]),
]


@pytest.mark.parametrize(
    "orders", [pytest.param(case, id=name) for name, case in ALONE_OR_TOGETHER]
)
def test_a_chunk_is_its_orders_one_by_one(db: Database, orders: list[OrderIn]) -> None:
    chunk, singles = factories.brand(db), factories.brand(db)
    for brand in (chunk, singles):
        factories.chain(db, brand)
        ids_of(take(db, brand, order("known", 7)))
    together = take(db, chunk, *orders)
    alone = [outcome for each in orders for outcome in take(db, singles, each)]
    assert [(each.status, type(each.error)) for each in together] == [
        (each.status, type(each.error)) for each in alone
    ]
    assert rows_of(db, chunk) == rows_of(db, singles)


# -- plan versions --------------------------------------------------------------------------------


def test_no_plan_in_force_pays_nothing(db: Database, brand: Brand) -> None:
    factories.trio(db, brand)
    (first,) = ids_of(take(db, brand, order("o-1", 100)))
    version = factories.plan(db, brand, effective_from=NOON + days(1))
    second, third = ids_of(
        take(db, brand, order("o-2", 100), order("o-3", 100, placed_at=NOON + days(1)))
    )
    assert [look(db, brand, each).plan_version_id for each in (first, second, third)] == [
        None,
        None,
        version.id,
    ]
    assert {key[0] for key in paid(db, brand)} == {"o-3"}


@pytest.mark.parametrize(
    "offset, rate",
    [(-days(1), 10), (-timedelta(microseconds=1), 10), (timedelta(0), 20), (days(1), 20)],
)
@pytest.mark.parametrize("late", [timedelta(0), days(400)])
def test_the_version_in_force_at_the_time_of_the_order(
    db: Database, brand: Brand, offset: timedelta, rate: int, late: timedelta
) -> None:
    factories.chain(db, brand, "10%")
    factories.plan(db, brand, "20%", effective_from=NOON)
    placed = NOON + offset
    ids_of(take(db, brand, order("o-1", 100, placed_at=placed), now=placed + late))
    assert [amount for _, amount in paid(db, brand).values()] == [rate]


def test_versions_of_one_chunk(db: Database, brand: Brand) -> None:
    factories.trio(db, brand)
    versions = [
        factories.plan(db, brand, f"{rate}%", effective_from=NOON + days(day))
        for day, rate in ((1, 10), (2, 20), (3, 30))
    ]
    orders = [order(f"o-{n}", 100, placed_at=NOON + days(n)) for n in (3, 0, 1, 2, 2.5)]
    taken = ids_of(take(db, brand, *orders))
    found = [look(db, brand, each).plan_version_id for each in taken]
    by_day = [None, *(version.id for version in versions)]
    assert found == [by_day[3], by_day[0], by_day[1], by_day[2], by_day[2]]
    assert {key[0]: amount for key, (_, amount) in paid(db, brand).items()} == {
        "o-3": 30, "o-1": 10, "o-2": 20, "o-2.5": 20
    }  # fmt: skip


def test_a_line_that_no_rule_matches_pays_nothing(db: Database, brand: Brand) -> None:
    factories.trio(db, brand)
    tea = {"rules": [{"match": {"category": ["tea"]}, "rates": ["10%"]}]}
    factories.plan(db, brand, plan_document=tea)
    lines = [LineIn("a", 1, 100), LineIn("b", 1, 200, "tea"), LineIn("c", 1, 300, "cups")]
    ids_of(take(db, brand, order("o-1", lines=lines)))
    assert {key: amount for key, (_, amount) in paid(db, brand).items()} == {("o-1", 2, 1): 20}


def test_tiny_amounts_write_no_commission(db: Database, brand: Brand) -> None:
    factories.chain(db, brand)
    ids_of(take(db, brand, order("o-1", 4)))
    assert rows_of(db, brand) == NOTHING | {"orders": 1, "order_line": 1}


# -- the tree of the order's time -----------------------------------------------------------------


def test_the_upline_is_that_of_the_orders_time(db: Database, brand: Brand) -> None:
    who = factories.chain(db, brand) | factories.enrol(db, brand, {"dan": None, "eli": "dan"})
    moved_at = NOON + days(10)
    with clock.travel(moved_at), db.transaction() as session:
        move_distributor(session, brand_id=brand.id, distributor="ann", sponsor="eli", at=moved_at)
    tick = timedelta(microseconds=1)
    orders = [
        order("before", 100, placed_at=NOON),
        order("last", 100, placed_at=moved_at - tick),
        order("first", 100, placed_at=moved_at),
        order("after", 100, placed_at=moved_at + days(1)),
    ]
    ids_of(take(db, brand, *orders))
    found = paid(db, brand)
    for name in ("before", "last"):
        assert [found[name, 1, n][0] for n in (1, 2, 3)] == [who["ann"], who["bo"], who["cy"]]
    for name in ("first", "after"):
        assert [found[name, 1, n][0] for n in (1, 2, 3)] == [who["ann"], who["eli"], who["dan"]]


def test_a_move_higher_up_changes_the_third_level(db: Database, brand: Brand) -> None:
    who = factories.chain(db, brand) | factories.enrol(db, brand, {"dan": None})
    with clock.travel(NOON), db.transaction() as session:
        move_distributor(session, brand_id=brand.id, distributor="bo", sponsor="dan", at=NOON)
    ids_of(take(db, brand, order("old", 100, placed_at=NOON - days(1)), order("new", 100)))
    found = paid(db, brand)
    assert (found["old", 1, 3][0], found["new", 1, 3][0]) == (who["cy"], who["dan"])
    assert found["old", 1, 2][0] == found["new", 1, 2][0] == who["bo"]


def test_a_move_to_nobody_leaves_levels_empty(db: Database, brand: Brand) -> None:
    who = factories.chain(db, brand)
    with clock.travel(NOON), db.transaction() as session:
        move_distributor(session, brand_id=brand.id, distributor="ann", sponsor=None, at=NOON)
    ids_of(take(db, brand, order("o-1", 100)))
    assert paid(db, brand) == {("o-1", 1, 1): (who["ann"], 10)}


def test_the_day_somebody_joins(db: Database, brand: Brand) -> None:
    factories.plan(db, brand)
    factories.enrol(db, brand, {"ann": None}, at=NOON)
    before = order("before", 100, placed_at=NOON - timedelta(microseconds=1))
    outcomes = take(db, brand, before, order("at", 100))
    assert [each.status for each in outcomes] == ["rejected", "accepted"]


# -- days -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "zone, hold, placed, earned_and_available",
    [
        ("Asia/Shanghai", 15, "2026-03-01T04:00:00Z", ("2026-03-01", "2026-03-16")),
        ("Asia/Shanghai", 15, "2026-02-28T15:59:59.999999Z", ("2026-02-28", "2026-03-15")),
        ("Asia/Shanghai", 15, "2026-02-28T16:00:00Z", ("2026-03-01", "2026-03-16")),
        ("Asia/Shanghai", 0, "2026-02-28T16:00:00Z", ("2026-03-01", "2026-03-01")),
        ("Asia/Shanghai", 365, "2026-02-28T16:00:00Z", ("2026-03-01", "2027-03-01")),
        ("UTC", 1, "2026-02-28T23:59:59Z", ("2026-02-28", "2026-03-01")),
        # the clocks go forward on 8 March 2026 in New York, and back on 1 November
        ("America/New_York", 1, "2026-03-08T04:59:59Z", ("2026-03-07", "2026-03-08")),
        ("America/New_York", 1, "2026-03-08T05:00:00Z", ("2026-03-08", "2026-03-09")),
        ("America/New_York", 1, "2026-03-09T03:59:59Z", ("2026-03-08", "2026-03-09")),
        ("America/New_York", 1, "2026-03-09T04:00:00Z", ("2026-03-09", "2026-03-10")),
        ("America/New_York", 7, "2026-11-02T04:59:59Z", ("2026-11-01", "2026-11-08")),
        ("America/New_York", 7, "2026-11-02T05:00:00Z", ("2026-11-02", "2026-11-09")),
        ("Pacific/Kiritimati", 1, "2026-03-01T10:00:00Z", ("2026-03-02", "2026-03-03")),
        ("Pacific/Pago_Pago", 1, "2026-03-01T10:59:59Z", ("2026-02-28", "2026-03-01")),
    ],
)
def test_earned_and_availableare_those_of_the_brand(
    db: Database, zone: str, hold: int, placed: str, earned_and_available: tuple[str, str]
) -> None:
    earned, available = map(date.fromisoformat, earned_and_available)
    brand = factories.brand(db, time_zone=zone, hold_days=hold)
    factories.chain(db, brand)
    placed_at = datetime.fromisoformat(placed)
    (order_id,) = ids_of(take(db, brand, order("o-1", 10_000, placed_at=placed_at)))
    assert look(db, brand, order_id).available_on == available
    with db.transaction() as session:
        (earned_on,) = set(
            session.scalars(select(Commission.earned_on).where(Commission.brand_id == brand.id))
        )
        items = session.scalars(select(OpenItem).where(OpenItem.brand_id == brand.id)).all()
        assert earned_on == earned
        assert {item.available_on for item in items} == {available}


def test_a_shop_whose_clock_runs_ahead(db: Database, brand: Brand) -> None:
    factories.chain(db, brand)
    ahead = order("o-1", 100, placed_at=NOON + CLOCK_TOLERANCE)
    (order_id,) = ids_of(take(db, brand, ahead, now=NOON))
    row = look(db, brand, order_id)
    assert (row.placed_at, row.effective_at) == (NOON + CLOCK_TOLERANCE, NOON)


# -- many -----------------------------------------------------------------------------------------


def many(count: int) -> list[OrderIn]:
    """Orders of all sorts: several lines, references, versions, wrong ones and repeats."""
    references: Sequence[dict[str, Any]] = (
        {"distributor": "ann"},
        {"distributor": "bo"},
        {"code": "code-cy"},
        {"distributor": None},
        {"distributor": "dan"},
    )
    return [
        order(
            f"o-{n}",
            placed_at=NOON + timedelta(minutes=7 * n),
            lines=[
                LineIn(f"s-{n}-{line}", 1 + n % 3, 37 * (n + line), ("tea", None)[line % 2])
                for line in range(1 + n % 4)
            ],
            **references[n % 5],
        )
        for n in (place - (place % 13 == 12) for place in range(count))
    ]


def test_a_chunk_of_250_is_250_single_orders(db: Database) -> None:
    """The chunk goes by COPY, the single orders by INSERT: the same rows, the same balances."""
    chunk, singles = factories.brand(db), factories.brand(db)
    orders, now = many(250), NOON + days(3)
    found: list[Any] = []
    for brand in (chunk, singles):
        who = factories.trio(db, brand)
        factories.plan(db, brand, "10%", "5%", "2%")
        tea = factories.document("7.7777%", "3%", tea=["12.5%", "1%"], rounding="half_even")
        factories.plan(db, brand, plan_document=tea, effective_from=NOON + days(0.5))
        if brand is chunk:
            outcomes = take(db, brand, *orders, now=now)
        else:
            outcomes = [take(db, brand, each, now=now)[0] for each in orders]
        name_of = {number: name for name, number in who.items()}
        found.append(
            (
                [(each.status, type(each.error)) for each in outcomes],
                {key: (name_of[person], x) for key, (person, x) in paid(db, brand).items()},
                [factories.balances(db, brand, who[name]) for name in ("ann", "bo", "cy")],
                rows_of(db, brand),
            )
        )
    assert found[0] == found[1]
    statuses = [status for status, _ in found[0][0]]
    assert {status: statuses.count(status) for status in set(statuses)} == {
        "accepted": 184, "duplicate": 15, "rejected": 51
    }  # fmt: skip
    assert len(found[0][1]) > 500


def test_the_brand_pays_what_the_distributors_get(db: Database, brand: Brand) -> None:
    who = factories.chain(db, brand)
    take(db, brand, *many(60), now=NOON + days(3))
    with db.transaction() as session:
        own = read_balances(session, brand_id=brand.id, owner=0)
    got = sum(factories.balances(db, brand, who[name]).earned for name in who)
    assert own == {(AccountKind.COMMISSION_EXPENSE, "CNY"): -got}
    assert got > 0


def test_order_ids_are_ids(db: Database, brand: Brand) -> None:
    factories.chain(db, brand)
    taken = ids_of(take(db, brand, order("o-1", 1), order("o-2", 1)))
    assert taken == sorted(taken)
    assert all(re.fullmatch(r"ord_[0-9a-z]{12}", ids.public("ord", each)) for each in taken)
    with db.transaction() as session:
        assert session.get(PlanVersion, (brand.id, look(db, brand, taken[0]).plan_version_id))
