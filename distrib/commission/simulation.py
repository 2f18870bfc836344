"""Simulating a plan: what it would have paid on past orders, beside what was paid.

Nothing is written. Each order is taken with what remains of it after its refunds, for what it and
its refunds have paid sums to what the engine answers on that; and with the tree of its own time.

What a plan asks beside (ranks, volumes, room under a cap, first orders) was kept with the orders
whose version says the same as the plan: these are priced with what was kept, and so give what was
posted, to the cent. For all others it is found out as it would have been then, order by order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from distrib import clock
from distrib.brands.jurisdiction import channel_levels
from distrib.brands.tables import Brand
from distrib.commission.earners import ENDLESS, Ledger, Sale, rooms, tell
from distrib.commission.engine import Orders, Result, limit
from distrib.commission.facts import as_computed
from distrib.commission.known import Known, nothing_known, price_by
from distrib.commission.plan import MAX_LEVELS, Plan, SelfPurchase, Unfilled
from distrib.commission.plan_document import document_hash
from distrib.commission.service import check_plan, compiled_plan, get_plan_version
from distrib.commission.simulation_read import (
    Chunk,
    Reader,
    read_all_standings,
    read_forest,
)
from distrib.commission.simulation_report import Priced, Report, Tally, sums_of_runs
from distrib.commission.simulation_tree import NOBODY, Forest
from distrib.commission.standings import HIGHEST
from distrib.commission.tables import PlanVersion
from distrib.db import cursor
from distrib.errors import InvalidInput
from distrib.orders.tables import Order
from distrib.tree.tables import Distributor

Ints = np.ndarray[Any, np.dtype[np.int64]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_DAY, _LAST_DAY = date(1970, 1, 2), date(2200, 12, 31)


class DaysInvalid(InvalidInput):
    """The days end before they begin, or lie outside the calendar."""

    title = "The days cannot be simulated"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A plan to simulate.

    :param same: ids of the brand's versions that say the same.
    """

    document: dict[str, Any]
    content_hash: bytes
    plan: Plan
    same: frozenset[int]


def candidate_of_document(session: Session, *, brand: Brand, document: Any) -> Candidate:
    """A document as the brand would publish it now.

    :raises PlanInvalid: naming the place and the reason.
    """
    plan = check_plan(session, brand_id=brand.id, document=document)
    plan = replace(plan, channel_levels=channel_levels(session, brand=brand))
    return _candidate(session, brand, document, plan)


def candidate_of_version(session: Session, *, brand: Brand, number: int) -> Candidate:
    """A version, as it was published.

    :raises PlanVersionNotFound: when there is none of that number.
    """
    version = get_plan_version(session, brand_id=brand.id, number=number)
    plan = compiled_plan(session, brand_id=brand.id, version_id=version.id)
    found = _candidate(session, brand, version.document, plan)
    return replace(found, same=found.same | {version.id})


def _candidate(session: Session, brand: Brand, document: dict[str, Any], plan: Plan) -> Candidate:
    digest = document_hash(document)
    same = session.scalars(
        select(PlanVersion).where(
            PlanVersion.brand_id == brand.id, PlanVersion.content_hash == digest
        )
    )
    return Candidate(
        document,
        digest,
        plan,
        frozenset(
            version.id
            for version in same
            if (version.levels, version.channel_levels) == (plan.levels, plan.channel_levels)
        ),
    )


def count_orders(
    session: Session, *, brand: Brand, first: date, last: date, most: int | None = None
) -> int:
    """How many orders a simulation of these days would look at; at most ``most`` are counted."""
    begin, end = _instants(brand, first, last)
    scope = {"brand": brand.id, "begin": begin, "end": end, "most": most}
    row = cursor(session).execute(_COUNT, scope).fetchone()
    return int(row[0]) if row else 0


_COUNT = """
SELECT count(*) FROM (
    SELECT FROM orders o
    WHERE o.brand_id = %(brand)s AND o.effective_at > '-infinity'
      AND o.effective_at >= %(begin)s AND o.effective_at < %(end)s
    LIMIT %(most)s) o
"""


