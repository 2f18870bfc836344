"""Whatever is sent, the answer is one of the documented ones, and never a fault of ours."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from marshmallow import ValidationError

from distrib.api.documents import OrderInSchema, RefundInSchema
from distrib.api.fields import Shape
from distrib.api.quick import Document
from distrib.brands.tables import Brand
from distrib.db import Database
from tests import factories
from tests.api.conftest import NOW, Caller, make_caller, order, refund

_words = st.text(max_size=12)
_numbers = st.one_of(
    st.integers(), st.integers(-2, 3), st.sampled_from([2**31, 2**63, 9 * 10**12, 10**40])
)
_json = st.recursive(
    st.one_of(
        st.none(), st.booleans(), _numbers, st.floats(allow_nan=False, allow_infinity=False), _words
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(_words, inner, max_size=3)
    ),
    max_leaves=8,
)
_instants = st.one_of(
    st.datetimes().map(lambda each: f"{each.isoformat()}+14:00"),
    st.just(factories.NOON.isoformat()),
    st.sampled_from(["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "20260301T04Z"]),
)
_LINE_KEYS = ("sku", "quantity", "unit_price", "category", "discount", "shipping", "tax")
_lines = st.lists(
    st.fixed_dictionaries(
        {"sku": _words, "quantity": _numbers, "unit_price": _numbers},
        optional={key: st.one_of(_numbers, _json) for key in _LINE_KEYS[3:]},
    ),
    max_size=3,
)
_orders = st.fixed_dictionaries(
    {},
    optional={
        "shop": _words,
        "external_id": _words,
        "placed_at": _instants,
        "currency": st.sampled_from(["CNY", "EUR", "cny", ""]),
        "lines": _lines,
        "buyer": st.one_of(_words, st.none()),
        "distributor": st.sampled_from(["ann", "bo", "nobody", None]),
        "code": st.sampled_from(["code-ann", "nothing", None]),
    },
).map(lambda changes: order() | changes)
_refunds = st.fixed_dictionaries(
    {},
    optional={
        "order_external_id": st.sampled_from(["A-1", "A-2"]),
        "external_id": _words,
        "refunded_at": _instants,
        "reason": st.one_of(_words, st.none()),
        "lines": st.lists(
            st.fixed_dictionaries(
                {"line_no": _numbers, "quantity": _numbers}, optional={"amount": _numbers}
            ),
            max_size=3,
        ),
    },
).map(lambda changes: refund() | changes)
_spoilt = st.one_of(
    _orders, _refunds, _json, st.tuples(_orders, _words, _json).map(lambda t: t[0] | {t[1]: t[2]})
)


@pytest.fixture
def reported(shop: Caller, db: Database, brand: Brand) -> Caller:
    """A shop with a batch that is being paid."""
    shop.post(201, "/orders", order())
    later = shop.at(NOW + factories.days(20))
    hash_ = later.post(201, "/settlement/batches", {})["content_hash"]
    later.post(200, "/settlement/batches/1/submit")
    other = make_caller(db, shop.app, shop.contract, brand, "finance").at(later.now)
    other.post(200, "/settlement/batches/1/approve", {"content_hash": hash_})
    later.post(202, "/settlement/batches/1/run")
    return later


@given(body=_spoilt)
@settings(max_examples=150)
def test_an_order_is_taken_or_refused(shop: Caller, body: Any) -> None:
    assert shop.call("POST", "/orders", body or {}).status_code in {200, 201, 409, 422}


@given(body=_spoilt)
def test_a_refund_is_taken_or_refused(shop: Caller, body: Any) -> None:
    assert shop.call("POST", "/refunds", body or {}).status_code in {200, 201, 202, 409, 422}


@given(orders=st.lists(_spoilt, min_size=1, max_size=6))
@settings(max_examples=40)
def test_a_batch_answers_for_each(shop: Caller, orders: list[Any]) -> None:
    response = shop.call("POST", "/orders/batch", {"orders": orders})
    if response.status_code == 200:
        assert len(response.get_json()["results"]) == len(orders)
    else:  # a text somewhere in it cannot be kept
        assert response.status_code == 422


@given(
    path=st.sampled_from(
        ["/plans", "/plans/validate", "/distributors", "/distributors/ann/move",
         "/settlement/batches", "/settlement/batches/1/approve", "/plans/drafts",
         "/plans/drafts/1", "/plans/drafts/1/approve", "/plans/drafts/1/publish",
         "/brand/settings", "/brand/acknowledgements", "/settlement/tax/settings",
         "/settlement/batches/1/reject", "/settlement/batches/1/cancel",
         "/settlement/batches/1/payouts/1/hold", "/settlement/batches/1/payouts/1/confirm",
         "/settlement/batches/1/payouts/2/remove", "/adjustments",
         "/distributors/ann/payout-methods",
         "/distributors/ann/payout-methods/pm_000000000001/prove", "/closes",
         "/reconciliation/cases/cas_000000000001/resolve"]
    ),
    body=st.one_of(
        _json,
        st.fixed_dictionaries(
            {},
            optional={"document": _json, "effective_from": _instants, "external_id": _words,
                      "name": _words, "sponsor": _words, "at": _instants, "cutoff": _words,
                      "content_hash": _words, "levels": _numbers, "second_person": _json,
                      "subject": _words, "text_version": _words, "reason": _words,
                      "evidence": _words, "reference": _words, "provider": _words,
                      "year": _numbers, "regime": st.sampled_from(["none", "cn_labour", "x"]),
                      "kind": st.sampled_from(["bank", "paypal", "write_off", "overpaid", "x"]),
                      "details": st.one_of(_json, st.dictionaries(
                          st.sampled_from(["account_no", "bank_name", "receiver", "\ud800"]),
                          _words, max_size=3)),
                      "amount": _numbers, "distributor": st.one_of(_words, st.just("ann")),
                      "day": _words, "digest": _words, "note": _words,
                      "resolution": st.sampled_from(["note", "adjust", "x"]),
                      "code": _words, "second_approval_above": _numbers,
                      "method_cool_days": _numbers,
                      "filters": st.fixed_dictionaries({}, optional={
                          "only": st.lists(st.one_of(_words, st.just("ann")), max_size=2),
                          "without": _json, "minimum": _numbers})},
        ),
    ),
)  # fmt: skip
@settings(max_examples=100)
def test_any_other_body_is_taken_or_refused(shop: Caller, path: str, body: Any) -> None:
    assert shop.call("POST", path, {} if body is None else body).status_code < 500


@given(
    path=st.sampled_from(
        ["/orders", "/distributors", "/commissions", "/settlement/batches", "/plans",
         "/plans/drafts", "/plans/1/diff/1", "/brand/acknowledgements",
         "/distributors/ann/statement", "/distributors/ann/upline", "/tree/report",
         "/settlement/preview", "/settlement/preview/lines", "/settlement/payouts",
         "/settlement/tax/report", "/debts", "/debts/totals", "/adjustments",
         "/distributors/ann/payout-methods", "/closes", "/reconciliation/cases",
         "/reconciliation/statements", "/reconciliation/summary"]
    ),
    query=st.dictionaries(
        st.sampled_from(
            ["limit", "cursor", "sort", "q", "status", "sponsor", "shop", "buyer", "distributor",
             "from", "to", "at", "order", "level", "state", "external_id", "cutoff", "provider",
             "only", "minimum", "request_no", "reference", "year", "quarter", "by", "format",
             "language", "as_of", "kind", "first_day", "last_day"]
        ),
        st.one_of(_words, _instants, _numbers.map(str), st.sampled_from(["ann", "", "\0"])),
        max_size=3,
    ),
)  # fmt: skip
@settings(max_examples=150)
def test_any_query_is_answered_or_refused(shop: Caller, path: str, query: dict[str, str]) -> None:
    assert shop.call("GET", path, query=query).status_code in {200, 422}


@given(
    body=st.one_of(
        st.binary(max_size=60),
        _words.map(lambda text: f"request_no,status\n{text},paid".encode()),
        _words.map(lambda text: f"<Document><CstmrPmtStsRpt>{text}</CstmrPmtStsRpt>".encode()),
    ),
    kind=st.sampled_from(["text/csv", "application/xml", "application/json", ""]),
)
def test_any_status_report_is_taken_or_refused(reported: Caller, body: bytes, kind: str) -> None:
    response = reported.call(
        "POST",
        "/settlement/batches/1/status-report",
        headers={"Content-Type": kind} if kind else {},
        data=body,
    )
    assert response.status_code in {200, 415, 422}


@given(
    body=st.one_of(
        st.binary(max_size=60),
        _words.map(lambda text: f"reference,amount,date\n{text},1,2026-03-01".encode()),
        _words.map(lambda text: f"reference,amount,date\nx,1,{text}".encode()),
        _words.map(lambda text: f"<BkToCstmrStmt><Ntry>{text}</Ntry></BkToCstmrStmt>".encode()),
    ),
    kind=st.sampled_from(["text/csv", "application/xml", "application/json", ""]),
    query=st.dictionaries(
        st.sampled_from(["first_day", "last_day", "date", "amount", "date_formats", "delimiter",
                         "encoding", "decimal", "thousands", "missing_after_days", "provider"]),
        st.one_of(_words, st.sampled_from(["2026-03-01", "%d.%m.%y", "utf-16", "0"])),
        max_size=3,
    ),
)  # fmt: skip
def test_any_statement_is_taken_or_refused(
    shop: Caller, body: bytes, kind: str, query: dict[str, str]
) -> None:
    response = shop.call(
        "POST",
        "/reconciliation/statements",
        headers={"Content-Type": kind} if kind else {},
        data=body,
        query={"provider": "bank-file", "name": "any"} | query,
    )
    assert response.status_code in {200, 415, 422}


@given(body=st.binary(max_size=60), name=st.sampled_from(["bank-file", "manual", "nobody"]))
def test_nobody_calls_back_with_anything(
    nobody: Caller, brand: Brand, body: bytes, name: str
) -> None:
    assert nobody.call("POST", f"/callbacks/{brand.slug}/{name}", data=body).status_code == 404


@given(name=st.text(min_size=1, max_size=30))
@settings(max_examples=80)
def test_any_name_in_a_path_is_found_or_not(shop: Caller, name: str) -> None:
    encoded = quote(name.encode("utf-8", "replace"), safe="")
    for path in ("/settlement/batches/1/payouts/{}", "/distributors/{}/tax-profile"):
        assert shop.call("GET", path.format(encoded)).status_code == 404
    for path in ("/orders/{}", "/distributors/{}", "/commissions/{}/1/1/explanation", "/plans/{}"):
        response = shop.call("GET", path.format(encoded))
        assert response.status_code in {200, 404}


@given(given_document=st.one_of(_spoilt, _orders, _refunds))
@settings(max_examples=300)
def test_the_quick_reader_reads_what_marshmallow_reads(given_document: Any) -> None:
    for schema in (OrderInSchema(), RefundInSchema()):
        assert _read(schema.load, given_document) == _read(_slowly(schema), given_document)


def _slowly(schema: Document) -> Any:
    return super(Document, schema).load


def _read(load: Any, document: Any) -> Any:
    try:
        return load(document)
    except ValidationError as error:
        return error.messages


def test_the_quick_reader_is_what_reads_right_documents(monkeypatch: Any) -> None:
    def slow(*_: Any, **__: Any) -> None:
        raise AssertionError("marshmallow was asked")

    schema = OrderInSchema()
    expected = schema.load(order("A-1", 1, 2))
    monkeypatch.setattr(Shape, "load", slow)
    assert schema.load(order("A-1", 1, 2)) == expected
