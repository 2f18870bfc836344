"""What came of the demo's history, counted from the tables and the ledger."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, select, text
from sqlalchemy.orm import Session

from distrib.brands.tables import Brand
from distrib.ledger.chart import AccountKind
from distrib.settlement.statement import Balances, read_balance_sheet
from distrib.settlement.tables import SettlementBatch
from distrib.tree import graph
from distrib.tree.graph import TreeReport


@dataclass(frozen=True)
class Trade:
    """What was sold and what came back; money net of discounts, in minor units."""

    orders: int
    credited: int
    lines: int
    net: int
    first: datetime
    last: datetime
    refunds: int
    refunded: int
    waited: int
    """Refunds that had come before their order."""


@dataclass(frozen=True)
class Level:
    """What a level was given, and what went back."""

    level: int
    distributors: int
    earned: int
    reversed: int


@dataclass(frozen=True)
class Earner:
    """Somebody who earned a lot."""

    external_id: str
    name: str
    directly_below: int
    balances: Balances


@dataclass(frozen=True)
class Open:
    """What is out of the hold, and in no batch: by how it will come out."""

    below_minimum: int
    below_minimum_total: int
    debtors: int
    debts: int


@dataclass(frozen=True)
class Figures:
    """Everything that the demo's report shows."""

    brand: Brand
    trade: Trade
    levels: list[Level]
    tree: TreeReport
    moves: int
    totals: dict[AccountKind, int]
    earners: list[Earner]
    open: Open
    batches: list[SettlementBatch]
    rows: int


_TRADE = text(
    """
    SELECT o.orders, o.credited, l.lines, l.net, o.first, o.last,
           r.refunds, r.waited, coalesce(x.refunded, 0) AS refunded
    FROM (SELECT count(*) AS orders, count(distributor_id) AS credited,
                 min(placed_at) AS first, max(placed_at) AS last
          FROM orders WHERE brand_id = :brand_id) o,
         (SELECT count(*) AS lines, sum(quantity * unit_price - discount)::bigint AS net
          FROM order_line WHERE brand_id = :brand_id) l,
         (SELECT count(*) AS refunds, count(*) FILTER (WHERE f.refunded_at < o.recorded_at)
                 AS waited
          FROM refund f JOIN orders o ON o.brand_id = f.brand_id AND o.id = f.order_id
          WHERE f.brand_id = :brand_id) r,
         (SELECT sum(amount)::bigint AS refunded FROM refund_line WHERE brand_id = :brand_id) x
    """
)

_LEVELS = text(
    """
    SELECT level, count(DISTINCT distributor_id) AS distributors,
           sum(amount) FILTER (WHERE amount > 0)::bigint AS earned,
           -coalesce(sum(amount) FILTER (WHERE amount < 0), 0)::bigint AS reversed
    FROM commission WHERE brand_id = :brand_id GROUP BY level ORDER BY level
    """
)

_TOTALS = text(
    """
    SELECT kind, sum(amount)::bigint AS amount
    FROM (SELECT credit_account & 15 AS kind, amount FROM transfer WHERE brand_id = :brand_id
          UNION ALL
          SELECT debit_account & 15, -amount FROM transfer WHERE brand_id = :brand_id) moves
    GROUP BY kind
    """
)

_EARNERS = text(
    """
    SELECT d.id, d.external_id, d.name,
           (SELECT count(*) FROM sponsorship s WHERE s.brand_id = d.brand_id
            AND s.sponsor_id = d.id AND s.valid_to IS NULL) AS directly_below
    FROM (SELECT distributor_id, sum(amount) AS amount FROM commission
          WHERE brand_id = :brand_id GROUP BY distributor_id
          ORDER BY amount DESC, distributor_id LIMIT :most) c
    JOIN distributor d ON d.brand_id = :brand_id AND d.id = c.distributor_id
    ORDER BY c.amount DESC, d.id
    """
)

_OPEN = text(
    """
    SELECT count(*) FILTER (WHERE due > 0 AND due < :minimum) AS below_minimum,
           coalesce(sum(due) FILTER (WHERE due > 0 AND due < :minimum), 0)::bigint
               AS below_minimum_total,
           count(*) FILTER (WHERE due < 0) AS debtors,
           -coalesce(sum(due) FILTER (WHERE due < 0), 0)::bigint AS debts
    FROM (SELECT sum(amount) AS due FROM open_item
          WHERE brand_id = :brand_id AND available_on <= :matured GROUP BY distributor_id) d
    """
)

_ROWS = text(
    "SELECT "
    + " + ".join(
        f"(SELECT count(*) FROM {table} WHERE brand_id = :brand_id)"
        for table in (
            "distributor",
            "sponsorship",
            "orders",
            "order_line",
            "refund",
            "refund_line",
            "commission",
            "transfer",
            "balance",
            "open_item",
            "payout",
            "payout_attempt",
        )
    )
)

_MOVES = text(
    "SELECT count(*) FROM sponsorship WHERE brand_id = :brand_id AND valid_to IS NOT NULL"
)

_WORTH_EXPLAINING = text(
    """
    SELECT c.source_id, c.line_no, c.level
    FROM commission c
    JOIN order_line l ON l.brand_id = c.brand_id AND l.order_id = c.order_id
         AND l.line_no = c.line_no
    WHERE c.brand_id = :brand_id AND c.source_id = c.order_id AND c.level = 3 AND c.rule_no > 1
      AND l.discount > 0 AND l.quantity > 1 AND c.base * c.rate_ppm % 1000000 <> 0
    ORDER BY c.source_id DESC LIMIT 1
    """
)


def read_figures(session: Session, *, brand: Brand, earners: int = 10) -> Figures:
    """Count everything."""
    scope = {"brand_id": brand.id}

    def one(statement: Any, **more: Any) -> Row[Any]:
        return session.execute(statement, scope | more).one()

    found = session.execute(_EARNERS, scope | {"most": earners}).all()
    return Figures(
        brand=brand,
        trade=Trade(**one(_TRADE)._mapping),
        levels=[Level(*row) for row in session.execute(_LEVELS, scope)],
        tree=graph.analyse(graph.load_graph(session, brand_id=brand.id)),
        moves=int(session.scalar(_MOVES, scope) or 0),
        totals={AccountKind(row.kind): int(row.amount) for row in session.execute(_TOTALS, scope)},
        earners=[
            Earner(
                row.external_id,
                row.name,
                row.directly_below,
                read_balance_sheet(session, brand=brand, distributor_id=row.id),
            )
            for row in found
        ],
        open=Open(
            **one(_OPEN, minimum=brand.minimum_payout, matured=brand.matured_through)._mapping
        ),
        batches=list(
            session.scalars(
                select(SettlementBatch)
                .where(SettlementBatch.brand_id == brand.id)
                .order_by(SettlementBatch.number)
            )
        ),
        rows=int(session.scalar(_ROWS, scope) or 0),
    )


def find_worth_explaining(session: Session, *, brand_id: int) -> tuple[int, int, int]:
    """Source, line and level of a commission that says much: a discount, a rule, a rounding."""
    row = session.execute(_WORTH_EXPLAINING, {"brand_id": brand_id}).one()
    return (row.source_id, row.line_no, row.level)
