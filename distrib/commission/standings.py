"""What the database knows of distributors at given instants: who stood above, standing, sales."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime
from typing import Any, TypeVar

import psycopg

from distrib.bulk import array_literal
from distrib.commission.earners import Sales, Standing

HIGHEST = 20
"""How far up a level that is not filled looks for somebody to roll up to."""

T = TypeVar("T")
Answer = Callable[[], T]
"""What a statement found: asked for at once, read when the pipeline it stands in has been sent."""

_CHAINS = """
WITH RECURSIVE up (n, at, depth, id) AS (
    SELECT n, at, 0, id
    FROM unnest(%(ids)s::bigint[], %(at)s::timestamptz[]) WITH ORDINALITY g (id, at, n)
    UNION ALL
    SELECT up.n, up.at, up.depth + 1, s.sponsor_id
    FROM up CROSS JOIN LATERAL (
        SELECT x.sponsor_id FROM sponsorship x
        WHERE x.brand_id = %(brand)s AND x.distributor_id = up.id AND x.valid_from <= up.at
        ORDER BY x.valid_from DESC LIMIT 1) s
    WHERE s.sponsor_id IS NOT NULL AND up.depth < %(highest)s)
SELECT n, array_agg(id ORDER BY depth) FROM up GROUP BY n
"""


def read_chains(
    cur: psycopg.Cursor[Any], *, brand_id: int, ids: Sequence[int], at: Sequence[datetime]
) -> list[list[int]]:
    """Each distributor and all who stood above it at its instant, nearest first."""
    return ask_chains(cur, brand_id=brand_id, ids=ids, at=at)()


def ask_chains(
    cur: psycopg.Cursor[Any], *, brand_id: int, ids: Sequence[int], at: Sequence[datetime]
) -> Answer[list[list[int]]]:
    """:func:`read_chains`, to be called for its answer when the pipeline has been sent."""
    if not ids:
        return list
    cur.execute(
        _CHAINS,
        {
            "brand": brand_id,
            "ids": array_literal(ids, "int8"),
            "at": array_literal(at, "timestamptz"),
            "highest": HIGHEST - 1,
        },
    )

    def answer() -> list[list[int]]:
        chains: list[list[int]] = [[] for _ in ids]
        for number, chain in cur:
            chains[number - 1] = chain
        return chains

    return answer


_LOCK = """
SELECT d.id FROM unnest(%s::bigint[]) g (id)
CROSS JOIN LATERAL (
    SELECT x.id FROM distributor x WHERE x.brand_id = %s AND x.id = g.id
    LIMIT 1 FOR NO KEY UPDATE) d
"""


def lock_distributors(cur: psycopg.Cursor[Any], *, brand_id: int, ids: Iterable[int]) -> None:
    """Have what these sell and earn to ourselves until the transaction ends: in order of id."""
    cur.execute(_LOCK, [array_literal(sorted(ids), "int8"), brand_id])


_STANDINGS = """
SELECT s.distributor_id, s.valid_from, s.status, s.rank
FROM unnest(%(ids)s::bigint[]) g (id)
CROSS JOIN LATERAL (
    SELECT * FROM standing x
    WHERE x.brand_id = %(brand)s AND x.distributor_id = g.id OFFSET 0) s
ORDER BY s.distributor_id, s.valid_from
"""


def read_standings(
    cur: psycopg.Cursor[Any], *, brand_id: int, ids: Iterable[int]
) -> dict[int, list[tuple[datetime, Standing]]]:
    """All standings of each distributor, oldest first; who is not in it never changed."""
    cur.execute(_STANDINGS, {"brand": brand_id, "ids": array_literal(sorted(set(ids)), "int8")})
    found: dict[int, list[tuple[datetime, Standing]]] = {}
    for distributor, valid_from, status, rank in cur:
        found.setdefault(distributor, []).append((valid_from, Standing(status == "active", rank)))
    return found


_SALES = """
SELECT g.id, g.day, m.volume, m.earned, m.of_day, l.day
FROM unnest(%(ids)s::bigint[], %(days)s::date[]) g (id, day)
CROSS JOIN LATERAL (
    SELECT coalesce(sum(x.volume), 0)::bigint AS volume,
           coalesce(sum(x.earned), 0)::bigint AS earned,
           coalesce(sum(x.earned) FILTER (WHERE x.day = g.day), 0)::bigint AS of_day
    FROM distributor_day x
    WHERE x.brand_id = %(brand)s AND x.distributor_id = g.id
      AND x.day >= date_trunc('month', g.day)
      AND x.day < date_trunc('month', g.day) + interval '1 month') m
LEFT JOIN LATERAL (
    SELECT y.day FROM distributor_day y
    WHERE y.brand_id = %(brand)s AND y.distributor_id = g.id AND y.day <= g.day AND y.orders > 0
    ORDER BY y.day DESC LIMIT 1) l ON true
"""


def ask_sales(
    cur: psycopg.Cursor[Any], *, brand_id: int, wanted: Iterable[tuple[int, date]]
) -> Answer[dict[tuple[int, date], Sales]]:
    """The sales of each distributor as of its day. To be called with the distributors locked."""
    pairs = sorted(set(wanted))
    cur.execute(
        _SALES,
        {
            "brand": brand_id,
            "ids": array_literal([pair[0] for pair in pairs], "int8"),
            "days": array_literal([pair[1] for pair in pairs], "date"),
        },
    )
    return lambda: {(row[0], row[1]): Sales(*row[2:]) for row in cur}


_REACHED = """
SELECT m.distributor_id, m.month, m.mark
FROM unnest(%(ids)s::bigint[], %(months)s::date[]) g (id, month)
CROSS JOIN LATERAL (
    SELECT * FROM milestone_reached x
    WHERE x.brand_id = %(brand)s AND x.distributor_id = g.id AND x.month = g.month OFFSET 0) m
"""


def ask_reached(
    cur: psycopg.Cursor[Any], *, brand_id: int, wanted: Iterable[tuple[int, date]]
) -> Answer[dict[tuple[int, date], set[int]]]:
    """The marks that distributors have reached in months. With the distributors locked."""
    pairs = sorted(wanted)
    if not pairs:
        return dict
    cur.execute(
        _REACHED,
        {
            "brand": brand_id,
            "ids": array_literal([pair[0] for pair in pairs], "int8"),
            "months": array_literal([pair[1] for pair in pairs], "date"),
        },
    )

    def answer() -> dict[tuple[int, date], set[int]]:
        found: dict[tuple[int, date], set[int]] = {}
        for distributor, month, mark in cur:
            found.setdefault((distributor, month), set()).add(mark)
        return found

    return answer
