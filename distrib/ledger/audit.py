"""Checks of the ledger by itself: chart, replay, overdrafts."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy.orm import Session

from distrib.audit import Check, Finding, find_rows
from distrib.ledger.chart import FLOWS, MAY_BE_OVERDRAWN, AccountKind


def transfers_follow_the_chart(session: Session, brand_id: int) -> Iterator[Finding]:
    """Every transfer has a known code, and its two accounts are the ones that code moves between,
    of one owner."""
    flows = ", ".join(f"({int(code)}, {int(d)}, {int(c)})" for code, (d, c) in FLOWS.items())
    brand_kinds = int(AccountKind.HELD)
    yield from find_rows(
        session,
        "ledger.chart",
        "transfer {posting_id}/{seq}: code {code} does not move {debit_account} to"
        " {credit_account}",
        f"""
        SELECT t.* FROM transfer t
        LEFT JOIN (VALUES {flows}) f (code, debit, credit) ON f.code = t.code
        WHERE t.brand_id = :brand_id AND (
            f.code IS NULL OR (t.debit_account & 15) <> f.debit
            OR (t.credit_account & 15) <> f.credit
            OR (f.debit < {brand_kinds}) <> (t.debit_account >> 4 = 0)
            OR (f.credit < {brand_kinds}) <> (t.credit_account >> 4 = 0)
            OR (f.debit >= {brand_kinds} AND f.credit >= {brand_kinds}
                AND t.debit_account >> 4 <> t.credit_account >> 4))
        """,
        {"brand_id": brand_id},
    )


_SIDES = """
    SELECT s.account, t.asset, sum(s.debits) AS debits, sum(s.credits) AS credits
    FROM transfer t
    CROSS JOIN LATERAL (VALUES (t.debit_account, t.amount, 0),
                               (t.credit_account, 0, t.amount)) s (account, debits, credits)
    WHERE t.brand_id = :brand_id {condition}
    GROUP BY 1, 2
"""

_FOLDED = """AND NOT EXISTS (
    SELECT FROM unfolded_posting u WHERE u.brand_id = t.brand_id AND u.posting_id = t.posting_id)"""


def balances_equal_a_replay(session: Session, brand_id: int) -> Iterator[Finding]:
    """Each stored balance is the sum of its folded transfers: none counted twice, none left out."""
    yield from find_rows(
        session,
        "ledger.balances",
        "account {account} {asset}: stored {debits}/{credits}, replayed"
        " {replayed_debits}/{replayed_credits} (debits/credits)",
        f"""
        WITH replay AS ({_SIDES.format(condition=_FOLDED)})
        SELECT coalesce(b.account, r.account) AS account, coalesce(b.asset, r.asset) AS asset,
               b.debits, b.credits, r.debits AS replayed_debits, r.credits AS replayed_credits
        FROM (SELECT * FROM balance WHERE brand_id = :brand_id) b
        FULL JOIN replay r ON r.account = b.account AND r.asset = b.asset
        WHERE b.debits IS DISTINCT FROM r.debits OR b.credits IS DISTINCT FROM r.credits
        """,
        {"brand_id": brand_id},
    )


def no_account_is_overdrawn(session: Session, brand_id: int) -> Iterator[Finding]:
    """Credits cover debits in every account but those that may owe."""
    may = ", ".join(str(int(kind)) for kind in MAY_BE_OVERDRAWN)
    yield from find_rows(
        session,
        "ledger.overdrawn",
        "account {account} {asset} is overdrawn by {by}",
        f"""
        SELECT account, asset, debits - credits AS by FROM ({_SIDES.format(condition="")}) s
        WHERE debits > credits AND (account & 15) NOT IN ({may})
        """,
        {"brand_id": brand_id},
    )


def the_queue_names_postings(session: Session, brand_id: int) -> Iterator[Finding]:
    """Every posting that waits for folding has transfers."""
    yield from find_rows(
        session,
        "ledger.queue",
        "posting {posting_id} waits for folding and has no transfers",
        """
        SELECT u.posting_id FROM unfolded_posting u
        WHERE u.brand_id = :brand_id AND NOT EXISTS (
            SELECT FROM transfer t
            WHERE t.brand_id = u.brand_id AND t.posting_id = u.posting_id)
        """,
        {"brand_id": brand_id},
    )


CHECKS: list[Check] = [
    transfers_follow_the_chart,
    balances_equal_a_replay,
    no_account_is_overdrawn,
    the_queue_names_postings,
]
