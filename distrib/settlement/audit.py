"""Checks of settlement, and the whole audit of a brand."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
from sqlalchemy.exc import DBAPIError as SQLAlchemyDBError
from sqlalchemy.orm import Session

from distrib.audit import Check, Finding, find_rows
from distrib.commission import audit as commission_audit
from distrib.commission.audit import EARNED
from distrib.ledger import audit as ledger_audit
from distrib.ledger.chart import AccountKind
from distrib.tree import audit as tree_audit


def every_cent_is_open_or_in_one_payout(session: Session, brand_id: int) -> Iterator[Finding]:
    """What a posting gave a distributor is open, or in exactly one payout that was not called off:
    nothing is lost and nothing is paid twice."""
    yield from find_rows(
        session,
        "settlement.items",
        "posting {posting_id}, distributor {distributor_id}: the ledger gave {earned}, open or paid"
        " out are {found} in {places} places",
        f"""
        WITH places AS (
            SELECT distributor_id, posting_id, amount FROM open_item WHERE brand_id = :brand_id
            UNION ALL
            SELECT p.distributor_id, i.posting_id, i.amount
            FROM payout p CROSS JOIN LATERAL unnest(p.postings, p.amounts) i (posting_id, amount)
            WHERE p.brand_id = :brand_id AND p.state <> 'cancelled'),
        items AS (SELECT distributor_id, posting_id, sum(amount) AS amount, count(*) AS places
                  FROM places GROUP BY 1, 2)
        SELECT coalesce(i.posting_id, e.posting_id) AS posting_id,
               coalesce(i.distributor_id, e.distributor_id) AS distributor_id,
               e.amount AS earned, i.amount AS found, coalesce(i.places, 0) AS places
        FROM items i
        FULL JOIN ({EARNED}) e
             ON e.posting_id = i.posting_id AND e.distributor_id = i.distributor_id
        WHERE i.amount IS DISTINCT FROM e.amount OR i.places <> 1
        """,
        {"brand_id": brand_id},
    )


def open_items_wait_for_their_day(session: Session, brand_id: int) -> Iterator[Finding]:
    """An open item becomes available on the day of its order."""
    yield from find_rows(
        session,
        "settlement.day",
        "posting {posting_id}, distributor {distributor_id}: open until {available_on}, its order"
        " says {day}",
        """
        SELECT i.posting_id, i.distributor_id, i.available_on, o.available_on AS day
        FROM open_item i
        LEFT JOIN refund r ON r.brand_id = i.brand_id AND r.id = i.posting_id
        LEFT JOIN orders o ON o.brand_id = i.brand_id
             AND o.id = coalesce(r.order_id, i.posting_id)
        WHERE i.brand_id = :brand_id AND i.available_on IS DISTINCT FROM o.available_on
        """,
        {"brand_id": brand_id},
    )


_ACCOUNT = """
    SELECT account >> 4 AS distributor_id, asset, sum(credits - debits) AS balance
    FROM (SELECT debit_account AS account, asset, amount AS debits, 0 AS credits FROM transfer
          WHERE brand_id = :brand_id AND (debit_account & 15) = {kind}
          UNION ALL
          SELECT credit_account, asset, 0, amount FROM transfer
          WHERE brand_id = :brand_id AND (credit_account & 15) = {kind}) m
    GROUP BY 1, 2
