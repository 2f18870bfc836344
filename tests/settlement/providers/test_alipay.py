"""Alipay: each documented state and error code, lost answers, callbacks, no secret in sight."""

from __future__ import annotations

import functools
import hashlib
import json
import random
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

from distrib import clock
from distrib.errors import DistribError, InvalidInput
from distrib.settlement.providers import (
    BadCallback,
    BadProviderSetting,
    BatchRef,
    CallsBack,
    Outcome,
    PayoutRequest,
    Provider,
    ProviderUnavailable,
    Reply,
    Status,
    alipay,
)
from distrib.settlement.providers.alipay import Alipay
from distrib.settlement.providers.keys import load_private_key, sign
from distrib.settlement.providers.settings import ProviderSettings
from tests.doubles import keys
from tests.doubles.alipay import AlipayDouble
from tests.doubles.server import Answer, Asked, Mischief, Step

RECORDED: dict[str, dict[str, Any]] = json.loads(
    Path(__file__).with_name("recorded").joinpath("alipay.json").read_text(encoding="utf-8")
)
NUMBER = "201806300001"
NAME = "张三丰"
USER_ID = "2088123412341234"
BATCH = BatchRef(1, 2, 3, "CNY", title="Acme 2026-11")

Make = Callable[..., Alipay]


class Scripted(AlipayDouble):
    """Gives the parts it is told, by method, or raw bytes; otherwise as the double does."""

    def __init__(self, **parameters: str) -> None:
        super().__init__(**parameters)
        self.parts: dict[str, Mapping[str, object]] = {}
        self.raw: bytes | None = None

    def handle(self, asked: Asked) -> Answer:
        proper = super().handle(asked)
        if self.raw is not None:
            return Answer(200, self.raw)
        method = fields_of(asked)["method"]
        kind = "query" if method.endswith("query") else "transfer"
        if kind not in self.parts:
            return proper
        return Answer.json(200, {method.replace(".", "_") + "_response": self.parts[kind]})

    def sign(self, asked: Asked, answer: Answer, *, valid: bool) -> Answer:
        return answer if self.raw is not None else super().sign(asked, answer, valid=valid)


def fields_of(asked: Asked) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(asked.path).query)) | dict(parse_qsl(asked.body.decode()))


@pytest.fixture
def double() -> Iterator[Scripted]:
    with Scripted(
        app_id="2013121700999429",
        app_key=keys.public_pem("application"),
        alipay_private_key=keys.private_pem("alipay"),
    ) as found:
        yield found


@pytest.fixture
def settings(double: Scripted, tmp_path: Path) -> dict[str, Any]:
    for name, content in {
        "private_key": keys.private_pem("application"),
        "alipay_public_key": keys.public_bare("alipay"),
    }.items():
        (tmp_path / name).write_text(content + "\n", encoding="utf-8")
    return {
        "app_id": double.app_id,
        "private_key_file": str(tmp_path / "private_key"),
        "alipay_public_key_file": str(tmp_path / "alipay_public_key"),
        "base_url": double.base_url,
    }


_load_once = functools.cache(load_private_key)


