"""The app over the worker's database, and callers with keys whose every answer is checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from distrib import clock
from distrib.api.app import create_app
from distrib.brands import service as brands
from distrib.brands.tables import Brand
from distrib.config import Settings
from distrib.db import Database
from tests import factories
from tests.api.contract import Contract

NOW = factories.NOON + factories.days(1)
LATER = NOW + factories.days(20)
"""When the hold of the orders of NOON is over."""


@dataclass(frozen=True)
class Caller:
    """Somebody who calls the API with a key, at some instant."""

    app: Flask
    contract: Contract
    key: str | None
    now: datetime = NOW

    def at(self, now: datetime) -> Caller:
        """The same caller at another instant."""
        return replace(self, now=now)

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = None,
        query: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> TestResponse:
        """Send a request and check that the answer keeps the contract.

        :param path: below ``/api/v1``.
        :param key: the Idempotency-Key.
        """
        headers = options.pop("headers", {})
        if self.key is not None:
            headers = {"Authorization": f"Bearer {self.key}"} | headers
        if key is not None:
            headers = {"Idempotency-Key": key} | headers
        if body is not None:
            # every character escaped: so even what is not UTF-8 can be sent
            options |= {"data": json.dumps(body), "content_type": "application/json"}
        with clock.travel(self.now):
            response = self.app.test_client().open(
                f"/api/v1{path}", method=method, headers=headers, query_string=query, **options
            )
        self.contract.check(method, f"/api/v1{path}", response)
        return response

    def send(self, status: int, method: str, path: str, body: Any = None, **options: Any) -> Any:
        """Send a request that must be answered with ``status``; what it is told."""
        response = self.call(method, path, body, **options)
        assert response.status_code == status, response.get_data(as_text=True)
        return response.json

    def get(self, path: str, **query: Any) -> Any:
        """What a GET is told. ``from_`` stands for the query's ``from``."""
        return self.send(
            200, "GET", path, query={name.rstrip("_"): value for name, value in query.items()}
        )

    def post(self, status: int, path: str, body: Any = None, *, key: str | None = None) -> Any:
        """What a POST is told."""
        return self.send(status, "POST", path, body, key=key)

    def refused(self, status: int, method: str, path: str, body: Any = None, **options: Any) -> Any:
        """The fields that a refusal blames."""
        told = self.send(status, method, path, body, **options)
        return [each["field"] for each in told.get("errors", [])]

    def pages(self, path: str, limit: int, **query: Any) -> list[list[Any]]:
        """All pages of a list."""
        found, cursor = [], None
        while True:
            wanted = query | {"limit": limit} | ({"cursor": cursor} if cursor else {})
            page = self.get(path, **wanted)
            found.append(page["items"])
            cursor = page["next"]
            if cursor is None:
                return found


@pytest.fixture(scope="session")
def app(settings: Settings, db: Database) -> Flask:
    """The API over the worker's database."""
    return create_app(settings, db)


@pytest.fixture(scope="session")
def contract(app: Flask) -> Contract:
    """What the API promises."""
    return Contract(app)


def make_caller(
    db: Database, app: Flask, contract: Contract, brand: Brand | None, name: str = "tests"
) -> Caller:
    """A caller with a new key of the brand, or of the operator. Two names are two people."""
    with db.transaction() as session:
        key = brands.create_key(session, brand_id=brand.id if brand else None, name=name)
    return Caller(app, contract, key)


@pytest.fixture
def operator(db: Database, app: Flask, contract: Contract) -> Caller:
    """An operator."""
    return make_caller(db, app, contract, None)


@pytest.fixture
def nobody(app: Flask, contract: Contract) -> Caller:
    """A caller without a key."""
    return Caller(app, contract, None)


@pytest.fixture
def api(db: Database, app: Flask, contract: Contract, brand: Brand) -> Caller:
    """A brand that calls; it has no plan and no distributors."""
    return make_caller(db, app, contract, brand)


@pytest.fixture
def second(db: Database, api: Caller, brand: Brand) -> Caller:
    """Somebody else of the same brand, later: finance."""
    return make_caller(db, api.app, api.contract, brand, "finance").at(LATER)


def approve(maker: Caller, approver: Caller, number: int = 1) -> Any:
    """Submit a draft and approve it; the batch."""
    path = f"/settlement/batches/{number}"
    seen = maker.post(200, f"{path}/submit")
    return approver.post(200, f"{path}/approve", {"content_hash": seen["content_hash"]})


@pytest.fixture
def shop(db: Database, api: Caller, brand: Brand) -> Caller:
    """A brand that calls; Ann, above her Bo, above him Cy, and 10 %, 5 %, 2 %."""
    factories.chain(db, brand)
    return api


def order(external_id: str = "A-1", *amounts: int, **changes: Any) -> dict[str, Any]:
    """An order's JSON: a line of one unit for each amount (default 100.00), placed at NOON."""
    return {
        "shop": "web",
        "external_id": external_id,
        "placed_at": factories.NOON.isoformat(),
        "currency": "CNY",
        "distributor": "ann",
        "lines": [
            {"sku": f"sku-{n}", "quantity": 1, "unit_price": amount}
            for n, amount in enumerate(amounts or (10_000,), 1)
        ],
    } | changes


def refund(external_id: str = "R-1", of: str = "A-1", **changes: Any) -> dict[str, Any]:
    """A refund's JSON: all that is left of the order."""
    return {
        "shop": "web",
        "order_external_id": of,
        "external_id": external_id,
        "refunded_at": factories.NOON.isoformat(),
    } | changes
