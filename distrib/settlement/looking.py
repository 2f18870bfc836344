"""Looking at batches and payouts as they are recorded: for the API and the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Row, func, select
from sqlalchemy.orm import Session

from distrib.settlement.book_tables import PayoutMethod, PayoutTax
from distrib.settlement.gathering import Reason
from distrib.settlement.payouts import PayoutNotFound
from distrib.settlement.tables import BatchExclusion, Payout, SettlementBatch, SettlementEvent
from distrib.settlement.tax import explain, find_regime
from distrib.settlement.withholding import facts_of
from distrib.tree.tables import Distributor


@dataclass(frozen=True, slots=True)
class PayoutView:
    """A payout with what belongs to it.

    :param method: the payout method it was approved with; None where the name is enough.
    :param tax: what its tax was computed from; None without a regime.
    """

    payout: Payout
    distributor: Distributor
    method: PayoutMethod | None
    tax: PayoutTax | None

    @property
    def net(self) -> int:
        """What is paid."""
        return self.payout.amount - self.payout.tax


def view_payout(session: Session, *, batch: SettlementBatch, no: int) -> PayoutView:
    """A payout of a batch.

    :raises PayoutNotFound: when the batch has none of that number.
    """
    found = session.execute(
        select(Payout, Distributor, PayoutMethod, PayoutTax)
        .join(
            Distributor,
            (Distributor.brand_id == Payout.brand_id) & (Distributor.id == Payout.distributor_id),
        )
        .outerjoin(
            PayoutMethod,
            (PayoutMethod.brand_id == Payout.brand_id) & (PayoutMethod.id == Payout.method_id),
        )
        .outerjoin(
            PayoutTax,
            (PayoutTax.brand_id == Payout.brand_id)
            & (PayoutTax.batch_id == Payout.batch_id)
            & (PayoutTax.no == Payout.no),
        )
        .where(Payout.brand_id == batch.brand_id, Payout.batch_id == batch.id, Payout.no == no)
        .execution_options(populate_existing=True)
    ).one_or_none()
    if found is None:
        raise PayoutNotFound(f"batch {batch.number} has no payout {no}", field="no")
    return PayoutView(*found)


def explain_tax(row: PayoutTax, *, currency: str, language: str) -> str:
    """In a paragraph, why so much was withheld: computed again from what was kept.

    :param language: ``en`` or ``zh``.
    """
    regime = find_regime(row.regime, row.year)
    return explain(regime.withhold(facts_of(row)), regime, language, currency=currency)


def count_exclusions(session: Session, *, batch: SettlementBatch) -> dict[Reason, tuple[int, int]]:
    """How many were left out of a batch, and how much they had, by reason."""
    rows = session.execute(
        select(BatchExclusion.reason, func.count(), func.sum(BatchExclusion.amount))
        .where(BatchExclusion.brand_id == batch.brand_id, BatchExclusion.batch_id == batch.id)
        .group_by(BatchExclusion.reason)
        .order_by(BatchExclusion.reason)
    )
    return {Reason(row[0]): (int(row[1]), int(row[2])) for row in rows}


def list_events(
    session: Session, *, batch: SettlementBatch, no: int | None = None
) -> list[SettlementEvent]:
    """Who did what to a batch, or to its payout ``no``, oldest first."""
    query = select(SettlementEvent).where(
        SettlementEvent.brand_id == batch.brand_id, SettlementEvent.batch_id == batch.id
    )
    if no is not None:
        query = query.where(SettlementEvent.no == no)
    return list(session.scalars(query.order_by(SettlementEvent.id)))


def list_payouts(
    session: Session,
    *,
    batch: SettlementBatch,
    state: str | None = None,
    distributor: str | None = None,
    largest: bool = False,
    limit: int | None = None,
) -> Sequence[Row[Payout, Distributor]]:
    """Payouts of a batch and whose they are, by number, or the largest first."""
    query = (
        select(Payout, Distributor)
        .join(
            Distributor,
            (Distributor.brand_id == Payout.brand_id) & (Distributor.id == Payout.distributor_id),
        )
        .where(Payout.brand_id == batch.brand_id, Payout.batch_id == batch.id)
        .limit(limit)
    )
    if state is not None:
        query = query.where(Payout.state == state)
    if distributor is not None:
        query = query.where(Distributor.external_id == distributor)
    order = (Payout.amount.desc(), Payout.no) if largest else (Payout.no,)
    return session.execute(query.order_by(*order)).all()