def simulate_plan(
    session: Session,
    *,
    brand: Brand,
    candidate: Candidate,
    first: date,
    last: date,
    on_progress: Callable[[int], object] | None = None,
) -> Report:
    """What a plan would have paid on the orders of some days. To be called in a snapshot.

    Orders of the month before the first day are looked at too where the plan asks for volumes or
    limits what is earned, and not reported.

    :param first: a day where the brand lives; ``last`` is the last one, included.
    :param on_progress: called with the number of orders looked at so far.
    :raises DaysInvalid: when ``last`` lies before ``first``.
    """
    begin, end = _instants(brand, first, last)
    return simulate_span(
        session,
        brand=brand,
        candidate=candidate,
        begin=begin,
        end=end,
        days=(first, last),
        on_progress=on_progress,
    )


def simulate_span(
    session: Session,
    *,
    brand: Brand,
    candidate: Candidate,
    begin: datetime,
    end: datetime,
    days: tuple[date, date],
    on_progress: Callable[[int], object] | None = None,
) -> Report:
    """The same for the orders from an instant to another, which lie in some ``days``."""
    plan, (first, last), since = candidate.plan, days, _microseconds(begin)
    cur = cursor(session)
    kept = _all_kept(session, brand, candidate, begin, end)
    asks = plan.uses_facts and not kept
    if asks:
        begin = _instants(brand, _warm_up(plan, first), last)[0]
    reader = Reader(
        cur,
        brand,
        plan,
        begin,
        end,
        days=asks,
        facts=plan.uses_facts and bool(candidate.same),
    )
    forest = read_forest(cur, brand.id)
    standings: Any = read_all_standings(cur, brand.id) if asks else {}
    pricing = _Pricing(candidate, forest, Ledger({}, standings) if asks else None)
    tally = Tally(len(forest.ids))
    for chunk in reader.chunks():
        if len(reader.channels.texts) != len(pricing.channels):
            pricing.channels = list(reader.channels.texts)
        part = pricing.price(chunk)
        if asks:
            part = _only(part, chunk.at >= since)
        tally.add(part)
        if on_progress is not None:
            on_progress(tally.orders)

    def name_distributors(numbers: list[int]) -> list[str]:
        wanted = forest.id_of(np.array(numbers, np.int64)).tolist()
        rows = session.execute(
            select(Distributor.id, Distributor.external_id).where(
                Distributor.brand_id == brand.id, Distributor.id.in_(wanted)
            )
        )
        names = {row.id: row.external_id for row in rows}
        return [names.get(each, str(each)) for each in wanted]

    def find_orders(ids: list[int]) -> Mapping[int, tuple[str, str]]:
        rows = session.execute(
            select(Order.id, Order.shop, Order.external_id).where(
                Order.brand_id == brand.id, Order.id.in_(ids)
            )
        )
        return {row.id: (row.shop, row.external_id) for row in rows}

    return tally.report(
        currency=brand.currency,
        first_day=first.isoformat(),
        last_day=last.isoformat(),
        categories=reader.categories.texts,
        channels=reader.channels.texts,
        name_distributors=name_distributors,
        find_orders=find_orders,
    )


def _instants(brand: Brand, first: date, last: date) -> tuple[datetime, datetime]:
    if first > last:
        raise DaysInvalid(f"{last} lies before {first}", field="orders")
    if not _FIRST_DAY <= first <= last <= _LAST_DAY:
        raise DaysInvalid("the days must lie between 1970 and 2200", field="orders")
    zone = clock.zone(brand.time_zone)
    begin = datetime.combine(first, time.min, zone)
    end = datetime.combine(last + timedelta(days=1), time.min, zone)
    return begin.astimezone(UTC), end.astimezone(UTC)


def _microseconds(instant: datetime) -> int:
    return (instant - _EPOCH) // timedelta(microseconds=1)


def _warm_up(plan: Plan, first: date) -> date:
    """The day from which sales matter for orders of ``first``."""
    begins = first
    if plan.uses_volume or plan.uses_room:
        begins = first.replace(day=1)
    if plan.eligibility.sold_within_days is not None:
        begins = min(begins, first - timedelta(days=plan.eligibility.sold_within_days))
    return max(begins, _FIRST_DAY)


