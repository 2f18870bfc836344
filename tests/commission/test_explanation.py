"""Explanations: in words, as data, computed again, and honest when the record is wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import select, text

from distrib import clock, ids
from distrib.brands.tables import Brand
from distrib.commission.explanation import (
    CommissionNotFound,
    Explanation,
    OrderNotFound,
    explain_commission,
    explain_order,
)
from distrib.commission.tables import Commission
from distrib.commission.trace import replay
from distrib.db import Database
from distrib.money import format_amount
from distrib.orders.document import LineIn, OrderIn
from distrib.tree.service import move_distributor
from tests import factories
from tests.factories import LONG_AGO, NOON, days, give_back, ids_of, order, refund, take


def why(
    db: Database, brand: Brand, source_id: int, line_no: int = 1, level: int = 1
) -> Explanation:
    with db.snapshot() as session:
        return explain_commission(
            session, brand=brand, source_id=source_id, line_no=line_no, level=level
        )


def why_order(db: Database, brand: Brand, order_id: int) -> Explanation:
    with db.snapshot() as session:
        return explain_order(session, brand=brand, order_id=order_id)


PLAN: dict[str, Any] = {
    "name": "Spring",
    "rounding": "half_even",
    "rules": [
        {"name": "default", "rates": ["10%", "5%"]},
        {"name": "tea", "match": {"category": ["tea"]}, "rates": ["12.5%", "0%", "2%"]},
        {"name": "gift", "match": {"sku": ["GIFT"]}, "rates": ["3.3333%"]},
    ],
}


@pytest.fixture
def shop(db: Database, brand: Brand) -> Brand:
    factories.plan(db, brand, plan_document=PLAN)
    factories.trio(db, brand)
    return brand


def test_one_commission_in_words(db: Database, shop: Brand) -> None:
    lines = [LineIn("PU-ERH", 3, 1_000, "tea", discount=1, shipping=9)]
    (order_id,) = ids_of(take(db, shop, order("o-1", lines=lines)))
    told = why(db, shop, order_id)
    assert told.words == [
        "Line 1 of order o-1 (shop): 3 × 10.00 CNY of SKU 'PU-ERH', less 0.01 CNY discount, cost"
        " 29.99 CNY; shipping and tax do not earn.",
        "By its reference the order was credited to ann (Ann).",
        "In the tree of 2026-03-01 04:00:00 UTC, level 1 was ann (Ann), level 2 was bo (Bo),"
        " level 3 was cy (Cy).",
        "Plan version 1 ('Spring') was in force from 2026-01-01 00:00:00 UTC.",
        "Rule 2 ('tea') applies, because it names category 'tea' and no rule names the SKU.",
        "Level 1 gets 12.5% of 29.99 CNY: 3.74875, rounded half to even to 3.75 CNY.",
        "ann (Ann) gets 3.75 CNY; computed again just now, the engine gives the same.",
    ]
    trace = told.data.pop("trace")
    assert replay(json.loads(json.dumps(trace))).amount.tolist() == [[375, 0, 60]]
    assert told.data == {
        "order": {
            "id": ids.public("ord", order_id),
            "shop": "shop",
            "external_id": "o-1",
            "placed_at": "2026-03-01T04:00:00+00:00",
            "effective_at": "2026-03-01T04:00:00+00:00",
            "referral": "direct",
            "channel": None,
            "upline": [
                {"level": 1, "distributor": "ann"},
                {"level": 2, "distributor": "bo"},
                {"level": 3, "distributor": "cy"},
            ],
        },
        "refund": None,
        "line": {
            "line_no": 1,
            "sku": "PU-ERH",
            "category": "tea",
            "quantity": 3,
            "unit_price": 1_000,
            "discount": 1,
        },
        "level": 1,
        "distributor": "ann",
        "plan_version": 1,
        "rule": {"no": 2, "name": "tea", "matched_by": "category"},
        "beaten": [{"no": 1, "name": "default", "matched_by": "default"}],
        "base": 2_999,
        "rate": "12.5%",
        "rate_ppm": 125_000,
        "rounding": "half_even",
        "rounding_step": "line",
        "stages": {
            "rule": 375,
            "filled": 375,
            "bonus": 375,
            "cap": 375,
            "milestone": 375,
            "room": 375,
        },
        "told": None,
        "paid_before": 0,
        "amount": 375,
        "currency": "CNY",
        "verified": True,
    }
    json.dumps(told.data)
    assert told.words_zh == [
        "订单 o-1（shop）第 1 行：SKU “PU-ERH” 3 件，单价 10.00 CNY，优惠 0.01 CNY，"
        "成交 29.99 CNY；运费和税费不计佣。",
        "该订单通过订单指定的推荐人归属于 ann (Ann)。",
        "按 2026-03-01 04:00:00 UTC 时的推荐关系，第 1 级是 ann (Ann)，第 2 级是 bo (Bo)，"
        "第 3 级是 cy (Cy)。",
        "佣金方案第 1 版“Spring”自 2026-01-01 00:00:00 UTC 起生效。",
        "适用第 2 条规则“tea”：它指明了品类“tea”，且没有规则指明该 SKU。",
        "第 1 级得 29.99 CNY 的 12.5%：3.74875，四舍六入五成双取整为 3.75 CNY。",
        "ann (Ann) 得 3.75 CNY；刚刚重新计算，结果一致。",
    ]


@pytest.mark.parametrize(
    "line, rule, product",
    [
        (
            LineIn("A", 1, 100),
            "Rule 1 ('default') applies, the default,",
            "10% of 1.00 CNY: 0.10 exactly",
        ),
        (
            LineIn("GIFT", 1, 300),
            "Rule 3 ('gift') applies, because it names SKU 'GIFT'",
            "3.3333% of 3.00 CNY: 0.099999, rounded half to even to 0.10 CNY",
        ),
        (LineIn("GIFT", 1, 300, "tea"), "Rule 3 ('gift') applies", "0.099999, rounded"),
        (
            LineIn("A", 1, 5, "tea"),
            "Rule 2 ('tea') applies",
            "12.5% of 0.05 CNY: 0.00625, rounded half to even to 0.01 CNY",
        ),
    ],
)
def test_rule_and_product(db: Database, shop: Brand, line: LineIn, rule: str, product: str) -> None:
    (order_id,) = ids_of(take(db, shop, order("o-1", lines=[line])))
    words = "\n".join(why(db, shop, order_id).words)
    assert rule in words
    assert product in words


@pytest.mark.parametrize(
    "currency, base, product",
    [
        ("JPY", 1_234_567, "10% of 1,234,567 JPY: 123,456.7, rounded half up to 123,457 JPY"),
        ("JPY", 1_230, "10% of 1,230 JPY: 123 exactly"),
        ("KWD", 1_234_567, "10% of 1,234.567 KWD: 123.4567, rounded half up to 123.457 KWD"),
        ("CNY", 1_234_567, "10% of 12,345.67 CNY: 1,234.567, rounded half up to 1,234.57 CNY"),
        ("CNY", 1_234_560, "10% of 12,345.60 CNY: 1,234.56 exactly"),
    ],
)
def test_products_in_the_currency_of_the_brand(
    db: Database, currency: str, base: int, product: str
) -> None:
    brand = factories.brand(db, currency=currency)
    factories.chain(db, brand)
    (order_id,) = ids_of(take(db, brand, order("o-1", base, currency=currency)))
    assert product in "\n".join(why(db, brand, order_id).words)


def test_a_refund_in_words(db: Database, shop: Brand) -> None:
    ids_of(take(db, shop, order("o-1", 10_000)))
    first, second = ids_of(
        give_back(
            db,
            shop,
            refund("r-1", "o-1", (1, 0, 2_505), refunded_at=NOON + days(1)),
            refund("r-2", "o-1", (1, 0, 5_000), refunded_at=NOON + days(2)),
        )
    )
    told = why(db, shop, first)
    assert told.words[-4:] == [
        "Refund r-1 of 2026-03-02 left 74.95 CNY of the line.",
        "Level 1 gets 10% of 74.95 CNY: 7.495, rounded half to even to 7.50 CNY.",
        "Before, the line paid 10.00 CNY; the difference is -2.50 CNY.",
        "ann (Ann) gets -2.50 CNY; computed again just now, the engine gives the same.",
    ]
    assert told.data["refund"] == {"id": ids.public("ref", first), "external_id": "r-1"}
    assert (told.data["paid_before"], told.data["base"], told.data["amount"]) == (
        1_000,
        7_495,
        -250,
    )
    told = why(db, shop, second, level=2)
    assert (told.data["paid_before"], told.data["base"], told.data["amount"]) == (375, 2_495, -250)
    assert told.data["verified"] is True
    assert "Before, the line paid 3.75 CNY; the difference is -2.50 CNY." in told.words


def test_every_commission_is_verified(db: Database, shop: Brand) -> None:
    """Over moves, versions, refunds and all rules, the words contain what was paid."""
    factories.enrol(db, shop, {"dan": None})
    factories.plan(db, shop, "20%", "7.7777%", effective_from=NOON + days(1))
    with clock.travel(NOON + days(2)), db.transaction() as session:
        move_distributor(
            session, brand_id=shop.id, distributor="bo", sponsor="dan", at=NOON + days(2)
        )
    lines = [LineIn("A", 2, 1_111), LineIn("GIFT", 1, 999), LineIn("B", 3, 77, "tea", discount=5)]
    for day in range(4):
        for name in ("ann", "bo", "cy"):
            one = order(
                f"o-{day}-{name}", distributor=name, placed_at=NOON + days(day), lines=lines
            )
            ids_of(take(db, shop, one))
        ids_of(
            give_back(
                db, shop, refund(f"r-{day}", f"o-{day}-ann", (1, 1), (3, 0, 33)), now=NOON + days(9)
            )
        )
        ids_of(give_back(db, shop, refund(f"s-{day}", f"o-{day}-ann"), now=NOON + days(9)))
    with db.transaction() as session:
        rows = session.scalars(select(Commission).where(Commission.brand_id == shop.id)).all()
    assert len(rows) > 60
    for row in rows:
        told = why(db, shop, row.source_id, row.line_no, row.level)
        assert told.data["verified"] is True
        assert told.data["amount"] == row.amount
        assert f"gets {format_amount(row.amount, 'CNY')} CNY;" in told.words[-1]
        assert "gives the same" in told.words[-1]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE commission SET amount = amount + 1 WHERE level = 1",
        "UPDATE commission SET rate_ppm = 120000 WHERE level = 1",
        "UPDATE commission SET rule_no = 1 WHERE level = 1",
        "UPDATE commission SET base = base - 100 WHERE level = 1",
        "UPDATE commission SET distributor_id = {bo} WHERE level = 1",
        "UPDATE commission SET distributor_id = {dan} WHERE level = 1",
        "UPDATE order_line SET category = NULL WHERE line_no = 1",
        "UPDATE sponsorship SET valid_from = valid_from + interval '1 year' WHERE"
        " distributor_id = {ann}",
    ],
)
def test_it_says_when_the_record_is_wrong(db: Database, shop: Brand, change: str) -> None:
    """Even what the explanation is asked about is not trusted; it must not fail over it either."""
    who = factories.enrol(db, shop, {"dan": None})
    with db.transaction() as session:
        found = session.execute(
            text("SELECT external_id, id FROM distributor WHERE brand_id = :id"), {"id": shop.id}
        )
        who |= dict(map(tuple, found))
    (order_id,) = ids_of(take(db, shop, order("o-1", lines=[LineIn("A", 1, 1_000, "tea")])))
    with db.transaction() as session:
        session.execute(text("SET LOCAL session_replication_role = replica"))
        session.execute(text(f"{change.format(**who)} AND brand_id = :id"), {"id": shop.id})
        told = explain_commission(session, brand=shop, source_id=order_id, line_no=1, level=1)
        session.rollback()
    assert told.data["verified"] is False
    assert "the engine DISAGREES" in told.words[-1]


def test_what_is_not_there(db: Database, shop: Brand) -> None:
    (order_id,) = ids_of(take(db, shop, order("o-1", 1_000)))
    for source, line, level in ((order_id, 1, 3), (order_id, 2, 1), (order_id + 1, 1, 1)):
        with pytest.raises(CommissionNotFound):
            why(db, shop, source, line, level)
    other = factories.brand(db)
    with pytest.raises(CommissionNotFound):
        why(db, other, order_id)
    with pytest.raises(OrderNotFound, match=ids.public("ord", order_id)):
        why_order(db, other, order_id)


# -- a whole order --------------------------------------------------------------------------------


def reasons(told: Explanation, line: int = 0) -> list[tuple[int, str | None]]:
    """Amount and reason of each level."""
    return [(each["amount"], each["reason"]) for each in told.data["lines"][line]["levels"]]


NOBODY = "nobody stood there"
NO_RATE = "the rule names no rate for it"
ZERO = "its rate is 0%"
TINY = "the amount rounds to zero"
EMPTY = "the line has nothing to earn on"


@pytest.mark.parametrize(
    "placed, expected",
    [
        (order("o", 1_000), [(100, None), (50, None), (0, NO_RATE)]),
        (
            order("o", lines=[LineIn("A", 1, 1_000, "tea")]),
            [(125, None), (0, ZERO), (20, None)],
        ),
        (
            order("o", lines=[LineIn("A", 1, 1_000, "tea")], distributor="bo"),
            [(125, None), (0, ZERO), (0, NOBODY)],
        ),
        (
            order("o", 1_000, distributor="cy"),
            [(100, None), (0, NOBODY), (0, NO_RATE)],
        ),
        (order("o", 9), [(1, None), (0, TINY), (0, NO_RATE)]),
        (order("o", 0), [(0, EMPTY), (0, EMPTY), (0, NO_RATE)]),
    ],
)
def test_why_a_level_got_nothing(
    db: Database, shop: Brand, placed: OrderIn, expected: list[tuple[int, str | None]]
) -> None:
    (order_id,) = ids_of(take(db, shop, placed))
    told = why_order(db, shop, order_id)
    assert reasons(told) == expected
    for _, reason in expected:
        assert reason is None or any(f"gets nothing: {reason}." in each for each in told.words)


def test_an_order_that_nobody_referred(db: Database, shop: Brand) -> None:
    (order_id,) = ids_of(take(db, shop, order("o", 1_000, distributor=None)))
    told = why_order(db, shop, order_id)
    assert told.words[0] == "No distributor referred the order, so it pays nothing."
    assert [amount for amount, _ in reasons(told)] == [0, 0, 0]
    assert all(reason for _, reason in reasons(told))


def test_an_order_before_any_plan(db: Database, brand: Brand) -> None:
    factories.trio(db, brand)
    (order_id,) = ids_of(take(db, brand, order("o", 1_000)))
    told = why_order(db, brand, order_id)
    assert "No plan version was in force at that time, so the order pays nothing." in told.words
    assert told.data["plan_version"] is None
    assert [amount for amount, _ in reasons(told)] == [0, 0, 0]


def test_an_order_that_no_rule_matches(db: Database, brand: Brand) -> None:
    tea = {"rules": [{"match": {"category": ["tea"]}, "rates": ["10%"]}]}
    factories.plan(db, brand, plan_document=tea)
    factories.trio(db, brand)
    (order_id,) = ids_of(take(db, brand, order("o", 1_000)))
    told = why_order(db, brand, order_id)
    assert "None of its rules matches SKU 'sku-1'; the line pays nothing." in told.words
    assert reasons(told) == [(0, "no rule applies")] * 3


def test_an_order_of_which_some_came_back(db: Database, shop: Brand) -> None:
    (order_id,) = ids_of(take(db, shop, order("o", 10_000, 2_000, code="code-ann")))
    ids_of(give_back(db, shop, refund("r", "o", (1, 0, 2_500))))
    told = why_order(db, shop, order_id)
    assert told.words[0] == "By code 'code-ann' the order was credited to ann (Ann)."
    came_back = "Of the line 25.00 CNY came back; it now pays 7.50 CNY, 3.75 CNY, 0.00 CNY."
    assert told.words.count(came_back) == 1
    assert [line["refunded"] for line in told.data["lines"]] == [2_500, 0]
    assert reasons(told, 1)[0] == (200, None)
    assert told.data["order"]["referral"] == "code"


@pytest.mark.parametrize("levels", [1, 2])
def test_a_brand_with_fewer_levels(db: Database, levels: int) -> None:
    brand = factories.brand(db, levels=levels)
    factories.plan(db, brand, *("10%", "5%")[:levels], effective_from=LONG_AGO)
    factories.trio(db, brand)
    (order_id,) = ids_of(take(db, brand, order("o", 1_000)))
    told = why_order(db, brand, order_id)
    assert reasons(told) == [(100, None), (50, None)][:levels]
    assert len(told.data["order"]["upline"]) == levels
    assert "level 3" not in "\n".join(told.words).lower()
