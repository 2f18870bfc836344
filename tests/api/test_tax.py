"""Tax settings, profiles and reports over HTTP."""

from __future__ import annotations

import csv
import io
import zipfile
from typing import Any

import pytest

from distrib.config import Settings
from distrib.db import Database
from tests.api.conftest import LATER, Caller, approve, order
from tests.api.test_settlement import BATCH, work

TAX_ID = "110101199003078515"
SETTINGS = "/settlement/tax/settings"


@pytest.fixture
def taxed(shop: Caller) -> Caller:
    """A brand that withholds, three weeks after a large order."""
    made = shop.post(201, SETTINGS, {"year": 2026, "regime": "cn_labour", "reason": "adviser"})
    assert (made["number"], made["set_by"], made["reason"]) == (1, "tests", "adviser")
    shop.post(201, "/orders", order("A-1", 2_000_000))
    return shop.at(LATER)


def test_settings_are_kept(shop: Caller) -> None:
    assert shop.get(SETTINGS)["items"] == []
    for regime in ("cn_labour", "none"):
        shop.post(201, SETTINGS, {"year": 2026, "regime": regime})
    assert [(x["number"], x["regime"]) for x in shop.get(SETTINGS)["items"]] == [
        (2, "none"), (1, "cn_labour"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "body, fields",
    [
        ({"year": 2026}, ["regime"]),
        ({"year": 2026, "regime": "flat"}, ["regime"]),
        ({"year": "2026", "regime": "none"}, ["year"]),
        ({"year": 2001, "regime": "cn_labour"}, ["year"]),
    ],
)
def test_settings_that_cannot_be(shop: Caller, body: dict[str, Any], fields: list[str]) -> None:
    assert shop.refused(422, "POST", SETTINGS, body) == fields


def test_a_tax_number_is_never_shown_whole(shop: Caller) -> None:
    path = "/distributors/ann/tax-profile"
    shop.send(404, "GET", path)
    made = shop.send(200, "PUT", path, {"name": "林若曦", "tax_id": TAX_ID})
    assert (made["name"], made["tax_id"], made["set_by"]) == ("林若曦", "****8515", "tests")
    assert shop.get(path) == made
    assert shop.send(200, "PUT", path, {"name": "林若曦", "tax_id": "1234"})["tax_id"] == "****"
    assert shop.send(200, "PUT", path, {"name": "林若曦"})["tax_id"] is None
    assert shop.refused(422, "PUT", path, {"name": " "}) == ["name"]
    assert shop.refused(422, "PUT", path, {}) == ["name"]
    shop.send(404, "PUT", "/distributors/nobody/tax-profile", {"name": "x"})


def test_what_was_withheld_is_reported(
    taxed: Caller, second: Caller, db: Database, settings: Settings
) -> None:
    taxed.send(200, "PUT", "/distributors/ann/tax-profile", {"name": "=林", "tax_id": TAX_ID})
    made = taxed.post(201, "/settlement/batches", {})
    assert (made["tax_total"], made["tax_regime"], made["tax_month"]) == (
        28_000, "cn_labour", "2026-03-01",
    )  # fmt: skip
    report = "/settlement/tax/report"
    assert taxed.get(report, year=2026)["rows"] == [], "nothing is paid yet"
    approve(taxed, second)
    taxed.post(202, f"{BATCH}/run")
    work(db, settings)
    assert taxed.get("/distributors/ann/statement")["balances"]["withheld"] == 24_000

    told = taxed.get(report, year=2026)
    assert (told["currency"], told["quarter"]) == ("CNY", None)
    assert [(x["payee"], x["month"], x["gross"], x["tax"], x["net"]) for x in told["rows"]] == [
        ("ann", "2026-03-01", 200_000, 24_000, 176_000),
        ("bo", "2026-03-01", 100_000, 4_000, 96_000),
        ("cy", "2026-03-01", 40_000, 0, 40_000),
    ]
    assert told["rows"][0]["tax_id"] == "****8515"
    quarterly = taxed.get(report, year=2026, quarter=1, by="quarter")["rows"]
    assert [(x["year"], x["quarter"]) for x in quarterly] == [(2026, 1)] * 3
    assert taxed.get(report, year=2026, quarter=2)["rows"] == []
    assert [x["year"] for x in taxed.get(report, year=2026, by="year")["rows"]] == [2026] * 3

    sheet = taxed.call("GET", report, query={"year": 2026, "format": "csv", "language": "zh"})
    rows = list(csv.DictReader(io.StringIO(sheet.data.decode("utf-8-sig"))))
    assert [row["实发金额 (CNY)"] for row in rows] == ["1760.00", "960.00", "400.00"]
    assert rows[0]["姓名"] == "'=林", "no formula"
    assert TAX_ID not in sheet.get_data(as_text=True)
    book = taxed.call("GET", report, query={"year": 2026, "format": "xlsx"})
    assert book.headers["Content-Disposition"] == 'attachment; filename="tax-2026.xlsx"'
    assert "xl/worksheets/sheet3.xml" in zipfile.ZipFile(io.BytesIO(book.data)).namelist()
    for query, field in (({}, "year"), ({"year": 2026, "quarter": 5}, "quarter"),
                         ({"year": 2026, "format": "pdf"}, "format")):  # fmt: skip
        assert taxed.refused(422, "GET", report, query=query) == [field]


def test_the_tax_of_a_month_is_paid_in_it(taxed: Caller, second: Caller) -> None:
    taxed.post(201, "/settlement/batches", {})
    approve(taxed, second)
    april = taxed.at(LATER.replace(month=4))
    told = april.send(409, "POST", f"{BATCH}/run")
    assert told["type"] == "urn:distrib:problem:tax-month-over"
