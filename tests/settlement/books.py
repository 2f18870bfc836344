"""Payouts to reconcile, and statements that speak of them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import select

from distrib import clock, jobs
from distrib.brands.tables import Brand
from distrib.config import Settings
from distrib.db import Database
from distrib.money import format_amount
from distrib.settlement.audit import audit_brand
from distrib.settlement.batch import (
    approve_batch,
    draw_up_batch,
    mature_for_batch,
    submit_batch,
)
from distrib.settlement.book_tables import ReconciliationCase
from distrib.settlement.cases import resolve_case
from distrib.settlement.payouts import decide_payout
from distrib.settlement.providers.registry import choose_provider
from distrib.settlement.reconciliation import ImportReport, import_statement
from distrib.settlement.running import run_batch
from distrib.settlement.tables import Payout, PayoutAttempt, SettlementBatch
from tests import factories
from tests.factories import NOON, days, ids_of, order, take

MATURED = NOON + days(15)
PAID_ON = date(2026, 3, 16)
"""The day on which the payouts of these tests are handed over."""

PROVIDER = "manual"


@dataclass(frozen=True)
class Paid:
    """A payout and the number of its only attempt."""

    no: int
    request_no: str
    net: int
    distributor: str


def pay_many(
    db: Database, settings: Settings, brand: Brand, names: Sequence[str], amount: int = 10_000
) -> tuple[SettlementBatch, list[Paid]]:
    """A batch of a payout for each name, handed over and not decided: each of 10 % of ``amount``,
    and a cent more than the one before."""
    factories.plan(db, brand, "10%", *["0%"] * (brand.levels - 1))
    who = factories.enrol(db, brand, dict.fromkeys(names))
    named = {number: name for name, number in who.items()}
    orders = (order(f"o-{name}", amount + 10 * n, distributor=name) for n, name in enumerate(names))
    ids_of(take(db, brand, *orders))
    with clock.travel(MATURED):
        mature_for_batch(db, brand=brand, cutoff=PAID_ON)
        with db.transaction() as session:
            batch = draw_up_batch(
                session,
                brand=brand,
                cutoff=PAID_ON,
                provider=choose_provider(settings, brand.slug, PROVIDER),
                created_by="tests",
            )
        scope: dict[str, Any] = {"brand_id": brand.id, "number": batch.number}
        with db.transaction() as session:
            submit_batch(session, submitted_by="tests", **scope)
            approve_batch(session, approved_by="finance", content_hash=None, **scope)
        with db.transaction() as session:
            run_batch(session, chunk_payouts=settings.chunk_payouts, **scope)
        jobs.run_all(db, settings)
    with db.transaction() as session:
        rows = session.execute(
            select(Payout, PayoutAttempt.request_no)
            .join(
                PayoutAttempt,
                (PayoutAttempt.brand_id == Payout.brand_id)
                & (PayoutAttempt.batch_id == Payout.batch_id)
                & (PayoutAttempt.no == Payout.no),
            )
            .where(Payout.brand_id == brand.id, Payout.batch_id == batch.id)
            .order_by(Payout.no)
        )
        paid = [
            Paid(p.no, request_no, p.amount - p.tax, named[p.distributor_id])
            for p, request_no in rows
        ]
    return batch, paid


def decide(
    db: Database, batch: SettlementBatch, no: int, *, paid: bool = True, at: datetime = MATURED
) -> None:
    """Record what became of a payout."""
    with clock.travel(at), db.transaction() as session:
        decide_payout(
            session,
            brand_id=batch.brand_id,
            number=batch.number,
            no=no,
            paid=paid,
            decided_by="finance",
            evidence="receipt",
        )


def csv(*rows: tuple[str, int, date | str] | tuple[str, int, date | str, str]) -> bytes:
    """A statement in the standard form: reference, minor units of CNY, day, text."""
    lines = ["reference,amount,date,text"]
    for reference, amount, day, *texts in rows:
        shown = format_amount(amount, "CNY", grouped=False)
        lines.append(f"{reference},{shown},{day},{texts[0] if texts else ''}")
    return ("\n".join(lines) + "\n").encode()


def imported(
    db: Database, brand: Brand, content: bytes, *, now: datetime = MATURED, **options: Any
) -> ImportReport:
    """Import a statement."""
    facts: dict[str, Any] = {
        "brand": brand,
        "provider": PROVIDER,
        "name": "statement.csv",
        "file": io.BytesIO(content),
        "imported_by": "finance",
    }
    with clock.travel(now):
        return db.run(lambda session: import_statement(session, **facts | options))


def cases(db: Database, brand: Brand, state: str | None = None) -> list[ReconciliationCase]:
    """The brand's cases, oldest first."""
    with db.transaction() as session:
        query = select(ReconciliationCase).where(ReconciliationCase.brand_id == brand.id)
        if state is not None:
            query = query.where(ReconciliationCase.state == state)
        return list(session.scalars(query.order_by(ReconciliationCase.id)))


def resolve(
    db: Database, brand: Brand, case: ReconciliationCase, resolution: str, **options: Any
) -> ReconciliationCase:
    """Resolve a case."""
    facts: dict[str, Any] = {
        "brand": brand,
        "case_id": case.id,
        "resolution": resolution,
        "note": "looked at",
        "resolved_by": "finance",
    }
    with clock.travel(MATURED + days(5)):
        return db.run(lambda session: resolve_case(session, **facts | options))


def findings(db: Database, brand: Brand) -> list[str]:
    """What the audit says."""
    with db.snapshot() as session:
        found = audit_brand(session, brand_id=brand.id)
        return [f"{each.check}: {each.detail}" for each in found]
