"""From drawing up a batch to its payment file, and what the distributors see of it."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from distrib import clock, ids, jobs
from distrib.brands.tables import Brand
from distrib.config import Settings
from distrib.db import Database
from tests import factories
from tests.api.conftest import NOW, Caller, order, refund

_LATER = NOW + factories.days(20)


@pytest.fixture
def finance(shop: Caller) -> Caller:
    """The shop three weeks later, with an order whose hold is over."""
    shop.post(201, "/orders", order("A-1", 10_000))
    return shop.at(_LATER)


def _pay(finance: Caller, db: Database, settings: Settings) -> Any:
    made = finance.post(201, "/settlement/batches", {})
    path = f"/settlement/batches/{made['number']}"
    finance.post(200, f"{path}/approve", {"content_hash": made["content_hash"]})
    assert finance.post(202, f"{path}/run")["state"] == "paying"
    with clock.travel(_LATER):
        jobs.run_all(db, settings)
    return finance.get(path)


def test_a_batch_goes_from_draft_to_a_payment_file(
    finance: Caller, db: Database, settings: Settings
) -> None:
    paid = _pay(finance, db, settings)
    assert (paid["state"], paid["total"], paid["payouts"]) == ("settled", 1_700, 3)
    assert paid["progress"] == {"payouts": 3, "paid": 3, "total": 1_700, "paid_total": 1_700}
    assert (paid["created_by"], paid["approved_by"]) == ("tests", "tests")

    payouts = finance.get("/settlement/batches/1/payouts")["items"]
    assert {each["distributor"]: each["amount"] for each in payouts} == {
        "ann": 1_000, "bo": 500, "cy": 200,
    }  # fmt: skip
    assert {each["state"] for each in payouts} == {"paid"}
    file = finance.call("GET", "/settlement/batches/1/file")
    assert file.headers["Content-Disposition"] == 'attachment; filename="batch-1.csv"'
    assert file.headers["ETag"] == f'"{paid["file_sha256"]}"'
    rows = list(csv.DictReader(io.StringIO(file.get_data(as_text=True))))
    assert {row["payee"]: row["amount"] for row in rows} == {
        "ann": "10.00", "bo": "5.00", "cy": "2.00",
    }  # fmt: skip


def test_a_distributor_sees_what_it_has(finance: Caller, db: Database, settings: Settings) -> None:
    _pay(finance, db, settings)
    finance.post(201, "/refunds", refund(lines=[{"line_no": 1, "quantity": 0, "amount": 1_000}]))
    statement = finance.get("/distributors/ann/statement")
    assert statement["balances"] == {
        "earned": 1_000, "pending": 0, "available": -100, "reserved": 0, "paid": 1_000,
        "reversed": 100,
    }  # fmt: skip
    assert [each["day"] for each in statement["days"]] == ["2026-03-22", "2026-03-01"]
    ranged = finance.get("/distributors/ann/statement", from_="2026-03-02", to="2026-03-31")
    assert (ranged["from"], ranged["to"], len(ranged["days"])) == ("2026-03-02", "2026-03-31", 1)

    earnings = finance.get("/distributors/ann/earnings")["items"]
    assert [(each["kind"], each["amount"], each["batch"]) for each in earnings] == [
        ("refund", -100, None),
        ("order", 1_000, 1),
    ]
    (payout,) = finance.get("/distributors/ann/payouts")["items"]
    assert (payout["batch"], payout["amount"], payout["state"]) == (1, 1_000, "paid")


def test_an_approval_is_of_what_was_reviewed(finance: Caller) -> None:
    made = finance.post(201, "/settlement/batches", {})
    approve = "/settlement/batches/1/approve"
    other = {"content_hash": "00" * 32}
    assert finance.refused(409, "POST", approve, other) == ["content_hash"]
    assert finance.refused(422, "POST", approve, {}) == ["content_hash"]
    assert finance.refused(422, "POST", approve, {"content_hash": "xyz"}) == ["content_hash"]
    finance.post(200, approve, {"content_hash": made["content_hash"]})
    finance.send(409, "POST", approve, {"content_hash": made["content_hash"]})


def test_a_cancelled_batch_frees_what_it_held(finance: Caller) -> None:
    finance.post(201, "/settlement/batches", {})
    finance.send(409, "POST", "/settlement/batches", {})
    assert finance.post(200, "/settlement/batches/1/cancel")["state"] == "cancelled"
    assert finance.post(201, "/settlement/batches", {})["number"] == 2
    listed = finance.get("/settlement/batches")["items"]
    assert [(each["number"], each["state"]) for each in listed] == [(2, "draft"), (1, "cancelled")]
    drafts = finance.get("/settlement/batches", state="draft")["items"]
    assert [each["number"] for each in drafts] == [2]


@pytest.mark.parametrize(
    "body, status, fields",
    [
        ({"cutoff": "2199-01-01"}, 422, ["cutoff"]),
        ({"cutoff": "today"}, 422, ["cutoff"]),
        ({"cutoff": "2026-03-01"}, 409, []),
        ({"provider": "carrier-pigeon"}, 422, ["provider"]),
        ({"until": "2026-03-01"}, 422, ["until"]),
    ],
)
def test_a_batch_that_cannot_be_drawn_up(
    finance: Caller, body: dict[str, Any], status: int, fields: list[str]
) -> None:
    assert finance.refused(status, "POST", "/settlement/batches", body) == fields
    assert finance.get("/settlement/batches")["items"] == []


@pytest.mark.parametrize("verb", ["run", "retry", "file"])
def test_steps_come_in_order(finance: Caller, verb: str) -> None:
    finance.post(201, "/settlement/batches", {})
    method = "GET" if verb == "file" else "POST"
    finance.send(409, method, f"/settlement/batches/1/{verb}")


@pytest.mark.parametrize("number", ["0", "7", "2147483648", "one"])
@pytest.mark.parametrize(
    "method, path",
    [("GET", ""), ("GET", "/payouts"), ("GET", "/file"), ("POST", "/approve"), ("POST", "/run"),
     ("POST", "/retry"), ("POST", "/cancel")],
)  # fmt: skip
def test_an_unknown_batch_is_not_found(api: Caller, method: str, path: str, number: str) -> None:
    body = {"content_hash": "00"} if path == "/approve" else None
    api.send(404, method, f"/settlement/batches/{number}{path}", body)


def test_a_file_that_is_not_what_was_settled_is_not_handed_out(
    finance: Caller, db: Database, settings: Settings, brand: Brand
) -> None:
    _pay(finance, db, settings)
    path = settings.data_dir / "payouts" / ids.public("br", brand.id) / "batch-1.csv"
    path.write_bytes(path.read_bytes().replace(b"10.00", b"99.00"))
    finance.send(503, "GET", "/settlement/batches/1/file")
    path.unlink()
    finance.send(503, "GET", "/settlement/batches/1/file")
