"""From drawing up a batch to its payment file, by two people, and what distributors see of it."""

from __future__ import annotations

import csv
import io
from datetime import datetime
from typing import Any

import pytest

from distrib import clock, ids, jobs
from distrib.brands.tables import Brand
from distrib.config import Settings
from distrib.db import Database
from tests.api.conftest import LATER, Caller, approve, make_caller, order, refund

BATCH = "/settlement/batches/1"


@pytest.fixture
def maker(shop: Caller) -> Caller:
    """The shop three weeks later, with an order whose hold is over."""
    shop.post(201, "/orders", order("A-1", 10_000))
    return shop.at(LATER)


def work(db: Database, settings: Settings, now: datetime = LATER) -> None:
    """Do what the workers do."""
    with clock.travel(now):
        jobs.run_all(db, settings)


def pay(maker: Caller, second: Caller, db: Database, settings: Settings, **body: Any) -> Any:
    """Draw up a batch, have it approved, pay it; the batch."""
    made = maker.post(201, "/settlement/batches", body)
    path = f"/settlement/batches/{made['number']}"
    approve(maker, second, made["number"])
    assert maker.post(202, f"{path}/run")["state"] == "paying"
    work(db, settings)
    return maker.get(path)


def events(caller: Caller, path: str = BATCH) -> list[tuple[str, str, str | None]]:
    """What is on record."""
    return [
        (each["kind"], each["actor"], each["reason"])
        for each in caller.get(f"{path}/events")["items"]
    ]


def test_a_batch_is_driven_by_two_people(
    maker: Caller, second: Caller, db: Database, settings: Settings
) -> None:
    made = maker.post(201, "/settlement/batches", {})
    assert (made["state"], made["created_by"], made["submitted_by"]) == ("draft", "tests", None)
    seen = {"content_hash": made["content_hash"]}
    assert second.refused(409, "POST", f"{BATCH}/approve", seen) == ["state"]
    submitted = maker.post(200, f"{BATCH}/submit")
    assert (submitted["state"], submitted["approvals_needed"]) == ("submitted", 1)
    assert maker.refused(409, "POST", f"{BATCH}/approve", seen) == ["approved_by"]
    maker.send(409, "POST", f"{BATCH}/run")
    approved = second.post(200, f"{BATCH}/approve", seen)
    assert (approved["state"], approved["approved_by"]) == ("approved", "finance")
    assert maker.post(202, f"{BATCH}/run")["state"] == "paying"
    work(db, settings)

    paid = second.get(BATCH)
    assert (paid["state"], paid["total"], paid["payouts"]) == ("settled", 1_700, 3)
    assert paid["progress"] == {
        "payouts": 3, "paid": 3, "total": 1_700, "paid_total": 1_700, "rate": None,
        "seconds_left": None, "states": [{"state": "paid", "payouts": 3, "total": 1_700}],
    }  # fmt: skip
    assert [each["approved_by"] for each in paid["approvals"]] == ["finance"]
    assert (paid["tax_total"], paid["tax_regime"], paid["exclusions"]) == (0, None, [])

    payouts = maker.get(f"{BATCH}/payouts")["items"]
    assert {each["distributor"]: each["net"] for each in payouts} == {
        "ann": 1_000, "bo": 500, "cy": 200,
    }  # fmt: skip
    assert {(each["state"], each["attempts"]) for each in payouts} == {("paid", 1)}
    (written,) = paid["files"]
    file = maker.call("GET", f"{BATCH}/file")
    assert file.headers["Content-Disposition"] == 'attachment; filename="batch-1.csv"'
    assert file.headers["ETag"] == f'"{written["sha256"]}"'
    rows = list(csv.DictReader(io.StringIO(file.get_data(as_text=True))))
    assert {row["payee"]: row["amount"] for row in rows} == {
        "ann": "10.00", "bo": "5.00", "cy": "2.00",
    }  # fmt: skip
    assert maker.call("GET", f"{BATCH}/file", query={"no": 1}).data == file.data
    assert maker.refused(404, "GET", f"{BATCH}/file", query={"no": 2}) == ["no"]

    assert maker.post(200, f"{BATCH}/close")["closed_by"] == "tests"
    assert events(maker) == [
        ("drawn_up", "tests", None),
        ("submitted", "tests", None),
        ("approved", "finance", None),
        ("run", "tests", None),
        ("closed", "tests", None),
    ]
    posted = maker.get(f"{BATCH}/postings")["items"]
    assert [(each["code"], each["payouts"], each["total"]) for each in posted] == [
        ("reserve", 3, 1_700), ("send", 3, 1_700), ("confirm", 3, 1_700),
    ]  # fmt: skip


