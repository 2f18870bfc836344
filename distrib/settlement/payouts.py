"""What people do to one payout, each with a reason that stays on record.

A payout that is held waits; released, it goes on. One that failed or came back is re-issued, under
a new request number, or voided: then its items are open again for the next batch. A payout that has
been handed over and is not decided can be neither: nobody knows yet whether the money moved.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from distrib import clock, ids, jobs
from distrib.db import Lock, lock
from distrib.errors import Conflict, InvalidInput, NotFound
from distrib.settlement.answers import wake_followers
from distrib.settlement.batch import BatchInWrongState, get_batch, require_reason, require_state
from distrib.settlement.finishing import conclude, reopen_settled
from distrib.settlement.outcomes import (
    AttemptKey,
    record_outcomes,
    write_request_no,
)
from distrib.settlement.posting import give_back, note_event
from distrib.settlement.providers import Outcome, Status
from distrib.settlement.tables import Payout, PayoutAttempt, SettlementBatch


class PayoutNotFound(NotFound):
    """No payout of that number."""

    title = "No such payout"


class PayoutInWrongState(Conflict):
    """The payout is not where this step starts."""

    title = "The payout is not in a state for this"


class TooEarly(Conflict):
    """A failure so fresh that a call may still be on its way."""

    title = "The failed attempt is too recent"


def _get(session: Session, batch: SettlementBatch, no: int, *states: str) -> Payout:
    payout = session.scalar(
        select(Payout)
        .where(Payout.brand_id == batch.brand_id, Payout.batch_id == batch.id, Payout.no == no)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )
    if payout is None:
        raise PayoutNotFound(f"batch {batch.number} has no payout {no}", field="no")
    if payout.state not in states:
        raise PayoutInWrongState(
            f"payout {no} of batch {batch.number} is {payout.state}; this needs it to be"
            f" {' or '.join(states)}",
            field="state",
        )
    return payout


def _open(session: Session, brand_id: int, number: int, *states: str) -> SettlementBatch:
    batch = get_batch(session, brand_id=brand_id, number=number, for_update=True)
    require_state(batch, *states)
    return batch


_NOT_CALLED_OFF = (
    "draft",
    "submitted",
    "approved",
    "paying",
    "paused",
    "settled",
    "partly_failed",
)


def hold_payout(
    session: Session, *, brand_id: int, number: int, no: int, held_by: str, reason: str
) -> Payout:
    """Keep a payout back that has not been handed over. The others go on without it."""
    batch = _open(session, brand_id, number, *_NOT_CALLED_OFF)
    payout = _get(session, batch, no, "reserved")
    payout.state = "held"
    note_event(session, batch, "held", actor=held_by, no=no, reason=require_reason(reason))
    session.flush()
    return payout


def release_payout(
    session: Session, *, brand_id: int, number: int, no: int, released_by: str, reason: str
) -> Payout:
    """Let a held payout go on; when its batch has gone past it, it is paid now."""
    batch = _open(session, brand_id, number, *_NOT_CALLED_OFF)
    payout = _get(session, batch, no, "held")
    payout.state = "reserved"
    note_event(session, batch, "released", actor=released_by, no=no, reason=require_reason(reason))
    if batch.state not in ("draft", "submitted", "approved"):
        _pay_one(session, batch, no)
    session.flush()
    return payout


def reissue_payout(
    session: Session,
    *,
    brand_id: int,
    number: int,
    no: int,
    reissued_by: str,
    reason: str,
    settle_seconds: float = 120.0,
) -> Payout:
    """Pay a payout that failed, or whose money came back, under a new request number.

    :param settle_seconds: how old the failure must be: a call of a worker that has lost its lease
        could still be on its way, and must have ended.
    :raises TooEarly: when it is not.
    """
    batch = _open(session, brand_id, number, "paying", "paused", "settled", "partly_failed")
    payout = _get(session, batch, no, "failed", "returned")
    last = _last_attempt(session, batch, no)
    if last is not None and last.state_at is not None:
        ready = last.state_at + timedelta(seconds=settle_seconds)
        if clock.now() < ready:
            raise TooEarly(
                f"attempt {last.attempt} ended at {last.state_at:%H:%M:%S} UTC; try again after"
                f" {ready:%H:%M:%S}",
                field="no",
            )
    payout.state = "reserved"
    note_event(session, batch, "reissued", actor=reissued_by, no=no, reason=require_reason(reason))
    session.flush()
    _pay_one(session, batch, no)
    return payout


def void_payout(
    session: Session, *, brand_id: int, number: int, no: int, voided_by: str, reason: str
) -> Payout:
    """Give up a payout that is held, failed or came back: its items are open for the next batch."""
    batch = _open(
        session, brand_id, number, "paying", "paused", "settled", "partly_failed", "closed"
    )
    payout = _get(session, batch, no, "held", "failed", "returned", "reserved")
    lock(session, brand_id, Lock.SETTLEMENT)
    give_back(session, batch, [no])
    payout.state = "voided"
    note_event(session, batch, "voided", actor=voided_by, no=no, reason=require_reason(reason))
    session.flush()
    conclude(session, batch)
    return payout


def decide_payout(
    session: Session,
    *,
    brand_id: int,
    number: int,
    no: int,
    paid: bool,
    decided_by: str,
    evidence: str,
    reference: str | None = None,
) -> Payout:
    """Say of a payout that was handed over whether it was paid, with what proves it.

    For what is paid outside (the provider ``manual``, a bank's file without a status report).

    :param evidence: where the proof is: a receipt's number, a file's address.
    """
    batch = _open(session, brand_id, number, "paying", "paused", "settled", "partly_failed")
    _get(session, batch, no, "sent")
    last = _last_attempt(session, batch, no)
    if last is None:
        raise PayoutInWrongState(f"payout {no} was never handed over", field="no")
    evidence = require_evidence(evidence)
    status = Status.PAID if paid else Status.FAILED
    record_outcomes(
        session,
        batch,
        [Outcome(last.request_no, status, reference=reference, message=evidence)],
        source=decided_by,
    )
    kind = "confirmed" if paid else "refused"
    note_event(session, batch, kind, actor=decided_by, no=no, reason=evidence, attempt=last.attempt)
    session.flush()
    wake_followers(session, batch, [last])
    return session.get_one(Payout, (brand_id, batch.id, no), populate_existing=True)


def return_payout(
    session: Session, *, brand_id: int, number: int, no: int, returned_by: str, reason: str
) -> Payout:
    """The money of a paid payout came back: undo the payment in the ledger.

    Nothing is erased: a reversal is posted, and the payout can be re-issued or voided.
    """
    batch = _open(
        session, brand_id, number, "paying", "paused", "settled", "partly_failed", "closed"
    )
    _get(session, batch, no, "paid")
    last = _last_attempt(session, batch, no)
    if last is None:
        raise PayoutInWrongState(f"payout {no} was never handed over", field="no")
    note_event(session, batch, "returned", actor=returned_by, no=no, reason=require_reason(reason))
    record_outcomes(
        session,
        batch,
        [Outcome(last.request_no, Status.RETURNED, message=reason)],
        source=returned_by,
    )
    reopen_settled(session, batch)
    return session.get_one(Payout, (brand_id, batch.id, no), populate_existing=True)


def require_evidence(evidence: str) -> str:
    """Evidence that says something.

    :raises InvalidInput: for none.
    """
    if not evidence.strip():
        raise InvalidInput("say what proves it", field="evidence")
    return evidence.strip()


def close_settled_batch(
    session: Session, *, brand_id: int, number: int, closed_by: str
) -> SettlementBatch:
    """Close a batch of which nothing is left to do: all of it is paid or voided.

    :raises BatchInWrongState: naming how many payouts wait for a decision.
    """
    batch = _open(session, brand_id, number, "settled", "partly_failed")
    left = session.scalar(
        select(func.count())
        .select_from(Payout)
        .where(
            Payout.brand_id == brand_id,
            Payout.batch_id == batch.id,
            Payout.state.in_(("reserved", "held", "sent", "failed", "returned")),
        )
    )
    if left or batch.pay_jobs or batch.follow_jobs:
        raise BatchInWrongState(
            f"{left} payouts of batch {number} are neither paid nor voided", field="state"
        )
    batch.state, batch.closed_at, batch.closed_by = "closed", clock.now(), closed_by
    note_event(session, batch, "closed", actor=closed_by)
    session.flush()
    return batch


def _last_attempt(session: Session, batch: SettlementBatch, no: int) -> PayoutAttempt | None:
    return session.scalar(
        select(PayoutAttempt)
        .where(
            PayoutAttempt.brand_id == batch.brand_id,
            PayoutAttempt.batch_id == batch.id,
            PayoutAttempt.no == no,
        )
        .order_by(PayoutAttempt.attempt.desc())
        .limit(1)
        .execution_options(populate_existing=True)
    )


def _pay_one(session: Session, batch: SettlementBatch, no: int) -> None:
    """A job for a payout that its chunk may have passed by.

    Should the chunk come by after all, only one of the two finds it waiting.
    """
    if batch.state in ("settled", "partly_failed"):
        batch.state, batch.paying_since = "paying", clock.now()
        batch.settled_at, batch.paid_before = None, batch.payouts - 1
    job_no = ids.new()
    jobs.add(
        session,
        brand_id=batch.brand_id,
        kind="pay_chunk",
        key=f"pay:{batch.id}:{job_no}",
        group_id=batch.id,
        args={"batch": batch.id, "chunk": str(job_no), "first": no, "last": no},
    )
    batch.pay_jobs += 1
    session.flush()


def list_attempts(session: Session, *, batch: SettlementBatch, no: int) -> list[dict[str, Any]]:
    """The attempts of a payout, oldest first."""
    return [
        {
            "attempt": each.attempt,
            "request_no": write_request_no(AttemptKey(batch.id, no, each.attempt)),
            "state": each.state,
            "created_at": each.created_at,
            "state_at": each.state_at,
            "reference": each.reference,
            "code": each.code,
            "message": each.message,
            "action": each.action,
        }
        for each in session.scalars(
            select(PayoutAttempt)
            .where(
                PayoutAttempt.brand_id == batch.brand_id,
                PayoutAttempt.batch_id == batch.id,
                PayoutAttempt.no == no,
            )
            .order_by(PayoutAttempt.attempt)
        )
    ]
