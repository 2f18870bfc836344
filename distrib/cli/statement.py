"""``distrib statement``."""

from __future__ import annotations

from datetime import date

import click

from distrib.cli.desk import Desk, with_brand
from distrib.cli.output import facts, table
from distrib.cli.output import money as in_words
from distrib.cli.times import Day
from distrib.money import format_amount
from distrib.settlement.statement import Earning, list_earnings, read_statement
from distrib.tree.queries import get_distributor


def _source(earning: Earning) -> str:
    if earning.order_external_id is None:
        return earning.kind
    return earning.order_external_id + (" (refund)" if earning.kind == "refund" else "")


@click.command()
@click.argument("distributor", metavar="EXTERNAL_ID")
@click.option("--from", "first", type=Day(), help="First day; default: the beginning.")
@click.option("--to", "last", type=Day(), help="Last day, inclusive; default: today.")
@click.option(
    "--orders", type=click.IntRange(0, 1000), default=10, show_default=True, help="Orders to list."
)
@with_brand
def statement(
    desk: Desk, distributor: str, *, first: date | None, last: date | None, orders: int
) -> None:
    """Show what a distributor has earned, and been paid.

    Pending is in the hold; available is out of it; reserved is in a batch; reversed went back
    because of refunds.
    """
    with desk.database.snapshot() as session:
        brand = desk.brand(session)
        person = get_distributor(session, brand_id=brand.id, external_id=distributor)
        found = read_statement(
            session, brand=brand, distributor_id=person.id, first=first, last=last
        )
        earnings = list_earnings(
            session, brand_id=brand.id, distributor_id=person.id, limit=orders or 1
        )[:orders]
    balances = found.balances

    def amount(value: int) -> str:
        return format_amount(value, found.currency) if value else ""

    desk.show(
        {
            "distributor": person.external_id,
            "name": person.name,
            "currency": found.currency,
            "balances": {
                "pending": balances.pending,
                "available": balances.available,
                "reserved": balances.reserved,
                "paid": balances.paid,
                "withheld": balances.withheld,
                "reversed": balances.reversed,
            },
            "days": [
                {"day": day.day, "earned": day.earned, "reversed": day.reversed, "paid": day.paid}
                for day in found.days
            ],
            "orders": [
                {
                    "day": each.day,
                    "kind": each.kind,
                    "shop": each.shop,
                    "order": each.order_external_id,
                    "level": each.level,
                    "amount": each.amount,
                    "status": each.status,
                    "available_on": each.available_on,
                    "batch": each.batch,
                }
                for each in earnings
            ],
        },
        facts(
            [
                ("pending", in_words(balances.pending, found.currency)),
                ("available", in_words(balances.available, found.currency)),
                ("reserved", in_words(balances.reserved, found.currency)),
                ("paid", in_words(balances.paid, found.currency)),
                *(
                    [("tax withheld", in_words(balances.withheld, found.currency))]
                    if balances.withheld
                    else []
                ),
                ("reversed", in_words(balances.reversed, found.currency)),
                ("earned in all", in_words(balances.earned, found.currency)),
            ],
            title=f"{person.name} ({person.external_id})",
            amounts=True,
        ),
        table(
            f"day|>earned|>reversed|>paid ({found.currency})",
            ((d.day, amount(d.earned), amount(d.reversed), amount(d.paid)) for d in found.days),
        ),
        table(
            f"day|order|>level|>amount ({found.currency})|status|available on|>batch",
            (
                (
                    each.day,
                    _source(each),
                    each.level,
                    amount(each.amount),
                    each.status,
                    each.available_on,
                    each.batch,
                )
                for each in earnings
            ),
            title=f"The latest {len(earnings)} orders and refunds",
        )
        if earnings
        else "",
    )