def test_much_money_needs_two_approvals(
    maker: Caller, second: Caller, db: Database, brand: Brand
) -> None:
    third = make_caller(db, maker.app, maker.contract, brand, "head of finance").at(LATER)
    again = make_caller(db, maker.app, maker.contract, brand, " Finance ").at(LATER)
    settings = {"second_approval_above": 1_699}
    assert maker.post(200, "/brand/settings", settings)["second_approval_above"] == 1_699
    maker.post(201, "/settlement/batches", {})
    seen = {"content_hash": maker.post(200, f"{BATCH}/submit")["content_hash"]}
    once = second.post(200, f"{BATCH}/approve", seen)
    assert (once["state"], once["approvals_needed"]) == ("submitted", 2)
    for nobody_else in (second, again, maker):
        refused = nobody_else.refused(409, "POST", f"{BATCH}/approve", seen)
        assert refused == ["approved_by"]
    maker.send(409, "POST", f"{BATCH}/run")
    assert third.post(200, f"{BATCH}/approve", seen)["state"] == "approved"
    approvals = maker.get(BATCH)["approvals"]
    assert [each["approved_by"] for each in approvals] == ["finance", "head of finance"]


def test_a_brand_does_not_loosen_its_safeguards(shop: Caller, operator: Caller) -> None:
    path = "/brand/settings"
    assert shop.post(200, path, {})["second_approval_above"] is None
    shop.post(200, path, {"second_approval_above": 500})
    shop.post(200, path, {"second_approval_above": 400, "method_cool_days": 7})
    for looser in ({"second_approval_above": 401}, {"second_approval_above": None},
                   {"method_cool_days": 6}):  # fmt: skip
        assert shop.refused(409, "POST", path, looser) == list(looser)
    assert shop.refused(422, "POST", path, {"method_cool_days": 91}) == ["method_cool_days"]
    kept = shop.post(200, path, {"levels": 3})
    assert (kept["second_approval_above"], kept["method_cool_days"]) == (400, 7)
    body = {"slug": f"{kept['slug']}-2", "name": "x", "second_approval_above": 9}
    made = operator.post(201, "/brands", body)
    assert (made["second_approval_above"], made["method_cool_days"]) == (9, 3)


def test_a_change_of_the_content_voids_the_approval(maker: Caller, second: Caller) -> None:
    maker.post(201, "/settlement/batches", {})
    before = approve(maker, second)
    why = {"reason": "asked us to wait"}
    removed = maker.post(200, f"{BATCH}/payouts/2/remove", why)
    assert removed["state"] == "removed"
    changed = maker.get(BATCH)
    assert (changed["state"], changed["approvals"], changed["payouts"]) == ("draft", [], 2)
    assert changed["content_hash"] != before["content_hash"]
    maker.send(409, "POST", f"{BATCH}/run")
    maker.post(200, f"{BATCH}/submit")
    old = {"content_hash": before["content_hash"]}
    assert second.refused(409, "POST", f"{BATCH}/approve", old) == ["content_hash"]
    new = {"content_hash": changed["content_hash"]}
    assert second.post(200, f"{BATCH}/approve", new)["state"] == "approved"
    assert maker.post(201, "/settlement/batches", {})["total"] == removed["amount"]


