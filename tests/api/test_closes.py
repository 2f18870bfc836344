"""Closing days over the API."""

from __future__ import annotations

from datetime import date

import pytest

from distrib.brands.tables import Brand
from distrib.db import Database
from tests import factories
from tests.api.conftest import Caller, make_caller
from tests.factories import NOON, days, ids_of, order, take

LATER = NOON + days(9)


@pytest.fixture
def books(db: Database, brand: Brand, shop: Caller) -> Caller:
    """A brand with orders on two days, some days later."""
    for n in (0, 3):
        ids_of(take(db, brand, order(f"o-{n}", 10_000, placed_at=NOON + days(n))))
    return shop.at(LATER)


def test_a_day_is_prepared_signed_and_shown(books: Caller) -> None:
    found = books.get("/closes/next")
    assert (found["day"], found["transfers"]) == ("2026-03-01", 3)
    assert found["closing"] == {"CNY": {"commission_expense": -1700, "held": 1700}}
    signature = {"day": found["day"], "digest": found["digest"]}
    signed = books.post(201, "/closes", signature, key="k")
    assert signed == found | {"signed_by": "tests", "signed_at": "2026-03-10T04:00:00Z"}
    assert books.post(201, "/closes", signature, key="k") == signed, "once for its key"
    assert books.get("/closes/2026-03-01") == signed
    assert books.get("/closes/next")["day"] == "2026-03-02"
    assert books.get("/closes/next", day="2026-03-04")["transfers"] == 3
    books.post(201, "/closes", {"day": "2026-03-04"})
    assert [[each["day"] for each in page] for page in books.pages("/closes", 3)] == [
        ["2026-03-04", "2026-03-03", "2026-03-02"], ["2026-03-01"],
    ]  # fmt: skip
    response = books.call("GET", "/closes/2026-03-01/export")
    assert response.content_type == "text/csv; charset=utf-8"
    assert "closing,held,CNY,,17.00" in response.get_data(as_text=True)
    assert 'filename="close-' in response.headers["Content-Disposition"]


def test_refusals(books: Caller) -> None:
    assert books.refused(409, "POST", "/closes", {"day": "2026-03-04"}) == ["day"]
    assert books.refused(409, "POST", "/closes", {"day": "2026-03-10"}) == ["day"]
    assert books.refused(409, "POST", "/closes", {"day": "2026-02-28"}) == ["day"]
    wrong = {"day": "2026-03-01", "digest": "00"}
    assert books.refused(409, "POST", "/closes", wrong) == ["digest"]
    assert books.refused(422, "POST", "/closes", {"day": "soon"}) == ["day"]
    assert books.refused(409, "GET", "/closes/next", query={"day": "2026-03-11"}) == ["day"]
    books.post(201, "/closes", {"day": "2026-03-01"})
    assert books.refused(409, "POST", "/closes", {"day": "2026-03-01"}) == ["day"]
    for path in ("/closes/2026-03-02", "/closes/never", "/closes/2026-03-02/export"):
        assert books.refused(404, "GET", path) == ["day"]


def test_a_brand_without_books(api: Caller) -> None:
    assert api.get("/closes")["items"] == []
    assert api.refused(409, "GET", "/closes/next") == ["day"]
    assert api.refused(409, "POST", "/closes", {"day": date(2026, 3, 1).isoformat()}) == ["day"]


def test_another_brand_has_its_own(db: Database, books: Caller) -> None:
    books.post(201, "/closes", {"day": "2026-03-01"})
    stranger = make_caller(db, books.app, books.contract, factories.brand(db))
    assert stranger.get("/closes")["items"] == []
    stranger.send(404, "GET", "/closes/2026-03-01")
