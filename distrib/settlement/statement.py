"""What a distributor has: balances, by day, and by order."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from sqlalchemy import text
from sqlalchemy.orm import Session

from distrib.brands.tables import Brand
from distrib.ledger.chart import AccountKind
from distrib.ledger.service import read_balances


@dataclass(frozen=True, slots=True)
class Balances:
    """A distributor's balances, in minor units, straight from the ledger.

    :param pending: earned, still in the hold.
    :param available: out of the hold, not in a batch; negative is a debt after refunds.
    :param reserved: in a batch that is being reviewed or paid.
    :param paid: has been paid out.
    :param reversed: was earned and went back because of refunds.
    :param withheld: tax that was withheld of what was paid.
    """

    pending: int
    available: int
    reserved: int
    paid: int
    reversed: int
    withheld: int = 0

    @property
    def earned(self) -> int:
        """All that was ever credited, before refunds; with debts that were written off."""
        paid = self.paid + self.withheld
        return self.pending + self.available + self.reserved + paid + self.reversed


@dataclass(frozen=True, slots=True)
class StatementDay:
    """One day where the brand lives."""

    day: date
    earned: int
    reversed: int
    paid: int


@dataclass(frozen=True, slots=True)
class Statement:
    """A distributor's statement. Amounts in minor units of ``currency``."""

    currency: str
    balances: Balances
    first: date | None
    last: date | None
    days: tuple[StatementDay, ...]


@dataclass(frozen=True, slots=True)
class Earning:
    """What one order, or one refund of it, or an adjustment gave a distributor.

    :param kind: ``order``, ``refund`` or ``adjustment``; the latter is of no order.
    :param amount: minor units; negative for a refund.
    :param status: ``pending``, ``available``, ``reserved`` or ``paid``.
    :param batch: number of the batch it is in, if any.
    """

    day: date
    source_id: int
    kind: str
    order_id: int | None
    shop: str | None
    order_external_id: str | None
    level: int | None
    amount: int
    available_on: date
    status: str
    batch: int | None


_DAYS = text(
    """
    SELECT day, sum(earned)::bigint AS earned, sum(reversed)::bigint AS reversed,
           sum(paid)::bigint AS paid
    FROM (
        SELECT earned_on AS day, CASE WHEN amount > 0 THEN amount ELSE 0 END AS earned,
               CASE WHEN amount < 0 THEN -amount ELSE 0 END AS reversed, 0 AS paid
        FROM commission WHERE brand_id = :brand_id AND distributor_id = :distributor_id
        UNION ALL
        SELECT (a.state_at AT TIME ZONE :time_zone)::date, 0, 0, p.amount - p.tax
        FROM payout p
        JOIN payout_attempt a ON a.brand_id = p.brand_id AND a.batch_id = p.batch_id
             AND a.no = p.no AND a.state = 'paid'
        WHERE p.brand_id = :brand_id AND p.distributor_id = :distributor_id
        UNION ALL
        SELECT available_on, CASE WHEN kind = 'write_off' THEN amount ELSE 0 END, 0,
               CASE WHEN kind = 'write_off' THEN 0 ELSE -amount END
        FROM adjustment
        WHERE brand_id = :brand_id AND distributor_id = :distributor_id AND state = 'approved'
    ) moves
    WHERE day >= coalesce(CAST(:first AS date), day) AND day <= coalesce(CAST(:last AS date), day)
    GROUP BY day ORDER BY day DESC
    """
)


def read_balance_sheet(session: Session, *, brand: Brand, distributor_id: int) -> Balances:
    """The distributor's balances at this moment."""
    found = read_balances(session, brand_id=brand.id, owner=distributor_id)

    def of(kind: AccountKind) -> int:
        return found.get((kind, brand.currency), 0)

    return Balances(
        pending=of(AccountKind.HELD),
        available=of(AccountKind.AVAILABLE),
        reserved=of(AccountKind.RESERVED),
        paid=of(AccountKind.PAID),
        reversed=of(AccountKind.CLAWED_BACK),
        withheld=of(AccountKind.TAX_WITHHELD),
    )


