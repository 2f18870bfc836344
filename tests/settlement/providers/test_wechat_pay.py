"""WeChat Pay: each documented state and error code, lost answers, callbacks, no secret in sight."""

from __future__ import annotations

import base64
import contextlib
import functools
import json
import random
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

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
    wechat_pay,
)
from distrib.settlement.providers.keys import load_private_key
from distrib.settlement.providers.settings import ProviderSettings
from distrib.settlement.providers.wechat_pay import WechatPay
from tests.doubles import keys
from tests.doubles.server import Answer, Asked, Mischief, Step, chaos
from tests.doubles.wechat_pay import WechatPayDouble

RECORDED: dict[str, dict[str, Any]] = json.loads(
    Path(__file__).with_name("recorded").joinpath("wechat_pay.json").read_text(encoding="utf-8")
)
NUMBER = "plfk2020042013"
OPENID = "o-MYE42l80oelYMDE34nYD456Xoy"
API_V3_KEY = "0123456789abcdefghijklmnopqrstuv"
BATCH = BatchRef(1, 2, 3, "CNY", title="Acme 2026-11")

Make = Callable[..., WechatPay]


class Scripted(WechatPayDouble):
    """Gives the answers it is told, by method; otherwise as the double does."""

    def __init__(self, **parameters: str) -> None:
        super().__init__(**parameters)
        self.answers: dict[str, Answer] = {}

    def handle(self, asked: Asked) -> Answer:
        proper = super().handle(asked)
        return proper if proper.status == 401 else self.answers.get(asked.method, proper)


@pytest.fixture
def double() -> Iterator[Scripted]:
    with Scripted(
        mch_id="1900001109",
        app_id="wxf636efh567hg4356",
        serial_no="5157F09EFDC096DE15EBE81A47057A72",
        merchant_key=keys.public_pem("merchant"),
        platform_private_key=keys.private_pem("platform"),
        platform_key_id="PUB_KEY_ID_0114232134912410000000000000",
        api_v3_key=API_V3_KEY,
    ) as found:
        yield found


@pytest.fixture
def settings(double: Scripted, tmp_path: Path) -> dict[str, Any]:
    for name, content in {
        "private_key": keys.private_pem("merchant"),
        "platform_key": keys.public_pem("platform"),
        "api_v3_key": API_V3_KEY,
    }.items():
        (tmp_path / name).write_text(content + "\n", encoding="utf-8")
    return {
        "mch_id": double.mch_id,
        "app_id": double.app_id,
        "serial_no": double.serial_no,
        "private_key_file": str(tmp_path / "private_key"),
        "platform_key_id": double.platform_key_id,
        "platform_key_file": str(tmp_path / "platform_key"),
        "api_v3_key_file": str(tmp_path / "api_v3_key"),
        "notify_url": "https://shop.example/callbacks/wechat",
        "base_url": double.base_url,
    }


_load_once = functools.cache(load_private_key)


