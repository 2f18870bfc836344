"""Closing a day: what there was, what moved, what there is, signed, and chained to the day before.

The days of a brand are closed in order and without gaps, so the opening of a day is the closing of
the one before, and a close costs as much as its day. Its digest is::

    sha256(digest of the day before || CSV)

where the CSV is what PostgreSQL's COPY writes of the day's transfers: brand_id, posting_id, seq,
code, debit_account, credit_account, amount, asset, in the order of posting_id and seq. Whoever has
the ledger can compute it again, without this program.

Nothing may be posted into a closed day. A transfer's ``posted_at`` is read while its transaction
runs, so one that began before midnight may commit after it. Orders do not pay for the answer, the
close does: it waits for every transaction of the database that began before the end of the day and
:data:`GRACE` (so far may the clocks of machines differ). Such a transaction is known by its virtual
id among the locks, which every transaction has from its first statement, whatever it has written,
and which every role may see. Should something be posted there all the same (a clock that is wrong,
a hand in the database), the audit finds it.
"""

from __future__ import annotations

import csv
import hashlib
import io
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from typing import Any

import psycopg
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from distrib import clock
from distrib.brands.tables import Brand
from distrib.db import cursor
from distrib.errors import Conflict, NotFound
from distrib.ledger.chart import FLOWS, AccountKind, TransferCode
from distrib.money import format_amount
from distrib.settlement.book_tables import DayClose
from distrib.settlement.people import require_person
from distrib.spreadsheet import safe_cell

GRACE = timedelta(minutes=10)
"""How long a day must be over before it is closed."""

Balances = dict[str, dict[str, int]]
"""Asset → kind of account → credits less debits of all accounts of that kind, in minor units."""

Movements = dict[str, dict[str, dict[str, int]]]
"""Asset → code → ``{"transfers": …, "amount": …}``."""


class CloseNotFound(NotFound):
    """The day is not closed."""

    title = "The day is not closed"


class NothingToClose(Conflict):
    """There was no transfer on that day or before."""

    title = "There is nothing to close"


class AlreadyClosed(Conflict):
    """A day is signed once."""

    title = "The day is closed"


class DayNotOver(Conflict):
    """Something may still be posted on that day."""

    title = "The day is not over"


class CloseOutOfOrder(Conflict):
    """An earlier day has transfers and is not closed."""

    title = "Another day comes first"


class StillPosting(Conflict):
    """Transactions that began on the day, or little later, are still running."""

    title = "The day may still be posted to"


class CloseChanged(Conflict):
    """The day is not what was reviewed."""

    title = "The day's transfers are not those that were reviewed"


class BooksDoNotAddUp(Conflict):
    """Opening and movements do not give the closing. Must never happen."""

    status = 500
    title = "The books do not add up"


@dataclass(frozen=True)
class DayFigures:
    """A day of the books, signed or not; see :class:`distrib.settlement.book_tables.DayClose`."""

    day: date
    first_at: datetime
    end_at: datetime
    opening: Balances
    movements: Movements
    closing: Balances
    transfers: int
    digest: bytes
    signed_by: str | None = None
    signed_at: datetime | None = None

    @classmethod
    def of(cls, close: DayClose) -> DayFigures:
        """The figures of a signed close."""
        return cls(**{name: getattr(close, name) for name in cls.__dataclass_fields__})

    def document(self, brand: Brand) -> dict[str, Any]:
        """All of it, as JSON has it. Money in minor units."""
        fields = asdict(self)
        return {"brand": brand.slug, "time_zone": brand.time_zone} | fields


def bounds(day: date, time_zone: str) -> tuple[datetime, datetime]:
    """When a day begins and ends where the brand lives, in UTC: [first, end)."""
    zone = clock.zone(time_zone)
    first, end = (
        datetime.combine(each, time_of_day.min, zone).astimezone(UTC)
        for each in (day, day + timedelta(days=1))
    )
    return first, end


# -- what a day holds -----------------------------------------------------------------------------

_DAY = "brand_id = :brand_id AND posted_at >= :first AND posted_at < :end"

_MOVED = text(
    f"""
    SELECT asset, code, debit_account & 15 AS debit, credit_account & 15 AS credit,
           count(*) AS transfers, sum(amount) AS amount
    FROM transfer WHERE {_DAY} GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
    """
)

_COPY = """
    COPY (SELECT brand_id, posting_id, seq, code, debit_account, credit_account, amount, asset
          FROM transfer
          WHERE brand_id = %(brand_id)s AND posted_at >= %(first)s AND posted_at < %(end)s
          ORDER BY posting_id, seq) TO STDOUT (FORMAT csv)
"""


