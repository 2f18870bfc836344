"""What people do to one payout, each with a reason that stays on record; and what providers say
of their own accord: callbacks, status files.

A payout that is held waits; released, it goes on. One that failed or came back is re-issued, under
a new request number, or voided: then its items are open again for the next batch. A payout that has
been handed over and is not decided can be neither: nobody knows yet whether the money moved.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from distrib import clock, ids, jobs
from distrib.db import Database, Lock, lock
from distrib.errors import Conflict, InvalidInput, NotFound
from distrib.settlement.batch import BatchInWrongState, get_batch, require_reason, require_state
from distrib.settlement.finishing import conclude
from distrib.settlement.outcomes import (
    AttemptKey,
    Recorded,
    read_request_no,
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
    _wake_followers(session, batch, [last])
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


def reopen_settled(session: Session, batch: SettlementBatch) -> None:
    """A settled batch with money that came back is partly failed, until that is resolved."""
    if batch.state == "settled":
        batch.state = "partly_failed"
        batch.settled_at = None
    session.flush()


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


# -- what providers say of their own accord --------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Applied:
    """What outcomes from outside did. ``unknown`` are request numbers that are not the brand's."""

    moved: int
    known: int
    unknown: tuple[str, ...]


def apply_outcomes(
    database: Database,
    *,
    brand_id: int,
    provider: str,
    outcomes: Iterable[Outcome],
    source: str,
    chunk: int = 5_000,
    on_chunk: Callable[[int], None] | None = None,
) -> Applied:
    """Record outcomes that came by callback or in a file, each batch's in its own transactions.

    :param provider: only batches of this provider are touched.
    """
    groups: dict[int, list[Outcome]] = defaultdict(list)
    unknown: list[str] = []
    for outcome in outcomes:
        try:
            groups[read_request_no(outcome.request_no).batch_id].append(outcome)
        except InvalidInput:
            unknown.append(outcome.request_no)
    moved = known = 0
    for batch_id, found in sorted(groups.items()):
        found.sort(key=lambda each: read_request_no(each.request_no).no)
        for start in range(0, len(found), chunk):
            part = found[start : start + chunk]
            with database.transaction() as session:
                recorded, missing = _apply(
                    session,
                    brand_id=brand_id,
                    provider=provider,
                    batch_id=batch_id,
                    outcomes=part,
                    source=source,
                )
            moved += recorded.moved
            known += len(part) - len(missing)
            unknown += missing
            if on_chunk is not None:
                on_chunk(len(part))
    return Applied(moved, known, tuple(unknown))


def _apply(
    session: Session,
    *,
    brand_id: int,
    provider: str,
    batch_id: int,
    outcomes: list[Outcome],
    source: str,
) -> tuple[Recorded, list[str]]:
    batch = session.get(SettlementBatch, (brand_id, batch_id))
    if batch is None or batch.provider != provider:
        return Recorded(), [each.request_no for each in outcomes]
    keys = [read_request_no(each.request_no) for each in outcomes]
    nos = [key.no for key in keys]
    there = {
        (row.no, row.attempt)
        for row in session.execute(
            text(
                "SELECT no, attempt FROM payout_attempt WHERE brand_id = :brand_id"
                " AND batch_id = :batch_id AND no BETWEEN :low AND :high AND no = ANY(:nos)"
            ),
            {
                "brand_id": brand_id,
                "batch_id": batch_id,
                "nos": nos,
                "low": min(nos),
                "high": max(nos),
            },
        )
    }
    ours = [
        each for key, each in zip(keys, outcomes, strict=True) if (key.no, key.attempt) in there
    ]
    missing = [
        each.request_no
        for key, each in zip(keys, outcomes, strict=True)
        if (key.no, key.attempt) not in there
    ]
    recorded = record_outcomes(session, batch, ours, source=source)
    if recorded.returned:
        batch = get_batch(session, brand_id=brand_id, number=batch.number, for_update=True)
        reopen_settled(session, batch)
    if recorded.moved:
        moved = {*recorded.paid, *recorded.failed}
        _wake_followers(session, batch, [key for key in keys if key.no in moved])
    return recorded, missing


def _wake_followers(
    session: Session, batch: SettlementBatch, keys: Iterable[AttemptKey | PayoutAttempt]
) -> None:
    """Have the jobs that follow these attempts look soon: their chunks may be done.

    Soon, not now: of a thousand callbacks one is enough.
    """
    firsts = {first_of_chunk(batch, key.no) for key in keys} | {key.no for key in keys}
    soon = clock.now() + timedelta(seconds=1)
    session.execute(
        update(jobs.Job)
        .where(
            jobs.Job.group_id == batch.id,
            jobs.Job.kind == "follow_chunk",
            jobs.Job.args["first"].as_integer().in_(firsts),
            jobs.Job.state == jobs.JobState.READY,
            jobs.Job.run_after > soon,
        )
        .values(run_after=soon)
    )


def first_of_chunk(batch: SettlementBatch, no: int) -> int:
    """The first payout of the chunk that payout ``no`` was in when the batch was run."""
    size = batch.chunk_payouts or 1
    return (no - 1) // size * size + 1


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
