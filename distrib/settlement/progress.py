"""How far a batch has come, counted as it is asked."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from distrib import clock
from distrib.settlement.tables import Payout, SettlementBatch


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a batch has come. Amounts gross, in minor units.

    :param states: payout state → number and sum.
    :param rate: payouts handed over a second since it was last set going; None when it is not.
    :param seconds_left: at that rate, until all are handed over.
    """

    payouts: int
    total: int
    paid: int
    paid_total: int
    states: dict[str, tuple[int, int]]
    rate: float | None
    seconds_left: float | None


def batch_progress(session: Session, *, batch: SettlementBatch) -> Progress:
    """Count where the payouts of a batch are."""
    states = {
        row[0]: (int(row[1]), int(row[2]))
        for row in session.execute(
            select(Payout.state, func.count(), func.sum(Payout.amount))
            .where(Payout.brand_id == batch.brand_id, Payout.batch_id == batch.id)
            .group_by(Payout.state)
            .order_by(Payout.state)
        )
    }
    waiting = states.get("reserved", (0, 0))[0]
    rate = left = None
    if batch.state == "paying" and batch.paying_since is not None:
        seconds = (clock.now() - batch.paying_since).total_seconds()
        done = batch.payouts - waiting - batch.paid_before
        if seconds > 0 and done > 0:
            rate = done / seconds
            left = waiting / rate
    paid = states.get("paid", (0, 0))
    return Progress(batch.payouts, batch.total, paid[0], paid[1], states, rate, left)