@pytest.fixture
def make(settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    # Checking an RSA key takes 50 ms.
    monkeypatch.setattr(alipay, "load_private_key", _load_once)

    def make_provider(**changed: object) -> Alipay:
        values = {name: value for name, value in (settings | changed).items() if value is not None}
        return Alipay.from_settings(ProviderSettings("acme.alipay", values, tmp_path))

    return make_provider


@pytest.fixture
def provider(make: Make) -> Alipay:
    return make()


def a_request(number: str = NUMBER, **changed: Any) -> PayoutRequest:
    base = PayoutRequest(
        request_no=number,
        no=1,
        payee="d-1",
        name=NAME,
        amount=3200,
        currency="CNY",
        account={"identity": USER_ID, "identity_type": "ALIPAY_USER_ID"},
    )
    return replace(base, **changed)


def by_login(number: str = NUMBER, **changed: Any) -> PayoutRequest:
    account = {"identity": "zhang@example.com", "identity_type": "ALIPAY_LOGON_ID"}
    return a_request(number, account=account, **changed)


def pay(provider: Alipay, request: PayoutRequest) -> Outcome:
    (outcome,) = provider.pay(BATCH, [request])
    assert outcome.request_no == request.request_no
    return outcome


def ask(provider: Alipay, request: PayoutRequest) -> Outcome:
    (outcome,) = provider.ask(BATCH, [request])
    assert outcome.request_no == request.request_no
    return outcome


def test_it_is_a_provider_that_calls_back(provider: Alipay) -> None:
    assert isinstance(provider, Provider)
    assert isinstance(provider, CallsBack)
    assert (provider.group, provider.method, provider.asks) == (50, "alipay", True)
    assert provider.reply() == Reply(content_type="text/plain", body=b"success")


def test_the_request_is_as_documented(double: Scripted, provider: Alipay) -> None:
    with clock.travel(datetime(2026, 11, 22, 16, 0, 1, tzinfo=UTC)):
        pay(provider, a_request())
    fields = fields_of(double.asked[0])
    assert json.loads(fields.pop("biz_content")) == RECORDED["request"]
    assert fields.pop("sign")
    assert fields == {
        "app_id": "2013121700999429",
        "method": "alipay.fund.trans.uni.transfer",
        "format": "JSON",
        "charset": "utf-8",
        "sign_type": "RSA2",
        "timestamp": "2026-11-23 00:00:01",
        "version": "1.0",
    }
    assert "biz_content" not in double.asked[0].path
    assert double.paid == {NUMBER: 3200}
    assert double.received == {USER_ID: 3200}
    ask(provider, a_request())
    assert json.loads(fields_of(double.asked[1])["biz_content"]) == {
        "out_biz_no": NUMBER,
        "product_code": "TRANS_ACCOUNT_NO_PWD",
        "biz_scene": "DIRECT_TRANSFER",
    }


@pytest.mark.parametrize(
    "amount, text", [(10, "0.10"), (5, "0.05"), (100, "1.00"), (123_456_789, "1234567.89")]
)
def test_amounts_are_yuan(double: Scripted, provider: Alipay, amount: int, text: str) -> None:
    pay(provider, a_request(amount=amount))
    assert json.loads(fields_of(double.asked[0])["biz_content"])["trans_amount"] == text


@pytest.mark.parametrize(
    "state, status",
    [
        ("SUCCESS", Status.PAID),
        ("DEALING", Status.PENDING),
        ("WAIT_PAY", Status.PENDING),
        ("FAIL", Status.FAILED),
        ("CLOSED", Status.FAILED),
        ("REFUND", Status.RETURNED),
        ("SOMETHING_NEW", Status.UNKNOWN),
    ],
)
def test_each_state(double: Scripted, provider: Alipay, state: str, status: Status) -> None:
    double.parts = {
        "transfer": RECORDED["made"] | {"status": state},
        "query": RECORDED["found"] | {"status": state},
    }
    expected = Outcome(NUMBER, status, "20190801110070000006380000250621", state)
    assert pay(provider, a_request()) == ask(provider, a_request()) == expected


def test_a_failure_gives_its_reason(double: Scripted, provider: Alipay) -> None:
    double.starts_as = "DEALING"
    assert pay(provider, a_request()).status is Status.PENDING
    double.change(NUMBER, "FAIL", "收款方账户状态异常")
    found = ask(provider, a_request())
    assert (found.status, found.message) == (Status.FAILED, "收款方账户状态异常")
    double.parts["query"] = RECORDED["found"] | {"status": "FAIL", "error_code": "PAYEE_CARD_INFO"}
    assert ask(provider, a_request()).code == "PAYEE_CARD_INFO"


def test_money_that_came_back(double: Scripted, provider: Alipay) -> None:
    assert pay(provider, a_request()).status is Status.PAID
    double.change(NUMBER, "REFUND", "退票")
    assert ask(provider, a_request()).status is Status.RETURNED
    assert double.paid == {}


@pytest.mark.parametrize(
    "sub_code",
    [
        "PAYEE_NOT_EXIST",
        "PAYEE_ACCOUNT_NOT_EXSIT",
        "PAYEE_USER_INFO_ERROR",
        "PAYEE_CERT_INFO_ERROR",
        "PAYEE_ACC_OCUPIED",
        "PAYEE_ACCOUNT_STATUS_ERROR",
        "PAYEE_USERINFO_STATUS_ERROR",
        "PAYEE_USER_TYPE_ERROR",
        "PAYEE_NOT_RELNAME_CERTIFY",
        "PERMIT_NON_BANK_LIMIT_PAYEE",
        "PERMIT_LIMIT_PAYEE",
        "PERMIT_CHECK_RECEIVE_LIMIT",
        "PERM_AML_NOT_REALNAME_REV",
        "RELEASE_USER_FORBBIDEN_RECIEVE",
        "NO_ACCOUNT_USER_FORBBIDEN_RECIEVE",
        "PAYER_PAYEE_CANNOT_SAME",
        "EXCEED_LIMIT_SM_MIN_AMOUNT",
        "EXCEED_LIMIT_SM_AMOUNT",
        "EXCEED_LIMIT_PERSONAL_SM_AMOUNT",
        "EXCEED_LIMIT_ENT_SM_AMOUNT",
    ],
)
def test_a_final_refusal(double: Scripted, provider: Alipay, sub_code: str) -> None:
    double.refuses[USER_ID] = sub_code
    outcomes = provider.pay(BATCH, [a_request(), by_login("next")])
    assert [(o.status, o.code) for o in outcomes] == [
        (Status.FAILED, sub_code),
        (Status.PAID, "SUCCESS"),
    ]
    assert outcomes[0].message == "业务处理失败"
    # Nothing is FAILED before Alipay, asked, knew of no transfer under the number.
    assert [fields_of(asked)["method"].rpartition(".")[2] for asked in double.asked] == [
        "transfer",
        "query",
        "transfer",
    ]


@pytest.mark.parametrize(
    "found, expected",
    [
        (RECORDED["found"], Status.PAID),
        (RECORDED["found"] | {"status": "DEALING"}, Status.PENDING),
        (RECORDED["found"] | {"status": "FAIL"}, Status.FAILED),
        (RECORDED["unavailable"], Status.UNKNOWN),
        (RECORDED["failed"] | {"sub_code": "SYSTEM_ERROR"}, Status.UNKNOWN),
        (RECORDED["failed"] | {"code": "40005"}, Status.UNKNOWN),
    ],
)
def test_a_refusal_of_a_number_that_alipay_knows(
    double: Scripted, provider: Alipay, found: dict[str, object], expected: Status
) -> None:
    """As after a crash: the first call was taken, and the payee's account is closed since."""
    double.parts = {"transfer": RECORDED["failed"], "query": found}
    assert pay(provider, a_request()).status is expected


@pytest.mark.parametrize(
    "code, sub_code",
    [
        ("40004", "SYSTEM_ERROR"),
        ("40004", "PAYMENT_INFO_INCONSISTENCY"),
        ("40004", "INVALID_PARAMETER"),
        ("40004", "EXCEED_LIMIT_UNRN_DM_AMOUNT"),
        ("40004", "PAYMENT_FAIL"),
        ("40004", "PROCESS_FAIL"),
        ("40004", "RESOURCE_LIMIT_EXCEED"),
        ("40004", "SECURITY_CHECK_FAILED"),
        ("40004", "PRODUCT_NOT_SIGN"),
        ("40004", "ORDER_NOT_EXIST"),
        ("40004", "SOMETHING_NEW"),
        ("40003", "PAYEE_NOT_EXISTS"),
        ("20000", "isp.unknow-error"),
        ("20000", "aop.unknow-error"),
    ],
)
def test_a_refusal_that_leaves_it_open(
    double: Scripted, provider: Alipay, code: str, sub_code: str
) -> None:
    double.parts["transfer"] = RECORDED["failed"] | {"code": code, "sub_code": sub_code}
    outcome = pay(provider, a_request())
    assert (outcome.status, outcome.code) == (Status.UNKNOWN, sub_code)


def test_what_20000_hides(double: Scripted, provider: Alipay) -> None:
    double.answers_20000 = 1
    assert pay(provider, a_request()).status is Status.UNKNOWN
    assert ask(provider, a_request()).status is Status.PAID
    assert pay(provider, a_request()).status is Status.PAID
    assert double.paid == {NUMBER: 3200}


@pytest.mark.parametrize(
    "code", ["20001", "40001", "40002", "40005", "40006"], ids=lambda code: f"code {code}"
)
def test_a_call_that_is_not_let_in(double: Scripted, provider: Alipay, code: str) -> None:
    told = {"code": code, "msg": "No", "sub_code": "isv.no", "sub_msg": "验签字符串为：张三丰"}
    double.parts["transfer"] = told
    with pytest.raises(ProviderUnavailable, match=r"isv\.no") as caught:
        provider.pay(BATCH, [a_request()])
    assert "张三丰" not in str(caught.value)
    double.parts = {}
    double.script.append(Step(Mischief.RATE_LIMITED, matching="second"))
    outcomes = provider.pay(BATCH, [a_request(), a_request("second"), a_request("third")])
    assert [(o.status, o.code) for o in outcomes] == [
        (Status.PAID, "SUCCESS"),
        (Status.UNKNOWN, "NOT_SENT"),
        (Status.UNKNOWN, "NOT_SENT"),
    ]


@pytest.mark.parametrize(
    "sub_code",
    [
        "PAYER_BALANCE_NOT_ENOUGH",
        "BALANCE_IS_NOT_ENOUGH",
        "PAYMENT_MONEY_NOT_ENOUGH",
        "EXCEED_LIMIT_DM_AMOUNT",
        "EXCEED_LIMIT_DM_MAX_AMOUNT",
        "EXCEED_LIMIT_MM_AMOUNT",
        "EXCEED_LIMIT_MM_MAX_AMOUNT",
    ],
)
def test_an_empty_account_ends_the_call(double: Scripted, provider: Alipay, sub_code: str) -> None:
    double.refuses[USER_ID] = sub_code
    outcomes = provider.pay(BATCH, [by_login("first"), a_request(), by_login("third")])
    assert [(o.status, o.code) for o in outcomes] == [
        (Status.PAID, "SUCCESS"),
        (Status.UNKNOWN, sub_code),
        (Status.UNKNOWN, "NOT_SENT"),
    ]
    double.refuses, double.balance = {}, 3300
    outcomes = provider.pay(BATCH, [a_request("n1"), a_request("n2")])
    assert [o.code for o in outcomes] == ["SUCCESS", "PAYER_BALANCE_NOT_ENOUGH"]


@pytest.mark.parametrize(
    "part, expected",
    [
        (RECORDED["failed"] | {"sub_code": "ORDER_NOT_EXIST"}, Status.ABSENT),
        (RECORDED["failed"] | {"sub_code": "INVALID_PARAMETER"}, Status.UNKNOWN),
        (RECORDED["failed"] | {"sub_code": "SYSTEM_ERROR"}, Status.UNKNOWN),
        (RECORDED["failed"] | {"sub_code": "PAYEE_NOT_EXIST"}, Status.UNKNOWN),
        (RECORDED["unavailable"], Status.UNKNOWN),
        (RECORDED["unavailable"] | {"sub_code": "ORDER_NOT_EXIST"}, Status.UNKNOWN),
    ],
)
def test_errors_of_asking(
    double: Scripted, provider: Alipay, part: dict[str, object], expected: Status
) -> None:
    double.parts["query"] = part
    found = ask(provider, a_request())
    assert (found.status, found.code) == (expected, part["sub_code"])


def test_an_answer_about_something_else_says_nothing(double: Scripted, provider: Alipay) -> None:
    double.parts = {"transfer": RECORDED["made"], "query": RECORDED["found"]}
    assert pay(provider, a_request("another")).status is Status.UNKNOWN
    assert ask(provider, a_request("another")).status is Status.UNKNOWN
    for amount in ("31.99", "32,00"):
        double.parts["query"] = RECORDED["found"] | {"trans_amount": amount}
        assert ask(provider, a_request()).code == "AMOUNT_DIFFERS"


@pytest.mark.parametrize(
    "mischief, truth",
    [
        (Mischief.CLOSE_BEFORE, Status.ABSENT),
        (Mischief.CLOSE_AFTER, Status.PAID),
        (Mischief.HANG_BEFORE, Status.ABSENT),
        (Mischief.HANG_AFTER, Status.PAID),
        (Mischief.CUT, Status.PAID),
        (Mischief.ERROR_BEFORE, Status.ABSENT),
        (Mischief.ERROR_AFTER, Status.PAID),
        (Mischief.BAD_SIGNATURE, Status.PAID),
    ],
)
def test_a_lost_answer(double: Scripted, make: Make, mischief: Mischief, truth: Status) -> None:
    provider = make(read_seconds=0.15 if mischief.startswith("hang") else 5)
    double.script.append(Step(mischief, matching="uni.transfer"))
    request = a_request()
    assert pay(provider, request).status is Status.UNKNOWN
    assert ask(provider, request).status is truth
    # The same number again never pays again.
    assert pay(provider, request).status is Status.PAID
    assert double.paid == {NUMBER: 3200}
    double.script.append(Step(mischief, matching="common.query"))
    assert ask(provider, request).status is Status.UNKNOWN


def test_lost_answers_end_a_call(double: Scripted, provider: Alipay) -> None:
    double.script.extend(Step(Mischief.CLOSE_AFTER) for _ in range(3))
    requests = [a_request(f"n{i}") for i in range(5)]
    assert [o.code for o in provider.pay(BATCH, requests)] == (
        ["ANSWER_LOST"] * 3 + ["NOT_SENT"] * 2
    )
    assert [o.status for o in provider.ask(BATCH, requests)] == (
        [Status.PAID] * 3 + [Status.ABSENT] * 2
    )


def test_nobody_there(double: Scripted, provider: Alipay) -> None:
    double.stop()
    for call in (provider.pay, provider.ask):
        with pytest.raises(ProviderUnavailable, match="no connection"):
            call(BATCH, [a_request()])


def test_the_same_number_with_other_parameters(double: Scripted, provider: Alipay) -> None:
    pay(provider, a_request())
    again = pay(provider, a_request(amount=3201))
    assert (again.status, again.code) == (Status.UNKNOWN, "PAYMENT_INFO_INCONSISTENCY")
    assert double.paid == {NUMBER: 3200}


@pytest.mark.parametrize(
    "kind, check_names, given",
    [
        ("ALIPAY_LOGON_ID", False, True),
        ("ALIPAY_USER_ID", False, False),
        ("ALIPAY_USER_ID", True, True),
        ("ALIPAY_OPEN_ID", False, False),
    ],
)
def test_when_the_name_is_given(
    double: Scripted, make: Make, kind: str, check_names: bool, given: bool
) -> None:
    request = a_request(account={"identity": "it", "identity_type": kind})
    assert pay(make(check_names=check_names), request).status is Status.PAID
    payee = double.orders[NUMBER].asked["payee_info"]
    assert payee == {"identity": "it", "identity_type": kind} | (
        {"name": "张三丰"} if given else {}
    )


def test_a_name_that_is_not_the_payees(double: Scripted, provider: Alipay) -> None:
    double.names["zhang@example.com"] = "李四"
    outcome = pay(provider, by_login())
    assert (outcome.status, outcome.code) == (Status.FAILED, "PAYEE_USER_INFO_ERROR")


@pytest.mark.parametrize(
    "request_, code",
    [
        (by_login(name=""), "NO_NAME"),
        (a_request(account={}), "NO_IDENTITY"),
        (a_request(account={"identity": "1", "identity_type": "BANKCARD"}), "NO_IDENTITY"),
    ],
)
def test_what_cannot_be_sent_fails_only_when_it_was_never_sent(
    double: Scripted, provider: Alipay, request_: PayoutRequest, code: str
) -> None:
    outcome = pay(provider, request_)
    assert (outcome.status, outcome.code) == (Status.FAILED, code)
    double.script.append(Step(Mischief.CLOSE_AFTER))
    assert pay(provider, request_).status is Status.UNKNOWN
    pay(provider, a_request())
    assert pay(provider, request_).status is Status.PAID


@pytest.mark.parametrize(
    "changed, field",
    [({"currency": "USD"}, "currency"), ({"request_no": "12-3"}, "request_no")],
)
def test_what_is_refused_before_any_call(
    double: Scripted, provider: Alipay, changed: dict[str, Any], field: str
) -> None:
    for call in (provider.pay, provider.ask):
        with pytest.raises(InvalidInput) as caught:
            call(BATCH, [a_request(), replace(a_request("second"), **changed)])
        assert caught.value.field == field
    assert double.asked == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html></html>",
        b"[]",
        b"{}",
        b'{"alipay_fund_trans_uni_transfer_response": null, "sign": "x"}',
        b'{"alipay_fund_trans_uni_transfer_response": {"code": "10000"}}',
        b'{"error_response": {"code": "40004", "sub_code": "PAYEE_NOT_EXIST"}, "sign": "x"}',
        b"\xff\xfe",
    ],
)
def test_an_answer_that_is_not_as_documented(
    double: Scripted, provider: Alipay, body: bytes
) -> None:
    double.raw = body
    assert pay(provider, a_request()).code == "ANSWER_LOST"


