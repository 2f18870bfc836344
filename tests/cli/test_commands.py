"""The way of an order through the command line: set up, take, settle, explain, audit."""

from __future__ import annotations

import json
from pathlib import Path

import networkx as nx
from rich.cells import cell_len
from sqlalchemy import text

from distrib import clock
from distrib.brands.tables import Brand
from distrib.db import Database
from tests import factories
from tests.cli.conftest import Cli
from tests.factories import NOON, days, order

PLAN = {
    "name": "春季方案",
    "rules": [
        {"name": "default", "rates": ["10%", "5%"]},
        {"name": "books", "match": {"category": ["books"]}, "rates": ["4%"]},
        {"name": "gift card", "match": {"sku": ["GIFT"]}, "rates": ["0%"]},
    ],
}


def test_a_brand_and_its_keys(cli: Cli, slug: str) -> None:
    name = f"{slug}-new"
    made = cli.document(
        "brand", "create", name, "--name", "云岭茶妆", "--minimum-payout", "50", "--hold-days", 7
    )
    assert (made["slug"], made["minimum_payout"], made["hold_days"]) == (name, 5000, 7)
    assert (made["second_approval_above"], made["method_cool_days"]) == (None, 3)
    assert made in cli.document("brand", "list")
    careful = cli.document(
        "brand", "create", f"{slug}-careful", "--name", "x", "--second-approval-above", "500.5",
        "--method-cool-days", 14,
    )  # fmt: skip
    assert (careful["second_approval_above"], careful["method_cool_days"]) == (50_050, 14)
    assert "above 500.50 CNY" in cli.well("brand", "show", f"{slug}-careful")
    assert "云岭茶妆" in cli.well("brand", "show", name)
    assert "50.00" in cli.well("brand", "list")
    key = cli.well("key", "create", "--brand", name).strip()
    assert key.startswith("dk_")
    assert cli.document("key", "create", "--operator")["brand"] is None
    cli.well("key", "revoke", key)
    assert cli("key", "revoke", key).code == 1


def test_a_plan(cli: Cli, brand: Brand, tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(PLAN))
    assert "No plan" in cli.well("plan", "list", "--brand", brand.slug)
    assert cli("plan", "show", "--brand", brand.slug).code == 2
    drawn = cli.well("plan", "validate", file)
    assert "春季方案: valid, 3 rules" in drawn
    assert "category books" in drawn
    assert "everything else" in drawn
    assert cli.document("plan", "publish", file, "--brand", brand.slug)["number"] == 1
    assert "Version 1" in cli.well("plan", "publish", file, "--brand", brand.slug)
    assert [v["number"] for v in cli.document("plan", "list", "--brand", brand.slug)] == [1]
    assert cli.document("plan", "show", 1, "--brand", brand.slug)["document"] == PLAN
    said = cli("plan", "validate", "-", stdin='{"rules": [{"rates": ["110%"]}]}')
    assert (said.code, said.err.strip()) == (
        2,
        "distrib: rules[0].rates[0]: 110% is outside 0% to 100%",
    )
    assert cli("plan", "validate", "-", stdin="{").err.startswith("distrib: file: -: Expecting")


def test_distributors(cli: Cli, brand: Brand, tmp_path: Path) -> None:
    file, rejects = tmp_path / "people.csv", tmp_path / "rejects.csv"
    file.write_text("external_id,name,sponsor\nb,陈子轩,a\na,林若曦,\nx,赵,nobody\n")
    of = ("--brand", brand.slug)
    said = cli("distributors", "import", file, "--rejects", rejects, *of, "--json")
    assert said.code == 1
    assert (said.document["accepted"], said.document["rejected"]) == (2, 1)
    assert "nobody" in rejects.read_text("utf-8-sig")
    text_ = cli.well(
        "distributors", "import", "-", *of, stdin="external_id,name,sponsor\na,林若曦,\n"
    )
    assert "unchanged" in text_
    cli.well("distributors", "add", "c", "--name", "王芳", "--sponsor", "b", "--code", "wang", *of)
    members = cli.document("distributors", "upline", "c", *of)
    assert [member["external_id"] for member in members] == ["b", "a"]
    lines = [
        line for line in cli.well("distributors", "list", *of).splitlines() if "active" in line
    ]
    assert len(lines) == 3
    assert len({cell_len(line[: line.index("active")]) for line in lines}) == 1
    assert cli("distributors", "move", "c", *of).code == 2
    cli.well("distributors", "move", "c", "--to", "a", *of)
    assert cli("distributors", "move", "a", "--to", "c", *of).code == 1
    shown = cli.document("distributors", "show", "c", *of)
    assert [period["sponsor"] for period in shown["sponsors"]] == ["b", "a"]
    assert cli.document("distributors", "suspend", "c", *of)["status"] == "suspended"
    assert cli.document("distributors", "list", "--status", "suspended", *of)[0]["name"] == "王芳"
    assert "active again" in cli.well("distributors", "reactivate", "c", *of)
    assert "a is a root" in cli.well("distributors", "move", "a", "--to-root", *of)
    graph = tmp_path / "tree.graphml"
    cli.well("tree", "export", graph, *of)
    assert len(nx.read_graphml(graph)) == 3
    report = cli.document("tree", "report", *of)
    assert (report["distributors"], report["is_forest"], report["depths"]) == (3, True, [1, 2])
    assert "yes" in cli.well("tree", "report", "--below", "a", *of)


