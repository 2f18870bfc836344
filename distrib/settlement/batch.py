"""Drawing up a batch, submitting it, approving it, calling it off.

A batch takes *open items*: what orders and refunds gave a distributor and no batch has taken yet.
It removes them and keeps them in its payouts, in one statement, so no two batches can ever hold
the same one. What it does not take (a sum below the minimum, a debt) stays open for the next, and
the batch remembers who was left out and why.

An approval is of a content: its hash covers provider, cutoff, and every payout's distributor,
amount, tax and method. The database computes the hash again when a batch is approved and when it
is run.
"""

from __future__ import annotations

from datetime import date

from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from distrib import clock, faults, ids
from distrib.brands.tables import Brand
from distrib.db import Database, Lock, lock
from distrib.errors import Conflict, InvalidInput, NotFound
from distrib.ledger.chart import TransferCode
from distrib.settlement.gathering import (
    EVERYBODY,
    Filters,
    check_named,
    judged,
    preview_counts,
    scope,
    why_empty,
)
from distrib.settlement.maturation import mature, post_maturations
from distrib.settlement.posting import give_back, note_event, post_payouts
from distrib.settlement.providers.registry import ProviderChoice
from distrib.settlement.tables import BatchApproval, Payout, SettlementBatch
from distrib.settlement.withholding import withhold_tax


class BatchNotFound(NotFound):
    """No batch of that number."""

    title = "No such settlement batch"


class NothingToSettle(Conflict):
    """No distributor has enough."""

    title = "There is nothing to settle"


class BatchInWrongState(Conflict):
    """The batch is not where this step starts."""

    title = "The batch is not in a state for this"


class BatchChanged(Conflict):
    """The batch is not what was reviewed."""

    title = "The batch's content has changed"


class SecondPersonNeeded(Conflict):
    """Whoever made a batch cannot approve it, and nobody approves it twice."""

    title = "Somebody else has to approve the batch"


_GATHER = """
    WITH judged AS MATERIALIZED ({judged}),
    taken AS (
        DELETE FROM open_item i USING judged j
        WHERE i.brand_id = :brand_id AND i.distributor_id = j.distributor_id
          AND j.reason = 'taken' AND i.asset = :asset AND i.available_on <= :cutoff
        RETURNING i.distributor_id, i.posting_id, i.amount{method}),
    left_out AS (
        INSERT INTO batch_exclusion (brand_id, batch_id, distributor_id, amount, reason)
        SELECT :brand_id, :batch_id, distributor_id, due, reason FROM judged
        WHERE reason NOT IN ('taken', 'waiting', 'not_chosen'))
    INSERT INTO payout (brand_id, batch_id, no, distributor_id, amount, method_id, state,
                        postings, amounts)
    SELECT :brand_id, :batch_id, row_number() OVER (ORDER BY distributor_id), distributor_id,
           sum(amount), {chosen}, 'reserved', array_agg(posting_id ORDER BY posting_id),
           array_agg(amount ORDER BY posting_id)
    FROM taken GROUP BY distributor_id
"""

BANK_FILE = ProviderChoice("bank-file", "bank-file", None)
"""What every brand has."""

_CONTENT = text("SELECT * FROM settlement_content(:brand_id, :batch_id)")


def mature_for_batch(database: Database, *, brand: Brand, cutoff: date | None = None) -> date:
    """Let everything up to the cutoff leave the hold; the step before :func:`draw_up_batch`.

    :param cutoff: last day, inclusive, where the brand lives; default and latest is today.
    :returns: the cutoff.
    """
    today = clock.day_of(clock.now(), brand.time_zone)
    cutoff = cutoff or today
    if cutoff > today:
        raise InvalidInput(f"{cutoff} is yet to come, today is {today}", field="cutoff")
    mature(database, brand_id=brand.id, through=cutoff)
    return cutoff


