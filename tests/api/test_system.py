"""Health, readiness, metrics, headers."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from distrib.api import system
from distrib.api.app import create_app
from distrib.config import Settings
from distrib.db import Database, make_engine
from tests.api.conftest import LATER, Caller, approve, order, refund


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """Somebody without a key."""
    return app.test_client()


def _away(settings: Settings, **changes: Any) -> Iterator[FlaskClient]:
    changed = dataclasses.replace(settings, **changes)
    engine = make_engine(changed.database_url)
    yield create_app(changed, Database(engine)).test_client()
    engine.dispose()


def test_the_process_is_up_and_ready(client: FlaskClient) -> None:
    assert client.get("/health").get_json() == {"status": "up"}
    assert client.get("/ready").get_json() == {
        "status": "ready", "database": True, "redis": True, "migrations": True,
    }  # fmt: skip


def test_without_the_database_it_is_not_ready_and_health_does_not_care(settings: Settings) -> None:
    url = "postgresql+psycopg://distrib@/distrib?host=/nowhere"
    for client in _away(settings, database_url=url):
        response = client.get("/ready")
        assert response.status_code == 503
        checks = response.get_json()["checks"]
        assert [name for name, well in checks.items() if not well] == ["database", "migrations"]
        assert client.get("/health").status_code == 200
        assert "distrib_database_up 0.0" in client.get("/metrics").get_data(as_text=True)


def test_without_redis_it_is_ready_all_the_same_and_says_so(settings: Settings) -> None:
    for client in _away(settings, redis_url="unix:///nowhere/valkey.sock"):
        response = client.get("/ready")
        assert response.status_code == 200
        assert response.get_json()["redis"] is False
        assert "distrib_database_up 1.0" in client.get("/metrics").get_data(as_text=True)


def test_a_database_that_is_behind_is_not_ready(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system, "_newest", lambda: frozenset({"9999"}))
    response = client.get("/ready")
    assert response.status_code == 503
    assert response.get_json()["checks"] == {"database": True, "redis": True, "migrations": False}


def _read(client: FlaskClient) -> dict[tuple[str, ...], float]:
    families = text_string_to_metric_families(client.get("/metrics").get_data(as_text=True))
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


def test_requests_are_counted_and_timed_by_route(shop: Caller, client: FlaskClient) -> None:
    name = ("distrib_http_requests_total", "POST", "/api/v1/orders")
    before = _read(client)
    shop.post(201, "/orders", order())
    shop.post(200, "/orders", order())
    shop.call("POST", "/orders", order(lines=[]))
    shop.call("BREW", "/orders")
    for n in range(3):
        shop.call("GET", f"/nothing-{n}")
    after = _read(client)
    for status in ("201", "200", "422"):
        assert after[*name, status] == before.get((*name, status), 0) + 1
    assert after["distrib_http_request_seconds_count", "POST", "/api/v1/orders"] >= 3
    assert not [each for each in after if "nothing" in str(each) or "BREW" in str(each)]


def test_what_waits_is_measured(
    shop: Caller, second: Caller, client: FlaskClient, db: Database
) -> None:
    before = _read(client)
    shop.post(201, "/orders", order())
    shop.post(202, "/refunds", refund(of="to-come"))
    later = shop.at(LATER)
    later.post(201, "/settlement/batches", {})
    approve(later, second)
    later.post(202, "/settlement/batches/1/run")
    after = _read(client)
    for name in (
        ("distrib_unfolded_postings",),
        ("distrib_waiting_refunds",),
        ("distrib_open_batches", "paying"),
        ("distrib_jobs_ready", "pay_chunk"),
    ):
        assert after[name] > before.get(name, 0)
    with db.transaction() as session:
        session.execute(text("UPDATE job SET state = 'failed' WHERE state = 'ready'"))
    assert _read(client)["distrib_jobs_failed", "pay_chunk"] > 0


@pytest.mark.parametrize("path", ["/health", "/api/v1/openapi.json", "/api/v1/docs", "/nothing"])
def test_every_answer_is_hardened(client: FlaskClient, path: str) -> None:
    headers = client.get(path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
