"""Debts and adjustments by API."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from distrib.api.paging import Listing
from distrib.brands import service as brands
from distrib.brands.tables import Brand
from distrib.config import Settings
from distrib.db import Database
from tests import factories
from tests.api.conftest import Caller
from tests.factories import NOON, days
from tests.races.world import findings

NOW = NOON + days(60)


@pytest.fixture
def owed(shop: Caller, db: Database, settings: Settings, brand: Brand) -> Caller:
    """Ann owes 10.00 since 20 days ago, Bo 5.00 and Cy 2.00, after a refund; it is day 60."""
    factories.ids_of(factories.take(db, brand, factories.order("o-1", 10_000)))
    factories.settle(db, settings, brand, date(2026, 3, 16), NOON + days(15))
    back = factories.refund("r-1", "o-1", refunded_at=NOW - days(20))
    factories.ids_of(factories.give_back(db, brand, back))
    return shop.at(NOW)


@pytest.fixture
def finance(db: Database, owed: Caller, brand: Brand) -> Caller:
    """Another key of the same brand."""
    with db.transaction() as session:
        return replace(owed, key=brands.create_key(session, brand_id=brand.id, name="finance"))


def test_debts(owed: Caller) -> None:
    first, *rest = [each for page in owed.pages("/debts", limit=1) for each in page]
    assert first | {"distributor_id": ""} == {
        "distributor": "ann",
        "distributor_id": "",
        "name": "Ann",
        "status": "active",
        "amount": 1_000,
        "currency": "CNY",
        "since": "2026-04-10",
        "ages": {"days_0_30": 1_000, "days_31_60": 0, "days_61_90": 0, "days_over_90": 0},
    }
    assert [each["amount"] for each in rest] == [500, 200]
    totals = owed.get("/debts/totals")
    assert (totals["debtors"], totals["amount"], totals["as_of"]) == (3, 1_700, "2026-04-30")
    assert totals["ages"]["days_0_30"] == 1_700
    assert owed.get("/debts/totals", as_of="2026-04-09")["debtors"] == 0
    assert owed.get("/debts", as_of="2026-04-09")["items"] == []
    for path in ("/debts", "/debts/totals", "/debts/csv"):
        assert owed.refused(422, "GET", path, query={"as_of": "2026-05-01"}) == ["as_of"]
        assert owed.refused(422, "GET", path, query={"as_of": "May"}) == ["as_of"]
    assert owed.refused(422, "GET", "/debts", query={"cursor": "x"}) == ["cursor"]


def test_an_export(owed: Caller) -> None:
    response = owed.call("GET", "/debts/csv")
    assert response.status_code == 200
    rows = list(csv.DictReader(io.StringIO(response.get_data().decode("utf-8-sig"), newline="")))
    assert [(row["distributor"], row["debt"], row["days_0_30"]) for row in rows] == [
        ("ann", "10.00", "10.00"),
        ("bo", "5.00", "5.00"),
        ("cy", "2.00", "2.00"),
    ]


def ask(caller: Caller, status: int = 201, **changes: Any) -> Any:
    body = {"distributor": "ann", "kind": "write_off", "reason": "left"} | changes
    return caller.post(status, "/adjustments", body)


def test_a_write_off(owed: Caller, finance: Caller, db: Database, brand: Brand) -> None:
    asked = ask(owed)
    assert (asked["amount"], asked["state"], asked["requested_by"]) == (1_000, "requested", "tests")
    path = f"/adjustments/{asked['id']}"
    assert owed.refused(409, "POST", f"{path}/approve") == ["approved_by"]
    done = finance.post(200, f"{path}/approve", key="once")
    assert (done["state"], done["decided_by"], done["available_on"]) == (
        "approved",
        "finance",
        "2026-04-30",
    )
    assert finance.post(200, f"{path}/approve", key="once") == done == owed.get(path)
    finance.post(409, f"{path}/approve")
    finance.post(409, f"{path}/reject")
    assert [each["distributor"] for each in owed.get("/debts")["items"]] == ["bo", "cy"]
    assert owed.get("/distributors/ann/statement")["balances"]["available"] == 0
    entry = owed.get("/distributors/ann/earnings")["items"][0]
    assert (entry["kind"], entry["source_id"], entry["amount"], entry["order_id"]) == (
        "adjustment",
        asked["id"],
        1_000,
        None,
    )
    assert findings(db, brand) == []


def test_adjustments_are_listed(owed: Caller, finance: Caller) -> None:
    first, second = ask(owed, amount=300), ask(owed, distributor="bo", kind="overpaid", amount=7)
    assert second["amount"] == -7
    assert finance.post(200, f"/adjustments/{first['id']}/reject")["state"] == "rejected"
    found = [each["id"] for page in owed.pages("/adjustments", limit=1) for each in page]
    assert found == [second["id"], first["id"]]
    for query, expected in (
        ({"state": "requested"}, [second]),
        ({"kind": "write_off"}, [first]),
        ({"distributor": "ann"}, [first]),
        ({"distributor": "cy"}, []),
    ):
        items = owed.get("/adjustments", **query)["items"]
        assert [each["id"] for each in items] == [each["id"] for each in expected]
    assert owed.refused(422, "GET", "/adjustments", query={"distributor": "x"}) == ["distributor"]


@pytest.mark.parametrize(
    "status, changes, field",
    [
        (409, {"amount": 1_001}, "amount"),
        (409, {"kind": "underpaid", "amount": 1_001}, "amount"),
        (422, {"kind": "overpaid"}, "amount"),
        (422, {"amount": 0}, "amount"),
        (422, {"amount": -1}, "amount"),
        (422, {"amount": "10"}, "amount"),
        (422, {"kind": "gift"}, "kind"),
        (422, {"reason": " "}, "reason"),
        (422, {"reason": None}, "reason"),
        (422, {"distributor": "nobody"}, "distributor"),
        (422, {"case_id": 1}, "case_id"),
    ],
)
def test_what_cannot_be_asked_for(
    owed: Caller, status: int, changes: dict[str, Any], field: str
) -> None:
    body = {"distributor": "ann", "kind": "write_off", "reason": "left"} | changes
    assert owed.refused(status, "POST", "/adjustments", body) == [field]


def test_what_is_not_there(owed: Caller) -> None:
    for name in ("adj_000000000001", "ord_000000000001", "x"):
        owed.send(404, "GET", f"/adjustments/{name}")
        owed.post(404, f"/adjustments/{name}/approve")
        owed.post(404, f"/adjustments/{name}/reject")


def test_a_cursor_of_any_place_is_answered(owed: Caller) -> None:
    for amount in (-(1 << 63), 0, (1 << 63) - 1):
        for distributor in (-(1 << 63), (1 << 63) - 1):
            forged = Listing("debts", {}).write([amount, distributor])
            items = owed.get("/debts", cursor=forged)["items"]
            assert len(items) == (3 if amount > 0 else 0)
