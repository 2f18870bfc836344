"""Payout methods, debts and adjustments on the command line."""

from __future__ import annotations

import csv
from datetime import date
from pathlib import Path

import pytest
from sqlalchemy import text

from distrib import clock
from distrib.brands.tables import Brand
from distrib.config import Settings
from distrib.db import Database
from tests import factories
from tests.cli.conftest import Cli
from tests.factories import NOON, days
from tests.races.world import findings

NOW = NOON + days(60)
IBAN = "account_no=DE89370400440532013000"


def latest_code(db: Database, brand: Brand) -> str:
    with db.transaction() as session:
        return str(
            session.scalar(
                text(
                    "SELECT data ->> 'code' FROM notification WHERE brand_id = :b"
                    " AND kind = 'payout_method_code' ORDER BY id DESC LIMIT 1"
                ),
                {"b": brand.id},
            )
        )


def test_payout_methods(cli: Cli, db: Database, brand: Brand, slug: str) -> None:
    of = ("--brand", slug)
    assert "has no payout method" in cli.well("method", "list", "ann", *of)
    said = cli.well("method", "propose", "ann", "bank", IBAN, "--by", "bo", *of)
    code = latest_code(db, brand)
    assert "ann was sent a code" in said
    assert code not in said
    (told,) = cli.document("method", "list", "ann", *of)
    assert (told["state"], told["details"]) == ("proposed", {"account_no": "****3000"})
    name = told["id"]
    failed = cli("method", "prove", "ann", name, "--code", str(int(code) + 1).zfill(6)[-6:], *of)
    assert (failed.code, "is not the code" in failed.err) == (2, True)
    failed = cli("method", "prove", "ann", name, "--evidence", "form", "--by", "BO ", *of)
    assert (failed.code, "somebody else proves it" in failed.err) == (1, True)
    proved = cli.document("method", "prove", "ann", name, "--code", code, *of)
    assert proved["state"] == "usable"
    assert "****3000" in cli.well("method", "list", "ann", *of)
    cli.well("method", "propose", "ann", "paypal", "receiver=a@b.cd", "--by", "bo", *of)
    (second, _) = cli.document("method", "list", "ann", *of)
    said = cli.well("method", "prove", "ann", second["id"], "--evidence", "x", "--by", "cy", *of)
    assert "is paid there from" in said
    assert "is out of use" in cli.well("method", "remove", "ann", second["id"], *of)


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        (("propose", "ann", "bank", "account_no"), "is not NAME=VALUE"),
        (("propose", "ann", "bank", "a=1", "a=2"), "is not NAME=VALUE, each name once"),
        (("propose", "ann", "bank", "account_no=12"), "details.bank_code: an account that is no"),
        (("propose", "ann", "cash", "a=1"), "is not one of"),
        (("propose", "nobody", "bank", IBAN), "nobody"),
        (("prove", "ann", "pm_000000000001"), "give the code, or the evidence"),
        (("prove", "ann", "pm_000000000001", "--code", "1"), "no payout method pm_000000000001"),
        (("remove", "ann", "x"), "is not an id"),
    ],
)
def test_methods_that_cannot_be(
    cli: Cli, slug: str, arguments: tuple[str, ...], complaint: str
) -> None:
    said = cli("method", *arguments, "--brand", slug)
    assert said.code == 2
    assert complaint in said.err


@pytest.fixture
def owed(db: Database, settings: Settings, brand: Brand, slug: str) -> str:
    """Ann owes 10.00, Bo 5.00 and Cy 2.00, after a refund."""
    factories.ids_of(factories.take(db, brand, factories.order("o-1", 10_000)))
    factories.settle(db, settings, brand, date(2026, 3, 16), NOON + days(15))
    back = factories.refund("r-1", "o-1", refunded_at=NOW - days(20))
    factories.ids_of(factories.give_back(db, brand, back))
    return slug


def test_debts(cli: Cli, owed: str, tmp_path: Path) -> None:
    of = ("--brand", owed)
    with clock.travel(NOW):
        said = cli.well("debts", "list", *of)
        assert "Debts as of 2026-04-30" in said
        assert "10.00" in said
        assert "3 debtors" in said
        told = cli.document("debts", "list", "--limit", 1, *of)
        assert (told["debtors"], told["amount"], len(told["debts"])) == (3, 1_700, 1)
        assert "Nobody is in debt" in cli.well("debts", "list", "--as-of", "2026-04-09", *of)
        cli.well("debts", "list", "--csv", tmp_path / "debts.csv", *of)
        assert cli("debts", "list", "--csv", tmp_path / "no" / "x.csv", *of).code == 2
    written = (tmp_path / "debts.csv").read_text(encoding="utf-8-sig")
    rows = list(csv.reader(written.splitlines()))
    assert [row[0] for row in rows] == ["distributor", "ann", "bo", "cy"]


def test_a_write_off(cli: Cli, db: Database, brand: Brand, owed: str) -> None:
    of = ("--brand", owed)
    with clock.travel(NOW):
        assert "There is no adjustment" in cli.well("debts", "adjustments", "list", *of)
        said = cli.well("debts", "write-off", "ann", "--reason", "left", "--by", "bo", *of)
        assert "asks for 10.00 CNY for ann" in said
        (asked,) = cli.document("debts", "adjustments", "list", *of)
        approve = ("debts", "adjustments", "approve", asked["id"])
        failed = cli(*approve, "--by", "Bo", *of)
        assert (failed.code, "somebody else approves it" in failed.err) == (1, True)
        assert "approved" in cli.well(*approve, "--by", "cy", *of)
        assert cli(*approve, "--by", "cy", *of).code == 1
        assert cli.document("debts", "list", *of)["debtors"] == 2
        some = ("debts", "write-off", "bo", "--reason", "x", "--amount")
        assert cli(*some, "5.01", *of).code == 1
        assert cli(*some, "x", *of).code == 2
        made = cli.document(*some, "1.25", *of)
        assert (made["amount"], made["distributor"]) == (125, "bo")
        rejected = cli.document("debts", "adjustments", "reject", made["id"], "--by", "cy", *of)
        assert rejected["state"] == "rejected"
        about = ("--amount", "3", "--reason", "the bank's statement")
        made = cli.document("debts", "adjustments", "request", "cy", "overpaid", *about, *of)
        assert made["amount"] == -300
        listed = cli.well("debts", "adjustments", "list", "--state", "requested", *of)
        assert made["id"] in listed
        assert asked["id"] not in listed
        assert cli("debts", "adjustments", "approve", "x", *of).code == 2
        assert "adjustment" in cli.well("statement", "ann", *of)
    assert findings(db, brand) == []
