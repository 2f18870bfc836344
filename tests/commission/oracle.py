"""What an order pays, said a second time: fractions, one line and one level at a time.

It reads the document itself. Nothing in it comes from the engine, the plan reader, the matcher or
:mod:`distrib.money`. Amounts in documents are taken to have two decimals.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from math import floor
from typing import Any

MOST = 9_000_000_000_000
"""More than this a line never pays a level."""


@dataclass(frozen=True)
class Line:
    """One line; what is None is the base."""

    sku: str
    category: str | None
    base: int
    quantity: int = 1
    cap_base: int | None = None
    net: int | None = None


@dataclass(frozen=True)
class Order:
    """One order. ``people`` are the names at levels 1 to 3, None for nobody."""

    lines: tuple[Line, ...]
    people: tuple[str | None, ...] = ("ann", "bo", "cy")
    channel: str | None = None
    at: int = 0
    first: bool = False
    ranks: tuple[int, ...] = (0, 0, 0)
    volumes: tuple[int, ...] = (0, 0, 0)
    room: tuple[int, ...] = (MOST, MOST, MOST)
    marks: int = -1
    """Bit n: milestone n can be reached."""


@dataclass
class Priced:
    """What an order pays: by line, then by level."""

    rules: list[list[int]]
    rates: list[list[int]]
    bases: list[list[int]]
    amounts: list[list[int]]
    highest: list[Fraction]
    """The highest share that a rank has been given so far."""


def round_fraction(exact: Fraction, rounding: str) -> int:
    """Round a fraction as the words say."""
    whole, rest = floor(exact), exact - floor(exact)
    half = Fraction(1, 2)
    if rounding == "down" or rest < half:
        return whole
    if rest > half or rounding == "half_up":
        return whole + 1
    return whole + whole % 2  # exactly half, to the even neighbour


def divide(total: int, exact: list[Fraction]) -> list[int]:
    """Whole parts of ``total``: each its floor, then one more for the largest remainders."""
    parts = [floor(each) for each in exact]
    for _ in range(total - sum(parts)):
        lacks = [each - part for each, part in zip(exact, parts, strict=True)]
        parts[lacks.index(max(lacks))] += 1
    return parts


def share_out(total: int, weights: list[int]) -> list[int]:
    """``total`` in proportion to the weights."""
    if not total:
        return [0] * len(weights)
    return divide(total, [Fraction(total * weight, sum(weights)) for weight in weights])


def micros(text: str) -> int:
    """An instant as microseconds since 1970."""
    return (datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(
        microseconds=1
    )


def _money(text: str) -> int:
    return int(Fraction(text) * 100)


def _share(text: str) -> Fraction:
    return Fraction(text.rstrip("%")) / 100


def _inside(window: dict[str, Any], at: int) -> bool:
    return micros(window["from"]) <= at < micros(window["to"])


def precedence(rule: dict[str, Any], ranks: list[str], order: Order, line: Line, level: int) -> Any:
    """How specific a rule is for a line and level, or None where it does not match."""
    match, category = rule.get("match", {}), line.category or ""
    above = [c for c in match.get("category", []) if f"{category}/".startswith(f"{c}/")]
    rank = ranks[order.ranks[level] - 1] if order.ranks[level] else None
    holds = {
        "distributor": order.people[level] in match.get("distributor", []),
        "sku": line.sku in match.get("sku", []),
        "category": line.category is not None and bool(above),
        "rank": rank in match.get("rank", []),
        "channel": order.channel in match.get("channel", []),
        "first_order": order.first,
        "from": "from" in match and _inside(match, order.at),
    }
    if not all(held for name, held in holds.items() if name in match):
        return None
    depth = max((len(category.split("/")) for category in above), default=0)
    return tuple(
        depth if name == "category" else int(name in match)
        for name in ("distributor", "sku", "category", "rank", "channel", "first_order", "from")
    )


def price(document: dict[str, Any], order: Order, *, levels: int = 3) -> Priced:
    """What one order pays, straight from the document."""
    filled = [person is not None and level < levels for level, person in enumerate(order.people)]
    made = Priced(
        [[0, 0, 0] for _ in order.lines],
        [[0, 0, 0] for _ in order.lines],
        [[line.base] * 3 for line in order.lines],
        [[0, 0, 0] for _ in order.lines],
        [Fraction(0)] * len(order.lines),
    )
    for level in range(levels):
        _price_level(document, order, level, filled, made)
    for row in made.amounts:
        row[:] = [amount if there else 0 for amount, there in zip(row, filled, strict=True)]
    _add_bonuses(document, order, made.amounts, filled)
    _hold_to_caps(document, order, made.amounts)
    _add_milestones(document, order, made.amounts, filled)
    _hold_to_room(order, made.amounts)
    return made


def _factor(document: dict[str, Any], order: Order) -> Fraction:
    """What a campaign multiplies by at the order's time."""
    for bonus in document.get("bonuses", []):
        if bonus["kind"] == "campaign" and _inside(bonus, order.at):
            return Fraction(bonus["multiplier"])
    return Fraction(1)


