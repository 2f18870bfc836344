"""What a brand withholds of its payouts: which regime, and the tax of each payout of a batch.

A payout's tax depends on what the same person was paid before, in the month and in the tax year, so
it is computed when a batch is drawn up, from what is then in batches that were not called off. What
it was computed from is kept beside it. A batch is for a month: run in another one, the tax would be
another, so that is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

from sqlalchemy import func, insert, select, text
from sqlalchemy.orm import Session

from distrib import clock
from distrib.brands.tables import Brand
from distrib.errors import Conflict, InvalidInput
from distrib.settlement.book_tables import BrandTax, PayoutTax, TaxProfile
from distrib.settlement.tables import SettlementBatch
from distrib.settlement.tax import Regime, TaxFacts, find_regime
from distrib.tree.queries import get_distributor


class TaxMonthOver(Conflict):
    """The month that the batch's tax was computed for is over."""

    title = "The batch's tax is that of another month"


def set_tax_regime(
    session: Session,
    *,
    brand: Brand,
    year: int,
    regime: str,
    set_by: str,
    reason: str | None = None,
) -> BrandTax:
    """Withhold by ``regime`` in a tax year, from the next batch that is drawn up.

    What was drawn up before keeps its tax. Each setting stays on record.

    :raises InvalidInput: for a regime that is not known, does not cover the year, or is made for
        another currency.
    """
    found = find_regime(regime, year)
    if found.currency is not None and found.currency != brand.currency:
        raise InvalidInput(
            f"{regime} is computed in {found.currency}, the brand settles in {brand.currency}",
            field="regime",
        )
    last = session.scalar(
        select(func.max(BrandTax.number)).where(
            BrandTax.brand_id == brand.id, BrandTax.year == year
        )
    )
    made = BrandTax(
        brand_id=brand.id,
        year=year,
        number=(last or 0) + 1,
        regime=found.code,
        version=found.version,
        set_by=set_by,
        set_at=clock.now(),
        reason=reason,
    )
    session.add(made)
    session.flush()
    return made


def tax_regime_of(session: Session, *, brand_id: int, year: int) -> Regime:
    """By what the brand withholds in a year: the last setting of it, else of a year before."""
    code = session.scalar(
        select(BrandTax.regime)
        .where(BrandTax.brand_id == brand_id, BrandTax.year <= year)
        .order_by(BrandTax.year.desc(), BrandTax.number.desc())
        .limit(1)
    )
    return find_regime(code or "none", year)


def list_tax_settings(session: Session, *, brand_id: int) -> list[BrandTax]:
    """All that was ever set, newest first."""
    return list(
        session.scalars(
            select(BrandTax)
            .where(BrandTax.brand_id == brand_id)
            .order_by(BrandTax.year.desc(), BrandTax.number.desc())
        )
    )


def set_tax_profile(
    session: Session,
    *,
    brand_id: int,
    distributor: str,
    name: str,
    tax_id: str | None,
    set_by: str,
) -> TaxProfile:
    """Who a distributor is to the tax office. ``tax_id`` None: not known."""
    person = get_distributor(session, brand_id=brand_id, external_id=distributor)
    if not name.strip():
        raise InvalidInput("the name that the tax office knows", field="name")
    made = session.merge(
        TaxProfile(
            brand_id=brand_id,
            distributor_id=person.id,
            name=name.strip(),
            tax_id=(tax_id or "").strip() or None,
            set_by=set_by,
            set_at=clock.now(),
        )
    )
    session.flush()
    return made


def month_of(brand: Brand) -> date:
    """The first day of the month that it is where the brand lives."""
    return clock.day_of(clock.now(), brand.time_zone).replace(day=1)


