"""What plans ask of many past orders at once, where nobody's sales decide who earns. Pure.

What :func:`distrib.commission.earners.tell` and :func:`~distrib.commission.earners.rooms` find out
order by order, as running sums over a chunk: tests hold the two against each other. A plan with
eligibility is left to them: there who earns depends on what was earned before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from distrib.commission.earners import ENDLESS, Standing
from distrib.commission.plan import Plan
from distrib.commission.simulation_tree import EPOCH, NOBODY, Forest

Ints = np.ndarray[Any, np.dtype[np.int64]]


class Ladder:
    """The rank of every distributor at any instant, as a number of a plan's ranks."""

    def __init__(
        self,
        plan: Plan,
        forest: Forest,
        standings: Mapping[int, Sequence[tuple[datetime, Standing]]],
    ) -> None:
        numbers = {each.name: number for number, each in enumerate(plan.ranks, 1)}
        rows = [
            (who, (since - EPOCH) // timedelta(microseconds=1), numbers.get(standing.rank or "", 0))
            for who, those in standings.items()
            for since, standing in those
        ]
        who, since, self._rank = np.array(rows, np.int64).reshape(-1, 3).T
        self._who = forest.number(who)
        self._times = np.unique(since)
        self._spans = len(self._times) + 1
        keys = self._who * self._spans + np.searchsorted(self._times, since) + 1
        sequence = np.argsort(keys)
        self._keys, self._who, self._rank = (
            column[sequence] for column in (keys, self._who, self._rank)
        )

    def ranks(self, who: Ints, at: Ints) -> Ints:
        """The ranks of distributors by number; ``at`` is by row. 0 for none."""
        if not len(self._keys):
            return np.zeros(who.shape, np.int64)
        span = np.searchsorted(self._times, at, side="right")[:, None]
        place = np.searchsorted(self._keys, who * self._spans + span, side="right") - 1
        there = (who != NOBODY) & (place >= 0)
        there &= self._who[place] == who
        return np.where(there, self._rank[place], 0)


class Running:
    """A sum for each distributor that begins anew with each period; periods come in order."""

    def __init__(self, distributors: int) -> None:
        self._count = distributors
        self._period = -1
        self._sums = np.zeros(distributors + 1, np.int64)  # the last is nobody's

    def before(self, period: Ints, who: Ints, amount: Ints, asked: Ints) -> Ints:
        """What had been summed for those ``asked`` before each row; the rows are then added.

        :param period: of each row, ascending.
        :param who: numbers, -1 for nobody; ``amount`` likewise. Nobody twice in a row.
            Shape (n, any).
        :param asked: numbers. Shape (n, any).
        """
        if not len(period):
            return np.zeros(asked.shape, np.int64)
        rows = len(period)
        _, first, number = np.unique(period, return_index=True, return_inverse=True)
        group = (number.reshape(-1) * self._count)[:, None]
        row = np.arange(rows)[:, None]
        there = who != NOBODY
        keys = ((group + who) * rows + row)[there]
        sequence = np.argsort(keys)
        keys = keys[sequence]
        total = np.concatenate([[0], np.cumsum(amount[there][sequence])])
        wanted = (group + asked) * rows
        until = np.searchsorted(keys, (wanted + row).reshape(-1))
        sums = total[until] - total[np.searchsorted(keys, wanted.reshape(-1))]
        found: Ints = sums.reshape(asked.shape)
        if int(period[0]) == self._period:
            # only those of the period that the rows before were in
            begun = (number.reshape(-1) == 0)[:, None] & (asked != NOBODY)
            found = found + np.where(begun, self._sums[asked], 0)
        self._add(period, who, amount, int(first[-1]))
        found[asked == NOBODY] = 0
        return found

    def _add(self, period: Ints, who: Ints, amount: Ints, last: int) -> None:
        """Keep the sums of the last period, whose rows begin at ``last``."""
        if int(period[-1]) != self._period:
            self._sums = np.zeros(self._count + 1, np.int64)
            self._period = int(period[-1])
        there = who[last:] != NOBODY
        np.add.at(self._sums, who[last:][there], amount[last:][there])


class Memory:
    """What distributors have sold and earned, brought up to date chunk by chunk."""

    def __init__(
        self,
        plan: Plan,
        forest: Forest,
        standings: Mapping[int, Sequence[tuple[datetime, Standing]]],
    ) -> None:
        self.plan = plan
        self.ladder = Ladder(plan, forest, standings)
        self._sold, self._day, self._month = (Running(len(forest.ids)) for _ in range(3))

    def volumes(self, month: Ints, credited: Ints, sold: Ints, upline: Ints) -> Ints:
        """What each earner had sold in the month before each order. The rows are orders in order
        of time; distributors by number."""
        if not self.plan.uses_volume:
            return np.zeros(upline.shape, np.int64)
        return self._sold.before(month, credited[:, None], sold[:, None], upline)

    def marks(self, credited: Ints, upline: Ints) -> Ints:
        """Which milestones each order can reach: volumes only rise here, so each is passed once."""
        every = (1 << len(self.plan.milestones)) - 1
        return np.where((credited != NOBODY) & (credited == upline[:, 0]), every, 0)

    def rooms(self, day: Ints, month: Ints, upline: Ints, wanted: Ints) -> Ints:
        """How much each earner may get of each order, given what it gets of those before.

        What was earned in a day is what was wanted, or the cap. In a month it is the sum of that,
        or the cap; once that is reached there is no room, whatever the day's would be.
        """
        caps = self.plan.caps
        room = np.full(upline.shape, ENDLESS)
        if caps.day is not None:
            room = np.maximum(caps.day - self._day.before(day, upline, wanted, upline), 0)
        if caps.month is not None:
            got = np.minimum(wanted, room)
            before = self._month.before(month, upline, got, upline)
            room = np.minimum(room, np.maximum(caps.month - before, 0))
        room[upline == NOBODY] = ENDLESS
        return room
