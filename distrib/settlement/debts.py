"""Who is in debt, since when, and how old the debt is.

A debt is what a distributor's matured open items sum up to below zero: refunds after the payout.
Later earnings settle the oldest of them first, so what remains are the youngest, each as old as
its refund's (or adjustment's) day.

As of today the report reads the open items. As of an earlier day it finds out what was open at its
end: items that batches have taken since count, those that batches have given back since do not.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import IO, Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from distrib import clock
from distrib.brands.tables import Brand
from distrib.errors import InvalidInput
from distrib.ledger.chart import AccountKind
from distrib.ledger.service import read_balances
from distrib.money import format_amount
from distrib.spreadsheet import safe_cell

BUCKETS: tuple[tuple[int, int | None], ...] = ((0, 30), (31, 60), (61, 90), (91, None))
"""Ages in days, first and last of each bucket."""

BUCKET_NAMES = ("days_0_30", "days_31_60", "days_61_90", "days_over_90")

Ages = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Debt:
    """What one distributor owes. Amounts in minor units, all positive.

    :param since: the day of the oldest refund that is not settled.
    :param ages: by :data:`BUCKETS`; their sum is ``amount``.
    """

    distributor_id: int
    external_id: str
    name: str
    status: str
    amount: int
    since: date
    ages: Ages


@dataclass(frozen=True, slots=True)
class DebtTotals:
    """All debts of a brand together."""

    as_of: date
    debtors: int
    amount: int
    ages: Ages


def debt_of(session: Session, *, brand: Brand, distributor_id: int) -> int:
    """What the distributor owes at this moment, from the ledger; 0 for nothing."""
    balances = read_balances(session, brand_id=brand.id, owner=distributor_id)
    return max(0, -balances.get((AccountKind.AVAILABLE, brand.currency), 0))


# Inlined where it is used: the sum reads all of it once, the details look up debtors only.
_OPEN_NOW = """
    item AS NOT MATERIALIZED (
        SELECT distributor_id, posting_id, amount FROM open_item
        WHERE brand_id = :brand_id AND asset = :asset
          AND (NOT held OR available_on <= CAST(:matured AS date)))
"""

_OPEN_THEN = """
    given_back AS MATERIALIZED (
        SELECT DISTINCT p.distributor_id, x.posting_id
        FROM settlement_event e
        JOIN settlement_batch s ON s.brand_id = e.brand_id AND s.id = e.batch_id
             AND s.created_at < :until
        JOIN payout p ON p.brand_id = e.brand_id AND p.batch_id = e.batch_id
             AND p.state = e.kind AND (e.no IS NULL OR e.no = p.no)
        CROSS JOIN LATERAL unnest(p.postings) x (posting_id)
        WHERE e.brand_id = :brand_id AND e.at >= :until
          AND e.kind IN ('removed', 'cancelled', 'voided')),
    candidate AS (
        SELECT distributor_id, posting_id, amount FROM open_item
        WHERE brand_id = :brand_id AND asset = :asset
        UNION ALL
        SELECT p.distributor_id, x.posting_id, x.amount
        FROM settlement_batch s
        JOIN payout p ON p.brand_id = s.brand_id AND p.batch_id = s.id
             AND p.state NOT IN ('removed', 'cancelled', 'voided')
        CROSS JOIN LATERAL unnest(p.postings, p.amounts) x (posting_id, amount)
        WHERE s.brand_id = :brand_id AND s.currency = :asset AND s.created_at >= :until),
    item AS MATERIALIZED (
        SELECT c.distributor_id, c.posting_id, c.amount
        FROM candidate c
        LEFT JOIN adjustment a ON a.brand_id = :brand_id AND a.id = c.posting_id
        LEFT JOIN refund r ON r.brand_id = :brand_id AND r.id = c.posting_id
        LEFT JOIN orders o ON o.brand_id = :brand_id AND o.id = coalesce(r.order_id, c.posting_id)
        WHERE coalesce(a.decided_at, r.recorded_at, o.recorded_at) < :until
          AND (a.id IS NOT NULL OR o.available_on <= CAST(:matured AS date))
          AND NOT EXISTS (SELECT FROM given_back g WHERE g.distributor_id = c.distributor_id
                          AND g.posting_id = c.posting_id))
