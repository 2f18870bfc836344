"""Who earns by each order, and what the plan is told of them. Pure.

Orders are looked at one after the other, each seeing what those before it did: what a distributor
has sold in the month decides tiers, milestones and eligibility; what it has earned, how much room
its caps leave. So a chunk of orders ends as its orders would one by one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import lru_cache
from itertools import islice
from typing import Any

import numpy as np

from distrib.commission.plan import MAX_LEVELS, Plan, SelfPurchase, Unfilled

Ints = np.ndarray[Any, np.dtype[np.int64]]

ENDLESS = np.int64(1) << 62
"""Room without an end."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A distributor's status and rank at an instant."""

    active: bool
    rank: str | None


@lru_cache(10_000)
def month_of(day: date) -> date:
    """The month of a day, named by its first. Asked for many times a day."""
    return day.replace(day=1)


_NEVER_CHANGED = Standing(active=True, rank=None)


@dataclass(frozen=True, slots=True)
class Sales:
    """What a distributor has sold and earned by the orders of a day and of its month, so far.

    :param last_sold: the last day up to that day with an order, if there is one.
    """

    month_volume: int
    month_earned: int
    day_earned: int
    last_sold: date | None


def credited(
    plan: Plan | None, *, named: int | None, buyer: int | None, chain: tuple[int, int, int, int]
) -> tuple[int | None, tuple[int, int, int]]:
    """Whom an order is credited to, and who is at level 1 to 3, as far as the tree says."""
    if buyer is None:
        return named, chain[:3]
    mode = SelfPurchase.BUYER_FIRST if plan is None else plan.self_purchase
    if mode is SelfPurchase.OFF:
        return None, (0, 0, 0)
    if mode is SelfPurchase.SPONSOR_FIRST:
        return chain[1] or None, chain[1:]
    return buyer, chain[:3]


@dataclass(frozen=True, slots=True)
class Sale:
    """An order as this module looks at it.

    :param chain: who is credited and who stood above, nearest first: three, or all of them where
        the plan rolls up.
    :param volume: what the order adds to the sales of who is credited, in minor units.
    """

    plan: Plan | None
    at: datetime
    day: date
    credited: int | None
    chain: tuple[int, ...]
    volume: int


@dataclass
class Ledger:
    """What distributors have sold and earned so far, brought up to date order by order."""

    sales: Mapping[tuple[int, date], Sales]
    standings: Mapping[int, Sequence[tuple[datetime, Standing]]]
    reached: dict[tuple[int, date], set[int]] = field(default_factory=lambda: defaultdict(set))
    """Marks that a distributor has reached in a month (named by its first day)."""
    _volume: dict[tuple[int, date], int] = field(default_factory=lambda: defaultdict(int))
    _earned: dict[tuple[int, date], int] = field(default_factory=lambda: defaultdict(int))
    _earned_in_day: dict[tuple[int, date], int] = field(default_factory=lambda: defaultdict(int))
    _sold: dict[int, set[date]] = field(default_factory=lambda: defaultdict(set))

    def standing(self, who: int, at: datetime) -> Standing:
        """Status and rank: the latest that had begun."""
        rows = self.standings.get(who)
        latest = _NEVER_CHANGED
        if rows is None:
            return latest
        for begins, standing in rows:
            if begins > at:
                break
            latest = standing
        return latest

    def volume(self, who: int, day: date) -> int:
        """Sold in the month of ``day``."""
        known = self.sales.get((who, day))
        return (known.month_volume if known else 0) + self._volume[who, month_of(day)]

    def sold_since(self, who: int, first: date, last: date) -> bool:
        """Whether an order of these days is credited to it."""
        known = self.sales.get((who, last))
        if known is not None and known.last_sold is not None and known.last_sold >= first:
            return True
        return any(first <= day <= last for day in self._sold[who])

    def earned(self, who: int, day: date) -> tuple[int, int]:
        """Earned by orders of the day, and of its month."""
        known = self.sales.get((who, day))
        before = (known.day_earned, known.month_earned) if known else (0, 0)
        return (
            before[0] + self._earned_in_day[who, day],
            before[1] + self._earned[who, month_of(day)],
        )

    def sell(self, sale: Sale) -> None:
        """Count an order."""
        if sale.credited is not None:
            self._volume[sale.credited, month_of(sale.day)] += sale.volume
            self._sold[sale.credited].add(sale.day)

    def reach(self, sale: Sale, mark: int) -> None:
        """Note a milestone."""
        if sale.credited is not None:
            self.reached[sale.credited, month_of(sale.day)].add(mark)

    def earn(self, who: int, day: date, amount: int) -> None:
        """Count a commission."""
        self._earned_in_day[who, day] += amount
        self._earned[who, month_of(day)] += amount


