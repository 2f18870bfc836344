"""Reconciliation over the API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from werkzeug.test import TestResponse

from distrib.brands.tables import Brand
from distrib.config import Settings
from distrib.db import Database
from tests import factories
from tests.api.conftest import Caller, make_caller
from tests.factories import days
from tests.settlement.books import MATURED, PAID_ON, Paid, csv, decide, pay_many

NEXT = "2026-03-17"


@dataclass(frozen=True)
class Books:
    """A caller whose brand has paid three distributors, and a fourth is on the way."""

    api: Caller
    paid: list[Paid]

    def send(self, content: bytes, kind: str = "text/csv", **query: Any) -> TestResponse:
        return self.api.call(
            "POST",
            "/reconciliation/statements",
            query={"provider": "manual", "name": "march.csv"} | query,
            data=content,
            content_type=kind,
        )

    def taken(self, content: bytes, kind: str = "text/csv", **query: Any) -> Any:
        response = self.send(content, kind, **query)
        assert response.status_code == 200, response.get_data(as_text=True)
        return response.json


@pytest.fixture
def books(db: Database, settings: Settings, brand: Brand, api: Caller) -> Books:
    batch, paid = pay_many(db, settings, brand, ["a", "b", "c", "d"])
    for each in paid[:3]:
        decide(db, batch, each.no)
    return Books(api.at(MATURED + days(9)), paid)


def test_a_statement_and_its_cases(books: Books) -> None:
    a, b, c, d = books.paid
    content = csv(
        (a.request_no, a.net, NEXT), (b.request_no, b.net + 5, NEXT), (d.request_no, d.net, NEXT),
        ("nobody", 77, NEXT), ("bad", 0, NEXT),
    )  # fmt: skip
    told = books.taken(content, first_day=str(PAID_ON), last_day="2026-03-20")
    assert (told["accepted"], told["rejected"], told["matched"], told["known"]) == (4, 1, 1, False)
    assert told["found"] == {"amount_differs": 1, "extra": 2, "missing": 1}
    assert [each["reason"] for each in told["rejects"]] == ["amount: is zero"]
    assert told["statement"]["rows"] == 5
    again = books.taken(content, first_day=str(PAID_ON))
    assert (again["known"], again["statement"]) == (True, told["statement"])
    api, name = books.api, told["statement"]["id"]
    assert api.get("/reconciliation/statements")["items"] == [told["statement"]]
    assert api.get(f"/reconciliation/statements/{name}") == told["statement"]
    lines = [each for page in api.pages(f"/reconciliation/statements/{name}/lines", 3)
             for each in page]  # fmt: skip
    assert [each["request_no"] for each in lines] == [
        a.request_no, b.request_no, d.request_no, None,
    ]  # fmt: skip
    cases = [each for page in api.pages("/reconciliation/cases", 3) for each in page]
    assert len(cases) == 4
    assert [each["kind"] for each in api.get("/reconciliation/cases", kind="missing")["items"]] == [
        "missing"
    ]
    assert api.get("/reconciliation/cases", state="resolved")["items"] == []
    assert api.get("/reconciliation/cases", provider="bank-file")["items"] == []
    ends = {
        "missing": "return", "amount_differs": "adjust", d.request_no: "confirm", None: "differ",
    }  # fmt: skip
    for case in cases:
        shown = api.get(f"/reconciliation/cases/{case['id']}")
        assert case.items() <= shown.items()
        end = ends[case["kind"] if case["kind"] in ends else case["request_no"]]
        assert end in shown["ways"]
        path = f"/reconciliation/cases/{case['id']}/resolve"
        done = api.post(200, path, {"resolution": end, "note": "seen"}, key=case["id"])
        assert (done["state"], done["resolution"], done["note"], done["resolved_by"]) == (
            "resolved", end, "seen", "tests",
        )  # fmt: skip
        assert done["ways"] == []
        api.send(409, "POST", path, {"resolution": "note", "note": "again"})
    summary = api.get("/reconciliation/summary", first_day=str(PAID_ON), last_day="2026-03-31")
    (found,) = summary["items"]
    assert (found["provider"], found["lines"], found["open"]) == ("manual", 4, {})
    assert found["difference"] == found["statement"] - found["ledger"]
    clearing = api.get("/reconciliation/clearing")
    assert (clearing["balance"], clearing["explained"], clearing["batches"]) == (0, 0, [])
    assert c.net


def test_what_is_on_its_way(books: Books) -> None:
    found = books.api.get("/reconciliation/clearing")
    assert found["balance"] == found["explained"] == books.paid[3].net
    assert [each["payouts"] for each in found["batches"]] == [1]


def test_a_file_of_any_shape(books: Books) -> None:
    a = books.paid[0]
    file = f"Tag;Betrag;Zweck\n17.03.2026;-1.0{a.net // 100},{a.net % 100:02};{a.request_no}\n"
    told = books.taken(
        file.replace("-1.0", "-").encode("utf-16"),
        delimiter=";", decimal=",", thousands=".", encoding="utf-16", outgoing="negative",
        reference="Zweck", amount="Betrag", date="Tag", date_formats="%d.%m.%Y",
    )  # fmt: skip
    assert (told["matched"], told["found"]) == (1, {})
    xml = (
        '<Document><BkToCstmrStmt><Stmt><Ntry><Amt Ccy="CNY">9.00</Amt><CdtDbtInd>DBIT</CdtDbtInd>'
        "<Sts><Cd>BOOK</Cd></Sts><BookgDt><Dt>2026-03-17</Dt></BookgDt></Ntry></Stmt>"
        "</BkToCstmrStmt></Document>"
    )
    assert books.taken(xml.encode(), "application/xml")["found"] == {"extra": 1}


def test_refusals(books: Books) -> None:
    good = csv(("x", 1, NEXT))
    for status, content, kind, query in (
        (415, good, "application/json", {}),
        (422, b"", "text/csv", {}),
        (422, b"<a/>", "application/xml", {}),
        (422, good, "text/csv", {"provider": "pigeon"}),
        (422, good, "text/csv", {"date": "Tag"}),
        (422, good, "text/csv", {"date_formats": "%Q"}),
        (422, good, "text/csv", {"encoding": "idna"}),
        (422, good, "text/csv", {"delimiter": "::"}),
        (422, good, "text/csv", {"delimiter": '"'}),
        (422, good, "text/csv", {"last_day": "2020-01-01"}),
        (422, good, "text/csv", {"first_day": "2026-04-01", "last_day": "2026-03-01"}),
        (422, good, "text/csv", {"name": ""}),
        (422, good, "text/csv", {"missing_after_days": 91}),
        (422, good, "text/csv", {"unknown": "x"}),
    ):
        assert books.send(content, kind, **query).status_code == status, query
    api = books.api
    for path in ("/reconciliation/cases/x", "/reconciliation/statements/imp_000000000001",
                 "/reconciliation/statements/x/lines"):  # fmt: skip
        api.send(404, "GET", path)
    case = books.taken(good)["found"] and api.get("/reconciliation/cases")["items"][0]["id"]
    path = f"/reconciliation/cases/{case}/resolve"
    assert api.refused(422, "POST", path, {"resolution": "wish", "note": "x"}) == ["resolution"]
    assert api.refused(422, "POST", path, {"resolution": "note", "note": " "}) == ["note"]
    assert api.refused(409, "POST", path, {"resolution": "return", "note": "x"}) == ["resolution"]
    assert api.refused(422, "POST", path, {"resolution": "adjust", "note": "x"}) == ["distributor"]
    days_ = {"first_day": "2026-03-02", "last_day": "2026-03-01"}
    assert api.refused(422, "GET", "/reconciliation/summary", query=days_) == ["last_day"]
    assert api.refused(422, "GET", "/reconciliation/summary") == ["first_day", "last_day"]


def test_another_brand_sees_nothing_of_it(db: Database, books: Books) -> None:
    told = books.taken(csv(("x", 1, NEXT)))
    case = books.api.get("/reconciliation/cases")["items"][0]["id"]
    stranger = make_caller(db, books.api.app, books.api.contract, factories.brand(db))
    for path in ("/reconciliation/statements", "/reconciliation/cases"):
        assert stranger.get(path)["items"] == []
    stranger.send(404, "GET", f"/reconciliation/cases/{case}")
    stranger.send(404, "GET", f"/reconciliation/statements/{told['statement']['id']}/lines")
    note = {"resolution": "note", "note": "x"}
    stranger.send(404, "POST", f"/reconciliation/cases/{case}/resolve", note)
