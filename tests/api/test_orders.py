"""Orders and refunds over HTTP, one by one and in batches."""

from __future__ import annotations

from typing import Any

import pytest

from distrib.config import Settings
from tests import factories
from tests.api.conftest import Caller, order, refund

_LINE = {"sku": "tea", "quantity": 1, "unit_price": 100}


def test_an_order_is_taken_once(shop: Caller) -> None:
    taken = shop.post(201, "/orders", order())
    assert taken["status"] == "accepted"
    assert shop.post(200, "/orders", order()) == {"status": "duplicate", "id": taken["id"]}
    assert shop.refused(409, "POST", "/orders", order(buyer="somebody")) == ["external_id"]
    assert len(shop.get("/orders")["items"]) == 1


@pytest.mark.parametrize(
    "change, fields",
    [
        ({"shop": ""}, ["shop"]),
        ({"shop": 1, "external_id": None}, ["shop", "external_id"]),
        ({"placed_at": "2026-03-01T12:00:00"}, ["placed_at"]),
        ({"placed_at": "2199-03-01T12:00:00Z"}, ["placed_at"]),
        ({"placed_at": "0001-01-01T00:00:00+14:00"}, ["placed_at"]),
        ({"currency": "EUR"}, ["currency"]),
        ({"currency": "YEN!"}, ["currency"]),
        ({"distributor": "nobody"}, ["distributor"]),
        ({"distributor": None, "code": "nothing"}, ["code"]),
        ({"code": "code-ann"}, ["code"]),
        ({"lines": []}, ["lines"]),
        ({"lines": {}}, ["lines"]),
        ({"lines": [7]}, ["lines[0]"]),
        ({"lines": [_LINE, _LINE | {"quantity": 0}]}, ["lines[1].quantity"]),
        ({"lines": [_LINE | {"quantity": 2.0}]}, ["lines[0].quantity"]),
        ({"lines": [_LINE | {"quantity": "2"}]}, ["lines[0].quantity"]),
        ({"lines": [_LINE | {"quantity": True}]}, ["lines[0].quantity"]),
        ({"lines": [_LINE | {"unit_price": 0, "quantity": 10**30}]}, ["lines[0].quantity"]),
        ({"lines": [_LINE | {"sku": "", "tax": -1}]}, ["lines[0].sku", "lines[0].tax"]),
        ({"lines": [_LINE | {"discount": 101}]}, ["lines[0].discount"]),
        ({"lines": [_LINE | {"unit_price": 9 * 10**12, "quantity": 2}]}, ["lines"]),
        ({"lines": [{"sku": "tea"}]}, ["lines[0].quantity", "lines[0].unit_price"]),
        ({"lines": [_LINE | {"price": "1.00"}]}, ["lines[0].price"]),
        ({"total": 100}, ["total"]),
        ({"buyer": "a\0b"}, ["buyer"]),
        ({"buyer": "\udc00", "shop": "\ud83d"}, ["shop", "buyer"]),
        ({"a\0": 1}, ["'a\\x00'"]),
    ],
)  # fmt: skip
def test_a_wrong_order_names_its_fields_and_leaves_nothing(
    shop: Caller, change: dict[str, Any], fields: list[str]
) -> None:
    assert sorted(shop.refused(422, "POST", "/orders", order() | change)) == sorted(fields)
    assert shop.get("/orders")["items"] == []


def test_any_text_that_can_be_kept_is_kept(shop: Caller) -> None:
    taken = shop.post(201, "/orders", order("安-1 🍵\x01", buyer='<b>"\\'))
    kept = shop.get(f"/orders/{taken['id']}")
    assert (kept["external_id"], kept["buyer"]) == ("安-1 🍵\x01", '<b>"\\')


def test_refunds_are_taken_once_and_may_come_first(shop: Caller) -> None:
    waiting = shop.post(202, "/refunds", refund("R-0", refunded_at=factories.NOON.isoformat()))
    assert waiting == {"status": "waiting", "id": None}
    shop.post(201, "/orders", order("A-2", 10_000))
    line = {"line_no": 1, "quantity": 0, "amount": 4_000}
    taken = shop.post(201, "/refunds", refund("R-1", "A-2", lines=[line]))
    again = shop.post(200, "/refunds", refund("R-1", "A-2", lines=[line]))
    assert again == {"status": "duplicate", "id": taken["id"]}
    shop.refused(409, "POST", "/refunds", refund("R-1", "A-2"))
    shop.post(201, "/refunds", refund("R-2", "A-2"))
    assert shop.refused(409, "POST", "/refunds", refund("R-3", "A-2")) == ["lines"]


