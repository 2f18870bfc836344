"""What was recorded, what it paid, and why."""

from __future__ import annotations

from typing import Any

import pytest

from tests import factories
from tests.api.conftest import NOW, Caller, order, refund


def test_an_order_is_shown_as_it_was_taken(shop: Caller) -> None:
    line = {"sku": "tea", "category": "drinks", "quantity": 3, "unit_price": 500, "discount": 100}
    body = order(lines=[line | {"shipping": 20, "tax": 30}], buyer="me")
    taken = shop.post(201, "/orders", body)
    shop.post(201, "/refunds", refund(reason="cold", lines=[{"line_no": 1, "quantity": 1}]))
    shown = shop.get(f"/orders/{taken['id']}")
    assert shown["lines"] == [line | {"line_no": 1, "shipping": 20, "tax": 30}]
    assert shown["placed_at"] == "2026-03-01T04:00:00Z"
    assert shown["available_on"] == "2026-03-16"
    assert (shown["distributor"], shown["referral"], shown["plan_version"]) == ("ann", "direct", 1)
    (back,) = shown["refunds"]
    assert (back["external_id"], back["reason"]) == ("R-1", "cold")
    assert back["lines"] == [{"line_no": 1, "quantity": 1, "amount": 467}]


def test_orders_are_filtered_and_sorted_by_time(shop: Caller) -> None:
    for n in range(4):
        placed_at = (factories.NOON + factories.days(n)).isoformat()
        who = {"distributor": "bo"} if n == 1 else {"distributor": None, "code": "code-ann"}
        body = order(f"A-{n}", placed_at=placed_at, shop=f"shop-{n % 2}", buyer=f"b-{n}") | who
        shop.at(NOW + factories.days(9)).post(201, "/orders", body)

    def names(**query: Any) -> list[str]:
        return [each["external_id"] for each in shop.get("/orders", **query)["items"]]

    assert names() == ["A-3", "A-2", "A-1", "A-0"]
    assert names(sort="placed_at") == ["A-0", "A-1", "A-2", "A-3"]
    assert names(shop="shop-1") == ["A-3", "A-1"]
    assert names(external_id="A-2") == ["A-2"]
    assert names(distributor="bo") == ["A-1"]
    assert names(buyer="b-0") == ["A-0"]
    first, last = (
        (factories.NOON + factories.days(n)).isoformat().replace("+00:00", "Z") for n in (1, 3)
    )
    assert names(from_=first, to=last) == ["A-2", "A-1"]


@pytest.mark.parametrize(
    "path, query, field",
    [
        ("/orders", {"from": "2026-03-01"}, "from"),
        ("/orders", {"to": "tomorrow"}, "to"),
        ("/orders", {"distributor": "nobody"}, "distributor"),
        ("/orders", {"sort": "buyer"}, "sort"),
        ("/orders", {"shop": ""}, "shop"),
        ("/commissions", {"from": "2026-02-30"}, "from"),
        ("/commissions", {"to": "9999-01-01"}, "to"),
        ("/commissions", {"level": "4"}, "level"),
        ("/commissions", {"order": "ref_000000000001"}, "order"),
        ("/commissions", {"distributor": "nobody"}, "distributor"),
        ("/distributors/ann/upline", {"at": "2026-03-01T00:00:00 08:00"}, "at"),
        ("/distributors/ann/statement", {"from": "2026-03-02", "to": "2026-03-01"}, "to"),
        ("/distributors/ann/statement", {"from": "March"}, "from"),
        ("/tree/report", {"at": "now"}, "at"),
        ("/settlement/batches", {"state": "lost"}, "state"),
    ],
)
def test_a_wrong_query_names_the_field(
    shop: Caller, path: str, query: dict[str, str], field: str
) -> None:
    assert shop.refused(422, "GET", path, query=query) == [field]


def test_commissions_are_listed_by_order_and_by_distributor(shop: Caller) -> None:
    taken = shop.post(201, "/orders", order("A-1", 10_000, 333))["id"]
    shop.post(201, "/orders", order("A-2", 50))
    back = shop.post(201, "/refunds", refund(lines=[{"line_no": 1, "quantity": 1}]))["id"]

    paid = shop.get(f"/orders/{taken}/commissions")["items"]
    assert [(c["source_id"], c["line_no"], c["level"], c["amount"]) for c in paid] == [
        (taken, 1, 1, 1_000),
        (taken, 1, 2, 500),
        (taken, 1, 3, 200),
        (taken, 2, 1, 33),
        (taken, 2, 2, 17),
        (taken, 2, 3, 7),
        (back, 1, 1, -1_000),
        (back, 1, 2, -500),
        (back, 1, 3, -200),
    ]
    assert shop.get("/commissions", order=taken)["items"] == paid
    assert {c["currency"] for c in paid} == {"CNY"}
    assert [c["rate"] for c in paid[:3]] == ["10%", "5%", "2%"]
    of_bo = shop.get("/commissions", distributor="bo")["items"]
    assert sorted(c["amount"] for c in of_bo) == [-500, 3, 17, 500]
    assert {c["level"] for c in of_bo} == {2}
    assert len(shop.get("/commissions", level="3")["items"]) == 4
    assert len(shop.get("/commissions")["items"]) == 12
    assert shop.get("/commissions", from_="2026-03-02")["items"] == []
    assert len(shop.get("/commissions", from_="2026-03-01", to="2026-03-01")["items"]) == 12


def test_every_amount_is_explained(shop: Caller) -> None:
    taken = shop.post(201, "/orders", order("A-1", 10_000))["id"]
    back = shop.post(
        201, "/refunds", refund(lines=[{"line_no": 1, "quantity": 0, "amount": 4_000}])
    )["id"]
    why = shop.get(f"/commissions/{taken}/1/2/explanation")
    assert (why["data"]["amount"], why["data"]["verified"]) == (500, True)
    assert any("5%" in sentence for sentence in why["words"])
    why = shop.get(f"/commissions/{back}/1/2/explanation")
    assert (why["data"]["amount"], why["data"]["verified"]) == (-200, True)
    whole = shop.get(f"/orders/{taken}/explanation")
    assert [each["amount"] for each in whole["data"]["lines"][0]["levels"]] == [1_000, 500, 200]


@pytest.mark.parametrize(
    "path",
    [
        "/orders/{unknown}",
        "/orders/A-1",
        "/orders/ref_000000000001",
        "/orders/%00",
        "/orders/{unknown}/commissions",
        "/orders/{unknown}/explanation",
        "/commissions/{unknown}/1/1/explanation",
        "/commissions/ref_000000000001/1/1/explanation",
        "/commissions/{known}/2/1/explanation",
        "/commissions/{known}/1/0/explanation",
        "/commissions/{known}/1/4/explanation",
        "/commissions/{known}/10001/1/explanation",
        "/commissions/dst_000000000001/1/1/explanation",
    ],
)
def test_what_is_not_recorded_is_not_found(shop: Caller, path: str) -> None:
    known = shop.post(201, "/orders", order())["id"]
    shop.send(404, "GET", path.format(known=known, unknown="ord_000000000001"))
