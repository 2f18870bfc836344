"""Small makers of what tests need; each takes the database and commits.

Time in these stories begins at :data:`LONG_AGO`, when everybody joins and the first plan comes into
force; orders come from :data:`NOON` on. Tests say what time it is with ``clock.travel``.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from distrib import clock, jobs
from distrib.brands import service as brands
from distrib.brands.tables import Brand
from distrib.commission.intake import take_orders
from distrib.commission.outcome import Outcome, Status
from distrib.commission.refunds import take_refunds
from distrib.commission.service import publish_plan
from distrib.commission.tables import PlanVersion
from distrib.config import Settings
from distrib.db import Database
from distrib.orders.document import LineIn, OrderIn, RefundIn, RefundLineIn
from distrib.settlement import paying  # noqa: F401  # does the jobs, once imported
from distrib.settlement.batch import (
    approve_batch,
    draw_up_batch,
    mature_for_batch,
    submit_batch,
)
from distrib.settlement.running import run_batch
from distrib.settlement.statement import Balances, read_balance_sheet
from distrib.settlement.tables import SettlementBatch
from distrib.tree.service import enrol_distributor

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
NOON = datetime(2026, 3, 1, 4, tzinfo=UTC)
"""Noon of 1 March 2026 in Shanghai, where the brand of the ``brand`` fixture lives."""

DEFAULT_RATES = ("10%", "5%", "2%")

_count = itertools.count(1)


def days(count: float) -> timedelta:
    """So many days."""
    return timedelta(days=count)


def brand(db: Database, **changes: Any) -> Brand:
    """A brand with a slug of its own."""
    fields: dict[str, Any] = {
        "slug": f"brand-{next(_count)}",
        "name": "Tea House",
        "currency": "CNY",
        "time_zone": "Asia/Shanghai",
        "hold_days": 15,
        "minimum_payout": 100,
        "jurisdiction": "SG",  # where three levels need no acknowledgement
        "levels": 3,
    }
    with db.transaction() as session:
        return brands.create_brand(session, **fields | changes)


def document(*rates: str, rounding: str = "half_up", **rules: Sequence[str]) -> dict[str, Any]:
    """A plan document: ``rates`` by default, and each keyword a category with rates of its own."""
    chosen = rates or DEFAULT_RATES
    return {
        "name": "plan",
        "rounding": rounding,
        "rules": [
            {"name": "default", "rates": list(chosen)},
            *(
                {"name": name, "match": {"category": [name]}, "rates": list(own)}
                for name, own in rules.items()
            ),
        ],
    }


def plan(
    db: Database,
    brand: Brand,
    *rates: str,
    plan_document: Any = None,
    effective_from: datetime | None = LONG_AGO,
) -> PlanVersion:
    """Publish a plan version: default 10 %, 5 %, 2 % on everything, in force since LONG_AGO."""
    with db.transaction() as session:
        return publish_plan(
            session,
            brand=brand,
            document=plan_document or document(*(rates or DEFAULT_RATES[: brand.levels])),
            effective_from=effective_from,
            published_by="tests",
        )


def enrol(
    db: Database,
    brand: Brand,
    sponsors: Mapping[str, str | None],
    at: datetime = LONG_AGO,
) -> dict[str, int]:
    """Enrol distributors, each under the sponsor it is mapped to (None: a root).

    :param sponsors: external id → sponsor's external id, a sponsor before those below it.
    :returns: external id → id.
    """
    with db.transaction() as session:
        return {
            name: enrol_distributor(
                session,
                brand_id=brand.id,
                external_id=name,
                name=name.title(),
                sponsor=sponsor,
                code=f"code-{name}",
                joined_at=at,
            ).id
            for name, sponsor in sponsors.items()
        }


def trio(db: Database, brand: Brand, at: datetime = LONG_AGO) -> dict[str, int]:
    """Ann, above her Bo, above him Cy."""
    return enrol(db, brand, {"cy": None, "bo": "cy", "ann": "bo"}, at)


def chain(db: Database, brand: Brand, *rates: str) -> dict[str, int]:
    """A plan in force and :func:`trio`: a brand that is ready for orders."""
    plan(db, brand, *rates)
    return trio(db, brand)


def order(
    external_id: str,
    *amounts: int,
    distributor: str | None = "ann",
    placed_at: datetime = NOON,
    lines: Sequence[LineIn] = (),
    **changes: Any,
) -> OrderIn:
    """An order with a line of one unit for each amount (or with ``lines``)."""
    if "code" in changes:
        distributor = None
    fields: dict[str, Any] = {
        "shop": "shop",
        "external_id": external_id,
        "placed_at": placed_at,
        "currency": "CNY",
        "lines": tuple(lines)
        or tuple(LineIn(f"sku-{n}", 1, amount) for n, amount in enumerate(amounts, 1)),
        "distributor": distributor,
    }
    return OrderIn(**fields | changes)


def refund(
    external_id: str,
    of: str,
    *lines: tuple[int, int] | tuple[int, int, int | None],
    refunded_at: datetime = NOON,
    **changes: Any,
) -> RefundIn:
    """A refund of the order ``of``: ``lines`` are (line, units) or (line, units, amount); without
    any it is all that is left."""
    fields: dict[str, Any] = {
        "shop": "shop",
        "order_external_id": of,
        "external_id": external_id,
        "refunded_at": refunded_at,
        "lines": tuple(RefundLineIn(*line) for line in lines) or None,
    }
    return RefundIn(**fields | changes)


def take(
    db: Database, brand: Brand, *orders: OrderIn, now: datetime | None = None
) -> list[Outcome]:
    """Take orders in one transaction, at ``now`` (default: when the last of them was placed)."""
    now = now or max((each.placed_at for each in orders), default=NOON)
    with clock.travel(now):
        return db.run(lambda session: take_orders(session, brand=brand, orders=orders))


def give_back(
    db: Database, brand: Brand, *refunds: RefundIn, now: datetime | None = None
) -> list[Outcome]:
    """Take refunds in one transaction, at ``now`` (default: when the last was refunded)."""
    now = now or max((each.refunded_at for each in refunds), default=NOON)
    with clock.travel(now):
        return db.run(lambda session: take_refunds(session, brand=brand, refunds=refunds))


def ids_of(outcomes: Sequence[Outcome]) -> list[int]:
    """The ids of outcomes that must all have been accepted."""
    for outcome in outcomes:
        if outcome.status is not Status.ACCEPTED or outcome.id is None:
            raise AssertionError(f"not accepted: {outcome}")
    return [outcome.id for outcome in outcomes if outcome.id is not None]


def draw_up(db: Database, brand: Brand, cutoff: date, now: datetime) -> SettlementBatch:
    """Mature up to the cutoff and gather a draft batch."""
    with clock.travel(now):
        mature_for_batch(db, brand=brand, cutoff=cutoff)
        return db.run(
            lambda session: draw_up_batch(session, brand=brand, cutoff=cutoff, created_by="tests")
        )


def pay(db: Database, settings: Settings, batch: SettlementBatch, now: datetime) -> SettlementBatch:
    """Approve a draft batch, run it, and do its jobs in this process."""
    scope: dict[str, Any] = {"brand_id": batch.brand_id, "number": batch.number}
    with clock.travel(now):
        with db.transaction() as session:
            submit_batch(session, submitted_by="tests", **scope)
            approve_batch(session, approved_by="finance", content_hash=batch.content_hash, **scope)
        with db.transaction() as session:
            run_batch(session, chunk_payouts=settings.chunk_payouts, **scope)
        jobs.run_all(db, settings)
    with db.transaction() as session:
        return session.get_one(SettlementBatch, (batch.brand_id, batch.id))


def settle(
    db: Database, settings: Settings, brand: Brand, cutoff: date, now: datetime
) -> SettlementBatch:
    """A batch from gathering to payment."""
    return pay(db, settings, draw_up(db, brand, cutoff, now), now)


def balances(db: Database, brand: Brand, distributor_id: int) -> Balances:
    """A distributor's balances."""
    with db.transaction() as session:
        return read_balance_sheet(session, brand=brand, distributor_id=distributor_id)
