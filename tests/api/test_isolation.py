"""A brand's key sees its own brand and nothing else, by whatever name it asks."""

from __future__ import annotations

import re
from typing import Any

import pytest

from distrib import ids
from distrib.db import Database
from tests import factories
from tests.api.conftest import NOW, Caller, make_caller, order, refund

_REASON = {"reason": "to see whether it is there"}
_METHOD = {"kind": "stripe", "details": {"account_id": "acct_1"}}
_BODIES: dict[str, Any] = {
    "/rank": {"rank": "gold"},
    "/move": {"sponsor": None},
    "/approve": {"content_hash": "00" * 32},
    "/drafts/1": {"document": factories.document()},
    "/tax-profile": {"name": "Ann"},
    **{
        f"/{step}": _REASON
        for step in ("reject", "hold", "release", "void", "reissue", "return", "remove")
    },
    "/payout-methods": _METHOD,
    "/prove": {"code": "000000"},
    "/prove-by-staff": {"evidence": "none"},
    "/confirm": {"evidence": "none"},
    "/refuse": {"evidence": "none"},
    "/resolve": {"resolution": "note", "note": "none"},
}


@pytest.fixture
def theirs(shop: Caller) -> dict[str, list[str]]:
    """What another brand has: values for each variable of a path."""
    taken = shop.post(201, "/orders", order())["id"]
    back = shop.post(201, "/refunds", refund(lines=[{"line_no": 1, "quantity": 0, "amount": 100}]))
    shop.at(NOW + factories.days(20)).post(201, "/settlement/batches", {})
    shop.post(201, "/plans/drafts", {"document": factories.document()})
    days = {"first_day": "2026-03-01", "last_day": "2026-03-31"}
    shop.post(201, "/plans/simulations", {"version": 1} | days)
    ann = shop.get("/distributors/ann")["id"]
    method = shop.post(201, "/distributors/ann/payout-methods", _METHOD)["id"]
    closed = shop.at(NOW + factories.days(20)).post(201, "/closes", {"day": "2026-03-02"})
    taken_in = _statement(shop)
    asked = {"distributor": "ann", "kind": "overpaid", "amount": 1, "reason": "x"}
    return {
        "method": [method],
        "day": [closed["day"]],
        "statement": [taken_in],
        "case": [shop.get("/reconciliation/cases")["items"][0]["id"]],
        "adjustment": [shop.post(201, "/adjustments", asked)["id"]],
        "order": [taken],
        "source": [taken, back["id"]],
        "ref": ["ann", ann],
        "number": ["1"],
        "other": ["1"],
        "line": ["1"],
        "level": ["1"],
        "no": ["1"],
        # nobody calls back where there is no provider that does
        "brand": [shop.get("/brand")["slug"]],
        "provider": ["bank-file", "wechat"],
    }


def _statement(shop: Caller) -> str:
    """A statement with a line of nobody's."""
    response = shop.call(
        "POST",
        "/reconciliation/statements",
        query={"provider": "bank-file", "name": "s.csv"},
        data=b"reference,amount,date\nx,1.00,2026-03-02\n",
        content_type="text/csv",
    )
    assert response.status_code == 200, response.get_data(as_text=True)
    return str(response.get_json()["statement"]["id"])


@pytest.fixture
def stranger(db: Database, shop: Caller) -> Caller:
    """Another brand, with nothing in it."""
    return make_caller(db, shop.app, shop.contract, factories.brand(db))


def _paths(template: str, values: dict[str, list[str]]) -> list[str]:
    paths = [template]
    for name in re.findall(r"{(\w+)}", template):
        paths = [path.replace(f"{{{name}}}", value) for path in paths for value in values[name]]
    return paths


def test_no_path_leads_to_another_brand(
    stranger: Caller, shop: Caller, theirs: dict[str, list[str]]
) -> None:
    tried = 0
    for template, methods in stranger.contract.document["paths"].items():
        variables = set(re.findall(r"{(\w+)}", template))
        if not variables or "slug" in variables:
            continue
        below = template.removeprefix("/api/v1")
        for method in methods.keys() & {"get", "post", "put", "delete"}:
            for path in _paths(below, theirs):
                body = next((b for end, b in _BODIES.items() if path.endswith(end)), None)
                stranger.send(404, method.upper(), path, body)
                tried += 1
    assert tried > 50
    # and it was theirs all along
    for path in (
        *("/orders/{order}", "/distributors/{ref}", "/settlement/batches/{number}"),
        *("/plans/{number}", "/plans/drafts/{number}", "/plans/{number}/diff/{other}"),
        *("/settlement/batches/{number}/payouts/{no}", "/settlement/batches/{number}/events"),
    ):
        for each in _paths(path, theirs):
            shop.get(each)


def test_lists_and_reports_show_nothing_of_another_brand(
    stranger: Caller, shop: Caller, theirs: dict[str, list[str]]
) -> None:
    for path in (
        *("/plans", "/plans/drafts", "/brand/acknowledgements", "/distributors", "/orders"),
        *("/plans/simulations", "/commissions", "/settlement/batches", "/debts", "/adjustments"),
        *("/closes", "/reconciliation/statements", "/reconciliation/cases"),
    ):
        assert stranger.get(path)["items"] == []
    assert stranger.get("/debts/totals")["debtors"] == 0
    assert stranger.get("/commissions", order=theirs["order"][0])["items"] == []
    assert stranger.get("/settlement/preview", cutoff="2026-12-31")["left_out"] == []
    assert stranger.get("/settlement/preview/lines", cutoff="2026-12-31")["items"] == []
    assert stranger.get("/settlement/tax/report", year="2026")["rows"] == []
    assert stranger.get("/settlement/tax/settings")["items"] == []
    march = {"first_day": "2026-03-01", "last_day": "2026-03-31"}
    assert stranger.get("/reconciliation/summary", **march)["items"] == []
    known = shop.get("/settlement/batches/1")["id"]
    request_no = f"{ids.parse('bat', known)}p1a1"
    assert stranger.get("/settlement/payouts", request_no=request_no)["items"] == []
    assert stranger.get("/tree/report")["distributors"] == 0
    for path in ("/orders", "/commissions", "/settlement/payouts"):
        assert stranger.refused(422, "GET", path, query={"distributor": "ann"}) == ["distributor"]
    assert stranger.refused(422, "GET", "/distributors", query={"sponsor": "cy"}) == ["sponsor"]


def test_nothing_of_another_brand_can_be_named(
    stranger: Caller, theirs: dict[str, list[str]]
) -> None:
    assert stranger.refused(422, "POST", "/orders", order()) == ["distributor"]
    by_code = order(distributor=None, code="code-ann")
    assert stranger.refused(422, "POST", "/orders", by_code) == ["code"]
    below = {"external_id": "eve", "name": "Eve", "sponsor": "ann"}
    assert stranger.refused(422, "POST", "/distributors", below) == ["sponsor"]
    # the same names mean other things here
    assert stranger.post(202, "/refunds", refund("R-1"))["status"] == "waiting"
    assert stranger.post(201, "/distributors", {"external_id": "ann", "name": "Other Ann"})
    mine = stranger.at(NOW).post(201, "/orders", order(distributor=None))
    assert mine["id"] not in theirs["order"]
