"""Simulating a plan: what it would have paid on past orders, beside what was paid.

Nothing is written. Each order is taken with what remains of it after its refunds, for what it and
its refunds have paid sums to what the engine answers on that; and with the tree of its own time.

What a plan asks beside (ranks, volumes, room under a cap, first orders) was kept with the orders
whose version says the same as the plan: these are priced with what was kept, and so give what was
posted, to the cent. For all others it is found out as it would have been then, order by order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from distrib import clock
from distrib.brands.jurisdiction import channel_levels
from distrib.brands.tables import Brand
from distrib.commission.earners import Ledger
from distrib.commission.plan import Plan
from distrib.commission.plan_document import document_hash
from distrib.commission.service import check_plan, compiled_plan, get_plan_version
from distrib.commission.simulation_facts import Memory
from distrib.commission.simulation_pricing import Pricing, only
from distrib.commission.simulation_read import (
    Reader,
    read_all_standings,
    read_forest,
)
from distrib.commission.simulation_report import Report, Tally
from distrib.commission.simulation_tree import EPOCH
from distrib.commission.tables import PlanVersion
from distrib.db import cursor
from distrib.errors import InvalidInput
from distrib.orders.tables import Order
from distrib.tree.tables import Distributor

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
    # which order is a buyer's first needs no looking back: the database says it of each
    looks_back = plan.uses_volume or plan.uses_room or plan.uses_rank or bool(plan.eligibility)
    asks = looks_back and not kept
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
    past: Ledger | Memory | None = None
    if asks:
        standings = read_all_standings(cur, brand.id)
        # where sales decide who earns it goes order by order
        one_by_one = bool(plan.eligibility)
        past = Ledger({}, standings) if one_by_one else Memory(plan, forest, standings)
    pricing = Pricing(plan, candidate.same, forest, past)
    tally = Tally(len(forest.ids))
    for chunk in reader.chunks():
        if len(reader.channels.texts) != len(pricing.channels):
            pricing.channels = list(reader.channels.texts)
        part = pricing.price(chunk)
        if asks:
            part = only(part, chunk.at >= since)
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
    return (instant - EPOCH) // timedelta(microseconds=1)


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
