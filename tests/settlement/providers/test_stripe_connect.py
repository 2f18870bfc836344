"""Stripe: each error to its status, keys that end after a day, signatures."""

from __future__ import annotations

import contextlib
import json
import traceback
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

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
from distrib.settlement.providers.settings import ProviderSettings
from distrib.settlement.providers.stripe_connect import VERSION, StripeConnect, stripe_amount
from tests.doubles.server import Mischief, Step, chaos
from tests.doubles.stripe import API_KEY, WEBHOOK_SECRET, StripeDouble, signature

RECORDED: dict[str, list[Any]] = json.loads(
    Path(__file__).with_name("recorded").joinpath("stripe.json").read_text(encoding="utf-8")
)
BATCH = BatchRef(1, 2, 3, "USD", title="Acme, batch 3")
POST = "POST /v1/transfers "

RATES = {
    Mischief.CLOSE_BEFORE: 0.1,
    Mischief.CLOSE_AFTER: 0.1,
    Mischief.CUT: 0.1,
    Mischief.ERROR_BEFORE: 0.1,
    Mischief.ERROR_AFTER: 0.1,
    Mischief.RATE_LIMITED: 0.1,
}


@pytest.fixture
def double() -> Iterator[StripeDouble]:
    with StripeDouble() as found:
        yield found