def read_day(
    session: Session,
    *,
    brand: Brand,
    day: date,
    first_at: datetime,
    end_at: datetime,
    opening: Mapping[str, Mapping[str, int]],
    before: bytes,
) -> DayFigures:
    """What the transfers of a day make of an opening.

    :param before: digest of the day before, empty for the first.
    :raises BooksDoNotAddUp: when transfers move what their code does not, so that opening and
        movements are not the closing; when there are others each time one looks.
    """
    scope: dict[str, Any] = {"brand_id": brand.id, "first": first_at, "end": end_at}
    movements: Movements = {}
    moved = _copied(opening)
    by_code = _copied(opening)
    transfers = 0
    for row in session.execute(_MOVED, scope):
        amount = int(row.amount)
        transfers += row.transfers
        try:
            debit, credit = AccountKind(row.debit), AccountKind(row.credit)
            code = TransferCode(row.code)
        except ValueError as error:
            raise BooksDoNotAddUp(f"{day}: {error}; run the audit") from None
        _move(moved, row.asset, debit, credit, amount)
        _move(by_code, row.asset, *FLOWS[code], amount)
        of_code = movements.setdefault(row.asset, {}).setdefault(
            code.name.lower(), {"transfers": 0, "amount": 0}
        )
        of_code["transfers"] += row.transfers
        of_code["amount"] += amount
    if moved != by_code:
        raise BooksDoNotAddUp(f"{day}: opening and movements are not the closing; run the audit")
    digest, rows = _digest(cursor(session), scope, before)
    if rows != transfers:
        raise BooksDoNotAddUp(f"{day} has {transfers} transfers, and then {rows}")
    return DayFigures(day, first_at, end_at, _copied(opening), movements, moved, transfers, digest)


def _copied(balances: Mapping[str, Mapping[str, int]]) -> Balances:
    return {asset: dict(kinds) for asset, kinds in balances.items()}


def _move(
    balances: Balances, asset: str, debit: AccountKind, credit: AccountKind, amount: int
) -> None:
    kinds = balances.setdefault(asset, {})
    for kind, change in ((debit, -amount), (credit, amount)):
        name = kind.name.lower()
        kinds[name] = kinds.get(name, 0) + change


def _digest(cur: psycopg.Cursor[Any], scope: Mapping[str, Any], before: bytes) -> tuple[bytes, int]:
    """The digest of a day, and how many transfers it is of."""
    digest, rows = hashlib.sha256(before), 0
    cur.execute("SET LOCAL work_mem = '64MB'")  # rows are sorted
    with cur.copy(_COPY, scope) as copy:
        for line in copy:
            digest.update(line)
            rows += 1
    return digest.digest(), rows


# -- which day is next ----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Next:
    """Where the next close begins."""

    day: date
    first_at: datetime
    opening: Balances
    before: bytes


def _last_close(session: Session, brand_id: int) -> DayClose | None:
    return session.scalar(
        select(DayClose).where(DayClose.brand_id == brand_id).order_by(DayClose.day.desc()).limit(1)
    )


def _next(session: Session, brand: Brand) -> _Next:
    last = _last_close(session, brand.id)
    if last is not None:
        return _Next(last.day + timedelta(days=1), last.end_at, last.closing, last.digest)
    first = session.scalar(
        text("SELECT min(posted_at) FROM transfer WHERE brand_id = :brand_id"),
        {"brand_id": brand.id},
    )
    if first is None:
        raise NothingToClose("nothing has been posted yet", field="day")
    day = clock.day_of(first, brand.time_zone)
    return _Next(day, bounds(day, brand.time_zone)[0], {}, b"")


_FIRST_MOVED = text(f"SELECT min(posted_at) FROM transfer WHERE {_DAY}")


def _read_days(session: Session, brand: Brand, begin: _Next, day: date) -> Iterator[DayFigures]:
    """The days from the next up to ``day``; before that, none may have moved anything."""
    skipped = {"brand_id": brand.id, "first": begin.first_at}
    if day > begin.day:
        skipped["end"] = bounds(day, brand.time_zone)[0]
        moved = session.scalar(_FIRST_MOVED, skipped)
        if moved is not None:
            first = clock.day_of(moved, brand.time_zone)
            raise CloseOutOfOrder(f"{first} comes first: something was posted then", field="day")
    each, first_at, opening, before = begin.day, begin.first_at, begin.opening, begin.before
    while each <= day:
        end_at = bounds(each, brand.time_zone)[1]
        if each < day:  # known to be empty
            found = DayFigures(
                each, first_at, end_at, _copied(opening), {}, _copied(opening), 0,
                hashlib.sha256(before).digest(),
            )  # fmt: skip
        else:
            found = read_day(
                session,
                brand=brand,
                day=each,
                first_at=first_at,
                end_at=end_at,
                opening=opening,
                before=before,
            )
        yield found
        each, first_at = each + timedelta(days=1), end_at
        opening, before = found.closing, found.digest


