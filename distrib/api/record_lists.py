"""Orders and commissions as they are recorded, page by page and one by one."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from sqlalchemy import literal, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from distrib import ids
from distrib.api.paging import Order as ListOrder
from distrib.api.paging import Page, Query, page_rows
from distrib.brands.tables import Brand
from distrib.commission.explanation import OrderNotFound
from distrib.commission.tables import Commission, PlanVersion
from distrib.errors import InvalidInput
from distrib.orders.tables import Order, OrderLine, Refund, RefundLine
from distrib.tree import queries
from distrib.tree.facts import DistributorNotFound
from distrib.tree.tables import Distributor


def _credited(session: Session, brand_id: int, external_id: str) -> int:
    """The id of the distributor that a filter names."""
    try:
        found = queries.get_distributor(session, brand_id=brand_id, external_id=external_id)
    except DistributorNotFound as error:
        raise InvalidInput(error.detail, field="distributor") from None
    return found.id


# -- orders ---------------------------------------------------------------------------------------


def _order_query(brand_id: int) -> Query:
    return (
        select(
            Order.effective_at,
            Order.id,
            Order.shop,
            Order.external_id,
            Order.currency,
            Order.buyer,
            Order.referral,
            Order.referral_code,
            Distributor.external_id.label("distributor"),
            Order.distributor_id,
            PlanVersion.number.label("plan_version"),
            Order.placed_at,
            Order.recorded_at,
            Order.available_on,
        )
        .outerjoin(
            Distributor,
            (Distributor.brand_id == Order.brand_id) & (Distributor.id == Order.distributor_id),
        )
        .outerjoin(
            PlanVersion,
            (PlanVersion.brand_id == Order.brand_id) & (PlanVersion.id == Order.plan_version_id),
        )
        .where(Order.brand_id == brand_id)
    )


def orders(
    session: Session,
    *,
    brand_id: int,
    shop: str | None,
    external_id: str | None,
    distributor: str | None,
    buyer: str | None,
    first: datetime | None,
    last: datetime | None,
    sort: str,
    cursor: str | None,
    limit: int,
) -> Page:
    """A page of orders in order of time."""
    query = _order_query(brand_id)
    if distributor is not None:
        query = query.where(Order.distributor_id == _credited(session, brand_id, distributor))
    for column, value in (
        (Order.shop, shop),
        (Order.external_id, external_id),
        (Order.buyer, buyer),
    ):
        if value is not None:
            query = query.where(column == value)
    if first is not None:
        query = query.where(Order.effective_at >= first)
    if last is not None:
        query = query.where(Order.effective_at < last)
    order = ListOrder(f"orders {sort}", (datetime, int), descending=sort.startswith("-"))
    keys_: list[InstrumentedAttribute[Any]] = [Order.effective_at, Order.id]
    return page_rows(session, query, order=order, keys=keys_, cursor=cursor, limit=limit)


def get_order(session: Session, *, brand_id: int, order_id: int) -> dict[str, Any]:
    """An order without its lines.

    :raises OrderNotFound: when the brand has none of that id.
    """
    row = session.execute(_order_query(brand_id).where(Order.id == order_id)).one_or_none()
    if row is None:
        raise OrderNotFound(f"there is no order {ids.public('ord', order_id)}", field="order")
    return dict(row._mapping)


def order_detail(session: Session, *, brand_id: int, order_id: int) -> dict[str, Any]:
    """An order with its lines and refunds.

    :raises OrderNotFound: when the brand has none of that id.
    """
    found = get_order(session, brand_id=brand_id, order_id=order_id)
    lines = session.scalars(
        select(OrderLine)
        .where(OrderLine.brand_id == brand_id, OrderLine.order_id == order_id)
        .order_by(OrderLine.line_no)
    ).all()
    refunds = session.scalars(
        select(Refund)
        .where(Refund.brand_id == brand_id, Refund.order_id == order_id)
        .order_by(Refund.no)
    ).all()
    returned: dict[int, list[RefundLine]] = {refund.id: [] for refund in refunds}
    for line in session.scalars(
        select(RefundLine)
        .where(RefundLine.brand_id == brand_id, RefundLine.refund_id.in_(list(returned)))
        .order_by(RefundLine.line_no)
    ):
        returned[line.refund_id].append(line)
    shown = ("id", "external_id", "reason", "refunded_at", "recorded_at")
    return found | {
        "lines": lines,
        "refunds": [
            {name: getattr(refund, name) for name in shown} | {"lines": returned[refund.id]}
            for refund in refunds
        ],
    }


# -- commissions ----------------------------------------------------------------------------------

_NEWEST = ListOrder("commissions", (int, int, int), descending=True)
_OF_ORDER = ListOrder("commissions of an order", (int, int, int))
_BY_DAY = ListOrder("commissions of one", (date, int, int, int), descending=True)


def commissions(
    session: Session,
    *,
    brand: Brand,
    distributor: str | None = None,
    order: int | None = None,
    level: int | None = None,
    first: date | None = None,
    last: date | None = None,
    cursor: str | None,
    limit: int,
) -> Page:
    """A page of commissions, newest first; those of one order as they came."""
    key: list[InstrumentedAttribute[Any]] = [
        Commission.source_id,
        Commission.line_no,
        Commission.level,
    ]
    day_first = distributor is not None
    keys_ = [Commission.earned_on, *key] if day_first else key
    rest = [] if day_first else [Commission.earned_on]
    query = (
        select(
            *keys_,
            *rest,
            Commission.order_id,
            Distributor.external_id.label("distributor"),
            Commission.distributor_id,
            Commission.rule_no,
            Commission.rate_ppm,
            Commission.base,
            Commission.amount,
            literal(brand.currency).label("currency"),
        )
        .join(
            Distributor,
            (Distributor.brand_id == Commission.brand_id)
            & (Distributor.id == Commission.distributor_id),
        )
        .where(Commission.brand_id == brand.id)
    )
    if distributor is not None:
        query = query.where(Commission.distributor_id == _credited(session, brand.id, distributor))
    if order is not None:
        refunds = select(Refund.id).where(Refund.brand_id == brand.id, Refund.order_id == order)
        # by source, which the key begins with: commission has no index on its order
        query = query.where(Commission.source_id.in_(refunds.union_all(select(literal(order)))))
    if level is not None:
        query = query.where(Commission.level == level)
    if first is not None:
        query = query.where(Commission.earned_on >= first)
    if last is not None:
        query = query.where(Commission.earned_on <= last)
    page = page_rows(
        session,
        query,
        order=_BY_DAY if day_first else _NEWEST if order is None else _OF_ORDER,
        keys=keys_,
        cursor=cursor,
        limit=limit,
    )
    for item in page.items:
        refunded = item["source_id"] != item["order_id"]
        item["source_id"] = ids.public("ref" if refunded else "ord", item["source_id"])
    return page