def test_a_batch_is_rejected_with_a_reason(maker: Caller, second: Caller) -> None:
    maker.post(201, "/settlement/batches", {})
    maker.post(200, f"{BATCH}/submit")
    assert second.refused(422, "POST", f"{BATCH}/reject", {}) == ["reason"]
    assert second.refused(422, "POST", f"{BATCH}/reject", {"reason": " "}) == ["reason"]
    back = second.post(200, f"{BATCH}/reject", {"reason": "ann is being checked"})
    assert (back["state"], back["submitted_by"]) == ("draft", None)
    assert events(maker)[-1] == ("rejected", "finance", "ann is being checked")


def test_a_batch_is_paused_and_resumed(
    maker: Caller, second: Caller, db: Database, settings: Settings
) -> None:
    maker.post(201, "/settlement/batches", {})
    approve(maker, second)
    maker.post(202, f"{BATCH}/run")
    maker.post(200, f"{BATCH}/pause", {"reason": "the bank is closed"})
    work(db, settings)
    paused = maker.get(BATCH)
    assert (paused["state"], paused["progress"]["states"][0]["state"]) == ("paused", "reserved")
    assert maker.post(200, f"{BATCH}/resume")["state"] == "paying"
    work(db, settings)
    assert maker.get(BATCH)["state"] == "settled"
    assert ("paused", "tests", "the bank is closed") in events(maker)


def test_a_distributor_sees_what_it_has(
    maker: Caller, second: Caller, db: Database, settings: Settings
) -> None:
    pay(maker, second, db, settings)
    maker.post(201, "/refunds", refund(lines=[{"line_no": 1, "quantity": 0, "amount": 1_000}]))
    statement = maker.get("/distributors/ann/statement")
    assert statement["balances"] == {
        "earned": 1_000, "pending": 0, "available": -100, "reserved": 0, "paid": 1_000,
        "withheld": 0, "reversed": 100,
    }  # fmt: skip
    assert [each["day"] for each in statement["days"]] == ["2026-03-22", "2026-03-01"]
    ranged = maker.get("/distributors/ann/statement", from_="2026-03-02", to="2026-03-31")
    assert (ranged["from"], ranged["to"], len(ranged["days"])) == ("2026-03-02", "2026-03-31", 1)

    earnings = maker.get("/distributors/ann/earnings")["items"]
    assert [(each["kind"], each["amount"], each["batch"]) for each in earnings] == [
        ("refund", -100, None),
        ("order", 1_000, 1),
    ]
    (payout,) = maker.get("/distributors/ann/payouts")["items"]
    assert (payout["batch"], payout["amount"], payout["state"]) == (1, 1_000, "paid")


def test_an_approval_is_of_what_was_reviewed(maker: Caller, second: Caller) -> None:
    maker.post(201, "/settlement/batches", {})
    made = maker.post(200, f"{BATCH}/submit")
    path = f"{BATCH}/approve"
    assert second.refused(409, "POST", path, {"content_hash": "00" * 32}) == ["content_hash"]
    assert second.refused(422, "POST", path, {}) == ["content_hash"]
    assert second.refused(422, "POST", path, {"content_hash": "xyz"}) == ["content_hash"]
    second.post(200, path, {"content_hash": made["content_hash"]})
    second.send(409, "POST", path, {"content_hash": made["content_hash"]})


def test_a_cancelled_batch_frees_what_it_held(maker: Caller) -> None:
    maker.post(201, "/settlement/batches", {})
    maker.send(409, "POST", "/settlement/batches", {})
    cancelled = maker.post(200, f"{BATCH}/cancel", {"reason": "a day early"})
    assert cancelled["state"] == "cancelled"
    assert events(maker)[-1] == ("cancelled", "tests", "a day early")
    assert maker.post(201, "/settlement/batches", {})["number"] == 2
    listed = maker.get("/settlement/batches")["items"]
    assert [(each["number"], each["state"]) for each in listed] == [(2, "draft"), (1, "cancelled")]
    drafts = maker.get("/settlement/batches", state="draft")["items"]
    assert [each["number"] for each in drafts] == [2]


