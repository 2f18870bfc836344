"""The audit of what plans were told: it names every deliberate corruption."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from distrib import clock
from distrib.brands.tables import Brand
from distrib.commission.audit import commissions_equal_the_engine
from distrib.commission.facts_audit import CHECKS
from distrib.db import Database
from distrib.settlement.audit import audit_brand
from distrib.tree.standing import set_rank
from tests import factories
from tests.factories import LONG_AGO, days, ids_of, order, refund, take

PLAN = {
    "ranks": ["silver", "gold"],
    "rules": [
        {"rates": ["10%", "5%", "2%"]},
        {"match": {"rank": ["gold"]}, "rates": ["12%", "6%", "3%"]},
        {"match": {"first_order": True}, "rates": ["15%"]},
    ],
    "bonuses": [{"kind": "milestone", "month_volume": "150.00", "amount": "1.00"}],
    "caps": {"distributor_day": "20.00", "distributor_month": "500.00"},
}


@pytest.fixture(scope="module")
def told(db: Database) -> Brand:
    """A brand whose plan asks for ranks, first orders and room."""
    brand = factories.brand(db)
    factories.plan(db, brand, plan_document=PLAN)
    factories.trio(db, brand)
    factories.enrol(db, brand, {"aside": None})
    with clock.travel(LONG_AGO + days(1)), db.transaction() as session:
        set_rank(session, brand_id=brand.id, distributor="bo", rank="gold", changed_by="t")
    for n in range(4):
        ids_of(take(db, brand, order(f"o-{n}", 9_000, buyer=f"b{n % 2}")))
    factories.give_back(db, brand, refund("r", "o-1", (1, 0, 3_000)))
    return brand


def test_it_is_clean(db: Database, told: Brand) -> None:
    with db.snapshot() as session:
        assert list(audit_brand(session, brand_id=told.id)) == []
        kept = session.scalar(
            text("SELECT count(*) FROM order_facts WHERE brand_id = :id"), {"id": told.id}
        )
    assert kept == 4


HERE = "brand_id = :brand"


@pytest.mark.parametrize(
    "statement, check",
    [
        (f"UPDATE distributor_day SET volume = volume + 1 WHERE {HERE}", "commission.counted"),
        (
            f"UPDATE distributor_day SET orders = orders + 1 WHERE {HERE}",
            "commission.counted",
        ),
        (f"UPDATE distributor_day SET earned = earned - 1 WHERE {HERE}", "commission.counted"),
        (f"DELETE FROM distributor_day WHERE {HERE}", "commission.counted"),
        (f"DELETE FROM customer WHERE {HERE} AND buyer = 'b0'", "commission.customers"),
        (
            f"UPDATE customer SET first_order_id = first_order_id + 1 WHERE {HERE}",
            "commission.customers",
        ),
        (f"UPDATE order_facts SET first = NOT first WHERE {HERE}", "commission.customers"),
        (f"DELETE FROM order_facts WHERE {HERE}", "commission.facts"),
        (
            f"UPDATE order_facts SET earner1 = (SELECT id FROM distributor WHERE {HERE}"
            f" AND external_id = 'aside') WHERE {HERE}",
            "commission.earners",
        ),
        (
            f"UPDATE order_facts SET earner2 = earner3, earner3 = earner2 WHERE {HERE}",
            "commission.earners",
        ),
        (f"UPDATE order_facts SET rank2 = 1 WHERE {HERE}", "commission.earners"),
        (f"UPDATE order_facts SET rank2 = 0 WHERE {HERE}", "commission.engine"),
        (f"UPDATE order_facts SET room1 = room1 - 1 WHERE {HERE}", "commission.engine"),
        (f"DELETE FROM standing WHERE {HERE}", "commission.earners"),
        (f"DELETE FROM milestone_reached WHERE {HERE}", "commission.milestones"),
        (
            f"UPDATE milestone_reached SET order_id = order_id + 1 WHERE {HERE}",
            "commission.milestones",
        ),
        (f"UPDATE milestone_reached SET mark = 1 WHERE {HERE}", "commission.milestones"),
        (
            "UPDATE plan_version SET document = jsonb_set(document, '{caps,distributor_day}',"
            f" '\"3.00\"') WHERE {HERE}",
            "commission.caps",
        ),
    ],
)
def test_it_names_what_is_wrong(
    db: Database, told: Brand, statement: str, check: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distrib.commission.service._compiled", {})
    with db.transaction() as session:
        session.execute(text("SET LOCAL session_replication_role = replica"))
        changed = session.execute(text(statement), {"brand": told.id})
        assert changed.rowcount != 0  # type: ignore[attr-defined]
        found = [
            finding
            for each in [*CHECKS, commissions_equal_the_engine]
            for finding in each(session, told.id)
        ]
        session.rollback()
    monkeypatch.undo()
    assert check in {each.check for each in found}
    assert all(each.detail for each in found)
