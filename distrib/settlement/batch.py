"""Drawing up a batch, approving it, calling it off.

A batch takes *open items*: what orders and refunds gave a distributor and no batch has taken yet.
It removes them and keeps them in its payouts, in one statement, so no two batches can ever hold
the same one. What it does not take (a sum below the minimum, a debt) stays open for the next.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from distrib import clock, faults, ids
from distrib.brands.tables import Brand
from distrib.db import Database, Lock, lock
from distrib.errors import Conflict, InvalidInput, NotFound
from distrib.ledger.chart import TransferCode
from distrib.ledger.service import post_query
from distrib.money import format_amount
from distrib.settlement.maturation import mature, post_maturations
from distrib.settlement.providers import PROVIDERS
from distrib.settlement.tables import Payout, SettlementBatch


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


_GATHER = text(
    """
    WITH due AS (
        SELECT distributor_id FROM open_item
        WHERE brand_id = :brand_id AND asset = :asset AND available_on <= :cutoff
          AND distributor_id NOT IN (
            SELECT id FROM distributor WHERE brand_id = :brand_id AND status = 'suspended')
        GROUP BY distributor_id HAVING sum(amount) >= :minimum),
    taken AS (
        DELETE FROM open_item i USING due
        WHERE i.brand_id = :brand_id AND i.distributor_id = due.distributor_id
          AND i.asset = :asset AND i.available_on <= :cutoff
        RETURNING i.distributor_id, i.posting_id, i.amount)
    INSERT INTO payout (brand_id, batch_id, no, distributor_id, amount, state, postings, amounts)
    SELECT :brand_id, :batch_id, row_number() OVER (ORDER BY distributor_id), distributor_id,
           sum(amount), 'reserved', array_agg(posting_id ORDER BY posting_id),
           array_agg(amount ORDER BY posting_id)
    FROM taken GROUP BY distributor_id
    """
)

_PAYOUTS = """
SELECT no AS seq, distributor_id AS owner, amount, CAST(:asset AS text) AS asset
FROM payout WHERE brand_id = :brand_id AND batch_id = :batch_id
"""

_CONTENT = text(
    """
    SELECT count(*) AS payouts, coalesce(sum(amount), 0)::bigint AS total,
           sha256(convert_to(coalesce(string_agg(
               no || ':' || distributor_id || ':' || amount, ',' ORDER BY no), ''), 'UTF8')) AS hash
    FROM payout WHERE brand_id = :brand_id AND batch_id = :batch_id
    """
)

_UNTAKEN = text(
    """
    SELECT count(*) FILTER (WHERE due > 0 AND active) AS below,
           coalesce(sum(due) FILTER (WHERE due > 0 AND active), 0) AS below_total,
           count(*) FILTER (WHERE due > 0 AND NOT active) AS suspended,
           count(*) FILTER (WHERE due < 0) AS debtors,
           count(*) FILTER (WHERE later > 0) AS waiting
    FROM (SELECT bool_and(d.status = 'active') AS active,
                 sum(i.amount) FILTER (WHERE i.available_on <= :cutoff) AS due,
                 sum(i.amount) FILTER (WHERE i.available_on > :cutoff) AS later
          FROM open_item i
          JOIN distributor d ON d.brand_id = i.brand_id AND d.id = i.distributor_id
          WHERE i.brand_id = :brand_id AND i.asset = :asset
          GROUP BY i.distributor_id) sums
    """
)


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
    provider: str = "bank-file",
    created_by: str,
) -> SettlementBatch:
    """Gather what is past its hold at ``cutoff`` into a draft batch, reserved for it.

    One payout a distributor whose open items up to the cutoff reach the brand's minimum. Who is
    suspended is passed over: what they earn stays open until they are reactivated.

    :param cutoff: last day, inclusive; its commission has matured (:func:`mature_for_batch`).
    :raises NothingToSettle: saying why.
    """
    if provider not in PROVIDERS:
        names = ", ".join(sorted(PROVIDERS))
        raise InvalidInput(
            f"there is no provider {provider!r}; known are {names}", field="provider"
        )
    # read first: days that begin to mature after this are not ours, what began before is posted
    matured = session.scalars(select(Brand.matured_through).where(Brand.id == brand.id)).one()
    if cutoff > matured:
        raise InvalidInput(f"only days up to {matured} have left the hold", field="cutoff")
    post_maturations(session, brand_id=brand.id)
    lock(session, brand.id, Lock.SETTLEMENT)
    now = clock.now()
    last = session.scalar(
        select(func.max(SettlementBatch.number)).where(SettlementBatch.brand_id == brand.id)
    )
    batch = SettlementBatch(
        brand_id=brand.id,
        id=ids.new(),
        number=(last or 0) + 1,
        cutoff=cutoff,
        currency=brand.currency,
        minimum_payout=brand.minimum_payout,
        provider=provider,
        state="draft",
        payouts=0,
        total=0,
        content_hash=b"",
        created_at=now,
        created_by=created_by,
    )
    session.add(batch)
    session.flush()
    scope = {"brand_id": brand.id, "asset": brand.currency, "cutoff": cutoff}
    gathered = session.execute(
        _GATHER, scope | {"batch_id": batch.id, "minimum": brand.minimum_payout}
    )
    if not gathered.rowcount:  # type: ignore[attr-defined]  # a CursorResult, as for any DML
        raise NothingToSettle(_why_empty(session, brand, scope))
    faults.point("draw_up.gathered")
    _move(session, batch, TransferCode.RESERVE, batch.id)
    content = session.execute(_CONTENT, {"brand_id": brand.id, "batch_id": batch.id}).one()
    batch.payouts, batch.total, batch.content_hash = content
    session.flush()
    return batch


def _why_empty(session: Session, brand: Brand, scope: dict[str, Any]) -> str:
    left = session.execute(_UNTAKEN, scope).one()
    reasons = []
    if left.below:
        reasons.append(
            f"{left.below} distributors have {format_amount(int(left.below_total), brand.currency)}"
            f" {brand.currency} together, each below the minimum of"
            f" {format_amount(brand.minimum_payout, brand.currency)}"
        )
    if left.suspended:
        reasons.append(f"{left.suspended} distributors who are owed are suspended")
    if left.debtors:
        reasons.append(f"{left.debtors} distributors owe the brand after refunds")
    if left.waiting:
        reasons.append(f"{left.waiting} distributors have commission available after the cutoff")
    return f"up to {scope['cutoff']}: " + ("; ".join(reasons) or "no commission is open")


def _move(session: Session, batch: SettlementBatch, code: TransferCode, posting_id: int) -> None:
    """Post the amounts of the batch's payouts."""
    post_query(
        session,
        brand_id=batch.brand_id,
        posting_id=posting_id,
        code=code,
        posted_at=clock.now(),
        query=_PAYOUTS,
        parameters={"batch_id": batch.id, "asset": batch.currency},
    )


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
            f"batch {batch.number} is {batch.state}; this needs it to be {' or '.join(states)}",
            field="state",
        )


