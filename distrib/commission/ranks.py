"""Ranks that a month's sales earn."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from distrib import clock
from distrib.brands.tables import Brand
from distrib.commission.plan import Rank
from distrib.commission.service import compiled_plan
from distrib.commission.tables import PlanVersion
from distrib.db import Lock, lock
from distrib.errors import Conflict
from distrib.tree.standing import earn_ranks


class NoEarnedRanks(Conflict):
    """The plan in force has no ranks that sales earn."""

    title = "No rank of the plan in force is earned by sales"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What evaluating a month did.

    :param earned: how many distributors sold enough, by rank, lowest first.
    :param changed: how many standings are different from now on.
    """

    month: date
    earned: dict[str, int]
    changed: int


_VOLUMES = text(
    """
    SELECT distributor_id, sum(volume)::bigint AS volume FROM distributor_day
    WHERE brand_id = :brand_id AND day >= :month AND day < :month + interval '1 month'
    GROUP BY distributor_id
    """
)


def rank_for(ladder: tuple[Rank, ...], volume: int) -> str | None:
    """The highest rank that a month's volume earns."""
    earned = [rank.name for rank in ladder if rank.volume is not None and volume >= rank.volume]
    return earned[-1] if earned else None


def _last_whole_month(brand: Brand) -> date:
    today = clock.day_of(clock.now(), brand.time_zone)
    return (today.replace(day=1) - timedelta(days=1)).replace(day=1)


def _ladder(session: Session, brand: Brand) -> tuple[Rank, ...]:
    """The ranks of the plan in force, if sales earn any of them."""
    version = session.scalar(
        select(PlanVersion.id)
        .where(PlanVersion.brand_id == brand.id, PlanVersion.effective_from <= clock.now())
        .order_by(PlanVersion.effective_from.desc())
        .limit(1)
    )
    if version is None:
        return ()
    ladder = compiled_plan(session, brand_id=brand.id, version_id=version).ranks
    return ladder if any(rank.volume is not None for rank in ladder) else ()


def ranks_are_due(session: Session, *, brand: Brand) -> bool:
    """Whether the last whole month has not been evaluated, and the plan in force asks for it."""
    done = brand.ranks_month
    if not brand.counts_sales or (done is not None and done >= _last_whole_month(brand)):
        return False
    return bool(_ladder(session, brand))


def evaluate_ranks(
    session: Session, *, brand: Brand, month: date | None = None, changed_by: str
) -> Evaluation:
    """Give each distributor the rank that its sales of a month earn, from now on.

    Ranks given by hand stay. Evaluating the same month again changes only what refunds changed.

    :param month: any day of it; default is the last whole month where the brand lives.
    :raises NoEarnedRanks: when the plan in force has none.
    """
    lock(session, brand.id, Lock.FACTS)
    month = (month or _last_whole_month(brand)).replace(day=1)
    ladder = _ladder(session, brand)
    if not ladder:
        raise NoEarnedRanks("publish a plan whose ranks say their month_volume")
    ranks = {}
    for row in session.execute(_VOLUMES, {"brand_id": brand.id, "month": month}):
        if (rank := rank_for(ladder, row.volume)) is not None:
            ranks[row.distributor_id] = rank
    earned = {rank.name: 0 for rank in ladder if rank.volume is not None}
    for name in ranks.values():
        earned[name] += 1
    changed = earn_ranks(session, brand_id=brand.id, ranks=ranks, changed_by=changed_by)
    session.execute(
        update(Brand)
        .where(Brand.id == brand.id)
        .values(ranks_month=func.greatest(Brand.ranks_month, month))
    )
    return Evaluation(month, earned, changed)
