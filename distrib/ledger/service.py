"""Posting, folding and reading balances."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np
from sqlalchemy import text
from sqlalchemy.orm import Session

from distrib.bulk import Writer, write_rows
from distrib.db import Lock, lock, try_lock
from distrib.ledger.chart import BRAND, FLOWS, AccountKind, TransferCode, split
from distrib.ledger.tables import Transfer, UnfoldedPosting

Ints = np.ndarray[Any, np.dtype[np.int64]]


def post(
    writer: Writer,
    *,
    brand_id: int,
    asset: str,
    posted_at: datetime,
    posting_id: Ints,
    seq: Ints,
    code: Ints,
    owner: Ints,
    amount: Ints,
) -> None:
    """Write transfers, given as columns, and queue their postings for folding.

    Debit and credit accounts follow from code and owner, so an unbalanced posting cannot be
    expressed. A posting that is already there meets the primary key and nothing is written.

    :param amount: minor units, each above zero.
    :raises psycopg.errors.UniqueViolation: when a posting was made before.
    """
    debit_kind = np.zeros(len(FLOWS) + 1, np.int64)
    credit_kind = np.zeros(len(FLOWS) + 1, np.int64)
    for each, flow in FLOWS.items():
        debit_kind[each], credit_kind[each] = flow
    debit, credit = debit_kind[code], credit_kind[code]
    write_rows(
        writer,
        Transfer,
        {
            "brand_id": brand_id,
            "posting_id": posting_id,
            "seq": seq,
            "code": code,
            "debit_account": np.where(debit < AccountKind.HELD, BRAND, owner) * 16 + debit,
            "credit_account": np.where(credit < AccountKind.HELD, BRAND, owner) * 16 + credit,
            "amount": amount,
            "asset": asset,
            "posted_at": posted_at,
        },
        len(amount),
    )
    postings = np.unique(posting_id)
    write_rows(
        writer,
        UnfoldedPosting,
        {"brand_id": brand_id, "posting_id": postings},
        len(postings),
    )


def post_query(
    session: Session,
    *,
    brand_id: int,
    posting_id: int,
    code: TransferCode,
    posted_at: datetime,
    query: str,
    parameters: Mapping[str, Any],
    moving: str | None = None,
) -> int:
    """Post what ``query`` selects, inside the server, as one posting, whole.

    A posting is written in one transaction and never added to: what is folded stays folded.

    :param query: SQL giving the columns ``seq, owner, amount, asset``.
    :param moving: ``name AS (…)`` of statements that change rows, for the query to select from:
        what is posted then is exactly what has moved.
    :returns: the number of transfers.
    """
    debit, credit = FLOWS[code]
    sides = ["0" if kind < AccountKind.HELD else "q.owner" for kind in (debit, credit)]
    written = session.execute(
        text(
            f"{f'WITH {moving} ' if moving else ''}"
            "INSERT INTO transfer (brand_id, posting_id, seq, code, debit_account,"
            " credit_account, amount, asset, posted_at)"
            f" SELECT :brand_id, :posting_id, q.seq, {int(code)}, {sides[0]} * 16 + {int(debit)},"
            f" {sides[1]} * 16 + {int(credit)}, q.amount, q.asset, :posted_at FROM ({query}) q"
        ),
        {
            "brand_id": brand_id,
            "posting_id": posting_id,
            "posted_at": posted_at,
            **parameters,
        },
    )
    count = int(written.rowcount)  # type: ignore[attr-defined]  # a CursorResult, as for any DML
    if count:
        session.execute(
            text(
                "INSERT INTO unfolded_posting (brand_id, posting_id)"
                " VALUES (:brand_id, :posting_id)"
            ),
            {"brand_id": brand_id, "posting_id": posting_id},
        )
    return count


_FOLD = text(
    """
    WITH taken AS (
        DELETE FROM unfolded_posting
        WHERE brand_id = :brand_id AND posting_id IN (
            SELECT posting_id FROM unfolded_posting WHERE brand_id = :brand_id
            ORDER BY posting_id LIMIT :postings)
        RETURNING posting_id),
    moved AS (
        SELECT t.debit_account, t.credit_account, t.asset, sum(t.amount) AS amount
        FROM taken JOIN transfer t ON t.brand_id = :brand_id AND t.posting_id = taken.posting_id
        GROUP BY 1, 2, 3),
    sides AS (
        SELECT debit_account AS account, asset, amount AS debits, 0 AS credits FROM moved
        UNION ALL SELECT credit_account, asset, 0, amount FROM moved),
    folded AS (
        INSERT INTO balance AS b (brand_id, account, asset, debits, credits)
        SELECT :brand_id, account, asset, sum(debits), sum(credits) FROM sides
        GROUP BY account, asset ORDER BY account, asset
        ON CONFLICT (brand_id, account, asset) DO UPDATE
        SET debits = b.debits + excluded.debits, credits = b.credits + excluded.credits)
    SELECT count(*) FROM taken
    """
)


def fold(session: Session, *, brand_id: int, postings: int = 20_000, wait: bool = False) -> int:
    """Move up to ``postings`` postings from the queue into balances.

    :param wait: wait for another folder of the brand to end; otherwise leave the work to it.
    :returns: postings folded; 0 when there are none or another folder is at work.
    """
    if wait:
        lock(session, brand_id, Lock.BALANCES)
    elif not try_lock(session, brand_id, Lock.BALANCES):
        return 0
    return int(session.scalar(_FOLD, {"brand_id": brand_id, "postings": postings}) or 0)


_BALANCES = text(
    """
    SELECT account, asset, sum(debits) AS debits, sum(credits) AS credits
    FROM (
        SELECT account, asset, debits, credits FROM balance
        WHERE brand_id = :brand_id AND account BETWEEN :first AND :last
        UNION ALL
        SELECT s.account, t.asset, s.debits, s.credits
        FROM unfolded_posting u
        JOIN transfer t ON t.brand_id = u.brand_id AND t.posting_id = u.posting_id
        CROSS JOIN LATERAL (VALUES (t.debit_account, t.amount, 0),
                                   (t.credit_account, 0, t.amount)) s (account, debits, credits)
        WHERE u.brand_id = :brand_id AND s.account BETWEEN :first AND :last
    ) movements
    GROUP BY account, asset
    """
)


def read_balances(
    session: Session, *, brand_id: int, owner: int
) -> dict[tuple[AccountKind, str], int]:
    """Credits less debits of each of the owner's accounts, by kind and asset, in minor units.

    Exact at the moment of the call: what is folded plus what is still in the queue, in one
    statement and so in one snapshot.
    """
    rows = session.execute(
        _BALANCES, {"brand_id": brand_id, "first": owner * 16, "last": owner * 16 + 15}
    )
    return {(split(row.account)[1], row.asset): int(row.credits - row.debits) for row in rows}
