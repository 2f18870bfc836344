"""``distrib plan simulate``: what it prints, keeps and writes."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from distrib.brands.tables import Brand
from distrib.db import Database
from tests import factories
from tests.cli.conftest import Cli
from tests.factories import NOON, days, order, refund

MARCH = "2026-03-01..2026-03-31"


@pytest.fixture
def sold(db: Database, brand: Brand, slug: str) -> str:
    """The slug of a brand with some orders."""
    factories.take(
        db,
        brand,
        order("a", 10_000, 2_000, channel="web"),
        order("b", 30_000, channel="shop", placed_at=NOON + days(1)),
    )
    factories.give_back(db, brand, refund("r", "a", (2, 1)), now=NOON + days(2))
    return slug


def test_a_file_is_simulated(cli: Cli, sold: str, tmp_path: Path) -> None:
    plan, chart, table = tmp_path / "p.json", tmp_path / "c.svg", tmp_path / "c.csv"
    plan.write_text(json.dumps(factories.document("12%", "5%") | {"name": "春 & 夏"}))
    of = ("--brand", sold, "--by", "ada")
    said = cli.well(
        "plan", "simulate", plan, "--orders", MARCH, "--chart", chart, "--csv", table, *of
    )
    assert "Simulation 1: 春 & 夏" in said
    assert "68.00 CNY  (17% of sales)" in said
    assert "pays differently" in said
    assert ElementTree.fromstring(chart.read_text("utf-8")).tag.endswith("svg")
    assert "total,,400.00,68.00,68.00,CNY" in table.read_text("utf-8-sig")
    assert table.read_bytes().count(b"\r\r") == 0
    document = cli.document("plan", "simulate", "v1", "--orders", MARCH, "--name", "as is", *of)
    assert (document["number"], document["name"], document["created_by"]) == (2, "as is", "ada")
    assert document["report"]["simulated"] == document["report"]["paid"] == 6_800
    listed = cli.document("plan", "simulations", "--brand", sold)
    assert [each["number"] for each in listed] == [2, 1]
    assert "as is" in cli.well("plan", "simulations", "--brand", sold)
    assert "as is" in cli.well("plan", "simulations", 2, "--chart", chart, "--brand", sold)
    assert "level" in cli.well("plan", "compare", 1, 2, "--brand", sold)
    assert cli.document("plan", "compare", 1, 2, "--brand", sold)[0]["one"] == 6_800


def test_a_draft_is_simulated(cli: Cli, sold: str, tmp_path: Path) -> None:
    plan = tmp_path / "p.json"
    plan.write_text(json.dumps(factories.document("20%")))
    cli.well("plan", "draft", "new", plan, "--brand", sold)
    said = cli.well("plan", "simulate", 1, "--orders", MARCH, "--brand", sold)
    assert "loses most" in said
    assert "No orders" in cli.well(
        "plan", "simulate", 1, "--orders", "2026-01-01..2026-01-02", "--brand", sold
    )


def test_what_is_wrong_is_said(cli: Cli, slug: str, tmp_path: Path) -> None:
    of = ("--brand", slug)
    assert "Nothing was simulated" in cli.well("plan", "simulations", *of)
    for arguments, word in (
        (("simulate", "v1", "--orders", "2026-03-01"), "--orders"),
        (("simulate", "v1", "--orders", "2026-03-02..2026-03-01"), "lies before"),
        (("simulate", "v9", "--orders", MARCH), "no plan version 9"),
        (("simulate", "9", "--orders", MARCH), "draft"),
        (("simulate", tmp_path / "none.json", "--orders", MARCH), "none.json"),
        (("simulate", "v1", "--orders", MARCH, "--name", " "), "--name"),
        (("simulations", "--csv", tmp_path / "x.csv"), "number"),
        (("simulations", 4), "no simulation 4"),
        (("compare", 1, 2), "no simulation 1"),
    ):
        said = cli("plan", *arguments, *of)
        assert said.code == 2, said
        assert word in said.err
