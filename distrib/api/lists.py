"""What only the API lists, page by page: brands, keys, plans, distributors, batches, payouts."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session

from distrib import ids
from distrib.api.paging import Order as ListOrder
from distrib.api.paging import Page, Query, page_rows, read_page
from distrib.brands.tables import ApiKey, Brand
from distrib.commission.tables import PlanVersion
from distrib.errors import NotFound
from distrib.settlement.tables import Payout, SettlementBatch
from distrib.tree import queries
from distrib.tree.facts import DistributorStatus
from distrib.tree.queries import Place, SortBy
from distrib.tree.tables import Distributor


class KeyNotFound(NotFound):
    """No key of that id in this brand."""

    title = "No such API key"


# -- brands and keys ------------------------------------------------------------------------------

_BRANDS = ListOrder("brands", (int,), descending=True)
_KEYS = ListOrder("keys", (int,), descending=True)


def brands(session: Session, *, cursor: str | None, limit: int) -> Page:
    """All brands, newest first."""
    rows, following = read_page(
        session,
        select(Brand.id, Brand),
        order=_BRANDS,
        keys=[Brand.id],
        cursor=cursor,
        limit=limit,
    )
    return Page([row.Brand for row in rows], following)


def keys(session: Session, *, brand_id: int, cursor: str | None, limit: int) -> Page:
    """The keys of a brand, newest first."""
    shown = select(ApiKey.id, ApiKey.name, ApiKey.hint, ApiKey.created_at, ApiKey.revoked_at).where(
        ApiKey.brand_id == brand_id
    )
    return page_rows(session, shown, order=_KEYS, keys=[ApiKey.id], cursor=cursor, limit=limit)


def get_key(session: Session, *, brand_id: int, public_id: str) -> int:
    """The id of the brand's key that goes by ``public_id``.

    :raises KeyNotFound: when there is none.
    """
    try:
        key_id = ids.parse("key", public_id)
    except ValueError as error:
        raise KeyNotFound(str(error)) from None
    found = session.scalar(
        select(ApiKey.id).where(ApiKey.id == key_id, ApiKey.brand_id == brand_id)
    )
    if found is None:
        raise KeyNotFound(f"the brand has no key {public_id}")
    return found


# -- plans ----------------------------------------------------------------------------------------

_PLANS = ListOrder("plans", (int,), descending=True)


def plans(session: Session, *, brand_id: int, cursor: str | None, limit: int) -> Page:
    """Plan versions without their documents, newest first."""
    shown = select(
        PlanVersion.number,
        PlanVersion.id,
        PlanVersion.effective_from,
        PlanVersion.levels,
        PlanVersion.content_hash,
        PlanVersion.published_at,
        PlanVersion.published_by,
    ).where(PlanVersion.brand_id == brand_id)
    return page_rows(
        session,
        shown,
        order=_PLANS,
        keys=[PlanVersion.number],
        cursor=cursor,
        limit=limit,
    )


def latest_plan_number(session: Session, *, brand_id: int) -> int:
    """The number of the newest plan version, 0 before the first."""
    query = select(func.max(PlanVersion.number)).where(PlanVersion.brand_id == brand_id)
    return session.scalar(query) or 0


# -- distributors ---------------------------------------------------------------------------------


def is_enrolled(session: Session, *, brand_id: int, external_id: str) -> bool:
    """Whether the brand has a distributor of that external id."""
    query = exists().where(Distributor.brand_id == brand_id, Distributor.external_id == external_id)
    return bool(session.scalar(select(query)))


def distributors(
    session: Session,
    *,
    brand_id: int,
    status: str | None,
    sponsor: str | None,
    q: str | None,
    sort: str,
    cursor: str | None,
    limit: int,
) -> tuple[list[Distributor], str | None]:
    """A page of distributors, and the next cursor."""
    by = SortBy(sort.removeprefix("-"))
    kind = datetime if by is SortBy.JOINED_AT else str
    order = ListOrder(f"distributors {sort}", (kind, int))
    after = order.read(cursor)
    place = None
    if after is not None:
        value = after[0].isoformat() if kind is datetime else after[0]
        place = Place(value, after[1])
    page = queries.list_distributors(
        session,
        brand_id=brand_id,
        status=None if status is None else DistributorStatus(status),
        sponsor=sponsor,
        q=q,
        sort=by,
        descending=sort.startswith("-"),
        after=place,
        limit=limit,
    )
    at = page.after
    following = None if at is None else order.write([at.value, at.id])
    return page.distributors, following


# -- settlement -----------------------------------------------------------------------------------

_BATCHES = ListOrder("batches", (int,), descending=True)
_BATCH_PAYOUTS = ListOrder("payouts of a batch", (int,))
_PAYOUTS_OF = ListOrder("payouts of one", (int,), descending=True)


def batches(
    session: Session, *, brand_id: int, state: str | None, cursor: str | None, limit: int
) -> Page:
    """Settlement batches, newest first."""
    query = select(SettlementBatch.number, SettlementBatch).where(
        SettlementBatch.brand_id == brand_id
    )
    if state is not None:
        query = query.where(SettlementBatch.state == state)
    rows, following = read_page(
        session,
        query,
        order=_BATCHES,
        keys=[SettlementBatch.number],
        cursor=cursor,
        limit=limit,
    )
    return Page([row.SettlementBatch for row in rows], following)


def _payout_query(brand_id: int, key: Any, *also: Any) -> Query:
    return (
        select(
            key,
            *also,
            SettlementBatch.number.label("batch"),
            SettlementBatch.currency,
            Distributor.external_id.label("distributor"),
            Payout.distributor_id,
            Payout.amount,
            Payout.state,
            func.cardinality(Payout.postings).label("items"),
        )
        .join(
            SettlementBatch,
            (SettlementBatch.brand_id == Payout.brand_id) & (SettlementBatch.id == Payout.batch_id),
        )
        .join(
            Distributor,
            (Distributor.brand_id == Payout.brand_id) & (Distributor.id == Payout.distributor_id),
        )
        .where(Payout.brand_id == brand_id)
    )


def batch_payouts(
    session: Session, *, batch: SettlementBatch, cursor: str | None, limit: int
) -> Page:
    """The payouts of a batch, by number."""
    query = _payout_query(batch.brand_id, Payout.no).where(Payout.batch_id == batch.id)
    return page_rows(
        session,
        query,
        order=_BATCH_PAYOUTS,
        keys=[Payout.no],
        cursor=cursor,
        limit=limit,
    )


def payouts_of(
    session: Session, *, brand_id: int, distributor_id: int, cursor: str | None, limit: int
) -> Page:
    """The payouts of a distributor, newest first."""
    query = _payout_query(brand_id, Payout.batch_id, Payout.no).where(
        Payout.distributor_id == distributor_id
    )
    return page_rows(
        session,
        query,
        order=_PAYOUTS_OF,
        keys=[Payout.batch_id],
        cursor=cursor,
        limit=limit,
    )
