"""The end of a batch: its file is completed, and its state follows from its payouts."""

from __future__ import annotations

from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from distrib import clock, faults, jobs
from distrib.brands.tables import Brand
from distrib.config import Settings
from distrib.db import Database
from distrib.errors import DistribError
from distrib.ledger.chart import TransferCode
from distrib.settlement.providers import BatchRef, WritesFile
from distrib.settlement.providers.registry import make_provider
from distrib.settlement.tables import BatchFile, BatchPosting, Payout, SettlementBatch

UNFINISHED = ("reserved", "sent")
UNRESOLVED = ("held", "failed", "returned")


class FileDiffers(DistribError):
    """The payment file does not hold what the batch pays. Must never happen."""

    status = 500
    title = "The payment file does not add up to the batch"


def end_job(session: Session, claim: jobs.Claim, batch: SettlementBatch, counter: str) -> None:
    """End a job of the batch. The last one that pays adds the job that completes it; the last of
    all decides the batch's state.

    The batch's row is locked by counting, so of two jobs that end at once the second sees the
    first's end.
    """
    claim.finish(session)
    column = getattr(SettlementBatch, counter)
    of_batch = (SettlementBatch.brand_id == batch.brand_id, SettlementBatch.id == batch.id)
    left = session.execute(
        update(SettlementBatch)
        .where(*of_batch)
        .values({counter: column - 1})
        .returning(SettlementBatch.pay_jobs, SettlementBatch.follow_jobs)
    ).one()
    if counter == "pay_jobs" and left.pay_jobs == 0:
        jobs.add(
            session,
            brand_id=batch.brand_id,
            kind="complete_batch",
            key=f"complete:{claim.job_id}",
            group_id=batch.id,
            args={"batch": batch.id},
        )
        session.execute(
            update(SettlementBatch)
            .where(*of_batch)
            .values(follow_jobs=SettlementBatch.follow_jobs + 1)
        )
        return
    session.refresh(batch)
    conclude(session, batch)


def conclude(session: Session, batch: SettlementBatch) -> None:
    """Let the batch's state follow from its payouts, when no job of it is left.

    With the batch's row locked.
    """
    if batch.pay_jobs or batch.follow_jobs or batch.state not in ("paying", "partly_failed"):
        return
    states = {
        row[0]
        for row in session.execute(
            select(Payout.state)
            .where(Payout.brand_id == batch.brand_id, Payout.batch_id == batch.id)
            .distinct()
        )
    }
    if states & set(UNFINISHED):
        return
    failed = bool(states & set(UNRESOLVED))
    batch.state = "partly_failed" if failed else "settled"
    if not failed:
        batch.settled_at = clock.now()
    session.flush()


def reopen_settled(session: Session, batch: SettlementBatch) -> None:
    """A settled batch with money that came back is partly failed, until that is resolved."""
    if batch.state == "settled":
        batch.state = "partly_failed"
        batch.settled_at = None
    session.flush()


# What an adapter refuses to write is failed by the first word of it; what the bank turns down later
# was pending before.
_CALLS = text(
    """
    WITH refused AS MATERIALIZED (
        SELECT a.call_no, count(*) AS payouts, sum(x.net) AS total FROM payout_attempt a
        CROSS JOIN LATERAL (
            SELECT amount - tax AS net FROM payout
            WHERE brand_id = a.brand_id AND batch_id = a.batch_id AND no = a.no LIMIT 1) x
        WHERE a.brand_id = :brand_id AND a.batch_id = :batch_id
          AND a.state = 'failed' AND a.asked <= 1
        GROUP BY a.call_no)
    SELECT p.posting_id AS call_no, p.payouts - coalesce(r.payouts, 0) AS payouts,
           p.total - coalesce(r.total, 0) AS total
    FROM batch_posting p LEFT JOIN refused r ON r.call_no = p.posting_id
    WHERE brand_id = :brand_id AND batch_id = :batch_id AND code = :code
      AND NOT EXISTS (SELECT FROM batch_file f WHERE f.brand_id = p.brand_id
                      AND f.batch_id = p.batch_id AND p.posting_id = ANY(f.calls))
    ORDER BY first_no, posting_id
    """
)


@jobs.handler("complete_batch")
def complete_batch(database: Database, settings: Settings, claim: jobs.Claim) -> None:
    """All chunks are handed over: complete the payment file, check that it adds up."""
    with database.transaction() as session:
        claim.hold(session)
        batch = session.get_one(SettlementBatch, (claim.brand_id, claim.args["batch"]))
        brand = session.get_one(Brand, claim.brand_id)
        scope = {"brand_id": batch.brand_id, "batch_id": batch.id}
        calls = session.execute(_CALLS, scope | {"code": int(TransferCode.SEND)}).all()
        file_no = 1 + int(
            session.scalar(
                select(func.count())
                .select_from(BatchFile)
                .where(BatchFile.brand_id == batch.brand_id, BatchFile.batch_id == batch.id)
            )
            or 0
        )
    provider = make_provider(settings, brand.slug, batch.provider)
    file = None
    if isinstance(provider, WritesFile) and any(each.payouts for each in calls):
        reference = BatchRef(
            batch.brand_id,
            batch.id,
            batch.number,
            batch.currency,
            title=f"{brand.name} {batch.number}",
            created_at=batch.created_at,
            file_no=file_no,
        )
        file = provider.finish(reference, [each.call_no for each in calls])
        payouts, total = sum(each.payouts for each in calls), sum(each.total for each in calls)
        if (file.payouts, file.total) != (payouts, total):
            raise FileDiffers(
                f"batch {batch.number}: {payouts} payouts of {total} were handed over, the file"
                f" has {file.payouts} of {file.total} (minor units)"
            )
        faults.point("complete_batch.file_written")
    with database.transaction() as session:
        claim.hold(session)
        if file is not None:
            session.add(
                BatchFile(
                    brand_id=batch.brand_id,
                    batch_id=batch.id,
                    file_no=file_no,
                    name=str(file.path.relative_to(settings.data_dir)),
                    sha256=file.sha256,
                    payouts=file.payouts,
                    total=file.total,
                    calls=[each.call_no for each in calls],
                    created_at=clock.now(),
                )
            )
        session.flush()
        end_job(
            session,
            claim,
            session.get_one(SettlementBatch, (batch.brand_id, batch.id)),
            "follow_jobs",
        )


def list_files(session: Session, *, batch: SettlementBatch) -> list[BatchFile]:
    """The payment files of a batch, oldest first."""
    return list(
        session.scalars(
            select(BatchFile)
            .where(BatchFile.brand_id == batch.brand_id, BatchFile.batch_id == batch.id)
            .order_by(BatchFile.file_no)
        )
    )


def list_postings(session: Session, *, batch: SettlementBatch) -> list[BatchPosting]:
    """What the batch posted to the ledger, oldest first."""
    return list(
        session.scalars(
            select(BatchPosting)
            .where(BatchPosting.brand_id == batch.brand_id, BatchPosting.batch_id == batch.id)
            .order_by(BatchPosting.posting_id)
        )
    )
