"""Single payouts: each step from each state, what the bank says, and what is on paper."""

from __future__ import annotations

import io
from datetime import timedelta
from typing import Any

import pytest
from pypdf import PdfReader

from distrib import ids
from distrib.brands.tables import Brand
from distrib.config import Settings
from distrib.db import Database
from distrib.ledger.service import fold
from distrib.settlement.audit import audit_brand
from tests import factories
from tests.api.conftest import LATER, Caller, approve, order, refund
from tests.api.test_settlement import BATCH, events, work

WHY = {"reason": "as agreed on the phone"}
PROOF = {"evidence": "receipt 17", "reference": "TX-0017"}
LATEST = LATER + factories.days(1)


@pytest.fixture
def maker(shop: Caller) -> Caller:
    """The shop three weeks later, with orders and a refund whose hold is over."""
    shop.post(201, "/orders", order("A-1", 10_000))
    shop.post(201, "/orders", order("A-2", 20_000))
    shop.post(201, "/refunds", refund("R-1", "A-2", lines=[
        {"line_no": 1, "quantity": 0, "amount": 5_000}]))  # fmt: skip
    return shop.at(LATER)


@pytest.fixture
def by_hand(maker: Caller, second: Caller, db: Database, settings: Settings) -> Caller:
    """A batch that people pay: its payouts are handed over, and nobody has said more."""
    maker.post(201, "/settlement/batches", {"provider": "manual"})
    approve(maker, second)
    maker.post(202, f"{BATCH}/run")
    work(db, settings)
    return maker


def states(caller: Caller, path: str = BATCH) -> dict[str, str]:
    return {x["distributor"]: x["state"] for x in caller.get(f"{path}/payouts")["items"]}


def number(caller: Caller, distributor: str) -> int:
    (found,) = caller.get(f"{BATCH}/payouts", distributor=distributor)["items"]
    return int(found["no"])


def sound(db: Database, brand: Brand) -> None:
    """The audit finds nothing."""
    with db.transaction() as session:
        fold(session, brand_id=brand.id, wait=True)
    with db.snapshot() as session:
        assert [each.detail for each in audit_brand(session, brand_id=brand.id)] == []


def test_payouts_made_by_hand_are_confirmed_and_refused_with_evidence(
    by_hand: Caller, second: Caller, db: Database, settings: Settings, brand: Brand
) -> None:
    ann, bo, cy = (number(by_hand, name) for name in ("ann", "bo", "cy"))
    path = f"{BATCH}/payouts"
    assert states(by_hand) == {"ann": "sent", "bo": "sent", "cy": "sent"}
    assert by_hand.refused(422, "POST", f"{path}/{ann}/confirm", {"evidence": " "}) == ["evidence"]
    assert by_hand.refused(422, "POST", f"{path}/{ann}/confirm", {}) == ["evidence"]
    assert second.post(200, f"{path}/{ann}/confirm", PROOF)["state"] == "paid"
    assert second.post(200, f"{path}/{cy}/confirm", PROOF)["state"] == "paid"
    refusal = {"evidence": "no such account"}
    assert second.post(200, f"{path}/{bo}/refuse", refusal)["state"] == "failed"
    work(db, settings)
    later = by_hand.at(LATEST)
    shown = later.get(f"{path}/{ann}")
    (tried,) = shown["tries"]
    assert (tried["state"], tried["reference"], tried["message"]) == (
        "paid",
        "TX-0017",
        "receipt 17",
    )
    assert [(x["kind"], x["actor"]) for x in later.get(f"{path}/{ann}/events")["items"]] == [
        ("confirmed", "finance")
    ]
    found = later.get("/settlement/payouts", reference="TX-0017")["items"]
    assert {each["no"] for each in found} == {ann, cy}
    found = later.get("/settlement/payouts", request_no=tried["request_no"])["items"]
    assert [(each["batch"], each["no"]) for each in found] == [(1, ann)]
    assert later.get("/settlement/payouts", request_no=f"{tried['request_no']}9")["items"] == []
    assert later.refused(422, "GET", "/settlement/payouts") == ["request_no"]

    assert later.post(200, f"{path}/{bo}/reissue", WHY)["state"] == "reserved"
    work(db, settings, LATEST)
    tries = later.get(f"{path}/{bo}")["tries"]
    assert [each["state"] for each in tries] == ["failed", "pending"]
    assert len({each["request_no"] for each in tries}) == 2
    later.post(200, f"{path}/{bo}/confirm", PROOF)
    work(db, settings, LATEST + timedelta(seconds=2))  # who follows it looks soon
    assert later.get(BATCH)["state"] == "settled"
    assert later.post(200, f"{path}/{cy}/return", WHY)["state"] == "returned"
    assert later.get(BATCH)["state"] == "partly_failed"
    later.send(409, "POST", f"{BATCH}/close")
    assert later.post(200, f"{path}/{cy}/void", WHY)["state"] == "voided"
    assert later.post(200, f"{BATCH}/close")["state"] == "closed"
    assert later.post(201, "/settlement/batches", {})["payouts"] == 1
    sound(db, brand)


