"""The tree through time, and the drawing."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

import numpy as np

from distrib import clock
from distrib.brands.tables import Brand
from distrib.commission.simulation_chart import bars_of, draw_svg
from distrib.commission.simulation_read import read_forest
from distrib.commission.simulation_report import Report, Share
from distrib.commission.simulation_tree import Forest
from distrib.db import Database, cursor
from distrib.referrals.credit import LEVELS, read_uplines
from distrib.tree.service import move_distributor
from tests import factories
from tests.factories import LONG_AGO, NOON, days

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def test_the_forest_is_the_tree_at_every_instant(db: Database, brand: Brand) -> None:
    chance = random.Random(7)
    names = [f"d{n}" for n in range(12)]
    who = factories.enrol(
        db, brand, {name: chance.choice([None, *names[:n]]) for n, name in enumerate(names)}
    )
    for n in range(30):
        with clock.travel(NOON + days(n)), db.transaction() as session:
            low, high = sorted(chance.sample(range(12), 2))
            move_distributor(
                session,
                brand_id=brand.id,
                distributor=names[high],
                sponsor=chance.choice([None, names[low]]),
            )
    asked = [
        (chance.choice([*who.values(), 0, 5]), NOON + days(chance.uniform(-1, 31)))
        for _ in range(300)
    ]
    asked += [(who["d3"], LONG_AGO), (who["d3"], LONG_AGO - timedelta(microseconds=1))]
    with db.snapshot() as session:
        cur = cursor(session)
        forest = read_forest(cur, brand.id)
        truth = read_uplines(
            cur,
            brand_id=brand.id,
            distributors=[each for each, _ in asked],
            at=[at for _, at in asked],
        )
    instants = np.array([(at - EPOCH) // timedelta(microseconds=1) for _, at in asked])
    numbers = forest.number(np.array([each for each, _ in asked], np.int64))
    found = forest.id_of(forest.chains(numbers, instants, LEVELS))
    assert found.tolist() == truth.tolist()
    assert len({tuple(row) for row in found.tolist()}) > 20


def test_a_brand_without_distributors() -> None:
    nothing = np.zeros(0, np.int64)
    forest = Forest(nothing, nothing, nothing)
    numbers = forest.number(np.array([0, 7]))
    assert forest.id_of(forest.chains(numbers, np.array([1, 2]), 3)).tolist() == [[0] * 3] * 2


def report(**changes: object) -> Report:
    """A report with two channels and many categories."""
    fields: dict[str, object] = {
        "currency": "JPY", "first_day": "2026-01-01", "last_day": "2026-01-31", "orders": 3,
        "recorded": 0, "sales": 3_000, "simulated": 300, "paid": 150,
        "levels": [(200, 100), (100, 50), (0, 0)],
        "categories": [Share(f"<{n}>" * 20, 100, 20 - n, 10) for n in range(12)],
        "channels": [Share(None, 2_000, 200, 100), Share("web", 1_000, 100, 50, 4)],
        "gaining": 1, "losing": 0, "gain_most": [], "lose_most": [], "differing": 3,
        "differ_most": [], "capped": 0, "roomless": 0, "cut": 0, "cut_most": [],
    }  # fmt: skip
    return Report(**fields | changes)  # type: ignore[arg-type]


def test_what_is_drawn() -> None:
    bars = bars_of(report())
    assert [bar.name for bar in bars[:3]] == ["all orders", "level 1", "level 2"]
    assert [bar.name for bar in bars if bar.group == "By channel"] == ["(none)", "4 others"]
    assert len([bar for bar in bars if bar.group == "By category"]) == 8
    root = ElementTree.fromstring(draw_svg(report(), "春 <&>"))
    words = [each.text for each in root.iter("{http://www.w3.org/2000/svg}text")]
    assert words[0] == "春 <&>"
    assert "10% of sales instead of 5%" in str(words[1])
    widths = [int(each.get("width", "0")) for each in root.iter("{http://www.w3.org/2000/svg}rect")]
    assert max(widths[3:]) == widths[3] == 2 * widths[4]  # the total, twice what was paid


def test_nothing_is_drawn_of_nothing() -> None:
    empty = report(
        orders=0, sales=0, simulated=0, paid=0, levels=[(0, 0)] * 3, categories=[], channels=[]
    )
    assert ElementTree.fromstring(draw_svg(empty, "x")) is not None
    assert (empty.cost_ppm, empty.paid_ppm) == (None, None)
