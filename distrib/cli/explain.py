"""``distrib explain``."""

from __future__ import annotations

import click
from sqlalchemy import select
from sqlalchemy.orm import Session

from distrib import ids
from distrib.brands.tables import Brand
from distrib.cli.desk import Desk, with_brand
from distrib.commission.explanation import (
    Explanation,
    OrderNotFound,
    explain_commission,
    explain_order,
)
from distrib.errors import InvalidInput
from distrib.orders.tables import Order


def find_order(session: Session, brand: Brand, name: str, shop: str | None) -> int:
    """The id of an order, named by our id or by the shop's.

    :raises OrderNotFound: when there is none.
    :raises InvalidInput: when several shops have one of that name.
    """
    if name.startswith("ord_"):
        try:
            return ids.parse("ord", name)
        except ValueError as error:
            raise InvalidInput(str(error), field="order") from None
    query = select(Order.id, Order.shop).where(
        Order.brand_id == brand.id, Order.external_id == name
    )
    found = session.execute(query if shop is None else query.where(Order.shop == shop)).all()
    if not found:
        raise OrderNotFound(f"there is no order {name!r}", field="order")
    if len(found) > 1:
        shops = ", ".join(sorted(row.shop for row in found))
        raise InvalidInput(f"several shops have an order {name!r}: {shops}", field="--shop")
    return int(found[0].id)


def _show(desk: Desk, explanation: Explanation, language: str) -> None:
    words = explanation.words_zh if language == "zh" else explanation.words
    desk.show(explanation.data, "\n".join(words))


_language = click.option(
    "--language", type=click.Choice(["en", "zh"]), default="en", show_default=True, help="Of words."
)


@click.group()
def explain() -> None:
    """Why a commission is what it is."""


@explain.command("order")
@click.argument("order")
@click.option("--shop", help="The shop, when several have an order of that name.")
@_language
@with_brand
def order_(desk: Desk, order: str, shop: str | None, language: str) -> None:
    """Explain what each line of an order paid each level, and why one got nothing.

    ORDER is the shop's order number or our id (ord_…).
    """
    with desk.database.transaction() as session:
        brand = desk.brand(session)
        order_id = find_order(session, brand, order, shop)
        explanation = explain_order(session, brand=brand, order_id=order_id)
    _show(desk, explanation, language)


@explain.command("commission")
@click.argument("source")
@click.argument("line", type=int)
@click.argument("level", type=int)
@click.option("--shop", help="The shop, when several have an order of that name.")
@_language
@with_brand
def commission(  # noqa: PLR0917  # click passes each option
    desk: Desk, source: str, line: int, level: int, shop: str | None, language: str
) -> None:
    """Explain one commission: what a line gave the distributor at a level.

    SOURCE is the order (the shop's number or ord_…), or a refund of it (ref_…).
    """
    with desk.database.transaction() as session:
        brand = desk.brand(session)
        if source.startswith("ref_"):
            try:
                source_id = ids.parse("ref", source)
            except ValueError as error:
                raise InvalidInput(str(error), field="source") from None
        else:
            source_id = find_order(session, brand, source, shop)
        explanation = explain_commission(
            session, brand=brand, source_id=source_id, line_no=line, level=level
        )
    _show(desk, explanation, language)
