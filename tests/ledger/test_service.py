"""Posting, folding and reading balances against a plain dict."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from distrib import ids
from distrib.audit import Finding
from distrib.brands.tables import Brand
from distrib.bulk import SMALL
from distrib.db import Database, Lock, cursor, lock
from distrib.ledger import audit
from distrib.ledger.chart import FLOWS, MAY_BE_OVERDRAWN, AccountKind, TransferCode
from distrib.ledger.service import fold, post, post_query, read_balances
from distrib.ledger.tables import Transfer, UnfoldedPosting
from tests import factories

THEN = datetime(2026, 3, 1, 4, tzinfo=UTC)
OWNERS = (1, 2, 77, 2**59 - 1)

Movement = tuple[TransferCode, int, int]
"""Code, owner, amount."""
Model = Counter[tuple[int, AccountKind]]


def post_movements(
    session: Session, brand: Brand, posting_id: int, movements: Sequence[Movement]
) -> None:
    """Post movements as one posting."""
    codes, owners, amounts = (np.array([m[i] for m in movements], np.int64) for i in range(3))
    post(
        cursor(session),
        brand_id=brand.id,
        asset=brand.currency,
        posted_at=THEN,
        posting_id=np.full(len(movements), posting_id),
        seq=np.arange(1, len(movements) + 1),
        code=codes,
        owner=owners,
        amount=amounts,
    )


def expect(model: Model, movements: Sequence[Movement]) -> None:
    """What the movements do to the model."""
    for code, owner, amount in movements:
        debit, credit = FLOWS[code]
        model[owner if debit >= AccountKind.HELD else 0, debit] -= amount
        model[owner if credit >= AccountKind.HELD else 0, credit] += amount


def balances(session: Session, brand: Brand) -> Model:
    """All balances of the owners and the brand."""
    return Counter(
        {
            (owner, kind): amount
            for owner in (0, *OWNERS)
            for (kind, _), amount in read_balances(session, brand_id=brand.id, owner=owner).items()
        }
    )


def findings(session: Session, brand: Brand) -> list[Finding]:
    return [each for check in audit.CHECKS for each in check(session, brand.id)]


MOVEMENTS = st.lists(
    st.tuples(
        st.sampled_from(TransferCode),
        st.sampled_from(OWNERS),
        st.one_of(st.sampled_from([1, 10**12]), st.integers(1, 10_000)),
    ),
    min_size=1,
    max_size=6,
)
STEPS = st.lists(
    st.one_of(MOVEMENTS, st.integers(1, 4), st.just("rollback")), min_size=1, max_size=12
)


@given(STEPS)
@settings(max_examples=25)
def test_balances_are_a_dict(db: Database, steps: list[Any]) -> None:
    """Post (list), fold some postings (number), or post and roll back, in any order."""
    brand, model, waiting = factories.brand(db), Model(), 0
    for step in steps:
        if step == "rollback":
            with db.transaction() as session:
                post_movements(session, brand, ids.new(), [(TransferCode.ACCRUE, 1, 5)])
                session.rollback()
        elif isinstance(step, int):
            with db.transaction() as session:
                assert fold(session, brand_id=brand.id, postings=step) == min(step, waiting)
            waiting -= min(step, waiting)
        else:
            with db.transaction() as session:
                post_movements(session, brand, ids.new(), step)
            expect(model, step)
            waiting += 1
        with db.transaction() as session:
            found = balances(session, brand)
            assert {key: value for key, value in found.items() if value} == {
                key: value for key, value in model.items() if value
            }
    with db.snapshot() as snapshot:
        overdrawn = {
            key for key, value in model.items() if value < 0 and key[1] not in MAY_BE_OVERDRAWN
        }
        found_wrong = findings(snapshot, brand)
        assert {each.check for each in found_wrong} == (
            {"ledger.overdrawn"} if overdrawn else set()
        )
        assert len(found_wrong) == len(overdrawn)


def test_the_books_balance(db: Database, brand: Brand) -> None:
    with db.transaction() as session:
        post_movements(session, brand, ids.new(), [(code, 1, 7 + code) for code in TransferCode])
        post_movements(session, brand, ids.new(), [(code, 2, 70 + code) for code in TransferCode])
    with db.transaction() as session:
        assert sum(balances(session, brand).values()) == 0
        assert fold(session, brand_id=brand.id) == 2
    with db.transaction() as session:
        debits, credits = session.execute(
            text("SELECT sum(debits), sum(credits) FROM balance WHERE brand_id = :id"),
            {"id": brand.id},
        ).one()
        assert debits == credits > 0


@pytest.mark.parametrize("count", [1, SMALL, SMALL + 1])
def test_posting_twice_is_refused_and_leaves_nothing(
    db: Database, brand: Brand, count: int
) -> None:
    posting, movements = ids.new(), [(TransferCode.ACCRUE, 1, 5)] * count
    with db.transaction() as session:
        post_movements(session, brand, posting, movements)
    for again in (movements, [(TransferCode.MATURE, 2, 9)]):
        with pytest.raises(psycopg.errors.UniqueViolation), db.transaction() as session:
            post_movements(session, brand, posting, again)
    with db.transaction() as session:
        count_of = select(func.count()).select_from(Transfer).where(Transfer.brand_id == brand.id)
        assert session.scalar(count_of) == count
        assert +balances(session, brand) == {(1, AccountKind.HELD): 5 * count}


@pytest.mark.parametrize("amount", [0, -1, -(10**12)])
@pytest.mark.parametrize("count", [1, SMALL + 1])
def test_only_positive_amounts_move(db: Database, brand: Brand, amount: int, count: int) -> None:
    movements = [(TransferCode.ACCRUE, 1, 5)] * (count - 1) + [(TransferCode.ACCRUE, 1, amount)]
    with (
        pytest.raises(psycopg.errors.CheckViolation, match="amount_positive"),
        db.transaction() as session,
    ):
        post_movements(session, brand, ids.new(), movements)
    with db.transaction() as session:
        assert balances(session, brand) == Model()


def test_one_posting_to_another_brand_is_another(db: Database, brand: Brand) -> None:
    other, posting = factories.brand(db), ids.new()
    with db.transaction() as session:
        post_movements(session, brand, posting, [(TransferCode.ACCRUE, 1, 5)])
        post_movements(session, other, posting, [(TransferCode.ACCRUE, 1, 6)])
    with db.transaction() as session:
        assert fold(session, brand_id=other.id) == 1
        assert balances(session, brand)[1, AccountKind.HELD] == 5
        assert balances(session, other)[1, AccountKind.HELD] == 6


# -- posting inside the server --------------------------------------------------------------------

_TWO = (
    "SELECT * FROM (VALUES (1, 7, 100, :asset), (2, 8, 50, :asset)) q (seq, owner, amount, asset)"
)


@pytest.mark.parametrize("code", TransferCode)
def test_a_query_posts_like_columns(db: Database, brand: Brand, code: TransferCode) -> None:
    scope = {"brand_id": brand.id, "posted_at": THEN, "code": code}
    with db.transaction() as session:
        posting = ids.new()
        count = post_query(
            session,
            posting_id=posting,
            query=_TWO,
            parameters={"asset": "CNY"},
            **scope,  # type: ignore[arg-type]
        )
        assert count == 2
        queued = select(UnfoldedPosting.posting_id).where(UnfoldedPosting.brand_id == brand.id)
        assert list(session.scalars(queued)) == [posting]
    with db.transaction() as session:
        debit, credit = FLOWS[code]
        for owner, amount in ((7, 100), (8, 50)):
            found = read_balances(session, brand_id=brand.id, owner=owner)
            wanted = {debit: -amount, credit: amount}
            assert found == {
                (kind, "CNY"): x for kind, x in wanted.items() if kind >= AccountKind.HELD
            }
        assert findings_without_overdrafts(session, brand) == []


def findings_without_overdrafts(session: Session, brand: Brand) -> list[Finding]:
    return [each for each in findings(session, brand) if each.check != "ledger.overdrawn"]


def test_a_query_that_finds_nothing_posts_nothing(db: Database, brand: Brand) -> None:
    with db.transaction() as session:
        count = post_query(
            session,
            brand_id=brand.id,
            posting_id=ids.new(),
            code=TransferCode.MATURE,
            posted_at=THEN,
            query="SELECT 1 AS seq, 7 AS owner, 5 AS amount, 'CNY' AS asset WHERE false",
            parameters={},
        )
        assert count == 0
        assert fold(session, brand_id=brand.id) == 0
        assert balances(session, brand) == Model()


# -- folding --------------------------------------------------------------------------------------


@given(
    st.lists(MOVEMENTS, min_size=1, max_size=8),
    st.lists(st.integers(1, 3), max_size=8),
)
@settings(max_examples=12)
def test_folding_in_any_rounds_gives_the_same(
    db: Database, postings: list[list[Movement]], rounds: list[int]
) -> None:
    at_once, by_rounds = factories.brand(db), factories.brand(db)
    for brand in (at_once, by_rounds):
        with db.transaction() as session:
            for movements in postings:
                post_movements(session, brand, ids.new(), movements)
    with db.transaction() as session:
        assert fold(session, brand_id=at_once.id) == len(postings)
    for size in rounds:
        with db.transaction() as session:
            fold(session, brand_id=by_rounds.id, postings=size, wait=True)
    with db.transaction() as session:
        while fold(session, brand_id=by_rounds.id, postings=1):
            pass
    stored = text("SELECT account, asset, debits, credits FROM balance WHERE brand_id = :id")
    with db.transaction() as session:
        one, other = (
            set(map(tuple, session.execute(stored, {"id": brand.id})))
            for brand in (at_once, by_rounds)
        )
        assert one == other
        assert fold(session, brand_id=at_once.id) == 0


def test_a_fold_that_is_rolled_back_leaves_the_queue(db: Database, brand: Brand) -> None:
    with db.transaction() as session:
        post_movements(session, brand, ids.new(), [(TransferCode.ACCRUE, 1, 5)])
    with db.transaction() as session:
        assert fold(session, brand_id=brand.id) == 1
        session.rollback()
    with db.transaction() as session:
        assert balances(session, brand)[1, AccountKind.HELD] == 5
        assert fold(session, brand_id=brand.id) == 1


@pytest.mark.races
def test_one_folder_at_a_time(db: Database, brand: Brand) -> None:
    with db.transaction() as session:
        post_movements(session, brand, ids.new(), [(TransferCode.ACCRUE, 1, 5)])
    folded: list[int] = []

    def fold_and_wait() -> None:
        with db.transaction() as session:
            folded.append(fold(session, brand_id=brand.id, wait=True))

    with db.transaction() as first:
        lock(first, brand.id, Lock.BALANCES)
        with db.transaction() as second:
            assert fold(second, brand_id=brand.id) == 0, "another is at work"
        thread = threading.Thread(target=fold_and_wait)
        thread.start()
        thread.join(0.2)
        assert thread.is_alive(), "it waits"
        assert fold(first, brand_id=brand.id) == 1
    thread.join(30)
    assert folded == [0], "the first folder left nothing"


@pytest.mark.races
def test_balances_are_exact_while_others_post_and_fold(db: Database, brand: Brand) -> None:
    """Money only moves between two accounts of one owner: their sum stands still at any moment."""
    with db.transaction() as session:
        post_movements(session, brand, ids.new(), [(TransferCode.ACCRUE, 1, 10_000)])
    stop, errors, seen = threading.Event(), list[BaseException](), set[int]()

    def repeat(work: Any) -> None:
        try:
            while not stop.is_set():
                with db.transaction() as session:
                    work(session)
        except BaseException as error:
            errors.append(error)

    def move(session: Session) -> None:
        post_movements(session, brand, ids.new(), [(TransferCode.MATURE, 1, 1)])

    workers = [
        threading.Thread(target=repeat, args=[work])
        for work in (move, move, lambda session: fold(session, brand_id=brand.id, postings=3))
    ]
    for worker in workers:
        worker.start()
    for _ in range(150):
        with db.transaction() as session:
            found = read_balances(session, brand_id=brand.id, owner=1)
            seen.add(sum(found.values()))
    stop.set()
    for worker in workers:
        worker.join(30)
    assert errors == []
    assert seen == {10_000}
    with db.snapshot() as snapshot:
        assert findings(snapshot, brand) == []