ORDERS = """\
order,placed_at,sku,quantity,unit_price,category,discount,distributor,refund_of
O1,2026-03-01T10:00:00+08:00,TEA,2,99.50,,,ann,
O1,2026-03-01T10:00:00+08:00,ZEN,1,45.05,books,5.00,ann,
O2,2026-03-02T10:00:00+08:00,TEA,x,99.50,,,ann,
R1,2026-03-03T10:00:00+08:00,TEA,-1,99.50,,,,O1
"""


def test_importing_and_looking_at_orders(cli: Cli, slug: str, tmp_path: Path) -> None:
    file, rejects = tmp_path / "orders.csv", tmp_path / "rejects.csv"
    file.write_text(ORDERS)
    of = ("--brand", slug)
    said = cli("orders", "import", file, "--rejects", rejects, *of, "--json")
    assert said.code == 1
    assert said.document["rows"] == {"total": 4, "accepted": 3, "duplicate": 0, "rejected": 1}
    assert said.document["refunds"]["accepted"] == 1
    assert "is no whole number" in said.err
    assert str(rejects) in said.err
    again = cli("orders", "import", file, *of)
    assert again.code == 1
    assert "recorded before" in again.out
    file.write_text(ORDERS.replace("TEA,x,99.50", "TEA,1,0.004"))
    finer = cli("orders", "import", file, *of).out  # to the last digit, so that it adds up
    assert "139.554   the files say" in finer
    assert "0.004   rejected" in finer
    shown = cli.document("orders", "show", "O1", *of)
    assert [
        (each["line_no"], each["level"], each["distributor"], each["earned"], each["amount"])
        for each in shown["commissions"]
        if each["line_no"] == 1
    ] == [(1, 1, "ann", 1990, 995), (1, 2, "bo", 995, 498), (1, 3, "cy", 398, 199)]
    drawn = cli.well("orders", "show", shown["id"], *of)
    assert "Order O1 (csv)" in drawn
    assert "R1" in drawn
    words = cli.well("explain", "order", "O1", *of)
    assert "Level 1 gets 10% of 199.00 CNY: 19.90 exactly." in words
    one = cli.document("explain", "commission", "O1", 1, 2, *of)
    assert (one["amount"], one["verified"]) == (995, True)
    refunded = cli.well("explain", "commission", shown["refunds"][0]["id"], 1, 1, *of)
    assert "the difference is -9.95 CNY" in refunded
    assert cli("explain", "order", "nope", *of).code == 2
    assert cli("explain", "order", "ord_?", *of).code == 2
    assert cli("explain", "commission", "ref_?", 1, 1, *of).code == 2


def test_an_order_number_of_two_shops(cli: Cli, db: Database, brand: Brand, slug: str) -> None:
    factories.take(db, brand, order("O1", 100), order("O1", 200, shop="other"))
    said = cli("orders", "show", "O1", "--brand", slug)
    assert (said.code, said.err.strip()) == (
        2,
        "distrib: --shop: several shops have an order 'O1': other, shop",
    )
    assert cli.document("orders", "show", "O1", "--shop", "other", "--brand", slug)["lines"]


def test_the_audit(cli: Cli, db: Database, brand: Brand, ripe: str) -> None:
    assert "nothing wrong" in cli.well("audit", "--brand", ripe)
    clean = cli.document("audit", "--brand", ripe)
    assert clean["count"] == 0
    assert "commissions equal the engine" in clean["checks"]
    with db.transaction() as session:
        session.execute(
            text("UPDATE open_item SET amount = amount + 1 WHERE brand_id = :id"), {"id": brand.id}
        )
    said = cli("audit", "--brand", ripe, "--limit", 1)
    assert said.code == 1
    assert "more are not shown" in said.err
    assert f"distrib: the audit of {ripe} found" in said.err
    found = cli("audit", "--brand", ripe, "--json")
    assert found.code == 1
    assert found.document["count"] == len(found.document["findings"]) > 1
    assert {"check", "detail", "row"} <= found.document["findings"][0].keys()


def test_an_empty_brand(cli: Cli, brand: Brand) -> None:
    of = ("--brand", brand.slug)
    assert cli.document("tree", "report", *of)["distributors"] == 0
    assert cli.document("distributors", "list", *of) == []
    assert cli.document("audit", *of)["count"] == 0
    assert cli("settle", "draw-up", *of).code == 1


def test_times_are_where_the_brand_lives(cli: Cli, db: Database, brand: Brand, slug: str) -> None:
    with clock.travel(NOON + days(1)):
        cli.well("distributors", "add", "dee", "--name", "Dee", "--brand", slug)
    assert "2026-03-02 12:00" in cli.well("distributors", "show", "dee", "--brand", slug)


def test_example_plans_to_begin_with(cli: Cli, tmp_path: Path) -> None:
    listed = cli.document("plan", "examples")
    assert {"three-levels", "ranks", "tiers-by-volume"} <= listed.keys()
    for name in listed:
        file = tmp_path / f"{name}.json"
        file.write_text(cli.well("plan", "examples", name))
        assert "valid" in cli.well("plan", "validate", file)
    said = cli("plan", "examples", "pyramid")
    assert (said.code, "no example 'pyramid'" in said.err) == (2, True)
