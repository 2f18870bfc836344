"""What the ledger says went out, beside what the bank says: statements, differences, their end.

A statement's lines are matched by the request number they carry, then by amount and date. What does
not agree is a *case*: one for each subject and kind, however often it is looked at. A case ends in
what the ledger needs, or in a note that says why it needs nothing.

A statement may say again what an earlier one said (a month after its days). A day of which it says
all that was known, and perhaps more, is told again: lines known before are recorded once. A day of
which it does not is another part of the day, and all its lines count.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, BinaryIO

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from distrib import clock, ids
from distrib.brands.tables import Brand
from distrib.bulk import write_rows
from distrib.config import Settings
from distrib.db import cursor
from distrib.errors import InvalidInput, NotFound
from distrib.settlement.book_tables import ReconciliationCase, StatementImport
from distrib.settlement.cases import CaseKind
from distrib.settlement.closes import bounds
from distrib.settlement.outcomes import AttemptKey, write_request_no
from distrib.settlement.people import require_person, require_words
from distrib.settlement.providers.registry import choose_provider
from distrib.settlement.statement_file import STANDARD, StatementMapping, read_statement
from distrib.settlement.statement_rows import BadStatement, Period, RefusedLine, StatementRow
from distrib.settlement.tables import SettlementBatch

IMPORT_PREFIX = "imp"
"""Of the public ids of imports."""

WINDOW_DAYS = 10
"""How far from the day on which a payout is recorded as paid its line may be booked."""

MISSING_AFTER_DAYS = 3
"""How long before the last day of a statement a payment must be for the statement to have it."""

BY_ITSELF = "distrib"
"""Who resolves a case that a later statement, or a later outcome, explains."""

_CHUNK = 20_000
_MOST_REFUSED = 1_000


class ImportNotFound(NotFound):
    """No import of that id."""

    title = "No such statement"


@dataclass
class ImportReport:
    """What an import did. ``accepted`` and ``rejected`` rows are all that were read.

    :param known: the very file had been imported before; nothing was written.
    :param repeated: accepted lines that an earlier statement had said.
    :param rejects: the first of the rejected rows.
    :param found: new cases by kind.
    :param resolved: cases that this statement explains.
    """

    statement: StatementImport
    known: bool
    accepted: int
    rejected: int
    repeated: int = 0
    matched: int = 0
    rejects: Sequence[RefusedLine] = ()
    found: dict[str, int] = field(default_factory=dict)
    resolved: int = 0

    @property
    def read(self) -> int:
        """How many rows the file has."""
        return self.accepted + self.rejected


# -- importing ------------------------------------------------------------------------------------

_INCOMING = """
    CREATE TEMP TABLE incoming_line (
        line int, booked_on date, amount bigint, reference text, text text,
        names text
    ) ON COMMIT DROP