def _basis(document: dict[str, Any], line: Line, level: int, below: list[int]) -> int:
    """What a percentage of this level applies to; ``below`` is what the levels got so far."""
    kind = document.get("upline_base", "sale")
    if level == 0 or kind == "sale":
        return line.base
    if kind == "residual":
        return max(line.base - sum(below[:level]), 0)
    return below[0 if kind == "direct" else level - 1]


def _price_level(
    document: dict[str, Any],
    order: Order,
    level: int,
    filled: list[bool],
    made: Priced,
) -> None:
    """What the rules pay one level, whoever stands there."""
    rounding, factor = document.get("rounding", "half_up"), _factor(document, order)
    names = [r if isinstance(r, str) else r["name"] for r in document.get("ranks", [])]
    pays: list[Any] = []
    for i, line in enumerate(order.lines):
        held = [
            (precedence(rule, names, order, line, level), no)
            for no, rule in enumerate(document["rules"], 1)
        ]
        no = max(((p, no) for p, no in held if p is not None), default=((), 0))[1]
        made.rules[i][level] = no
        made.bases[i][level] = _basis(document, line, level, made.amounts[i])
        rule = document["rules"][no - 1] if no else {"rates": []}
        pay: Any = (rule.get("rates", []) + ["0%"] * 3)[level]
        if "difference" in rule:
            rank = order.ranks[level]
            mine = rule["difference"].get(names[rank - 1], "0%") if rank else "0%"
            share = _share(mine) * factor if filled[level] else Fraction(0)
            pay = max(share - made.highest[i], Fraction(0))
            made.highest[i] = max(made.highest[i], share)
        elif isinstance(pay, str):
            pay = _share(pay) * factor
        if isinstance(pay, Fraction):
            made.rates[i][level] = int(pay * 1_000_000)
        pays.append(pay)
    exact = [
        made.bases[i][level] * pay if isinstance(pay, Fraction) else Fraction(0)
        for i, pay in enumerate(pays)
    ]
    column = [round_fraction(each, rounding) for each in exact]
    if document.get("rounding_step", "line") == "order":
        column = divide(round_fraction(sum(exact, Fraction(0)), rounding), exact)
    for i, pay in enumerate(pays):
        if isinstance(pay, dict) and "per_unit" in pay and order.lines[i].base:
            column[i] += int(_money(pay["per_unit"]) * factor) * order.lines[i].quantity
    for row, amount, more in zip(
        made.amounts, column, _together(pays, document, order, level, made), strict=True
    ):
        row[level] = min(amount + more, MOST)


def _together(
    pays: list[Any], document: dict[str, Any], order: Order, level: int, made: Priced
) -> list[int]:
    """Amounts an order and tiers: the lines under a rule are one, and share what it pays."""
    rounding, factor = document.get("rounding", "half_up"), _factor(document, order)
    column = [0] * len(pays)
    for no in {row[level] for row in made.rules}:
        here = [i for i, row in enumerate(made.rules) if row[level] == no]
        pay, weights = pays[here[0]], [made.bases[i][level] for i in here]
        if isinstance(pay, Fraction) or "per_unit" in pay:
            continue
        if "per_order" in pay:
            weights = [order.lines[i].base for i in here]
            total = int(_money(pay["per_order"]) * factor) if any(weights) else 0
        else:
            before = max(order.volumes[level], 0)
            total = round_fraction(_tiered(pay["tiers"], before, sum(weights)) * factor, rounding)
        for i, part in zip(here, share_out(total, weights), strict=True):
            column[i] += part
    return column


