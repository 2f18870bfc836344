"""Taking in what a bank says of a batch: a status report, row by row and as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from distrib.brands.tables import Brand
from distrib.db import Database
from distrib.errors import InvalidInput
from distrib.settlement.answers import apply_outcomes
from distrib.settlement.batch import get_batch, require_state
from distrib.settlement.finishing import list_files
from distrib.settlement.outcomes import read_request_no
from distrib.settlement.posting import note_event
from distrib.settlement.providers import BatchRef, Outcome
from distrib.settlement.providers.pain_001 import message_id
from distrib.settlement.providers.status_file import RefusedRow, StatusReport
from distrib.settlement.tables import PayoutAttempt, SettlementBatch


@dataclass(frozen=True, slots=True)
class ReportTaken:
    """What a status report did.

    :param moved: payouts that are in another state now.
    :param known: rows about payouts of the batch, moved or told before.
    :param unknown: request numbers, or names of messages, that are not of this batch.
    :param refused: rows that say nothing usable, each with its reason.
    """

    moved: int
    known: int
    unknown: Sequence[str]
    refused: Sequence[RefusedRow]


def take_status_report(
    database: Database,
    *,
    brand: Brand,
    number: int,
    report: StatusReport,
    sha256: bytes,
    taken_by: str,
) -> ReportTaken:
    """Record what a report says of the batch's payouts; what it says again changes nothing.

    What it says of a message as a whole counts for the payouts of that payment file that it does
    not name.

    :param sha256: of the file; the batch's paper names it.
    """
    with database.transaction() as session:
        batch = get_batch(session, brand_id=brand.id, number=number)
        require_state(batch, "paying", "paused", "settled", "partly_failed", "closed")
        outcomes, unknown = _outcomes(session, batch, report)
    mine = [each for each in outcomes if _is_of(batch, each)]
    unknown += [each.request_no for each in outcomes if not _is_of(batch, each)]
    applied = apply_outcomes(
        database,
        brand_id=brand.id,
        provider=batch.provider,
        outcomes=mine,
        source=f"status report, {taken_by}",
    )
    unknown += applied.unknown
    with database.transaction() as session:
        note_event(
            session,
            batch,
            "status_report",
            actor=taken_by,
            sha256=sha256.hex(),
            moved=applied.moved,
            known=applied.known,
            unknown=len(unknown),
            refused=len(report.refused),
        )
        session.flush()
    return ReportTaken(applied.moved, applied.known, tuple(unknown), tuple(report.refused))


def _is_of(batch: SettlementBatch, outcome: Outcome) -> bool:
    try:
        return read_request_no(outcome.request_no).batch_id == batch.id
    except InvalidInput:
        return False


def _outcomes(
    session: Session, batch: SettlementBatch, report: StatusReport
) -> tuple[list[Outcome], list[str]]:
    """All outcomes, and the names of messages that are none of the batch's files."""
    outcomes = list(report.outcomes)
    left = set(report.others)
    reference = BatchRef(batch.brand_id, batch.id, batch.number, batch.currency)
    for file in list_files(session, batch=batch) if left else ():
        name = message_id(reference, file.calls)
        if name in left:
            left.remove(name)
            request_nos = session.scalars(
                select(PayoutAttempt.request_no).where(
                    PayoutAttempt.brand_id == batch.brand_id,
                    PayoutAttempt.batch_id == batch.id,
                    PayoutAttempt.call_no.in_(file.calls),
                )
            )
            outcomes += report.complete(name, request_nos)[len(report.outcomes) :]
    return outcomes, sorted(left)
