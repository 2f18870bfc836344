"""Adjustments: a debt written off, money that was paid too much or too little.

Asked for by one person, approved by another. Approved, an adjustment is a posting of the ledger and
an open item, as an order is: the next batch takes it, and the audit can explain it.
"""

from __future__ import annotations

from enum import StrEnum

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from distrib import clock, faults, ids
from distrib.brands.tables import Brand
from distrib.commission.tables import OpenItem
from distrib.db import Lock, cursor, lock
from distrib.errors import Conflict, InvalidInput, NotFound
from distrib.ledger.chart import AccountKind, TransferCode
from distrib.ledger.service import post, read_balances
from distrib.money import MAX_AMOUNT, format_amount
from distrib.settlement.book_tables import Adjustment
from distrib.settlement.debts import debt_of
from distrib.settlement.maturation import post_maturations
from distrib.settlement.people import (
    AnotherPersonNeeded,
    is_same_person,
    require_person,
    require_words,
)
from distrib.tree.queries import get_distributor

PREFIX = "adj"
"""Of the public ids of adjustments."""


class AdjustmentKind(StrEnum):
    """What an adjustment corrects."""

    WRITE_OFF = "write_off"
    """A debt is given up."""
    OVERPAID = "overpaid"
    """More was paid than the ledger says: the difference is owed to us."""
    UNDERPAID = "underpaid"
    """Less was paid than the ledger says: the difference is owed to the distributor."""


class AdjustmentState(StrEnum):
    """Where an adjustment stands."""

    REQUESTED = "requested"
    APPROVED = "approved"
    REJECTED = "rejected"


class AdjustmentNotFound(NotFound):
    """No adjustment of that id."""

    title = "No such adjustment"


class AdjustmentDecided(Conflict):
    """An adjustment is decided once."""

    title = "The adjustment has been decided"


class DebtTooSmall(Conflict):
    """No more is written off than is owed."""

    title = "The debt is smaller than that"


class PaidTooLittle(Conflict):
    """What was never paid was not paid too little."""

    title = "The distributor has been paid less than that"


_CODES = {
    AdjustmentKind.WRITE_OFF: TransferCode.WRITE_OFF,
    AdjustmentKind.OVERPAID: TransferCode.OVERPAID,
    AdjustmentKind.UNDERPAID: TransferCode.UNDERPAID,
}


def request_adjustment(
    session: Session,
    *,
    brand: Brand,
    distributor_id: int,
    kind: AdjustmentKind | str,
    amount: int | None,
    reason: str,
    requested_by: str,
    case_id: int | None = None,
) -> Adjustment:
    """Ask for an adjustment.

    :param amount: minor units, above zero whatever the kind; None writes off the whole debt.
    :param case_id: the reconciliation case that it resolves.
    :raises DebtTooSmall: for a write-off of more than is owed.
    """
    kind = AdjustmentKind(kind)
    requested_by = require_person(requested_by, "requested_by")
    reason = require_words(reason, "reason", "say why")
    get_distributor(session, brand_id=brand.id, distributor_id=distributor_id)
    if amount is None and kind is AdjustmentKind.WRITE_OFF:
        amount = debt_of(session, brand=brand, distributor_id=distributor_id)
        if not amount:
            raise DebtTooSmall("nothing is owed", field="amount")
    if amount is None:
        raise InvalidInput("say how much", field="amount")
    if not 1 <= amount <= MAX_AMOUNT:
        raise InvalidInput(f"{amount} is outside 1 to {MAX_AMOUNT}", field="amount")
    _check_covered(session, brand, distributor_id, kind, amount)
    adjustment = Adjustment(
        brand_id=brand.id,
        id=ids.new(),
        distributor_id=distributor_id,
        kind=kind.value,
        amount=-amount if kind is AdjustmentKind.OVERPAID else amount,
        asset=brand.currency,
        reason=reason,
        case_id=case_id,
        state=AdjustmentState.REQUESTED.value,
        requested_by=requested_by,
        requested_at=clock.now(),
    )
    session.add(adjustment)
    session.flush()
    return adjustment