def _check_day(brand: Brand, begin: _Next, day: date) -> None:
    if day < begin.day:
        raise NothingToClose(f"the first day of the books is {begin.day}", field="day")
    today = clock.day_of(clock.now(), brand.time_zone)
    if day > today:
        raise DayNotOver(f"{day} is yet to come, today is {today}", field="day")


def _check_unsigned(session: Session, brand: Brand, day: date) -> None:
    last = _last_close(session, brand.id)
    if last is not None and day <= last.day:
        raise AlreadyClosed(
            f"{day} is closed; the days up to {last.day} are, that one by {last.signed_by}",
            field="day",
        )


def next_day(session: Session, *, brand: Brand) -> date:
    """The day that is closed next.

    :raises NothingToClose: when nothing has been posted yet.
    """
    return _next(session, brand).day


def prepare_close(session: Session, *, brand: Brand, day: date | None = None) -> DayFigures:
    """What closing a day would sign. Days without movement before it are closed with it.

    :param day: default: the day that comes next. One that is not over yet shows what there is.
    :raises AlreadyClosed: for a day that is signed.
    :raises CloseOutOfOrder: naming the day that comes first.
    """
    if day is not None:
        _check_unsigned(session, brand, day)
    begin = _next(session, brand)
    day = begin.day if day is None else day
    _check_day(brand, begin, day)
    *_, last = _read_days(session, brand, begin, day)
    return last


def sign_close(
    session: Session,
    *,
    brand: Brand,
    day: date,
    signed_by: str,
    digest: bytes | None = None,
    wait_seconds: float = 5.0,
) -> DayClose:
    """Close a day, and the days without movement before it.

    :param digest: of what was reviewed: should the day hold anything else, it is refused.
    :param wait_seconds: how long to wait for transactions that began before the day was over.
    :raises DayNotOver: until :data:`GRACE` after its end.
    :raises AlreadyClosed: for a second signature.
    :raises CloseOutOfOrder: naming the day that comes first.
    :raises StillPosting: when such a transaction is still running after that time.
    """
    signed_by = require_person(signed_by, "signed_by")
    _check_unsigned(session, brand, day)
    begin = _next(session, brand)
    _check_day(brand, begin, day)
    end_at = bounds(day, brand.time_zone)[1]
    if clock.now() < end_at + GRACE:
        over = (end_at + GRACE).astimezone(clock.zone(brand.time_zone))
        raise DayNotOver(f"{day} can be closed from {over:%Y-%m-%d %H:%M} on", field="day")
    _wait_for_older(session, end_at + GRACE, wait_seconds)
    made = [
        DayClose(
            brand_id=brand.id,
            **{**asdict(each), "signed_by": signed_by, "signed_at": clock.now()},
        )
        for each in _read_days(session, brand, begin, day)
    ]
    if digest not in (None, made[-1].digest):
        raise CloseChanged(f"{day} is not what was reviewed", field="digest")
    session.add_all(made)
    session.flush()
    return made[-1]


# What runs in a database holds a lock on its virtual id. Statistics say since when, of other roles
# only to some: of those that will not say, all are waited for. Vacuuming belongs to no user.
_OLDER = text(
    """
    SELECT l.virtualxid AS id, l.pid, a.xact_start AS since
    FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.locktype = 'virtualxid' AND l.mode = 'ExclusiveLock' AND l.granted
      AND a.datname = current_database() AND a.usesysid IS NOT NULL AND a.pid <> pg_backend_pid()
      AND (a.xact_start IS NULL OR a.xact_start < :until)
    UNION ALL
    SELECT 'prepared ' || gid, NULL, prepared FROM pg_prepared_xacts
    WHERE database = current_database() AND prepared < :until
    """
)
_STILL = text(
    """
    SELECT virtualxid FROM pg_locks WHERE locktype = 'virtualxid' AND virtualxid = ANY(:ids)
    UNION ALL
    SELECT 'prepared ' || gid FROM pg_prepared_xacts WHERE 'prepared ' || gid = ANY(:ids)
    """
)
_POLL_SECONDS = 0.05


