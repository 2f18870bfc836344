"""The engine: what each order line pays to each level. One pure function for every use.

Live intake, bulk intake, refunds, simulation, explanation and audit all call :func:`compute`; there
is no other place where a rule becomes an amount. It works on columns: one order and a million take
the same path. All numbers are 64-bit integers; a base times a rate fits (see
:data:`distrib.money.MAX_AMOUNT`), so every product and every rounding is exact.

What a level is paid comes about in stages, always in this order: the rule's rate or amount (rounded
at its step), the first-order bonus, the cap of the line, the cap of the order, milestones (they are
for the month, so an order's caps do not hold them), the earner's room for the day and the month.
With ``trace`` the result keeps what each stage made of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from distrib.commission.plan import MAX_LEVELS, Kind, Pay, Plan, Step, UplineBase
from distrib.commission.spreading import hand_out, spread, sums
from distrib.money import MAX_AMOUNT, PPM, Rounding

Ints = np.ndarray[Any, np.dtype[np.int64]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True, slots=True)
class Lines:
    """Order lines as columns, one entry a line; those of an order stand in its own sequence.

    :param order: which row of :class:`Orders` the line's order is.
    :param base: what the line pays commission on, in minor units, 0 to ``MAX_AMOUNT``.
    :param quantity: units; default one.
    :param cap_base: what the order's cap is a share of; default ``base``.
    :param net: price less discount, which volume counts; default ``base``.
    """

    order: Ints
    sku: Sequence[str]
    category: Sequence[str | None]
    base: Ints
    quantity: Ints | None = None
    cap_base: Ints | None = None
    net: Ints | None = None


@dataclass(frozen=True, slots=True)
class Orders:
    """What is known of each order.

    :param upline: the distributor at level 1, 2 and 3, or 0. Shape (orders, 3).
    :param rank: number of the earner's rank, 0 for none. Shape (orders, 3).
    :param at: the order's instant in microseconds since 1970.
    :param first: whether it is its customer's first.
    :param volume: what the earner had sold in the month before it. Shape (orders, 3).
    :param room: what the earner may still get; default without end. Shape (orders, 3).
    :param marks: bit n is set where milestone n (from 0) can still be reached; default all.
    """

    upline: Ints
    channel: Sequence[str | None] | None = None
    at: Ints | None = None
    first: Bools | None = None
    rank: Ints | None = None
    volume: Ints | None = None
    room: Ints | None = None
    marks: Ints | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What the lines pay. Row i is line i; column l is level l + 1; all of shape (n, 3).

    :param rule: number of the rule the line fell under, 0 for none.
    :param base: what the level's percentage applied to, in minor units.
    :param rate_ppm: the percentage in parts per million; 0 where it is a fixed amount or tiers.
    :param amount: minor units; zero where the level is empty or is paid nothing.
    :param stages: with ``trace``: the amounts after each stage, by its name.
    """

    rule: Ints
    base: Ints
    rate_ppm: Ints
    amount: Ints
    stages: dict[str, Ints] = field(default_factory=dict)


def compute(plan: Plan, lines: Lines, orders: Orders, *, trace: bool = False) -> Result:
    """Apply a plan to order lines.

    :raises ValueError: when a base is outside 0 to ``MAX_AMOUNT``: products would not be exact.
    """
    base = lines.base
    if len(base) and (int(base.min()) < 0 or int(base.max()) > MAX_AMOUNT):
        raise ValueError(f"a base is outside 0 to {MAX_AMOUNT}")
    rule = plan.matcher.rules_of(
        lines.order,
        lines.sku,
        lines.category,
        channel=orders.channel,
        at=orders.at,
        first=orders.first,
        rank=orders.rank,
        upline=orders.upline,
    )
    filled = _filled(plan, orders)[lines.order]
    if plan.is_plain and orders.room is None and not trace:
        rate = plan.percent[0][rule, np.arange(MAX_LEVELS)]
        amount = _rounded(base[:, None] * rate, plan.rounding)
        amount[~filled] = 0
        return Result(rule, np.broadcast_to(base[:, None], rate.shape), rate, amount)
    return _Case(plan, lines, orders, rule, filled).compute(trace=trace)


