"""Settlement on the command line, by two people: what is done and what is refused."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from pypdf import PdfReader
from sqlalchemy import text

from distrib import clock, jobs
from distrib.brands.tables import Brand
from distrib.db import Database
from distrib.settlement.audit import audit_brand
from tests import factories
from tests.cli.conftest import Cli, Said
from tests.factories import order

MINUTES_5 = factories.days(5 / 1440)


class Do:
    """Calls ``distrib settle`` of a brand."""

    def __init__(self, cli: Cli, slug: str) -> None:
        self.cli = cli
        self.of = ("--brand", slug)

    def _call(self, *arguments: object, by: str) -> Said:
        return self.cli("settle", *arguments, *self.of, *(("--by", by) if by else ()))

    def __call__(self, *arguments: object, by: str = "") -> str:
        """Be done well; what is printed."""
        said = self._call(*arguments, by=by)
        assert said.code == 0, said
        return said.out

    def refused(self, *arguments: object, by: str = "", code: int = 1) -> str:
        """Be refused, in one line; the line."""
        said = self._call(*arguments, by=by)
        assert said.code == code, said
        assert said.out == ""
        assert len(said.err.splitlines()) == 1, said.err
        return said.err.removeprefix("distrib: ").strip()


@pytest.fixture
def do(cli: Cli, ripe: str) -> Do:
    """Finance."""
    return Do(cli, ripe)


def approved(do: Do, *options: object) -> None:
    """Draw up, submit and approve batch 1."""
    do("draw-up", *options, by="fay")
    do("submit", 1, by="fay")
    do("approve", 1, by="joe")


def show(do: Do, number: int = 1) -> Any:
    return do.cli.document("settle", "show", number, *do.of)


def test_a_batch_is_driven_by_two_people(
    cli: Cli, do: Do, db: Database, brand: Brand, tmp_path: Path
) -> None:
    assert "no batch yet" in do("list")
    seen = do("preview")
    assert "3 payouts of 17.00 CNY" in seen
    drawn = do("draw-up", by="fay")
    assert "by fay" in drawn
    assert "Next: distrib settle show 1; distrib settle submit 1" in drawn
    said = do.refused("run", 1)
    assert said == "state: batch 1 is draft; this needs it to be approved"
    submitted = do("submit", 1, by="fay")
    assert "Batch 1 is submitted: 3 payouts of 17.00 CNY." in submitted
    assert "Next: another person approves it" in submitted
    assert "1 approval to come" in do("show", 1)
    assert do.refused("approve", 1, by="Fay ") == (
        "approved_by: Fay  has made batch 1; somebody else approves it"
    )
    batch = show(do)
    assert do.refused("approve", 1, "--hash", "00", by="joe") == (
        "content_hash: batch 1 is not what was reviewed"
    )
    assert do.refused("approve", 1, "--hash", "xy", code=2) == "--hash: 'xy' is not hexadecimal"
    assert "Next: distrib settle run 1 --wait" in do(
        "approve", 1, "--hash", batch["content_hash"], by="joe"
    )
    said_ = do("run", 1, "--wait", by="fay")
    assert "Batch 1 is settled: 3 payouts of 17.00 CNY." in said_
    file = Path(said_.rpartition("Payment file: ")[2].strip())
    assert do("file", 1).strip() == str(file)
    do("file", 1, "--out", tmp_path / "copy.csv")
    assert (tmp_path / "copy.csv").read_bytes() == file.read_bytes()
    assert cli.document("settle", "run", 1, "--wait", *do.of)["state"] == "settled"

    shown = show(do)
    assert (shown["paid"], shown["paid_total"]) == (3, 1700)
    assert shown["states"] == {"paid": {"payouts": 3, "total": 1700}}
    assert [each["approved_by"] for each in shown["approvals"]] == ["joe"]
    assert [each["amount"] for each in shown["largest_payouts"]] == [1000, 500, 200]
    assert "1 largest of 3" in cli("settle", "show", 1, "--limit", 1, *do.of).err
    assert "is closed" in do("close", 1, by="joe")
    told = cli.document("settle", "events", 1, *do.of)
    assert [(each["kind"], each["actor"]) for each in told] == [
        ("drawn_up", "fay"), ("submitted", "fay"), ("approved", "joe"), ("run", "fay"),
        ("closed", "joe"),
    ]  # fmt: skip
    assert "drawn up" in do("events", 1)
    assert [each["state"] for each in cli.document("settle", "list", *do.of)] == ["closed"]
    statement = cli.document("statement", "ann", *do.of)
    assert statement["balances"] == {
        "pending": 0, "available": 0, "reserved": 0, "paid": 1000, "withheld": 0, "reversed": 3333,
    }  # fmt: skip
    drawn = cli.well("statement", "ann", *do.of)
    assert "10.00 CNY" in drawn
    assert "O2 (refund)" in drawn
    assert cli.document("statement", "ann", "--to", "2026-02-01", *do.of)["days"] == []
    with db.snapshot() as session:
        assert list(audit_brand(session, brand_id=brand.id)) == []


def test_much_money_needs_two_approvals(cli: Cli, do: Do, ripe: str) -> None:
    assert "never needed" in cli.well("brand", "show", ripe)
    said = cli.well("brand", "second-approval", "16.99", *do.of)
    assert "two approvals are needed for a batch above 16.99 CNY" in said
    do("draw-up", by="fay")
    assert "two other people approve it" in do("submit", 1, by="fay")
    assert "Batch 1 has joe's approval; it needs another" in do("approve", 1, by="joe")
    assert "1 approval to come" in do("show", 1)
    assert do.refused("approve", 1, by="JOE") == (
        "approved_by: JOE has approved batch 1 already; it needs another person"
    )
    assert do.refused("run", 1) == "state: batch 1 is submitted; this needs it to be approved"
    assert "is approved" in do("approve", 1, by="kim")
    assert cli.document("brand", "second-approval", "off", *do.of)["second_approval_above"] is None
    assert cli.document("brand", "method-cooling", 7, *do.of)["method_cool_days"] == 7
    assert cli("brand", "second-approval", "x", *do.of).code == 2


def test_a_change_voids_an_approval(cli: Cli, do: Do) -> None:
    approved(do)
    why = ("--reason", "to be looked at")
    assert "The batch is a draft." in do("remove", 1, 2, *why, by="joe")
    assert do.refused("run", 1) == "state: batch 1 is draft; this needs it to be approved"
    assert do.refused("remove", 1, 2, *why, code=2) == "no: batch 1 has no payout 2"
    do("submit", 1, by="fay")
    assert "approvals are void" in do("reject", 1, *why, by="joe")
    assert do.refused("reject", 1, *why) == (
        "state: batch 1 is draft; this needs it to be submitted or approved"
    )
    assert "is cancelled" in do("cancel", 1, "--reason", "begin again", by="fay")
    assert do.refused("submit", 1) == "state: batch 1 is cancelled; this needs it to be draft"
    assert do.refused("draw-up", "--minimum", "999.00") == (
        f"up to {cli.document('settle', 'list', *do.of)[0]['cutoff']}: 3 distributors (17.00 CNY):"
        " below the minimum payout; carried forward"
    )
    assert cli.document("settle", "draw-up", *do.of)["payouts"] == 3


def test_a_batch_of_some(cli: Cli, do: Do, tmp_path: Path) -> None:
    people = tmp_path / "people.txt"
    people.write_text("bo\n\ncy\n")
    assert do.refused("draw-up", "--only", "nobody", code=2) == (
        "filters.only: there is no distributor 'nobody'"
    )
    assert do.refused("draw-up", "--only", "@/nowhere", code=2).startswith("--only: /nowhere: ")
    assert do.refused("draw-up", "--only", " , ", code=2) == "--only: names nobody"
    assert do.refused("draw-up", "--minimum", "0.10", code=2) == (
        "filters.minimum: at least the brand's 1.00"
    )
    assert do.refused("draw-up", "--provider", "pigeon", code=2) == (
        "provider: there is no provider 'pigeon'; known are bank-file, manual"
    )
    limits = ("--only", f"@{people}", "--only", "ann", "--without", "cy", "--minimum", "5")
    seen = cli.document("settle", "preview", *limits, *do.of)
    assert (seen["payouts"], seen["total"]) == (2, 1500)
    assert seen["left_out"] == {"not_chosen": {"distributors": 1, "amount": 200}}
    assert [(x["distributor"], x["reason"]) for x in seen["lines"]] == [
        ("ann", None), ("bo", None), ("cy", "not_chosen"),
    ]  # fmt: skip
    assert "left out by the batch's filters" in do("preview", *limits)
    made = cli.document("settle", "draw-up", *limits, *do.of)
    assert (made["payouts"], made["total"]) == (seen["payouts"], seen["total"])
    assert "only bo, cy, ann; without cy; at least 5.00 CNY" in do("show", 1)
    assert [x["distributor"] for x in cli.document("settle", "payouts", 1, *do.of)] == ["bo", "ann"]


def test_payouts_by_hand(cli: Cli, do: Do, db: Database, brand: Brand, tmp_path: Path) -> None:
    approved(do, "--provider", "manual")
    numbers = {x["distributor"]: x["no"] for x in cli.document("settle", "payouts", 1, *do.of)}
    ann, bo, cy = (numbers[name] for name in ("ann", "bo", "cy"))
    why, proof = ("--reason", "as she asked"), ("--evidence", "receipt 7", "--reference", "TX-7")
    assert "held" in do("hold", 1, cy, *why, by="joe")
    handed_over = do("run", 1, "--wait")
    assert "Batch 1 is handed over: 1 held, 2 sent." in handed_over
    assert "distrib settle confirm 1 PAYOUT" in handed_over
    assert do.refused("hold", 1, ann, *why) == (
        f"state: payout {ann} of batch 1 is sent; this needs it to be reserved"
    )
    assert do.refused("void", 1, ann, *why) == (
        f"state: payout {ann} of batch 1 is sent; this needs it to be held or failed or returned"
        " or reserved"
    )
    assert (
        do.refused("confirm", 1, ann, "--evidence", " ", code=2) == "evidence: say what proves it"
    )
    assert f"Payout {ann} of batch 1, 10.00 CNY for ann: paid." in do("confirm", 1, ann, *proof)
    assert "distrib settle reissue" in do("refuse", 1, bo, "--evidence", "no such account")
    assert do.refused("reissue", 1, bo, *why).startswith("no: attempt 1 ended at")
    assert do.refused("close", 1).startswith("state: batch 1 is ")
    with clock.travel(clock.now() + MINUTES_5):
        assert "under a new request number" in do("reissue", 1, bo, *why, by="joe")
        do("release", 1, cy, *why)
        jobs.run_all(db, cli.settings)
        do("confirm", 1, bo, *proof)
        do("confirm", 1, cy, *proof)
    with clock.travel(clock.now() + 2 * MINUTES_5):
        assert "Batch 1 is settled" in do("run", 1, "--wait")
        tried = cli.document("settle", "payout", 1, bo, *do.of)
        assert [each["state"] for each in tried["tries"]] == ["failed", "paid"]
        drawn = do("payout", 1, bo)
        for part in ("receipt 7", "TX-7", "reissued", "as she asked", "joe"):
            assert part in drawn
        assert "undone in the ledger" in do("return", 1, bo, *why)
        assert do.refused("close", 1) == ("state: 1 payouts of batch 1 are neither paid nor voided")
        assert "open for the next batch" in do("void", 1, bo, *why)
        assert "is closed" in do("close", 1)
        assert cli.document("settle", "draw-up", *do.of)["total"] == 500
    assert [
        x["state"] for x in cli.document("settle", "payouts", 1, "--state", "voided", *do.of)
    ] == ["voided"]
    assert "no such payout" in do("payouts", 1, "--state", "failed")
    with db.snapshot() as session:
        assert list(audit_brand(session, brand_id=brand.id)) == []


def test_a_status_file_and_a_statement(cli: Cli, do: Do, tmp_path: Path) -> None:
    approved(do, "--provider", "manual")
    do("run", 1, "--wait")
    (first, *_) = cli.document("settle", "payout", 1, 1, *do.of)["tries"]
    number = first["request_no"]
    file = tmp_path / "status.csv"
    file.write_text(f"request_no,status,reference\n{number},paid,TX\nx,paid,\n{number}1,?,\n")
    said = cli("settle", "import-status", 1, file, *do.of, "--by", "joe")
    assert said.code == 1
    assert "payouts moved      1" in said.out
    assert "not of this batch: x" in said.err
    assert "row 4: status is none of paid" in said.err
    file.write_text(f"request_no,status\n{number},paid\n")
    again = cli.document("settle", "import-status", 1, file, *do.of)
    assert again == {"moved": 0, "known": 1, "unknown": [], "refused": []}
    file.write_text("nothing")
    assert do.refused("import-status", 1, file).startswith("header: the first row must name")

    pdf = tmp_path / "statement.pdf"
    assert do("statement-pdf", 1, 1, "--out", pdf, "--language", "zh").strip() == str(pdf)
    words = PdfReader(pdf).pages[0].extract_text()
    assert "佣金付款单" in words
    assert "TX" in words
    assert do.refused("statement-pdf", 1, 9, code=2) == "no: batch 1 has no payout 9"
    assert do.refused("file", 1, code=2) == "--no: batch 1 has 0 payment files"


def test_running_without_waiting(cli: Cli, db: Database, do: Do) -> None:
    approved(do)
    assert "is being paid" in do("run", 1)
    assert "is paused" in do("pause", 1, "--reason", "the bank is closed")
    assert jobs.run_all(db, cli.settings) > 0
    assert show(do)["states"] == {"reserved": {"payouts": 3, "total": 1700}}
    assert "Batch 1 is paused" in do("show", 1) or "paused" in do("show", 1)
    assert "is being paid" in do("resume", 1)
    assert jobs.run_all(db, cli.settings) > 0
    assert show(do)["state"] == "settled"


def test_a_batch_that_cannot_be_paid(cli: Cli, db: Database, do: Do, ripe: str) -> None:
    approved(do)
    do("run", 1)
    assert do.refused("retry", 1) == "no job of batch 1 has failed; it is being paid"
    with db.transaction() as session:
        session.execute(
            text(
                "UPDATE job SET state = 'failed', error = 'FileDiffers: no' WHERE brand_id ="
                " (SELECT id FROM brand WHERE slug = :slug)"
            ),
            {"slug": ripe},
        )
    assert do.refused("run", 1, "--wait") == (
        "batch 1: FileDiffers: no (once the cause is gone: distrib settle retry 1)"
    )
    assert "is settled" in do("retry", 1, "--wait")
    assert show(do)["state"] == "settled"


def test_tax(cli: Cli, do: Do, db: Database, brand: Brand, tmp_path: Path) -> None:
    factories.take(db, brand, order("O3", 2_000_000))
    year = clock.now().year
    assert "Nothing is withheld" in cli.well("tax", "list", *do.of)
    assert "withholds by cn_labour" in cli.well("tax", "set", "cn_labour", "--by", "fay", *do.of)
    assert cli.document("tax", "list", *do.of)[0]["set_by"] == "fay"
    assert cli("tax", "set", "flat", *do.of).code == 2
    assert cli("tax", "profile", "ann", *do.of).code == 2
    number = "110101199003078515"
    told = cli.well("tax", "profile", "ann", "--name", "林若曦", "--tax-id", number, *do.of)
    assert "****8515" in told
    assert number not in told
    assert cli.document("tax", "profile", "ann", *do.of)["tax_id"] == "****8515"
    assert cli("tax", "profile", "ann", "--tax-id", "1", *do.of).code == 2
    approved(do)
    assert "Nothing of" in cli.well("tax", "report", *do.of)
    settled = do("run", 1, "--wait")
    assert "of it withheld" in settled
    shown = do("show", 1)
    assert f"by cn_labour, for {clock.now():%Y-%m}" in shown
    (of_ann,) = cli.document("settle", "payouts", 1, "--distributor", "ann", *do.of)
    assert (of_ann["tax"], of_ann["net"]) == (24_200, 176_800)
    assert "减除" in do("payout", 1, of_ann["no"], "--language", "zh")
    assert "tax withheld" in cli.well("statement", "ann", *do.of)
    drawn = cli.well("tax", "report", *do.of)
    assert "****8515" in drawn
    assert number not in drawn
    rows = cli.document("tax", "report", "--by-period", "year", *do.of)["rows"]
    assert next((row["payee"], row["year"], row["tax"]) for row in rows) == ("ann", year, 24_200)
    sheet = tmp_path / "tax.csv"
    cli.well("tax", "report", "--out", sheet, "--language", "zh", *do.of)
    assert sheet.stat().st_mode & 0o077 == 0
    table = list(csv.DictReader(io.StringIO(sheet.read_text("utf-8-sig"))))
    assert table[0]["纳税人识别号"] == number
    cli.well("tax", "report", "--out", tmp_path / "tax.xlsx", *do.of)
    assert (tmp_path / "tax.xlsx").read_bytes().startswith(b"PK")
    assert cli("tax", "report", "--out", tmp_path / "tax.doc", *do.of).code == 2
