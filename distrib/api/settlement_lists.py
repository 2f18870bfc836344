"""Batches, payouts, exclusions, events and postings, page by page."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

from sqlalchemy import ColumnElement, exists, func, select
from sqlalchemy.orm import Session

from distrib.api.paging import Listing, Page, Query, read_page
from distrib.brands.tables import Brand
from distrib.errors import InvalidInput
from distrib.ledger.chart import TransferCode
from distrib.settlement.gathering import WORDS, Filters, Reason, preview_lines
from distrib.settlement.outcomes import read_request_no
from distrib.settlement.tables import (
    BatchExclusion,
    BatchPosting,
    Payout,
    PayoutAttempt,
    SettlementBatch,
    SettlementEvent,
)
from distrib.tree import queries
from distrib.tree.facts import DistributorNotFound
from distrib.tree.tables import Distributor

_BATCHES = Listing("batches", {"number": int}, descending=True)
_BATCH_PAYOUTS = Listing("payouts of a batch", {"no": int})
_PAYOUTS_OF = Listing("payouts of one", {"batch_id": int}, descending=True)
_FOUND = Listing("payouts", {"batch_id": int, "no": int}, descending=True)
_EXCLUSIONS = Listing("exclusions", {"distributor_id": int})
_EVENTS = Listing("events", {"id": int})
_POSTINGS = Listing("postings of a batch", {"posting_id": int})
_PREVIEW = Listing("preview", {"external_id": str})


def batches(
    session: Session, *, brand_id: int, state: str | None, cursor: str | None, limit: int
) -> Page:
    """Settlement batches, newest first."""
    where = [SettlementBatch.brand_id == brand_id]
    if state is not None:
        where.append(SettlementBatch.state == state)
    return read_page(session, SettlementBatch, _BATCHES, where=where, cursor=cursor, limit=limit)


# -- payouts --------------------------------------------------------------------------------------


def _show_payouts(payout: Any) -> Query:
    return (
        select(
            payout.batch_id,
            payout.no,
            SettlementBatch.number.label("batch"),
            SettlementBatch.currency,
            Distributor.external_id.label("distributor"),
            payout.distributor_id,
            payout.amount,
            payout.tax,
            (payout.amount - payout.tax).label("net"),
            payout.state,
            payout.attempts,
            func.cardinality(payout.postings).label("items"),
        )
        .join(
            SettlementBatch,
            (SettlementBatch.brand_id == payout.brand_id) & (SettlementBatch.id == payout.batch_id),
        )
        .join(
            Distributor,
            (Distributor.brand_id == payout.brand_id) & (Distributor.id == payout.distributor_id),
        )
    )


def _person(session: Session, brand_id: int, external_id: str) -> int:
    """The id of the distributor that a filter names."""
    try:
        return queries.get_distributor(session, brand_id=brand_id, external_id=external_id).id
    except DistributorNotFound as error:
        raise InvalidInput(error.detail, field="distributor") from None


def batch_payouts(
    session: Session,
    *,
    batch: SettlementBatch,
    state: str | None,
    distributor: str | None,
    cursor: str | None,
    limit: int,
) -> Page:
    """The payouts of a batch, by number."""
    where = [Payout.brand_id == batch.brand_id, Payout.batch_id == batch.id]
    if state is not None:
        where.append(Payout.state == state)
    if distributor is not None:
        where.append(Payout.distributor_id == _person(session, batch.brand_id, distributor))
    return read_page(
        session,
        Payout,
        _BATCH_PAYOUTS,
        where=where,
        show=_show_payouts,
        cursor=cursor,
        limit=limit,
    )


def payouts_of(
    session: Session, *, brand_id: int, distributor_id: int, cursor: str | None, limit: int
) -> Page:
    """The payouts of a distributor, newest first."""
    return read_page(
        session,
        Payout,
        _PAYOUTS_OF,
        where=[Payout.brand_id == brand_id, Payout.distributor_id == distributor_id],
        show=_show_payouts,
        cursor=cursor,
        limit=limit,
    )


def one_payout(session: Session, *, batch: SettlementBatch, no: int) -> dict[str, Any]:
    """A payout as lists show it."""
    query = _show_payouts(Payout).where(
        Payout.brand_id == batch.brand_id, Payout.batch_id == batch.id, Payout.no == no
    )
    return dict(session.execute(query).one()._mapping)


def find_payouts(
    session: Session,
    *,
    brand_id: int,
    request_no: str | None,
    distributor: str | None,
    reference: str | None,
    cursor: str | None,
    limit: int,
) -> Page:
    """Payouts of all batches, the newest first.

    :raises InvalidInput: when nothing is asked for, or something that cannot be.
    """
    where: list[ColumnElement[bool]] = [Payout.brand_id == brand_id]
    if request_no is not None:
        key = read_request_no(request_no)
        where += [Payout.batch_id == key.batch_id, Payout.no == key.no]
        where.append(_tried(PayoutAttempt.attempt == key.attempt))
    if distributor is not None:
        where.append(Payout.distributor_id == _person(session, brand_id, distributor))
    if reference is not None:
        where.append(_tried(PayoutAttempt.reference == reference))
    if len(where) == 1:
        raise InvalidInput("say which: request_no, distributor or reference", field="request_no")
    return read_page(
        session, Payout, _FOUND, where=where, show=_show_payouts, cursor=cursor, limit=limit
    )


def _tried(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """Whether a payout has an attempt of which that is so."""
    return exists().where(
        PayoutAttempt.brand_id == Payout.brand_id,
        PayoutAttempt.batch_id == Payout.batch_id,
        PayoutAttempt.no == Payout.no,
        condition,
    )


# -- previews and paper ---------------------------------------------------------------------------


def preview(
    session: Session,
    *,
    brand: Brand,
    cutoff: date,
    filters: Filters,
    method: str | None,
    cursor: str | None,
    limit: int,
) -> Page:
    """Everybody who has something open, by external id, and what a batch would do with it."""
    after = _PREVIEW.read(cursor)
    lines = preview_lines(
        session,
        brand=brand,
        cutoff=cutoff,
        filters=filters,
        method=method,
        after=None if after is None else after[0],
        limit=limit + 1,
    )
    items = [
        {
            "distributor": line.external_id,
            "distributor_id": line.distributor_id,
            "name": line.name,
            "due": line.due,
            "amount": line.due if line.reason is None else 0,
            "carried_forward": 0 if line.reason is None else line.due,
            "later": line.later,
            "currency": brand.currency,
            "reason": line.reason,
            "reason_words": None if line.reason is None else WORDS[line.reason],
        }
        for line in lines[:limit]
    ]
    more = _PREVIEW.write([lines[limit - 1].external_id]) if len(lines) > limit else None
    return Page(items, more)


def exclusions(session: Session, *, batch: SettlementBatch, cursor: str | None, limit: int) -> Page:
    """Who was left out of a batch when it was drawn up, in the order of enrolment."""
    page = read_page(
        session,
        BatchExclusion,
        _EXCLUSIONS,
        where=[BatchExclusion.brand_id == batch.brand_id, BatchExclusion.batch_id == batch.id],
        show=lambda left_out: select(
            left_out.distributor_id,
            Distributor.external_id.label("distributor"),
            Distributor.name,
            left_out.amount,
            left_out.reason,
        ).join(
            Distributor,
            (Distributor.brand_id == left_out.brand_id)
            & (Distributor.id == left_out.distributor_id),
        ),
        cursor=cursor,
        limit=limit,
    )
    for item in page.items:
        item |= {"currency": batch.currency, "reason_words": WORDS[Reason(item["reason"])]}
    return page


def events(
    session: Session,
    *,
    batch: SettlementBatch,
    no: int | None = None,
    cursor: str | None,
    limit: int,
) -> Page:
    """Who did what to a batch, or to one payout of it, oldest first."""
    where = [SettlementEvent.brand_id == batch.brand_id, SettlementEvent.batch_id == batch.id]
    if no is not None:
        where.append(SettlementEvent.no == no)
    return read_page(session, SettlementEvent, _EVENTS, where=where, cursor=cursor, limit=limit)


def postings(session: Session, *, batch: SettlementBatch, cursor: str | None, limit: int) -> Page:
    """What a batch posted to the ledger, oldest first."""
    page = read_page(
        session,
        BatchPosting,
        _POSTINGS,
        where=[BatchPosting.brand_id == batch.brand_id, BatchPosting.batch_id == batch.id],
        cursor=cursor,
        limit=limit,
    )
    return Page([_posting(each, batch.currency) for each in page.items], page.next)


def _posting(posting: BatchPosting, currency: str) -> dict[str, Any]:
    return {
        "id": posting.posting_id,
        "code": TransferCode(posting.code).name.lower(),
        "first_no": posting.first_no,
        "payouts": posting.payouts,
        "total": posting.total,
        "currency": currency,
    }


def by_reason(counted: dict[Reason, tuple[int, int]]) -> Sequence[dict[str, Any]]:
    """Who is left out, by reason, in words too."""
    return [
        {"reason": reason, "reason_words": WORDS[reason], "distributors": count, "amount": amount}
        for reason, (count, amount) in counted.items()
    ]
