"""What was withheld of what was paid, from the books: the rows of the tax report."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import text
from sqlalchemy.orm import Session

from distrib.brands.tables import Brand
from distrib.errors import InvalidInput, NotFound
from distrib.settlement.book_tables import TaxProfile
from distrib.settlement.tax.report import Table, TaxRow, monthly, quarterly, yearly
from distrib.tree.queries import get_distributor

PERIODS = {"month": monthly, "quarter": quarterly, "year": yearly}


class TaxProfileNotFound(NotFound):
    """Nobody has said who the distributor is to the tax office."""

    title = "No tax profile"


_ROWS = text(
    """
    SELECT d.external_id AS payee, coalesce(f.name, d.name) AS name,
           coalesce(f.tax_id, '') AS tax_id, make_date(t.year, t.month, 1) AS month,
           sum(t.gross)::bigint AS gross, sum(t.tax)::bigint AS tax
    FROM payout_tax t
    JOIN payout p ON p.brand_id = t.brand_id AND p.batch_id = t.batch_id AND p.no = t.no
    JOIN distributor d ON d.brand_id = t.brand_id AND d.id = t.distributor_id
    LEFT JOIN tax_profile f ON f.brand_id = t.brand_id AND f.distributor_id = t.distributor_id
    WHERE t.brand_id = :brand_id AND t.year = :year AND t.month BETWEEN :first AND :last
      AND p.state = 'paid'
    GROUP BY d.external_id, coalesce(f.name, d.name), coalesce(f.tax_id, ''), t.year, t.month
    ORDER BY d.external_id, t.month
    """
)


def list_tax_rows(
    session: Session, *, brand: Brand, year: int, quarter: int | None = None, masked: bool
) -> list[TaxRow]:
    """What each payee was paid, and what was withheld, in each month of a year or a quarter.

    Of what is paid at this moment: a payout that came back is not in it.

    :param masked: show tax numbers by their last four signs only.
    """
    if quarter is not None and not 1 <= quarter <= 4:
        raise InvalidInput(f"{quarter} is no quarter from 1 to 4", field="quarter")
    first, last = (1, 12) if quarter is None else (3 * quarter - 2, 3 * quarter)
    found = session.execute(
        _ROWS, {"brand_id": brand.id, "year": year, "first": first, "last": last}
    )
    rows = [
        TaxRow(
            payee=row.payee,
            name=row.name,
            tax_id=row.tax_id,
            month=row.month,
            gross=row.gross,
            tax=row.tax,
            net=row.gross - row.tax,
        )
        for row in found
    ]
    return [replace(row, tax_id=mask_tax_id(row.tax_id) or "") for row in rows] if masked else rows


def tax_tables(
    rows: list[TaxRow], *, currency: str, language: str, quarter: int | None = None
) -> list[Table]:
    """The tables of a workbook: by month and by quarter; those of a whole year also by year."""
    periods = [monthly, quarterly] if quarter is not None else [monthly, quarterly, yearly]
    return [period(rows, currency, language) for period in periods]


def mask_tax_id(tax_id: str | None) -> str | None:
    """A tax number by its last four signs; a short one not at all."""
    if not tax_id:
        return None
    return f"****{tax_id[-4:]}" if len(tax_id) >= 8 else "****"


def get_tax_profile(session: Session, *, brand_id: int, distributor: str) -> TaxProfile:
    """Who a distributor is to the tax office.

    :raises TaxProfileNotFound: when nobody has said it.
    """
    person = get_distributor(session, brand_id=brand_id, external_id=distributor)
    found = session.get(TaxProfile, (brand_id, person.id))
    if found is None:
        raise TaxProfileNotFound(f"{distributor} has no tax profile", field="distributor")
    return found