def approve_adjustment(
    session: Session, *, brand_id: int, adjustment_id: int, approved_by: str
) -> Adjustment:
    """Approve an adjustment: from here on it counts.

    :raises AnotherPersonNeeded: for whoever asked for it.
    :raises DebtTooSmall: when less is owed by now than it would write off.
    """
    approved_by = require_person(approved_by, "approved_by")
    get_adjustment(session, brand_id=brand_id, adjustment_id=adjustment_id)
    # what has begun to mature settles debts first; then nobody gathers while we count
    post_maturations(session, brand_id=brand_id)
    lock(session, brand_id, Lock.SETTLEMENT)
    adjustment = _take(session, brand_id, adjustment_id)
    if is_same_person(approved_by, adjustment.requested_by):
        raise AnotherPersonNeeded(
            f"{approved_by} has asked for this adjustment; somebody else approves it",
            field="approved_by",
        )
    brand = session.get_one(Brand, brand_id)
    kind, amount = AdjustmentKind(adjustment.kind), abs(adjustment.amount)
    _check_covered(session, brand, adjustment.distributor_id, kind, amount)
    now = clock.now()
    adjustment.state = AdjustmentState.APPROVED.value
    adjustment.decided_by, adjustment.decided_at = approved_by, now
    adjustment.available_on = clock.day_of(now, brand.time_zone)
    session.flush()
    post(
        cursor(session),
        brand_id=brand_id,
        asset=adjustment.asset,
        posted_at=now,
        posting_id=np.array([adjustment.id], np.int64),
        seq=np.array([1], np.int64),
        code=np.array([_CODES[kind]], np.int64),
        owner=np.array([adjustment.distributor_id], np.int64),
        amount=np.array([amount], np.int64),
    )
    faults.point("adjustment.posted")
    # posted to available, whatever day it is: so it is not held, and never matures
    session.add(
        OpenItem(
            brand_id=brand_id,
            distributor_id=adjustment.distributor_id,
            posting_id=adjustment.id,
            asset=adjustment.asset,
            amount=adjustment.amount,
            available_on=adjustment.available_on,
            held=False,
        )
    )
    session.flush()
    return adjustment


def reject_adjustment(
    session: Session, *, brand_id: int, adjustment_id: int, rejected_by: str
) -> Adjustment:
    """Turn an adjustment down, or take one's own back."""
    rejected_by = require_person(rejected_by, "rejected_by")
    adjustment = _take(session, brand_id, adjustment_id)
    adjustment.state = AdjustmentState.REJECTED.value
    adjustment.decided_by, adjustment.decided_at = rejected_by, clock.now()
    session.flush()
    return adjustment


def get_adjustment(session: Session, *, brand_id: int, adjustment_id: int) -> Adjustment:
    """The brand's adjustment of that id.

    :raises AdjustmentNotFound: when there is none.
    """
    found = session.get(Adjustment, (brand_id, adjustment_id))
    if found is None:
        raise AdjustmentNotFound(
            f"there is no adjustment {ids.public(PREFIX, adjustment_id)}", field="adjustment"
        )
    return found


def list_adjustments(
    session: Session, *, brand_id: int, state: str | None = None, limit: int = 100
) -> list[Adjustment]:
    """The brand's adjustments, newest first."""
    query = select(Adjustment).where(Adjustment.brand_id == brand_id)
    if state is not None:
        query = query.where(Adjustment.state == state)
    return list(session.scalars(query.order_by(Adjustment.id.desc()).limit(limit)))


def _take(session: Session, brand_id: int, adjustment_id: int) -> Adjustment:
    """The adjustment, held until the transaction ends, if it is not decided."""
    found = session.scalar(
        select(Adjustment)
        .where(Adjustment.brand_id == brand_id, Adjustment.id == adjustment_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if found is None:
        raise AdjustmentNotFound(
            f"there is no adjustment {ids.public(PREFIX, adjustment_id)}", field="adjustment"
        )
    if found.state != AdjustmentState.REQUESTED:
        raise AdjustmentDecided(f"it was {found.state} by {found.decided_by}", field="state")
    return found


def _check_covered(
    session: Session, brand: Brand, distributor_id: int, kind: AdjustmentKind, amount: int
) -> None:
    """Check that there is as much to write off, or that as much was paid."""

    def words(minor: int) -> str:
        return f"{format_amount(minor, brand.currency)} {brand.currency}"

    if kind is AdjustmentKind.WRITE_OFF:
        owed = debt_of(session, brand=brand, distributor_id=distributor_id)
        if amount > owed:
            raise DebtTooSmall(
                f"{words(owed)} are owed at present; {words(amount)} cannot be written off",
                field="amount",
            )
    elif kind is AdjustmentKind.UNDERPAID:
        balances = read_balances(session, brand_id=brand.id, owner=distributor_id)
        paid = balances.get((AccountKind.PAID, brand.currency), 0)
        if amount > paid:
            raise PaidTooLittle(
                f"{words(paid)} have been paid in all; {words(amount)} cannot be missing of that",
                field="amount",
            )
