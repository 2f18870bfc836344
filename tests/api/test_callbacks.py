"""What a provider says of its own accord: WeChat Pay's messages, true, forged, twice, too late."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from distrib import clock, jobs
from distrib.api.app import create_app
from distrib.brands.tables import Brand
from distrib.config import Settings
from distrib.db import Database
from tests import factories
from tests.api.conftest import LATER, Caller, approve, make_caller, order
from tests.api.contract import Contract
from tests.api.test_settlement import BATCH
from tests.doubles import keys
from tests.doubles.server import Event, Message
from tests.doubles.wechat_pay import WechatPayDouble

API_V3_KEY = "0123456789abcdefghijklmnopqrstuv"


@pytest.fixture
def double() -> Iterator[WechatPayDouble]:
    """WeChat Pay, whose payees confirm when the test says so."""
    with WechatPayDouble(
        mch_id="1900001109",
        app_id="wxf636efh567hg4356",
        serial_no="5157F09EFDC096DE15EBE81A47057A72",
        merchant_key=keys.public_pem("merchant"),
        platform_private_key=keys.private_pem("platform"),
        platform_key_id="PUB_KEY_ID_0114232134912410000000000000",
        api_v3_key=API_V3_KEY,
    ) as found:
        found.confirms = False
        found.now = LATER.timestamp  # it has threads of its own
        yield found


@pytest.fixture
def providers(
    settings: Settings, double: WechatPayDouble, brand: Brand, tmp_path: Path
) -> Settings:
    """Settings with WeChat Pay as the brand's provider ``wechat``."""
    for name, content in {
        "private_key": keys.private_pem("merchant"),
        "platform_key": keys.public_pem("platform"),
        "api_v3_key": API_V3_KEY,
    }.items():
        (tmp_path / name).write_text(content + "\n", encoding="utf-8")
    values = {
        "adapter": "wechat-pay",
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
    lines = [f"{name} = {json.dumps(value)}" for name, value in values.items()]
    file = tmp_path / "providers.toml"
    file.write_text(
        f"[{brand.slug}.wechat]\n" + "\n".join(lines)
        + f'\n[{brand.slug}.broken]\nadapter = "wechat-pay"\n'
    )  # fmt: skip
    return replace(settings, providers_file=file)


@pytest.fixture
def paying(
    db: Database, providers: Settings, brand: Brand, double: WechatPayDouble
) -> tuple[Caller, str]:
    """A batch of two payouts that WeChat Pay has, and the path of its callbacks."""
    app = create_app(providers, db)
    contract = Contract(app)
    people = factories.chain(db, brand)
    for name in ("ann", "bo"):
        with db.transaction() as session:
            session.execute(_METHOD, {"brand_id": brand.id, "owner": people[name], "name": name})
    maker, second = (
        make_caller(db, app, contract, brand, name).at(LATER) for name in ("tests", "finance")
    )
    maker.post(201, "/orders", order())
    lines = maker.get("/settlement/preview/lines", provider="wechat")["items"]
    assert {x["distributor"]: x["reason"] for x in lines} == {
        "ann": None, "bo": None, "cy": "no_method",
    }  # fmt: skip
    maker.post(201, "/settlement/batches", {"provider": "wechat"})
    approve(maker, second)
    maker.post(202, f"{BATCH}/run")
    work(db, providers)
    assert len(double.bills) == 2
    return maker, f"/callbacks/{brand.slug}/wechat"


_METHOD = text(
    "INSERT INTO payout_method (brand_id, id, distributor_id, kind, name, details, created_at,"
    " created_by, proved_at, proved_by, usable_from) VALUES (:brand_id, :owner, :owner, 'wechat',"
    " :name, jsonb_build_object('openid', 'openid-' || :name), '2026-01-01', 'tests',"
    " '2026-01-01', 'tests', '2026-01-01')"
)


def work(db: Database, settings: Settings, minutes: float = 0) -> None:
    with clock.travel(LATER + factories.days(minutes / 1440)):
        jobs.run_all(db, settings)


def send(caller: Caller, path: str, message: Message) -> int:
    """Send a message without a key, as the provider does; the status it meets."""
    nobody = replace(caller, key=None)
    return nobody.call(
        "POST", path, headers=dict(message.headers), data=message.body
    ).status_code  # fmt: skip


def told(caller: Caller) -> dict[int, tuple[str, str]]:
    """State and last attempt's state by payout."""
    found = {}
    for each in caller.get(f"{BATCH}/payouts")["items"]:
        tries = caller.get(f"{BATCH}/payouts/{each['no']}")["tries"]
        found[each["no"]] = (each["state"], tries[-1]["state"])
    return found


def test_callbacks_end_payouts_once(
    paying: tuple[Caller, str], double: WechatPayDouble, db: Database, providers: Settings
) -> None:
    maker, path = paying
    assert told(maker) == {1: ("sent", "pending"), 2: ("sent", "pending")}
    first, last = sorted(double.bills)
    assert maker.get(f"{BATCH}/payouts/1")["tries"][0]["action"].endswith(f"{first}==")
    double.finish(first)
    double.finish(last, "FAIL", "ACCOUNT_FROZEN")
    forged, *_ = double.messages(forged=True)
    messages = double.messages(times=3)
    assert send(maker, path, forged) == 401
    assert told(maker)[1] == ("sent", "pending")
    assert [send(maker, path, each) for each in messages] == [204] * 6
    assert told(maker) == {1: ("paid", "paid"), 2: ("failed", "failed")}
    failed = maker.get(f"{BATCH}/payouts/2")["tries"][0]
    assert failed["code"] == "ACCOUNT_FROZEN"
    assert failed["reference"] == double.bills[last].transfer_no
    posted = [x["code"] for x in maker.get(f"{BATCH}/postings")["items"]]
    assert sorted(posted) == ["confirm", "fail", "reserve", "send"]
    assert [x["kind"] for x in maker.get(f"{BATCH}/events")["items"]] == [
        "drawn_up", "submitted", "approved", "run",
    ]  # fmt: skip
    work(db, providers, minutes=1)
    assert maker.get(BATCH)["state"] == "partly_failed"


def test_a_message_that_contradicts_is_kept_for_a_person(
    paying: tuple[Caller, str], double: WechatPayDouble
) -> None:
    maker, path = paying
    number, _ = sorted(double.bills)
    double.finish(number)
    paid = double.messages()
    double.outbox.clear()
    content = {**double._described(double.bills[number]), "state": "FAIL"}
    double.outbox.append(Event("EV-later", content))
    failed = double.messages()
    assert [send(maker, path, each) for each in [*paid, *failed]] == [204, 204]
    assert told(maker)[1] == ("paid", "paid")
    (contradiction,) = [
        each for each in maker.get(f"{BATCH}/events")["items"] if each["kind"] == "contradiction"
    ]
    assert contradiction["actor"] == "callback EV-later"
    assert contradiction["no"] == 1


def test_a_message_about_nothing_of_ours_is_taken_and_changes_nothing(
    paying: tuple[Caller, str], double: WechatPayDouble, caplog: pytest.LogCaptureFixture
) -> None:
    maker, path = paying
    before = told(maker)
    number, _ = sorted(double.bills)
    for other in ("nonsense", "1p1a1", f"{number}9"):
        content = {**double._described(double.bills[number]), "out_bill_no": other,
                   "state": "SUCCESS", "openid": "o-secret"}  # fmt: skip
        double.outbox.append(Event(f"EV-{other}", content))
    with caplog.at_level(logging.DEBUG):
        assert {send(maker, path, each) for each in double.messages()} == {204}
    assert told(maker) == before
    assert "names no payout of ours" in caplog.text
    assert "o-secret" not in caplog.text
    assert "ciphertext" not in caplog.text


def test_a_message_from_yesterday_is_not_taken(
    paying: tuple[Caller, str], double: WechatPayDouble
) -> None:
    maker, path = paying
    double.now = (LATER - factories.days(1)).timestamp
    double.finish(min(double.bills))
    (old,) = double.messages()
    assert send(maker, path, old) == 401


def test_only_who_calls_back_is_listened_to(
    paying: tuple[Caller, str], double: WechatPayDouble, brand: Brand
) -> None:
    maker, path = paying
    double.finish(min(double.bills))
    (message,) = double.messages()
    for other in ("bank-file", "manual", "alipay", "nobody", "%00"):
        assert send(maker, f"/callbacks/{brand.slug}/{other}", message) == 404
    assert send(maker, "/callbacks/nobody/wechat", message) == 404
    assert send(maker, f"/callbacks/{brand.slug}/broken", message) == 503
    assert send(maker, path, replace(message, body=b"")) == 401
    assert send(maker, path, replace(message, headers={})) == 401
    assert send(maker, path, replace(message, body=b"x" * (1024 * 1024 + 1))) == 413
    assert told(maker)[1] == ("sent", "pending")
    assert maker.refused(422, "POST", "/settlement/batches", {"provider": "alipay"}) == ["provider"]
    maker.send(409, "POST", "/settlement/batches", {"provider": "broken"})


def test_a_key_opens_nothing_here(paying: tuple[Caller, str]) -> None:
    maker, path = paying
    body: dict[str, Any] = {"id": "EV-1"}
    maker.send(401, "POST", path, body)