@pytest.mark.parametrize(
    "raw, signed_as",
    [
        # As it stands, spaces and all; and with the slashes that Alipay escapes after signing.
        ('{ "code" : "10000","out_biz_no":"N", "status":"SUCCESS"}', None),
        (
            '{"code":"10000","out_biz_no":"N","status":"SUCCESS","url":"a\\/b"}',
            '{"code":"10000","out_biz_no":"N","status":"SUCCESS","url":"a/b"}',
        ),
    ],
)
def test_the_signature_is_over_the_characters(
    double: Scripted, provider: Alipay, raw: str, signed_as: str | None
) -> None:
    signature = sign(keys.private_key("alipay"), (signed_as or raw).encode())
    body = (
        f'{{"sign":"{signature}","alipay_cert_sn":"e67e","alipay_fund_trans_uni_transfer_response"'
        f": {raw}}}"
    )
    double.raw = body.encode()
    assert pay(provider, a_request("N")).status is Status.PAID


def test_certificates(double: Scripted, make: Make, tmp_path: Path) -> None:
    """The numbers are computed here once more, by the documentation's words."""
    texts = {
        "app_certificate": keys.certificate_pem("application", 12345678901234567890),
        "alipay_certificate": keys.certificate_pem("alipay"),
        "root_certificate": keys.certificate_pem("root", 1) + keys.certificate_pem("root", 2),
    }
    changed: dict[str, object] = {"certificates": True, "alipay_public_key_file": None}
    for name, text in texts.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
        changed[f"{name}_file"] = str(tmp_path / name)
    issuer = "CN=Ant Financial Certification Authority,OU=Certification Authority,O=Ant Financial"
    numbers = [
        hashlib.md5(f"{issuer},C=CN{serial}".encode()).hexdigest()
        for serial in (12345678901234567890, 1, 2)
    ]
    double.certificate_numbers = (numbers[0], f"{numbers[1]}_{numbers[2]}")
    assert pay(make(**changed), a_request()).status is Status.PAID
    with pytest.raises(ProviderUnavailable, match="app_cert_sn"):
        pay(make(), a_request())


