"""What a line pays, said a second time: fractions, one line and one level at a time.

Nothing in it comes from the engine, the plan compiler or :mod:`distrib.money`.
"""

from __future__ import annotations

from fractions import Fraction
from math import floor
from typing import Any

Row = tuple[int, list[int], list[int]]
"""What a line pays: rule, rates in parts per million, amounts."""


def round_fraction(exact: Fraction, rounding: str) -> int:
    """Round a fraction as the words say."""
    whole, rest = floor(exact), exact - floor(exact)
    half = Fraction(1, 2)
    if rounding == "down" or rest < half:
        return whole
    if rest > half or rounding == "half_up":
        return whole + 1
    return whole + whole % 2  # exactly half, to the even neighbour


def price_line(
    document: dict[str, Any], sku: str, category: str | None, base: int, upline: tuple[int, ...]
) -> Row:
    """What one line pays, straight from the document."""

    def matches(rule: dict[str, Any], kind: str, value: str | None) -> bool:
        return value is not None and value in rule.get("match", {}).get(kind, [])

    numbered = list(enumerate(document["rules"], 1))
    tiers = (
        [(no, rule) for no, rule in numbered if matches(rule, "sku", sku)],
        [(no, rule) for no, rule in numbered if matches(rule, "category", category)],
        [(no, rule) for no, rule in numbered if not rule.get("match")],
    )
    no, rule = next((found[0] for found in tiers if found), (0, {"rates": []}))
    shares = [Fraction(rate.rstrip("%")) / 100 for rate in rule["rates"]]
    shares += [Fraction(0)] * (3 - len(shares))
    amounts = [
        round_fraction(base * share, document["rounding"]) if member else 0
        for share, member in zip(shares, upline, strict=True)
    ]
    return no, [int(share * 1_000_000) for share in shares], amounts