@pytest.fixture
def make(settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    # Checking an RSA key takes 50 ms.
    monkeypatch.setattr(wechat_pay, "load_private_key", _load_once)

    def make_provider(**changed: object) -> WechatPay:
        values = {name: value for name, value in (settings | changed).items() if value is not None}
        return WechatPay.from_settings(ProviderSettings("acme.wechat", values, tmp_path))

    return make_provider


@pytest.fixture
def provider(make: Make) -> WechatPay:
    return make()


def a_request(number: str = NUMBER, **changed: Any) -> PayoutRequest:
    base = PayoutRequest(
        request_no=number,
        no=1,
        payee="d-1",
        name="张三丰",
        amount=1250,
        currency="CNY",
        account={"openid": OPENID},
        sent_at=datetime.now(UTC),
    )
    return replace(base, **changed)


def pay(provider: WechatPay, request: PayoutRequest) -> Outcome:
    (outcome,) = provider.pay(BATCH, [request])
    assert outcome.request_no == request.request_no
    return outcome


def ask(provider: WechatPay, request: PayoutRequest) -> Outcome:
    (outcome,) = provider.ask(BATCH, [request])
    assert outcome.request_no == request.request_no
    return outcome


def test_it_is_a_provider_that_calls_back(provider: WechatPay) -> None:
    assert isinstance(provider, Provider)
    assert isinstance(provider, CallsBack)
    assert (provider.group, provider.method, provider.asks) == (50, "wechat", True)
    assert provider.reply() == Reply(status=204, body=b"")


def test_the_request_is_as_documented(double: Scripted, provider: WechatPay) -> None:
    pay(provider, a_request(amount=400_000))
    sent = json.loads(double.asked[0].body)
    name = sent.pop("user_name")
    assert sent == RECORDED["request"]
    assert len(base64.b64decode(name)) == 256
    assert double.bills[NUMBER].asked["user_name"] == "张三丰"
    assert double.asked[0].headers["wechatpay-serial"] == double.platform_key_id
    assert double.paid == {NUMBER: 400_000}
    assert double.received == {OPENID: 400_000}


@pytest.mark.parametrize(
    "state, status",
    [
        ("ACCEPTED", Status.PENDING),
        ("PROCESSING", Status.PENDING),
        ("WAIT_USER_CONFIRM", Status.PENDING),
        ("TRANSFERING", Status.PENDING),
        ("CANCELING", Status.PENDING),
        ("SUCCESS", Status.PAID),
        ("FAIL", Status.FAILED),
        ("CANCELLED", Status.FAILED),
        ("SOMETHING_NEW", Status.UNKNOWN),
    ],
)
def test_each_state(double: Scripted, provider: WechatPay, state: str, status: Status) -> None:
    double.answers = {
        "POST": Answer.json(200, RECORDED["created"] | {"state": state}),
        "GET": Answer.json(200, RECORDED["found"] | {"state": state}),
    }
    made, found = pay(provider, a_request()), ask(provider, a_request(amount=400_000))
    assert (made.status, made.code) == (found.status, found.code) == (status, state)
    assert made.reference == found.reference == "1330000071100999991182020050700019480001"
    assert made.action == ("affffddafdfafddffda==" if status is Status.PENDING else None)
    assert found.action is None


@pytest.mark.parametrize(
    "reason", ["NAME_NOT_CORRECT", "OPENID_INVALID", "OVERDUE_CLOSE", "REAL_NAME_CHECK_FAIL"]
)
def test_the_reason_of_a_failure_is_its_code(
    double: Scripted, provider: WechatPay, reason: str
) -> None:
    double.fails[OPENID] = reason
    assert pay(provider, a_request()).code == reason
    found = ask(provider, a_request())
    assert (found.status, found.code) == (Status.FAILED, reason)
    assert double.paid == {}


@pytest.mark.parametrize(
    "status, code",
    [
        (400, "PARAM_ERROR"),
        (400, "INVALID_REQUEST"),
        (400, "ALREADY_EXISTS"),
        (403, "NOT_ENOUGH"),
        (403, "ACCOUNT_ERROR"),
        (404, "NOT_FOUND"),
        (500, "SYSTEM_ERROR"),
        (503, "BANK_ERROR"),
        (400, "SOMETHING_NEW"),
    ],
)
def test_no_error_code_fails_a_number(
    double: Scripted, provider: WechatPay, status: int, code: str
) -> None:
    double.refuses[OPENID] = (status, code)
    made = pay(provider, a_request())
    assert (made.status, made.code, made.message) == (Status.UNKNOWN, code, "请求被拒绝")
    assert ask(provider, a_request()).status is Status.ABSENT


@pytest.mark.parametrize(
    "status, code",
    [
        (401, "SIGN_ERROR"),
        (403, "NO_AUTH"),
        (429, "FREQUENCY_LIMITED"),
        (429, "RATELIMIT_EXCEEDED"),
    ],
)
def test_a_call_that_is_not_let_in(
    double: Scripted, provider: WechatPay, status: int, code: str
) -> None:
    double.refuses["other"] = (status, code)
    other = a_request("second", account={"openid": "other"})
    with pytest.raises(ProviderUnavailable, match=code):
        provider.pay(BATCH, [other, a_request()])
    assert double.paid == {}
    # Behind a request that was taken it ends the call, and the rest is asked about.
    outcomes = provider.pay(BATCH, [a_request(), other, a_request("third")])
    assert [(o.status, o.code) for o in outcomes] == [
        (Status.PAID, "SUCCESS"),
        (Status.UNKNOWN, "NOT_SENT"),
        (Status.UNKNOWN, "NOT_SENT"),
    ]
    assert double.paid == {NUMBER: 1250}


def test_how_long_to_wait_is_passed_on(double: Scripted, provider: WechatPay) -> None:
    double.answers["POST"] = replace(
        Answer.json(429, {"code": "FREQUENCY_LIMITED"}), headers={"Retry-After": "7"}
    )
    with pytest.raises(ProviderUnavailable) as caught:
        pay(provider, a_request())
    assert caught.value.retry_after == 7.0


def test_an_empty_account_ends_the_call(double: Scripted, provider: WechatPay) -> None:
    double.balance = 2000
    outcomes = provider.pay(BATCH, [a_request(f"n{i}") for i in range(4)])
    assert [(o.status, o.code) for o in outcomes] == [
        (Status.PAID, "SUCCESS"),
        (Status.UNKNOWN, "NOT_ENOUGH"),
        (Status.UNKNOWN, "NOT_SENT"),
        (Status.UNKNOWN, "NOT_SENT"),
    ]
    assert len(double.asked) == 2


@pytest.mark.parametrize(
    "status, code, expected",
    [
        (404, "NOT_FOUND", Status.ABSENT),
        (400, "NOT_FOUND", Status.UNKNOWN),
        (404, "RESOURCE_NOT_EXISTS", Status.UNKNOWN),
        (400, "PARAM_ERROR", Status.UNKNOWN),
        (500, "SYSTEM_ERROR", Status.UNKNOWN),
    ],
)
def test_errors_of_asking(
    double: Scripted, provider: WechatPay, status: int, code: str, expected: Status
) -> None:
    double.answers["GET"] = Answer.json(status, {"code": code, "message": "记录不存在"})
    found = ask(provider, a_request())
    assert (found.status, found.code) == (expected, code)


def test_what_is_too_old_to_be_found_is_not_absent(provider: WechatPay) -> None:
    old = datetime.now(UTC) - timedelta(days=30)
    assert ask(provider, a_request(sent_at=old)).status is Status.UNKNOWN
    assert ask(provider, a_request(sent_at=old + timedelta(days=2))).status is Status.ABSENT


def test_an_answer_about_something_else_says_nothing(double: Scripted, provider: WechatPay) -> None:
    double.answers["POST"] = Answer.json(200, RECORDED["created"])
    double.answers["GET"] = Answer.json(200, RECORDED["found"])
    assert pay(provider, a_request("another")).status is Status.UNKNOWN
    assert ask(provider, a_request("another", amount=400_000)).status is Status.UNKNOWN
    found = ask(provider, a_request())
    assert (found.status, found.code) == (Status.UNKNOWN, "AMOUNT_DIFFERS")


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
    double.script.append(Step(mischief, matching="POST"))
    request = a_request()
    assert pay(provider, request).status is Status.UNKNOWN
    assert ask(provider, request).status is truth
    # The same number again never pays again.
    assert pay(provider, request).status is Status.PAID
    assert double.paid == {NUMBER: 1250}
    double.script.append(Step(mischief, matching="GET"))
    assert ask(provider, request).status is Status.UNKNOWN


def test_lost_answers_end_a_call(double: Scripted, provider: WechatPay) -> None:
    double.script.extend(Step(Mischief.CLOSE_AFTER) for _ in range(3))
    requests = [a_request(f"n{i}") for i in range(5)]
    outcomes = provider.pay(BATCH, requests)
    assert [o.code for o in outcomes] == ["ANSWER_LOST"] * 3 + ["NOT_SENT"] * 2
    assert {o.status for o in outcomes} == {Status.UNKNOWN}
    double.script.extend(Step(Mischief.CLOSE_BEFORE) for _ in range(3))
    assert [o.code for o in provider.ask(BATCH, requests)][3:] == ["NOT_SENT"] * 2
    assert [o.status for o in provider.ask(BATCH, requests)] == (
        [Status.PAID] * 3 + [Status.ABSENT] * 2
    )


def test_nobody_there(double: Scripted, provider: WechatPay) -> None:
    double.stop()
    for call in (provider.pay, provider.ask):
        with pytest.raises(ProviderUnavailable, match="no connection"):
            call(BATCH, [a_request()])


def test_the_same_number_with_other_parameters(double: Scripted, provider: WechatPay) -> None:
    pay(provider, a_request())
    again = pay(provider, a_request(amount=1251))
    assert (again.status, again.code) == (Status.UNKNOWN, "INVALID_REQUEST")
    assert double.paid == {NUMBER: 1250}


@pytest.mark.parametrize(
    "amount, check_names, given",
    [(199_999, False, False), (200_000, False, True), (29, True, False), (30, True, True)],
)
def test_when_the_name_is_given(
    double: Scripted, make: Make, amount: int, check_names: bool, given: bool
) -> None:
    assert pay(make(check_names=check_names), a_request(amount=amount)).status is Status.PAID
    assert ("user_name" in double.bills[NUMBER].asked) is given


def test_a_name_that_is_not_the_payees(double: Scripted, provider: WechatPay) -> None:
    double.names[OPENID] = "李四"
    outcome = pay(provider, a_request(amount=200_000))
    assert (outcome.status, outcome.code) == (Status.FAILED, "NAME_NOT_CORRECT")


@pytest.mark.parametrize(
    "changed, code",
    [({"name": "", "amount": 200_000}, "NO_NAME"), ({"account": {}}, "NO_OPENID")],
)
def test_what_cannot_be_sent_fails_only_when_it_was_never_sent(
    double: Scripted, provider: WechatPay, changed: dict[str, Any], code: str
) -> None:
    request = a_request(**changed)
    outcome = pay(provider, request)
    assert (outcome.status, outcome.code) == (Status.FAILED, code)
    assert [asked.method for asked in double.asked] == ["GET"]
    double.script.append(Step(Mischief.CLOSE_AFTER))
    assert pay(provider, request).status is Status.UNKNOWN
    pay(provider, a_request(amount=request.amount))
    assert pay(provider, request).status is Status.PAID


@pytest.mark.parametrize(
    "changed, field",
    [
        ({"currency": "USD"}, "currency"),
        ({"request_no": "12-3"}, "request_no"),
        ({"request_no": "a" * 33}, "request_no"),
        ({"request_no": ""}, "request_no"),
    ],
)
def test_what_is_refused_before_any_call(
    double: Scripted, provider: WechatPay, changed: dict[str, Any], field: str
) -> None:
    requests = [a_request(), replace(a_request("second"), **changed)]
    for call in (provider.pay, provider.ask):
        with pytest.raises(InvalidInput) as caught:
            call(BATCH, requests)
        assert caught.value.field == field
    assert double.asked == []


def a_notification(
    double: Scripted, *, event: str = "MCHTRANSFER.BILL.FINISHED", **changed: object
) -> bytes:
    """The documented notification about the documented bill, encrypted here."""
    document = json.loads(json.dumps(RECORDED["notification"])) | {"event_type": event}
    resource = document["resource"]
    clear = json.dumps(RECORDED["notified"] | changed, ensure_ascii=False).encode()
    resource["ciphertext"] = base64.b64encode(
        AESGCM(API_V3_KEY.encode()).encrypt(
            resource["nonce"].encode(), clear, resource["associated_data"].encode()
        )
    ).decode()
    return json.dumps(document, ensure_ascii=False).encode()


def signed(double: Scripted, body: bytes) -> dict[str, str]:
    answer = double.sign(Asked("", "", {}, b""), Answer(200, body), valid=True)
    return {name.lower(): value for name, value in answer.headers.items()}


@pytest.mark.parametrize(
    "state, reason, status",
    [
        ("SUCCESS", None, Status.PAID),
        ("FAIL", "PAYEE_ACCOUNT_ABNORMAL", Status.FAILED),
        ("CANCELLED", None, Status.FAILED),
    ],
)
def test_each_callback(
    double: Scripted, provider: WechatPay, state: str, reason: str | None, status: Status
) -> None:
    body = a_notification(double, state=state, **({"fail_reason": reason} if reason else {}))
    callback = provider.read_callback(signed(double, body), body)
    assert callback.message_id == "EV-2018022511223320873"
    (outcome,) = callback.outcomes
    assert outcome == Outcome(
        NUMBER, status, "1330000071100999991182020050700019480001", reason or state
    )


def test_a_callback_of_another_kind_is_only_acknowledged(
    double: Scripted, provider: WechatPay
) -> None:
    body = a_notification(double, event="MCHTRANSFER.BATCH.FINISHED")
    assert provider.read_callback(signed(double, body), body).outcomes == ()


@pytest.mark.parametrize("seconds, holds", [(-301, False), (-299, True), (299, True), (301, False)])
def test_the_age_of_a_callback(
    double: Scripted, provider: WechatPay, seconds: int, holds: bool
) -> None:
    now = datetime(2026, 11, 23, 8, tzinfo=UTC)
    double.now = lambda: now.timestamp() + seconds
    body = a_notification(double)
    with clock.travel(now):
        if holds:
            assert provider.read_callback(signed(double, body), body).outcomes
        else:
            with pytest.raises(BadCallback, match="5 minutes"):
                provider.read_callback(signed(double, body), body)


@pytest.mark.parametrize(
    "header, value",
    [
        ("wechatpay-signature", "WECHATPAY/SIGNTEST/abcd"),
        ("wechatpay-signature", "abcd"),
        ("wechatpay-signature", None),
        ("wechatpay-serial", "5157F09EFDC096DE15EBE81A47057A72"),
        ("wechatpay-serial", None),
        ("wechatpay-nonce", "another"),
        ("wechatpay-timestamp", "1795421000"),
        ("wechatpay-timestamp", "now"),
        ("wechatpay-timestamp", None),
    ],
)
def test_a_callback_whose_signature_does_not_hold(
    double: Scripted, provider: WechatPay, header: str, value: str | None
) -> None:
    body = a_notification(double)
    headers = signed(double, body)
    if value is None:
        del headers[header]
    else:
        headers[header] = value
    with pytest.raises(BadCallback):
        provider.read_callback(headers, body)


def test_a_callback_with_another_body(double: Scripted, provider: WechatPay) -> None:
    headers = signed(double, a_notification(double))
    with pytest.raises(BadCallback, match="signature"):
        provider.read_callback(headers, a_notification(double, state="FAIL"))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"[]",
        b"{}",
        b'{"id": "EV-1", "event_type": "MCHTRANSFER.BILL.FINISHED"}',
        b'{"id": "EV-1", "event_type": "MCHTRANSFER.BILL.FINISHED", "resource":'
        b' {"algorithm": "AEAD_AES_256_GCM", "nonce": "fPqxLQRZmjVn", "ciphertext": "AAAA"}}',
        b'{"id": "EV-1", "event_type": "MCHTRANSFER.BILL.FINISHED", "resource":'
        b' {"algorithm": "AEAD_AES_256_GCM"}}',
    ],
)
def test_a_signed_callback_that_is_not_as_documented(
    double: Scripted, provider: WechatPay, body: bytes
) -> None:
    with pytest.raises(BadCallback):
        provider.read_callback(signed(double, body), body)