def draw_up_batch(
    session: Session,
    *,
    brand: Brand,
    cutoff: date,
    provider: ProviderChoice = BANK_FILE,
    filters: Filters = EVERYBODY,
    created_by: str,
) -> SettlementBatch:
    """Gather what is past its hold at ``cutoff`` into a draft batch, reserved for it.

    One payout a distributor whose open items up to the cutoff reach the minimum. Who is suspended
    or has no payout method that the provider needs is passed over: what they earn stays open.

    :param cutoff: last day, inclusive; its commission has matured (:func:`mature_for_batch`).
    :param provider: see :func:`distrib.settlement.providers.registry.choose_provider`.
    :raises NothingToSettle: saying why.
    """
    method = provider.method
    # read first: days that begin to mature after this are not ours, what began before is posted
    matured = session.scalars(select(Brand.matured_through).where(Brand.id == brand.id)).one()
    if cutoff > matured:
        raise InvalidInput(f"only days up to {matured} have left the hold", field="cutoff")
    parameters = scope(brand, cutoff=cutoff, filters=filters, method=method)
    check_named(session, brand_id=brand.id, filters=filters)
    post_maturations(session, brand_id=brand.id)
    lock(session, brand.id, Lock.SETTLEMENT)
    last = session.scalar(
        select(func.max(SettlementBatch.number)).where(SettlementBatch.brand_id == brand.id)
    )
    batch = SettlementBatch(
        brand_id=brand.id,
        id=ids.new(),
        number=(last or 0) + 1,
        cutoff=cutoff,
        currency=brand.currency,
        minimum_payout=parameters["minimum"],
        provider=provider.name,
        filters=filters.document(),
        state="draft",
        payouts=0,
        total=0,
        content_hash=b"",
        created_at=clock.now(),
        created_by=created_by,
    )
    session.add(batch)
    session.flush()
    statement = _GATHER.format(
        judged=judged(filters, method),
        method=", j.method_id" if method else "",
        chosen="min(method_id)" if method else "NULL::bigint",
    )
    gathered = session.execute(text(statement), parameters | {"batch_id": batch.id})
    if not gathered.rowcount:  # type: ignore[attr-defined]  # a CursorResult, as for any DML
        preview = preview_counts(
            session, brand=brand, cutoff=cutoff, filters=filters, method=method
        )
        raise NothingToSettle(why_empty(preview, brand.currency))
    faults.point("draw_up.gathered")
    withhold_tax(session, brand=brand, batch=batch)
    post_payouts(session, batch, TransferCode.RESERVE, posting_id=batch.id)
    _count(session, batch)
    note_event(session, batch, "drawn_up", actor=created_by, content_hash=batch.content_hash.hex())
    session.flush()
    return batch


def _count(session: Session, batch: SettlementBatch) -> None:
    """Set what the batch says of itself to what it holds."""
    content = session.execute(_CONTENT, {"brand_id": batch.brand_id, "batch_id": batch.id}).one()
    batch.payouts, batch.total, batch.tax_total, batch.content_hash = content


def get_batch(
    session: Session, *, brand_id: int, number: int, for_update: bool = False
) -> SettlementBatch:
    """The brand's batch of that number.

    :raises BatchNotFound: when there is none.
    """
    query = select(SettlementBatch).where(
        SettlementBatch.brand_id == brand_id, SettlementBatch.number == number
    )
    if for_update:  # and read it again: the session may have seen it before it was locked
        query = query.with_for_update().execution_options(populate_existing=True)
    batch = session.scalar(query)
    if batch is None:
        raise BatchNotFound(f"there is no batch {number}", field="batch")
    return batch


def require_state(batch: SettlementBatch, *states: str) -> None:
    """Check that the batch is in one of ``states``.

    :raises BatchInWrongState: naming the state it is in.
    """
    if batch.state not in states:
        raise BatchInWrongState(
            f"batch {batch.number} is {batch.state.replace('_', ' ')}; this needs it to be"
            f" {' or '.join(state.replace('_', ' ') for state in states)}",
            field="state",
        )


def submit_batch(
    session: Session, *, brand_id: int, number: int, submitted_by: str
) -> SettlementBatch:
    """Hand a draft over for approval. A sum above the brand's threshold needs two approvals."""
    batch = get_batch(session, brand_id=brand_id, number=number, for_update=True)
    require_state(batch, "draft")
    threshold = session.scalars(
        select(Brand.second_approval_above).where(Brand.id == brand_id)
    ).one()
    batch.approvals_needed = 2 if threshold is not None and batch.total > threshold else 1
    batch.state, batch.round = "submitted", batch.round + 1
    batch.submitted_at, batch.submitted_by = clock.now(), submitted_by
    note_event(session, batch, "submitted", actor=submitted_by, needed=batch.approvals_needed)
    session.flush()
    return batch


def _same(one: str, other: str | None) -> bool:
    return other is not None and one.strip().casefold() == other.strip().casefold()


