"""Running an approved batch: chunks of payouts, claimed by workers, each paid exactly once.

A chunk is a job (see :mod:`distrib.jobs`) and goes through three steps, each safe to repeat:

1. write an attempt with its request number for every payout, move the money from reserved to
   clearing; commit;
2. call the provider, outside any transaction;
3. record the outcome, move the money from clearing to paid, end the job; commit.

A worker killed anywhere leaves a job whose lease runs out; the next worker finds the attempts
written and calls again with the same request numbers. A worker that was only slow fails at its
next step, because the job's fence has moved on.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from distrib import clock, faults, ids, jobs
from distrib.config import Settings
from distrib.db import Database
from distrib.errors import Conflict, DistribError
from distrib.ledger.chart import TransferCode
from distrib.ledger.service import post_query
from distrib.settlement.batch import get_batch, require_state
from distrib.settlement.providers import BatchRef, PayoutRequest, make_provider
from distrib.settlement.tables import SettlementBatch


class NothingFailed(Conflict):
    """A batch whose jobs are all done or still to come needs no other try."""

    title = "Nothing of the batch has failed"


class FileDiffers(DistribError):
    """The payment file does not hold what the batch pays. Must never happen."""

    status = 500
    title = "The payment file does not add up to the batch"


def run_batch(
    session: Session, *, brand_id: int, number: int, chunk_payouts: int
) -> SettlementBatch:
    """Start paying an approved batch: a job for each chunk of ``chunk_payouts`` payouts."""
    batch = get_batch(session, brand_id=brand_id, number=number, for_update=True)
    require_state(batch, "approved")
    batch.state = "paying"
    starts = range(1, batch.payouts + 1, chunk_payouts)
    postings = ids.take(2 * len(starts))
    jobs.add_many(
        session,
        brand_id=brand_id,
        kind="pay_chunk",
        keyed_args=[
            (
                f"pay:{batch.id}:{chunk}",
                {
                    "batch": batch.id,
                    "chunk": chunk,
                    "chunks": len(starts),
                    "first": first,
                    "last": min(first + chunk_payouts - 1, batch.payouts),
                    "send": postings[2 * chunk],
                    "confirm": postings[2 * chunk + 1],
                },
            )
            for chunk, first in enumerate(starts)
        ],
    )
    session.flush()
    return batch


def retry_batch(session: Session, *, brand_id: int, number: int) -> SettlementBatch:
    """Try again what failed for good while the batch was being paid, once its cause is gone.

    What was paid stays paid: each step of a job is safe to repeat.

    :raises NothingFailed: when no job of the batch has failed.
    """
    batch = get_batch(session, brand_id=brand_id, number=number, for_update=True)
    require_state(batch, "paying")
    if not jobs.revive(session, brand_id=brand_id, batch=batch.id):
        raise NothingFailed(f"no job of batch {number} has failed; it is being paid")
    return batch


@dataclass(frozen=True, slots=True)
class _Chunk:
    """The payouts ``first`` to ``last`` of a batch, and the postings of its two moves."""

    batch: int
    chunk: int
    chunks: int
    first: int
    last: int
    send: int
    confirm: int


_SCOPE = "brand_id = :brand_id AND batch_id = :batch_id AND no BETWEEN :first AND :last"

_ATTEMPT = text(
    f"""
    INSERT INTO payout_attempt (brand_id, batch_id, no, attempt, request_no, created_at)
    SELECT brand_id, batch_id, no, 1, batch_id::text || '-' || no::text || '-1', :now
    FROM payout WHERE {_SCOPE} AND state = 'reserved'
    ON CONFLICT DO NOTHING
    """
)

_REQUESTS = text(
    """
    SELECT a.request_no, p.no, d.external_id AS payee, d.name, p.amount
    FROM payout p
    CROSS JOIN LATERAL (
        SELECT request_no FROM payout_attempt x
        WHERE x.brand_id = p.brand_id AND x.batch_id = p.batch_id AND x.no = p.no
          AND x.attempt = 1 LIMIT 1) a
    JOIN distributor d ON d.brand_id = p.brand_id AND d.id = p.distributor_id
    WHERE p.brand_id = :brand_id AND p.batch_id = :batch_id AND p.no BETWEEN :first AND :last
    ORDER BY p.no
    """
)

_AMOUNTS = f"""
SELECT no AS seq, distributor_id AS owner, amount, CAST(:asset AS text) AS asset
FROM payout WHERE {_SCOPE}
"""

_PAID = (
    text(
        f"UPDATE payout_attempt SET outcome = 'paid', outcome_at = :now"
        f" WHERE {_SCOPE} AND attempt = 1 AND outcome IS NULL"
    ),
    text(f"UPDATE payout SET state = 'paid' WHERE {_SCOPE} AND state = 'reserved'"),
)


@jobs.handler("pay_chunk")
def pay_chunk(database: Database, settings: Settings, claim: jobs.Claim) -> None:
    """Pay one chunk of a batch; see the module's text."""
    chunk = _Chunk(**claim.args)
    scope = {
        "brand_id": claim.brand_id,
        "batch_id": chunk.batch,
        "first": chunk.first,
        "last": chunk.last,
    }
    faults.point("pay_chunk.claimed")
    with database.transaction() as session:
        claim.hold(session)
        batch = session.get_one(SettlementBatch, (claim.brand_id, chunk.batch))
        if not _is_posted(session, claim.brand_id, chunk.send):
            session.execute(_ATTEMPT, scope | {"now": clock.now()})
            _move(session, batch, TransferCode.SEND, chunk.send, scope)
        requests = [
            PayoutRequest(**row, currency=batch.currency)
            for row in session.execute(_REQUESTS, scope).mappings()
        ]
    faults.point("pay_chunk.attempts_committed")
    make_provider(batch.provider, settings.data_dir).pay(_reference(batch), chunk.chunk, requests)
    faults.point("pay_chunk.provider_called")
    with database.transaction() as session:
        claim.hold(session)
        for statement in _PAID:
            session.execute(statement, scope | {"now": clock.now()})
        _move(session, batch, TransferCode.CONFIRM, chunk.confirm, scope)
        claim.finish(session)
        faults.point("pay_chunk.before_commit")
        _finish_when_last(session, batch, chunk)
    faults.point("pay_chunk.done")


