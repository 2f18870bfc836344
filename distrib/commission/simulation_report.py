"""What a simulation comes to: sums over a stream of orders, and the report of them. Pure.

All amounts are integers in minor units. Simulated and paid stand side by side everywhere.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from distrib.commission.plan import MAX_LEVELS
from distrib.money import PPM, format_amount
from distrib.spreadsheet import safe_cell

Ints = np.ndarray[Any, np.dtype[np.int64]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]

MOST_GROUPS = 200
"""Categories or channels that a report names; the others are one."""
MOST_NAMED = 20
"""Distributors and orders that a report names of each sort."""


@dataclass(frozen=True, slots=True)
class Share:
    """A part of the orders: what it sold, and what it pays.

    :param name: of the category or channel; None where there is none.
    :param others: how many small ones this stands for, 0 when it is one.
    """

    name: str | None
    sales: int
    simulated: int
    paid: int
    others: int = 0


@dataclass(frozen=True, slots=True)
class Earner:
    """What one distributor would have got, and got."""

    distributor: str
    simulated: int
    paid: int


@dataclass(frozen=True, slots=True)
class OrderFound:
    """An order that the report names: one that pays another amount, or one that a cap limits.

    :param before: what was paid; of a capped order what it would pay without its caps.
    """

    shop: str
    external_id: str
    simulated: int
    before: int


@dataclass(frozen=True, slots=True)
class Report:
    """What a plan would have paid, beside what was paid.

    :param recorded: orders priced with what was kept of them, for their version says the same.
    :param sales: what the orders cost, less what came back.
    :param levels: simulated and paid, level 1 first.
    :param differing: orders of which some level pays another amount or another distributor.
    :param capped: orders that would pay more without the caps of the line and the order, and
        ``roomless`` without those of a distributor's day and month; ``cut`` is by how much.
    """

    currency: str
    first_day: str
    last_day: str
    orders: int
    recorded: int
    sales: int
    simulated: int
    paid: int
    levels: list[tuple[int, int]]
    categories: list[Share]
    channels: list[Share]
    gaining: int
    losing: int
    gain_most: list[Earner]
    lose_most: list[Earner]
    differing: int
    differ_most: list[OrderFound]
    capped: int
    roomless: int
    cut: int
    cut_most: list[OrderFound]

    @property
    def cost_ppm(self) -> int | None:
        """What it would have cost, in parts per million of the sales."""
        return _share(self.simulated, self.sales)

    @property
    def paid_ppm(self) -> int | None:
        """What it did cost."""
        return _share(self.paid, self.sales)

    def document(self) -> dict[str, Any]:
        """The report as JSON can keep it."""
        return asdict(self)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Report:
        """The report that :meth:`document` gave."""
        found = dict(document)
        found["levels"] = [(each[0], each[1]) for each in found["levels"]]
        for name in ("categories", "channels"):
            found[name] = [Share(**each) for each in found[name]]
        for name in ("gain_most", "lose_most"):
            found[name] = [Earner(**each) for each in found[name]]
        for name in ("differ_most", "cut_most"):
            found[name] = [OrderFound(**each) for each in found[name]]
        return cls(**found)


def _share(part: int, whole: int) -> int | None:
    return (2 * part * PPM + whole) // (2 * whole) if whole else None


@dataclass(frozen=True, slots=True)
class Priced:
    """A part of the stream, as it is counted.

    :param ids: of the orders; ``channel``, ``capped`` and so on are by order.
    :param owner: the order of each line; ``sales`` and ``category`` are by line.
    :param amount: simulated, by line and level; ``paid`` by order and level.
    :param upline: numbers of the distributors that would earn, by order and level, -1 for none.
    :param got: numbers of the distributors that got ``paid_amount``, of which line and order.
    :param uncapped: what each order would pay without any cap.
    """

    ids: Ints
    channel: Ints
    recorded: Bools
    owner: Ints
    starts: Ints
    sales: Ints
    category: Ints
    amount: Ints
    upline: Ints
    paid_order: Ints
    paid_line: Ints
    paid_level: Ints
    paid_amount: Ints
    got: Ints
    uncapped: Ints
    capped: Bools
    roomless: Bools


class _Groups:
    """Sales, simulated and paid by number; grows as numbers come. The last row is of no number."""

    def __init__(self) -> None:
        self.sums = np.zeros((1, 3), np.int64)

    def add(self, column: int, number: Ints, amount: Ints) -> None:
        """Add amounts to a column; number -1 is none."""
        most = int(number.max(initial=-1)) + 1
        if most >= len(self.sums):
            grown = np.zeros((2 * most + 1, 3), np.int64)
            grown[: len(self.sums) - 1] = self.sums[:-1]
            grown[-1] = self.sums[-1]
            self.sums = grown
        np.add.at(self.sums[:, column], number, amount)

    def shares(self, names: Sequence[str | None]) -> list[Share]:
        """By name, those that pay most first; the smallest together."""
        rows = self.sums.tolist()
        named = [names[n] if n < min(len(names), len(rows) - 1) else None for n in range(len(rows))]
        by_name: dict[str | None, list[int]] = {}
        for name, row in zip(named, rows, strict=True):
            if any(row):
                known = by_name.setdefault(name, [0, 0, 0])
                by_name[name] = [a + b for a, b in zip(known, row, strict=True)]
        made = [Share(name, *row) for name, row in by_name.items()]
        made.sort(key=lambda s: (-max(s.simulated, s.paid), -s.sales, s.name or ""))
        if len(made) <= MOST_GROUPS:
            return made
        rest = made[MOST_GROUPS - 1 :]
        others = Share(
            None,
            sum(each.sales for each in rest),
            sum(each.simulated for each in rest),
            sum(each.paid for each in rest),
            len(rest),
        )
        return [*made[: MOST_GROUPS - 1], others]


class _Most:
    """The orders with the largest of something: id → (simulated, before)."""

    def __init__(self) -> None:
        self.found: list[tuple[int, int, int, int]] = []

    def add(self, mine: Bools, size: Ints, ids: Ints, simulated: Ints, before: Ints) -> None:
        """Look at some more."""
        rows = np.flatnonzero(mine)
        if len(rows) > MOST_NAMED:
            rows = rows[np.argsort(-size[rows], kind="stable")[:MOST_NAMED]]
        columns = (-size[rows], ids[rows], simulated[rows], before[rows])
        self.found += list(zip(*(column.tolist() for column in columns), strict=True))
        self.found = sorted(self.found)[:MOST_NAMED]


def sums_of_runs(values: Ints, starts: Ints) -> Ints:
    """The sum of each run of rows; run n begins at ``starts[n]`` and ends at ``starts[n + 1]``."""
    total = np.zeros((len(values) + 1, *values.shape[1:]), np.int64)
    np.cumsum(values, axis=0, out=total[1:])
    made: Ints = total[starts[1:]] - total[starts[:-1]]
    return made


@dataclass
class Tally:
    """The sums so far.

    :param distributors: how many there are.
    """

    distributors: int
    orders: int = 0
    recorded: int = 0
    differing: int = 0
    capped: int = 0
    roomless: int = 0
    cut: int = 0
    sales: int = 0
    levels: Ints = field(default_factory=lambda: np.zeros((MAX_LEVELS, 2), np.int64))
    categories: _Groups = field(default_factory=_Groups)
    channels: _Groups = field(default_factory=_Groups)
    differ_most: _Most = field(default_factory=_Most)
    cut_most: _Most = field(default_factory=_Most)

    def __post_init__(self) -> None:
        # the last entry is of distributors that are not in the tree: there are none
        self.simulated_of = np.zeros(self.distributors + 1, np.int64)
        self.paid_of = np.zeros(self.distributors + 1, np.int64)

    def add(self, part: Priced) -> None:
        """Count some more orders."""
        count = len(part.ids)
        simulated = sums_of_runs(part.amount, part.starts)
        paid, got, mixed = _paid_by_order(part, count)
        self.orders += count
        self.recorded += int(part.recorded.sum())
        self.sales += int(part.sales.sum())
        self.levels[:, 0] += simulated.sum(axis=0)
        self.levels[:, 1] += paid.sum(axis=0)
        earning = part.upline.reshape(-1)
        np.add.at(self.simulated_of, earning, simulated.reshape(-1))
        if mixed:
            np.add.at(self.paid_of, part.got, part.paid_amount)
        else:
            np.add.at(self.paid_of, got.reshape(-1), paid.reshape(-1))
        of_order, paid_of_order = simulated.sum(axis=1), paid.sum(axis=1)
        self.categories.add(0, part.category, part.sales)
        self.categories.add(1, part.category, part.amount.sum(axis=1))
        line = part.paid_line
        of_line = part.category[np.maximum(line, 0)] if len(part.category) else line
        self.categories.add(2, np.where(line < 0, -1, of_line), part.paid_amount)
        self.channels.add(0, part.channel, sums_of_runs(part.sales, part.starts))
        self.channels.add(1, part.channel, of_order)
        self.channels.add(2, part.channel, paid_of_order)
        differs = (
            (simulated != paid) | ((simulated != 0) & (got != part.upline))
        ).any(axis=1)  # fmt: skip
        self.differing += int(differs.sum())
        size = np.abs(of_order - paid_of_order)
        self.differ_most.add(differs, size, part.ids, of_order, paid_of_order)
        cut = part.uncapped - of_order
        limited = part.capped | part.roomless
        self.capped += int(part.capped.sum())
        self.roomless += int(part.roomless.sum())
        self.cut += int(cut[limited].sum())
        self.cut_most.add(limited, cut, part.ids, of_order, part.uncapped)

    def report(
        self,
        *,
        currency: str,
        first_day: str,
        last_day: str,
        categories: Sequence[str | None],
        channels: Sequence[str | None],
        name_distributors: Callable[[list[int]], list[str]],
        find_orders: Callable[[list[int]], Mapping[int, tuple[str, str]]],
    ) -> Report:
        """The report.

        :param name_distributors: names by number.
        :param find_orders: shop and external id by id.
        """
        change = (self.simulated_of - self.paid_of)[:-1]
        gain, lose = _largest(change), _largest(-change)
        names = name_distributors([*gain, *lose])
        earners = [
            Earner(name, int(self.simulated_of[n]), int(self.paid_of[n]))
            for name, n in zip(names, [*gain, *lose], strict=True)
        ]
        differ, cut = self.differ_most.found, self.cut_most.found
        known = find_orders([row[1] for row in (*differ, *cut)])
        return Report(
            currency=currency,
            first_day=first_day,
            last_day=last_day,
            orders=self.orders,
            recorded=self.recorded,
            sales=self.sales,
            simulated=int(self.levels[:, 0].sum()),
            paid=int(self.levels[:, 1].sum()),
            levels=[(row[0], row[1]) for row in self.levels.tolist()],
            categories=self.categories.shares(categories),
            channels=self.channels.shares(channels),
            gaining=int((change > 0).sum()),
            losing=int((change < 0).sum()),
            gain_most=earners[: len(gain)],
            lose_most=earners[len(gain) :],
            differing=self.differing,
            differ_most=_found(differ, known),
            capped=self.capped,
            roomless=self.roomless,
            cut=self.cut,
            cut_most=_found(cut, known),
        )


def _paid_by_order(part: Priced, count: int) -> tuple[Ints, Ints, bool]:
    """What each order paid each level, and whom; and whether a level paid more than one."""
    paid = np.zeros((count, MAX_LEVELS), np.int64)
    cell = part.paid_order * MAX_LEVELS + part.paid_level
    np.add.at(paid.reshape(-1), cell, part.paid_amount)
    got = np.full((count, MAX_LEVELS), -1)
    got.reshape(-1)[cell] = part.got
    mixed = bool((got.reshape(-1)[cell] != part.got).any())
    return paid, got, mixed


def _largest(values: Ints) -> list[int]:
    """Where the largest values above zero are, the largest first."""
    mine = np.flatnonzero(values > 0)
    if len(mine) > MOST_NAMED:
        most = np.partition(values[mine], -MOST_NAMED)[-MOST_NAMED]
        mine = mine[values[mine] >= most]
    chosen: list[int] = mine[np.argsort(-values[mine], kind="stable")][:MOST_NAMED].tolist()
    return chosen


def _found(
    rows: Iterable[tuple[int, int, int, int]], known: Mapping[int, tuple[str, str]]
) -> list[OrderFound]:
    return [
        OrderFound(*known.get(order_id, ("", str(order_id))), simulated, before)
        for _, order_id, simulated, before in rows
    ]


ROWS = ("part", "name", "sales", "simulated", "paid")


def rows_of(report: Report) -> list[tuple[str, str, int | None, int, int]]:
    """The report as rows of a table, for an export: see :data:`ROWS`. Amounts in minor units."""
    rows: list[tuple[str, str, int | None, int, int]] = [
        ("total", "", report.sales, report.simulated, report.paid)
    ]
    rows += [
        ("level", str(level), None, *amounts) for level, amounts in enumerate(report.levels, 1)
    ]
    for part, shares in (("category", report.categories), ("channel", report.channels)):
        for each in shares:
            name = f"{each.others} others" if each.others else each.name or ""
            rows.append((part, name, each.sales, each.simulated, each.paid))
    for part, earners in (("gains", report.gain_most), ("loses", report.lose_most)):
        rows += [(part, each.distributor, None, each.simulated, each.paid) for each in earners]
    for part, orders in (("differs", report.differ_most), ("capped", report.cut_most)):
        rows += [
            (part, f"{each.shop}/{each.external_id}", None, each.simulated, each.before)
            for each in orders
        ]
    return rows


def as_csv(report: Report) -> str:
    """The same as a spreadsheet reads it, amounts in major units."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([*ROWS, "currency"])
    for part, name, *amounts in rows_of(report):
        shown = [
            "" if amount is None else format_amount(amount, report.currency, grouped=False)
            for amount in amounts
        ]
        writer.writerow([part, safe_cell(name or ""), *shown, report.currency])
    return text.getvalue()