def a_notification(charset: str = "utf-8", **changed: object) -> dict[str, str]:
    """The documented notification, unsigned."""
    content = json.dumps(RECORDED["notified"] | changed, ensure_ascii=False)
    return {**RECORDED["notification"], "charset": charset, "biz_content": content}


def posted(form: dict[str, str], *, key: str = "alipay") -> bytes:
    """Sign and encode a form as Alipay does."""
    charset = form["charset"]
    text = "&".join(f"{name}={form[name]}" for name in sorted(form) if form[name])
    signature = sign(keys.private_key(key), text.encode(charset))
    fields = form | {"sign": signature, "sign_type": "RSA2"}
    return urlencode(fields, encoding=charset).encode()


@pytest.mark.parametrize("charset", ["utf-8", "GBK"])
@pytest.mark.parametrize(
    "state, reason, status",
    [
        ("SUCCESS", None, Status.PAID),
        ("FAIL", "收款方账户状态异常", Status.FAILED),
        ("CLOSED", None, Status.FAILED),
        ("REFUND", "退票", Status.RETURNED),
        ("DEALING", None, Status.PENDING),
    ],
)
def test_each_callback(
    provider: Alipay, state: str, reason: str | None, status: Status, charset: str
) -> None:
    extra = {"fail_reason": reason} if reason else {}
    body = posted(a_notification(charset, status=state, **extra))
    callback = provider.read_callback({}, body)
    assert callback.message_id == "d275fec564e62af6bedbcee73f3f05fi5x"
    assert callback.outcomes == (
        Outcome(NUMBER, status, "20190624110075000006530000014566", state, reason),
    )