def test_a_payout_is_held_and_released(
    maker: Caller, second: Caller, db: Database, settings: Settings, brand: Brand
) -> None:
    maker.post(201, "/settlement/batches", {})
    no = number(maker, "bo")
    assert maker.refused(422, "POST", f"{BATCH}/payouts/{no}/hold", {}) == ["reason"]
    assert maker.post(200, f"{BATCH}/payouts/{no}/hold", WHY)["state"] == "held"
    approve(maker, second)
    maker.post(202, f"{BATCH}/run")
    work(db, settings)
    assert maker.get(BATCH)["state"] == "partly_failed"
    assert states(maker) == {"ann": "paid", "bo": "held", "cy": "paid"}
    assert maker.get(f"{BATCH}/payouts", state="held")["items"][0]["distributor"] == "bo"
    maker.post(200, f"{BATCH}/payouts/{no}/release", WHY)
    work(db, settings)
    done = maker.get(BATCH)
    assert (done["state"], [each["payouts"] for each in done["files"]]) == ("settled", [2, 1])
    first, last = (maker.call("GET", f"{BATCH}/file", query={"no": n}) for n in (1, 2))
    assert b"ann" in first.data
    assert b"bo" not in first.data
    assert b"bo" in last.data
    assert maker.call("GET", f"{BATCH}/file").data == last.data
    assert [x[0] for x in events(maker, f"{BATCH}/payouts/{no}")] == ["held", "released"]
    sound(db, brand)


_ALLOWED = {
    "reserved": {"hold", "remove"},
    "held": {"release", "remove"},
    "sent": {"confirm", "refuse"},
    "paid": {"return"},
    "failed": {"reissue", "void"},
    "returned": {"reissue", "void"},
    "voided": set(),
    "removed": set(),
}
_WAYS = {
    "reserved": [],
    "held": ["hold"],
    "removed": ["remove"],
    "sent": ["run"],
    "paid": ["run", "confirm"],
    "failed": ["run", "refuse"],
    "returned": ["run", "confirm", "return"],
    "voided": ["run", "refuse", "void"],
}
_STEPS = ("hold", "release", "void", "reissue", "return", "remove", "confirm", "refuse")


@pytest.mark.parametrize("state", _WAYS)
def test_each_step_has_its_states(
    maker: Caller, second: Caller, db: Database, settings: Settings, state: str
) -> None:
    maker.post(201, "/settlement/batches", {"provider": "manual"})
    path = f"{BATCH}/payouts/1"
    for step in _WAYS[state]:
        if step == "run":
            approve(maker, second)
            maker.post(202, f"{BATCH}/run")
            work(db, settings)
        else:
            maker.post(200, f"{path}/{step}", PROOF if step in ("confirm", "refuse") else WHY)
    later = maker.at(LATEST)
    assert later.get(path)["state"] == state
    for step in _STEPS:
        if step in _ALLOWED[state]:
            continue
        body = PROOF if step in ("confirm", "refuse") else WHY
        expected = 404 if (state, step) == ("removed", "remove") else 409
        told = later.send(expected, "POST", f"{path}/{step}", body)
        assert "batch 1" in told["detail"], step
    assert later.get(path)["state"] == state