"""

_DEBTORS = """
    debtor AS MATERIALIZED (
        SELECT distributor_id, -sum(amount)::bigint AS debt,
               coalesce(sum(amount) FILTER (WHERE amount > 0), 0)::bigint AS settled
        FROM item GROUP BY distributor_id HAVING sum(amount) < 0)
"""

# What is left of each negative item once what was earned has settled the oldest.
_AGED = """
    chosen AS MATERIALIZED ({chosen}),
    negative AS (
        SELECT c.distributor_id, c.settled, i.posting_id, -i.amount AS owed,
               coalesce(
                   (SELECT (least(r.refunded_at, r.recorded_at) AT TIME ZONE :time_zone)::date
                    FROM refund r WHERE r.brand_id = :brand_id AND r.id = i.posting_id),
                   (SELECT a.available_on FROM adjustment a
                    WHERE a.brand_id = :brand_id AND a.id = i.posting_id),
                   (SELECT (o.effective_at AT TIME ZONE :time_zone)::date
                    FROM orders o WHERE o.brand_id = :brand_id AND o.id = i.posting_id)) AS day
        FROM chosen c {items}),
    remaining AS (
        SELECT distributor_id, day, CAST(:as_of AS date) - day AS age,
               least(owed, greatest(0, sum(owed) OVER (
                   PARTITION BY distributor_id ORDER BY day, posting_id) - settled)) AS owed
        FROM negative),
    aged AS (
        SELECT distributor_id, min(day) FILTER (WHERE owed > 0) AS since,
               coalesce(sum(owed) FILTER (WHERE age <= 30), 0)::bigint AS days_0_30,
               coalesce(sum(owed) FILTER (WHERE age BETWEEN 31 AND 60), 0)::bigint AS days_31_60,
               coalesce(sum(owed) FILTER (WHERE age BETWEEN 61 AND 90), 0)::bigint AS days_61_90,
               coalesce(sum(owed) FILTER (WHERE age > 90), 0)::bigint AS days_over_90
        FROM remaining GROUP BY distributor_id)
"""

# one look into the index for each debtor, whatever the planner believes
_ITEMS_NOW = """
    CROSS JOIN LATERAL (
        SELECT posting_id, amount FROM item
        WHERE distributor_id = c.distributor_id AND amount < 0 OFFSET 0) i
"""
_ITEMS_THEN = "JOIN item i ON i.distributor_id = c.distributor_id AND i.amount < 0"

_BY_AMOUNT = """
    SELECT distributor_id, debt, settled FROM debtor
    WHERE CAST(:after_amount AS bigint) IS NULL OR debt < CAST(:after_amount AS bigint)
       OR (debt = CAST(:after_amount AS bigint) AND distributor_id > CAST(:after_id AS bigint))
    ORDER BY debt DESC, distributor_id LIMIT :limit
"""

_LIST = """
    SELECT a.*, c.debt, d.external_id, d.name, d.status
    FROM aged a JOIN chosen c USING (distributor_id)
    JOIN distributor d ON d.brand_id = :brand_id AND d.id = a.distributor_id
    ORDER BY c.debt DESC, a.distributor_id
"""

_TOTALS = """
    SELECT (SELECT count(*) FROM debtor) AS debtors,
           coalesce((SELECT sum(debt) FROM debtor), 0)::bigint AS amount,
           coalesce(sum(days_0_30), 0)::bigint AS days_0_30,
           coalesce(sum(days_31_60), 0)::bigint AS days_31_60,
           coalesce(sum(days_61_90), 0)::bigint AS days_61_90,
           coalesce(sum(days_over_90), 0)::bigint AS days_over_90
    FROM aged