"""
_DROP = text(
    "DROP TABLE IF EXISTS pg_temp.incoming_line, pg_temp.known_line, pg_temp.fresh_line,"
    " pg_temp.repeated_line, pg_temp.open_case"
)
_COPY_IN = (
    "COPY incoming_line (line, booked_on, amount, reference, text, names)"
    " FROM STDIN (FORMAT BINARY)"
)
_COPY_TYPES = ["int4", "date", "int8", "text", "text", "text"]

# A line that names several attempts of ours names none: a person looks.
_TAKE = text(
    """
    WITH named AS (
        SELECT k.line, min(a.batch_id) AS batch_id, min(a.no) AS no, min(a.attempt) AS attempt
        FROM (SELECT DISTINCT i.line, split_part(u.name, 'p', 1)::bigint AS batch_id,
                     split_part(split_part(u.name, 'p', 2), 'a', 1)::int AS no,
                     split_part(u.name, 'a', 2)::smallint AS attempt
              FROM incoming_line i
              CROSS JOIN LATERAL unnest(string_to_array(i.names, ' ')) u (name)) k
        JOIN payout_attempt a ON a.brand_id = :brand_id AND a.batch_id = k.batch_id
             AND a.no = k.no AND a.attempt = k.attempt
        GROUP BY k.line HAVING count(*) = 1)
    INSERT INTO statement_line (brand_id, import_id, line, booked_on, amount, reference, text,
                                batch_id, no, attempt)
    SELECT :brand_id, :import_id, f.line, f.booked_on, f.amount, f.reference, f.text,
           n.batch_id, n.no, n.attempt
    FROM incoming_line f
    LEFT JOIN named n ON n.line = f.line
    LEFT JOIN repeated_line r ON r.line = f.line
    WHERE r.line IS NULL
    """
)

# Of lines that say the same, the first of one file is the first of another. They are joined by
# tables of their own, of which the planner knows how large they are.
_NUMBERED = (
    "row_number() OVER (PARTITION BY booked_on, amount, reference, text ORDER BY {order}) AS place"
)
_COMPARE = (
    f"""
    CREATE TEMP TABLE known_line ON COMMIT DROP AS
    SELECT l.booked_on, l.amount, l.reference, l.text,
           {_NUMBERED.format(order="l.import_id, l.line")}
    FROM statement_import s
    JOIN statement_line l ON l.brand_id = s.brand_id AND l.import_id = s.id
    WHERE s.brand_id = :brand_id AND s.provider = :provider
      AND s.first_day <= :last_day AND s.last_day >= :first_day
      AND l.booked_on IN (SELECT booked_on FROM incoming_line)
    """,
    f"""
    CREATE TEMP TABLE fresh_line ON COMMIT DROP AS
    SELECT line, booked_on, amount, reference, text, {_NUMBERED.format(order="line")}
    FROM incoming_line WHERE booked_on IN (SELECT booked_on FROM known_line)
    """,
    "ANALYZE known_line",
    "ANALYZE fresh_line",
    """
    CREATE TEMP TABLE repeated_line ON COMMIT DROP AS
    SELECT line FROM (
        SELECT f.line, bool_and(f.line IS NOT NULL) OVER (PARTITION BY k.booked_on) AS all_of_it
        FROM known_line k
        LEFT JOIN fresh_line f ON f.booked_on = k.booked_on AND f.amount = k.amount
             AND f.reference = k.reference AND f.text = k.text AND f.place = k.place) x
    WHERE all_of_it
    """,
    "ANALYZE repeated_line",
)


def check_provider(session: Session, settings: Settings, *, brand: Brand, provider: str) -> str:
    """The name of a provider that the brand has, or has paid by.

    :raises InvalidInput: naming those it has.
    """
    paid_by = session.scalar(
        select(SettlementBatch.id)
        .where(SettlementBatch.brand_id == brand.id, SettlementBatch.provider == provider)
        .limit(1)
    )
    return provider if paid_by else choose_provider(settings, brand.slug, provider).name


def import_statement(
    session: Session,
    *,
    brand: Brand,
    provider: str,
    name: str,
    file: BinaryIO,
    imported_by: str,
    mapping: StatementMapping = STANDARD,
    first_day: date | None = None,
    last_day: date | None = None,
    missing_after_days: int = MISSING_AFTER_DAYS,
    on_rejected: Callable[[RefusedLine], None] | None = None,
) -> ImportReport:
    """Take a statement in, once, and look for differences.

    :param provider: see :func:`check_provider`.
    :param file: can be sought; read from its beginning.
    :param first_day: with ``last_day``, the days it is of; default: what it says, or those of its
        lines. What is missing is looked for among the payments of these days.
    :param on_rejected: is told of each row that is rejected.
    :raises BadStatement: when it cannot be read, or none of its rows can.
    """
    imported_by = require_person(imported_by, "imported_by")
    name = require_words(name, "name", "name the statement")[-200:]
    if not 0 <= missing_after_days <= 90:
        raise InvalidInput("must be 0 to 90", field="missing_after_days")
    if first_day is not None and last_day is not None and first_day > last_day:
        raise InvalidInput("is before the first day", field="last_day")
    file.seek(0)
    sha256 = hashlib.file_digest(file, "sha256").digest()  # type: ignore[arg-type]  # it only reads
    file.seek(0)
    period = Period()
    rows = read_statement(
        file,
        mapping=mapping,
        currency=brand.currency,
        time_zone=brand.time_zone,
        period=period,
    )
    session.execute(_DROP)
    session.execute(text(_INCOMING))
    accepted, rejected, rejects = _copy(session, rows, (first_day, last_day), on_rejected)
    first, last = _days(session, period, (first_day, last_day))
    known = session.scalar(
        select(StatementImport).where(
            StatementImport.brand_id == brand.id,
            StatementImport.provider == provider,
            StatementImport.sha256 == sha256,
        )
    )
    if known is not None:
        return ImportReport(known, True, accepted, rejected, rejects=rejects)
    if rejects and not accepted:
        raise BadStatement(f"no row of it could be read: {rejects[0].reason}", field="file")
    if first is None or last is None:
        raise BadStatement("say which days it is of", field="first_day")
    statement = StatementImport(
        brand_id=brand.id,
        id=ids.new(),
        provider=provider,
        name=name,
        sha256=sha256,
        first_day=first,
        last_day=last,
        rows=accepted + rejected,
        imported_by=imported_by,
        imported_at=clock.now(),
    )
    session.add(statement)
    session.flush()
    taken = _take(session, statement)
    report = ImportReport(
        statement, False, accepted, rejected, repeated=accepted - taken, rejects=rejects
    )
    report.resolved = _resolve_explained(session, brand)
    found = [
        *_differing_lines(session, brand, statement),
        *_missing(session, brand, statement, missing_after_days),
    ]
    _open_cases(session, statement, found, opened_by=imported_by)
    for each in found:
        report.found[each.kind] = report.found.get(each.kind, 0) + 1
    report.matched = taken - sum(each.line is not None for each in found)
    return report


def _copy(
    session: Session,
    rows: Iterator[StatementRow | RefusedLine],
    days: tuple[date | None, date | None],
    on_rejected: Callable[[RefusedLine], None] | None,
) -> tuple[int, int, list[RefusedLine]]:
    """Copy the rows into the table of incoming lines: how many were accepted, how many not."""
    accepted = rejected = 0
    rejects: list[RefusedLine] = []
    with cursor(session).copy(_COPY_IN) as copy:
        copy.set_types(_COPY_TYPES)
        for row in rows:
            refused = row if isinstance(row, RefusedLine) else _outside(row, *days)
            if refused is not None:
                rejected += 1
                if len(rejects) < _MOST_REFUSED:
                    rejects.append(refused)
                if on_rejected is not None:
                    on_rejected(refused)
                continue
            if isinstance(row, StatementRow):
                accepted += 1
                names = " ".join(map(write_request_no, row.keys))
                copy.write_row(
                    (row.line, row.booked_on, row.amount, row.reference, row.text, names)
                )
    return accepted, rejected, rejects


def _take(session: Session, statement: StatementImport) -> int:
    """Record the incoming lines that are new; how many that are."""
    session.execute(text("ANALYZE incoming_line"))
    scope = {
        "brand_id": statement.brand_id,
        "provider": statement.provider,
        "first_day": statement.first_day,
        "last_day": statement.last_day,
    }
    for step in _COMPARE:
        session.execute(text(step), {key: scope[key] for key in scope if f":{key}" in step})
    written = session.execute(_TAKE, {"brand_id": statement.brand_id, "import_id": statement.id})
    return int(written.rowcount)  # type: ignore[attr-defined]  # a CursorResult, as for any DML


def _outside(
    row: StatementRow | RefusedLine, first: date | None, last: date | None
) -> RefusedLine | None:
    if isinstance(row, RefusedLine) or (
        (first is None or first <= row.booked_on) and (last is None or row.booked_on <= last)
    ):
        return None
    return RefusedLine(row.line, f"{row.booked_on} is not of the statement's days", row.reference)


def _days(
    session: Session, period: Period, given: tuple[date | None, date | None]
) -> tuple[date | None, date | None]:
    low, high = session.execute(
        text("SELECT min(booked_on) AS low, max(booked_on) AS high FROM incoming_line")
    ).one()
    if low is not None:
        period.add(low, high)
    first, last = given
    return first or period.first, last or period.last


# -- looking for differences ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Found:
    """A difference that is to be a case."""

    kind: str
    subject: str
    batch_id: int | None
    no: int | None
    attempt: int | None
    import_id: int | None
    line: int | None
    expected: int
    found: int


# Of the lines of one attempt, the one that fits best is its payment (or its return), the earliest
# of them where several do. Money of a failed attempt that went out and came back is no difference.
_JUDGED = """
    WITH touched AS MATERIALIZED ({touched}),
    paired AS (
        SELECT l.import_id, l.line, l.booked_on, l.amount, l.batch_id, l.no, l.attempt, a.state,
               p.amount - p.tax AS net,
               abs(l.booked_on - (a.state_at AT TIME ZONE :zone)::date) <= :window AS near
        FROM touched t
        JOIN statement_line l ON l.batch_id = t.batch_id AND l.no = t.no AND l.attempt = t.attempt
             AND l.brand_id = :brand_id
        JOIN payout_attempt a ON a.brand_id = :brand_id AND a.batch_id = l.batch_id
             AND a.no = l.no AND a.attempt = l.attempt
        JOIN payout p ON p.brand_id = :brand_id AND p.batch_id = l.batch_id AND p.no = l.no),
    placed AS (
        SELECT *, row_number() OVER (
                   PARTITION BY batch_id, no, attempt, amount > 0
                   ORDER BY abs(amount) = net DESC, near DESC NULLS LAST, import_id, line) AS place
        FROM paired),
    faced AS (
        SELECT *, count(*) OVER (PARTITION BY batch_id, no, attempt, place, abs(amount)) AS sides
        FROM placed),
    judged AS (
        SELECT o.*, CASE
            WHEN o.state = 'failed' AND abs(o.amount) = o.net AND o.sides = 2 THEN NULL
            WHEN o.state = 'failed' THEN 'extra'
            WHEN o.amount > 0 AND o.place > 1 THEN 'extra'
            WHEN o.amount > 0 AND o.amount <> o.net THEN 'amount_differs'
            WHEN o.amount > 0 AND o.state IN ('sent', 'pending') THEN 'extra'
            WHEN o.amount > 0 AND o.state = 'paid' AND NOT o.near THEN 'extra'
            WHEN o.amount > 0 THEN NULL
            WHEN o.state = 'paid' THEN 'late_return'
            WHEN o.state = 'returned' AND o.place = 1 AND o.amount = -o.net THEN NULL
            WHEN o.state = 'returned' AND o.place = 1 THEN 'amount_differs'
            ELSE 'extra' END AS kind
        FROM faced o)
