"""Simulations over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from distrib.api import simulations
from tests import factories
from tests.api.conftest import Caller, order, refund

_DAYS = {"first_day": "2026-03-01", "last_day": "2026-03-31"}


@pytest.fixture
def sold(shop: Caller) -> Caller:
    """A brand with two orders, one of them refunded in part."""
    shop.post(201, "/orders", order("A-1", 10_000, 5_000, channel="web"))
    shop.post(201, "/orders", order("A-2", 20_000, distributor="cy"))
    shop.post(201, "/refunds", refund(lines=[{"line_no": 1, "quantity": 0, "amount": 5_000}]))
    return shop


def test_a_document_is_simulated(sold: Caller) -> None:
    body = {"document": factories.document("20%"), "name": "试算"} | _DAYS
    made = sold.post(201, "/plans/simulations", body)
    assert (made["number"], made["name"], made["created_by"]) == (1, "试算", "tests")
    assert (made["orders"], made["sales"], made["recorded"]) == (2, 30_000, 0)
    assert (made["simulated"], made["simulated_share"]) == (6_000, "20%")
    assert (made["paid"], made["paid_share"]) == (3_700, "12.3333%")
    assert made["levels"][1] == {"level": 2, "simulated": 0, "paid": 500}
    assert [each["name"] for each in made["channels"]] == [None, "web"]
    assert [(each["distributor"], each["simulated"]) for each in made["gain_most"]] == [
        ("cy", 4_000),
        ("ann", 2_000),
    ]
    assert made["losing"] == 1
    assert sold.get("/plans/simulations/1") == made
    (listed,) = sold.get("/plans/simulations")["items"]
    assert (listed["simulated"], "levels" in listed) == (6_000, False)


def test_what_is_in_force_pays_what_it_paid(sold: Caller) -> None:
    made = sold.post(201, "/plans/simulations", {"version": 1} | _DAYS)
    assert (made["simulated"], made["differing"], made["recorded"]) == (made["paid"], 0, 2)


def test_a_draft_is_simulated_once_and_compared(sold: Caller) -> None:
    sold.post(201, "/plans/drafts", {"document": factories.document("5%")})
    one = sold.post(201, "/plans/simulations", {"draft": 1} | _DAYS, key="k")
    assert sold.post(201, "/plans/simulations", {"draft": 1} | _DAYS, key="k") == one
    sold.post(201, "/plans/simulations", {"version": 1} | _DAYS)
    assert [len(page) for page in sold.pages("/plans/simulations", 1)] == [1, 1]
    figures = sold.get("/plans/simulations/1/compare/2")["figures"]
    assert figures[0] == {
        "part": "total", "name": "", "one": 1_500, "other": 3_700, "paid": 3_700,
    }  # fmt: skip
    sold.post(201, "/plans/simulations", {"version": 1} | _DAYS | {"last_day": "2026-03-02"})
    assert sold.refused(409, "GET", "/plans/simulations/1/compare/3") == ["other"]


def test_it_is_exported_and_drawn(sold: Caller) -> None:
    sold.post(201, "/plans/simulations", {"version": 1, "name": "a <b>"} | _DAYS)
    told = sold.call("GET", "/plans/simulations/1/csv")
    rows = told.get_data().decode("utf-8-sig").splitlines()
    assert rows[:2] == ["part,name,sales,simulated,paid,currency", "total,,300.00,37.00,37.00,CNY"]
    drawn = sold.call("GET", "/plans/simulations/1/chart").get_data(as_text=True)
    assert drawn.startswith("<svg")
    assert "a &lt;b&gt;" in drawn


@pytest.mark.parametrize(
    "change, field",
    [
        ({"version": None}, "document"),
        ({"draft": 1}, "document"),
        ({"last_day": "2026-02-01"}, "last_day"),
        ({"first_day": "soon"}, "first_day"),
        ({"name": ""}, "name"),
        ({"name": "  "}, "name"),
        ({"version": 0}, "version"),
        ({"version": None, "document": {"rules": []}}, "document.rules"),
        ({"until": 1}, "until"),
    ],
)
def test_what_cannot_be_simulated(shop: Caller, change: dict[str, Any], field: str) -> None:
    body = {"version": 1} | _DAYS | change
    body = {name: value for name, value in body.items() if value is not None}
    assert shop.refused(422, "POST", "/plans/simulations", body) == [field]
    assert shop.get("/plans/simulations")["items"] == []


def test_what_is_not_there(shop: Caller) -> None:
    shop.send(404, "POST", "/plans/simulations", {"version": 2} | _DAYS)
    shop.send(404, "POST", "/plans/simulations", {"draft": 1} | _DAYS)
    shop.send(404, "GET", "/plans/simulations/1")


def test_too_much_for_a_request(sold: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulations, "MOST_ORDERS", 1)
    told = sold.send(422, "POST", "/plans/simulations", {"version": 1} | _DAYS)
    assert "distrib plan simulate" in told["detail"]
