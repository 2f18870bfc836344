"""What providers say of their own accord: callbacks and status files.

Whatever they bring is recorded by :func:`distrib.settlement.outcomes.record_outcomes`, so it may
come twice, late, and in any order.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import text, update
from sqlalchemy.orm import Session

from distrib import clock, jobs
from distrib.db import Database
from distrib.errors import InvalidInput
from distrib.settlement.batch import get_batch
from distrib.settlement.finishing import reopen_settled
from distrib.settlement.outcomes import AttemptKey, Recorded, read_request_no, record_outcomes
from distrib.settlement.providers import Outcome
from distrib.settlement.tables import PayoutAttempt, SettlementBatch


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
        wake_followers(session, batch, [key for key in keys if key.no in moved])
    return recorded, missing


def wake_followers(
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
