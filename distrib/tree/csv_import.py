"""Enrolling distributors from a CSV file: all that can be, in one transaction."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO
from zoneinfo import ZoneInfo

import psycopg
from sqlalchemy import text
from sqlalchemy.orm import Session

from distrib import clock, ids
from distrib.brands import service as brands
from distrib.bulk import write_rows
from distrib.db import Database, cursor
from distrib.errors import Conflict, DistribError, InvalidInput
from distrib.tree import facts, queries
from distrib.tree.facts import Known
from distrib.tree.roster import Decision, Reject, Row, decide
from distrib.tree.tables import Distributor, Sponsorship

REQUIRED = ("external_id", "name")
OPTIONAL = ("sponsor", "code", "joined_at")
OUTCOME = ("line", "reason")
"""Columns that a rejects file begins with; ignored in what is read, so that a rejects file can be
corrected and imported as it is."""

_CHUNK = 20_000  # rows between two calls of progress

Progress = Callable[[str, int], None]
"""Told ``"read"`` or ``"written"`` and how many rows so far."""


class ImportCollided(Conflict):
    """Others enrolled the same distributors at the same time, again and again."""

    title = "The import collided with others"


@dataclass(frozen=True)
class ImportReport:
    """What became of the rows: ``accepted + unchanged + rejected == read``."""

    read: int
    accepted: int
    unchanged: int
    rejected: int
    seconds: float


@dataclass
class _Sheet:
    """The file as read: rows that can be decided about, and those that cannot."""

    header: list[str]
    rows: list[Row] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    unreadable: dict[str, int] = field(default_factory=dict)


def import_distributors(
    database: Database,
    *,
    brand_id: int,
    source: Path | BinaryIO,
    rejects_path: Path | None = None,
    progress: Progress | None = None,
) -> ImportReport:
    """Enrol the distributors of a CSV file; its rows may stand in any order.

    The columns are ``external_id`` and ``name``, and, if wanted, ``sponsor`` (an external id, of
    the file or recorded; empty for a root), ``code`` and ``joined_at`` (ISO 8601; without an
    offset it is the brand's local time). Rows that cannot be enrolled do not hold up the others.
    A row that says what is recorded already is unchanged, so the same file can be sent again.

    Nothing is locked for the time it takes: somebody new has nobody below, so an import can close
    no cycle, and orders are taken beside it.

    :param source: a path, or a binary stream (it is read to its end and left open).
    :param rejects_path: where to write the rejected rows, each with its line and the reason. It
        is written anew, and removed when no row is rejected.
    :param progress: see :data:`Progress`.
    :raises InvalidInput: when the file as a whole cannot be read; nothing is enrolled then.
    :raises ImportCollided: when others enrolled the same distributors over and over.
    """
    began = time.perf_counter()
    if isinstance(source, Path) and rejects_path is not None and _same_file(source, rejects_path):
        raise InvalidInput("the rejects would overwrite the file itself", field="rejects")
    now = clock.now()
    with database.transaction() as session:
        zone = clock.zone(brands.get_brand(session, brand_id=brand_id).time_zone)
    with _open(source) as lines:
        sheet = _read(lines, zone, now, progress)

    def work(session: Session) -> ImportReport:
        cur = cursor(session)
        decision, known = _decide(cur, brand_id, sheet, now)
        rejects = sorted([*sheet.rejects, *decision.rejects], key=lambda reject: reject.line)
        report = ImportReport(
            read=len(sheet.rows) + len(sheet.rejects),
            accepted=len(decision.enrolled),
            unchanged=decision.unchanged,
            rejected=len(rejects),
            seconds=0,
        )
        if report.accepted + report.unchanged + report.rejected != report.read:
            raise RuntimeError(f"rows were lost or counted twice: {report}")
        _write(cur, brand_id, decision, known, now=now, progress=progress)
        if report.accepted >= _CHUNK:
            # a planner that knows nothing of so many new rows would read whole tables for one
            session.execute(text("ANALYZE distributor, sponsorship"))
        # before the commit: an import that cannot say what it rejected enrols nobody
        if rejects_path is not None:
            try:
                _write_rejects(rejects_path, sheet.header, rejects)
            except OSError as error:
                raise InvalidInput(f"{rejects_path}: {error.strerror}", field="rejects") from None
        return report

    try:
        report = database.run(work)
    except (psycopg.errors.UniqueViolation, psycopg.errors.DeadlockDetected) as error:
        raise ImportCollided(
            "others enrol the same distributors at the same time; import the file again"
        ) from error
    return replace(report, seconds=round(time.perf_counter() - began, 3))


# -- reading ------------------------------------------------------------------------------------


def _same_file(one: Path, other: Path) -> bool:
    return one.exists() and other.exists() and one.samefile(other)


@contextmanager
def _open(source: Path | BinaryIO) -> Iterator[io.TextIOWrapper]:
    """The file's text. What is no UTF-8 is kept as it is, so that its row can be rejected."""
    if isinstance(source, Path):
        try:
            stream: Any = source.open("rb")
        except OSError as error:
            raise InvalidInput(f"{source}: {error.strerror}", field="file") from None
    else:
        stream = source
    lines = io.TextIOWrapper(stream, "utf-8-sig", errors="surrogateescape", newline="")
    try:
        yield lines
    finally:
        if isinstance(source, Path):
            lines.close()
        else:
            lines.detach()


def _read(
    lines: io.TextIOWrapper, zone: ZoneInfo, now: datetime, progress: Progress | None
) -> _Sheet:
    reader = csv.reader(lines)
    try:
        header = [cell.strip().lower() for cell in next(reader, [])]
        _check_header(header)
        sheet = _Sheet(header)
        _read_rows(reader, sheet, zone, now, progress)
    except csv.Error as error:
        raise InvalidInput(
            f"line {reader.line_num}: {error}; is a quotation mark not closed?", field="file"
        ) from None
    return sheet


def _check_header(header: list[str]) -> None:
    written = ", ".join(header)[:200]
    if any("\udc80" <= letter <= "\udcff" or letter == "\0" for letter in written):
        raise InvalidInput("the header is no UTF-8; save the file as CSV UTF-8", field="header")
    for name in REQUIRED:
        if name not in header:
            raise InvalidInput(
                f"the header has no column {name!r}; it reads: {written or 'nothing'}",
                field="header",
            )
    for name in header:
        if name not in (*REQUIRED, *OPTIONAL, *OUTCOME):
            # a misspelt "sponsor" that is passed over would make everybody a root
            raise InvalidInput(
                f"the header has an unknown column {name!r}; the columns are"
                f" {', '.join((*REQUIRED, *OPTIONAL))}",
                field="header",
            )
        if header.count(name) > 1:
            raise InvalidInput(f"the header has the column {name!r} twice", field="header")


def _read_rows(
    reader: Any, sheet: _Sheet, zone: ZoneInfo, now: datetime, progress: Progress | None
) -> None:
    width = len(sheet.header)
    places = [
        sheet.header.index(name) if name in sheet.header else width
        for name in (*REQUIRED, *OPTIONAL)
    ]
    external_id, name, sponsor, code, joined_at = places
    last_line = reader.line_num
    for cells in reader:
        line, last_line = last_line + 1, reader.line_num
        if not cells:
            continue  # an empty line
        if len(cells) != width:
            reason = f"has {len(cells)} columns, the header has {width}"
            sheet.rejects.append(Reject(line, cells, reason))
            continue
        trimmed = [cell.strip() for cell in cells]
        trimmed.append("")  # what a column that is not there holds
        try:
            row = Row(
                line,
                cells,
                facts.check_text(trimmed[external_id], field="external_id"),
                facts.check_text(trimmed[name], field="name"),
                _sponsor(trimmed[sponsor], trimmed[external_id]),
                facts.check_code(trimmed[code]) if trimmed[code] else None,
                _joined_at(trimmed[joined_at], zone, now) if trimmed[joined_at] else None,
            )
        except DistribError as error:
            sheet.rejects.append(Reject(line, cells, error.detail))
            sheet.unreadable.setdefault(trimmed[external_id], line)
        else:
            sheet.rows.append(row)
        if progress and not (len(sheet.rows) + len(sheet.rejects)) % _CHUNK:
            progress("read", len(sheet.rows) + len(sheet.rejects))
    if progress:
        progress("read", len(sheet.rows) + len(sheet.rejects))


def _sponsor(sponsor: str, external_id: str) -> str | None:
    if sponsor == external_id:
        raise facts.SelfSponsorship(f"{external_id} names itself as sponsor", field="sponsor")
    return facts.check_text(sponsor, field="sponsor") if sponsor else None


def _joined_at(written: str, zone: ZoneInfo, now: datetime) -> datetime:
    try:
        instant = datetime.fromisoformat(written)
    except ValueError:
        raise InvalidInput(
            f"joined_at is no day such as 2026-01-31 or 2026-01-31T09:30: {written!r}",
            field="joined_at",
        ) from None
    if instant.tzinfo is None:
        instant = instant.replace(tzinfo=zone)
    return facts.check_joined_at(instant, now)


# -- deciding and writing -----------------------------------------------------------------------


def _decide(
    cur: psycopg.Cursor[Any], brand_id: int, sheet: _Sheet, now: datetime
) -> tuple[Decision, dict[str, Known]]:
    named = {row.external_id for row in sheet.rows}
    named.update(row.sponsor for row in sheet.rows if row.sponsor is not None)
    codes = {row.code for row in sheet.rows if row.code is not None}
    known = queries.known_distributors(cur, brand_id=brand_id, external_ids=list(named))
    decision = decide(
        sheet.rows,
        known=known,
        taken_codes=queries.taken_codes(cur, brand_id=brand_id, codes=list(codes)),
        unreadable=sheet.unreadable,
        now=now,
    )
    return decision, known


def _write(
    cur: psycopg.Cursor[Any],
    brand_id: int,
    decision: Decision,
    known: dict[str, Known],
    *,
    now: datetime,
    progress: Progress | None,
) -> None:
    # in the order of external ids, so that every index grows at its end, and so that two imports
    # of the same people meet at the first of them instead of in a deadlock
    enrolled = sorted(decision.enrolled.values(), key=lambda each: each[0].external_id)
    new_ids = ids.take(len(enrolled))
    id_of = {known.external_id: known.distributor_id for known in known.values()}
    id_of.update(zip((row.external_id for row, _ in enrolled), new_ids, strict=True))
    for at in range(0, len(enrolled), _CHUNK):
        some, some_ids = enrolled[at : at + _CHUNK], new_ids[at : at + _CHUNK]
        write_rows(
            cur,
            Distributor,
            {
                "brand_id": brand_id,
                "id": some_ids,
                "external_id": [row.external_id for row, _ in some],
                "code": [
                    row.code or facts.default_code(each)
                    for (row, _), each in zip(some, some_ids, strict=True)
                ],
                "name": [row.name for row, _ in some],
                "status": facts.DistributorStatus.ACTIVE,
                "joined_at": [joins_at for _, joins_at in some],
                "created_at": now,
            },
            len(some),
        )
        if progress:
            progress("written", at + len(some))
    # a sponsor may stand in any chunk, so edges come when all distributors are there
    write_rows(
        cur,
        Sponsorship,
        {
            "brand_id": brand_id,
            "distributor_id": new_ids,
            "valid_from": [joins_at for _, joins_at in enrolled],
            "sponsor_id": [
                None if row.sponsor is None else id_of[row.sponsor] for row, _ in enrolled
            ],
        },
        len(enrolled),
    )


def _write_rejects(path: Path, header: list[str], rejects: list[Reject]) -> None:
    if not rejects:
        path.unlink(missing_ok=True)
        return
    kept = [place for place, name in enumerate(header) if name not in OUTCOME]
    # with the mark that tells Excel the encoding; bytes that were no UTF-8 are given back as such
    with path.open("w", encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*OUTCOME, *(header[place] for place in kept)])
        for reject in rejects:
            cells = reject.cells
            if len(cells) == len(header):
                cells = [cells[place] for place in kept]
            writer.writerow([reject.line, reject.reason, *cells])