def test_a_callback_of_another_kind_is_only_acknowledged(provider: Alipay) -> None:
    form = a_notification() | {"msg_method": "alipay.open.app.message"}
    assert provider.read_callback({}, posted(form)).outcomes == ()


BAD_CALLBACKS: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "not ASCII": lambda: b"\xff",
    "no form": lambda: b"not a form",
    "another key": lambda: posted(a_notification(), key="somebody"),
    "another state": lambda: posted(a_notification()).replace(b"SUCCESS", b"FAIL"),
    "unsigned": lambda: posted(a_notification()).replace(b"sign=", b"sing="),
    "charset": lambda: posted(a_notification()).replace(b"charset=utf-8", b"charset=utf-7"),
    "another application": lambda: posted(a_notification() | {"app_id": "another"}),
    "no id": lambda: posted(a_notification() | {"notify_id": ""}),
    "no JSON": lambda: posted(a_notification() | {"biz_content": "not json"}),
    "no object": lambda: posted(a_notification() | {"biz_content": "[]"}),
    "no number": lambda: posted(a_notification(out_biz_no="")),
}


@pytest.mark.parametrize("what", BAD_CALLBACKS)
def test_a_callback_that_does_not_hold(provider: Alipay, what: str) -> None:
    with pytest.raises(BadCallback):
        provider.read_callback({}, BAD_CALLBACKS[what]())


