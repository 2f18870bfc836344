"""Posting what payouts move, and writing down why: the ledger's side and the paper's side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from distrib import clock, ids
from distrib.ledger.chart import TransferCode
from distrib.ledger.service import post_query
from distrib.settlement.tables import SettlementBatch, SettlementEvent

_GROSS = frozenset({TransferCode.RESERVE, TransferCode.RELEASE})
_TAX = frozenset({TransferCode.WITHHOLD, TransferCode.UNWITHHOLD})

_RECORD = text(
    """
    INSERT INTO batch_posting (brand_id, batch_id, posting_id, code, first_no, payouts, total)
    SELECT :brand_id, :batch_id, :posting_id, :code, min(seq), count(*), sum(amount)
    FROM transfer WHERE brand_id = :brand_id AND posting_id = :posting_id
    """
)


def post_payouts(
    session: Session,
    batch: SettlementBatch,
    code: TransferCode,
    *,
    nos: Sequence[int] | None = None,
    posting_id: int | None = None,
    moving: str | None = None,
    scope: Mapping[str, Any] | None = None,
) -> int:
    """Post ``code`` for payouts of the batch: gross, net or tax, as the code moves it.

    :param nos: which payouts; None is all that are in the batch.
    :param moving: instead: statements that change payouts, the last of them ``moved``, which gives
        the columns ``no, distributor_id, amount, tax`` of what is posted; with ``scope`` as its
        parameters.
    :returns: the number of transfers.
    """
    amount = "amount" if code in _GROSS else "tax" if code in _TAX else "amount - tax"
    which = "state <> 'removed'"
    posting_id = posting_id or ids.new()
    parameters: dict[str, Any] = {"batch_id": batch.id, "asset": batch.currency}
    if nos is not None:
        parameters |= {"nos": list(nos), "low": min(nos, default=0), "high": max(nos, default=0)}
        which = "no BETWEEN :low AND :high AND no = ANY(:nos)"
    of_batch = "payout WHERE brand_id = :brand_id AND batch_id = :batch_id AND"
    posted = post_query(
        session,
        brand_id=batch.brand_id,
        posting_id=posting_id,
        code=code,
        posted_at=clock.now(),
        query=f"""
            SELECT no AS seq, distributor_id AS owner, {amount} AS amount,
                   CAST(:asset AS text) AS asset
            FROM {f"{of_batch} {which}" if moving is None else "moved WHERE true"} AND {amount} > 0
        """,
        parameters=parameters | dict(scope or {}),
        moving=moving,
    )
    if posted:
        session.execute(
            _RECORD,
            {
                "brand_id": batch.brand_id,
                "batch_id": batch.id,
                "posting_id": posting_id,
                "code": int(code),
            },
        )
    return posted


def note_event(
    session: Session,
    batch: SettlementBatch,
    kind: str,
    *,
    actor: str,
    no: int | None = None,
    reason: str | None = None,
    **data: Any,
) -> None:
    """Write down what somebody did to the batch, or to its payout ``no``, and why."""
    session.add(
        SettlementEvent(
            brand_id=batch.brand_id,
            batch_id=batch.id,
            id=ids.new(),
            no=no,
            kind=kind,
            actor=actor,
            reason=reason,
            data=data,
            at=clock.now(),
        )
    )


_REOPEN = text(
    """
    INSERT INTO open_item (brand_id, distributor_id, posting_id, asset, amount, available_on, held)
    SELECT p.brand_id, p.distributor_id, i.posting_id, :asset, i.amount,
           coalesce(o.available_on, a.available_on), false
    FROM payout p
    CROSS JOIN LATERAL unnest(p.postings, p.amounts) i (posting_id, amount)
    LEFT JOIN refund r ON r.brand_id = p.brand_id AND r.id = i.posting_id
    LEFT JOIN orders o ON o.brand_id = p.brand_id AND o.id = coalesce(r.order_id, i.posting_id)
    LEFT JOIN adjustment a ON a.brand_id = p.brand_id AND a.id = i.posting_id
    WHERE p.brand_id = :brand_id AND p.batch_id = :batch_id AND p.state <> 'removed'
      AND p.state <> 'voided' AND (CAST(:nos AS int[]) IS NULL OR p.no = ANY(:nos))
    """
)


def give_back(session: Session, batch: SettlementBatch, nos: Sequence[int] | None = None) -> None:
    """Open the items of payouts again (of all, without ``nos``) and post their release.

    Before their state says that they are no longer in the batch.
    """
    session.execute(
        _REOPEN,
        {
            "brand_id": batch.brand_id,
            "batch_id": batch.id,
            "asset": batch.currency,
            "nos": None if nos is None else list(nos),
        },
    )
    post_payouts(session, batch, TransferCode.RELEASE, nos=nos)