@pytest.fixture
def provider(
    double: StripeDouble, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> StripeConnect:
    monkeypatch.setenv("STRIPE_TEST_KEY", API_KEY)
    monkeypatch.setenv("STRIPE_TEST_WEBHOOK", WEBHOOK_SECRET)
    values = {
        "api_key_env": "STRIPE_TEST_KEY",
        "webhook_secret_env": "STRIPE_TEST_WEBHOOK",
        "callbacks": True,
        "base_url": double.base_url,
    }
    return StripeConnect.from_settings(ProviderSettings("acme.stripe", values, tmp_path))


def request(no: int, **facts: Any) -> PayoutRequest:
    defaults = {
        "account": {"account_id": f"acct_{no}"},
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


def statuses(outcomes: object) -> dict[str, str]:
    return {number: str(said.status) for number, said in by_number(outcomes).items()}


def test_transfers_are_made_and_found(double: StripeDouble, provider: StripeConnect) -> None:
    assert isinstance(provider, Provider)
    assert isinstance(provider, CallsBack)
    assert list(provider.pay(BATCH, [request(2), request(1)])) == [
        Outcome("R1", Status.PAID, "tr_0"),
        Outcome("R2", Status.PAID, "tr_1"),
    ]
    assert double.paid == {"R1": 1001, "R2": 1002}
    asked = double.asked[1]
    assert parse_qs(asked.body.decode()) == {
        "amount": ["1001"],
        "currency": ["usd"],
        "destination": ["acct_1"],
        "transfer_group": ["R1"],
        "metadata[request_no]": ["R1"],
        "description": ["Acme, batch 3"],
    }
    assert asked.headers["idempotency-key"] == "R1"
    assert asked.headers["stripe-version"] == VERSION
    found = provider.ask(BATCH, [request(1), request(2, reference="tr_1"), request(3)])
    assert statuses(found) == {"R1": "paid", "R2": "paid", "R3": "absent"}


@pytest.mark.parametrize("status, error, expected", RECORDED["refusals"])
def test_each_refusal(
    double: StripeDouble, provider: StripeConnect, status: int, error: dict[str, str], expected: str
) -> None:
    double.refusals["acct_2"] = (status, error)
    requests = [request(2), request(3)]
    if expected == "unavailable":
        with pytest.raises(ProviderUnavailable):
            provider.pay(BATCH, requests)
        # what was made before is not forgotten, and the rest was not sent
        found = provider.pay(BATCH, [request(1), *requests])
        assert statuses(found) == {"R1": "paid", "R2": "unknown", "R3": "unknown"}
        assert set(double.paid) == {"R1"}
    else:
        assert statuses(provider.pay(BATCH, requests)) == {"R2": expected, "R3": "paid"}
        assert set(double.paid) == {"R3"}


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
def test_a_lost_answer(
    double: StripeDouble, provider: StripeConnect, mischief: Mischief, paid: bool
) -> None:
    requests = [request(1), request(2)]
    double.script.append(Step(mischief, matching=POST))
    assert statuses(provider.pay(BATCH, requests)) == {"R1": "unknown", "R2": "paid"}
    assert ("R1" in double.paid) is paid
    assert statuses(provider.ask(BATCH, requests[:1])) == {"R1": "paid" if paid else "absent"}
    assert statuses(provider.pay(BATCH, requests)) == {"R1": "paid", "R2": "paid"}
    assert double.paid == {"R1": 1001, "R2": 1002}


def test_after_a_day_a_number_is_asked_about_first(
    double: StripeDouble, provider: StripeConnect
) -> None:
    yesterday = clock.now() - timedelta(hours=23, minutes=1)
    requests = [request(no, sent_at=yesterday) for no in (1, 2, 3)]
    double.script.append(Step(Mischief.CLOSE_AFTER, matching="transfer_group=R1"))
    with clock.travel(yesterday):
        assert statuses(provider.pay(BATCH, requests[:2])) == {"R1": "unknown", "R2": "paid"}
    double.forget()  # the double would pay twice, and say so
    assert statuses(provider.pay(BATCH, requests)) == dict.fromkeys(("R1", "R2", "R3"), "paid")
    # known and not known at once: the answer says so even when nobody takes the rest
    double.balance["usd"] = 0
    late = [requests[0], request(4, sent_at=yesterday)]
    assert statuses(provider.pay(BATCH, late)) == {"R1": "paid", "R4": "unknown"}


def test_a_low_balance_is_seen_before_a_key_remembers_it(
    double: StripeDouble, provider: StripeConnect
) -> None:
    double.balance["usd"] = 2002
    with pytest.raises(ProviderUnavailable, match="balance_insufficient: 2002"):
        provider.pay(BATCH, [request(1), request(2)])
    assert not double.keys
    double.balance["usd"] = 2003
    assert set(statuses(provider.pay(BATCH, [request(1), request(2)])).values()) == {"paid"}


def test_a_key_that_may_not_look_at_the_balance(
    double: StripeDouble, provider: StripeConnect
) -> None:
    double.may_look = False
    double.balance["usd"] = 1500
    found = provider.pay(BATCH, [request(1), request(2), request(3)])
    assert statuses(found) == {"R1": "paid", "R2": "unknown", "R3": "unknown"}


def test_two_lost_answers_are_enough(double: StripeDouble, provider: StripeConnect) -> None:
    double.script.extend([Step(Mischief.CLOSE_BEFORE, matching=POST)] * 2)
    found = provider.pay(BATCH, [request(1), request(2), request(3)])
    assert statuses(found) == {"R1": "unknown", "R2": "unknown", "R3": "unknown"}
    assert [outcome.code for outcome in found] == [None, None, "NOT_SENT"]


def test_nobody_there(double: StripeDouble, provider: StripeConnect) -> None:
    double.stop()
    for ask in (provider.pay, provider.ask):
        with pytest.raises(ProviderUnavailable):
            ask(BATCH, [request(1)])


@pytest.mark.parametrize(
    "mischief", [Mischief.CLOSE_BEFORE, Mischief.ERROR_BEFORE, Mischief.CUT, Mischief.RATE_LIMITED]
)
def test_a_question_that_is_not_answered(
    double: StripeDouble, provider: StripeConnect, mischief: Mischief
) -> None:
    provider.pay(BATCH, [request(1)])
    double.script.append(Step(mischief, matching="GET /v1/transfers"))
    found = provider.ask(BATCH, [request(1), request(2)])
    assert statuses(found) == {"R1": "unknown", "R2": "absent"}


def test_another_transfer_in_the_group_says_nothing(
    double: StripeDouble, provider: StripeConnect
) -> None:
    provider.pay(BATCH, [request(1)])
    double.transfers["tr_0"]["metadata"] = {}
    assert statuses(provider.ask(BATCH, [request(1)])) == {"R1": "unknown"}


def test_two_transfers_of_one_number_are_told(
    double: StripeDouble, provider: StripeConnect
) -> None:
    provider.pay(BATCH, [request(1)])
    double.transfers["tr_9"] = double.transfers["tr_0"] | {"id": "tr_9"}
    (outcome,) = provider.ask(BATCH, [request(1)])
    assert (outcome.status, outcome.code, outcome.message) == (
        Status.PAID,
        "paid_twice",
        "tr_0, tr_9",
    )


def test_other_details_under_the_same_number_are_unknown(
    double: StripeDouble, provider: StripeConnect
) -> None:
    provider.pay(BATCH, [request(1)])
    found = provider.pay(BATCH, [request(1, account={"account_id": "acct_x"})])
    assert [(o.status, o.code) for o in found] == [(Status.UNKNOWN, "idempotency_error")]


@pytest.mark.parametrize(
    "facts, code",
    [
        ({"account": {}}, "NO_ACCOUNT"),
        ({"account": {"account_id": "ba_1"}}, "NO_ACCOUNT"),
        ({"currency": "KWD", "amount": 5124}, "BAD_AMOUNT"),
    ],
)
def test_what_stripe_cannot_pay_is_not_sent(
    double: StripeDouble, provider: StripeConnect, facts: dict[str, Any], code: str
) -> None:
    (outcome,) = provider.pay(BATCH, [request(1, **facts)])
    assert (outcome.status, outcome.code) == (Status.FAILED, code)
    assert double.asked == []


@pytest.mark.parametrize(
    "amount, currency, expected",
    [
        (1234, "USD", 1234),
        (500, "JPY", 500),
        (500, "MGA", 5),
        (550, "MGA", None),
        (5, "ISK", 500),
        (5, "UGX", 500),
        (5120, "KWD", 5120),
        (5124, "KWD", None),
        (1045, "HUF", 1045),
        (5, "UYI", None),
        (1000, "IQD", None),
    ],
)
def test_amounts(amount: int, currency: str, expected: int | None) -> None:
    assert stripe_amount(amount, currency) == expected


def test_reversed_transfers_are_told(double: StripeDouble, provider: StripeConnect) -> None:
    requests = [request(1), request(2)]
    provider.pay(BATCH, requests)
    double.tell(double.transfers["tr_0"], "transfer.created")
    double.reverse("R1")
    double.reverse("R2", 2)
    callbacks = [provider.read_callback(m.headers, m.body) for m in double.messages(times=2)]
    assert [c.message_id for c in callbacks] == [f"evt_{n}" for n in (0, 0, 1, 1, 2, 2)]
    assert [list(c.outcomes) for c in callbacks[::2]] == [
        [Outcome("R1", Status.PAID, "tr_0")],
        [Outcome("R1", Status.RETURNED, "tr_0", "reversed")],
        [Outcome("R2", Status.PAID, "tr_1", "partially_reversed", "2 of 1002 came back")],
    ]
    assert statuses(provider.ask(BATCH, requests)) == {"R1": "returned", "R2": "paid"}
    assert provider.reply() == Reply()


def event(**facts: Any) -> bytes:
    transfer = {"id": "tr_1", "object": "transfer", "metadata": {"request_no": "R1"}}
    defaults = {"id": "evt_1", "type": "transfer.created", "data": {"object": transfer}}
    return json.dumps(defaults | facts).encode()


@pytest.mark.parametrize(
    "facts",
    [
        {"type": "payout.paid"},
        {"account": "acct_1"},
        {"data": {"object": {"id": "tr_1", "object": "transfer", "metadata": {}}}},
        {"data": {"object": None}},
    ],
)
def test_messages_that_are_not_about_our_transfers(
    provider: StripeConnect, facts: dict[str, Any]
) -> None:
    body = event(**facts)
    callback = provider.read_callback({"stripe-signature": signature(body)}, body)
    assert list(callback.outcomes) == []


def test_signatures(provider: StripeConnect) -> None:
    body = event()
    good = signature(body)
    stamp = good.partition(",")[0]
    for header in (good, signature(body, age=299), f"{stamp},v1=00,{good.split(',')[1]}"):
        assert provider.read_callback({"stripe-signature": header}, body).outcomes
    for header in (
        "",
        signature(body, valid=False),
        signature(body, age=301),
        signature(body, age=-301),
        signature(body, key="whsec_another"),
        good.replace("v1=", "v0="),
        good.replace("t=", "t=1"),
        good.replace(stamp, "t=x"),
        f"{stamp},v1=",
        f"{stamp},v1=\udcff",
        f"t={'9' * 400},v1=0",
    ):
        with pytest.raises(BadCallback):
            provider.read_callback({"stripe-signature": header}, body)
    with pytest.raises(BadCallback):
        provider.read_callback({"stripe-signature": good}, body + b" ")
    with pytest.raises(BadCallback):
        provider.read_callback({}, body)


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"[" * 100_000,
        b"{}",
        event(data={}),
        event(data={"object": {"object": "x", "metadata": {"request_no": "R1"}}}),
    ],
)
def test_signed_messages_that_are_none(provider: StripeConnect, body: bytes) -> None:
    with pytest.raises(BadCallback):
        provider.read_callback({"stripe-signature": signature(body)}, body)