def limit(result: Result, order: Ints, room: Ints) -> Result:
    """The last stage by itself: hold what each earner gets of an order to its room.

    :param order: the order of each line.
    :param room: minor units; below zero is none. Shape (orders, 3).
    """
    room = np.maximum(room, 0)
    amount = result.amount.copy()
    for level in range(MAX_LEVELS):
        wanted = sums(amount[:, level], order, len(room))
        _scale(amount, [level], wanted, room[:, level], order)
    return Result(result.rule, result.base, result.rate_ppm, amount, result.stages)


def _filled(plan: Plan, orders: Orders) -> Bools:
    """Which levels of each order can be paid: somebody stands there and the channel pays it."""
    filled: Bools = orders.upline != 0
    filled[:, plan.levels :] = False
    if plan.channel_levels and orders.channel is not None:
        for number, channel in enumerate(orders.channel):
            most = plan.channel_levels.get((channel or "").partition("/")[0])
            if most is not None:
                filled[number, most:] = False
    return filled


def _rounded(product: Ints, rounding: Rounding) -> Ints:
    """``product / PPM`` as :func:`distrib.money.round_ratio` defines it, for every element."""
    whole, rest = np.divmod(product, PPM)
    rounded: Ints = whole + _ups(whole, rest, rounding)
    return rounded


def _ups(whole: Ints, rest: Ints, rounding: Rounding) -> Ints:
    """1 where ``whole`` and ``rest`` parts per million round up, else 0."""
    match rounding:
        case Rounding.DOWN:
            return np.zeros_like(whole)
        case Rounding.HALF_UP:
            return (2 * rest >= PPM).astype(np.int64)
        case Rounding.HALF_EVEN:
            ties = (2 * rest == PPM) & (whole % 2 == 1)
            return np.asarray((2 * rest > PPM) | ties, np.int64)


def _scale(amount: Ints, levels: list[int], wanted: Ints, most: Ints, group: Ints) -> None:
    """Where a group wants more than it may, bring its cells down to that, in proportion."""
    over = wanted > most
    if not over.any():
        return
    mine = np.flatnonzero(over[group])
    of = (np.cumsum(over) - 1)[group[mine]]  # groups numbered anew
    where = mine[:, None], np.array(levels)
    cells = amount[where]
    parts = spread(most[over], np.repeat(of, len(levels)), cells.reshape(-1))
    amount[where] = parts.reshape(cells.shape)