"""


def _explained(
    session: Session, brand_id: int, kind: AccountKind, explanation: str
) -> Iterator[Finding]:
    """The balances of all accounts of ``kind`` are what ``explanation`` adds up to.

    :param explanation: SQL giving ``distributor_id, asset, amount`` (0 for the brand's account).
    """
    name = kind.name.lower()
    yield from find_rows(
        session,
        f"settlement.{name}",
        f"{name} of {{distributor_id}}: the ledger has {{balance}}, explained are {{amount}}"
        " {asset}",
        f"""
        SELECT coalesce(a.distributor_id, e.distributor_id) AS distributor_id,
               coalesce(a.asset, e.asset) AS asset, coalesce(a.balance, 0) AS balance,
               coalesce(e.amount, 0) AS amount
        FROM ({_ACCOUNT.format(kind=int(kind))}) a
        FULL JOIN (SELECT distributor_id, asset, sum(amount) AS amount
                   FROM ({explanation}) x GROUP BY 1, 2) e
             ON e.distributor_id = a.distributor_id AND e.asset = a.asset
        WHERE coalesce(a.balance, 0) <> coalesce(e.amount, 0)
        """,
        {"brand_id": brand_id},
    )


_STILL_HELD = """
    (i.held AND (i.available_on > b.matured_through OR EXISTS (
        SELECT FROM maturation m WHERE m.brand_id = i.brand_id AND m.posted_at IS NULL
        AND i.available_on > m.previous AND i.available_on <= m.through)))
"""

_OPEN = """
    SELECT i.distributor_id, i.asset, i.amount FROM open_item i JOIN brand b ON b.id = i.brand_id
    WHERE i.brand_id = :brand_id AND {condition}
"""


def held_is_explained(session: Session, brand_id: int) -> Iterator[Finding]:
    """Held is the sum of the open items whose day has not matured."""
    explanation = _OPEN.format(condition=_STILL_HELD)
    yield from _explained(session, brand_id, AccountKind.HELD, explanation)


def available_is_explained(session: Session, brand_id: int) -> Iterator[Finding]:
    """Available is the sum of all other open items; negative is a debt."""
    explanation = _OPEN.format(condition=f"NOT {_STILL_HELD}")
    yield from _explained(session, brand_id, AccountKind.AVAILABLE, explanation)


_SENT = """EXISTS (SELECT FROM payout_attempt a WHERE a.brand_id = p.brand_id
    AND a.batch_id = p.batch_id AND a.no = p.no)"""

_PAYOUTS = """
    SELECT {owner} AS distributor_id, s.currency AS asset, p.amount
    FROM payout p JOIN settlement_batch s ON s.brand_id = p.brand_id AND s.id = p.batch_id
    WHERE p.brand_id = :brand_id AND {condition}
"""


def reserved_is_explained(session: Session, brand_id: int) -> Iterator[Finding]:
    """Reserved is what waits in batches and has not been sent."""
    explanation = _PAYOUTS.format(
        owner="p.distributor_id", condition=f"p.state = 'reserved' AND NOT {_SENT}"
    )
    yield from _explained(session, brand_id, AccountKind.RESERVED, explanation)


def clearing_is_explained(session: Session, brand_id: int) -> Iterator[Finding]:
    """Clearing is what has been sent and not confirmed."""
    explanation = _PAYOUTS.format(owner="0", condition=f"p.state = 'reserved' AND {_SENT}")
    yield from _explained(session, brand_id, AccountKind.PAYOUT_CLEARING, explanation)


def paid_is_explained(session: Session, brand_id: int) -> Iterator[Finding]:
    """Paid is the sum of the paid payouts."""
    explanation = _PAYOUTS.format(owner="p.distributor_id", condition="p.state = 'paid'")
    yield from _explained(session, brand_id, AccountKind.PAID, explanation)


def batches_add_up(session: Session, brand_id: int) -> Iterator[Finding]:
    """A batch is what was approved: its payouts, their sum and their hash; and each payout is the
    sum of its items, at or above the minimum, and confirmed by an attempt once paid."""
    yield from find_rows(
        session,
        "settlement.batch",
        "batch {number}: recorded {payouts} payouts of {total}, there are {found} of {sum}",
        """
        SELECT * FROM (
            SELECT s.number, s.payouts, s.total, s.content_hash, s.state,
                   count(p.no) AS found, coalesce(sum(p.amount), 0) AS sum,
                   count(*) FILTER (WHERE p.state = 'paid') AS paid,
                   sha256(convert_to(coalesce(string_agg(
                       p.no || ':' || p.distributor_id || ':' || p.amount, ',' ORDER BY p.no),
                       ''), 'UTF8')) AS hash
            FROM settlement_batch s
            LEFT JOIN payout p ON p.brand_id = s.brand_id AND p.batch_id = s.id
            WHERE s.brand_id = :brand_id GROUP BY s.brand_id, s.id) b
        WHERE payouts <> found OR total <> sum OR content_hash <> hash
           OR (state = 'settled' AND paid <> found)
           OR (state IN ('draft', 'approved', 'cancelled') AND paid > 0)
        """,
        {"brand_id": brand_id},
    )
    yield from find_rows(
        session,
        "settlement.payout",
        "payout {no} of batch {number}: amount {amount}, items add up to {items}; minimum"
        " {minimum_payout}, state {state}, outcome {outcome}",
        """
        SELECT * FROM (
            SELECT s.number, p.no, p.amount, p.state, s.minimum_payout, a.outcome,
                   (SELECT sum(x) FROM unnest(p.amounts) x) AS items
            FROM payout p
            JOIN settlement_batch s ON s.brand_id = p.brand_id AND s.id = p.batch_id
            LEFT JOIN payout_attempt a ON a.brand_id = p.brand_id AND a.batch_id = p.batch_id
                 AND a.no = p.no
            WHERE p.brand_id = :brand_id) x
        WHERE amount IS DISTINCT FROM items OR amount < minimum_payout
           OR (state = 'paid') <> (outcome IS NOT DISTINCT FROM 'paid')
        """,
        {"brand_id": brand_id},
    )


def no_work_is_stuck(session: Session, brand_id: int) -> Iterator[Finding]:
    """No job has failed for good."""
    yield from find_rows(
        session,
        "settlement.jobs",
        "job {id} ({kind}) failed: {error}",
        "SELECT id, kind, error FROM job WHERE brand_id = :brand_id AND state = 'failed'",
        {"brand_id": brand_id},
    )


CHECKS: list[Check] = [
    *ledger_audit.CHECKS,
    *tree_audit.CHECKS,
    *commission_audit.CHECKS,
    every_cent_is_open_or_in_one_payout,
    open_items_wait_for_their_day,
    held_is_explained,
    available_is_explained,
    reserved_is_explained,
    clearing_is_explained,
    paid_is_explained,
    batches_add_up,
    no_work_is_stuck,
]
"""Every invariant of the system; each check's docstring says what must hold."""


def audit_brand(
    session: Session, *, brand_id: int, on_check: Callable[[Check], None] | None = None
) -> Iterator[Finding]:
    """Run every check over everything the brand has.

    :param session: from :meth:`distrib.db.Database.snapshot`, so that all checks see one moment
        and a running system raises no false alarm.
    :param on_check: called before each check, for progress.
    :returns: what is wrong; nothing when all is well.
    """
    for check in CHECKS:
        if on_check is not None:
            on_check(check)
        try:
            yield from check(session, brand_id)
        except (psycopg.Error, SQLAlchemyDBError):
            raise
        except Exception as error:
            # what is recorded can be so wrong that it cannot be computed with; that is a finding,
            # and the other checks go on
            package = check.__module__.split(".")[1]
            yield Finding(
                f"{package}.{check.__name__}", f"cannot be checked: {type(error).__name__}: {error}"
            )
