"""Checks of settlement, and the whole audit of a brand."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError as SQLAlchemyDBError
from sqlalchemy.orm import Session

from distrib.audit import Check, Finding, find_rows
from distrib.commission import audit as commission_audit
from distrib.commission.audit import EARNED
from distrib.ledger import audit as ledger_audit
from distrib.ledger.chart import AccountKind
from distrib.settlement import book_audit
from distrib.settlement.book_tables import PayoutTax
from distrib.settlement.tax import find_regime
from distrib.settlement.withholding import facts_of
from distrib.tree import audit as tree_audit

_ADJUSTED = """
    SELECT posting_id, greatest(debit_account, credit_account) >> 4 AS distributor_id, asset,
           CASE WHEN code = 14 THEN -amount ELSE amount END AS amount, code
    FROM transfer WHERE brand_id = :brand_id AND code IN (14, 15, 16)
"""


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
            WHERE p.brand_id = :brand_id
              AND p.state NOT IN ('cancelled', 'removed', 'voided')),
        items AS (SELECT distributor_id, posting_id, sum(amount) AS amount, count(*) AS places
                  FROM places GROUP BY 1, 2)
        SELECT coalesce(i.posting_id, e.posting_id) AS posting_id,
               coalesce(i.distributor_id, e.distributor_id) AS distributor_id,
               e.amount AS earned, i.amount AS found, coalesce(i.places, 0) AS places
        FROM items i
        FULL JOIN ({EARNED} UNION ALL SELECT posting_id, distributor_id, asset, amount
                                      FROM ({_ADJUSTED}) x) e
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
        SELECT i.posting_id, i.distributor_id, i.available_on,
               coalesce(o.available_on, a.available_on) AS day
        FROM open_item i
        LEFT JOIN adjustment a ON a.brand_id = i.brand_id AND a.id = i.posting_id
        LEFT JOIN refund r ON r.brand_id = i.brand_id AND r.id = i.posting_id
        LEFT JOIN orders o ON o.brand_id = i.brand_id
             AND o.id = coalesce(r.order_id, i.posting_id)
        WHERE i.brand_id = :brand_id
          AND i.available_on IS DISTINCT FROM coalesce(o.available_on, a.available_on)
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


_PAYOUTS = """
    SELECT {owner} AS distributor_id, s.currency AS asset, {amount} AS amount
    FROM payout p JOIN settlement_batch s ON s.brand_id = p.brand_id AND s.id = p.batch_id
    WHERE p.brand_id = :brand_id AND {condition}
