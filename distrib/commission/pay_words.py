"""What the engine did to one amount, told in sentences. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from distrib.commission.engine import Result
from distrib.commission.goods import Left
from distrib.commission.plan import Kind, Pay, Plan, Rule, Step, UplineBase
from distrib.commission.wording import (
    BASES,
    ROUNDINGS,
    UPLINE_BASES,
    Pair,
    Words,
    phrase,
)
from distrib.money import PPM, format_amount, format_rate

Ints = np.ndarray[Any, np.dtype[np.int64]]


class Case(Protocol):
    """What of an order's case is needed here."""

    @property
    def plan(self) -> Plan | None: ...
    @property
    def book(self) -> Any: ...
    @property
    def upline(self) -> list[int]: ...
    def money(self, amount: int) -> str: ...
    def person(self, distributor_id: int) -> str: ...
    def rule(self, number: int) -> Rule | None: ...


@dataclass(frozen=True, slots=True)
class Cell:
    """One line's amount for one level (counted from 0), as the engine traced it."""

    case: Case
    plan: Plan
    result: Result
    left: Left
    line: int
    column: int

    @property
    def rule(self) -> Rule | None:
        """The rule that applied."""
        return self.case.rule(int(self.result.rule[self.line, self.column]))

    def stage(self, name: str) -> int:
        """The amount after a stage."""
        return int(self.result.stages[name][self.line, self.column])


def explain_level(cell: Cell, words: Words) -> None:
    """Say how a line's amount for a level came about, stage by stage."""
    if cell.rule is None:
        return
    case, column = cell.case, cell.column
    _tell_pay(cell, cell.rule, words)
    stages = ("filled", "bonus", "cap", "milestone", "room")
    filled, bonus, cap, milestone, room = (cell.stage(name) for name in stages)
    if not case.upline[column] or filled != cell.stage("rule"):
        words.say("unfilled", level=column + 1)
    if bonus != filled:
        words.say("bonus", amount=case.money(bonus - filled))
    if cap != bonus:
        words.say("cap", before=case.money(bonus), after=case.money(cap))
    if milestone != cap:
        words.say("milestone", amount=case.money(milestone - cap))
    if room != milestone:
        words.say(
            "room",
            who=case.person(case.upline[column]),
            room=case.money(int(case.book.known.room[0, column])),
            after=case.money(room),
        )


def _tell_pay(cell: Cell, rule: Rule, words: Words) -> None:
    case, plan, column = cell.case, cell.plan, cell.column
    amount = cell.stage("rule")
    pay = rule.pays[column] if column < len(rule.pays) else None
    number = _campaign(plan, case)
    factor = plan.factor(number)
    if number:
        words.say("campaign", name=plan.campaigns[number - 1].name, factor=format_rate(factor))
    if rule.difference:
        rank = int(case.book.known.rank[0, column])
        share = int(plan.difference[number, rule.no, rank])
        name = plan.ranks[rank - 1].name if rank else "-"
        words.say("difference", rank=name, share=format_rate(share))
        _tell_percent(cell, words)
    elif pay is None or pay.kind is Kind.PERCENT:
        _tell_percent(cell, words)
    elif pay.kind is Kind.TIERS:
        words.say(
            "tiers",
            level=column + 1,
            tiers=_tiers(plan, pay, factor),
            volume=case.money(int(case.book.known.volume[0, column])),
            amount=case.money(amount),
        )
    else:
        words.say(
            "per_unit" if pay.kind is Kind.PER_UNIT else "per_order",
            level=column + 1,
            each=case.money(pay.value * factor // PPM),
            quantity=int(cell.left.quantity[cell.line]),
            amount=case.money(amount),
        )


def _campaign(plan: Plan, case: Case) -> int:
    if not plan.campaigns:
        return 0
    return int(plan.campaign_at(case.book.known.orders(plan).at)[0])


def _tell_percent(cell: Cell, words: Words) -> None:
    case, plan, column = cell.case, cell.plan, cell.column
    rate = int(cell.result.rate_ppm[cell.line, column])
    base = int(cell.result.base[cell.line, column])
    amount = cell.stage("rule")
    once = plan.rounding_step is Step.ORDER
    rounded = phrase("exactly")
    if base * rate % PPM:
        rounded = (
            ("", "")
            if once
            else phrase("rounded", rounding=ROUNDINGS[plan.rounding], amount=case.money(amount))
        )
    of = BASES[plan.base]
    if column and plan.upline_base is not UplineBase.SALE:
        of = UPLINE_BASES[plan.upline_base]
    words.say(
        "percent",
        level=column + 1,
        rate=format_rate(rate),
        base=case.money(base),
        of=of,
        exact=exact(base * rate, plan.currency),
        rounded=rounded,
    )
    if once:
        words.say("of_order", rounding=ROUNDINGS[plan.rounding], amount=case.money(amount))


def _tiers(plan: Plan, pay: Pay, factor: int) -> Pair:
    parts = [
        format_rate(rate * factor // PPM)
        + (f" > {format_amount(start, plan.currency)}" if start else "")
        for start, rate in pay.tiers
    ]
    return " / ".join(parts), " / ".join(parts)


def exact(product: int, currency: str) -> str:
    """A product of minor units and parts per million in major units, every digit of it."""
    whole, rest = divmod(product, PPM)
    digits = f"{rest:06d}".rstrip("0")
    text = format_amount(whole, currency)
    return (text if "." in text or not digits else f"{text}.") + digits


def why_nothing(cell: Cell) -> Pair | None:
    """Why a level got nothing of a line, or None if it got something."""
    result, line, column = cell.result, cell.line, cell.column
    if result.amount[line, column]:
        return None
    rule = cell.rule
    if rule is None:
        return phrase("no_rule")
    if not rule.difference and column >= len(rule.pays):
        return phrase("rate_absent")
    percent = not rule.difference and rule.pays[column].kind is Kind.PERCENT
    reasons = (
        (not cell.case.upline[column], "not_eligible" if cell.plan.eligibility else "nobody_there"),
        (not result.base[line, column], "no_base"),
        (bool(cell.stage("bonus")), "capped"),
        (bool(rule.difference), "rank_nothing"),
        (percent and not result.rate_ppm[line, column], "rate_zero"),
    )
    name = next((name for holds, name in reasons if holds), "rounds_away")
    return phrase(name, rate="0%")
