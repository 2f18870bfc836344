"""What a worker process of the server imports."""

from __future__ import annotations

import atexit
import secrets
from collections.abc import Callable
from typing import Any

import pytest

from distrib import clock, jobs
from distrib.api import wsgi
from distrib.brands import service as brands
from distrib.brands.tables import Brand
from distrib.config import Settings
from distrib.db import Database
from tests import factories
from tests.api.conftest import LATER, Caller, approve, order
from tests.api.contract import Contract


def test_the_app_is_built_from_the_environment_and_wakes_workers(
    settings: Settings, db: Database, brand: Brand, monkeypatch: pytest.MonkeyPatch
) -> None:
    closing: list[Callable[[], Any]] = []
    monkeypatch.setattr(atexit, "register", closing.append)
    monkeypatch.setenv("DATABASE_URL", settings.database_url)
    monkeypatch.setenv("REDIS_URL", settings.redis_url)
    monkeypatch.setenv("DISTRIB_QUEUE", f"test-{secrets.token_hex(8)}")
    monkeypatch.setenv("DISTRIB_DATA", str(settings.data_dir))
    app = wsgi.build()
    try:
        assert app.test_client().get("/ready").status_code == 200
        with db.transaction() as session:
            keys = [
                brands.create_key(session, brand_id=brand.id, name=name)
                for name in ("tests", "finance")
            ]
        factories.chain(db, brand)
        caller, finance = (Caller(app, Contract(app), key) for key in keys)
        caller.post(201, "/orders", order())
        later = caller.at(LATER)
        later.post(201, "/settlement/batches", {})
        approve(later, finance.at(LATER))
        queue = jobs.Waker(app.extensions["distrib"].settings).queue
        later.post(202, "/settlement/batches/1/run")
        assert queue.count == 1
        queue.empty()  # type: ignore[no-untyped-call]
        with clock.travel(later.now):
            jobs.run_all(db, settings)
    finally:
        for close in closing:
            close()