@pytest.mark.parametrize(
    "body, status, fields",
    [
        ({"cutoff": "2199-01-01"}, 422, ["cutoff"]),
        ({"cutoff": "today"}, 422, ["cutoff"]),
        ({"cutoff": "2026-03-01"}, 409, []),
        ({"provider": "carrier-pigeon"}, 422, ["provider"]),
        ({"until": "2026-03-01"}, 422, ["until"]),
        ({"filters": {"only": ["nobody"]}}, 422, ["filters.only"]),
        ({"filters": {"without": ["ann", "nobody"]}}, 422, ["filters.without"]),
        ({"filters": {"minimum": 99}}, 422, ["filters.minimum"]),
        ({"filters": {"minimum": 0}}, 422, ["filters.minimum"]),
        ({"filters": {"only": [1], "all": True}}, 422, ["filters.all", "filters.only[0]"]),
        ({"filters": {"minimum": 1_001}}, 409, []),
    ],
)
def test_a_batch_that_cannot_be_drawn_up(
    maker: Caller, body: dict[str, Any], status: int, fields: list[str]
) -> None:
    assert sorted(maker.refused(status, "POST", "/settlement/batches", body)) == fields
    assert maker.get("/settlement/batches")["items"] == []


_VERBS = (
    *("submit", "approve", "reject", "run", "retry", "pause", "resume", "cancel", "close", "file"),
)
_ALLOWED = {
    "draft": {"submit", "cancel"},
    "submitted": {"approve", "reject", "cancel"},
    "approved": {"reject", "run", "cancel"},
    "paying": {"pause"},
    "settled": {"close", "file"},
    "closed": {"file"},
    "cancelled": set(),
}


@pytest.mark.parametrize("state", _ALLOWED)
def test_steps_come_in_order(
    maker: Caller, second: Caller, db: Database, settings: Settings, state: str
) -> None:
    hash_ = maker.post(201, "/settlement/batches", {})["content_hash"]
    bodies = {"reject": {"reason": "x"}, "approve": {"content_hash": hash_}}
    ways = {"draft": [], "submitted": ["submit"], "cancelled": ["cancel"]}
    steps = ("submit", "approve", "run", "work", "close")
    ways |= {
        name: list(steps[:n])
        for n, name in ((2, "approved"), (3, "paying"), (4, "settled"), (5, "closed"))
    }
    for step in ways[state]:
        if step == "work":
            work(db, settings)
        else:
            maker_or_second = second if step == "approve" else maker
            maker_or_second.call("POST", f"{BATCH}/{step}", bodies.get(step))
    assert maker.get(BATCH)["state"] == state
    for verb in _VERBS:
        if verb not in _ALLOWED[state]:
            method = "GET" if verb == "file" else "POST"
            told = second.send(409, method, f"{BATCH}/{verb}", bodies.get(verb))
            assert "batch 1" in told["detail"], verb
    assert maker.get(BATCH)["state"] == state


@pytest.mark.parametrize("number", ["0", "7", "2147483648", "one"])
@pytest.mark.parametrize(
    "method, path",
    [("GET", ""), ("GET", "/payouts"), ("GET", "/file"), ("GET", "/events"), ("GET", "/exclusions"),
     ("GET", "/postings"), ("POST", "/submit"), ("POST", "/approve"), ("POST", "/reject"),
     ("POST", "/run"), ("POST", "/retry"), ("POST", "/pause"), ("POST", "/resume"),
     ("POST", "/cancel"), ("POST", "/close"), ("POST", "/status-report")],
)  # fmt: skip
def test_an_unknown_batch_is_not_found(api: Caller, method: str, path: str, number: str) -> None:
    bodies = {"/approve": {"content_hash": "00"}, "/reject": {"reason": "x"}}
    api.send(404, method, f"/settlement/batches/{number}{path}", bodies.get(path))


def test_a_file_that_is_not_what_was_settled_is_not_handed_out(
    maker: Caller, second: Caller, db: Database, settings: Settings, brand: Brand
) -> None:
    pay(maker, second, db, settings)
    path = settings.data_dir / "payouts" / ids.public("br", brand.id) / "batch-1.csv"
    path.write_bytes(path.read_bytes().replace(b"10.00", b"99.00"))
    maker.send(503, "GET", "/settlement/batches/1/file")
    path.unlink()
    maker.send(503, "GET", "/settlement/batches/1/file")


