"""A check of simulations: what is in force, simulated over what it has paid, gives just that."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, time, timedelta

from sqlalchemy import text
from sqlalchemy.orm import Session

from distrib import clock
from distrib.audit import Finding
from distrib.brands.tables import Brand
from distrib.commission.service import get_plan_version
from distrib.commission.simulation import candidate_of_version, simulate_span

DAYS = 31
"""How far back it looks from the newest order; the other checks look at everything."""

_TICK = timedelta(microseconds=1)

_NEWEST = text(
    """
    SELECT o.effective_at, v.number FROM (
        SELECT max(effective_at) AS effective_at FROM orders
        WHERE brand_id = :brand_id AND effective_at > '-infinity') o
    CROSS JOIN LATERAL (
        SELECT x.number FROM plan_version x
        WHERE x.brand_id = :brand_id AND x.effective_from <= o.effective_at
        ORDER BY x.effective_from DESC LIMIT 1) v
    """
)


def simulation_gives_what_was_posted(session: Session, brand_id: int) -> Iterator[Finding]:
    """The version in force, simulated over its last days with orders, gives what was posted, to
    the cent."""
    newest = session.execute(_NEWEST, {"brand_id": brand_id}).one_or_none()
    if newest is None:
        return
    brand = session.get_one(Brand, brand_id)
    zone = clock.zone(brand.time_zone)
    last = newest.effective_at.astimezone(zone).date()
    begin = datetime.combine(last - timedelta(days=DAYS - 1), time.min, zone)
    version = get_plan_version(session, brand_id=brand_id, number=newest.number)
    begin = max(begin, version.effective_from)
    report = simulate_span(
        session,
        brand=brand,
        candidate=candidate_of_version(session, brand=brand, number=version.number),
        begin=begin,
        end=newest.effective_at + _TICK,
        days=(begin.astimezone(zone).date(), last),
    )
    for order in report.differ_most:
        yield Finding(
            "commission.simulation",
            f"order {order.external_id} of {order.shop}: {order.before} was posted, version"
            f" {version.number} simulated gives {order.simulated}, or gives it to others",
            {"shop": order.shop, "external_id": order.external_id},
        )
    if report.differing > len(report.differ_most):
        yield Finding(
            "commission.simulation",
            f"{report.differing} orders differ from version {version.number} simulated",
            {"plan_version_id": version.id},
        )
