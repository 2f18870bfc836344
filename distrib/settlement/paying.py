"""Running an approved batch: chunks of payouts, claimed by workers, each payout paid exactly once.

A chunk is a job (see :mod:`distrib.jobs`). It hands its payouts over in *calls*, as many at a time
as the provider takes, and each call goes through three steps, each safe to repeat:

1. write an attempt with its request number for every payout of the call, move the money from
   reserved to clearing; commit;
2. call the provider, outside any transaction;
3. record what it said, move the money from clearing to paid, or back; commit.

A worker killed anywhere leaves a job whose lease runs out. The next worker finds attempts of which
nothing is recorded: it asks the provider what became of them, or hands over the same request
numbers again, which by contract does not pay again. A worker that was only slow fails at its next
step, because the job's fence has moved on.

What is not decided when its chunk ends is followed by another job, which asks until it is.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text, update
from sqlalchemy.orm import Session

from distrib import clock, faults, ids, jobs
from distrib.brands.tables import Brand
from distrib.config import Settings
from distrib.db import Database
from distrib.ledger.chart import TransferCode
from distrib.settlement.finishing import end_job
from distrib.settlement.gate import Gate
from distrib.settlement.outcomes import record_call, record_outcomes
from distrib.settlement.posting import note_event, post_payouts
from distrib.settlement.providers import (
    BatchRef,
    Outcome,
    PayoutRequest,
    Provider,
    ProviderUnavailable,
    Status,
)
from distrib.settlement.providers.registry import call_rate, make_provider
from distrib.settlement.tables import SettlementBatch

PAUSED_SECONDS = 3_600.0
"""How long a job of a paused batch sleeps, unless it is woken."""

NOBODY_TO_ASK_SECONDS = 6 * 3_600.0


@dataclass(frozen=True, slots=True)
class _Chunk:
    """The payouts ``first`` to ``last`` of a batch."""

    batch: int
    chunk: str
    first: int
    last: int


@dataclass(frozen=True)
class _Work:
    """A chunk as a worker has it."""

    database: Database
    claim: jobs.Claim
    chunk: _Chunk
    provider: Provider
    gate: Gate
    batch: BatchRef

    @property
    def scope(self) -> dict[str, Any]:
        """The payouts of the chunk, as parameters."""
        return {
            "brand_id": self.claim.brand_id,
            "batch_id": self.chunk.batch,
            "first": self.chunk.first,
            "last": self.chunk.last,
        }


def _begin(database: Database, settings: Settings, claim: jobs.Claim) -> _Work:
    chunk = _Chunk(**claim.args)
    with database.transaction() as session:
        claim.hold(session)
        batch = session.get_one(SettlementBatch, (claim.brand_id, chunk.batch))
        brand = session.get_one(Brand, claim.brand_id)
    return _Work(
        database,
        claim,
        chunk,
        make_provider(settings, brand.slug, batch.provider),
        Gate(
            database,
            brand.id,
            batch.provider,
            call_rate(settings, brand.slug, batch.provider),
        ),
        BatchRef(
            batch.brand_id,
            batch.id,
            batch.number,
            batch.currency,
            title=f"{brand.name} {batch.number}",
            created_at=batch.created_at,
        ),
    )


_SCOPE = "brand_id = :brand_id AND batch_id = :batch_id AND no BETWEEN :first AND :last"

# Who was suspended since, or has another payout method now, is not paid: a person looks first.
# Look-ups are subqueries with a limit, here and below: a join may be planned the wrong way round
# while the tables look empty (see ADR 4).
_HAND_OVER = f"""
    handed AS (
        UPDATE payout p SET attempts = p.attempts + 1, state = CASE
            WHEN (SELECT d.status FROM distributor d
                  WHERE d.brand_id = p.brand_id AND d.id = p.distributor_id) = 'active'
             AND (p.method_id IS NULL OR NOT EXISTS (
                  SELECT FROM payout_method m WHERE m.brand_id = p.brand_id
                  AND m.id = p.method_id AND m.replaced_at IS NOT NULL)) THEN 'sent'
            ELSE 'held' END
        WHERE {_SCOPE} AND state = 'reserved'
        RETURNING p.no, p.state, p.attempts, p.distributor_id, p.amount, p.tax),
    tried AS (
        INSERT INTO payout_attempt (brand_id, batch_id, no, attempt, request_no, call_no,
                                    created_at, state)
        SELECT :brand_id, :batch_id, no, attempts,
               CAST(:batch_id AS bigint) || 'p' || no || 'a' || attempts, :call_no, :now, 'sent'
        FROM handed WHERE state = 'sent'),
    moved AS (SELECT * FROM handed WHERE state = 'sent')