def approve_batch(
    session: Session, *, brand_id: int, number: int, approved_by: str, content_hash: bytes | None
) -> SettlementBatch:
    """Approve a draft. The approval is of its content: should that differ from what was drawn up,
    or from what the approver saw (``content_hash``), it is refused.
    """
    batch = get_batch(session, brand_id=brand_id, number=number, for_update=True)
    require_state(batch, "draft")
    current = session.execute(_CONTENT, {"brand_id": brand_id, "batch_id": batch.id}).one().hash
    if bytes(current) != batch.content_hash or content_hash not in (None, batch.content_hash):
        raise BatchChanged(f"batch {number} is not what was reviewed", field="content_hash")
    batch.state, batch.approved_at, batch.approved_by = "approved", clock.now(), approved_by
    session.flush()
    return batch


_REOPEN = text(
    """
    INSERT INTO open_item (brand_id, distributor_id, posting_id, asset, amount, available_on, held)
    SELECT p.brand_id, p.distributor_id, i.posting_id, :asset, i.amount, o.available_on, false
    FROM payout p
    CROSS JOIN LATERAL unnest(p.postings, p.amounts) i (posting_id, amount)
    LEFT JOIN refund r ON r.brand_id = p.brand_id AND r.id = i.posting_id
    JOIN orders o ON o.brand_id = p.brand_id AND o.id = coalesce(r.order_id, i.posting_id)
    WHERE p.brand_id = :brand_id AND p.batch_id = :batch_id
    """
)


def cancel_batch(session: Session, *, brand_id: int, number: int) -> SettlementBatch:
    """Call off a batch that is not being paid: its items are open again, nothing is lost."""
    batch = get_batch(session, brand_id=brand_id, number=number, for_update=True)
    require_state(batch, "draft", "approved")
    lock(session, brand_id, Lock.SETTLEMENT)
    scope = {"brand_id": brand_id, "batch_id": batch.id}
    session.execute(_REOPEN, scope | {"asset": batch.currency})
    _move(session, batch, TransferCode.RELEASE, ids.new())
    session.execute(
        update(Payout)
        .where(Payout.brand_id == brand_id, Payout.batch_id == batch.id)
        .values(state="cancelled")
    )
    batch.state = "cancelled"
    session.flush()
    return batch


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a batch has come."""

    payouts: int
    paid: int
    total: int
    paid_total: int


def batch_progress(session: Session, *, batch: SettlementBatch) -> Progress:
    """Count what has been paid of a batch."""
    row = session.execute(
        select(func.count(), func.coalesce(func.sum(Payout.amount), 0)).where(
            Payout.brand_id == batch.brand_id,
            Payout.batch_id == batch.id,
            Payout.state == "paid",
        )
    ).one()
    return Progress(batch.payouts, int(row[0]), batch.total, int(row[1]))
