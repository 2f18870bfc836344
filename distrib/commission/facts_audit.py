"""Checks of what plans were told beside the tree, and of what is counted for them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from distrib.audit import Check, Finding, find_rows
from distrib.brands.tables import Brand
from distrib.commission.counting import COUNTED
from distrib.commission.plan import Plan
from distrib.commission.service import compiled_plan
from distrib.commission.standings import read_chains
from distrib.commission.tables import PlanVersion
from distrib.db import cursor

_CHUNK = 10_000


def sales_are_counted(session: Session, brand_id: int) -> Iterator[Finding]:
    """What each distributor sold and earned by day is what orders, refunds and commissions say."""
    brand = session.get_one(Brand, brand_id)
    counted = COUNTED if brand.counts_sales else f"SELECT * FROM ({COUNTED}) none WHERE false"
    yield from find_rows(
        session,
        "commission.counted",
        "distributor {distributor_id} on {day}: {kept} is kept, the records say {recorded}",
        f"""
        SELECT coalesce(d.distributor_id, c.distributor_id) AS distributor_id,
               coalesce(d.day, c.day) AS day,
               concat_ws(' / ', d.orders, d.volume, d.earned) AS kept,
               concat_ws(' / ', c.orders, c.volume, c.earned) AS recorded
        FROM (SELECT * FROM distributor_day WHERE brand_id = :brand_id) d
        FULL JOIN ({counted}) c ON c.distributor_id = d.distributor_id AND c.day = d.day
        WHERE (coalesce(d.orders, 0), coalesce(d.volume, 0), coalesce(d.earned, 0))
              IS DISTINCT FROM
              (coalesce(c.orders, 0), coalesce(c.volume, 0), coalesce(c.earned, 0))
        """,
        {"brand_id": brand_id, "time_zone": brand.time_zone},
    )


def customers_are_known(session: Session, brand_id: int) -> Iterator[Finding]:
    """Where customers are kept, every buyer is one, and its first order is its own."""
    yield from find_rows(
        session,
        "commission.customers",
        "buyer {buyer}: {wrong}",
        """
        SELECT o.buyer, 'is not kept as a customer' AS wrong
        FROM (SELECT DISTINCT x.buyer FROM orders x JOIN brand b ON b.id = x.brand_id
              WHERE x.brand_id = :brand_id AND x.buyer IS NOT NULL AND b.counts_sales) o
        LEFT JOIN customer c ON c.brand_id = :brand_id AND c.buyer = o.buyer
        WHERE c.buyer IS NULL
        UNION ALL
        SELECT c.buyer, 'its first order is not its own'
        FROM customer c
        LEFT JOIN orders o ON o.brand_id = c.brand_id AND o.id = c.first_order_id
             AND o.buyer = c.buyer
        WHERE c.brand_id = :brand_id AND o.id IS NULL
        UNION ALL
        SELECT o.buyer, 'an order of it was told wrongly whether it is the first'
        FROM order_facts f
        JOIN orders o ON o.brand_id = f.brand_id AND o.id = f.order_id
        LEFT JOIN customer c ON c.brand_id = o.brand_id AND c.buyer = o.buyer
        WHERE f.brand_id = :brand_id AND f.first IS DISTINCT FROM coalesce(c.first_order_id = o.id,
                                                                           false)
        """,
        {"brand_id": brand_id},
    )


def _plans(session: Session, brand_id: int) -> dict[int, Plan]:
    versions = session.scalars(select(PlanVersion.id).where(PlanVersion.brand_id == brand_id))
    return {
        version: compiled_plan(session, brand_id=brand_id, version_id=version)
        for version in versions.all()
    }


def facts_are_kept(session: Session, brand_id: int) -> Iterator[Finding]:
    """An order has facts of its own exactly when its plan asks for more than the tree."""
    asking = [number for number, plan in _plans(session, brand_id).items() if plan.uses_facts]
    yield from find_rows(
        session,
        "commission.facts",
        "order {id} {wrong}",
        """
        SELECT o.id, CASE WHEN f.order_id IS NULL THEN 'has no facts, and its plan asks for them'
                          ELSE 'has facts that its plan does not ask for' END AS wrong
        FROM orders o
        LEFT JOIN order_facts f ON f.brand_id = o.brand_id AND f.order_id = o.id
        WHERE o.brand_id = :brand_id
          AND (f.order_id IS NOT NULL)
              <> coalesce(o.plan_version_id = ANY(CAST(:asking AS bigint[])), false)
        """,
        {"brand_id": brand_id, "asking": asking},
    )


_TOLD = text(
    """
    SELECT f.order_id, o.plan_version_id, o.distributor_id, o.effective_at,
           ARRAY[f.earner1, f.earner2, f.earner3] AS earners,
           ARRAY[f.rank1, f.rank2, f.rank3] AS ranks,
           ARRAY(SELECT (SELECT s.rank FROM standing s
                         WHERE s.brand_id = f.brand_id AND s.distributor_id = e.id
                           AND s.valid_from <= o.effective_at
                         ORDER BY s.valid_from DESC LIMIT 1)
                 FROM unnest(ARRAY[f.earner1, f.earner2, f.earner3]) WITH ORDINALITY e (id, n)
                 ORDER BY e.n) AS held
    FROM order_facts f JOIN orders o ON o.brand_id = f.brand_id AND o.id = f.order_id
    WHERE f.brand_id = :brand_id AND f.order_id > :last ORDER BY f.order_id LIMIT :chunk
    """
)


def earners_stood_there(session: Session, brand_id: int) -> Iterator[Finding]:
    """Who earned by an order stood above it in the tree of its time, in that order, and had the
    rank that the plan was told."""
    plans, last = _plans(session, brand_id), 0
    while True:
        rows = session.execute(_TOLD, {"brand_id": brand_id, "last": last, "chunk": _CHUNK}).all()
        if not rows:
            return
        chains = read_chains(
            cursor(session),
            brand_id=brand_id,
            ids=[row.distributor_id or 0 for row in rows],
            at=[row.effective_at for row in rows],
        )
        for row, chain in zip(rows, chains, strict=True):
            wrong = _wrong(row, chain, plans.get(row.plan_version_id or 0))
            if wrong is not None:
                yield Finding(
                    "commission.earners", f"order {row.order_id}: {wrong}", {"id": row.order_id}
                )
        last = rows[-1].order_id


def _wrong(row: Any, chain: list[int], plan: Plan | None) -> str | None:
    above = iter(chain)
    for level, who in enumerate(row.earners):
        if who and who not in above:  # takes from the iterator: each further up than the last
            return f"level {level + 1} was paid to {who}, who did not stand there"
        rank = row.ranks[level]
        if plan is None or not who:
            continue
        names = [each.name for each in plan.ranks]
        told = names[rank - 1] if 0 < rank <= len(names) else None
        held = row.held[level] if row.held[level] in names else None
        if told != held:
            return f"level {level + 1} had the rank {held}, the plan was told {told}"
    return None


def caps_hold(session: Session, brand_id: int) -> Iterator[Finding]:
    """Nobody got more by the orders of a day or a month than the caps of all their plans allow."""
    caps = [
        (number, plan.caps.day, plan.caps.month)
        for number, plan in _plans(session, brand_id).items()
    ]
    for name, column, unit in (("day", 1, "day"), ("month", 2, "month")):
        yield from find_rows(
            session,
            "commission.caps",
            "distributor {distributor_id} got {amount} by the orders of the " + name + " {period},"
            " the cap is {cap}",
            f"""
            SELECT c.distributor_id, sum(c.amount) AS amount, max(v.cap) AS cap,
                   date_trunc('{unit}', o.effective_at AT TIME ZONE b.time_zone)::date AS period
            FROM commission c
            JOIN orders o ON o.brand_id = c.brand_id AND o.id = c.order_id
            JOIN brand b ON b.id = c.brand_id
            LEFT JOIN unnest(CAST(:versions AS bigint[]), CAST(:caps AS bigint[])) v (id, cap)
                 ON v.id = o.plan_version_id
            WHERE c.brand_id = :brand_id
            GROUP BY c.distributor_id, period
            HAVING count(*) = count(v.cap) AND sum(c.amount) > max(v.cap)
            """,
            {
                "brand_id": brand_id,
                "versions": [each[0] for each in caps],
                "caps": [each[column] for each in caps],
            },
        )


def milestones_are_reached_once(session: Session, brand_id: int) -> Iterator[Finding]:
    """A month's mark is noted for the order that reached it, which could: one order at most."""
    yield from find_rows(
        session,
        "commission.milestones",
        "distributor {distributor_id}, {month}, mark {mark}: order {order_id} did not reach it",
        """
        SELECT m.distributor_id, m.month, m.mark, m.order_id
        FROM milestone_reached m
        LEFT JOIN orders o ON o.brand_id = m.brand_id AND o.id = m.order_id
        LEFT JOIN order_facts f ON f.brand_id = m.brand_id AND f.order_id = m.order_id
        LEFT JOIN brand b ON b.id = m.brand_id
        WHERE m.brand_id = :brand_id AND (
            o.distributor_id IS DISTINCT FROM m.distributor_id
            OR f.earner1 IS DISTINCT FROM m.distributor_id OR f.marks = 0 OR f.volume1 >= m.mark
            OR date_trunc('month', o.effective_at AT TIME ZONE b.time_zone)::date <> m.month)
        """,
        {"brand_id": brand_id},
    )
    marks = [
        (number, n, each.volume)
        for number, plan in _plans(session, brand_id).items()
        for n, each in enumerate(plan.milestones)
    ]
    yield from find_rows(
        session,
        "commission.milestones",
        "order {order_id} reached the mark {mark}, and it is not noted for it",
        """
        SELECT f.order_id, v.mark
        FROM unnest(CAST(:versions AS bigint[]), CAST(:numbers AS int[]), CAST(:marks AS bigint[]))
             v (version, n, mark)
        JOIN orders o ON o.brand_id = :brand_id AND o.plan_version_id = v.version
        JOIN order_facts f ON f.brand_id = o.brand_id AND f.order_id = o.id
             AND (f.marks >> v.n) & 1 = 1 AND f.volume1 < v.mark
        CROSS JOIN LATERAL (
            SELECT (SELECT sum(l.quantity * l.unit_price - l.discount) FROM order_line l
                    WHERE l.brand_id = o.brand_id AND l.order_id = o.id)
                 - coalesce((SELECT sum(x.amount) FROM refund r JOIN refund_line x
                             ON x.brand_id = r.brand_id AND x.refund_id = r.id
                             WHERE r.brand_id = o.brand_id AND r.order_id = o.id), 0) AS net) s
        LEFT JOIN milestone_reached m ON m.brand_id = o.brand_id AND m.order_id = o.id
             AND m.mark = v.mark
        WHERE f.volume1 + s.net >= v.mark AND m.order_id IS NULL
        """,
        {
            "brand_id": brand_id,
            "versions": [each[0] for each in marks],
            "numbers": [each[1] for each in marks],
            "marks": [each[2] for each in marks],
        },
    )


CHECKS: list[Check] = [
    sales_are_counted,
    customers_are_known,
    facts_are_kept,
    earners_stood_there,
    caps_hold,
    milestones_are_reached_once,
]
