"""Plans, drafts and jurisdictions on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from distrib import clock
from distrib.brands.tables import Brand
from distrib.db import Database
from tests import factories
from tests.cli.conftest import Cli
from tests.factories import document


@pytest.fixture
def of(brand: Brand) -> tuple[str, str]:
    return ("--brand", brand.slug)


def write(folder: Path, plan: dict[str, Any]) -> Path:
    file = folder / "plan.json"
    file.write_text(json.dumps(plan))
    return file


def test_a_draft(cli: Cli, of: tuple[str, str], tmp_path: Path) -> None:
    assert "There is no draft" in cli.well("plan", "draft", "list", *of)
    file = write(tmp_path, document("10%"))
    assert "Draft 1 is saved by ann" in cli.well("plan", "draft", "new", file, "--by", "ann", *of)
    said = cli("plan", "draft", "approve", 1, "--by", "ann", *of)
    assert (said.code, said.err.strip()) == (
        1,
        "distrib: approved_by: ann has written in plan draft 1",
    )
    assert cli("plan", "draft", "publish", 1, *of).code == 1
    write(tmp_path, document("11%"))
    assert "it is draft" in cli.well("plan", "draft", "edit", 1, file, "--by", "ann", *of)
    shown = cli.document("plan", "draft", "show", 1, *of)
    assert "rule 'default' added: everything else pays 11%" in shown["changes"]
    assert "新增规则“default”" in cli.well("plan", "draft", "show", 1, "--language", "zh", *of)
    for wrong, code in (("xy", 2), ("00", 1)):
        assert cli("plan", "draft", "approve", 1, "--hash", wrong, "--by", "bo", *of).code == code
    seen = shown["content_hash"]
    cli.well("plan", "draft", "approve", 1, "--hash", seen, "--by", "bo", *of)
    assert "approved" in cli.well("plan", "draft", "list", *of)
    told = cli.well("plan", "draft", "publish", 1, "--by", "cy", *of)
    assert told.startswith("Draft 1 is published. Version 1 is in force from")
    assert cli.document("plan", "draft", "list", *of)[0]["state"] == "published"
    cli.well("plan", "draft", "new", file, *of)
    assert "is discarded" in cli.well("plan", "draft", "discard", 2, *of)
    assert cli("plan", "draft", "show", 3, *of).code == 2


def test_comparing_versions(cli: Cli, of: tuple[str, str], tmp_path: Path) -> None:
    for plan in (document("10%"), document("10%", tea=["4%"]), document("10.0%", tea=["4%"])):
        cli.well("plan", "publish", write(tmp_path, plan), *of)
    assert cli.well("plan", "diff", 1, 2, *of).strip() == "rule 'tea' added: category tea pays 4%"
    assert cli.document("plan", "diff", 2, 1, "--language", "zh", *of) == {
        "changes": ["删除规则“tea”：类目 tea，佣金 4%"]
    }
    assert "Nothing changes" in cli.well("plan", "diff", 2, 3, *of)
    assert cli("plan", "diff", 1, 4, *of).code == 2


def test_where_versions_stand(
    cli: Cli, db: Database, brand: Brand, of: tuple[str, str], tmp_path: Path
) -> None:
    factories.plan(db, brand)
    cli.well("plan", "publish", write(tmp_path, document("1%")), *of)
    later = (clock.now() + factories.days(9)).isoformat()
    file = write(tmp_path, document("2%"))
    cli.well("plan", "publish", file, "--effective-from", later, *of)
    states = [each["state"] for each in cli.document("plan", "list", *of)]
    assert states == ["scheduled", "in_force", "superseded"]
    assert "in force" in cli.well("plan", "show", 2, *of)
    far = (clock.now() + factories.days(401)).isoformat()
    said = cli("plan", "publish", file, "--effective-from", far, *of)
    assert (said.code, said.err.startswith("distrib: effective_from: lies more than 400")) == (
        2,
        True,
    )


def test_rates_are_drawn_as_they_are_meant(cli: Cli) -> None:
    amounts = {
        "rules": [
            {"rates": [{"per_unit": "3"}, {"per_order": "1"}]},
            {
                "match": {"sku": ["A"]},
                "rates": [{"tiers": [{"rate": "10%"}, {"above": "5000", "rate": "12%"}]}],
            },
        ]
    }
    drawn = cli.well("plan", "validate", "-", stdin=json.dumps(amounts))
    assert "3.00 a unit" in drawn
    assert "1.00 an order" in drawn
    assert "10% / 12% above 5,000.00" in drawn
    ranks = {
        "ranks": ["silver", "gold"],
        "rules": [{"rates": ["1%"], "match": {"sku": ["A"]}},
                  {"difference": {"silver": "10%", "gold": "12%"}}],
    }  # fmt: skip
    drawn = cli.well("plan", "validate", "-", "--currency", "JPY", stdin=json.dumps(ranks))
    assert "ranks: silver 10%, gold 12%" in drawn


def test_levels_in_china(cli: Cli, brand: Brand, tmp_path: Path) -> None:
    slug = f"{brand.slug}-cn"
    made = cli.document("brand", "create", slug, "--name", "云岭茶妆")
    assert (made["jurisdiction"], made["levels"]) == ("CN", 1)
    said = cli("brand", "create", f"{slug}2", "--name", "x", "--levels", 3)
    assert (said.code, said.err.startswith("distrib: levels: a brand in China (CN)")) == (2, True)
    of = ("--brand", slug)
    assert cli("brand", "set-levels", 3, *of).code == 2
    told = cli.well("brand", "acknowledge", "levels", "--text", "v1", "--by", "法务", *of)
    assert told.strip() == "法务 answers for levels, by the text v1."
    assert "has 3 levels" in cli.well("brand", "set-levels", 3, *of)
    cli.well("plan", "publish", write(tmp_path, document()), *of)
    assert "wechat at most 1" in cli.well("plan", "show", *of)
    said = cli("brand", "set-jurisdiction", "SG", *of)
    assert (said.code, "has published a plan" in said.err) == (1, True)
    assert "answers for levels" in cli.well("brand", "show", slug)
    shown = cli.document("brand", "show", slug)["acknowledgements"]
    assert [(each["subject"], each["acknowledged_by"]) for each in shown] == [("levels", "法务")]


def test_settings_of_a_brand(cli: Cli, of: tuple[str, str], tmp_path: Path) -> None:
    assert "law of DE" in cli.well("brand", "set-jurisdiction", "DE", *of)
    assert "needs a second person" in cli.well("brand", "second-person", "on", *of)
    file = write(tmp_path, document())
    said = cli("plan", "publish", file, *of)
    assert (said.code, "second person has approved" in said.err) == (1, True)
    assert "does not need" in cli.well("brand", "second-person", "off", *of)
    cli.well("plan", "publish", file, *of)