"""

_HELD = text(
    f"SELECT no FROM payout WHERE {_SCOPE} AND state = 'held' AND NOT EXISTS ("
    " SELECT FROM settlement_event e WHERE e.brand_id = :brand_id AND e.batch_id = :batch_id"
    " AND e.no = payout.no AND e.kind = 'held') ORDER BY no"
)

_REQUESTS = text(
    """
    SELECT a.request_no, a.no, d.external_id AS payee, coalesce(m.name, d.name) AS name,
           p.net AS amount, a.call_no, a.created_at AS sent_at, a.reference, m.details AS account
    FROM payout_attempt a
    CROSS JOIN LATERAL (
        SELECT amount - tax AS net, distributor_id, method_id FROM payout
        WHERE brand_id = a.brand_id AND batch_id = a.batch_id AND no = a.no LIMIT 1) p
    CROSS JOIN LATERAL (
        SELECT external_id, name FROM distributor
        WHERE brand_id = a.brand_id AND id = p.distributor_id LIMIT 1) d
    LEFT JOIN LATERAL (
        SELECT name, details FROM payout_method
        WHERE brand_id = a.brand_id AND id = p.method_id LIMIT 1) m ON true
    WHERE a.brand_id = :brand_id AND a.batch_id = :batch_id
      AND a.no BETWEEN :first AND :last AND {condition}
    ORDER BY a.no LIMIT :size
    """.replace("{condition}", "a.state = 'sent' AND a.call_no = :call_no")
)

# One call at a time: a provider that takes whole batches is asked for a batch, and what it never
# had is handed over again as that batch.
_DUE = text(
    str(_REQUESTS).replace(
        "a.state = 'sent' AND a.call_no = :call_no",
        """a.state IN ('sent', 'pending') AND a.ask_at <= :now AND a.call_no = (
          SELECT min(x.call_no) FROM payout_attempt x
          WHERE x.brand_id = :brand_id AND x.batch_id = :batch_id
            AND x.no BETWEEN :first AND :last AND x.state IN ('sent', 'pending')
            AND x.ask_at <= :now)""",
    )
)

_LOST = text(
    f"SELECT call_no, count(*) AS requests FROM payout_attempt"
    f" WHERE {_SCOPE} AND state = 'sent' AND ask_at IS NULL GROUP BY call_no ORDER BY call_no"
)


def _requests(
    session: Session, work: _Work, statement: Any, **parameters: Any
) -> list[PayoutRequest]:
    rows = session.execute(statement, work.scope | {"size": work.provider.group} | parameters)
    currency = work.batch.currency
    return [
        PayoutRequest(
            request_no,
            no,
            payee,
            name,
            amount,
            currency,
            call_no,
            sent_at,
            account or {},
            reference,
        )
        for request_no, no, payee, name, amount, call_no, sent_at, reference, account in rows
    ]


@jobs.handler("pay_chunk")
def pay_chunk(database: Database, settings: Settings, claim: jobs.Claim) -> None:
    """Pay one chunk of a batch; see the module's text."""
    faults.point("pay_chunk.claimed")
    work = _begin(database, settings, claim)
    if (pause := work.gate.closed_for()) > 0:
        _put_down(work, pause, "the provider is not available")
        return
    try:
        _repeat_lost_calls(work)
        position = work.chunk.first - 1
        while (requests := _hand_over(work, position)) is not None:
            if requests:
                faults.point("pay_chunk.attempts_committed")
                _wait(work, len(requests))
                outcomes = work.provider.pay(work.batch, requests)
                faults.point("pay_chunk.provider_called")
                _record(work, requests, outcomes)
            position = _last_no(work, position)
    except ProviderUnavailable as error:
        _put_down(work, work.gate.failed(str(error), error.retry_after), str(error))
        return
    work.gate.worked()
    faults.point("pay_chunk.done")


def _last_no(work: _Work, position: int) -> int:
    """Where the next call begins."""
    return min(position + work.provider.group, work.chunk.last)


def _repeat_lost_calls(work: _Work) -> None:
    """Calls that were to be made and of which nothing is recorded: whoever made them died."""
    with work.database.transaction() as session:
        work.claim.hold(session)
        lost = session.execute(_LOST, work.scope).all()
    for call_no, _ in lost:
        with work.database.transaction() as session:
            work.claim.hold(session)
            requests = _requests(session, work, _REQUESTS, call_no=call_no)
        faults.point("pay_chunk.attempts_committed")
        _wait(work, len(requests))
        outcomes = _ask_then_pay(work, requests)
        faults.point("pay_chunk.provider_called")
        _record(work, requests, outcomes)


def _ask_then_pay(work: _Work, requests: list[PayoutRequest]) -> Sequence[Outcome] | Status:
    """What became of requests; those that the provider never had are handed over again."""
    if not work.provider.asks:
        return work.provider.pay(work.batch, requests)
    outcomes = list(work.provider.ask(work.batch, requests))
    absent = {each.request_no for each in outcomes if each.status == Status.ABSENT}
    again = [each for each in requests if each.request_no in absent]
    calls = defaultdict(list)
    for request in again:
        calls[request.call_no].append(request)
    said = [each for each in outcomes if each.request_no not in absent]
    for call in calls.values():
        found = work.provider.pay(work.batch, call)
        said += (
            [Outcome(each.request_no, found) for each in call]
            if isinstance(found, Status)
            else found
        )
    return said