def _tiered(tiers: list[dict[str, str]], before: int, brought: int) -> Fraction:
    """Each part of what is brought at the rate of the volume that it reaches."""
    total = Fraction(0)
    starts = [_money(tier.get("above", "0")) for tier in tiers]
    for n, tier in enumerate(tiers):
        end = starts[n + 1] if n + 1 < len(tiers) else before + brought + starts[n]
        part = min(before + brought, end) - max(before, starts[n])
        total += max(part, 0) * _share(tier["rate"])
    return total


def _add_bonuses(
    document: dict[str, Any], order: Order, amounts: list[list[int]], filled: list[bool]
) -> None:
    lines = order.lines
    earning = [i for i, line in enumerate(lines) if line.base]
    bases = [lines[i].base for i in earning]
    for bonus in document.get("bonuses", []):
        pays: list[Any] = []
        if bonus["kind"] == "first_order" and order.first:
            pays = bonus["rates"]
        for level, pay in enumerate(pays):
            if not filled[level] or not earning:
                continue
            if isinstance(pay, str):
                rounding = document.get("rounding", "half_up")
                parts = [round_fraction(base * _share(pay), rounding) for base in bases]
            elif "per_unit" in pay:
                parts = [_money(pay["per_unit"]) * lines[i].quantity for i in earning]
            else:
                parts = share_out(_money(pay["per_order"]), bases)
            for i, part in zip(earning, parts, strict=True):
                amounts[i][level] = min(amounts[i][level] + part, MOST)


def _add_milestones(
    document: dict[str, Any], order: Order, amounts: list[list[int]], filled: list[bool]
) -> None:
    goals = [each for each in document.get("bonuses", []) if each["kind"] == "milestone"]
    brought = [line.base if line.net is None else line.net for line in order.lines]
    weights = [line.base for line in order.lines]
    if not any(weights):
        weights = brought
    for number, goal in enumerate(goals):
        mark, before = _money(goal["month_volume"]), order.volumes[0]
        if before < mark <= before + sum(brought) and order.marks >> number & 1 and filled[0]:
            parts = share_out(_money(goal["amount"]), weights) if any(weights) else []
            for row, part in zip(amounts, parts, strict=False):
                row[0] = min(row[0] + part, MOST)


def needs_cap(document: dict[str, Any]) -> bool:
    """Whether a document could pay more than 100 %, so that its order cap is not optional."""
    rules = document["rules"]
    return (
        any(
            isinstance(pay, dict) and "tiers" not in pay
            for rule in rules
            for pay in rule.get("rates", [])
        )
        or any({"distributor", "rank"} & rule.get("match", {}).keys() for rule in rules)
        or any(bonus["kind"] == "first_order" for bonus in document.get("bonuses", []))
    )


def _hold_to_caps(document: dict[str, Any], order: Order, amounts: list[list[int]]) -> None:
    caps = document.get("caps", {})
    if "line" in caps:
        for i, row in enumerate(amounts):
            if sum(row) > _money(caps["line"]):
                amounts[i] = share_out(_money(caps["line"]), row)
    if "order" in caps or needs_cap(document):
        most = floor(
            sum(line.base if line.cap_base is None else line.cap_base for line in order.lines)
            * _share(caps.get("order", "100%"))
        )
        if sum(map(sum, amounts)) > most:
            parts = iter(share_out(most, [cell for row in amounts for cell in row]))
            amounts[:] = [[next(parts) for _ in row] for row in amounts]


def _hold_to_room(order: Order, amounts: list[list[int]]) -> None:
    for level in range(3):
        column = [row[level] for row in amounts]
        if sum(column) > order.room[level]:
            for row, part in zip(amounts, share_out(order.room[level], column), strict=True):
                row[level] = part