def test_a_fresh_failure_is_not_reissued(by_hand: Caller) -> None:
    by_hand.post(200, f"{BATCH}/payouts/1/refuse", PROOF)
    told = by_hand.send(409, "POST", f"{BATCH}/payouts/1/reissue", WHY)
    assert told["type"] == "urn:distrib:problem:too-early"


@pytest.mark.parametrize("no", ["0", "9", "2147483648", "one"])
@pytest.mark.parametrize(
    "method, step",
    [("GET", ""), ("GET", "/events"), ("GET", "/statement.pdf"),
     ("POST", "/hold"), ("POST", "/release"), ("POST", "/remove")],
)  # fmt: skip
def test_an_unknown_payout_is_not_found(maker: Caller, method: str, step: str, no: str) -> None:
    maker.post(201, "/settlement/batches", {})
    maker.send(404, method, f"{BATCH}/payouts/{no}{step}", WHY if method == "POST" else None)


@pytest.mark.parametrize("step", ["void", "reissue", "return", "confirm", "refuse"])
def test_an_unknown_payout_that_was_handed_over_is_not_found(by_hand: Caller, step: str) -> None:
    body = PROOF if step in ("confirm", "refuse") else WHY
    by_hand.send(404, "POST", f"{BATCH}/payouts/9/{step}", body)


# -- what the bank says ---------------------------------------------------------------------------

_PAIN_002 = """<?xml version="1.0"?>
<Document xmlns="urn:iso:std:iso:20022:tech:xsd:pain.002.001.10"><CstmrPmtStsRpt>
<OrgnlGrpInfAndSts><OrgnlMsgId>M</OrgnlMsgId><OrgnlMsgNmId>pain.001</OrgnlMsgNmId>
</OrgnlGrpInfAndSts><OrgnlPmtInfAndSts><OrgnlPmtInfId>M</OrgnlPmtInfId>{rows}
</OrgnlPmtInfAndSts></CstmrPmtStsRpt></Document>"""
_ROW = (
    "<TxInfAndSts><OrgnlEndToEndId>{}</OrgnlEndToEndId><TxSts>{}</TxSts>"
    "<StsRsnInf><Rsn><Cd>{}</Cd></Rsn></StsRsnInf></TxInfAndSts>"
)


def report(
    caller: Caller, body: str, kind: str = "text/csv", status: int = 200, **options: Any
) -> Any:
    return caller.send(
        status, "POST", f"{BATCH}/status-report", headers={"Content-Type": kind},
        data=body.encode(), **options,
    )  # fmt: skip


def test_a_status_report_moves_payouts_once(
    by_hand: Caller, db: Database, settings: Settings, brand: Brand
) -> None:
    batch = ids.parse("bat", by_hand.get(BATCH)["id"])
    body = (
        "request_no,status,reference,code\n"
        f"{batch}p1a1,paid,TX-1,\n{batch}p2a1,failed,,AC04\n{batch}p9a1,paid,,\n"
        f"{batch + 1}p1a1,paid,,\nnonsense,paid,,\n{batch}p3a1,lost,,\n"
    )
    told = report(by_hand, body)
    assert (told["moved"], told["known"]) == (2, 2)
    assert told["unknown"] == [f"{batch + 1}p1a1", "nonsense", f"{batch}p9a1"]
    (refused,) = told["refused"]
    assert (refused["row"], refused["text"]) == (7, f"{batch}p3a1")
    assert "status is none of" in refused["reason"]
    assert (report(by_hand, body)["moved"], report(by_hand, body, key="k")["known"]) == (0, 2)
    assert report(by_hand, body, key="k")["moved"] == 0
    by_no = {each["no"]: each["state"] for each in by_hand.get(f"{BATCH}/payouts")["items"]}
    assert by_no == {1: "paid", 2: "failed", 3: "sent"}
    assert by_hand.get(f"{BATCH}/payouts/2")["tries"][0]["code"] == "AC04"

    xml = _PAIN_002.format(rows=_ROW.format(f"{batch}p3a1", "ACSC", "G000"))
    assert report(by_hand, xml, "application/xml")["moved"] == 1
    kept = [each for each in by_hand.get(f"{BATCH}/events")["items"]
            if each["kind"] == "status_report"]  # fmt: skip
    assert [each["data"]["moved"] for each in kept] == [2, 0, 0, 1]
    assert all(each["actor"] == "tests" and len(each["data"]["sha256"]) == 64 for each in kept)
    sound(db, brand)