def approve_batch(
    session: Session, *, brand_id: int, number: int, approved_by: str, content_hash: bytes | None
) -> SettlementBatch:
    """Approve a submitted batch. The approval is of its content: should that differ from what was
    submitted, or from what the approver saw (``content_hash``), it is refused.

    :raises SecondPersonNeeded: for whoever drew it up or submitted it, or has approved it already.
    """
    batch = get_batch(session, brand_id=brand_id, number=number, for_update=True)
    require_state(batch, "submitted")
    if _same(approved_by, batch.created_by) or _same(approved_by, batch.submitted_by):
        raise SecondPersonNeeded(
            f"{approved_by} has made batch {number}; somebody else approves it",
            field="approved_by",
        )
    current = session.execute(_CONTENT, {"brand_id": brand_id, "batch_id": batch.id}).one().hash
    if bytes(current) != batch.content_hash or content_hash not in (None, batch.content_hash):
        raise BatchChanged(f"batch {number} is not what was reviewed", field="content_hash")
    given = list_approvals(session, batch=batch)
    if any(_same(approved_by, each.approved_by) for each in given):
        raise SecondPersonNeeded(
            f"{approved_by} has approved batch {number} already; it needs another person",
            field="approved_by",
        )
    session.add(
        BatchApproval(
            brand_id=brand_id,
            batch_id=batch.id,
            round=batch.round,
            approved_by=approved_by,
            content_hash=batch.content_hash,
            approved_at=clock.now(),
        )
    )
    note_event(session, batch, "approved", actor=approved_by, content_hash=batch.content_hash.hex())
    session.flush()
    if len(given) + 1 >= batch.approvals_needed:
        batch.state, batch.approved_at = "approved", clock.now()
        batch.approved_by = ", ".join([*(each.approved_by for each in given), approved_by])
        session.flush()
    return batch


def list_approvals(session: Session, *, batch: SettlementBatch) -> list[BatchApproval]:
    """The approvals that count for the batch as it was last submitted, oldest first."""
    return list(
        session.scalars(
            select(BatchApproval)
            .where(
                BatchApproval.brand_id == batch.brand_id,
                BatchApproval.batch_id == batch.id,
                BatchApproval.round == batch.round,
                BatchApproval.content_hash == batch.content_hash,
            )
            .order_by(BatchApproval.approved_at)
        )
    )


def back_to_draft(session: Session, batch: SettlementBatch) -> None:
    """Void a submission and its approvals: what they were of is no longer so."""
    batch.state = "draft"
    batch.submitted_at = batch.submitted_by = batch.approved_at = batch.approved_by = None
    session.flush()


def reject_batch(
    session: Session, *, brand_id: int, number: int, rejected_by: str, reason: str
) -> SettlementBatch:
    """Send a batch that was submitted or approved back to its maker; approvals are void."""
    batch = get_batch(session, brand_id=brand_id, number=number, for_update=True)
    require_state(batch, "submitted", "approved")
    back_to_draft(session, batch)
    note_event(session, batch, "rejected", actor=rejected_by, reason=require_reason(reason))
    session.flush()
    return batch


def require_reason(reason: str) -> str:
    """A reason that says something.

    :raises InvalidInput: for an empty one.
    """
    if not reason.strip():
        raise InvalidInput("say why", field="reason")
    return reason.strip()


def remove_payout(
    session: Session, *, brand_id: int, number: int, no: int, removed_by: str, reason: str
) -> SettlementBatch:
    """Take a payout out of a batch that is not being paid: its items are open again.

    The batch is another one then: what was submitted or approved is void, it is a draft again.
    """
    batch = get_batch(session, brand_id=brand_id, number=number, for_update=True)
    require_state(batch, "draft", "submitted", "approved")
    reason = require_reason(reason)
    lock(session, brand_id, Lock.SETTLEMENT)
    key = (Payout.brand_id == brand_id, Payout.batch_id == batch.id, Payout.no == no)
    state = session.scalar(select(Payout.state).where(*key).with_for_update())
    if state is None or state == "removed":
        raise NotFound(f"batch {number} has no payout {no}", field="no")
    give_back(session, batch, [no])
    session.execute(update(Payout).where(*key).values(state="removed"))
    if batch.state != "draft":
        back_to_draft(session, batch)
    _count(session, batch)
    note_event(session, batch, "removed", actor=removed_by, no=no, reason=reason)
    session.flush()
    return batch


def cancel_batch(
    session: Session,
    *,
    brand_id: int,
    number: int,
    cancelled_by: str = "unknown",
    reason: str | None = None,
) -> SettlementBatch:
    """Call off a batch that is not being paid: its items are open again, nothing is lost."""
    batch = get_batch(session, brand_id=brand_id, number=number, for_update=True)
    require_state(batch, "draft", "submitted", "approved")
    lock(session, brand_id, Lock.SETTLEMENT)
    give_back(session, batch)
    session.execute(
        update(Payout)
        .where(Payout.brand_id == brand_id, Payout.batch_id == batch.id, Payout.state != "removed")
        .values(state="cancelled")
    )
    batch.state = "cancelled"
    note_event(session, batch, "cancelled", actor=cancelled_by, reason=reason)
    session.flush()
    return batch