# -- previews -------------------------------------------------------------------------------------


@pytest.fixture
def mixed(maker: Caller, db: Database, brand: Brand) -> Caller:
    """Ann, Bo and Cy are due; others are left out, each for another reason."""
    joined = "2026-01-01T00:00:00Z"
    for name in ("few", "gone", "late", "owes"):
        maker.post(201, "/distributors", {"external_id": name, "name": name, "joined_at": joined})
    for name, amount in (("few", 900), ("gone", 50_000), ("owes", 20_000)):
        maker.post(201, "/orders", order(f"{name}-1", amount, distributor=name))
    maker.post(201, "/orders", order("late-1", 30_000, distributor="late",
                                     placed_at=LATER.isoformat()))  # fmt: skip
    maker.post(200, "/distributors/gone/suspend")
    return maker


@pytest.mark.parametrize(
    "filters", [{}, {"only": ["ann", "few", "gone"]}, {"without": ["bo"]}, {"minimum": 600}]
)
def test_a_preview_is_what_is_drawn_up(
    mixed: Caller, second: Caller, db: Database, settings: Settings, filters: dict[str, Any]
) -> None:
    pay(mixed, second, db, settings, filters={"only": ["owes"]})  # and then the order comes back
    mixed.post(201, "/refunds", refund("R-1", "owes-1"))

    told = mixed.get("/settlement/preview", **filters)
    lines = {
        line["distributor"]: line
        for page in mixed.pages("/settlement/preview/lines", 3, **filters)
        for line in page
    }
    assert list(lines) == sorted(lines)
    chosen = {name: line["amount"] for name, line in lines.items() if line["reason"] is None}
    assert (told["payouts"], told["total"]) == (len(chosen), sum(chosen.values()))
    for each in told["left_out"]:
        of_it = [line for line in lines.values() if line["reason"] == each["reason"]]
        what = "later" if each["reason"] == "waiting" else "carried_forward"
        assert each["distributors"] == len(of_it)
        assert each["amount"] == sum(line[what] for line in of_it)
        assert {line["reason_words"] for line in of_it} == {each["reason_words"]}
    if not filters:
        assert {name: line["reason"] for name, line in lines.items() if line["reason"]} == {
            "few": "below_minimum", "gone": "suspended", "late": "waiting", "owes": "debt",
        }  # fmt: skip
        assert lines["owes"]["carried_forward"] == -2_000
        assert (lines["late"]["later"], lines["late"]["amount"]) == (3_000, 0)

    made = mixed.post(201, "/settlement/batches", {"filters": filters})
    path = f"/settlement/batches/{made['number']}"
    assert made["filters"] == filters
    assert (made["payouts"], made["total"]) == (told["payouts"], told["total"])
    payouts = mixed.get(f"{path}/payouts")["items"]
    assert {each["distributor"]: each["amount"] for each in payouts} == chosen
    kept = [
        line for line in lines.values() if line["reason"] not in (None, "waiting", "not_chosen")
    ]
    left_out = mixed.get(f"{path}/exclusions")["items"]
    assert sorted((x["distributor"], x["amount"], x["reason"]) for x in left_out) == sorted(
        (x["distributor"], x["carried_forward"], x["reason"]) for x in kept
    )
    assert all(each["reason_words"] for each in left_out)
    summary = {x["reason"]: x["distributors"] for x in mixed.get(path)["exclusions"]}
    assert sum(summary.values()) == len(kept)


def test_a_preview_of_a_day_to_come_writes_nothing(maker: Caller) -> None:
    assert maker.get("/settlement/preview", cutoff="2026-03-01")["payouts"] == 0
    assert maker.get("/settlement/preview", cutoff="2027-01-01")["payouts"] == 3
    refused = maker.refused(422, "GET", "/settlement/preview", query={"only": "nobody"})
    assert refused == ["filters.only"]
    refused = maker.refused(422, "GET", "/settlement/preview", query={"provider": "pigeon"})
    assert refused == ["provider"]
    assert maker.get("/settlement/batches")["items"] == []