def test_callbacks_as_they_come(double: Scripted, provider: WechatPay) -> None:
    """Forged, double and out of order: the forged are refused, the rest say the same."""
    double.confirms = False
    requests = [a_request(f"n{i}") for i in range(4)]
    waiting = provider.pay(BATCH, requests)
    assert all(o.status is Status.PENDING and o.action for o in waiting)
    for request in requests[:3]:
        double.finish(request.request_no)
    double.finish("n3", "FAIL", "OVERDUE_CLOSE")
    read: dict[str, set[tuple[Status, str]]] = {}
    refused = 0
    for message in double.messages(times=2, shuffled=random.Random(7), forged=True):
        headers = {name.lower(): value for name, value in message.headers.items()}
        try:
            callback = provider.read_callback(headers, message.body)
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
    assert double.paid == {f"n{i}": 1250 for i in range(3)}


def test_each_is_paid_once_whatever_happens(double: Scripted, provider: WechatPay) -> None:
    """As the core does it: ask after what is unknown, hand over again what is absent."""
    double.chaos = chaos(
        {mischief: 0.08 for mischief in Mischief if "hang" not in mischief}, seed=4
    )
    requests = {f"n{i}": a_request(f"n{i}") for i in range(30)}
    known = dict.fromkeys(requests, Status.ABSENT)
    for _ in range(200):
        for call, status in ((provider.pay, Status.ABSENT), (provider.ask, Status.UNKNOWN)):
            todo = [requests[number] for number in known if known[number] is status]
            if todo:
                # When the call is turned away, all stays as it was.
                with contextlib.suppress(ProviderUnavailable):
                    known |= {o.request_no: o.status for o in call(BATCH, todo)}
        if set(known.values()) == {Status.PAID}:
            break
    assert set(known.values()) == {Status.PAID}
    assert double.paid == dict.fromkeys(requests, 1250)
    assert double.received == {OPENID: 30 * 1250}


