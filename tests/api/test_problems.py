"""Whatever goes wrong is told as problem details; nothing of the inside leaks."""

from __future__ import annotations

import logging
from typing import Any

import psycopg
import pytest
from flask import Flask
from sqlalchemy import text
from werkzeug.test import TestResponse

from distrib.api import orders
from distrib.api.app import MOST_BYTES, create_app
from distrib.api.problems import CONTENT_TYPE
from distrib.config import Settings
from distrib.db import Database, make_engine
from tests.api.conftest import Caller, order


def _post(api: Caller, data: bytes, content_type: str | None = "application/json") -> TestResponse:
    return api.call("POST", "/orders", data=data, content_type=content_type)


@pytest.mark.parametrize(
    "data, detail",
    [
        (b"{", "line 1"),
        (b"nonsense", "line 1"),
        (b'{"a": 1,}', "line 1"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "Infinity"),
        (b'{"a": "\xff"}', "UTF-8"),
        (b'{"a": "\x00"}', "control character"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a": ' * 100_000, "nested too deeply"),
        (b"1" * 5_000, "digits"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_body_that_is_no_json(shop: Caller, data: bytes, detail: str) -> None:
    response = _post(shop, data)
    assert response.status_code == 400
    assert detail in response.get_json()["detail"]


@pytest.mark.parametrize("data", [b"[]", b"7", b'"text"', b"null", b"true", b"1e999", b"[1]"])
def test_a_body_that_is_no_object(shop: Caller, data: bytes) -> None:
    response = _post(shop, data)
    assert response.status_code == 422
    assert response.get_json()["errors"] == [{"field": "body", "reason": "must be an object"}]


def test_an_empty_body_lacks_every_field(shop: Caller) -> None:
    missing = [each["field"] for each in _post(shop, b"").get_json()["errors"]]
    assert sorted(missing) == ["currency", "external_id", "lines", "placed_at", "shop"]


@pytest.mark.parametrize(
    "content_type", [None, "text/plain", "application/x-www-form-urlencoded", "nonsense"]
)
def test_a_body_says_that_it_is_json(shop: Caller, content_type: str | None) -> None:
    assert _post(shop, b"{}", content_type).status_code == 415


def test_a_body_may_say_its_charset(shop: Caller) -> None:
    assert _post(shop, b"{}", "application/json; charset=utf-8").status_code == 422


def test_a_body_has_a_limit(shop: Caller) -> None:
    response = _post(shop, b" " * (MOST_BYTES + 1))
    assert response.status_code == 413
    assert str(MOST_BYTES) in response.get_json()["detail"]
    # without a length, too, and without believing the part that fits
    streamed = shop.call(
        "POST",
        "/orders",
        data=b"{}" + b" " * MOST_BYTES,
        content_type="application/json",
        headers={"Transfer-Encoding": "chunked"},
        environ_overrides={"wsgi.input_terminated": True},
    )
    assert streamed.status_code == 413


@pytest.mark.parametrize(
    "method, path, status",
    [
        ("GET", "/nothing", 404),
        ("GET", "/", 404),
        ("GET", "/orders/", 404),
        ("GET", "/../../etc/passwd", 404),
        ("GET", "/docs/static/../app.py", 404),
        ("GET", "/docs/static/none.css", 404),
        ("PUT", "/orders", 405),
        ("DELETE", "/orders", 405),
        ("PATCH", "/brand", 405),
        ("BREW", "/orders", 405),
    ],
)
def test_what_is_not_there_needs_no_key(
    nobody: Caller, method: str, path: str, status: int
) -> None:
    response = nobody.call(method, path)
    assert response.status_code == status
    if status == 405:
        assert "GET" in response.headers["Allow"]


def test_outside_of_the_api_it_is_told_the_same_way(app: Flask) -> None:
    for path in ("/", "/favicon.ico", "/health/x"):
        response = app.test_client().get(path)
        assert (response.status_code, response.content_type) == (404, CONTENT_TYPE)


def test_a_fault_of_ours_has_an_id_and_no_inside(
    shop: Caller, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("a secret of the house")

    monkeypatch.setattr(orders, "take_orders", fail)
    with caplog.at_level(logging.ERROR, "distrib.api"):
        told = shop.send(500, "POST", "/orders", order())
    assert "secret" not in str(told)
    (record,) = caplog.records
    assert told["error_id"] in record.getMessage()
    assert record.exc_info is not None
    monkeypatch.undo()
    shop.post(201, "/orders", order())


def test_a_database_that_broke_off_is_told_and_found_again(
    shop: Caller, db: Database, settings: Settings
) -> None:
    engine = make_engine(settings.database_url, pool_size=1)
    lonely = Caller(create_app(settings, Database(engine)), shop.contract, shop.key)
    lonely.get("/brand")
    with engine.connect() as connection:
        pid = connection.scalar(text("SELECT pg_backend_pid()"))
    with db.transaction() as session:
        session.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
    response = lonely.call("POST", "/orders", order())
    assert response.status_code == 503
    assert response.headers["Retry-After"] == "1"
    lonely.post(201, "/orders", order())
    engine.dispose()


def test_a_database_that_is_away_is_told(
    shop: Caller, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise psycopg.OperationalError("no route")

    monkeypatch.setattr("distrib.api.orders.take_orders", refuse)
    assert "no route" not in str(shop.send(503, "POST", "/orders", order()))