"""


def _report(
    session: Session, brand: Brand, as_of: date | None, *, chosen: str, shown: str
) -> tuple[str, dict[str, Any]]:
    """The report's SQL and parameters."""
    today = clock.day_of(clock.now(), brand.time_zone)
    day = as_of or today
    if day > today:
        raise InvalidInput(f"{day} is yet to come, today is {today}", field="as_of")
    until = _end_of(day, brand.time_zone)
    matured = session.scalar(
        text(
            "SELECT coalesce(max(through), '1970-01-01') FROM maturation"
            " WHERE brand_id = :brand_id AND posted_at < :until"
        ),
        {"brand_id": brand.id, "until": until},
    )
    opened, items = (_OPEN_NOW, _ITEMS_NOW) if day == today else (_OPEN_THEN, _ITEMS_THEN)
    aged = _AGED.format(chosen=chosen, items=items)
    return f"WITH {opened}, {_DEBTORS}, {aged} {shown}", {
        "brand_id": brand.id,
        "asset": brand.currency,
        "time_zone": brand.time_zone,
        "as_of": day,
        "matured": matured,
    } | ({} if day == today else {"until": until})


def _end_of(day: date, time_zone: str) -> datetime:
    """The first instant that is no longer ``day`` where the brand lives."""
    following = day + timedelta(days=1)
    return datetime.combine(following, datetime.min.time(), clock.zone(time_zone))


def list_debts(
    session: Session,
    *,
    brand: Brand,
    as_of: date | None = None,
    after: tuple[int, int] | None = None,
    limit: int | None = 100,
) -> list[Debt]:
    """Who is in debt, the largest first.

    :param as_of: at the end of this day where the brand lives; default is now.
    :param after: amount and distributor of the last of the page before.
    :param limit: None is all.
    :raises InvalidInput: for a day that is yet to come.
    """
    query, parameters = _report(session, brand, as_of, chosen=_BY_AMOUNT, shown=_LIST)
    amount, distributor_id = after or (None, None)
    parameters |= {"after_amount": amount, "after_id": distributor_id, "limit": limit}
    return [
        Debt(
            distributor_id=row.distributor_id,
            external_id=row.external_id,
            name=row.name,
            status=row.status,
            amount=row.debt,
            since=row.since,
            ages=(row.days_0_30, row.days_31_60, row.days_61_90, row.days_over_90),
        )
        for row in session.execute(text(query), parameters)
    ]


def sum_debts(session: Session, *, brand: Brand, as_of: date | None = None) -> DebtTotals:
    """All debts of the brand by age; see :func:`list_debts`."""
    query, parameters = _report(session, brand, as_of, chosen="SELECT * FROM debtor", shown=_TOTALS)
    row = session.execute(text(query), parameters).one()
    return DebtTotals(
        as_of=parameters["as_of"],
        debtors=row.debtors,
        amount=row.amount,
        ages=(row.days_0_30, row.days_31_60, row.days_61_90, row.days_over_90),
    )


CSV_HEADER = ("distributor", "name", "status", "currency", "debt", "since", *BUCKET_NAMES)


def write_debts_csv(
    session: Session, file: IO[str], *, brand: Brand, as_of: date | None = None
) -> int:
    """Write the report as CSV, in major units, safe to open in a spreadsheet.

    :returns: the number of debtors.
    """
    writer = csv.writer(file)
    writer.writerow(CSV_HEADER)
    found = list_debts(session, brand=brand, as_of=as_of, limit=None)
    writer.writerows(_csv_rows(found, brand.currency))
    return len(found)


def _csv_rows(debts: list[Debt], currency: str) -> Iterator[list[str]]:
    for each in debts:
        amounts = [format_amount(age, currency, grouped=False) for age in each.ages]
        yield [
            safe_cell(each.external_id),
            safe_cell(each.name),
            each.status,
            currency,
            format_amount(each.amount, currency, grouped=False),
            each.since.isoformat(),
            *amounts,
        ]