def may_earn(plan: Plan, sale: Sale, who: int, ledger: Ledger) -> bool:
    """Whether a distributor is what the plan asks of those who earn."""
    asked = plan.eligibility
    if asked.active and not ledger.standing(who, sale.at).active:
        return False
    if asked.month_volume is not None and ledger.volume(who, sale.day) < asked.month_volume:
        return False
    if asked.sold_within_days is None:
        return True
    return ledger.sold_since(who, sale.day - timedelta(days=asked.sold_within_days), sale.day)


def fill_levels(plan: Plan, sale: Sale, ledger: Ledger) -> list[int]:
    """Who earns at each level, 0 for nobody."""
    chain = [who for who in sale.chain if who]
    if plan.unfilled is Unfilled.ROLL_UP:
        able = (who for who in chain if may_earn(plan, sale, who, ledger))
        filled = list(islice(able, plan.levels))
    else:
        filled = [who if may_earn(plan, sale, who, ledger) else 0 for who in chain[: plan.levels]]
        if plan.unfilled is Unfilled.STOP and 0 in filled:
            filled = filled[: filled.index(0)]
    return filled + [0] * (MAX_LEVELS - len(filled))


@dataclass(frozen=True, slots=True)
class Told:
    """What the plan is told: one row an order, one column a level."""

    upline: Ints
    rank: Ints
    volume: Ints
    marks: Ints
    """Bit n: milestone n can still be reached. One an order."""
    crossed: list[tuple[int, int]]
    """(order, mark): marks that orders reach."""


def _open_marks(plan: Plan, sale: Sale, first: int, ledger: Ledger) -> tuple[int, list[int]]:
    """Which milestones who is credited can still reach in the month, and which this sale reaches.

    Only the distributor whose sale it is: of nobody else does the order change the volume.
    """
    if not plan.milestones or sale.credited is None or sale.credited != first:
        return 0, []
    known = ledger.reached.get((first, month_of(sale.day)), set())
    before = ledger.volume(first, sale.day)
    marks, crossed = 0, []
    for number, each in enumerate(plan.milestones):
        if each.volume not in known:
            marks |= 1 << number
            if before < each.volume <= before + sale.volume:
                crossed.append(each.volume)
    return marks, crossed


def tell(sales: list[Sale], ledger: Ledger) -> Told:
    """Who earns, with which rank, and what each had sold, order by order."""
    shape = (len(sales), MAX_LEVELS)
    upline, rank, volume = (np.zeros(shape, np.int64) for _ in range(3))
    marks = np.zeros(len(sales), np.int64)
    crossed: list[tuple[int, int]] = []
    ladders: dict[int, dict[str, int]] = {}
    for n, sale in enumerate(sales):
        plan = sale.plan
        if plan is None or not plan.uses_facts:
            upline[n, : len(sale.chain)] = sale.chain[:MAX_LEVELS]
        else:
            ladder = ladders.setdefault(
                id(plan), {each.name: number for number, each in enumerate(plan.ranks, 1)}
            )
            for level, who in enumerate(fill_levels(plan, sale, ledger)):
                if who:
                    upline[n, level] = who
                    rank[n, level] = ladder.get(ledger.standing(who, sale.at).rank or "", 0)
                    volume[n, level] = ledger.volume(who, sale.day) if plan.uses_volume else 0
            marks[n], mine = _open_marks(plan, sale, int(upline[n, 0]), ledger)
            for mark in mine:
                ledger.reach(sale, mark)
                crossed.append((n, mark))
        ledger.sell(sale)
    return Told(upline, rank, volume, marks, crossed)


def rooms(sales: list[Sale], upline: Ints, wanted: Ints, ledger: Ledger) -> Ints:
    """How much each earner may get of each order, given what it gets of those before.

    :param wanted: what the plan would pay without these caps. Shape (orders, 3).
    """
    room = np.full(upline.shape, ENDLESS)
    for n, sale in enumerate(sales):
        caps = None if sale.plan is None else sale.plan.caps
        for level, who in enumerate(upline[n].tolist()):
            if not who:
                continue
            amount = int(wanted[n, level])
            if caps is not None and (caps.day is not None or caps.month is not None):
                day, month = ledger.earned(who, sale.day)
                most = min(
                    int(ENDLESS) if caps.day is None else caps.day - day,
                    int(ENDLESS) if caps.month is None else caps.month - month,
                )
                room[n, level] = max(most, 0)
                amount = min(amount, max(most, 0))
            ledger.earn(who, sale.day, amount)
    return room


def concerned(sale: Sale, ledger: Ledger) -> set[int]:
    """Whose sales and earnings matter for an order: who is credited, and who earns.

    :param ledger: of standings only: where eligibility asks for sales, everybody above matters.
    """
    plan = sale.plan
    if plan is None or not plan.uses_facts or plan.eligibility.asks_sales:
        who = list(sale.chain)
    else:
        who = fill_levels(plan, sale, ledger)
    return {*who, sale.credited or 0} - {0}