class _Case:
    """One call of the engine, for a plan that does more than percentages of the sale."""

    def __init__(self, plan: Plan, lines: Lines, orders: Orders, rule: Ints, filled: Bools) -> None:
        self.plan = plan
        self.lines = lines
        self.orders = orders
        self.rule = rule
        self.filled = filled
        self.count = len(orders.upline)
        shape = (len(lines.base), MAX_LEVELS)
        self.basis = np.repeat(lines.base[:, None], MAX_LEVELS, axis=1)
        self.rate = np.zeros(shape, np.int64)
        self.amount = np.zeros(shape, np.int64)
        at = orders.at
        by_order = np.zeros(self.count, np.int64) if at is None else plan.campaign_at(at)
        self.campaign = by_order[lines.order]

    def compute(self, *, trace: bool) -> Result:
        stages: dict[str, Ints] = {}

        def stage(name: str) -> None:
            if trace:
                stages[name] = self.amount.copy()

        self._pay_rules()
        stage("rule")
        self.amount[~self.filled] = 0
        stage("filled")
        self._pay_bonuses()
        stage("bonus")
        self._cap()
        stage("cap")
        self._pay_milestones()
        stage("milestone")
        result = Result(self.rule, self.basis, self.rate, self.amount, stages)
        if self.orders.room is not None:
            result = limit(result, self.lines.order, self.orders.room)
        if trace:
            stages["room"] = result.amount
        return result

    # -- rules -------------------------------------------------------------------------------------

    def _pay_rules(self) -> None:
        """Level by level from the first: an upline's base may be what a lower level got.

        A level is computed whether or not somebody stands there, so that what level 3 gets does
        not depend on who is missing at level 2; unfilled levels are emptied afterwards.
        """
        plan = self.plan
        highest = np.zeros(len(self.lines.base), np.int64)
        for level in range(plan.levels):
            rule = self.rule[:, level]
            self.basis[:, level] = basis = self._basis(level)
            rate = plan.percent[self.campaign, rule, level]
            if plan.is_difference.any():
                rate = rate + self._difference(level, rule, highest)
            self.rate[:, level] = rate
            amount = self._percentage(basis * rate)
            amount += self._fixed(rule, level)
            if plan.has_tiers[:, level].any():
                amount += self._tiers(rule, level, basis)
            self.amount[:, level] = np.minimum(amount, MAX_AMOUNT)

    def _basis(self, level: int) -> Ints:
        base = self.lines.base
        kind = self.plan.upline_base
        if level == 0 or kind is UplineBase.SALE:
            return base
        if kind is UplineBase.DIRECT:
            return self.amount[:, 0]
        if kind is UplineBase.PREVIOUS:
            return self.amount[:, level - 1]
        left: Ints = np.maximum(base - self.amount[:, :level].sum(axis=1), 0)
        return left

    def _difference(self, level: int, rule: Ints, highest: Ints) -> Ints:
        """What the earner's rank has above the highest below it; ``highest`` is brought up."""
        rank = np.zeros(self.count, np.int64)
        if self.orders.rank is not None:
            rank = self.orders.rank[:, level]
        mine = self.plan.is_difference[rule] & self.filled[:, level]
        share = np.where(mine, self.plan.difference[self.campaign, rule, rank[self.lines.order]], 0)
        above = np.maximum(share - highest, 0)
        np.maximum(highest, share, out=highest)
        return np.where(mine, above, 0)

    def _percentage(self, product: Ints) -> Ints:
        if self.plan.rounding_step is Step.LINE:
            return _rounded(product, self.plan.rounding)
        # once for the order: the lines keep their whole units, what is left goes by remainder
        order = self.lines.order
        floor, rest = np.divmod(product, PPM)
        whole, rest_of_order = np.divmod(sums(rest, order, self.count), PPM)
        floors = sums(floor, order, self.count) + whole
        total = floors + _ups(floors, rest_of_order, self.plan.rounding)
        return hand_out(floor, rest, total - sums(floor, order, self.count), order)

    def _fixed(self, rule: Ints, level: int) -> Ints:
        """Amounts a unit and an order. A line that costs nothing earns nothing."""
        plan, lines = self.plan, self.lines
        found = np.zeros(len(lines.base), np.int64)
        earns = lines.base > 0
        if plan.per_unit[:, :, level].any():
            quantity = 1 if lines.quantity is None else lines.quantity
            found += np.where(earns, plan.per_unit[self.campaign, rule, level] * quantity, 0)
        if plan.per_order[:, :, level].any():
            amount = plan.per_order[self.campaign, rule, level]
            mine = np.flatnonzero(earns & (amount > 0))
            found[mine] += self._once(amount[mine], rule[mine], mine, lines.base)
        return found

    def _once(self, amount: Ints, rule: Ints, lines: Ints, weight: Ints) -> Ints:
        """An amount an order and rule, spread over the lines that fell under it by weight."""
        key = self.lines.order[lines] * (len(self.plan.rules) + 1) + rule
        _, at, group = np.unique(key, return_index=True, return_inverse=True)
        return spread(amount[at], group.reshape(-1), weight[lines])

    def _tiers(self, rule: Ints, level: int, basis: Ints) -> Ints:
        """Marginal tiers: each part of what an order brings under a rule at the rate of the volume
        that it reaches. The lines under the rule are one amount, rounded once."""
        found = np.zeros(len(basis), np.int64)
        mine = np.flatnonzero(self.plan.has_tiers[rule, level] & (basis > 0))
        if not len(mine):
            return found
        order = self.lines.order[mine]
        key = order * (len(self.plan.rules) + 1) + rule[mine]
        _, at, group = np.unique(key, return_index=True, return_inverse=True)
        group = group.reshape(-1)
        brought = sums(basis[mine], group, len(at))
        begins = np.zeros(len(at), np.int64)
        if self.orders.volume is not None:
            begins = np.maximum(self.orders.volume[order[at], level], 0)
        product = [
            _tiered(
                self.plan.tiers(int(rule[mine[i]]), level),
                int(start),
                int(amount),
                self.plan.factor(int(self.campaign[mine[i]])),
            )
            for i, start, amount in zip(at, begins, brought, strict=True)
        ]
        total = _rounded(np.array(product, np.int64), self.plan.rounding)
        found[mine] = spread(total, group, basis[mine])
        return found

    # -- bonuses and caps --------------------------------------------------------------------------

    def _pay_bonuses(self) -> None:
        plan, orders = self.plan, self.orders
        if plan.first_order and orders.first is not None and orders.first.any():
            mine = np.flatnonzero(orders.first[self.lines.order] & (self.lines.base > 0))
            for bonus in plan.first_order:
                for level, pay in enumerate(bonus.pays):
                    self._add(self._bonus(pay, mine), mine, level)

    def _pay_milestones(self) -> None:
        """An amount for level 1 where the order brings its month's volume to a mark."""
        if not self.plan.milestones:
            return
        orders, lines = self.orders, self.lines
        before = np.zeros(self.count, np.int64)
        if orders.volume is not None:
            before = orders.volume[:, 0]
        net = lines.base if lines.net is None else lines.net
        sold = sums(net, lines.order, self.count)
        # by base; by what was sold where nothing of it earns
        base = sums(lines.base, lines.order, self.count)
        weight = np.where((base > 0)[lines.order], lines.base, net)
        for number, milestone in enumerate(self.plan.milestones):
            reached = (before < milestone.volume) & (milestone.volume <= before + sold)
            if orders.marks is not None:
                reached &= (orders.marks >> number) & 1 == 1
            mine = np.flatnonzero(reached[lines.order] & (weight > 0))
            amount = np.full(len(mine), milestone.amount, np.int64)
            self._add(self._once(amount, np.zeros_like(mine), mine, weight), mine, 0)

    def _bonus(self, pay: Pay, mine: Ints) -> Ints:
        base = self.lines.base[mine]
        match pay.kind:
            case Kind.PERCENT:
                return _rounded(base * pay.value, self.plan.rounding)
            case Kind.PER_UNIT:
                quantity = 1 if self.lines.quantity is None else self.lines.quantity[mine]
                return np.full(len(mine), pay.value, np.int64) * quantity
            case _:
                amount = np.full(len(mine), pay.value, np.int64)
                return self._once(amount, np.zeros_like(mine), mine, self.lines.base)

    def _add(self, bonus: Ints, mine: Ints, level: int) -> None:
        column = self.amount[:, level]
        column[mine] += np.where(self.filled[mine, level], bonus, 0)
        np.minimum(column, MAX_AMOUNT, out=column)

    def _cap(self) -> None:
        caps, lines = self.plan.caps, self.lines
        levels = list(range(MAX_LEVELS))
        if caps.line is not None:
            number = np.arange(len(lines.base))
            most = np.full(len(number), caps.line, np.int64)
            _scale(self.amount, levels, self.amount.sum(axis=1), most, number)
        if caps.order is not None:
            base = lines.base if lines.cap_base is None else lines.cap_base
            most = sums(base, lines.order, self.count) * caps.order // PPM
            wanted = sums(self.amount.sum(axis=1), lines.order, self.count)
            _scale(self.amount, levels, wanted, most, lines.order)


def _tiered(tiers: tuple[tuple[int, int], ...], start: int, amount: int, factor: int) -> int:
    """The product, in parts per million, of an amount that moves a volume on from ``start``."""
    end, product = start + amount, 0
    for (low, rate), high in zip(tiers, [*(low for low, _ in tiers[1:]), end], strict=True):
        part = max(min(end, max(high, low)) - max(start, low), 0)
        product += part * (rate * factor // PPM)
    return product
