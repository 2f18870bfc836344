"""PayPal: each documented state and error, batches found again, messages that are only hints."""

from __future__ import annotations

import contextlib
import json
import traceback
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from distrib import clock
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
)
from distrib.settlement.providers.paypal import SAFE_DAYS, PayPal
from distrib.settlement.providers.settings import ProviderSettings
from tests.doubles.paypal import CLIENT_ID, CLIENT_SECRET, WEBHOOK_ID, PayPalDouble
from tests.doubles.server import Answer, Message, Mischief, Step, chaos

RECORDED: dict[str, list[Any]] = json.loads(
    Path(__file__).with_name("recorded").joinpath("paypal.json").read_text(encoding="utf-8")
)
BATCH = BatchRef(1, 2, 3, "USD", title="Acme, batch 3")
PAYOUTS = Step(matching="POST /v1/payments/payouts ")

RATES = {
    Mischief.CLOSE_BEFORE: 0.1,
    Mischief.CLOSE_AFTER: 0.1,
    Mischief.CUT: 0.1,
    Mischief.ERROR_BEFORE: 0.1,
    Mischief.ERROR_AFTER: 0.1,
    Mischief.RATE_LIMITED: 0.1,
}


@pytest.fixture
def double() -> Iterator[PayPalDouble]:
    with PayPalDouble() as found:
        yield found