def test_no_secret_is_told(double: StripeDouble, provider: StripeConnect) -> None:
    told = [repr(provider)]
    wrong = StripeConnect(provider._http, "sk_test_another", None)
    double.script.append(Step(Mischief.CLOSE_BEFORE, matching="balance"))
    for adapter in (provider, wrong):
        with pytest.raises(ProviderUnavailable) as caught:
            adapter.pay(BATCH, [request(1)])
        told += traceback.format_exception(caught.value)
    for adapter in (provider, wrong):
        with pytest.raises(BadCallback) as refusal:
            adapter.read_callback({"stripe-signature": signature(b"", valid=False)}, b"{}")
        told += traceback.format_exception(refusal.value)
    text = "".join(told)
    for secret in (API_KEY, "sk_test_another", WEBHOOK_SECRET):
        assert secret not in text


def test_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STRIPE_TEST_KEY", API_KEY)
    values: dict[str, Any] = {"api_key_env": "STRIPE_TEST_KEY"}
    provider = StripeConnect.from_settings(ProviderSettings("acme.stripe", values, tmp_path))
    with pytest.raises(BadCallback, match="webhook_secret"):
        provider.read_callback({"stripe-signature": signature(b"{}")}, b"{}")
    for wrong in ({}, values | {"callbacks": True}, values | {"base_url": "http://api.stripe.com"}):
        with pytest.raises(BadProviderSetting):
            StripeConnect.from_settings(ProviderSettings("acme.stripe", wrong, tmp_path))


def test_a_request_that_was_reversed_is_not_paid_again(
    double: StripeDouble, provider: StripeConnect
) -> None:
    provider.pay(BATCH, [request(1)])
    double.reverse("R1")
    old = replace(request(1), sent_at=clock.now() - timedelta(days=2))
    double.forget()
    assert statuses(provider.pay(BATCH, [old])) == {"R1": "returned"}


@pytest.mark.parametrize("seed", range(5))
def test_through_any_mischief_each_is_paid_once(
    double: StripeDouble, provider: StripeConnect, seed: int
) -> None:
    double.chaos = chaos(RATES, seed=seed)
    requests = {f"R{no}": request(no) for no in range(1, 9)}
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
    assert len(double.transfers) == 8
