"""The facts of a payout's paper, from what is recorded.

They change only when the payout does, so the same payout gives the same paper whenever it is asked
for: it is dated by the payout's last change, not by the day somebody prints it.
"""

from __future__ import annotations

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from distrib import clock, ids
from distrib.brands.tables import Brand
from distrib.settlement.looking import explain_tax, view_payout
from distrib.settlement.payout_pdf import LineKind, PaperLine, PayoutPaper
from distrib.settlement.payouts import PayoutInWrongState
from distrib.settlement.tables import PayoutAttempt, SettlementBatch

_NO_PAPER = ("removed", "cancelled", "voided")

_LINES = text(
    """
    SELECT i.posting_id, i.amount, o.shop, o.external_id, r.id IS NOT NULL AS is_refund,
           a.id IS NOT NULL AS is_adjustment, c.level,
           coalesce(c.earned_on, a.available_on, o.available_on) AS day
    FROM payout p
    CROSS JOIN LATERAL unnest(p.postings, p.amounts) i (posting_id, amount)
    LEFT JOIN refund r ON r.brand_id = p.brand_id AND r.id = i.posting_id
    LEFT JOIN orders o ON o.brand_id = p.brand_id AND o.id = coalesce(r.order_id, i.posting_id)
    LEFT JOIN adjustment a ON a.brand_id = p.brand_id AND a.id = i.posting_id
    LEFT JOIN LATERAL (
        SELECT min(x.level) AS level, min(x.earned_on) AS earned_on FROM commission x
        WHERE x.brand_id = p.brand_id AND x.source_id = i.posting_id
          AND x.distributor_id = p.distributor_id) c ON true
    WHERE p.brand_id = :brand_id AND p.batch_id = :batch_id AND p.no = :no
    ORDER BY day, i.posting_id
    """
)


def load_paper(
    session: Session, *, brand: Brand, batch: SettlementBatch, no: int, language: str = "en"
) -> PayoutPaper:
    """All that the paper of a payout says.

    :param language: of the tax's explanation, ``en`` or ``zh``; the rest depends on no language.
    :raises PayoutNotFound: when the batch has none of that number.
    :raises PayoutInWrongState: when it was taken out of the batch, voided or called off.
    """
    view = view_payout(session, batch=batch, no=no)
    payout = view.payout
    if payout.state in _NO_PAPER:
        raise PayoutInWrongState(
            f"payout {no} of batch {batch.number} is {payout.state}; nothing is paid by it",
            field="state",
        )
    attempts = session.scalars(
        select(PayoutAttempt)
        .where(
            PayoutAttempt.brand_id == brand.id,
            PayoutAttempt.batch_id == batch.id,
            PayoutAttempt.no == no,
        )
        .order_by(PayoutAttempt.attempt)
    ).all()
    last = attempts[-1] if attempts else None
    paid = last if last is not None and payout.state == "paid" else None
    changed = max([batch.created_at, *(each.state_at or each.created_at for each in attempts)])
    explanation = ""
    if view.tax is not None:
        explanation = explain_tax(view.tax, currency=batch.currency, language=language)
    return PayoutPaper(
        brand=brand.name,
        payee=view.method.name if view.method is not None else view.distributor.name,
        payee_id=view.distributor.external_id,
        batch=batch.number,
        drawn_up=clock.day_of(batch.created_at, brand.time_zone),
        paid_on=clock.day_of(paid.state_at or paid.created_at, brand.time_zone) if paid else None,
        currency=batch.currency,
        gross=payout.amount,
        tax=payout.tax,
        tax_explanation=explanation,
        net=view.net,
        provider=batch.provider,
        reference=(last.reference or last.request_no) if last is not None else None,
        lines=_lines(session, batch, no),
        document_id=f"{brand.slug}-{batch.number}-{no}",
        issued_on=clock.day_of(changed, brand.time_zone),
    )


def _lines(session: Session, batch: SettlementBatch, no: int) -> tuple[PaperLine, ...]:
    lines = []
    for row in session.execute(
        _LINES, {"brand_id": batch.brand_id, "batch_id": batch.id, "no": no}
    ):
        kind = LineKind.REFUND if row.is_refund else LineKind.ORDER
        if row.is_adjustment:
            kind = LineKind.OTHER
        lines.append(
            PaperLine(
                day=row.day,
                kind=kind,
                shop=row.shop or "",
                number=row.external_id or ids.public("adj", row.posting_id),
                level=row.level,
                amount=row.amount,
            )
        )
    return tuple(lines)