@pytest.fixture
def provider(double: PayPalDouble, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> PayPal:
    monkeypatch.setenv("PAYPAL_TEST_SECRET", CLIENT_SECRET)
    values = {
        "client_id": CLIENT_ID,
        "client_secret_env": "PAYPAL_TEST_SECRET",
        "base_url": double.base_url,
        "webhook_id": WEBHOOK_ID,
    }
    return PayPal.from_settings(ProviderSettings("acme.paypal", values, tmp_path))


def request(no: int, **facts: Any) -> PayoutRequest:
    defaults = {
        "account": {"receiver": f"p{no}@example.com"},
        "amount": 1000 + no,
        "currency": "USD",
        "call_no": 77,
        "sent_at": clock.now(),
    }
    rest: dict[str, Any] = defaults | facts
    return PayoutRequest(request_no=f"R{no}", no=no, payee=f"D{no}", name=f"P {no}", **rest)


def by_number(outcomes: object) -> dict[str, Outcome]:
    found = list(outcomes)  # type: ignore[call-overload]
    numbers = {outcome.request_no: outcome for outcome in found}
    assert len(numbers) == len(found)
    return numbers


def know(requests: list[PayoutRequest], outcomes: object) -> list[PayoutRequest]:
    """The requests with the references that came back."""
    found = by_number(outcomes)
    return [replace(r, reference=found[r.request_no].reference) for r in requests]


def test_a_batch_is_made_and_asked_about(double: PayPalDouble, provider: PayPal) -> None:
    assert isinstance(provider, Provider)
    assert isinstance(provider, CallsBack)
    requests = [request(1), request(2, account={"receiver": "q@x.y", "receiver_type": "email"})]
    taken = provider.pay(BATCH, requests)
    assert {(o.status, o.reference) for o in taken} == {(Status.PENDING, "BATCH0")}
    assert double.paid == {"R1": 1001, "R2": 1002}
    sent = json.loads(double.asked[-1].body)
    assert sent["sender_batch_header"] == {
        "sender_batch_id": "77",
        "email_subject": "Acme, batch 3",
    }
    assert sent["items"][0] == {
        "recipient_type": "EMAIL",
        "amount": {"value": "10.01", "currency": "USD"},
        "receiver": "p1@example.com",
        "sender_item_id": "R1",
        "note": "Acme, batch 3",
    }
    found = by_number(provider.ask(BATCH, know(requests, taken)))
    assert found["R1"] == Outcome("R1", Status.PAID, "BATCH0/ITEM0BATCH0", "SUCCESS")
    again = by_number(provider.ask(BATCH, [replace(requests[1], reference="BATCH0/ITEM1BATCH0")]))
    assert again["R2"].status is Status.PAID


@pytest.mark.parametrize("state, error, status", RECORDED["items"])
def test_each_state_of_an_item(
    double: PayPalDouble, provider: PayPal, state: str, error: str | None, status: str
) -> None:
    double.states["p1@example.com"] = (state, error)
    requests = [request(1)]
    (outcome,) = provider.ask(BATCH, know(requests, provider.pay(BATCH, requests)))
    assert outcome.status == status
    assert outcome.code == (error or state)
    assert outcome.message == (f"about {error}" if error else None)
    assert ("R1" in double.paid) is (state == "SUCCESS")


@pytest.mark.parametrize("status, body, expected", RECORDED["turned_away"])
def test_each_way_of_being_turned_away(
    double: PayPalDouble, provider: PayPal, status: int, body: object, expected: str
) -> None:
    double.turned_away = Answer.json(status, body)
    if expected == "unavailable":
        with pytest.raises(ProviderUnavailable):
            provider.pay(BATCH, [request(1)])
    else:
        (outcome,) = provider.pay(BATCH, [request(1)])
        assert outcome.status == expected
    assert double.paid == {}


@pytest.mark.parametrize(
    "mischief, paid",
    [
        (Mischief.CLOSE_BEFORE, False),
        (Mischief.CLOSE_AFTER, True),
        (Mischief.CUT, True),
        (Mischief.ERROR_BEFORE, False),
        (Mischief.ERROR_AFTER, True),
    ],
)
def test_a_lost_answer_is_found_by_handing_over_again(
    double: PayPalDouble, provider: PayPal, mischief: Mischief, paid: bool
) -> None:
    requests = [request(1), request(2)]
    double.script.append(replace(PAYOUTS, mischief=mischief))
    lost = provider.pay(BATCH, requests)
    assert [o.status for o in lost] == [Status.UNKNOWN] * 2
    assert bool(double.paid) is paid
    # PayPal cannot be asked by the call number
    assert [o.status for o in provider.ask(BATCH, requests)] == [Status.ABSENT] * 2
    found = by_number(provider.pay(BATCH, requests))
    assert found["R1"].status is (Status.PAID if paid else Status.PENDING)
    assert double.paid == {"R1": 1001, "R2": 1002}
    assert [b.sender_batch_id for b in double.batches.values()] == ["77"]


def test_a_duplicate_without_a_link_stays_unknown(double: PayPalDouble, provider: PayPal) -> None:
    provider.pay(BATCH, [request(1)])
    double.link = False
    (outcome,) = provider.pay(BATCH, [request(1)])
    assert (outcome.status, outcome.code) == (Status.UNKNOWN, "USER_BUSINESS_ERROR")


def test_a_found_batch_that_does_not_show_itself_was_still_taken(
    double: PayPalDouble, provider: PayPal
) -> None:
    provider.pay(BATCH, [request(1)])
    double.script.append(Step(Mischief.RATE_LIMITED, matching="GET /v1/payments/payouts/"))
    (outcome,) = provider.pay(BATCH, [request(1)])
    assert (outcome.status, outcome.reference) == (Status.UNKNOWN, "BATCH0")


def test_one_bad_item_fails_alone_and_the_others_go_again(
    double: PayPalDouble, provider: PayPal
) -> None:
    requests = [request(1), request(2, account={"receiver": "nobody"}), request(3)]
    for _ in range(2):  # the same after a crash
        found = by_number(provider.pay(BATCH, requests))
        assert {n: o.status for n, o in found.items()} == {
            "R1": Status.UNKNOWN,
            "R2": Status.FAILED,
            "R3": Status.UNKNOWN,
        }
    assert found["R2"].message == "Receiver is invalid or does not match with type"
    assert double.paid == {}
    rest = [requests[0], requests[2]]
    assert [o.status for o in provider.ask(BATCH, rest)] == [Status.ABSENT] * 2
    provider.pay(BATCH, rest)
    assert double.paid == {"R1": 1001, "R3": 1003}


@pytest.mark.parametrize(
    "facts, code",
    [
        ({"currency": "CNY"}, "CURRENCY_NOT_SUPPORTED"),
        ({"currency": "HUF", "amount": 1050}, "AMOUNT_NOT_WHOLE"),
        ({"currency": "TWD", "amount": 1}, "AMOUNT_NOT_WHOLE"),
        ({"account": {}}, "NO_RECEIVER"),
        ({"account": {"receiver": "a@" + "x" * 126}}, "NO_RECEIVER"),
        ({"account": {"receiver": "a@b", "receiver_type": "FAX"}}, "BAD_RECEIVER_TYPE"),
    ],
)
def test_what_paypal_cannot_pay_is_not_sent(
    double: PayPalDouble, provider: PayPal, facts: dict[str, Any], code: str
) -> None:
    (outcome,) = provider.pay(BATCH, [request(1, **facts)])
    assert (outcome.status, outcome.code) == (Status.FAILED, code)
    assert double.asked == []


@pytest.mark.parametrize(
    "currency, amount, value", [("JPY", 7, "7"), ("HUF", 700, "7"), ("EUR", 5, "0.05")]
)
def test_amounts(
    double: PayPalDouble, provider: PayPal, currency: str, amount: int, value: str
) -> None:
    provider.pay(BATCH, [request(1, currency=currency, amount=amount)])
    item = double.batches["BATCH0"].items["R1"]["payout_item"]
    assert item["amount"] == {"value": value, "currency": currency}
    assert double.paid == {"R1": amount}


def test_after_a_month_nothing_is_sent(double: PayPalDouble, provider: PayPal) -> None:
    old = request(1, sent_at=clock.now() - timedelta(days=SAFE_DAYS))
    for ask in (provider.pay, provider.ask):
        (outcome,) = ask(BATCH, [old])
        assert (outcome.status, outcome.code) == (Status.UNKNOWN, "TOO_OLD")
    assert double.asked == []


def test_pages(double: PayPalDouble, provider: PayPal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distrib.settlement.providers.paypal._PAGE", 2)
    requests = [request(no) for no in range(1, 6)]
    known = know(requests, provider.pay(BATCH, requests))
    assert {o.status for o in provider.ask(BATCH, known)} == {Status.PAID}
    double.asked.clear()
    assert {o.status for o in provider.ask(BATCH, known[:2])} == {Status.PAID}
    assert len(double.asked) == 1


def test_an_item_that_is_not_listed_is_unknown(double: PayPalDouble, provider: PayPal) -> None:
    requests = [request(1), request(2)]
    known = know(requests, provider.pay(BATCH, requests))
    double.hidden = {"R2"}
    found = by_number(provider.ask(BATCH, known))
    assert (found["R2"].status, found["R2"].code) == (Status.UNKNOWN, "NOT_LISTED")


def test_a_denied_batch_has_failed_if_it_is_the_calls(
    double: PayPalDouble, provider: PayPal
) -> None:
    double.denied = True
    known = know([request(1)], provider.pay(BATCH, [request(1)]))
    (outcome,) = provider.ask(BATCH, known)
    assert (outcome.status, outcome.code) == (Status.FAILED, "DENIED")
    (outcome,) = provider.ask(BATCH, [replace(known[0], call_no=78)])
    assert outcome.status is Status.UNKNOWN


def test_asking_two_batches_of_which_one_does_not_answer(
    double: PayPalDouble, provider: PayPal
) -> None:
    one, two = [request(1)], [request(2, call_no=78)]
    known = know(one, provider.pay(BATCH, one)) + know(two, provider.pay(BATCH, two))
    double.script.append(Step(Mischief.CLOSE_BEFORE, matching="payouts/BATCH1"))
    found = by_number(provider.ask(BATCH, known))
    assert (found["R1"].status, found["R2"].status) == (Status.PAID, Status.UNKNOWN)
    double.script.append(Step(Mischief.RATE_LIMITED, matching="payouts/BATCH0"))
    with pytest.raises(ProviderUnavailable) as caught:
        provider.ask(BATCH, known)
    assert caught.value.retry_after == 7


def test_tokens(double: PayPalDouble, provider: PayPal) -> None:
    provider.pay(BATCH, [request(1)])
    provider.pay(BATCH, [request(2, call_no=78)])
    double.tokens.clear()  # PayPal forgets
    provider.pay(BATCH, [request(3, call_no=79)])
    with clock.travel(clock.now() + timedelta(seconds=850)):  # a minute before it ends
        provider.pay(BATCH, [request(4, call_no=80)])
    assert len([a for a in double.asked if a.path == "/v1/oauth2/token"]) == 3
    assert set(double.paid) == {"R1", "R2", "R3", "R4"}


@pytest.mark.parametrize("mischief", [Mischief.CLOSE_AFTER, Mischief.ERROR_BEFORE, Mischief.CUT])
def test_without_a_token_nothing_was_sent(
    double: PayPalDouble, provider: PayPal, mischief: Mischief
) -> None:
    double.script.append(Step(mischief, matching="oauth2/token"))
    with pytest.raises(ProviderUnavailable):
        provider.pay(BATCH, [request(1)])
    assert double.paid == {}


def test_too_many_requests(double: PayPalDouble, provider: PayPal) -> None:
    double.script.append(replace(PAYOUTS, mischief=Mischief.RATE_LIMITED))
    with pytest.raises(ProviderUnavailable) as caught:
        provider.pay(BATCH, [request(1)])
    assert caught.value.retry_after == 7


def test_nobody_there(double: PayPalDouble, provider: PayPal) -> None:
    double.stop()
    for ask in (provider.pay, provider.ask):
        with pytest.raises(ProviderUnavailable):
            ask(BATCH, [request(1, reference="BATCH0")])


def test_a_message_is_a_reason_to_ask(double: PayPalDouble, provider: PayPal) -> None:
    provider.pay(BATCH, [request(1)])
    double.tell("R1", "SUCCEEDED")
    (message,) = double.messages()
    callback = provider.read_callback(message.headers, message.body)
    assert callback.message_id == "WH-0-ITEM0BATCH0"
    assert list(callback.outcomes) == [Outcome("R1", Status.PAID, "BATCH0/ITEM0BATCH0", "SUCCESS")]
    assert provider.reply() == Reply()


def test_what_a_message_says_of_the_state_does_not_count(
    double: PayPalDouble, provider: PayPal
) -> None:
    provider.pay(BATCH, [request(1)])
    event = double.tell("R1", "FAILED")
    event.content["resource"]["transaction_status"] = "FAILED"  # type: ignore[index]
    message = double.message(event)
    (outcome,) = provider.read_callback(message.headers, message.body).outcomes
    assert outcome.status is Status.PAID


def test_a_message_of_a_whole_batch_has_no_outcomes(double: PayPalDouble, provider: PayPal) -> None:
    provider.pay(BATCH, [request(1)])
    event = double.tell("R1", "SUCCEEDED")
    del event.content["resource"]["payout_item_id"]  # type: ignore[attr-defined]
    message = double.message(event)
    assert list(provider.read_callback(message.headers, message.body).outcomes) == []


def forgeries(message: Message) -> dict[str, Message]:
    headers, body = dict(message.headers), message.body
    time = datetime(2020, 1, 1, tzinfo=UTC).isoformat()
    return {
        "another body": Message(headers, body.replace(b"SUCCEEDED", b"RETURNED!")),
        "a space more": Message(headers, body.replace(b": ", b":  ", 1)),
        "no json": Message(headers, b"{"),
        "no event": Message(headers, b"[]"),
        "deep": Message(headers, b"[" * 100_000),
        "old": Message(headers | {"paypal-transmission-time": time}, body),
        "no time": Message(headers | {"paypal-transmission-time": "now"}, body),
        "naive": Message(headers | {"paypal-transmission-time": "2026-01-01T00:00:00"}, body),
        "another id": Message(headers | {"paypal-transmission-id": "x"}, body),
        "no signature": Message(headers | {"paypal-transmission-sig": ""}, body),
        "host": Message(headers | {"paypal-cert-url": "https://paypal.com.evil.example/x"}, body),
        "host 2": Message(headers | {"paypal-cert-url": "https://evilpaypal.com/x"}, body),
        "plain": Message(headers | {"paypal-cert-url": "http://api.paypal.com/x"}, body),
        "nothing": Message({}, body),
    }


def test_forged_messages(double: PayPalDouble, provider: PayPal) -> None:
    provider.pay(BATCH, [request(1)])
    double.tell("R1", "SUCCEEDED")
    bad, good = double.messages(forged=True)
    # the double signs by id, time and CRC: a good one sent later would make the bad one good
    double.sent.clear()
    with pytest.raises(BadCallback):
        provider.read_callback(bad.headers, bad.body)
    good = double.message(double.outbox[0])
    assert provider.read_callback(good.headers, good.body).outcomes
    for message in forgeries(good).values():
        with pytest.raises(BadCallback):
            provider.read_callback(message.headers, message.body)


def test_a_message_that_cannot_be_verified_comes_again(
    double: PayPalDouble, provider: PayPal
) -> None:
    provider.pay(BATCH, [request(1)])
    message = double.message(double.tell("R1", "SUCCEEDED"))
    for matching in ("verify-webhook-signature", "payouts-item"):
        for mischief in (Mischief.ERROR_BEFORE, Mischief.CLOSE_BEFORE, Mischief.RATE_LIMITED):
            double.script.append(Step(mischief, matching=matching))
            with pytest.raises(ProviderUnavailable):
                provider.read_callback(message.headers, message.body)


def test_no_secret_is_told(double: PayPalDouble, provider: PayPal) -> None:
    told = [repr(provider), str(vars(type(provider)))]
    wrong = PayPal(provider._http, CLIENT_ID, "another-secret", "none")
    for adapter, step in (
        (provider, Step(Mischief.CLOSE_BEFORE, matching="oauth2/token")),
        (provider, Step(Mischief.RATE_LIMITED, matching="POST /v1/payments/payouts ")),
        (wrong, None),
    ):
        double.script.extend([step] if step else [])
        with pytest.raises(ProviderUnavailable) as caught:
            adapter.pay(BATCH, [request(1)])
        told += traceback.format_exception(caught.value)
    with pytest.raises(BadCallback):
        wrong.read_callback({}, b"{}")
    text = "".join(told)
    for secret in (CLIENT_SECRET, "another-secret", provider._basic, *double.tokens):
        assert secret not in text


@pytest.mark.parametrize("missing", ["client_id", "client_secret_env"])
def test_settings(missing: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PAYPAL_TEST_SECRET", CLIENT_SECRET)
    values = {"client_id": CLIENT_ID, "client_secret_env": "PAYPAL_TEST_SECRET"}
    PayPal.from_settings(ProviderSettings("acme.paypal", values, tmp_path))
    del values[missing]
    with pytest.raises(BadProviderSetting):
        PayPal.from_settings(ProviderSettings("acme.paypal", values, tmp_path))


@pytest.mark.parametrize("seed", range(5))
def test_through_any_mischief_each_is_paid_once(
    double: PayPalDouble, provider: PayPal, seed: int
) -> None:
    double.chaos = chaos(RATES, seed=seed)
    requests = {f"R{no}": request(no, call_no=77 + no % 2) for no in range(1, 9)}
    paid: set[str] = set()
    for _ in range(200):
        open_ = [r for number, r in requests.items() if number not in paid]
        if not open_:
            break
        with contextlib.suppress(ProviderUnavailable):
            found = by_number(provider.ask(BATCH, open_))
            absent = [r for r in open_ if found[r.request_no].status is Status.ABSENT]
            absent.sort(key=lambda r: r.call_no)
            for _, call in groupby(absent, key=lambda r: r.call_no):
                found |= by_number(provider.pay(BATCH, list(call)))
            for number, outcome in found.items():
                assert outcome.status not in (Status.FAILED, Status.RETURNED)
                paid |= {number} if outcome.status is Status.PAID else set()
                if outcome.reference:
                    requests[number] = replace(requests[number], reference=outcome.reference)
    assert paid == set(requests)
    assert double.paid == {f"R{no}": 1000 + no for no in range(1, 9)}
    assert sum(len(batch.items) for batch in double.batches.values()) == 8