"""

_OF_IMPORT = """
    SELECT DISTINCT batch_id, no, attempt FROM statement_line
    WHERE brand_id = :brand_id AND import_id = :import_id AND batch_id IS NOT NULL
"""
_OF_OPEN_CASES = "SELECT DISTINCT batch_id, no, attempt FROM open_case WHERE line IS NOT NULL"
_OPEN_CASES = (
    """
    CREATE TEMP TABLE open_case ON COMMIT DROP AS
    SELECT id, kind, import_id, line, batch_id, no, attempt FROM reconciliation_case
    WHERE brand_id = :brand_id AND state = 'open' AND batch_id IS NOT NULL
    """,
    "ANALYZE open_case",
)

_DIFFERING = text(
    _JUDGED.format(touched=_OF_IMPORT)
    + """
    SELECT kind, import_id, line, batch_id, no, attempt, amount AS found,
           CASE WHEN kind <> 'amount_differs' THEN 0 WHEN amount < 0 THEN -net ELSE net END
               AS expected
    FROM judged WHERE import_id = :import_id AND kind IS NOT NULL
    UNION ALL
    SELECT 'extra', import_id, line, NULL, NULL, NULL, amount, 0
    FROM statement_line
    WHERE brand_id = :brand_id AND import_id = :import_id AND batch_id IS NULL
    ORDER BY line
    """
)

_EXPLAINED = text(
    _JUDGED.format(touched=_OF_OPEN_CASES)
    + """
    , settled AS (
        SELECT c.id, 'agrees with what is recorded of ' || j.batch_id || 'p' || j.no || 'a'
                     || j.attempt || ' now: ' || j.state AS note
        FROM open_case c
        JOIN judged j ON j.import_id = c.import_id AND j.line = c.line
        WHERE j.kind IS NULL
        UNION ALL
        SELECT c.id, min('found in line ' || l.line || ' of "' || s.name || '", booked on '
                         || l.booked_on)
        FROM open_case c
        JOIN statement_line l ON l.batch_id = c.batch_id AND l.no = c.no
             AND l.attempt = c.attempt AND l.brand_id = :brand_id AND l.amount > 0
        JOIN statement_import s ON s.brand_id = l.brand_id AND s.id = l.import_id
        WHERE c.kind = 'missing'
        GROUP BY c.id)
    UPDATE reconciliation_case c
    SET state = 'resolved', resolution = 'note', note = x.note, resolved_at = :now,
        resolved_by = :by
    FROM settled x WHERE c.brand_id = :brand_id AND c.id = x.id
    """
)

# The last days of a statement are looked at again with the next one.
_MISSING = text(
    """
    SELECT a.batch_id, a.no, a.attempt, p.amount - p.tax AS expected
    FROM settlement_batch b
    JOIN payout_attempt a ON a.brand_id = b.brand_id AND a.batch_id = b.id
    JOIN payout p ON p.brand_id = a.brand_id AND p.batch_id = a.batch_id AND p.no = a.no
    CROSS JOIN LATERAL (SELECT (a.state_at AT TIME ZONE :zone)::date AS day) d
    WHERE b.brand_id = :brand_id AND b.provider = :provider AND a.state = 'paid'
      AND a.state_at >= :since AND a.state_at < :until
      AND d.day <= :last_day - CAST(:wait AS int)
      AND EXISTS (SELECT FROM statement_import s WHERE s.brand_id = :brand_id
                  AND s.provider = :provider AND d.day BETWEEN s.first_day AND s.last_day)
      AND NOT EXISTS (SELECT FROM statement_line l WHERE l.batch_id = a.batch_id AND l.no = a.no
                      AND l.attempt = a.attempt AND l.brand_id = a.brand_id AND l.amount > 0)
      AND NOT EXISTS (SELECT FROM reconciliation_case c WHERE c.subject = a.request_no
                      AND c.kind = 'missing' AND c.brand_id = a.brand_id)
    ORDER BY a.batch_id, a.no
    """
)


def _scope(brand: Brand) -> dict[str, Any]:
    return {"brand_id": brand.id, "zone": brand.time_zone, "window": WINDOW_DAYS}


def _differing_lines(session: Session, brand: Brand, statement: StatementImport) -> list[_Found]:
    rows = session.execute(_DIFFERING, _scope(brand) | {"import_id": statement.id})
    return [
        _Found(
            row.kind,
            f"{ids.public(IMPORT_PREFIX, row.import_id)}:{row.line}",
            row.batch_id,
            row.no,
            row.attempt,
            row.import_id,
            row.line,
            row.expected,
            row.found,
        )
        for row in rows
    ]


def _missing(session: Session, brand: Brand, statement: StatementImport, wait: int) -> list[_Found]:
    """Payments that no line has. Those of the days before the statement's, which the statement
    before it was too short for, are looked at too."""
    latest = session.scalars(
        select(func.max(StatementImport.last_day)).where(
            StatementImport.brand_id == brand.id, StatementImport.provider == statement.provider
        )
    ).one()
    since = statement.first_day - timedelta(days=wait + 1)
    rows = session.execute(
        _MISSING,
        {
            "brand_id": brand.id,
            "zone": brand.time_zone,
            "provider": statement.provider,
            "since": bounds(since, brand.time_zone)[0],
            "until": bounds(statement.last_day, brand.time_zone)[1],
            "last_day": latest,
            "wait": wait,
        },
    )
    return [
        _Found(
            CaseKind.MISSING.value,
            write_request_no(AttemptKey(row.batch_id, row.no, row.attempt)),
            row.batch_id,
            row.no,
            row.attempt,
            statement.id,
            None,
            row.expected,
            0,
        )
        for row in rows
    ]


def _open_cases(
    session: Session, statement: StatementImport, found: Sequence[_Found], *, opened_by: str
) -> None:
    cur = cursor(session)
    for start in range(0, len(found), _CHUNK):
        part = found[start : start + _CHUNK]
        write_rows(
            cur,
            ReconciliationCase,
            {
                "brand_id": statement.brand_id,
                "id": ids.take(len(part)),
                **{
                    name: [getattr(each, name) for each in part]
                    for name in _Found.__dataclass_fields__
                },
                "provider": statement.provider,
                "state": "open",
                "opened_at": clock.now(),
                "opened_by": opened_by,
            },
            len(part),
        )


def _resolve_explained(session: Session, brand: Brand) -> int:
    """Resolve the open cases that what is recorded now explains."""
    session.execute(text(_OPEN_CASES[0]), {"brand_id": brand.id})
    session.execute(text(_OPEN_CASES[1]))
    done = session.execute(_EXPLAINED, _scope(brand) | {"now": clock.now(), "by": BY_ITSELF})
    return int(done.rowcount)  # type: ignore[attr-defined]  # a CursorResult, as for any DML


def get_import(session: Session, *, brand_id: int, import_id: int) -> StatementImport:
    """The brand's import of that id.

    :raises ImportNotFound: when there is none.
    """
    found = session.get(StatementImport, (brand_id, import_id))
    if found is None:
        raise ImportNotFound(
            f"there is no statement {ids.public(IMPORT_PREFIX, import_id)}", field="statement"
        )
    return found


def list_imports(session: Session, *, brand_id: int, limit: int = 50) -> list[StatementImport]:
    """The statements that were taken in, newest first."""
    return list(
        session.scalars(
            select(StatementImport)
            .where(StatementImport.brand_id == brand_id)
            .order_by(StatementImport.id.desc())
            .limit(limit)
        )
    )