def test_callbacks_as_they_come(double: Scripted, provider: Alipay) -> None:
    """Forged, double and out of order: the forged are refused, the rest say the same."""
    double.starts_as = "DEALING"
    requests = [a_request(f"n{i}") for i in range(4)]
    assert {o.status for o in provider.pay(BATCH, requests)} == {Status.PENDING}
    for request in requests[:3]:
        double.change(request.request_no, "SUCCESS")
    double.change("n3", "FAIL", "收款方账户状态异常")
    read: dict[str, set[tuple[Status, str]]] = {}
    refused = 0
    for message in double.messages(times=2, shuffled=random.Random(7), forged=True):
        try:
            callback = provider.read_callback({}, message.body)
        except BadCallback:
            refused += 1
            continue
        (outcome,) = callback.outcomes
        read.setdefault(callback.message_id, set()).add((outcome.status, outcome.request_no))
    assert refused == 8
    assert sorted(found for (found,) in read.values()) == [
        (Status.FAILED, "n3"),
        *((Status.PAID, f"n{i}") for i in range(3)),
    ]
    assert double.paid == {f"n{i}": 3200 for i in range(3)}


@pytest.mark.parametrize(
    "changed, field",
    [
        ({"app_id": None}, "app_id"),
        ({"private_key_file": None}, "private_key"),
        ({"private_key_file": __file__}, "private_key"),
        ({"alipay_public_key_file": __file__}, "alipay_public_key"),
        ({"certificates": True}, "app_certificate"),
        ({"certificates": True, "app_certificate_file": __file__}, "root_certificate"),
        ({"base_url": "http://pay.example"}, "base_url"),
    ],
)
def test_settings_that_are_not_valid(make: Make, changed: dict[str, Any], field: str) -> None:
    with pytest.raises(BadProviderSetting) as caught:
        make(**changed)
    assert caught.value.field == field


