"""Counting what distributors sell and earn by day, and knowing customers: for plans that ask.

A brand counts from the moment it publishes a plan that asks for volumes, caps or first orders; what
went before is counted then, from the orders themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import psycopg
from sqlalchemy import text
from sqlalchemy.orm import Session

from distrib.brands.tables import Brand
from distrib.bulk import Writer, array_literal, execute

Ints = np.ndarray[Any, np.dtype[np.int64]]
Days = np.ndarray[Any, np.dtype[np.datetime64]]

COUNTED = """
SELECT distributor_id, day, sum(orders)::bigint AS orders, sum(volume)::bigint AS volume,
       sum(earned)::bigint AS earned
FROM (
    SELECT o.distributor_id, (o.effective_at AT TIME ZONE :time_zone)::date AS day, 1 AS orders,
           l.net - coalesce(r.net, 0) AS volume, 0 AS earned
    FROM orders o
    JOIN (SELECT order_id, sum(quantity * unit_price - discount) AS net
          FROM order_line WHERE brand_id = :brand_id GROUP BY 1) l ON l.order_id = o.id
    LEFT JOIN (SELECT f.order_id, sum(x.amount) AS net
               FROM refund f
               JOIN refund_line x ON x.brand_id = f.brand_id AND x.refund_id = f.id
               WHERE f.brand_id = :brand_id GROUP BY 1) r ON r.order_id = o.id
    WHERE o.brand_id = :brand_id AND o.distributor_id IS NOT NULL
    UNION ALL
    SELECT c.distributor_id, (o.effective_at AT TIME ZONE :time_zone)::date, 0, 0, c.amount
    FROM commission c JOIN orders o ON o.brand_id = c.brand_id AND o.id = c.order_id
    WHERE c.brand_id = :brand_id) moves
GROUP BY 1, 2
"""
"""SQL: what :class:`distrib.commission.tables.DistributorDay` must hold, from the records."""

FIRST_ORDERS = """
SELECT DISTINCT ON (buyer) buyer, id FROM orders
WHERE brand_id = :brand_id AND buyer IS NOT NULL ORDER BY buyer, recorded_at, id
"""


def start_counting(session: Session, *, brand: Brand) -> None:
    """Count from now on, and what went before. To be called with ``Lock.FACTS`` held alone."""
    scope = {"brand_id": brand.id, "time_zone": brand.time_zone}
    started = session.execute(
        text("UPDATE brand SET counts_sales = true WHERE id = :brand_id AND NOT counts_sales"),
        scope,
    )
    if not started.rowcount:  # type: ignore[attr-defined]  # a CursorResult, as for any DML
        return
    session.execute(
        text(
            "INSERT INTO distributor_day"
            " (brand_id, distributor_id, day, orders, volume, earned)"
            f" SELECT :brand_id, counted.* FROM ({COUNTED}) counted"
        ),
        scope,
    )
    session.execute(
        text(
            "INSERT INTO customer (brand_id, buyer, first_order_id)"
            f" SELECT :brand_id, found.* FROM ({FIRST_ORDERS}) found"
        ),
        scope,
    )


_COUNT = """
INSERT INTO distributor_day AS d (brand_id, distributor_id, day, orders, volume, earned)
SELECT {}::bigint, u.* FROM unnest({}::bigint[], {}::date[], {}::bigint[], {}::bigint[],
                                   {}::bigint[])
     u (distributor_id, day, orders, volume, earned)
ON CONFLICT (brand_id, distributor_id, day) DO UPDATE
SET orders = d.orders + excluded.orders, volume = d.volume + excluded.volume,
    earned = d.earned + excluded.earned
"""


def count_sales(
    writer: Writer,
    *,
    brand_id: int,
    day: Days,
    credited: Ints,
    orders: Ints,
    volume: Ints,
    upline: Ints,
    earned: Ints,
) -> None:
    """Add what orders (or refunds of them) sold and earned. One entry an order.

    :param day: the order's day where the brand lives.
    :param credited: whose sale it is, 0 for nobody.
    :param upline: who earned at each level; ``earned`` likewise. Shape (n, 3).
    """
    levels = upline.shape[1]
    who = np.concatenate([credited, upline.reshape(-1)])
    when = np.concatenate([day, np.repeat(day, levels)]).astype("datetime64[D]")
    nothing = np.zeros(upline.size, np.int64)
    moves = np.stack(
        [
            np.concatenate([orders, nothing]),
            np.concatenate([volume, nothing]),
            np.concatenate([np.zeros(len(day), np.int64), earned.reshape(-1)]),
        ],
        axis=1,
    )
    mine = (who != 0) & moves.any(axis=1)
    if not mine.any():
        return
    key = np.stack([who[mine], when[mine].astype(np.int64)], axis=1)
    unique, inverse = np.unique(key, axis=0, return_inverse=True)
    total = np.zeros((len(unique), 3), np.int64)
    np.add.at(total, inverse.reshape(-1), moves[mine])
    days = unique[:, 1].astype("datetime64[D]").tolist()
    columns = [array_literal(each, "int8") for each in (unique[:, 0].tolist(), *total.T.tolist())]
    columns.insert(1, array_literal(days, "date"))
    execute(writer, _COUNT, [str(brand_id), *columns])


_ADMIT = """
INSERT INTO customer (brand_id, buyer, first_order_id)
SELECT %s, u.* FROM unnest(%s::text[], %s::bigint[]) u ON CONFLICT DO NOTHING
"""

_FIRST = """
SELECT u.id FROM unnest(%s::text[], %s::bigint[]) u (buyer, id)
WHERE EXISTS (SELECT FROM customer c WHERE c.brand_id = %s AND c.buyer = u.buyer
              AND c.first_order_id = u.id OFFSET 0)
"""


def ask_firsts(
    cur: psycopg.Cursor[Any],
    *,
    brand_id: int,
    buyers: Sequence[str | None],
    order_ids: Sequence[int],
) -> Callable[[], set[int]]:
    """Note the buyers of orders, and say which of the orders are their buyer's first.

    Of two orders of a new buyer that come at once one is the first: the other waits here for it.
    """
    firsts: dict[str, int] = {}
    for buyer, order_id in zip(buyers, order_ids, strict=True):
        if buyer is not None:
            firsts.setdefault(buyer, order_id)
    if not firsts:
        return set
    names = sorted(firsts)
    ids = [firsts[name] for name in names]
    texts, numbers = array_literal(names, "text"), array_literal(ids, "int8")
    cur.execute(_ADMIT, [brand_id, texts, numbers])
    cur.execute(_FIRST, [texts, numbers, brand_id])
    return lambda: {row[0] for row in cur}