@pytest.mark.parametrize(
    "change, status, fields",
    [
        ({"order_external_id": ""}, 422, ["order_external_id"]),
        ({"refunded_at": "yesterday"}, 422, ["refunded_at"]),
        ({"refunded_at": "2199-01-01T00:00:00Z"}, 422, ["refunded_at"]),
        ({"lines": []}, 422, ["lines"]),
        ({"lines": [{"line_no": 0, "quantity": 1}]}, 422, ["lines[0].line_no"]),
        ({"lines": [{"line_no": 1, "quantity": -1}]}, 422, ["lines[0].quantity"]),
        ({"lines": [{"line_no": 1, "quantity": 0}]}, 422, ["lines[0].quantity"]),
        ({"lines": [{"line_no": 2, "quantity": 1}]}, 422, ["lines[0].line_no"]),
        ({"lines": [{"line_no": 1, "quantity": 1}] * 2}, 422, ["lines[1].line_no"]),
        ({"lines": [{"line_no": 1, "quantity": 2}]}, 409, ["lines[0].quantity"]),
        ({"lines": [{"line_no": 1, "quantity": 0, "amount": 10_001}]}, 409, ["lines[0].amount"]),
        ({"lines": [{"line_no": 1, "quantity": 1, "amount": 1.5}]}, 422, ["lines[0].amount"]),
    ],
)
def test_a_wrong_refund_names_its_fields(
    shop: Caller, change: dict[str, Any], status: int, fields: list[str]
) -> None:
    shop.post(201, "/orders", order())
    assert shop.refused(status, "POST", "/refunds", refund() | change) == fields


def test_a_batch_answers_for_each_order(shop: Caller) -> None:
    known = shop.post(201, "/orders", order("known"))
    told = shop.post(
        200,
        "/orders/batch",
        {
            "orders": [
                order("new"),
                order("known"),
                order("new"),
                {"shop": "web"},
                "nonsense",
                order("credit", distributor="nobody"),
                order("known", buyer="somebody"),
                order("last"),
            ]
        },
    )
    assert [each["status"] for each in told["results"]] == [
        "accepted", "duplicate", "duplicate", "rejected", "rejected", "rejected", "rejected",
        "accepted",
    ]  # fmt: skip
    assert (told["accepted"], told["duplicate"], told["rejected"]) == (2, 2, 4)
    results = told["results"]
    assert results[1]["id"] == known["id"]
    assert results[2]["id"] == results[0]["id"]
    assert [each["field"] for each in results[3]["problem"]["errors"]] == [
        "external_id", "placed_at", "currency", "lines",
    ]  # fmt: skip
    assert results[4]["problem"]["errors"][0]["field"] == "order"
    assert [results[5]["problem"]["status"], results[6]["problem"]["status"]] == [422, 409]
    assert len(shop.get("/orders")["items"]) == 3


def test_a_batch_of_many_chunks_is_taken_whole(shop: Caller, settings: Settings) -> None:
    count = 2 * settings.chunk_orders + 7
    orders = [order(f"A-{n}") for n in range(count)]
    told = shop.post(200, "/orders/batch", {"orders": [*orders, order("A-0")]})
    assert (told["accepted"], told["duplicate"]) == (count, 1)
    again = shop.post(200, "/orders/batch", {"orders": orders})
    assert again["duplicate"] == count
    assert [each["id"] for each in again["results"]] == [
        each["id"] for each in told["results"][:-1]
    ]


def test_a_batch_of_refunds_answers_for_each(shop: Caller) -> None:
    shop.post(201, "/orders", order("A-1", 5_000, 5_000))
    lines = [{"line_no": 1, "quantity": 1}]
    told = shop.post(
        200,
        "/refunds/batch",
        {
            "refunds": [
                refund("R-1", lines=lines),
                refund("R-1", lines=lines),
                refund("R-2", lines=lines),
                refund("R-3", of="to-come"),
                refund("R-4", refunded_at=None),
            ]
        },
    )
    assert [each["status"] for each in told["results"]] == [
        "accepted", "duplicate", "rejected", "waiting", "rejected",
    ]  # fmt: skip
    assert (told["accepted"], told["duplicate"], told["waiting"], told["rejected"]) == (1, 1, 1, 2)


@pytest.mark.parametrize(
    "body, field",
    [
        ({}, "orders"),
        ([], "body"),
        ({"orders": []}, "orders"),
        ({"orders": {}}, "orders"),
        ({"orders": [1] * 10_001}, "orders"),
        ({"orders": [order()], "dry_run": True}, "dry_run"),
        ({"orders": [order(buyer="\0")]}, "orders[0].buyer"),
    ],
)
def test_what_is_no_batch_is_refused_whole(shop: Caller, body: Any, field: str) -> None:
    assert shop.refused(422, "POST", "/orders/batch", body) == [field]
    assert shop.get("/orders")["items"] == []
