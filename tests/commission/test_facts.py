"""What plans ask beside the tree: volumes, caps, ranks, eligibility, customers, own purchases."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import select, text

from distrib import clock
from distrib.brands.tables import Brand
from distrib.commission.explanation import explain_order
from distrib.commission.outcome import Outcome, Status
from distrib.commission.tables import Commission, DistributorDay
from distrib.db import Database
from distrib.orders.document import LineIn, OrderIn
from distrib.orders.tables import Order
from distrib.settlement.audit import audit_brand
from distrib.tree.service import reactivate_distributor, suspend_distributor
from distrib.tree.standing import set_rank
from tests import factories
from tests.factories import LONG_AGO, NOON, days, give_back, ids_of, order, refund, take


def setup(db: Database, brand: Brand, **document: Any) -> dict[str, int]:
    """A plan in force, and cy > bo > ann."""
    document.setdefault("rules", [{"rates": ["10%", "5%", "2%"]}])
    factories.plan(db, brand, plan_document=document)
    return factories.trio(db, brand)


def paid(db: Database, brand: Brand, order_id: int) -> list[tuple[str, int]]:
    """Who got what of an order, net of its refunds, by level."""
    with db.transaction() as session:
        rows = session.execute(
            text(
                "SELECT d.external_id, sum(c.amount)::bigint FROM commission c"
                " JOIN distributor d ON d.brand_id = c.brand_id AND d.id = c.distributor_id"
                " WHERE c.brand_id = :brand AND c.order_id = :order"
                " GROUP BY 1 HAVING sum(c.amount) <> 0 ORDER BY min(c.level)"
            ),
            {"brand": brand.id, "order": order_id},
        )
        return [(row[0], row[1]) for row in rows]


def sell(
    db: Database, brand: Brand, name: str, *amounts: int, **changes: Any
) -> list[tuple[str, int]]:
    """Take an order and say who got what."""
    (order_id,) = ids_of(take(db, brand, order(name, *amounts, **changes)))
    return paid(db, brand, order_id)


@pytest.fixture(autouse=True)
def well(db: Database, brand: Brand) -> Any:
    """Whatever a test does, the audit finds nothing wrong."""
    yield
    with db.snapshot() as session:
        assert list(audit_brand(session, brand_id=brand.id)) == []


# -- volumes --------------------------------------------------------------------------------------

TIERS = [{"rates": [{"tiers": [{"rate": "10%"}, {"above": "5000.00", "rate": "12%"}]}]}]


def test_tiers_go_by_the_month(db: Database, brand: Brand) -> None:
    setup(db, brand, rules=TIERS)
    assert sell(db, brand, "a", 400_000) == [("ann", 40_000)]
    assert sell(db, brand, "b", 200_000) == [("ann", 22_000)]  # 1000 at 10 %, 1000 at 12 %
    assert sell(db, brand, "c", 100_000) == [("ann", 12_000)]
    assert sell(db, brand, "d", 100_000, placed_at=NOON + days(31)) == [("ann", 10_000)]
    assert sell(db, brand, "e", 100_000, distributor="bo") == [("bo", 10_000)]


def test_a_batch_is_its_orders_one_by_one(db: Database, brand: Brand) -> None:
    other = factories.brand(db)
    plan: dict[str, Any] = {
        "rules": TIERS,
        "caps": {"distributor_day": "500.00"},
        "bonuses": [{"kind": "first_order", "rates": ["1%"]}],
    }
    orders = [
        order(f"o-{n}", 100_000 + n, distributor=("ann", "bo")[n % 2], buyer=f"b{n % 3}")
        for n in range(12)
    ]
    results = []
    for mine, chunks in ((brand, [orders]), (other, [[each] for each in orders])):
        setup(db, mine, **plan)
        taken = [ids_of(take(db, mine, *chunk)) for chunk in chunks]
        results.append([paid(db, mine, each) for chunk in taken for each in chunk])
    assert results[0] == results[1]
    assert sum(amount for each in results[0] for _, amount in each) == 100_000


def test_a_refund_gives_volume_back(db: Database, brand: Brand) -> None:
    setup(db, brand, rules=TIERS)
    (first,) = ids_of(take(db, brand, order("a", 600_000)))
    give_back(db, brand, refund("r", "a", (1, 0, 200_000)))
    assert paid(db, brand, first) == [("ann", 40_000)]  # priced at the volume of its own time
    assert sell(db, brand, "b", 200_000) == [("ann", 22_000)]


def test_a_milestone_is_paid_once_a_month(db: Database, brand: Brand) -> None:
    bonus = {"kind": "milestone", "month_volume": "1000.00", "amount": "50.00"}
    setup(db, brand, rules=[{"rates": ["1%"]}], bonuses=[bonus])
    assert sell(db, brand, "a", 90_000) == [("ann", 900)]
    assert sell(db, brand, "b", 10_000) == [("ann", 5_100)]
    assert sell(db, brand, "c", 200_000) == [("ann", 2_000)]
    give_back(db, brand, refund("r", "c"), refund("s", "a"))  # 100.00 are left of the month
    assert sell(db, brand, "d", 90_000) == [("ann", 900)], "another order reached it, and keeps it"
    assert sell(db, brand, "e", 100_000, placed_at=NOON + days(31)) == [("ann", 6_000)]


def test_a_milestone_that_is_taken_back_can_be_reached_again(db: Database, brand: Brand) -> None:
    bonus = {"kind": "milestone", "month_volume": "1000.00", "amount": "50.00"}
    setup(db, brand, rules=[{"rates": ["1%"]}], bonuses=[bonus])
    (first,) = ids_of(take(db, brand, order("a", 100_000)))
    assert paid(db, brand, first) == [("ann", 6_000)]
    give_back(db, brand, refund("r", "a", (1, 0, 1)))
    assert paid(db, brand, first) == [("ann", 1_000)]
    assert sell(db, brand, "b", 1) == [("ann", 5_000)]
    assert sell(db, brand, "c", 1) == []


def test_a_milestone_is_reached_once_by_orders_at_once(db: Database, brand: Brand) -> None:
    bonus = {"kind": "milestone", "month_volume": "100.00", "amount": "50.00"}
    setup(db, brand, rules=[{"rates": ["0%"]}], bonuses=[bonus])
    orders = [order(f"o-{n}", 3_000) for n in range(16)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda each: take(db, brand, each), orders))
    with db.transaction() as session:
        amounts = session.scalars(select(Commission.amount).where(Commission.brand_id == brand.id))
        assert amounts.all() == [5_000]


def test_what_was_sold_before_the_plan_counts(db: Database, brand: Brand) -> None:
    factories.plan(db, brand)
    factories.trio(db, brand)
    take(db, brand, order("a", 500_000))
    with db.transaction() as session:
        assert session.scalars(select(DistributorDay)).all() is not None
    factories.plan(db, brand, plan_document={"rules": TIERS}, effective_from=NOON + days(1))
    assert sell(db, brand, "b", 100_000, placed_at=NOON + days(2)) == [("ann", 12_000)]


# -- caps -----------------------------------------------------------------------------------------


def test_the_cap_of_a_day(db: Database, brand: Brand) -> None:
    setup(db, brand, caps={"distributor_day": "15.00", "distributor_month": "25.00"})
    assert sell(db, brand, "a", 10_000) == [("ann", 1_000), ("bo", 500), ("cy", 200)]
    assert sell(db, brand, "b", 10_000) == [("ann", 500), ("bo", 500), ("cy", 200)]
    assert sell(db, brand, "c", 10_000) == [("bo", 500), ("cy", 200)]
    tomorrow = NOON + days(1)
    assert sell(db, brand, "d", 20_000, placed_at=tomorrow) == [
        ("ann", 1_000),  # the month's
        ("bo", 1_000),
        ("cy", 400),
    ]


def test_a_refund_gives_room_back(db: Database, brand: Brand) -> None:
    setup(db, brand, rules=[{"rates": ["10%"]}], caps={"distributor_day": "10.00"})
    (first,) = ids_of(take(db, brand, order("a", 8_000)))
    (second,) = ids_of(take(db, brand, order("b", 8_000)))
    assert (paid(db, brand, first), paid(db, brand, second)) == ([("ann", 800)], [("ann", 200)])
    give_back(db, brand, refund("r", "a"))
    assert paid(db, brand, first) == []
    assert sell(db, brand, "c", 20_000) == [("ann", 800)]
    give_back(db, brand, refund("r", "b", (1, 0, 5_000)))
    assert paid(db, brand, second) == [("ann", 200)]  # 30.00 at 10 % is 3.00; it may keep 2.00


def test_no_cap_is_passed_by_orders_at_once(db: Database, brand: Brand) -> None:
    setup(db, brand, caps={"distributor_day": "100.00"})
    orders = [order(f"o-{n}", 5_000, distributor=("ann", "bo", "cy")[n % 3]) for n in range(60)]

    def one(each: OrderIn) -> list[Outcome]:
        return take(db, brand, each)

    with ThreadPoolExecutor(8) as pool:
        outcomes = [outcome for (outcome,) in pool.map(one, orders)]
    assert {each.status for each in outcomes} == {Status.ACCEPTED}
    with db.transaction() as session:
        rows = session.execute(
            text(
                "SELECT d.external_id, sum(c.amount)::bigint FROM commission c JOIN distributor d"
                " ON d.id = c.distributor_id WHERE c.brand_id = :brand GROUP BY 1 ORDER BY 1"
            ),
            {"brand": brand.id},
        )
        assert [tuple(row) for row in rows] == [("ann", 10_000), ("bo", 10_000), ("cy", 10_000)]


# -- ranks and eligibility ------------------------------------------------------------------------


def at(
    instant: datetime, db: Database, verb: Callable[..., Any], brand: Brand, **named: Any
) -> None:
    with clock.travel(instant), db.transaction() as session:
        verb(session, brand_id=brand.id, **named)


DIFFERENCE = {
    "ranks": ["silver", "gold", "diamond"],
    "rules": [{"difference": {"silver": "10%", "gold": "20%", "diamond": "25%"}}],
}


def test_differences_of_ranks(db: Database, brand: Brand) -> None:
    setup(db, brand, **DIFFERENCE)
    for who, rank in (("ann", "silver"), ("bo", "gold"), ("cy", "diamond")):
        at(LONG_AGO + days(1), db, set_rank, brand, distributor=who, rank=rank, changed_by="t")
    assert sell(db, brand, "a", 100_000) == [("ann", 10_000), ("bo", 10_000), ("cy", 5_000)]
    at(NOON + days(1), db, set_rank, brand, distributor="ann", rank="gold", changed_by="t")
    late = NOON + days(2)
    assert sell(db, brand, "b", 100_000, placed_at=late) == [("ann", 20_000), ("cy", 5_000)]
    # an order of before the promotion that comes late is paid by the rank of its time
    with clock.travel(late):
        (order_id,) = ids_of(
            take(db, brand, order("c", 100_000, placed_at=NOON + days(0.5)), now=late)
        )
    assert paid(db, brand, order_id) == [("ann", 10_000), ("bo", 10_000), ("cy", 5_000)]


@pytest.mark.parametrize(
    "mode, expected",
    [
        ("keep", [("ann", 1_000), ("cy", 200)]),
        ("roll_up", [("ann", 1_000), ("cy", 500), ("di", 200)]),
        ("stop", [("ann", 1_000)]),
    ],
)
def test_a_suspended_distributor_does_not_earn(
    db: Database, brand: Brand, mode: str, expected: list[tuple[str, int]]
) -> None:
    factories.plan(
        db,
        brand,
        plan_document={
            "rules": [{"rates": ["10%", "5%", "2%"]}],
            "eligibility": {"active": True},
            "unfilled": mode,
        },
    )
    factories.enrol(db, brand, {"di": None, "cy": "di", "bo": "cy", "ann": "bo"})
    at(LONG_AGO + days(1), db, suspend_distributor, brand, distributor="bo")
    assert sell(db, brand, "a", 10_000) == expected
    at(NOON + days(1), db, reactivate_distributor, brand, distributor="bo")
    later = sell(db, brand, "b", 10_000, placed_at=NOON + days(2))
    assert later == [("ann", 1_000), ("bo", 500), ("cy", 200)]


def test_who_has_not_sold_does_not_earn(db: Database, brand: Brand) -> None:
    setup(db, brand, eligibility={"sold_within_days": 30})
    assert sell(db, brand, "a", 10_000) == []
    assert sell(db, brand, "b", 10_000, placed_at=NOON + days(1)) == [("ann", 1_000)]
    assert sell(db, brand, "c", 10_000, distributor="cy") == []
    assert sell(db, brand, "d", 10_000, placed_at=NOON + days(30)) == [
        ("ann", 1_000),
        ("cy", 200),
    ]
    assert sell(db, brand, "e", 10_000, placed_at=NOON + days(70)) == []


# -- customers ------------------------------------------------------------------------------------

FIRST = [{"rates": ["10%"]}, {"match": {"first_order": True}, "rates": ["20%"]}]


def test_first_orders(db: Database, brand: Brand) -> None:
    setup(db, brand, rules=FIRST)
    assert sell(db, brand, "a", 1_000, buyer="x") == [("ann", 200)]
    assert sell(db, brand, "b", 1_000, buyer="x") == [("ann", 100)]
    assert sell(db, brand, "c", 1_000, buyer=None) == [("ann", 100)]
    give_back(db, brand, refund("r", "a", (1, 0, 500)))
    assert sell(db, brand, "d", 1_000, buyer="x") == [("ann", 100)]


def test_of_orders_at_once_one_is_the_first(db: Database, brand: Brand) -> None:
    setup(db, brand, rules=FIRST)
    orders = [order(f"o-{n}", 1_000, buyer="x") for n in range(16)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda each: take(db, brand, each), orders))
    with db.transaction() as session:
        amounts = session.scalars(select(Commission.amount).where(Commission.brand_id == brand.id))
        assert sorted(amounts) == [100] * 15 + [200]


@pytest.mark.parametrize(
    "mode, expected, credited",
    [
        ("off", [], None),
        ("buyer_first", [("ann", 1_000), ("bo", 500), ("cy", 200)], "ann"),
        ("sponsor_first", [("bo", 1_000), ("cy", 500)], "bo"),
    ],
)
def test_own_purchases(
    db: Database,
    brand: Brand,
    mode: str,
    expected: list[tuple[str, int]],
    credited: str | None,
) -> None:
    people = setup(db, brand, self_purchase=mode)
    (order_id,) = ids_of(
        take(db, brand, order("a", 10_000, distributor=None, buyer_distributor="ann"))
    )
    assert paid(db, brand, order_id) == expected
    with db.transaction() as session:
        row = session.get_one(Order, (brand.id, order_id))
        assert row.referral == "self"
        assert row.distributor_id == (credited and people[credited])
    assert sell(db, brand, "b", 10_000) == [("ann", 1_000), ("bo", 500), ("cy", 200)]
    give_back(db, brand, refund("r", "a"))
    assert paid(db, brand, order_id) == []


@pytest.mark.parametrize(
    "name, field", [("nobody", "buyer_distributor"), ("late", "buyer_distributor")]
)
def test_an_unknown_buyer(db: Database, brand: Brand, name: str, field: str) -> None:
    setup(db, brand)
    factories.enrol(db, brand, {"late": None}, NOON + days(1))
    (told,) = take(db, brand, order("a", 100, distributor=None, buyer_distributor=name))
    assert told.error is not None
    assert told.error.field == "buyer_distributor"


# -- bases ----------------------------------------------------------------------------------------

LINE = LineIn("A", 2, 5_000, discount=1_000, shipping=300, tax=90, other_paid=4_000, cost=6_000,
              income=700)  # fmt: skip


@pytest.mark.parametrize(
    "base, includes, expected",
    [
        ("gross", [], (1_000, 500)),
        ("net", [], (900, 450)),
        ("paid", [], (500, 250)),
        ("margin", [], (300, 150)),
        ("income", [], (70, 35)),
        ("net", ["shipping", "tax"], (939, 470)),
    ],
)
def test_bases(
    db: Database, brand: Brand, base: str, includes: list[str], expected: tuple[int, int]
) -> None:
    whole, half = expected
    document: dict[str, Any] = {"base": base, "rules": [{"rates": ["10%"]}]}
    setup(db, brand, **document | ({"includes": includes} if includes else {}))
    (order_id,) = ids_of(take(db, brand, order("a", lines=[LINE])))
    assert paid(db, brand, order_id) == [("ann", whole)]
    give_back(db, brand, refund("r", "a", (1, 1)))
    assert paid(db, brand, order_id) == [("ann", half)]
    give_back(db, brand, refund("s", "a", (1, 1)))
    assert paid(db, brand, order_id) == []


def test_an_explanation_of_all_of_it(db: Database, brand: Brand) -> None:
    setup(
        db,
        brand,
        rules=[{"name": "all", "rates": [{"per_unit": "3.00"}, "5%"]}],
        bonuses=[{"kind": "first_order", "rates": ["10%"]}],
        caps={"order": "20%", "distributor_day": "6.00"},
    )
    (order_id,) = ids_of(take(db, brand, order("a", 3_000, buyer="x")))
    assert paid(db, brand, order_id) == [("ann", 480), ("bo", 120)]
    with db.snapshot() as session:
        told = explain_order(session, brand=brand, order_id=order_id)
    assert "Level 1 gets 3.00 CNY for each of 1 units: 3.00 CNY." in told.words
    assert "Bonuses add 3.00 CNY." in told.words
    assert (
        "The plan's caps bring it from 6.00 CNY to 4.80 CNY, all levels in proportion."
        in told.words
    )
    assert "受方案封顶限制，各级按比例缩减，由 6.00 CNY 减为 4.80 CNY。" in told.words_zh