_FACTS = """
    SELECT p.no, p.distributor_id, p.amount, coalesce(x.month_gross, 0) AS month_gross,
           coalesce(x.month_withheld, 0) AS month_withheld,
           coalesce(x.year_gross, 0) AS year_gross, coalesce(x.year_withheld, 0) AS year_withheld,
           x.months, f.tax_id IS NOT NULL AS has_tax_id
    FROM payout p
    LEFT JOIN tax_profile f ON f.brand_id = p.brand_id AND f.distributor_id = p.distributor_id
    LEFT JOIN LATERAL (
        SELECT sum(t.gross) FILTER (WHERE t.month = :month)::bigint AS month_gross,
               sum(t.tax) FILTER (WHERE t.month = :month)::bigint AS month_withheld,
               sum(t.gross)::bigint AS year_gross, sum(t.tax)::bigint AS year_withheld,
               array_agg(DISTINCT t.month) AS months
        FROM payout_tax t
        JOIN payout q ON q.brand_id = t.brand_id AND q.batch_id = t.batch_id AND q.no = t.no
        WHERE t.brand_id = p.brand_id AND t.distributor_id = p.distributor_id AND t.year = :year
          AND t.month <= :month AND q.state NOT IN ('voided', 'removed', 'cancelled')) x ON true
    WHERE p.brand_id = :brand_id AND p.batch_id = :batch_id
    ORDER BY p.no
"""


def consecutive_months(earlier: list[int] | None, month: int) -> int:
    """Months in a row with income that end in ``month``, itself included, within its year."""
    known = set(earlier or ())
    count = 1
    while month - count in known:
        count += 1
    return count


def withhold_tax(session: Session, *, brand: Brand, batch: SettlementBatch) -> None:
    """Compute the tax of a new batch's payouts and keep what it was computed from."""
    month = month_of(brand)
    regime = tax_regime_of(session, brand_id=brand.id, year=month.year)
    if regime.code == "none":
        return
    batch.tax_regime, batch.tax_version, batch.tax_month = regime.code, regime.version, month
    session.flush()
    scope = {
        "brand_id": brand.id,
        "batch_id": batch.id,
        "year": month.year,
        "month": month.month,
    }
    rows = list(_tax_rows(session, regime, month, scope))
    session.execute(insert(PayoutTax), rows)
    session.execute(
        text(
            "UPDATE payout p SET tax = t.tax FROM payout_tax t"
            " WHERE p.brand_id = :brand_id AND p.batch_id = :batch_id"
            " AND t.brand_id = p.brand_id AND t.batch_id = p.batch_id AND t.no = p.no"
            " AND t.tax > 0"
        ),
        scope,
    )


def _tax_rows(
    session: Session, regime: Regime, month: date, scope: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    for row in session.execute(text(_FACTS), scope):
        months = consecutive_months(row.months, month.month)
        facts = TaxFacts(
            amount=row.amount,
            month_gross=row.month_gross,
            month_withheld=row.month_withheld,
            year_gross=row.year_gross,
            year_withheld=row.year_withheld,
            months=months,
            has_tax_id=row.has_tax_id,
            year=month.year,
            month=month.month,
        )
        yield {
            "brand_id": scope["brand_id"],
            "batch_id": scope["batch_id"],
            "no": row.no,
            "distributor_id": row.distributor_id,
            "year": month.year,
            "month": month.month,
            "regime": regime.code,
            "version": regime.version,
            "gross": row.amount,
            "tax": regime.withhold(facts).tax,
            "month_gross": row.month_gross,
            "month_withheld": row.month_withheld,
            "year_gross": row.year_gross,
            "year_withheld": row.year_withheld,
            "months": months,
            "has_tax_id": row.has_tax_id,
        }


def facts_of(row: PayoutTax) -> TaxFacts:
    """What a payout's tax was computed from."""
    return TaxFacts(
        amount=row.gross,
        month_gross=row.month_gross,
        month_withheld=row.month_withheld,
        year_gross=row.year_gross,
        year_withheld=row.year_withheld,
        months=row.months,
        has_tax_id=row.has_tax_id,
        year=row.year,
        month=row.month,
    )


def check_tax_month(brand: Brand, batch: SettlementBatch) -> None:
    """A batch with tax is paid in the month its tax is of.

    :raises TaxMonthOver: otherwise: it has to be called off and drawn up again.
    """
    now = month_of(brand)
    if batch.tax_month is not None and batch.tax_month != now:
        raise TaxMonthOver(
            f"batch {batch.number} was drawn up for {batch.tax_month:%Y-%m}, it is {now:%Y-%m}:"
            " cancel it and draw it up again",
            field="tax_month",
        )
