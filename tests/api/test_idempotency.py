"""A request with an Idempotency-Key happens once."""

from __future__ import annotations

import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import func, select
from werkzeug.test import TestResponse

from distrib import clock, jobs
from distrib.api.idempotency import HEADER, REPLAYED
from distrib.api.tables import IdempotencyKey
from distrib.brands.tables import Brand
from distrib.config import Settings
from distrib.db import Database
from tests import factories
from tests.api.conftest import LATER, NOW, Caller, make_caller, order, refund


def _kept(db: Database, key: str) -> int:
    with db.transaction() as session:
        query = select(func.count()).where(IdempotencyKey.key == key)
        return session.scalar(query.select_from(IdempotencyKey)) or 0


@pytest.mark.parametrize(
    "path, body",
    [
        ("/plans", {"document": factories.document("7%")}),
        ("/plans/validate", {"document": factories.document("7%")}),
        ("/distributors", {"external_id": "dee", "name": "Dee", "sponsor": "cy"}),
        ("/distributors/ann/move", {"sponsor": "cy"}),
        ("/distributors/ann/suspend", None),
        ("/distributors/ann/reactivate", None),
        ("/orders", order("A-2")),
        ("/orders/batch", {"orders": [order("A-2"), order("A-3", distributor="nobody")]}),
        ("/refunds", refund()),
        ("/refunds", refund(of="to-come")),
        ("/refunds/batch", {"refunds": [refund(), refund("R-2", of="to-come")]}),
        ("/settlement/batches", {}),
    ],
)
def test_a_repeat_gets_the_first_answer(shop: Caller, path: str, body: Any) -> None:
    shop.post(201, "/orders", order())
    later = shop.at(NOW + factories.days(20))
    first = later.call("POST", path, body, key="once")
    assert first.status_code < 300
    assert REPLAYED not in first.headers
    again = later.at(NOW + factories.days(21)).call("POST", path, body, key="once")
    assert again.headers[REPLAYED] == "true"
    assert (again.status_code, again.data) == (first.status_code, first.data)


def test_batch_steps_happen_once(
    shop: Caller, second: Caller, db: Database, settings: Settings
) -> None:
    shop.post(201, "/orders", order())
    later = shop.at(LATER)
    made = later.post(201, "/settlement/batches", {}, key="draw")
    seen = {"content_hash": made["content_hash"]}
    for who, status, verb, body in (
        (later, 200, "submit", None),
        (second, 200, "approve", seen),
        (later, 202, "run", None),
        (later, 200, "pause", {"reason": "to see"}),
        (later, 200, "resume", None),
    ):
        path = f"/settlement/batches/1/{verb}"
        first = who.post(status, path, body, key=verb)
        assert who.post(status, path, body, key=verb) == first
        who.send(409, "POST", path, body)
    with clock.travel(later.now):
        assert jobs.run_all(db, settings) == 2  # one chunk, and the closing


@pytest.mark.parametrize(
    "path, body",
    [
        ("/orders", order("A-2")),
        ("/orders", order(buyer="me")),
        ("/refunds", refund()),
        ("/orders?x=1", order()),
        ("/distributors/ann/suspend", None),
    ],
)
def test_another_request_cannot_use_the_key(shop: Caller, path: str, body: Any) -> None:
    shop.post(201, "/orders", order(), key="mine")
    assert shop.refused(422, "POST", path, body, key="mine") == [HEADER]
    assert len(shop.get("/orders")["items"]) == 1


def test_errors_are_not_kept(shop: Caller, db: Database) -> None:
    key = secrets.token_hex(8)
    shop.refused(422, "POST", "/orders", order(distributor="dee"), key=key)
    shop.refused(422, "POST", "/orders", order(lines=[]), key=key)
    assert _kept(db, key) == 0
    factories_body = {"external_id": "dee", "name": "Dee", "joined_at": "2026-01-01T00:00:00Z"}
    shop.post(201, "/distributors", factories_body)
    assert shop.post(201, "/orders", order(distributor="dee"), key=key)["status"] == "accepted"
    assert _kept(db, key) == 1


def test_a_key_belongs_to_its_caller(
    shop: Caller, db: Database, operator: Caller, brand: Brand
) -> None:
    other = factories.brand(db)
    factories.chain(db, other)
    stranger = make_caller(db, shop.app, shop.contract, other)
    mine = shop.post(201, "/orders", order(), key="shared")
    theirs = stranger.post(201, "/orders", order(), key="shared")
    assert mine["id"] != theirs["id"]
    slug = f"slug-{secrets.token_hex(4)}"
    operator.post(201, "/brands", {"slug": slug, "name": "x"}, key=f"shared {slug}")


@pytest.mark.parametrize("key", ["", " ", "x" * 201, "tab\there", "ключ".encode().decode("latin1")])
def test_a_key_is_short_and_printable(shop: Caller, key: str) -> None:
    assert shop.refused(422, "POST", "/orders", order(), key=key) == [HEADER]
    assert shop.get("/orders")["items"] == []


def test_the_longest_key_is_kept(shop: Caller) -> None:
    shop.post(201, "/orders", order(), key="x" * 200)
    shop.post(201, "/orders", order(), key="x" * 200)


def _at_once(count: int, send: Any) -> list[TestResponse]:
    start = threading.Barrier(count)

    def one(number: int) -> TestResponse:
        start.wait()
        response: TestResponse = send(number)
        return response

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


@pytest.mark.races
@pytest.mark.parametrize(
    "path, body",
    [
        ("/orders", order()),
        ("/orders/batch", {"orders": [order(), order("A-2")]}),
        ("/distributors", {"external_id": "dee", "name": "Dee"}),
        ("/plans", {"document": factories.document("7%")}),
        ("/settlement/batches", {}),
    ],
)
def test_of_many_at_once_one_does_it(shop: Caller, path: str, body: Any) -> None:
    shop.post(201, "/orders", order("A-0"))
    later = shop.at(NOW + factories.days(20))
    responses = _at_once(6, lambda _: later.call("POST", path, body, key="together"))
    assert len({(each.status_code, each.data) for each in responses}) == 1
    assert responses[0].status_code < 300
    assert sum(REPLAYED not in each.headers for each in responses) == 1


@pytest.mark.races
def test_of_different_requests_at_once_one_gets_the_key(shop: Caller) -> None:
    responses = _at_once(
        5, lambda number: shop.call("POST", "/orders", order(f"A-{number}"), key="together")
    )
    assert sorted(each.status_code for each in responses) == [201, 422, 422, 422, 422]
    assert len(shop.get("/orders")["items"]) == 1


@pytest.mark.races
def test_the_same_order_at_once_without_a_key_is_taken_once(shop: Caller) -> None:
    responses = _at_once(6, lambda _: shop.call("POST", "/orders", order()))
    assert sorted(each.status_code for each in responses) == [200, 200, 200, 200, 200, 201]
    assert len({each.get_json()["id"] for each in responses}) == 1