@pytest.mark.parametrize(
    "changed, field",
    [
        ({"mch_id": None}, "mch_id"),
        ({"notify_url": ""}, "notify_url"),
        ({"private_key_file": None}, "private_key"),
        ({"private_key_file": __file__}, "private_key"),
        ({"platform_key_file": __file__}, "platform_key"),
        ({"api_v3_key_file": __file__}, "api_v3_key"),
        ({"report": "岗位类型"}, "report"),
        ({"report": "岗位类型=" + "长" * 33}, "report"),
        ({"base_url": "http://pay.example"}, "base_url"),
    ],
)
def test_settings_that_are_not_valid(make: Make, changed: dict[str, Any], field: str) -> None:
    with pytest.raises(BadProviderSetting) as caught:
        make(**changed)
    assert caught.value.field == field


def test_a_platform_certificate_does_as_well(double: Scripted, make: Make, tmp_path: Path) -> None:
    path = tmp_path / "certificate.pem"
    path.write_text(keys.certificate_pem("platform"), encoding="utf-8")
    assert pay(make(platform_key_file=str(path)), a_request()).status is Status.PAID


def test_no_secret_in_any_error(
    double: Scripted, make: Make, provider: WechatPay, tmp_path: Path
) -> None:
    body = a_notification(double)
    broken = tmp_path / "broken.pem"
    broken.write_text(keys.private_pem("merchant").replace("A", "!"), encoding="utf-8")
    bad_body = body.replace(b"AEAD_AES_256_GCM", b"AEAD_AES_128_GCM")

    def turned_away() -> None:
        double.script.append(Step(Mischief.RATE_LIMITED))
        pay(provider, a_request(amount=200_000))

    texts = [repr(provider), str(provider)]
    for call in (
        turned_away,
        lambda: make(private_key_file=str(broken)),
        lambda: make(api_v3_key_file=str(broken)),
        lambda: make(base_url="http://127.0.0.1:1", connect_seconds=0.1).pay(BATCH, [a_request()]),
        lambda: provider.pay(BATCH, [a_request(currency="USD")]),
        lambda: provider.read_callback({}, body),
        lambda: provider.read_callback(signed(double, bad_body), bad_body),
    ):
        with pytest.raises(DistribError) as caught:
            call()
        error = caught.value
        texts += [str(error), repr(error), str(error.problem())]
        texts += traceback.format_exception(error)
    double.script.append(Step(Mischief.ERROR_AFTER))
    texts.append(repr(pay(provider, a_request(amount=200_000))))
    secrets = [
        API_V3_KEY,
        "张三丰",
        OPENID,
        *keys.private_pem("merchant").splitlines()[1:-1],
        *broken.read_text(encoding="utf-8").splitlines()[1:-1],
    ]
    told = "\n".join(texts)
    assert not [secret for secret in secrets if secret in told]