def read_statement(
    session: Session,
    *,
    brand: Brand,
    distributor_id: int,
    first: date | None = None,
    last: date | None = None,
) -> Statement:
    """A distributor's balances now, and what happened on each day from ``first`` to ``last``
    (both inclusive, where the brand lives; None is open). Newest day first."""
    days = session.execute(
        _DAYS,
        {
            "brand_id": brand.id,
            "distributor_id": distributor_id,
            "time_zone": brand.time_zone,
            "first": first,
            "last": last,
        },
    )
    return Statement(
        currency=brand.currency,
        balances=read_balance_sheet(session, brand=brand, distributor_id=distributor_id),
        first=first,
        last=last,
        days=tuple(StatementDay(*row) for row in days),
    )


_EARNINGS = text(
    """
    WITH page AS (
        (SELECT earned_on, source_id, order_id, min(level) AS level, sum(amount)::bigint AS amount,
                NULL::date AS adjusted_on
         FROM commission
         WHERE brand_id = :brand_id AND distributor_id = :distributor_id
           AND (CAST(:day AS date) IS NULL OR (earned_on, source_id) < (:day, :source_id))
         GROUP BY earned_on, source_id, order_id
         ORDER BY earned_on DESC, source_id DESC LIMIT :limit)
        UNION ALL
        (SELECT available_on, id, NULL, NULL, amount, available_on FROM adjustment
         WHERE brand_id = :brand_id AND distributor_id = :distributor_id AND state = 'approved'
           AND (CAST(:day AS date) IS NULL OR (available_on, id) < (:day, :source_id))
         ORDER BY available_on DESC, id DESC LIMIT :limit)
        ORDER BY earned_on DESC, source_id DESC LIMIT :limit)
    SELECT c.earned_on, c.source_id, c.order_id, o.shop, o.external_id, c.level, c.amount,
           coalesce(o.available_on, c.adjusted_on) AS available_on,
           i.held AND i.available_on > b.matured_through AS pending,
           i.posting_id IS NOT NULL AS open, p.state, p.number
    FROM page c
    JOIN brand b ON b.id = :brand_id
    LEFT JOIN orders o ON o.brand_id = :brand_id AND o.id = c.order_id
    LEFT JOIN open_item i ON i.brand_id = :brand_id AND i.distributor_id = :distributor_id
         AND i.posting_id = c.source_id
    LEFT JOIN LATERAL (
        SELECT x.state, s.number FROM payout x
        JOIN settlement_batch s ON s.brand_id = x.brand_id AND s.id = x.batch_id
        WHERE x.brand_id = :brand_id AND x.distributor_id = :distributor_id
          AND x.state NOT IN ('cancelled', 'removed', 'voided')
          AND c.source_id = ANY(x.postings) LIMIT 1) p ON true
    ORDER BY c.earned_on DESC, c.source_id DESC
    """
)


def list_earnings(
    session: Session,
    *,
    brand_id: int,
    distributor_id: int,
    before: tuple[date, int] | None = None,
    limit: int = 50,
) -> list[Earning]:
    """What each order, refund and adjustment gave the distributor, newest first.

    :param before: day and source id of the last entry of the page before.
    """
    day, source_id = before or (None, 0)
    rows = session.execute(
        _EARNINGS,
        {
            "brand_id": brand_id,
            "distributor_id": distributor_id,
            "day": day,
            "source_id": source_id,
            "limit": limit,
        },
    )
    return [
        Earning(
            day=row.earned_on,
            source_id=row.source_id,
            kind=_kind(row.source_id, row.order_id),
            order_id=row.order_id,
            shop=row.shop,
            order_external_id=row.external_id,
            level=row.level,
            amount=row.amount,
            available_on=row.available_on,
            status=_status(pending=bool(row.pending), open_=row.open, payout=row.state),
            batch=row.number,
        )
        for row in rows
    ]


def _kind(source_id: int, order_id: int | None) -> str:
    if order_id is None:
        return "adjustment"
    return "order" if source_id == order_id else "refund"


def _status(*, pending: bool, open_: bool, payout: str | None) -> str:
    if open_:
        return "pending" if pending else "available"
    # a source whose lines cancel out to nothing is neither open nor in a payout
    return "paid" if payout in (None, "paid") else "reserved"