def test_a_status_report_that_is_none(by_hand: Caller, maker: Caller) -> None:
    for body, kind in (("nothing", "text/csv"), ("<a/>", "text/xml"), ("<a", "application/xml")):
        told = report(by_hand, body, kind, 422)
        assert told["type"] == "urn:distrib:problem:bad-status-file"
    report(by_hand, "{}", "application/json", 415)
    assert states(by_hand) == {"ann": "sent", "bo": "sent", "cy": "sent"}


def test_a_status_report_of_a_batch_that_was_not_handed_over(maker: Caller) -> None:
    maker.post(201, "/settlement/batches", {})
    told = report(maker, "request_no,status\n", status=409)
    assert told["errors"][0]["field"] == "state"


# -- on paper -------------------------------------------------------------------------------------


def test_a_payout_on_paper(maker: Caller, second: Caller, db: Database, settings: Settings) -> None:
    maker.post(201, "/settlement/tax/settings", {"year": 2026, "regime": "cn_labour"})
    maker.post(201, "/orders", order("天-3", 2_000_000, placed_at=factories.NOON.isoformat()))
    maker.post(201, "/settlement/batches", {})
    no = number(maker, "ann")
    path = f"{BATCH}/payouts/{no}"
    approve(maker, second)
    maker.post(202, f"{BATCH}/run")
    work(db, settings)

    shown = maker.get(path)
    assert (shown["amount"], shown["net"]) == (202_500, 202_500 - shown["tax"])
    facts = shown["tax_facts"]
    assert (facts["regime"], facts["tax"], facts["month"]) == ("cn_labour", shown["tax"], 3)
    assert shown["tax"] == 24_500  # (2,025.00 - 800.00) at 20 %
    assert "1,225.00" in facts["explanation"]
    chinese = maker.send(200, "GET", path, headers={"Accept-Language": "zh-CN,zh;q=0.9,en;q=0.5"})
    assert "减除" in chinese["tax_facts"]["explanation"]
    assert maker.get(path, language="zh") == chinese

    english = maker.call("GET", f"{path}/statement.pdf")
    assert english.headers["Content-Type"] == "application/pdf"
    text = _text(english.data)
    for part in ("Payout statement", "Tea House", "Ann", "2,025.00 CNY", "1,780.00 CNY",
                 "245.00 CNY", "A-1", "A-2", "天-3", "-5.00", "web",
                 facts["explanation"][:20]):  # fmt: skip
        assert part in text, part
    assert text.count("web A-2") == 2, "the order and its refund"
    assert maker.at(LATEST).call("GET", f"{path}/statement.pdf").data == english.data
    other = maker.call("GET", f"{path}/statement.pdf", query={"language": "zh"})
    assert other.headers["Content-Language"] == "zh"
    assert "佣金付款单" in _text(other.data)
    refused = maker.refused(422, "GET", f"{path}/statement.pdf", query={"language": "tlh"})
    assert refused == ["language"]


def _text(pdf: bytes) -> str:
    return "\n".join(page.extract_text() for page in PdfReader(io.BytesIO(pdf)).pages)


def test_what_is_not_paid_has_no_paper(maker: Caller) -> None:
    maker.post(201, "/settlement/batches", {})
    assert "not paid yet" in _text(maker.call("GET", f"{BATCH}/payouts/1/statement.pdf").data)
    maker.post(200, f"{BATCH}/payouts/1/remove", WHY)
    assert maker.refused(409, "GET", f"{BATCH}/payouts/1/statement.pdf") == ["state"]