def test_keys_as_alipays_tool_gives_them(double: Scripted, make: Make, tmp_path: Path) -> None:
    path = tmp_path / "bare"
    path.write_text(keys.private_bare("application"), encoding="utf-8")
    assert pay(make(private_key_file=str(path)), a_request()).status is Status.PAID


def test_no_secret_in_any_error(
    double: Scripted, make: Make, provider: Alipay, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.pem"
    broken.write_text(keys.private_pem("application").replace("A", "!"), encoding="utf-8")
    stranger = tmp_path / "stranger.pem"
    stranger.write_text(keys.private_pem("somebody"), encoding="utf-8")
    texts = [repr(provider), str(provider)]
    for call in (
        # Alipay's own words repeat what was signed.
        lambda: make(private_key_file=str(stranger)).pay(BATCH, [by_login()]),
        lambda: make(private_key_file=str(broken)),
        lambda: make(alipay_public_key_file=str(broken)),
        lambda: make(base_url="http://127.0.0.1:1", connect_seconds=0.1).pay(BATCH, [by_login()]),
        lambda: provider.pay(BATCH, [by_login(currency="USD")]),
        lambda: provider.read_callback({}, posted(a_notification(), key="somebody")),
        lambda: provider.read_callback({}, posted(a_notification() | {"biz_content": NAME})),
    ):
        with pytest.raises(DistribError) as caught:
            call()
        error = caught.value
        texts += [str(error), repr(error), str(error.problem())]
        texts += traceback.format_exception(error)
    double.script.append(Step(Mischief.ERROR_AFTER))
    texts.append(repr(pay(provider, by_login())))
    secrets = [
        NAME,
        "zhang@example.com",
        *keys.private_pem("application").splitlines()[1:-1],
        *broken.read_text(encoding="utf-8").splitlines()[1:-1],
    ]
    told = "\n".join(texts)
    assert not [secret for secret in secrets if secret in told]
