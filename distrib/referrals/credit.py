"""Who gets the credit for an order, and who stands above: read for many orders at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import numpy as np
import psycopg

LEVELS = 3

# Each LATERAL … LIMIT 1 is one look into one index for one order, and the planner cannot make it
# anything else. Plain joins were at its mercy: right after a bulk load, before the statistics know
# the new rows, it compared every order with every order of the brand.
_EDGE = """
LEFT JOIN LATERAL (
    SELECT s.distributor_id, s.sponsor_id FROM sponsorship s
    WHERE s.brand_id = %(brand)s AND s.distributor_id = {of} AND s.valid_from <= i.at
    ORDER BY s.valid_from DESC LIMIT 1) {name} ON true"""

# The upline is that of the order's own time: the last edge that began by then. Edges follow each
# other without a gap (see the table), so it is the one that was valid.
_UPLINE = _EDGE.format(of="i.distributor_id", name="s1") + _EDGE.format(
    of="s1.sponsor_id", name="s2"
)
# Of a buyer who is a distributor one more: the plan may begin with its sponsor.
_ABOVE = _EDGE.format(of="CASE WHEN i.buyer_id IS NOT NULL THEN s2.sponsor_id END", name="s3")

_CONTEXT = f"""
SELECT o.id, o.content_hash, i.named_id, i.buyer_id,
       s1.distributor_id, s1.sponsor_id, s2.sponsor_id, s3.sponsor_id, p.id,
       EXISTS (SELECT FROM waiting_refund w WHERE w.brand_id = %(brand)s
               AND w.shop = i.shop AND w.order_external_id = i.external_id OFFSET 0),
       b.matured_through, b.counts_sales
FROM (SELECT matured_through, counts_sales FROM brand WHERE id = %(brand)s) b
CROSS JOIN (
    SELECT f.*, coalesce(f.buyer_id, f.named_id) AS distributor_id
    FROM (
        SELECT g.*, coalesce(
            (SELECT d.id FROM distributor d
             WHERE d.brand_id = %(brand)s AND d.external_id = g.distributor LIMIT 1),
            (SELECT c.id FROM distributor c
             WHERE c.brand_id = %(brand)s AND c.code = g.code LIMIT 1)) AS named_id,
            (SELECT e.id FROM distributor e
             WHERE e.brand_id = %(brand)s AND e.external_id = g.buyer LIMIT 1) AS buyer_id
        FROM unnest(%(shop)s::text[], %(external_id)s::text[], %(distributor)s::text[],
                    %(code)s::text[], %(buyer)s::text[], %(at)s::timestamptz[])
             WITH ORDINALITY g (shop, external_id, distributor, code, buyer, at, n)
        OFFSET 0) f) i
LEFT JOIN LATERAL (
    SELECT x.id, x.content_hash FROM orders x
    WHERE x.brand_id = %(brand)s AND x.shop = i.shop AND x.external_id = i.external_id
    LIMIT 1) o ON true
{_UPLINE}{_ABOVE}
LEFT JOIN LATERAL (
    SELECT v.id FROM plan_version v WHERE v.brand_id = %(brand)s AND v.effective_from <= i.at
    ORDER BY v.effective_from DESC LIMIT 1) p ON true
ORDER BY i.n
"""


@dataclass(frozen=True, slots=True)
class Credit:
    """What the database knows about an order that is coming in.

    :param recorded: id and content hash of the same order if it was taken before.
    :param named: the distributor that its reference or code names, or None.
    :param buyer: the distributor that bought it, or None.
    :param chain: the buyer, or else the named, and who stood above at the order's time, 0 where
        there was none; the first is 0 when it had not joined by then.
    :param plan_version: the version in force at the order's time, or None.
    :param awaited: whether refunds of it came before it.
    """

    recorded: tuple[int, bytes] | None
    named: int | None
    buyer: int | None
    chain: tuple[int, int, int, int]
    plan_version: int | None
    awaited: bool
    matured_through: date
    counts_sales: bool


def read_credits(
    cursor: psycopg.Cursor[Any],
    *,
    brand_id: int,
    shop: Sequence[str],
    external_id: Sequence[str],
    distributor: Sequence[str | None],
    code: Sequence[str | None],
    buyer: Sequence[str | None],
    at: Sequence[datetime],
) -> list[Credit]:
    """Read a :class:`Credit` for each order, in one query. To be called under ``Lock.FACTS``."""
    cursor.execute(
        _CONTEXT,
        {
            "brand": brand_id,
            "shop": list(shop),
            "external_id": list(external_id),
            "distributor": list(distributor),
            "code": list(code),
            "buyer": list(buyer),
            "at": list(at),
        },
    )
    return [
        Credit(
            recorded=None if order is None else (order, bytes(digest)),
            named=named,
            buyer=buyer_id,
            chain=(first or 0, second or 0, third or 0, fourth or 0),
            plan_version=plan_version,
            awaited=awaited,
            matured_through=matured_through,
            counts_sales=counts_sales,
        )
        for (
            order,
            digest,
            named,
            buyer_id,
            first,
            second,
            third,
            fourth,
            plan_version,
            awaited,
            matured_through,
            counts_sales,
        ) in cursor
    ]


_UPLINES = f"""
SELECT s1.distributor_id, s1.sponsor_id, s2.sponsor_id
FROM unnest(%(distributor)s::bigint[], %(at)s::timestamptz[])
     WITH ORDINALITY i (distributor_id, at, n)
{_UPLINE}
ORDER BY i.n
"""


def read_uplines(
    cursor: psycopg.Cursor[Any],
    *,
    brand_id: int,
    distributors: Sequence[int | None],
    at: Sequence[datetime],
) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Levels 1 to 3 of credited distributors at given instants, 0 for none. Shape (n, 3)."""
    cursor.execute(_UPLINES, {"brand": brand_id, "distributor": list(distributors), "at": list(at)})
    rows = [[level or 0 for level in row] for row in cursor]
    return np.array(rows, np.int64).reshape(len(rows), LEVELS)
