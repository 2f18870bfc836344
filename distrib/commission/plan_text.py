"""How a compiled plan is shown: what a rule matches and pays, each in a few words. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from distrib.commission.matching import Match
from distrib.commission.plan import Kind, Pay, Plan, Rule
from distrib.money import format_amount, format_rate

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def pay_text(pay: Pay, currency: str) -> str:
    """``10%``, ``3.00 a unit``, ``1.00 an order`` or ``10% / 12% above 5,000.00``."""
    if pay.kind is Kind.PERCENT:
        return format_rate(pay.value)
    if pay.kind is Kind.TIERS:
        (_, first), *others = pay.tiers
        above = (
            f"{format_rate(rate)} above {format_amount(start, currency)}" for start, rate in others
        )
        return " / ".join([format_rate(first), *above])
    each = "a unit" if pay.kind is Kind.PER_UNIT else "an order"
    return f"{format_amount(pay.value, currency)} {each}"


def difference_of(rule: Rule, plan: Plan) -> dict[str, str] | None:
    """Rates by rank, for a rule that pays differences of ranks."""
    if not rule.difference:
        return None
    shares = zip(plan.ranks, rule.difference[1:], strict=True)  # the first is for no rank
    return {rank.name: format_rate(rate) for rank, rate in shares}


def pays_text(rule: Rule, plan: Plan) -> list[str]:
    """What each level gets, level 1 first; of a difference of ranks, one text for all."""
    shares = difference_of(rule, plan)
    if shares is not None:
        return ["ranks: " + ", ".join(f"{rank} {rate}" for rank, rate in shares.items())]
    return [pay_text(pay, plan.currency) for pay in rule.pays]


def _instant(microseconds: int) -> str:
    return f"{_EPOCH + timedelta(microseconds=microseconds):%Y-%m-%d %H:%M}"


def match_text(match: Match) -> str:
    """What a rule applies to: ``SKU A, B; channel web``, or ``everything else``."""
    listed = (
        ("distributor", match.distributors),
        ("SKU", match.skus),
        ("category", match.categories),
        ("rank", match.ranks),
        ("channel", match.channels),
    )
    told = [f"{name} {', '.join(values)}" for name, values in listed if values]
    if match.first_order:
        told.append("first orders")
    if match.window is not None:
        begins, ends = match.window
        told.append(f"from {_instant(begins)} to {_instant(ends)} UTC")
    return "; ".join(told) or "everything else"
