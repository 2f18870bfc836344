"""Setting an approved batch going, pausing it, trying again: what people do while it is paid.

What workers then do is :mod:`distrib.settlement.paying`.
"""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.orm import Session

from distrib import clock, jobs
from distrib.brands.tables import Brand
from distrib.errors import Conflict
from distrib.settlement.batch import get_batch, require_state
from distrib.settlement.finishing import conclude
from distrib.settlement.posting import note_event
from distrib.settlement.tables import SettlementBatch
from distrib.settlement.withholding import check_tax_month


class NothingFailed(Conflict):
    """A batch whose jobs are all done or still to come needs no other try."""

    title = "Nothing of the batch has failed"


def run_batch(
    session: Session, *, brand_id: int, number: int, chunk_payouts: int, run_by: str = "unknown"
) -> SettlementBatch:
    """Start paying an approved batch: a job for each chunk of ``chunk_payouts`` payouts."""
    batch = get_batch(session, brand_id=brand_id, number=number, for_update=True)
    require_state(batch, "approved")
    check_tax_month(session.get_one(Brand, brand_id), batch)
    last = session.scalar(
        text("SELECT max(no) FROM payout WHERE brand_id = :brand_id AND batch_id = :batch_id"),
        {"brand_id": brand_id, "batch_id": batch.id},
    )
    starts = range(1, (last or 0) + 1, chunk_payouts)
    batch.state, batch.paying_since, batch.paid_before = "paying", clock.now(), 0
    batch.pay_jobs, batch.chunk_payouts = len(starts), chunk_payouts
    jobs.add_many(
        session,
        brand_id=brand_id,
        kind="pay_chunk",
        group_id=batch.id,
        keyed_args=[
            (
                f"pay:{batch.id}:{chunk}",
                {
                    "batch": batch.id,
                    "chunk": str(chunk),
                    "first": first,
                    "last": first + chunk_payouts - 1,
                },
            )
            for chunk, first in enumerate(starts)
        ],
    )
    note_event(session, batch, "run", actor=run_by)
    session.flush()
    return batch


def retry_batch(
    session: Session, *, brand_id: int, number: int, retried_by: str = "unknown"
) -> SettlementBatch:
    """Try again what failed for good while the batch was being paid, once its cause is gone.

    For jobs, not for payouts that a provider refused: those are re-issued one by one. What was
    paid stays paid: each step of a job is safe to repeat.

    :raises NothingFailed: when no job of the batch has failed.
    """
    batch = get_batch(session, brand_id=brand_id, number=number, for_update=True)
    require_state(batch, "paying")
    if not jobs.revive(session, group_id=batch.id):
        raise NothingFailed(f"no job of batch {number} has failed; it is being paid")
    note_event(session, batch, "retried", actor=retried_by)
    session.flush()
    return batch


def pause_batch(
    session: Session, *, brand_id: int, number: int, paused_by: str, reason: str | None = None
) -> SettlementBatch:
    """Hand nothing more over until it is resumed. What was handed over is followed all the same."""
    batch = get_batch(session, brand_id=brand_id, number=number, for_update=True)
    require_state(batch, "paying")
    batch.state = "paused"
    note_event(session, batch, "paused", actor=paused_by, reason=reason)
    session.flush()
    return batch


def resume_batch(
    session: Session, *, brand_id: int, number: int, resumed_by: str
) -> SettlementBatch:
    """Go on paying a paused batch."""
    batch = get_batch(session, brand_id=brand_id, number=number, for_update=True)
    require_state(batch, "paused")
    batch.state, batch.paying_since = "paying", clock.now()
    batch.paid_before = int(
        session.scalar(
            text(
                "SELECT count(*) FROM payout WHERE brand_id = :brand_id AND batch_id = :batch_id"
                " AND state NOT IN ('reserved', 'removed')"
            ),
            {"brand_id": brand_id, "batch_id": batch.id},
        )
        or 0
    )
    note_event(session, batch, "resumed", actor=resumed_by)
    session.flush()
    jobs.hasten(session, group_id=batch.id)
    conclude(session, batch)
    return batch
