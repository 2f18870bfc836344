"""Beside each other: what the ledger says of some days, and what the statements of them say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from distrib.brands.tables import Brand
from distrib.errors import InvalidInput
from distrib.ledger.chart import BRAND, AccountKind, TransferCode
from distrib.ledger.service import read_balances
from distrib.settlement.closes import bounds


@dataclass
class CaseSum:
    """Some cases: how many, and what statements say more than the ledger."""

    cases: int = 0
    difference: int = 0


@dataclass
class Summary:
    """A provider's payments of some days, as the ledger and as its statements have them.

    Money in minor units. ``ledger`` is what is recorded as paid less what came back; ``difference``
    is what the statements say more than that.
    """

    provider: str
    ledger_paid: int = 0
    ledger_returned: int = 0
    lines: int = 0
    statement: int = 0
    matched_lines: int = 0
    matched: int = 0
    open: dict[str, CaseSum] = field(default_factory=dict)
    resolved: dict[str, CaseSum] = field(default_factory=dict)

    @property
    def ledger(self) -> int:
        """What the ledger says went out."""
        return self.ledger_paid - self.ledger_returned

    @property
    def difference(self) -> int:
        """What the statements say more."""
        return self.statement - self.ledger


_LEDGER_SAYS = text(
    """
    SELECT b.provider, p.code, sum(p.total) AS amount
    FROM batch_posting p
    JOIN settlement_batch b ON b.brand_id = p.brand_id AND b.id = p.batch_id
    JOIN transfer t ON t.brand_id = p.brand_id AND t.posting_id = p.posting_id
         AND t.seq = p.first_no
    WHERE p.brand_id = :brand_id AND p.code IN (:paid, :returned)
      AND t.posted_at >= :since AND t.posted_at < :until
    GROUP BY 1, 2
    """
)
_STATEMENTS_SAY = text(
    """
    SELECT s.provider, count(*) AS lines, sum(l.amount) AS amount,
           count(*) FILTER (WHERE c.id IS NULL) AS matched_lines,
           coalesce(sum(l.amount) FILTER (WHERE c.id IS NULL), 0) AS matched
    FROM statement_import s
    JOIN statement_line l ON l.brand_id = s.brand_id AND l.import_id = s.id
    LEFT JOIN reconciliation_case c ON c.brand_id = l.brand_id AND c.import_id = l.import_id
         AND c.line = l.line
    WHERE s.brand_id = :brand_id AND s.last_day >= :first_day AND s.first_day <= :last_day
      AND l.booked_on BETWEEN :first_day AND :last_day
    GROUP BY 1
    """
)
_CASES_SAY = text(
    """
    SELECT c.provider, c.kind, c.state, count(*) AS cases,
           sum(c.found - c.expected) AS difference
    FROM reconciliation_case c
    LEFT JOIN statement_line l ON l.brand_id = c.brand_id AND l.import_id = c.import_id
         AND l.line = c.line
    LEFT JOIN payout_attempt a ON c.line IS NULL AND a.brand_id = c.brand_id
         AND a.batch_id = c.batch_id AND a.no = c.no AND a.attempt = c.attempt
    WHERE c.brand_id = :brand_id
      AND coalesce(l.booked_on, (a.state_at AT TIME ZONE :zone)::date)
          BETWEEN :first_day AND :last_day
    GROUP BY 1, 2, 3
    """
)


def summarize(
    session: Session,
    *,
    brand: Brand,
    first_day: date,
    last_day: date,
    provider: str | None = None,
) -> list[Summary]:
    """What the ledger and the statements say of some days, by provider.

    :param last_day: inclusive; days are those where the brand lives.
    :param provider: only this one.
    """
    if first_day > last_day:
        raise InvalidInput("is before the first day", field="last_day")
    scope: dict[str, Any] = {
        "brand_id": brand.id,
        "zone": brand.time_zone,
        "first_day": first_day,
        "last_day": last_day,
        "since": bounds(first_day, brand.time_zone)[0],
        "until": bounds(last_day, brand.time_zone)[1],
        "paid": int(TransferCode.CONFIRM),
        "returned": int(TransferCode.RETURN),
    }
    made: dict[str, Summary] = {}

    def of(name: str) -> Summary:
        return made.setdefault(name, Summary(name))

    for row in session.execute(_LEDGER_SAYS, scope):
        if row.code == TransferCode.CONFIRM:
            of(row.provider).ledger_paid = int(row.amount)
        else:
            of(row.provider).ledger_returned = int(row.amount)
    for row in session.execute(_STATEMENTS_SAY, scope):
        found = of(row.provider)
        found.lines, found.statement = row.lines, int(row.amount)
        found.matched_lines, found.matched = row.matched_lines, int(row.matched)
    for row in session.execute(_CASES_SAY, scope):
        kinds = of(row.provider).open if row.state == "open" else of(row.provider).resolved
        kinds[row.kind] = CaseSum(row.cases, int(row.difference))
    return [made[name] for name in sorted(made) if provider in (None, name)]


@dataclass(frozen=True, slots=True)
class InClearing:
    """Payments of one batch that were handed over and are not decided.

    :param amount: net, in minor units.
    :param oldest_at: when the first of them was handed over.
    """

    batch: int
    provider: str
    payouts: int
    amount: int
    oldest_at: datetime


@dataclass(frozen=True, slots=True)
class Clearing:
    """What is on its way.

    :param balance: of the clearing account.
    :param explained: what the payments that are on their way add up to.
    """

    balance: int
    explained: int
    batches: Sequence[InClearing]


_ON_THEIR_WAY = text(
    """
    SELECT b.number AS batch, b.provider, count(*) AS payouts, sum(p.amount - p.tax) AS amount,
           min(a.created_at) AS oldest_at
    FROM settlement_batch b
    JOIN payout p ON p.brand_id = b.brand_id AND p.batch_id = b.id AND p.state = 'sent'
    JOIN payout_attempt a ON a.brand_id = p.brand_id AND a.batch_id = p.batch_id AND a.no = p.no
         AND a.attempt = p.attempts
    WHERE b.brand_id = :brand_id AND b.state IN ('paying', 'paused', 'settled', 'partly_failed')
    GROUP BY 1, 2 ORDER BY 5, 1
    """
)


def read_clearing(session: Session, *, brand: Brand) -> Clearing:
    """What is in clearing, by batch, oldest first: it is zero, or explained.

    :param session: from :meth:`distrib.db.Database.snapshot`, for figures of one moment.
    """
    rows = session.execute(_ON_THEIR_WAY, {"brand_id": brand.id})
    batches = [
        InClearing(row.batch, row.provider, row.payouts, int(row.amount), row.oldest_at)
        for row in rows
    ]
    balances = read_balances(session, brand_id=brand.id, owner=BRAND)
    return Clearing(
        balance=balances.get((AccountKind.PAYOUT_CLEARING, brand.currency), 0),
        explained=sum(each.amount for each in batches),
        batches=batches,
    )
