"""Pricing a chunk of past orders under a simulated plan."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import numpy as np

from distrib.commission.earners import ENDLESS, Ledger, Sale, rooms, tell
from distrib.commission.engine import Orders, Result, limit
from distrib.commission.facts import as_computed
from distrib.commission.known import Known, nothing_known, price_by
from distrib.commission.plan import MAX_LEVELS, Plan, SelfPurchase, Unfilled
from distrib.commission.simulation_facts import Memory
from distrib.commission.simulation_read import Chunk
from distrib.commission.simulation_report import Priced, sums_of_runs
from distrib.commission.simulation_tree import EPOCH, NOBODY, Forest
from distrib.commission.standings import HIGHEST

Ints = np.ndarray[Any, np.dtype[np.int64]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True, slots=True)
class _Known(Known):
    """What is known of orders, their instants in numbers already.

    :param instants: microseconds since 1970; ``at`` is left empty.
    """

    instants: Ints = field(default_factory=lambda: np.zeros(0, np.int64))

    def orders(self, plan: Plan) -> Orders:
        """What the engine needs of it."""
        return Orders(
            upline=self.upline,
            channel=self.channel,
            at=self.instants,
            first=self.first,
            rank=self.rank,
            volume=self.volume,
            room=self.room if plan.uses_room else None,
            marks=self.marks,
        )


@dataclass(slots=True)
class _Told:
    """What a plan is told of a chunk's orders.

    :param number: of who earns, -1 for nobody; ``upline`` has the ids.
    :param sequence: the orders in order of time, where that matters; ``sales`` likewise.
    """

    number: Ints
    upline: Ints
    first: Bools
    rank: Ints
    volume: Ints
    room: Ints
    marks: Ints
    sequence: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    sales: list[Sale] = field(default_factory=list)


class Pricing:
    """Prices chunk after chunk.

    :param same: ids of the versions that say the same as the plan.
    :param past: what was sold and earned so far, order by order or chunk by chunk; None where the
        plan does not ask, or all that it asks was kept.
    """

    def __init__(
        self, plan: Plan, same: Collection[int], forest: Forest, past: Ledger | Memory | None
    ) -> None:
        self.plan = plan
        self.same = np.array(sorted(same), np.int64)
        self.forest = forest
        self.ledger = past if isinstance(past, Ledger) else None
        self.memory = past if isinstance(past, Memory) else None
        self.channels: list[str | None] = []

    def price(self, chunk: Chunk) -> Priced:
        """What the orders would have paid."""
        plan = self.plan
        recorded = np.isin(chunk.version, self.same)
        told = self._tell(chunk)
        kept = self._put_kept(chunk, recorded, told)
        known = _Known(
            plan=(),
            at=(),
            channel=self._channels_of(chunk),
            upline=told.upline,
            first=told.first,
            rank=told.rank,
            volume=told.volume,
            room=np.full_like(told.room, ENDLESS),
            marks=told.marks,
            instants=chunk.at,
        )
        limited = bool(plan.caps.order is not None or plan.caps.line is not None)
        result = price_by(plan, known, chunk.owner, chunk.goods, chunk.left, trace=limited)
        wanted = sums_of_runs(result.amount, chunk.starts)
        uncapped = capped = wanted.sum(axis=1)
        if limited:
            cut = result.stages["bonus"] - result.stages["cap"]
            uncapped = capped + sums_of_runs(cut.sum(axis=1), chunk.starts)
        if plan.uses_room:
            found = self._rooms(chunk, told, wanted)
            result = limit(result, chunk.owner, np.where(kept[:, None], told.room, found))
        return self._part(
            chunk,
            result,
            number=told.number,
            upline=told.upline,
            recorded=recorded,
            uncapped=uncapped,
            capped=capped,
        )

    def _tell(self, chunk: Chunk) -> _Told:
        """What the plan would have been told, but for what is kept."""
        credited, chain = self._credited(chunk)
        number = chain[:, :MAX_LEVELS].copy()
        _, rank, volume, room = nothing_known(len(chunk.id))
        marks = np.zeros(len(chunk.id), np.int64)
        told = _Told(
            number, self.forest.id_of(number), chunk.first.copy(), rank, volume, room, marks
        )
        if self.ledger is not None:
            told.sequence = sequence = np.lexsort((chunk.id, chunk.at))
            told.sales = self._sales(chunk, sequence, credited, chain)
            found = tell(told.sales, self.ledger)
            told.upline[sequence], rank[sequence] = found.upline, found.rank
            volume[sequence], marks[sequence] = found.volume, found.marks
            told.number = self.forest.number(told.upline)
        elif self.memory is not None:
            told.sequence = sequence = np.lexsort((chunk.id, chunk.at))
            number[:, self.plan.levels :] = NOBODY
            told.upline = self.forest.id_of(number)
            seller = self.forest.number(credited)
            sold = sums_of_runs(chunk.left.net, chunk.starts)
            told.rank = self.memory.ladder.ranks(number, chunk.at)
            volume[sequence] = self.memory.volumes(
                _month(chunk)[sequence], seller[sequence], sold[sequence], number[sequence]
            )
            told.marks = self.memory.marks(seller, number)
        return told

    def _put_kept(self, chunk: Chunk, recorded: Bools, told: _Told) -> Bools:
        """Put what was kept of orders in the place of what was found out; of which it was."""
        kept = np.zeros(len(chunk.id), bool)
        if chunk.recorded is None:
            return kept
        of = recorded[chunk.recorded.order]
        mine = chunk.recorded.order[of]
        if not len(mine):
            return kept
        kept[mine] = True
        told.first[mine] = chunk.recorded.first[of]
        told.upline[mine], told.rank[mine] = chunk.recorded.upline[of], chunk.recorded.rank[of]
        told.volume[mine], told.marks[mine] = chunk.recorded.volume[of], chunk.recorded.marks[of]
        told.room[mine] = as_computed(chunk.recorded.room[of])
        told.number = self.forest.number(told.upline)
        # what a refund freed under a distributor's cap may have gone to another order
        refunded = kept & chunk.refunded
        if refunded.any():
            told.room[refunded] = np.minimum(told.room, _paid(chunk))[refunded]
        return kept

    def _rooms(self, chunk: Chunk, told: _Told, wanted: Ints) -> Ints:
        """What the caps of days and months leave each earner of each order."""
        sequence = told.sequence
        made = np.full_like(wanted, ENDLESS)
        if self.ledger is not None:
            made[sequence] = rooms(told.sales, told.upline[sequence], wanted[sequence], self.ledger)
        elif self.memory is not None:
            made[sequence] = self.memory.rooms(
                chunk.day[sequence],
                _month(chunk)[sequence],
                told.number[sequence],
                wanted[sequence],
            )
        return made

    def _part(
        self,
        chunk: Chunk,
        result: Result,
        *,
        number: Ints,
        upline: Ints,
        recorded: Bools,
        uncapped: Ints,
        capped: Ints,
    ) -> Priced:
        paid = chunk.paid
        # who got a commission is nearly always who would get it: that number is known
        got = number[paid.order, paid.level]
        others = np.flatnonzero(upline[paid.order, paid.level] != paid.distributor)
        if len(others):
            got[others] = self.forest.number(paid.distributor[others])
        after = sums_of_runs(result.amount.sum(axis=1), chunk.starts)
        return Priced(
            ids=chunk.id,
            channel=chunk.channel,
            recorded=recorded,
            owner=chunk.owner,
            starts=chunk.starts,
            sales=chunk.left.net,
            category=chunk.category,
            amount=result.amount,
            upline=number,
            paid_order=paid.order,
            paid_line=paid.line,
            paid_level=paid.level,
            paid_amount=paid.amount,
            got=got,
            uncapped=uncapped,
            capped=uncapped > capped,
            roomless=capped > after,
        )

    def _credited(self, chunk: Chunk) -> tuple[Ints, Ints]:
        """Ids of whom orders are credited to, and numbers of who stood above: what
        :func:`distrib.commission.earners.credited` says, for many."""
        plan = self.plan
        bought = chunk.buyer != 0
        of = np.where(bought, chunk.buyer, chunk.distributor)
        depth = MAX_LEVELS
        if self.ledger is not None and plan.eligibility and plan.unfilled is Unfilled.ROLL_UP:
            depth = HIGHEST
        by_sponsor = bool(bought.any()) and plan.self_purchase is SelfPurchase.SPONSOR_FIRST
        chain = self.forest.chains(self.forest.number(of), chunk.at, depth + by_sponsor)
        if not bought.any():
            return of, chain
        if plan.self_purchase is SelfPurchase.OFF:
            of = np.where(bought, 0, of)
            chain[bought] = NOBODY
        elif by_sponsor:
            above = chain[:, 1:]
            chain = np.where(bought[:, None], above, chain[:, :-1])
            of = np.where(bought, self.forest.id_of(above[:, 0]), of)
        return of, chain

    def _sales(self, chunk: Chunk, sequence: Ints, credited: Ints, chain: Ints) -> list[Sale]:
        """The orders in order of time, as what decides about earners looks at them."""
        volume = sums_of_runs(chunk.left.net, chunk.starts)
        ids = self.forest.id_of(chain)
        columns = (chunk.at, chunk.day, credited, ids, volume)
        days: dict[int, date] = {}
        made = []
        rows = zip(*(column[sequence].tolist() for column in columns), strict=True)
        for at, day, who, above, sold in rows:
            if day not in days:
                days[day] = date(1970, 1, 1) + timedelta(days=day)
            instant = EPOCH + timedelta(microseconds=at)
            made.append(Sale(self.plan, instant, days[day], who or None, tuple(above), sold))
        return made

    def _channels_of(self, chunk: Chunk) -> list[str | None]:
        found: list[str | None] = np.array(self.channels, object)[chunk.channel].tolist()
        return found


def _month(chunk: Chunk) -> Ints:
    """The month of each order, as a number."""
    return chunk.day.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)


def _paid(chunk: Chunk) -> Ints:
    """What each order has paid each level."""
    paid = np.zeros((len(chunk.id), MAX_LEVELS), np.int64)
    np.add.at(paid, (chunk.paid.order, chunk.paid.level), chunk.paid.amount)
    return paid


def only(part: Priced, mine: Bools) -> Priced:
    """Some of the orders."""
    if mine.all():
        return part
    number = np.cumsum(mine) - 1
    lines, paid = mine[part.owner], mine[part.paid_order]
    line_number = np.append(np.cumsum(lines) - 1, -1)
    counts = np.diff(part.starts)[mine]
    return Priced(
        ids=part.ids[mine],
        channel=part.channel[mine],
        recorded=part.recorded[mine],
        owner=number[part.owner[lines]],
        starts=np.concatenate([[0], np.cumsum(counts)]),
        sales=part.sales[lines],
        category=part.category[lines],
        amount=part.amount[lines],
        upline=part.upline[mine],
        paid_order=number[part.paid_order[paid]],
        paid_line=line_number[part.paid_line[paid]],
        paid_level=part.paid_level[paid],
        paid_amount=part.paid_amount[paid],
        got=part.got[paid],
        uncapped=part.uncapped[mine],
        capped=part.capped[mine],
        roomless=part.roomless[mine],
    )
