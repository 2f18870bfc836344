"""Orders and commissions as they are recorded, page by page and one by one."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from sqlalchemy import ColumnElement, literal, literal_column, select
from sqlalchemy.orm import Session

from distrib import ids
from distrib.api.paging import Listing, Page, Query, read_page
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


# the condition of the index on time (see docs/adr/0004-generic-plans.md)
_EVER: ColumnElement[datetime] = literal_column("'-infinity'")

# -- orders ---------------------------------------------------------------------------------------


def _show_orders(order: Any) -> Query:
    return (
        select(
            order.effective_at,
            order.id,
            order.shop,
            order.external_id,
            order.currency,
            order.buyer,
            order.referral,
            order.referral_code,
            Distributor.external_id.label("distributor"),
            order.distributor_id,
            PlanVersion.number.label("plan_version"),
            order.placed_at,
            order.recorded_at,
            order.available_on,
        )
        .outerjoin(
            Distributor,
            (Distributor.brand_id == order.brand_id) & (Distributor.id == order.distributor_id),
        )
        .outerjoin(
            PlanVersion,
            (PlanVersion.brand_id == order.brand_id) & (PlanVersion.id == order.plan_version_id),
        )
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
    where = [Order.brand_id == brand_id, Order.effective_at > _EVER]
    if distributor is not None:
        where.append(Order.distributor_id == _credited(session, brand_id, distributor))
    for column, value in (
        (Order.shop, shop),
        (Order.external_id, external_id),
        (Order.buyer, buyer),
    ):
        if value is not None:
            where.append(column == value)
    if first is not None:
        where.append(Order.effective_at >= first)
    if last is not None:
        where.append(Order.effective_at < last)
    listing = Listing(
        f"orders {sort}",
        {"effective_at": datetime, "id": int},
        descending=sort.startswith("-"),
    )
    return read_page(
        session, Order, listing, where=where, show=_show_orders, cursor=cursor, limit=limit
    )


def get_order(session: Session, *, brand_id: int, order_id: int) -> dict[str, Any]:
    """An order without its lines.

    :raises OrderNotFound: when the brand has none of that id.
    """
    query = _show_orders(Order).where(Order.brand_id == brand_id, Order.id == order_id)
    row = session.execute(query).one_or_none()
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

_KEY = {"source_id": int, "line_no": int, "level": int}
_NEWEST = Listing("commissions", _KEY, descending=True)
_OF_ORDER = Listing("commissions of an order", _KEY)
_OF_ONE = Listing("commissions of one", {"earned_on": date, **_KEY}, descending=True)


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
    where = [Commission.brand_id == brand.id]
    listing = _NEWEST
    if order is not None:
        refunds = select(Refund.id).where(Refund.brand_id == brand.id, Refund.order_id == order)
        # by source, which the key begins with: commission has no index on its order
        where.append(Commission.source_id.in_(refunds.union_all(select(literal(order)))))
        listing = _OF_ORDER
    if distributor is not None:
        where.append(Commission.distributor_id == _credited(session, brand.id, distributor))
        listing = _OF_ONE
    if level is not None:
        where.append(Commission.level == level)
    if first is not None:
        where.append(Commission.earned_on >= first)
    if last is not None:
        where.append(Commission.earned_on <= last)

    def show(commission: Any) -> Query:
        return select(
            commission.earned_on,
            commission.source_id,
            commission.line_no,
            commission.level,
            commission.order_id,
            Distributor.external_id.label("distributor"),
            commission.distributor_id,
            commission.rule_no,
            commission.rate_ppm,
            commission.base,
            commission.amount,
            literal(brand.currency).label("currency"),
        ).join(
            Distributor,
            (Distributor.brand_id == commission.brand_id)
            & (Distributor.id == commission.distributor_id),
        )

    page = read_page(
        session, Commission, listing, where=where, show=show, cursor=cursor, limit=limit
    )
    for item in page.items:
        refunded = item["source_id"] != item["order_id"]
        item["source_id"] = ids.public("ref" if refunded else "ord", item["source_id"])
    return page