def _wait_for_older(session: Session, until: datetime, seconds: float) -> None:
    """Wait for the end of every transaction that began before ``until``.

    What begins from here on reads a clock that is past the day.
    """
    session.execute(text("SELECT pg_stat_clear_snapshot()"))
    older = {row.id: row for row in session.execute(_OLDER, {"until": until})}
    deadline = time.monotonic() + seconds
    left = list(older)
    while left:
        left = list(session.scalars(_STILL, {"ids": left}))
        if left and time.monotonic() >= deadline:
            row = older[left[0]]
            since = f"since {row.since:%Y-%m-%d %H:%M:%S} UTC" if row.since else "for some time"
            raise StillPosting(
                f"{len(left)} transactions may still post on that day; {row.id}"
                f"{f' (process {row.pid})' if row.pid else ''} has run {since}",
                field="day",
            )
        if left:
            time.sleep(_POLL_SECONDS)


# -- reading --------------------------------------------------------------------------------------


def get_close(session: Session, *, brand_id: int, day: date) -> DayClose:
    """The signed close of a day.

    :raises CloseNotFound: when it is not closed.
    """
    found = session.get(DayClose, (brand_id, day))
    if found is None:
        raise CloseNotFound(f"{day} is not closed", field="day")
    return found


def list_closes(session: Session, *, brand_id: int, limit: int = 31) -> list[DayClose]:
    """The last closes, newest first."""
    return list(
        session.scalars(
            select(DayClose)
            .where(DayClose.brand_id == brand_id)
            .order_by(DayClose.day.desc())
            .limit(limit)
        )
    )


# -- on paper -------------------------------------------------------------------------------------

CSV_COLUMNS = ("part", "name", "asset", "transfers", "amount")


def _lines(close: DayFigures) -> Iterator[tuple[str, str, str, int | None, int]]:
    for part, balances in (("opening", close.opening), ("closing", close.closing)):
        if part == "closing":
            for asset, codes in sorted(close.movements.items()):
                for code in TransferCode:
                    if (moved := codes.get(code.name.lower())) is not None:
                        name = code.name.lower()
                        yield "movement", name, asset, moved["transfers"], moved["amount"]
        for asset, kinds in sorted(balances.items()):
            for kind in AccountKind:
                if kind.name.lower() in kinds:
                    yield part, kind.name.lower(), asset, None, kinds[kind.name.lower()]


def write_csv(close: DayFigures) -> str:
    """A close as CSV: opening, movements, closing, and who signed. Amounts in major units."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for part, name, asset, transfers, amount in _lines(close):
        shown = format_amount(amount, asset, grouped=False)
        writer.writerow([part, name, asset, "" if transfers is None else transfers, shown])
    writer.writerow(["close", "day", "", close.transfers, close.day.isoformat()])
    writer.writerow(["close", "digest", "", "", close.digest.hex()])
    if close.signed_at is not None:
        writer.writerow(["close", "signed_by", "", "", safe_cell(close.signed_by or "")])
        writer.writerow(["close", "signed_at", "", "", close.signed_at.astimezone(UTC).isoformat()])
    return file.getvalue()


def write_text(close: DayFigures, *, name: str, time_zone: str) -> str:
    """A close on one page, for a terminal or a printer."""
    zone = clock.zone(time_zone)
    rows = [
        (part, words.replace("_", " "), "" if count is None else f"{count:,}",
         f"{format_amount(amount, asset)} {asset}")
        for part, words, asset, count, amount in _lines(close)
    ]  # fmt: skip
    wide = max((len(row[3]) for row in rows), default=0)
    page = [
        f"{name}: {close.day:%A, %d %B %Y}",
        f"{close.first_at.astimezone(zone):%Y-%m-%d %H:%M} to"
        f" {close.end_at.astimezone(zone):%Y-%m-%d %H:%M} {time_zone};"
        f" {close.transfers:,} transfers",
    ]
    titles = {"opening": "Opening", "movement": "Movements", "closing": "Closing"}
    for part, title in titles.items():
        page += ["", title]
        shown = [row for row in rows if row[0] == part]
        page += [f"  {row[1]:<24}{row[2]:>12}  {row[3]:>{wide}}" for row in shown]
        if not shown:
            page.append("  nothing")
    page += ["", f"Digest {close.digest.hex()}"]
    if close.signed_at is None:
        page.append("Not signed.")
    else:
        page.append(
            f"Signed by {close.signed_by}, {close.signed_at.astimezone(zone):%Y-%m-%d %H:%M}"
        )
    return "\n".join(page) + "\n"
