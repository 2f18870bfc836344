"""What the example plans pay, to the fen."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from distrib.commission import examples
from distrib.commission.plan import SelfPurchase, Unfilled
from distrib.commission.plan_document import PlanInvalid, read_plan
from tests.commission.worked import ANN, BO, CY, HOST, Item, answer

NOVEMBER_11 = "2026-11-11T04:00"

EXAMPLES = [
    ("three-levels", [100_00], {}, [10_00, 5_00, 2_00]),
    ("by-product", [Item(100_00, "X", "cups")], {}, [10_00, 5_00, 2_00]),
    ("by-product", [Item(100_00, "X", "tea/black")], {}, [12_00, 6_00, 3_00]),
    ("by-product", [Item(100_00, "X", "tea/green/biluochun")], {}, [15_00, 6_00, 3_00]),
    ("by-product", [Item(100_00, "LJ-250", "tea/green")], {}, [20_00, 5_00, 0]),
    ("by-product", [Item(100_00, "GIFT-100", "tea")], {}, [0, 0, 0]),
    ("base-gross", [Item(100_00, cap_base=80_00)], {}, [10_00, 5_00, 0]),
    ("base-gross", [Item(100_00, cap_base=10_00)], {}, [3_33, 1_67, 0]),
    ("base-net", [90_00 + 10_00], {}, [8_00, 4_00, 0]),  # the goods and their shipping
    ("base-paid", [75_00], {}, [6_00, 3_00, 0]),
    ("base-margin", [40_00], {}, [8_00, 4_00, 4_00]),
    ("base-income", [12_00], {"channel": "taobao"}, [6_00, 1_80, 60]),
    ("base-income", [12_00], {"channel": "jd"}, [7_20, 1_80, 60]),
    ("upline-of-direct", [100_00], {}, [20_00, 2_00, 1_00]),
    ("upline-of-previous", [100_00], {}, [20_00, 10_00, 5_00]),
    ("residual", [1000_00], {}, [100_00, 90_00, 81_00]),
    ("pool", [100_00], {}, [20_00, 12_00, 8_00]),
    ("per-unit", [Item(59_00, category="mask", quantity=2)], {}, [6_00, 2_00, 0]),
    ("per-unit", [Item(59_00)], {}, [2_95, 0, 0]),
    ("per-order", [199_00], {}, [15_00, 5_00, 0]),
    ("per-order", [40_00], {}, [9_00, 3_00, 0]),  # 20.00 held to 30 % of the 40
    ("tiers-by-volume", [6000_00], {}, [620_00, 180_00, 0]),
    ("tiers-by-volume", [6000_00], {"volume": (18000_00, 0, 0)}, [840_00, 180_00, 0]),
    ("ranks", [100_00], {"rank": (1, 2, 3)}, [8_00, 4_00, 2_00]),
    ("ranks", [100_00], {"rank": (3, 1, 2)}, [12_00, 3_00, 0]),
    ("differential", [1000_00], {"rank": (1, 3, 4)}, [100_00, 100_00, 50_00]),
    ("differential", [1000_00], {"rank": (2, 2, 3)}, [150_00, 0, 50_00]),
    ("no-self-purchase", [100_00], {"upline": (0, 0, 0)}, [0, 0, 0]),
    ("buyer-first", [100_00], {}, [10_00, 5_00, 2_00]),
    ("sponsor-first", [100_00], {"upline": (BO, CY, 0)}, [10_00, 5_00, 0]),
    ("roll-up", [100_00], {"upline": (ANN, CY, 0)}, [10_00, 5_00, 0]),
    ("stop", [100_00], {"upline": (ANN, 0, 0)}, [10_00, 0, 0]),
    ("caps", [100_00], {}, [17_14, 8_57, 4_29]),  # 35.00 held to 30 %
    ("caps", [1000_00], {}, [114_29, 57_14, 28_57]),  # 350.00 held to 200
    ("caps", [100_00], {"room": (5_00, 100_00, 100_00)}, [5_00, 8_57, 4_29]),
    ("new-customers", [100_00], {}, [10_00, 5_00, 0]),
    ("new-customers", [100_00], {"first": True}, [15_00, 6_00, 0]),
    ("new-customers", [2000_00], {"volume": (48000_00, 0, 0)}, [700_00, 100_00, 0]),
    ("campaign", [100_00], {}, [10_00, 5_00, 0]),
    ("campaign", [100_00], {"at": NOVEMBER_11}, [13_33, 6_67, 0]),  # 15.00 and 7.50 held to 20.00
    ("live-channel", [100_00], {"channel": "shop"}, [10_00, 5_00, 0]),
    ("live-channel", [100_00], {"channel": "live"}, [20_00, 0, 0]),
    ("live-channel", [100_00], {"channel": "live", "first": True}, [25_00, 0, 0]),
    ("live-channel", [100_00], {"channel": "live", "upline": (HOST, BO, 0)}, [28_00, 0, 0]),
    ("order-rounding", [33, 33, 33], {}, [9, 4, 0]),  # 9.9 and 4.95; by line 3 x 3 and 3 x 1
]


@pytest.mark.parametrize("name, items, facts, paid", EXAMPLES)
def test_what_an_example_pays(
    name: str, items: list[int | Item], facts: dict[str, Any], paid: list[int]
) -> None:
    """The sum over the lines."""
    result = answer(examples.load(name), items, **facts)
    assert result.amount.sum(axis=0).tolist() == paid


def test_every_example_is_worked() -> None:
    assert set(examples.names()) == {name for name, *_ in EXAMPLES}
    titles = [examples.load(name)["name"] for name in examples.names()]
    assert len(set(titles)) == len(titles)
    with pytest.raises(KeyError):
        examples.load("../plan")


def test_what_examples_decide_before_the_engine() -> None:
    plans = {name: read_plan(examples.load(name), levels=3) for name in examples.names()}
    assert plans["no-self-purchase"].self_purchase is SelfPurchase.OFF
    assert plans["buyer-first"].self_purchase is SelfPurchase.BUYER_FIRST
    assert plans["sponsor-first"].self_purchase is SelfPurchase.SPONSOR_FIRST
    assert plans["roll-up"].unfilled is Unfilled.ROLL_UP
    assert plans["roll-up"].eligibility.sold_within_days == 30
    assert plans["stop"].unfilled is Unfilled.STOP
    assert plans["stop"].eligibility.month_volume == 1000_00
    assert plans["base-net"].includes == {"shipping"}
    assert plans["ranks"].ranks[2].volume == 20000_00
    assert (plans["caps"].caps.day, plans["caps"].caps.month) == (2000_00, 30000_00)


PAGE = (Path(__file__).parents[2] / "docs" / "plans.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("text", re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL))
def test_what_the_page_on_plans_shows_is_a_plan(text: str) -> None:
    read_plan(json.loads(text), levels=3)


def test_the_page_on_plans_names_every_field() -> None:
    with pytest.raises(PlanInvalid) as caught:
        read_plan({"?": 1}, levels=3)
    known = caught.value.detail.partition("known are ")[2].split(", ")
    assert "rules" in known
    assert [name for name in known if f"| `{name}` |" not in PAGE] == []
