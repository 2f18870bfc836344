"""One order under a plan document: what the tables of worked examples are written with.

Money is in minor units, written 19_99 for 19.99.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from distrib.commission.engine import Lines, Orders, Result, compute
from distrib.commission.plan_document import read_plan

Document = dict[str, Any]

ANN, BO, CY, HOST = 7, 8, 9, 10
PEOPLE = {"ann": ANN, "bo": BO, "cy": CY, "host-001": HOST}


@dataclass(frozen=True)
class Item:
    """One line."""

    base: int
    sku: str = "a"
    category: str | None = None
    quantity: int = 1
    cap_base: int | None = None
    net: int | None = None


def answer(document: Document, items: Sequence[int | Item], **facts: Any) -> Result:
    """What one order pays. Facts are those of :class:`Orders`, ``levels`` and ``currency``."""
    levels, currency = facts.pop("levels", 3), facts.pop("currency", "CNY")
    plan = replace(
        read_plan(document, levels=levels, currency=currency),
        people=PEOPLE,
        channel_levels=facts.pop("channel_levels", {}),
    )
    lines = [Item(item) if isinstance(item, int) else item for item in items]

    def column(values: list[int | None]) -> Any:
        given = zip(values, lines, strict=True)
        return np.array([line.base if value is None else value for value, line in given], np.int64)

    upline = np.array([facts.pop("upline", (ANN, BO, CY))], np.int64)
    known: dict[str, Any] = {"channel": [facts.pop("channel", None)]}
    known["at"] = np.array([np.datetime64(facts.pop("at", "2026-01-01"), "us")]).astype(np.int64)
    known["first"] = np.array([facts.pop("first", False)])
    known |= {name: np.array([value], np.int64) for name, value in facts.items()}
    return compute(
        plan,
        Lines(
            np.zeros(len(lines), np.int64),
            [line.sku for line in lines],
            [line.category for line in lines],
            np.array([line.base for line in lines], np.int64),
            quantity=np.array([line.quantity for line in lines], np.int64),
            cap_base=column([line.cap_base for line in lines]),
            net=column([line.net for line in lines]),
        ),
        Orders(upline, **known),
    )


def case(
    name: str, document: Document, items: Sequence[int | Item], *paid: list[int], **facts: Any
) -> Any:
    """A row of the table: what each line pays to each level, levels at the end left out if 0."""
    rows = [row + [0] * (3 - len(row)) for row in paid]
    return pytest.param(document, items, rows, facts, id=name)


def rates(*each: Any, **settings: Any) -> Document:
    """A plan of one rule for everything."""
    return {"rules": [{"rates": list(each)}], **settings}


def difference(*each: str, **settings: Any) -> Document:
    """A plan that pays differences of ranks: "v1" the first rate, "v2" the second …"""
    names = [f"v{n}" for n in range(1, len(each) + 1)]
    return {"ranks": names, "rules": [{"difference": dict(zip(names, each, strict=True))}]} | (
        settings
    )