def _hand_over(work: _Work, position: int) -> list[PayoutRequest] | None:
    """Write the attempts of the chunk's next call. None ends the chunk or puts it down."""
    with work.database.transaction() as session:
        work.claim.hold(session)
        batch = session.get_one(SettlementBatch, (work.claim.brand_id, work.chunk.batch))
        if batch.state == "paused":
            work.claim.later(session, PAUSED_SECONDS, why="the batch is paused")
            return None
        if position >= work.chunk.last:
            _end(session, work, batch)
            return None
        call_no = ids.new()
        scope = work.scope | {"first": position + 1, "last": _last_no(work, position)}
        sent = post_payouts(
            session,
            batch,
            TransferCode.SEND,
            posting_id=call_no,
            moving=_HAND_OVER,
            scope=scope | {"call_no": call_no, "now": clock.now()},
        )
        if sent < scope["last"] - position:
            _note_held(session, batch, scope)
        if not sent:
            return []
        return _requests(session, work, _REQUESTS, call_no=call_no)


def _note_held(session: Session, batch: SettlementBatch, scope: dict[str, Any]) -> None:
    """Write down why payouts of the call were not handed over, where nobody has yet."""
    for no in session.scalars(_HELD, scope):
        note_event(
            session,
            batch,
            "held",
            actor="distrib",
            no=no,
            reason="suspended, or the payout method was replaced, since the approval",
        )


def _wait(work: _Work, requests: int) -> None:
    if (seconds := work.gate.take(requests)) > 0:
        time.sleep(seconds)


def _record(
    work: _Work, requests: Sequence[PayoutRequest], outcomes: Sequence[Outcome] | Status
) -> None:
    """Record what was said of the requests; where nothing was, nothing is known."""
    with work.database.transaction() as session:
        work.claim.hold(session)
        batch = session.get_one(SettlementBatch, (work.claim.brand_id, work.chunk.batch))
        if isinstance(outcomes, Status):
            record_call(
                session,
                batch,
                call_no=requests[0].call_no,
                first=requests[0].no,
                last=requests[-1].no,
                status=outcomes,
            )
        else:
            said = {each.request_no for each in outcomes}
            silent = [
                Outcome(each.request_no, Status.UNKNOWN)
                for each in requests
                if each.request_no not in said
            ]
            record_outcomes(session, batch, [*outcomes, *silent], source=batch.provider)
        faults.point("pay_chunk.before_commit")


def _put_down(work: _Work, seconds: float, why: str) -> None:
    with work.database.transaction() as session:
        work.claim.hold(session)
        work.claim.later(session, seconds, why=why[:500])


def _undecided(session: Session, work: _Work) -> int:
    return int(
        session.scalar(
            text(f"SELECT count(*) FROM payout WHERE {_SCOPE} AND state = 'sent'"), work.scope
        )
        or 0
    )


def _end(session: Session, work: _Work, batch: SettlementBatch) -> None:
    """All of the chunk is handed over: end its job; what is not decided is followed."""
    if _undecided(session, work):
        added = jobs.add(
            session,
            brand_id=batch.brand_id,
            kind="follow_chunk",
            key=f"follow:{batch.id}:{work.chunk.chunk}",
            group_id=batch.id,
            args=dict(work.claim.args),
        )
        if added:
            session.execute(
                update(SettlementBatch)
                .where(SettlementBatch.brand_id == batch.brand_id, SettlementBatch.id == batch.id)
                .values(follow_jobs=SettlementBatch.follow_jobs + 1)
            )
    end_job(session, work.claim, batch, "pay_jobs")


_NEXT_QUESTION = text(
    f"SELECT min(ask_at) FROM payout_attempt WHERE {_SCOPE} AND state IN ('sent', 'pending')"
)


@jobs.handler("follow_chunk")
def follow_chunk(database: Database, settings: Settings, claim: jobs.Claim) -> None:
    """Ask what became of the payouts of a chunk that are not decided, until all are."""
    work = _begin(database, settings, claim)
    if (pause := work.gate.closed_for()) > 0:
        _put_down(work, pause, "the provider is not available")
        return
    try:
        while requests := _due_questions(work):
            _wait(work, len(requests))
            outcomes = _ask_then_pay(work, requests)
            faults.point("follow_chunk.asked")
            _record(work, requests, outcomes)
    except ProviderUnavailable as error:
        _put_down(work, work.gate.failed(str(error), error.retry_after), str(error))
        return
    work.gate.worked()


def _due_questions(work: _Work) -> list[PayoutRequest]:
    """Requests to ask about now. None: the job is put down until the next is due, or done."""
    with work.database.transaction() as session:
        work.claim.hold(session)
        if work.provider.asks:
            due = _requests(session, work, _DUE, now=clock.now())
            if due:
                return due
        batch = session.get_one(SettlementBatch, (work.claim.brand_id, work.chunk.batch))
        if not _undecided(session, work):
            end_job(session, work.claim, batch, "follow_jobs")
            return []
        pause = NOBODY_TO_ASK_SECONDS
        if work.provider.asks:
            at = session.scalar(_NEXT_QUESTION, work.scope)
            pause = 1.0 if at is None else max(0.5, (at - clock.now()).total_seconds())
        work.claim.later(session, pause)
    return []
