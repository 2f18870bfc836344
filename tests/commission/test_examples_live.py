"""Every example plan through the life of a brand: orders, ranks, a suspension, refunds in parts.

The audit computes every commission again; and when all is refunded, nothing was paid.
"""

from __future__ import annotations

import random

import pytest
from sqlalchemy import text

from distrib import clock
from distrib.brands.tables import Brand
from distrib.commission import examples
from distrib.commission.explanation import explain_commission
from distrib.commission.trace import replay
from distrib.db import Database
from distrib.orders.document import LineIn, OrderIn
from distrib.settlement.audit import audit_brand
from distrib.tree.service import suspend_distributor
from distrib.tree.standing import set_rank
from tests import factories
from tests.factories import LONG_AGO, NOON, days, give_back, ids_of, order, refund, take

PEOPLE = {"cy": None, "bo": "cy", "ann": "bo", "dee": "ann", "lin": "bo"}
CATEGORIES = (None, "tea", "tea/green", "books", "cups", "生鲜")


def make_orders(chance: random.Random) -> list[OrderIn]:
    """Two dozen orders of two months."""
    made = []
    for n in range(24):
        lines = []
        for _ in range(chance.randrange(1, 4)):
            quantity, price = chance.randrange(1, 4), chance.randrange(0, 90_000)
            discount = chance.randrange(0, quantity * price // 3 + 1)
            net = quantity * price - discount
            lines.append(
                LineIn(
                    sku=f"S{chance.randrange(5)}",
                    quantity=quantity,
                    unit_price=price,
                    category=chance.choice(CATEGORIES),
                    discount=discount,
                    shipping=chance.randrange(0, 1_000),
                    tax=chance.randrange(0, 300),
                    other_paid=chance.choice((0, net // 4)),
                    cost=chance.choice((None, net // 2)),
                    income=chance.choice((None, net // 10)),
                )
            )
        own = chance.random() < 0.15
        made.append(
            order(
                f"o-{n}",
                lines=lines,
                distributor=None if own else chance.choice([*PEOPLE, None]),
                buyer_distributor=chance.choice([*PEOPLE]) if own else None,
                buyer=f"b{chance.randrange(8)}",
                channel=chance.choice(("wechat", "live", "store", None)),
                placed_at=NOON + days(2 * n),
            )
        )
    return made


def well(db: Database, brand: Brand) -> None:
    with db.snapshot() as session:
        assert list(audit_brand(session, brand_id=brand.id)) == []


@pytest.mark.parametrize("name", examples.names())
def test_an_example(db: Database, brand: Brand, name: str) -> None:
    document = examples.load(name)
    factories.enrol(db, brand, PEOPLE)
    named = {
        who for rule in document["rules"] for who in rule.get("match", {}).get("distributor", [])
    }
    factories.enrol(db, brand, dict.fromkeys(named - PEOPLE.keys(), "bo"))
    factories.plan(db, brand, plan_document=document)
    ranks = [each if isinstance(each, str) else each["name"] for each in document.get("ranks", [])]
    with clock.travel(LONG_AGO + days(1)), db.transaction() as session:
        for who, rank in zip(PEOPLE, reversed(ranks), strict=False):
            set_rank(session, brand_id=brand.id, distributor=who, rank=rank, changed_by="t")
        suspend_distributor(session, brand_id=brand.id, distributor="dee")
    chance = random.Random(name)
    orders = make_orders(chance)
    for start in range(0, len(orders), 7):
        ids_of(take(db, brand, *orders[start : start + 7]))
    back = NOON + days(60)
    for n, each in enumerate(chance.sample(orders, 10)):
        line_no = chance.randrange(len(each.lines)) + 1
        part = each.lines[line_no - 1].net // 3
        if part:
            parts = refund(f"r-{n}", each.external_id, (line_no, 0, part), refunded_at=back)
            give_back(db, brand, parts)
    well(db, brand)
    with db.snapshot() as session:
        rows = session.execute(
            text(
                "SELECT source_id, line_no, level FROM commission WHERE brand_id = :id"
                " ORDER BY source_id, line_no, level"
            ),
            {"id": brand.id},
        ).all()
        for source, line, level in chance.sample(rows, min(len(rows), 6)):
            told = explain_commission(
                session, brand=brand, source_id=source, line_no=line, level=level
            )
            assert told.data["verified"], told.words
            again = int(replay(told.data["trace"]).amount[line - 1, level - 1])
            assert again - told.data["paid_before"] == told.data["amount"]
    for each in orders:
        give_back(db, brand, refund("all", each.external_id, refunded_at=back))
    well(db, brand)
    with db.transaction() as session:
        left = session.execute(
            text(
                "SELECT distributor_id, sum(amount) FROM commission WHERE brand_id = :id"
                " GROUP BY 1 HAVING sum(amount) <> 0"
            ),
            {"id": brand.id},
        ).all()
    assert left == []
    assert rows, "the plan paid somebody"
