"""Ranks that a month's sales earn."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from sqlalchemy import select, text
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


def evaluate_ranks(
    session: Session, *, brand: Brand, month: date | None = None, changed_by: str
) -> Evaluation:
    """Give each distributor the rank that its sales of a month earn, from now on.

    Ranks given by hand stay. Evaluating the same month again changes only what refunds changed.

    :param month: any day of it; default is the last whole month where the brand lives.
    :raises NoEarnedRanks: when the plan in force has none.
    """
    lock(session, brand.id, Lock.FACTS)
    now = clock.now()
    if month is None:
        month = clock.day_of(now, brand.time_zone).replace(day=1) - timedelta(days=1)
    month = month.replace(day=1)
    version = session.scalar(
        select(PlanVersion.id)
        .where(PlanVersion.brand_id == brand.id, PlanVersion.effective_from <= now)
        .order_by(PlanVersion.effective_from.desc())
        .limit(1)
    )
    ladder: tuple[Rank, ...] = ()
    if version is not None:
        ladder = compiled_plan(session, brand_id=brand.id, version_id=version).ranks
    if not any(rank.volume is not None for rank in ladder):
        raise NoEarnedRanks("publish a plan whose ranks say their month_volume")
    ranks = {}
    for row in session.execute(_VOLUMES, {"brand_id": brand.id, "month": month}):
        if (rank := rank_for(ladder, row.volume)) is not None:
            ranks[row.distributor_id] = rank
    earned = {rank.name: 0 for rank in ladder if rank.volume is not None}
    for name in ranks.values():
        earned[name] += 1
    changed = earn_ranks(session, brand_id=brand.id, ranks=ranks, changed_by=changed_by)
    return Evaluation(month, earned, changed)