def _reference(batch: SettlementBatch) -> BatchRef:
    return BatchRef(batch.brand_id, batch.id, batch.number, batch.currency)


def _is_posted(session: Session, brand_id: int, posting_id: int) -> bool:
    return bool(
        session.scalar(
            text(
                "SELECT EXISTS (SELECT FROM transfer"
                " WHERE brand_id = :brand_id AND posting_id = :posting_id)"
            ),
            {"brand_id": brand_id, "posting_id": posting_id},
        )
    )


def _move(
    session: Session,
    batch: SettlementBatch,
    code: TransferCode,
    posting_id: int,
    scope: dict[str, int],
) -> None:
    post_query(
        session,
        brand_id=batch.brand_id,
        posting_id=posting_id,
        code=code,
        posted_at=clock.now(),
        query=_AMOUNTS,
        parameters=scope | {"asset": batch.currency},
    )


def _finish_when_last(session: Session, batch: SettlementBatch, chunk: _Chunk) -> None:
    """Add the closing job when this chunk was the last.

    The batch's row is locked, so of two chunks that end at once the second sees the first's end.
    """
    session.execute(
        select(SettlementBatch.id)
        .where(SettlementBatch.brand_id == batch.brand_id, SettlementBatch.id == batch.id)
        .with_for_update()
    )
    done = session.scalar(
        select(func.count())
        .select_from(jobs.Job)
        .where(
            jobs.Job.key.in_([f"pay:{batch.id}:{n}" for n in range(chunk.chunks)]),
            jobs.Job.state == jobs.JobState.DONE,
        )
    )
    if done == chunk.chunks:
        jobs.add(
            session,
            brand_id=batch.brand_id,
            kind="close_batch",
            key=f"close:{batch.id}",
            args={"batch": batch.id, "chunks": chunk.chunks},
        )


@jobs.handler("close_batch")
def close_batch(database: Database, settings: Settings, claim: jobs.Claim) -> None:
    """All chunks are paid: complete the payment file, check that it adds up, settle the batch."""
    with database.transaction() as session:
        claim.hold(session)
        batch = session.get_one(SettlementBatch, (claim.brand_id, claim.args["batch"]))
    provider = make_provider(batch.provider, settings.data_dir)
    file = provider.finish(_reference(batch), claim.args["chunks"])
    if (file.payouts, file.total) != (batch.payouts, batch.total):
        raise FileDiffers(
            f"batch {batch.number}: {batch.payouts} payouts of {batch.total} approved, the file"
            f" has {file.payouts} of {file.total} (minor units)"
        )
    faults.point("close_batch.file_written")
    with database.transaction() as session:
        claim.hold(session)
        session.execute(
            update(SettlementBatch)
            .where(SettlementBatch.brand_id == batch.brand_id, SettlementBatch.id == batch.id)
            .values(
                state="settled",
                settled_at=clock.now(),
                file_name=str(file.path.relative_to(settings.data_dir)),
                file_sha256=file.sha256,
            )
        )
        claim.finish(session)
