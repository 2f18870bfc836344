"""Importing small made-up files into a brand, and what is recorded then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import text

from distrib.brands.tables import Brand
from distrib.commission.import_orders import ImportReport, import_orders
from distrib.db import Database
from distrib.orders.sources.mapping_file import read_mapping
from tests import factories
from tests.orders.files import UCI

PLAIN = read_mapping({"extends": "uci-online-retail-plain"})

DAYS = (
    UCI + "1,A,,10,2011-01-01 10:00,1.00,ann,UK\n"
    "1,B,,2,2011-01-01 10:00,2.50,ann,UK\n"
    "2,A,,3,2011-01-01 11:00,1.00,bob,UK\n"
    "C1,A,,-4,2011-01-01 12:00,1.00,ann,UK\n"
    "C2,A,,-1,2011-01-01 12:00,1.00,,UK\n",
    UCI + "3,A,,3,2011-01-02 10:00,1.00,ann,UK\n"
    "3,A,,x,2011-01-02 10:00,1.00,ann,UK\n"
    "3,C,,1,2011-01-02 10:00,0,ann,UK\n"
    "A4,Z,,1,2011-01-02 10:00,-50.00,,UK\n"
    "C3,A,,-4,2011-01-02 11:00,1.00,ann,UK\n"
    "C3,B,,-1,2011-01-02 11:00,2.50,ann,UK\n"
    "C4,A,,-2,2011-01-02 09:00,1.00,ann,UK\n",
    UCI + "5,A,,1,2011-01-03 10:00,1.00,ann,UK\n"
    "C5,A,,-4,2011-01-03 11:00,1.00,ann,UK\n"
    "C6,A,,-9,2011-01-03 11:01,1.00,ann,UK\n",
)
"""Three days of a shop; the mapping is UCI's."""


def brand(db: Database) -> Brand:
    """A brand whose currency the files are in."""
    return factories.brand(db, currency="GBP", time_zone="Europe/London")


def write(folder: Path, *texts: str, name: str = "day") -> list[Path]:
    """Write the texts to files of their own."""
    paths = [folder / f"{name}-{n}.csv" for n in range(1, len(texts) + 1)]
    for path, content in zip(paths, texts, strict=True):
        path.write_text(content, encoding="utf-8")
    return paths


def load(db: Database, to: Brand, paths: list[Path], **changes: Any) -> ImportReport:
    """Import, with chunks as small as they can be told apart."""
    given: dict[str, Any] = {"mapping": PLAIN, "chunk_orders": 2, **changes}
    return import_orders(db, brand=to, paths=paths, **given)


def rows(db: Database, of: Brand, query: str) -> list[tuple[Any, ...]]:
    with db.transaction() as session:
        return [tuple(row) for row in session.execute(text(query), {"brand": of.id})]


def orders(db: Database, of: Brand) -> list[tuple[Any, ...]]:
    """Each order's line as it is recorded."""
    return rows(
        db,
        of,
        """SELECT o.external_id, o.buyer, o.placed_at, o.content_hash, l.line_no, l.sku,
                  l.quantity, l.unit_price
           FROM orders o JOIN order_line l ON l.brand_id = o.brand_id AND l.order_id = o.id
           WHERE o.brand_id = :brand ORDER BY 1, 5""",
    )


def refunds(db: Database, of: Brand) -> list[tuple[Any, ...]]:
    """Refund, order, line, units and money of each line that came back."""
    return rows(
        db,
        of,
        """SELECT f.external_id, o.external_id, x.line_no, x.quantity, x.amount
           FROM refund f JOIN orders o ON o.brand_id = f.brand_id AND o.id = f.order_id
           JOIN refund_line x ON x.brand_id = f.brand_id AND x.refund_id = f.id
           WHERE f.brand_id = :brand ORDER BY 1, 2, 3""",
    )
