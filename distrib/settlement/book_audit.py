"""Checks of the books: differences of the bank, cases, statements, closed days."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from distrib.audit import Check, Finding, find_rows
from distrib.brands.tables import Brand
from distrib.ledger.chart import AccountKind, TransferCode
from distrib.settlement.book_tables import DayClose
from distrib.settlement.closes import Balances, BooksDoNotAddUp, DayFigures, bounds, read_day

_OTHERWISE, _DIFFERENCES = AccountKind.PAID_OTHERWISE, AccountKind.BANK_DIFFERENCES


def bank_differences_are_explained(session: Session, brand_id: int) -> Iterator[Finding]:
    """What the bank paid and nobody ordered is the sum of the cases that were resolved so, each
    posted once, under its own number."""
    yield from find_rows(
        session,
        "books.differences",
        "difference {id}: the ledger has {posted} {asset}, its case says {found}",
        f"""
        SELECT coalesce(c.id, t.posting_id) AS id, t.amount AS posted, t.asset, c.found
        FROM (SELECT posting_id, asset, min(currency) AS currency, sum(amount) AS amount
              FROM transfer CROSS JOIN (SELECT currency FROM brand WHERE id = :brand_id) b
              WHERE brand_id = :brand_id AND (code = {int(TransferCode.DIFFER)}
                 OR debit_account IN ({int(_DIFFERENCES)}, {int(_OTHERWISE)})
                 OR credit_account IN ({int(_DIFFERENCES)}, {int(_OTHERWISE)}))
              GROUP BY 1, 2) t
        FULL JOIN (SELECT * FROM reconciliation_case
                   WHERE brand_id = :brand_id AND resolution = 'differ') c ON c.id = t.posting_id
        WHERE t.amount IS DISTINCT FROM c.found OR t.asset IS DISTINCT FROM t.currency
        """,
        {"brand_id": brand_id},
    )


def cases_end_as_they_say(session: Session, brand_id: int) -> Iterator[Finding]:
    """A resolved case has what its resolution says, posted or asked for; a note has nothing."""
    yield from find_rows(
        session,
        "books.cases",
        "case {id} ({kind}, {subject}) is resolved by {resolution}, and that is not there",
        f"""
        SELECT c.id, c.kind, c.subject, c.resolution
        FROM reconciliation_case c
        LEFT JOIN payout_attempt a ON a.brand_id = c.brand_id AND a.batch_id = c.batch_id
             AND a.no = c.no AND a.attempt = c.attempt
        LEFT JOIN adjustment j ON j.brand_id = c.brand_id AND j.case_id = c.id
        LEFT JOIN transfer t ON t.brand_id = c.brand_id AND t.posting_id = c.posting_id
             AND t.seq = c.no
        WHERE c.brand_id = :brand_id AND c.state = 'resolved' AND NOT coalesce(CASE c.resolution
            WHEN 'return' THEN a.state = 'returned' AND t.code = {int(TransferCode.RETURN)}
            WHEN 'confirm' THEN a.state IN ('paid', 'returned')
                AND t.code = {int(TransferCode.CONFIRM)}
            WHEN 'adjust' THEN j.id = c.posting_id AND j.amount = c.expected - c.found
            WHEN 'differ' THEN c.posting_id = c.id
            WHEN 'note' THEN c.posting_id IS NULL AND j.id IS NULL
            END, false)
        """,
        {"brand_id": brand_id},
    )


def statement_lines_name_what_is_there(session: Session, brand_id: int) -> Iterator[Finding]:
    """A statement's line names a payment of the brand, or is a case; and a statement has no more
    lines than its file had rows."""
    yield from find_rows(
        session,
        "books.lines",
        "line {line} of statement {import_id} names {batch_id}p{no}a{attempt}, and there is neither"
        " such a payment nor a case",
        """
        SELECT l.import_id, l.line, l.batch_id, l.no, l.attempt
        FROM statement_line l
        LEFT JOIN payout_attempt a ON a.brand_id = l.brand_id AND a.batch_id = l.batch_id
             AND a.no = l.no AND a.attempt = l.attempt
        LEFT JOIN reconciliation_case c ON c.brand_id = l.brand_id AND c.import_id = l.import_id
             AND c.line = l.line
        WHERE l.brand_id = :brand_id AND a.no IS NULL
          AND (c.id IS NULL OR l.batch_id IS NOT NULL)
        """,
        {"brand_id": brand_id},
    )
    yield from find_rows(
        session,
        "books.lines",
        "statement {id} had {rows} rows and has {lines} lines, of {low} to {high}",
        """
        SELECT s.id, s.rows, count(*) AS lines, min(l.booked_on) AS low, max(l.booked_on) AS high
        FROM statement_import s
        JOIN statement_line l ON l.brand_id = s.brand_id AND l.import_id = s.id
        WHERE s.brand_id = :brand_id
        GROUP BY s.brand_id, s.id
        HAVING count(*) > s.rows OR min(l.booked_on) < s.first_day
            OR max(l.booked_on) > s.last_day
        """,
        {"brand_id": brand_id},
    )


def closed_days_equal_a_replay(session: Session, brand_id: int) -> Iterator[Finding]:
    """The closed days follow each other without a gap from the first transfer on; each opens with
    what the one before closed with, and what it says, its digest included, is what its transfers
    are: nothing has been posted there since, and nothing has been changed."""
    closes = session.scalars(
        select(DayClose).where(DayClose.brand_id == brand_id).order_by(DayClose.day)
    ).all()
    if not closes:
        return
    brand = session.get_one(Brand, brand_id)
    opening: Balances = {}
    before = b""
    day: date | None = None
    end = closes[0].first_at
    for close in closes:
        found = list(_wrong(session, brand, close, opening, before))
        if close.first_at != end or day not in (None, close.day):
            found.append(f"does not follow the day before, it begins at {close.first_at}")
        for each in found:
            yield Finding("books.closes", f"{close.day}: {each}", {"day": close.day})
        opening, before = close.closing, close.digest
        day, end = close.day + timedelta(days=1), close.end_at
    earlier = session.scalar(
        text("SELECT count(*) FROM transfer WHERE brand_id = :brand_id AND posted_at < :first"),
        {"brand_id": brand_id, "first": closes[0].first_at},
    )
    if earlier:
        yield Finding(
            "books.closes", f"{earlier} transfers are of days before {closes[0].day}, the first"
        )


def _wrong(
    session: Session, brand: Brand, close: DayClose, opening: Balances, before: bytes
) -> Iterator[str]:
    if (close.first_at, close.end_at) != bounds(close.day, brand.time_zone):
        yield f"is said to be from {close.first_at} to {close.end_at}"
    try:
        again = read_day(
            session,
            brand=brand,
            day=close.day,
            first_at=close.first_at,
            end_at=close.end_at,
            opening=opening,
            before=before,
        )
    except BooksDoNotAddUp as error:
        yield error.detail
        return
    said = DayFigures.of(close)
    for name in ("opening", "movements", "closing", "transfers", "digest"):
        if getattr(said, name) != getattr(again, name):
            one, other = getattr(said, name), getattr(again, name)
            if isinstance(one, bytes):
                one, other = one.hex(), other.hex()
            yield f"{name} were signed as {one}, the ledger says {other}"


CHECKS: list[Check] = [
    bank_differences_are_explained,
    cases_end_as_they_say,
    statement_lines_name_what_is_there,
    closed_days_equal_a_replay,
]
"""What must hold of the books."""
