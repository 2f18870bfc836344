"""``distrib orders``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.table import Table
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from distrib import ids, money
from distrib.brands.tables import Brand
from distrib.cli.desk import Desk, with_brand
from distrib.cli.explain import find_order
from distrib.cli.output import facts, local, note, progress, table
from distrib.commission.import_orders import Count, ImportReport, import_orders
from distrib.commission.tables import Commission
from distrib.money import format_amount, format_rate
from distrib.orders.tables import Order, OrderLine, Refund
from distrib.tree.tables import Distributor

_REASONS = 10  # kinds of rejection to print


@click.group()
def orders() -> None:
    """Import orders and look at them."""


@orders.command("import")
@click.argument(
    "files",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
@click.option(
    "--mapping",
    default="standard",
    show_default=True,
    metavar="NAME|FILE",
    help="How the files say what an order says: a mapping that comes with distrib, or a .toml.",
)
@click.option(
    "--rejects",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where to write rejected rows, each with its reason.",
)
@with_brand
def import_(desk: Desk, files: tuple[Path, ...], mapping: str, rejects: Path | None) -> None:
    """Import orders and refunds from CSV files.

    What is recorded already changes nothing, so an import can be run again. Exits with 1 when
    rows were rejected.
    """
    with desk.database.transaction() as session:
        brand = desk.brand(session)
    with progress() as bar:
        task = bar.add_task("rows", total=None if bar.disable else _count_lines(files))
        report = import_orders(
            desk.database,
            brand=brand,
            paths=files,
            mapping=mapping,
            rejects_path=rejects,
            chunk_orders=desk.settings.chunk_orders,
            progress=lambda rows: bar.update(task, completed=rows),
        )
    desk.show(_report_document(report), _report_table(report), _money_facts(report))
    if report.rows.rejected:
        note(f"{report.rows.rejected:,} rows were rejected:")
        for reason, count in report.reasons.most_common(_REASONS):
            note(f"  {count:>8,}  {reason}")
        if rejects is None:
            note("Name a file with --rejects to see them.")
        else:
            note(f"They are in {rejects}.")
        click.get_current_context().exit(1)


def _count_lines(files: Sequence[Path]) -> int:
    """About how many rows there are: the lines but the headings."""
    lines = 0
    for path in files:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                lines += block.count(b"\n")
    return max(lines - len(files), 1)


def _count(count: Count) -> dict[str, int]:
    return {
        "total": count.total,
        "accepted": count.accepted,
        "duplicate": count.duplicate,
        "rejected": count.rejected,
    }


_MONEY = ("file", "sales", "refunds", "duplicate", "rejected")


def _report_document(report: ImportReport) -> dict[str, Any]:
    return {
        "files": report.files,
        "rows": _count(report.rows),
        "orders": _count(report.orders),
        "refunds": _count(report.refunds) | {"waiting": report.waiting},
        "money": {"currency": report.money.currency}
        | {name: str(getattr(report.money, name)) for name in _MONEY},
        "rows_without_money": report.rows_without_money,
        "reasons": dict(report.reasons.most_common()),
    }


def _report_table(report: ImportReport) -> Table:
    return table(
        "|>accepted|>duplicate|>rejected|>total",
        (
            (name, count.accepted, count.duplicate, count.rejected, count.total)
            for name, count in (
                ("rows", report.rows),
                ("orders", report.orders),
                ("refunds", report.refunds),
            )
        ),
    )


def _money_facts(report: ImportReport) -> Table:
    words = {
        "file": "the files say",
        "sales": "sales accepted",
        "refunds": "refunds accepted",
        "duplicate": "recorded before",
        "rejected": "rejected",
    }
    made = table(f">{report.money.currency}|", [])
    amounts = {name: getattr(report.money, name).normalize() for name in _MONEY}
    # a file may speak of less than the minor unit, and what is told must add up to the last digit
    finest = max(-each.as_tuple().exponent for each in amounts.values())
    places = max(finest, money.exponent(report.money.currency))
    for name, amount in amounts.items():
        made.add_row(f"{amount:,.{places}f}", words[name])
    return made


@orders.command("show")
@click.argument("order")
@click.option("--shop", help="The shop, when several have an order of that name.")
@with_brand
def show(desk: Desk, order: str, shop: str | None) -> None:
    """Show an order, its lines, and whom it pays what.

    ORDER is the shop's order number or our id (ord_…).
    """
    with desk.database.transaction() as session:
        brand = desk.brand(session)
        order_id = find_order(session, brand, order, shop)
        found = session.get_one(Order, (brand.id, order_id))
        lines = session.scalars(
            select(OrderLine)
            .where(OrderLine.brand_id == brand.id, OrderLine.order_id == order_id)
            .order_by(OrderLine.line_no)
        ).all()
        refunds = session.scalars(
            select(Refund)
            .where(Refund.brand_id == brand.id, Refund.order_id == order_id)
            .order_by(Refund.recorded_at)
        ).all()
        paid = _read_paid(session, brand, order_id, [refund.id for refund in refunds])
    zone, currency = brand.time_zone, found.currency

    def amount(value: int) -> str:
        return format_amount(value, currency)

    desk.show(
        {
            "id": ids.public("ord", found.id),
            "shop": found.shop,
            "external_id": found.external_id,
            "placed_at": found.placed_at,
            "recorded_at": found.recorded_at,
            "available_on": found.available_on,
            "currency": currency,
            "buyer": found.buyer,
            "referral": found.referral,
            "referral_code": found.referral_code,
            "lines": [
                {
                    "line_no": line.line_no,
                    "sku": line.sku,
                    "category": line.category,
                    "quantity": line.quantity,
                    "unit_price": line.unit_price,
                    "discount": line.discount,
                    "shipping": line.shipping,
                    "tax": line.tax,
                }
                for line in lines
            ],
            "refunds": [
                {
                    "id": ids.public("ref", refund.id),
                    "external_id": refund.external_id,
                    "refunded_at": refund.refunded_at,
                    "reason": refund.reason,
                }
                for refund in refunds
            ],
            "commissions": paid,
        },
        facts(
            [
                ("id", ids.public("ord", found.id)),
                ("placed", local(found.placed_at, zone)),
                ("recorded", local(found.recorded_at, zone)),
                ("available on", found.available_on),
                ("buyer", found.buyer),
                ("credited by", f"{found.referral} {found.referral_code or ''}".strip()),
                ("refunds", ", ".join(refund.external_id for refund in refunds) or None),
            ],
            title=f"Order {found.external_id} ({found.shop})",
        ),
        table(
            f">line|SKU|category|>quantity|>price ({currency})|>discount|>net",
            (
                (
                    line.line_no,
                    line.sku,
                    line.category,
                    line.quantity,
                    amount(line.unit_price),
                    amount(line.discount) if line.discount else "",
                    amount(line.quantity * line.unit_price - line.discount),
                )
                for line in lines
            ),
        ),
        table(
            f">line|>level|distributor|name|>rate|>earned ({currency})|>after refunds",
            (
                (
                    each["line_no"],
                    each["level"],
                    each["distributor"],
                    each["name"],
                    format_rate(each["rate_ppm"]),
                    amount(each["earned"]),
                    amount(each["amount"]),
                )
                for each in paid
            ),
        )
        if paid
        else "It pays nobody.",
    )


def _read_paid(
    session: Session, brand: Brand, order_id: int, refund_ids: list[int]
) -> list[dict[str, Any]]:
    """What each line pays each level: at first, and after refunds."""
    at_first = func.sum(Commission.amount).filter(Commission.source_id == order_id)
    rows = session.execute(
        select(
            Commission.line_no,
            Commission.level,
            Distributor.external_id.label("distributor"),
            Distributor.name,
            Commission.rate_ppm,
            func.coalesce(at_first, 0).label("earned"),
            func.sum(Commission.amount).label("amount"),
        )
        .join(
            Distributor,
            (Distributor.brand_id == Commission.brand_id)
            & (Distributor.id == Commission.distributor_id),
        )
        .where(Commission.brand_id == brand.id, Commission.source_id.in_([order_id, *refund_ids]))
        .group_by(
            Commission.line_no,
            Commission.level,
            Distributor.external_id,
            Distributor.name,
            Commission.rate_ppm,
        )
        .order_by(Commission.line_no, Commission.level)
    )
    return [{**row._mapping, "earned": int(row.earned), "amount": int(row.amount)} for row in rows]