"""


def reserved_is_explained(session: Session, brand_id: int) -> Iterator[Finding]:
    """Reserved is what is in batches and has not been sent, or has come back; of what has been
    sent, the tax."""
    explanation = _PAYOUTS.format(
        owner="p.distributor_id",
        amount="CASE WHEN p.state = 'sent' THEN p.tax ELSE p.amount END",
        condition="p.state IN ('reserved', 'held', 'sent', 'failed', 'returned')",
    )
    yield from _explained(session, brand_id, AccountKind.RESERVED, explanation)


def clearing_is_explained(session: Session, brand_id: int) -> Iterator[Finding]:
    """Clearing is what has been sent and is not decided."""
    explanation = _PAYOUTS.format(
        owner="0", amount="p.amount - p.tax", condition="p.state = 'sent'"
    )
    yield from _explained(session, brand_id, AccountKind.PAYOUT_CLEARING, explanation)


def paid_is_explained(session: Session, brand_id: int) -> Iterator[Finding]:
    """Paid is the sum of the paid payouts, net, and of what was found to be paid otherwise."""
    explanation = (
        _PAYOUTS.format(
            owner="p.distributor_id", amount="p.amount - p.tax", condition="p.state = 'paid'"
        )
        + """
        UNION ALL
        SELECT distributor_id, asset, -amount FROM adjustment
        WHERE brand_id = :brand_id AND state = 'approved' AND kind IN ('overpaid', 'underpaid')
        """
    )
    yield from _explained(session, brand_id, AccountKind.PAID, explanation)


def withheld_is_explained(session: Session, brand_id: int) -> Iterator[Finding]:
    """Tax withheld is that of the paid payouts."""
    explanation = _PAYOUTS.format(
        owner="p.distributor_id", amount="p.tax", condition="p.state = 'paid' AND p.tax > 0"
    )
    yield from _explained(session, brand_id, AccountKind.TAX_WITHHELD, explanation)


def written_off_is_explained(session: Session, brand_id: int) -> Iterator[Finding]:
    """Debts written off are the approved write-offs."""
    yield from _explained(
        session,
        brand_id,
        AccountKind.DEBT_WRITTEN_OFF,
        """
        SELECT 0 AS distributor_id, asset, -amount AS amount FROM adjustment
        WHERE brand_id = :brand_id AND state = 'approved' AND kind = 'write_off'
        """,
    )


def adjustments_are_posted(session: Session, brand_id: int) -> Iterator[Finding]:
    """An approved adjustment is one transfer, of its kind, amount and distributor, by decision of
    somebody who had not asked for it; nothing else is posted as one."""
    yield from find_rows(
        session,
        "settlement.adjustments",
        "adjustment {id} ({kind}, {state}) of {distributor_id} over {amount}, asked for by"
        " {requested_by}, decided by {decided_by}: the ledger has {posted} for {owner}",
        f"""
        SELECT coalesce(a.id, t.posting_id) AS id, a.kind, a.state, a.distributor_id, a.amount,
               a.requested_by, a.decided_by, t.amount AS posted, t.distributor_id AS owner
        FROM (SELECT * FROM adjustment WHERE brand_id = :brand_id) a
        FULL JOIN ({_ADJUSTED}) t ON t.posting_id = a.id
        WHERE a.id IS NULL OR (a.state = 'approved') <> (t.posting_id IS NOT NULL)
           OR t.amount <> a.amount OR t.distributor_id <> a.distributor_id OR t.asset <> a.asset
           OR t.code <> CASE a.kind WHEN 'overpaid' THEN 14 WHEN 'underpaid' THEN 15 ELSE 16 END
           OR (a.state = 'approved'
               AND lower(btrim(a.requested_by)) = lower(btrim(a.decided_by)))
        """,
        {"brand_id": brand_id},
    )


def batches_add_up(session: Session, brand_id: int) -> Iterator[Finding]:
    """A batch is what was approved: its payouts, their sum and their hash; and it is in the state
    that its payouts are in."""
    yield from find_rows(
        session,
        "settlement.batch",
        "batch {number} ({state}): recorded {payouts} payouts of {total}, there are {found} of"
        " {sum}",
        """
        SELECT * FROM (
            SELECT s.number, s.payouts, s.total, s.tax_total, s.content_hash, s.state, c.hash,
                   c.payouts AS found, c.total AS sum, c.tax_total AS tax, n.*
            FROM settlement_batch s
            CROSS JOIN LATERAL settlement_content(s.brand_id, s.id) c
            CROSS JOIN LATERAL (
                SELECT count(*) FILTER (WHERE p.state IN ('sent', 'paid', 'failed', 'returned',
                                                          'voided')) AS begun,
                       count(*) FILTER (WHERE p.state IN ('reserved', 'held', 'sent', 'failed',
                                                          'returned')) AS unresolved,
                       count(*) FILTER (WHERE p.state = 'cancelled') AS cancelled
                FROM payout p WHERE p.brand_id = s.brand_id AND p.batch_id = s.id) n
            WHERE s.brand_id = :brand_id) b
        WHERE payouts <> found OR total <> sum OR tax_total <> tax OR content_hash <> hash
           OR (state = 'settled' AND unresolved > 0)
           OR (state IN ('draft', 'submitted', 'approved', 'cancelled') AND begun > 0)
           OR (state = 'cancelled') <> (cancelled > 0)
        """,
        {"brand_id": brand_id},
    )


def payouts_add_up(session: Session, brand_id: int) -> Iterator[Finding]:
    """A payout is the sum of its items, at or above the minimum; what is paid was paid by one
    attempt, its last; what is sent has one that is open."""
    yield from find_rows(
        session,
        "settlement.payout",
        "payout {no} of batch {number}: amount {amount}, items add up to {items}; minimum"
        " {minimum_payout}, state {state}, attempts {tries}",
        """
        SELECT * FROM (
            SELECT s.number, p.no, p.amount, p.state, s.minimum_payout, x.tries,
                   (SELECT sum(x) FROM unnest(p.amounts) x) AS items
            FROM payout p
            JOIN settlement_batch s ON s.brand_id = p.brand_id AND s.id = p.batch_id
            LEFT JOIN LATERAL (
                SELECT string_agg(a.state, ',' ORDER BY a.attempt) AS tries
                FROM payout_attempt a WHERE a.brand_id = p.brand_id AND a.batch_id = p.batch_id
                 AND a.no = p.no) x ON true
            WHERE p.brand_id = :brand_id) x
        WHERE amount IS DISTINCT FROM items OR amount < minimum_payout
           OR CASE
              WHEN state = 'paid' THEN tries IS NULL
                  OR tries !~ '^((failed|returned),)*paid$'
              WHEN state = 'sent' THEN tries IS NULL
                  OR tries !~ '^((failed|returned),)*(sent|pending)$'
              WHEN state IN ('removed', 'cancelled') THEN tries IS NOT NULL
              ELSE tries !~ '^(failed|returned)(,(failed|returned))*$' END
        """,
        {"brand_id": brand_id},
    )


def approvals_are_of_others(session: Session, brand_id: int) -> Iterator[Finding]:
    """What is or was paid has been approved, as it is, by as many as it needed, none of whom made
    it."""
    yield from find_rows(
        session,
        "settlement.approvals",
        "batch {number} ({state}) by {created_by}: {approvals} of {approvals_needed} approvals"
        " by others",
        """
        SELECT * FROM (
            SELECT s.number, s.state, s.created_by, s.approvals_needed, (
                SELECT count(DISTINCT lower(btrim(a.approved_by))) FROM batch_approval a
                WHERE a.brand_id = s.brand_id AND a.batch_id = s.id AND a.round = s.round
                  AND a.content_hash = s.content_hash
                  AND lower(btrim(a.approved_by)) NOT IN
                      (lower(btrim(s.created_by)), lower(btrim(s.submitted_by)))) AS approvals
            FROM settlement_batch s
            WHERE s.brand_id = :brand_id
              AND s.state NOT IN ('draft', 'submitted', 'cancelled')) b
        WHERE approvals < approvals_needed
        """,
        {"brand_id": brand_id},
    )


def files_hold_what_was_sent(session: Session, brand_id: int) -> Iterator[Finding]:
    """A payment file holds what its calls handed over, but for what its adapter refused to write,
    and no call is in two files."""
    yield from find_rows(
        session,
        "settlement.file",
        "file {file_no} of batch {number}: it holds {payouts} payouts of {total}, its calls handed"
        " over {sent} of {sum}",
        """
        SELECT * FROM (
            SELECT s.number, f.file_no, f.payouts, f.total, f.calls,
                   coalesce(sum(p.payouts), 0) - coalesce(max(r.payouts), 0) AS sent,
                   coalesce(sum(p.total), 0) - coalesce(max(r.total), 0) AS sum,
                   (SELECT count(*) FROM batch_file g WHERE g.brand_id = f.brand_id
                    AND g.batch_id = f.batch_id AND g.calls && f.calls) AS files
            FROM batch_file f
            JOIN settlement_batch s ON s.brand_id = f.brand_id AND s.id = f.batch_id
            LEFT JOIN batch_posting p ON p.brand_id = f.brand_id AND p.batch_id = f.batch_id
                 AND p.posting_id = ANY(f.calls)
            CROSS JOIN LATERAL (
                SELECT count(*) AS payouts, sum(q.amount - q.tax) AS total
                FROM payout_attempt a
                JOIN payout q ON q.brand_id = a.brand_id AND q.batch_id = a.batch_id
                     AND q.no = a.no
                WHERE a.brand_id = f.brand_id AND a.batch_id = f.batch_id
                  AND a.call_no = ANY(f.calls) AND a.state = 'failed' AND a.asked <= 1) r
            WHERE f.brand_id = :brand_id GROUP BY s.number, f.brand_id, f.batch_id, f.file_no) x
        WHERE payouts <> sent OR total <> sum OR files > 1
        """,
        {"brand_id": brand_id},
    )


def tax_can_be_computed_again(session: Session, brand_id: int) -> Iterator[Finding]:
    """Each payout's tax is what its regime withholds from the facts kept beside it."""
    for row in session.scalars(
        select(PayoutTax)
        .where(PayoutTax.brand_id == brand_id)
        .order_by(PayoutTax.batch_id, PayoutTax.no)
        .execution_options(yield_per=2_000)
    ):
        again = find_regime(row.regime, row.year).withhold(facts_of(row)).tax
        if again != row.tax:
            yield Finding(
                "settlement.tax",
                f"payout {row.no} of batch {row.batch_id}: {row.tax} was withheld, {row.regime}"
                f" gives {again}",
            )
    yield from find_rows(
        session,
        "settlement.tax",
        "payout {no} of batch {batch_id}: {tax} is withheld of {amount}, computed were {computed}"
        " of {gross}",
        """
        SELECT p.batch_id, p.no, p.tax, p.amount, t.tax AS computed, t.gross
        FROM payout p
        FULL JOIN (SELECT * FROM payout_tax WHERE brand_id = :brand_id) t
             ON t.brand_id = p.brand_id AND t.batch_id = p.batch_id AND t.no = p.no
        WHERE p.brand_id = :brand_id AND coalesce(t.tax, 0) <> p.tax
           OR t.gross <> p.amount
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
    withheld_is_explained,
    written_off_is_explained,
    adjustments_are_posted,
    batches_add_up,
    payouts_add_up,
    approvals_are_of_others,
    files_hold_what_was_sent,
    tax_can_be_computed_again,
    no_work_is_stuck,
    *book_audit.CHECKS,
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
