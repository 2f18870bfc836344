"""Reconciling and closing from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from distrib import clock
from distrib.brands.tables import Brand
from distrib.config import Settings
from distrib.db import Database
from tests.cli.conftest import Cli
from tests.factories import NOON, days, ids_of, order, take
from tests.settlement.books import MATURED, PAID_ON, Paid, csv, decide, pay_many

NEXT = "2026-03-17"
MAPPING = """\
date_formats = "%d/%m/%Y"
[columns]
reference = "Ref"
amount = "Out"
date = "Day"
"""


@pytest.fixture
def paid(db: Database, settings: Settings, brand: Brand) -> list[Paid]:
    """Two payouts that are paid, and a third on its way."""
    batch, paid = pay_many(db, settings, brand, ["a", "b", "c"])
    for each in paid[:2]:
        decide(db, batch, each.no)
    return paid


def test_reconciling(cli: Cli, brand: Brand, paid: list[Paid], tmp_path: Path) -> None:
    of = ("--brand", brand.slug)
    a, b, c = paid
    file, rejects = tmp_path / "march.csv", tmp_path / "rejects.csv"
    rows = (
        *((a.request_no, a.net, NEXT), (b.request_no, b.net + 9, NEXT)),
        *((c.request_no, c.net, NEXT), ("=fee", 300, NEXT), ("=bad", 0, NEXT)),
    )
    file.write_bytes(csv(*rows))
    told = ("reconcile", "import", file, "--provider", "manual", *of)
    assert "Nothing differs" in cli.well("reconcile", "cases", *of)
    with clock.travel(MATURED + days(9)):
        said = cli(*told, "--rejects", rejects, "--json")
        assert said.code == 1
        document = said.document
        assert (document["read"], document["accepted"], document["matched"]) == (5, 4, 1)
        assert document["found"] == {"amount_differs": 1, "extra": 2}
        assert "amount: is zero" in said.err
        assert "'=bad" in rejects.read_text()
        assert "nothing is new" in cli(*told).out
    drawn = cli.well("reconcile", "cases", *of)
    assert "amount differs" in drawn
    assert "newest 1" in cli("reconcile", "cases", "--limit", 1, *of).err
    cases = cli.document("reconcile", "cases", "--state", "all", *of)
    assert len(cases) == 3
    ends = {"amount_differs": "adjust", c.request_no: "confirm", None: "differ"}
    for case in cases:
        shown = cli.well("reconcile", "show", case["id"], *of)
        assert "can be resolved by" in shown
        assert case["kind"].replace("_", " ") in shown
        end = ends.get(case["kind"]) or ends[case["request_no"]]
        resolve = ("reconcile", "resolve", case["id"], end, "--note", "seen", "--by", "fay", *of)
        with clock.travel(MATURED + days(10)):
            assert f"is resolved: {end}" in cli.well(*resolve)
            assert cli(*resolve).code == 1
        found = cli.document("reconcile", "show", case["id"], *of)
        assert (found["state"], found["resolved_by"], found["ways"]) == ("resolved", "fay", [])
        assert "fay: " in cli.well("reconcile", "show", case["id"], *of)
    days_ = ("--from", str(PAID_ON), "--to", "2026-03-31")
    summary = cli.well("reconcile", "summary", *days_, *of)
    assert "ledger: paid" in summary
    (found,) = cli.document("reconcile", "summary", *days_, *of)
    assert (found["lines"], found["open"]) == (4, {})
    assert "Clearing is zero" in cli.well("reconcile", "clearing", *of)
    cli.well("audit", *of)


def test_a_mapping_and_what_is_wrong(
    cli: Cli, brand: Brand, paid: list[Paid], tmp_path: Path
) -> None:
    of = ("--brand", brand.slug)
    mapping, rejects = tmp_path / "bank.toml", tmp_path / "rejects.csv"
    mapping.write_text(MAPPING)
    content = f"Ref,Out,Day\n{paid[0].request_no},10.00,17/03/2026\n"
    how = ("--provider", "manual", "--mapping", mapping, "--rejects", rejects, *of)
    assert "matched" in cli.well("reconcile", "import", "-", *how, stdin=content)
    assert not rejects.exists(), "nothing was rejected"
    mapping.write_text(MAPPING + "x = 1")
    assert "columns.x" in cli("reconcile", "import", "-", *how, stdin=content).err
    for wrong in (
        ("reconcile", "import", "-", "--provider", "pigeon", *of),
        ("reconcile", "show", "cas_x", *of),
        ("reconcile", "show", "cas_000000000001", *of),
        ("reconcile", "resolve", "cas_000000000001", "note", "--note", "x", *of),
        ("reconcile", "summary", "--from", "2026-03-02", "--to", "2026-03-01", *of),
    ):
        assert cli(*wrong, stdin="reference,amount,date\n").code == 2, wrong
    assert (
        "Nothing was paid"
        in cli("reconcile", "summary", "--from", "2020-01-01", "--to", "2020-01-02", *of).err
    )
    drawn = cli.well("reconcile", "clearing", *of)
    assert "all of it explained" in drawn
    assert "manual" in drawn


def test_closing(cli: Cli, db: Database, slug: str, brand: Brand) -> None:
    of = ("--brand", slug)
    assert "No day is closed yet" in cli.well("close", "list", *of)
    assert cli("close", "prepare", *of).code == 1
    for n in (0, 2):
        ids_of(take(db, brand, order(f"o-{n}", 10_000, placed_at=NOON + days(n))))
    with clock.travel(NOON + days(9)):
        shown = cli.well("close", "prepare", *of)
        assert "Not signed." in shown
        found = cli.document("close", "prepare", *of)
        assert (found["day"], found["transfers"]) == ("2026-03-01", 3)
        digest = found["digest"]
        assert cli("close", "sign", "--digest", "xyz", *of).code == 2
        assert cli("close", "sign", "--digest", "0" * 16, *of).code == 1
        signed = cli.well("close", "sign", "--digest", digest[:16], "--by", "Fay", *of)
        assert "Signed by Fay" in signed
        assert cli("close", "sign", "2026-03-01", *of).code == 1
        assert cli.document("close", "sign", "2026-03-03", *of)["transfers"] == 3
    assert [each["day"] for each in cli.document("close", "list", *of)] == [
        "2026-03-03", "2026-03-02", "2026-03-01",
    ]  # fmt: skip
    assert "Fay" in cli.well("close", "list", *of)
    assert cli.document("close", "show", "2026-03-01", *of)["digest"] == digest
    assert "Opening" in cli.well("close", "show", "2026-03-01", *of)
    assert cli.well("close", "show", "2026-03-01", "--csv", *of).startswith("part,name,asset")
    assert cli("close", "show", "2026-03-09", *of).code == 2
