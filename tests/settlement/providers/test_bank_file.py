"""The bank file: its bytes, its sums, its parts; nothing in it is a formula."""

from __future__ import annotations

import csv
import hashlib
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from distrib.settlement.providers import BatchRef, PayoutRequest, Provider, Status, WritesFile
from distrib.settlement.providers.bank_file import ACCOUNT, COLUMNS, BankFile
from distrib.settlement.providers.files import PartMissing, atomic
from distrib.settlement.providers.manual import Manual
from distrib.settlement.providers.settings import ProviderSettings

BATCH = BatchRef(brand_id=1, batch_id=2, number=3, currency="CNY")
NASTY = [
    "=1+1",
    "+86 139",
    "-5",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "a,b",
    'say "hi"',
    "two\nlines",
    "two\rlines",
    'x"\r\n=HYPERLINK("http://a")',
    "",
    "安娜 🐉",
    "'=1",
    "a;b",
]


def request(no: int, call_no: int = 1, **facts: Any) -> PayoutRequest:
    defaults: dict[str, Any] = {
        "request_no": f"R{no}",
        "payee": f"D{no}",
        "name": f"Payee {no}",
        "amount": no * 101,
        "currency": "CNY",
    }
    return PayoutRequest(no=no, call_no=call_no, **(defaults | facts))


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))


def test_parts_are_joined_in_the_order_of_the_calls(tmp_path: Path) -> None:
    provider = BankFile(tmp_path)
    assert provider.pay(BATCH, [request(2), request(1)]) == Status.PAID
    provider.pay(BATCH, [request(3, 900)])
    provider.pay(BATCH, [request(4, 5)])
    file = provider.finish(BATCH, [1, 900, 5])
    assert file.path == tmp_path / "br_000000000001" / "batch-3.csv"
    assert [row["no"] for row in rows(file.path)] == ["1", "2", "3", "4"]
    assert (file.payouts, file.total) == (4, 1010)
    assert file.sha256 == hashlib.sha256(file.path.read_bytes()).digest()
    parts = tmp_path / "br_000000000001" / ".batch-3.parts"
    assert {part.name for part in parts.iterdir()} == {"1.csv", "900.csv", "5.csv"}


def test_a_row_has_the_documented_columns(tmp_path: Path) -> None:
    provider = BankFile(tmp_path)
    account = {"account_name": "An Na", "account_no": "6222", "bank_name": "ICBC", "x": "no"}
    provider.pay(BATCH, [request(1, account=account, amount=5), request(2)])
    lines = provider.finish(BATCH, [1]).path.read_bytes().split(b"\r\n")
    assert lines == [
        ",".join(COLUMNS).encode(),
        b"R1,1,D1,Payee 1,0.05,CNY,An Na,6222,ICBC,",
        b"R2,2,D2,Payee 2,2.02,CNY,,,,",
        b"",
    ]


def test_the_same_requests_give_the_same_bytes(tmp_path: Path) -> None:
    requests = [request(no, name=name) for no, name in enumerate(NASTY, start=1)]
    files = []
    for folder in ("a", "b"):
        provider = BankFile(tmp_path / folder)
        random.shuffle(requests)
        provider.pay(BATCH, requests)
        provider.pay(BATCH, requests)
        files.append(provider.finish(BATCH, [1]).path.read_bytes())
    assert files[0] == files[1]


@pytest.mark.parametrize("column", ["payee", "name", "account_name", "bank_name", "bank_code"])
def test_no_cell_is_a_formula_and_none_is_lost(tmp_path: Path, column: str) -> None:
    provider = BankFile(tmp_path)
    requests = [
        request(no, account={column: cell})
        if column in ACCOUNT
        else replace(request(no), **{column: cell})  # type: ignore[arg-type]
        for no, cell in enumerate(NASTY, start=1)
    ]
    provider.pay(BATCH, requests)
    file = provider.finish(BATCH, [1])
    found = rows(file.path)
    assert (file.payouts, file.total) == (len(NASTY), sum(r.amount for r in requests))
    for cell, row in zip(NASTY, found, strict=True):
        assert row[column].removeprefix("'") == cell.removeprefix("'")
        assert not any(value.startswith(tuple("=+-@\t\r")) for value in row.values())


@pytest.mark.parametrize(
    "currency, amount, text", [("JPY", 7, "7"), ("KWD", 7, "0.007"), ("EUR", 123456, "1234.56")]
)
def test_amounts_have_the_decimals_of_their_currency(
    tmp_path: Path, currency: str, amount: int, text: str
) -> None:
    batch = BatchRef(1, 2, 3, currency)
    provider = BankFile(tmp_path)
    provider.pay(batch, [request(1, amount=amount, currency=currency)])
    file = provider.finish(batch, [1])
    assert rows(file.path)[0]["amount"] == text
    assert file.total == amount


def test_the_sum_is_that_of_the_file_not_of_the_requests(tmp_path: Path) -> None:
    provider = BankFile(tmp_path)
    provider.pay(BATCH, [request(1), request(2)])
    part = tmp_path / "br_000000000001" / ".batch-3.parts" / "1.csv"
    part.write_bytes(part.read_bytes().replace(b"2.02", b"9.02"))
    assert provider.finish(BATCH, [1]).total == 101 + 902


def test_a_missing_part_is_no_file(tmp_path: Path) -> None:
    provider = BankFile(tmp_path)
    provider.pay(BATCH, [request(1)])
    with pytest.raises(PartMissing, match="call 2"):
        provider.finish(BATCH, [1, 2])
    assert not (tmp_path / "br_000000000001" / "batch-3.csv").exists()
    assert [p.name for p in (tmp_path / "br_000000000001").iterdir()] == [".batch-3.parts"]


def test_requests_of_two_calls_are_no_part(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="2 calls"):
        BankFile(tmp_path).pay(BATCH, [request(1, 1), request(2, 2)])


def test_an_account_can_be_required(tmp_path: Path) -> None:
    settings = ProviderSettings(
        "acme.bank", {"await_status": True, "require_account": True}, tmp_path
    )
    provider = BankFile.from_settings(settings)
    assert provider.method == "bank"
    outcomes = provider.pay(BATCH, [request(1), request(2, account={"account_no": "6222"})])
    assert not isinstance(outcomes, Status)
    assert [(o.request_no, o.status, o.code) for o in outcomes] == [
        ("R1", Status.FAILED, "NO_ACCOUNT"),
        ("R2", Status.PENDING, None),
    ]
    file = provider.finish(BATCH, [1])
    assert (file.payouts, file.total) == (1, 202)


def test_defaults(tmp_path: Path) -> None:
    provider = BankFile.from_settings(ProviderSettings("acme.bank", {}, tmp_path))
    assert provider.method is None
    assert isinstance(provider, Provider)
    assert isinstance(provider, WritesFile)
    assert [o.status for o in provider.ask(BATCH, [request(1)])] == [Status.UNKNOWN]


def test_a_file_that_fails_halfway_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("old", encoding="utf-8")

    def fail() -> None:
        with atomic(path) as file:
            file.write(b"new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_manual_waits_for_a_person(tmp_path: Path) -> None:
    provider = Manual.from_settings(ProviderSettings("acme.manual", {}, tmp_path))
    assert isinstance(provider, Provider)
    assert provider.pay(BATCH, [request(1)]) == Status.PENDING
    assert [o.status for o in provider.ask(BATCH, [request(1)])] == [Status.UNKNOWN]