def _all_kept(
    session: Session, brand: Brand, candidate: Candidate, begin: datetime, end: datetime
) -> bool:
    """Whether one version that says the same was in force all the time."""
    versions = session.execute(
        select(PlanVersion.id, PlanVersion.effective_from)
        .where(PlanVersion.brand_id == brand.id, PlanVersion.effective_from < end)
        .order_by(PlanVersion.effective_from)
    ).all()
    before = [row.id for row in versions if row.effective_from <= begin][-1:]
    within = [row.id for row in versions if row.effective_from > begin]
    return bool(before) and candidate.same.issuperset([*before, *within])


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


class _Pricing:
    """Prices chunk after chunk.

    :param ledger: what was sold and earned so far; None where the plan does not ask, or all that
        it asks was kept.
    """

    def __init__(self, candidate: Candidate, forest: Forest, ledger: Ledger | None) -> None:
        self.plan = candidate.plan
        self.same = np.array(sorted(candidate.same), np.int64)
        self.forest = forest
        self.ledger = ledger
        self.channels: list[str | None] = []

    def price(self, chunk: Chunk) -> Priced:
        """What the orders would have paid."""
        plan = self.plan
        recorded = np.isin(chunk.version, self.same)
        credited, chain = self._credited(chunk)
        number = chain[:, :MAX_LEVELS]
        upline = self.forest.id_of(number)
        _, rank, volume, room = nothing_known(len(chunk.id))
        marks = np.zeros(len(chunk.id), np.int64)
        sales: list[Sale] = []
        sequence = np.lexsort((chunk.id, chunk.at))
        if self.ledger is not None:
            sales = self._sales(chunk, sequence, credited, chain)
            told = tell(sales, self.ledger)
            upline[sequence], rank[sequence], volume[sequence] = told.upline, told.rank, told.volume
            marks[sequence] = told.marks
        first = chunk.first.copy()
        kept = np.zeros(len(chunk.id), bool)
        if chunk.recorded is not None:
            of = recorded[chunk.recorded.order]
            mine = chunk.recorded.order[of]
            kept[mine] = True
            first[mine] = chunk.recorded.first[of]
            upline[mine], rank[mine] = chunk.recorded.upline[of], chunk.recorded.rank[of]
            volume[mine] = chunk.recorded.volume[of]
            room[mine] = as_computed(chunk.recorded.room[of])
            marks[mine] = chunk.recorded.marks[of]
        if self.ledger is not None or kept.any():
            number = self.forest.number(upline)
        # what a refund freed under a distributor's cap may have gone to another order
        refunded = kept & chunk.refunded
        if refunded.any():
            room[refunded] = np.minimum(room, _paid(chunk))[refunded]
        known = _Known(
            plan=(),
            at=(),
            channel=self._channels_of(chunk),
            upline=upline,
            first=first,
            rank=rank,
            volume=volume,
            room=np.full_like(room, ENDLESS),
            marks=marks,
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
            if self.ledger is not None:
                found = rooms(sales, upline[sequence], wanted[sequence], self.ledger)
                again = np.empty_like(found)
                again[sequence] = found
                room[~kept] = again[~kept]
            result = limit(result, chunk.owner, room)
        return self._part(
            chunk,
            result,
            number=number,
            upline=upline,
            recorded=recorded,
            uncapped=uncapped,
            capped=capped,
        )

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
            instant = _EPOCH + timedelta(microseconds=at)
            made.append(Sale(self.plan, instant, days[day], who or None, tuple(above), sold))
        return made

    def _channels_of(self, chunk: Chunk) -> list[str | None]:
        found: list[str | None] = np.array(self.channels, object)[chunk.channel].tolist()
        return found


def _paid(chunk: Chunk) -> Ints:
    """What each order has paid each level."""
    paid = np.zeros((len(chunk.id), MAX_LEVELS), np.int64)
    np.add.at(paid, (chunk.paid.order, chunk.paid.level), chunk.paid.amount)
    return paid


def _only(part: Priced, mine: Bools) -> Priced:
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
