"""Closing days: in order, once, of exactly what was posted; and nothing slips in afterwards."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from distrib import clock, ids
from distrib.brands.tables import Brand
from distrib.cli.output import as_json
from distrib.config import Settings
from distrib.db import Database
from distrib.errors import InvalidInput
from distrib.ledger.chart import TransferCode
from distrib.ledger.service import post_query
from distrib.settlement.audit import audit_brand
from distrib.settlement.book_tables import DayClose
from distrib.settlement.closes import (
    GRACE,
    AlreadyClosed,
    BooksDoNotAddUp,
    CloseChanged,
    CloseNotFound,
    CloseOutOfOrder,
    DayFigures,
    DayNotOver,
    NothingToClose,
    StillPosting,
    bounds,
    get_close,
    list_closes,
    next_day,
    prepare_close,
    sign_close,
    write_csv,
    write_text,
)
from tests import factories
from tests.factories import NOON, days, give_back, ids_of, order, refund, settle, take

FIRST = date(2026, 3, 1)
LATER = NOON + days(60)


def day(n: int) -> date:
    return FIRST + timedelta(days=n)


def sign(
    db: Database, brand: Brand, which: date, now: datetime = LATER, **options: Any
) -> DayClose:
    facts: dict[str, Any] = {"brand": brand, "day": which, "signed_by": "finance"}
    with clock.travel(now):
        return db.run(lambda session: sign_close(session, **facts | options))


def prepare(
    db: Database, brand: Brand, which: date | None = None, now: datetime = LATER
) -> DayFigures:
    with clock.travel(now), db.snapshot() as session:
        return prepare_close(session, brand=brand, day=which)


def findings(db: Database, brand: Brand) -> list[str]:
    with db.snapshot() as session:
        return [each.detail for each in audit_brand(session, brand_id=brand.id)]


@pytest.fixture
def busy(db: Database, settings: Settings, brand: Brand) -> Brand:
    """Orders on three days, a refund on the third, a settled batch two weeks later."""
    factories.chain(db, brand)
    for n in range(3):
        ids_of(take(db, brand, order(f"o-{n}", 10_000 * (n + 1), placed_at=NOON + days(n))))
    ids_of(give_back(db, brand, refund("r", "o-0", (1, 0, 2_000)), now=NOON + days(2)))
    settle(db, settings, brand, day(15), NOON + days(17))
    return brand


# -- what a close says ----------------------------------------------------------------------------


def test_a_day(db: Database, busy: Brand) -> None:
    found = prepare(db, busy)
    assert (found.day, found.transfers, found.opening) == (FIRST, 3, {})
    assert found.movements == {"CNY": {"accrue": {"transfers": 3, "amount": 1_700}}}
    assert found.closing == {"CNY": {"commission_expense": -1_700, "held": 1_700}}
    assert (found.first_at, found.end_at) == (
        datetime(2026, 2, 28, 16, tzinfo=UTC),
        datetime(2026, 3, 1, 16, tzinfo=UTC),
    )
    close = sign(db, busy, FIRST)
    signed = DayFigures.of(close)
    assert (signed.signed_by, signed.signed_at) == ("finance", LATER)
    assert [getattr(signed, n) for n in ("closing", "digest", "transfers")] == [
        found.closing, found.digest, found.transfers,
    ]  # fmt: skip
    second = sign(db, busy, day(1))
    assert second.opening == close.closing
    assert second.closing == {"CNY": {"commission_expense": -5_100, "held": 5_100}}
    assert findings(db, busy) == []


def test_the_digest_is_what_the_docs_say(db: Database, busy: Brand) -> None:
    before = b""
    for n in range(3):
        close = sign(db, busy, day(n))
        with db.transaction() as session:
            rows = session.execute(
                text(
                    "SELECT brand_id, posting_id, seq, code, debit_account, credit_account,"
                    " amount, asset FROM transfer WHERE brand_id = :brand_id"
                    " AND posted_at >= :first AND posted_at < :end ORDER BY posting_id, seq"
                ),
                {"brand_id": busy.id, "first": close.first_at, "end": close.end_at},
            ).all()
        plain = "".join(",".join(map(str, row)) + "\n" for row in rows)
        assert close.digest == hashlib.sha256(before + plain.encode()).digest()
        before = close.digest


def test_everything_is_closed_in_the_end(db: Database, busy: Brand) -> None:
    for n in (0, 1, 2):
        sign(db, busy, day(n))
    # the days between have no movement: they are closed with the one that has
    last = sign(db, busy, day(17))
    with db.transaction() as session:
        closes = list_closes(session, brand_id=busy.id)
        assert [each.day for each in closes] == [day(n) for n in range(17, -1, -1)]
        assert {each.transfers for each in closes[1:15]} == {0}
        assert [each.day for each in list_closes(session, brand_id=busy.id, limit=2)] == [
            day(17), day(16),
        ]  # fmt: skip
        assert get_close(session, brand_id=busy.id, day=day(9)).signed_by == "finance"
        total = session.scalar(
            text("SELECT count(*) FROM transfer WHERE brand_id = :id"), {"id": busy.id}
        )
    assert sum(each.transfers for each in closes) == total
    assert last.closing["CNY"]["paid"] > 0
    assert sum(last.closing["CNY"].values()) == 0
    empty = closes[5]
    assert empty.digest == hashlib.sha256(closes[6].digest).digest()
    assert findings(db, busy) == []
    # a quiet week more
    sign(db, busy, day(24))
    assert findings(db, busy) == []


def test_a_day_in_the_brands_own_time(db: Database) -> None:
    brand = factories.brand(db, time_zone="America/New_York")
    factories.chain(db, brand)
    at = datetime(2026, 3, 8, 4, 59, 59, tzinfo=UTC)  # one second to midnight
    ids_of(take(db, brand, order("a", 10_000, placed_at=at)))
    ids_of(take(db, brand, order("b", 10_000, placed_at=at + timedelta(seconds=1))))
    ids_of(take(db, brand, order("c", 10_000, placed_at=at + timedelta(hours=23))))
    assert sign(db, brand, date(2026, 3, 7)).transfers == 3
    short = sign(db, brand, date(2026, 3, 8))
    assert short.end_at - short.first_at == timedelta(hours=23), "clocks go forward"
    assert short.transfers == 6
    assert findings(db, brand) == []
    assert bounds(date(2018, 11, 4), "America/Sao_Paulo")[0] == datetime(
        2018, 11, 4, 3, tzinfo=UTC
    ), "a midnight that there was not"


# -- refusals -------------------------------------------------------------------------------------


def test_days_follow_each_other(db: Database, busy: Brand) -> None:
    with pytest.raises(CloseOutOfOrder, match="2026-03-01 comes first"):
        sign(db, busy, day(1))
    with pytest.raises(CloseOutOfOrder, match="2026-03-01 comes first"):
        prepare(db, busy, day(1))
    with pytest.raises(NothingToClose, match="the first day of the books is 2026-03-01"):
        sign(db, busy, day(-1))
    sign(db, busy, FIRST)
    with pytest.raises(CloseOutOfOrder, match="2026-03-02 comes first"):
        sign(db, busy, day(20))
    with pytest.raises(AlreadyClosed, match="that one by finance"):
        sign(db, busy, FIRST, signed_by="somebody else")
    with pytest.raises(AlreadyClosed):
        prepare(db, busy, FIRST)
    with db.transaction() as session:
        assert next_day(session, brand=busy) == day(1)
        with pytest.raises(CloseNotFound):
            get_close(session, brand_id=busy.id, day=day(1))


def test_only_days_that_are_over(db: Database, busy: Brand) -> None:
    end = bounds(FIRST, busy.time_zone)[1]
    for now in (NOON, end, end + GRACE - timedelta(microseconds=1)):
        with pytest.raises(DayNotOver, match="can be closed from 2026-03-02 00:10 on"):
            sign(db, busy, FIRST, now)
    assert prepare(db, busy, FIRST, NOON).transfers == 3, "what there is so far"
    with pytest.raises(DayNotOver, match="is yet to come"):
        prepare(db, busy, day(1), NOON)
    assert sign(db, busy, FIRST, end + GRACE).transfers == 3


def test_nothing_to_close(db: Database, brand: Brand) -> None:
    with pytest.raises(NothingToClose, match="nothing has been posted yet"):
        prepare(db, brand)
    with pytest.raises(NothingToClose):
        sign(db, brand, FIRST)
    with pytest.raises(InvalidInput):
        sign(db, brand, FIRST, signed_by=" ")
    assert findings(db, brand) == []


def test_what_was_reviewed(db: Database, busy: Brand) -> None:
    seen = prepare(db, busy)
    with pytest.raises(CloseChanged):
        sign(db, busy, FIRST, digest=b"\0" * 32)
    assert sign(db, busy, FIRST, digest=seen.digest).digest == seen.digest


def test_books_that_do_not_add_up_are_not_signed(db: Database, busy: Brand) -> None:
    for change in ("code = 3", "code = 99", "debit_account = 15"):
        with db.transaction() as session:
            session.execute(text("SET LOCAL session_replication_role = replica"))
            session.execute(
                text(f"UPDATE transfer SET {change} WHERE brand_id = :id"), {"id": busy.id}
            )
            with clock.travel(LATER), pytest.raises(BooksDoNotAddUp, match="run the audit"):
                sign_close(session, brand=busy, day=FIRST, signed_by="finance")
            session.rollback()


# -- nothing slips in -----------------------------------------------------------------------------

AHEAD = datetime(2031, 5, 2, tzinfo=UTC)
"""Far ahead of the database's clock: whatever runs now began before that day was over."""


@pytest.fixture
def ahead(db: Database, brand: Brand) -> Brand:
    """A brand with an order far ahead."""
    factories.chain(db, brand)
    ids_of(take(db, brand, order("o-1", 10_000, placed_at=AHEAD)))
    return brand


@contextmanager
def another(db: Database) -> Iterator[Session]:
    """A transaction that runs beside the test."""
    with Session(db.engine) as session:
        session.execute(text("SELECT 1"))
        yield session
        session.rollback()


@pytest.mark.races
def test_a_close_waits_for_what_began_before(db: Database, ahead: Brand) -> None:
    after = AHEAD + days(2)
    with another(db), pytest.raises(StillPosting, match=r"1 transactions may .* \(process \d+\)"):
        sign(db, ahead, AHEAD.date(), after, wait_seconds=0.2)
    with another(db) as other:
        begun, done = threading.Event(), list[DayClose]()

        def close() -> None:
            begun.set()
            done.append(sign(db, ahead, AHEAD.date(), after, wait_seconds=20))

        thread = threading.Thread(target=close)
        thread.start()
        begun.wait(10)
        with clock.travel(AHEAD + timedelta(minutes=5)):
            _post_something(other, ahead)
        thread.join(0.5)
        assert not done, "it waits"
        other.commit()
        thread.join(30)
    (closed,) = done
    assert closed.transfers == 4, "what was on its way is in it"
    with db.snapshot() as session:
        found = {each.check for each in audit_brand(session, brand_id=ahead.id)}
    assert found == {"books.differences"}, "which is all that is wrong with it"


def _post_something(session: Session, brand: Brand) -> None:
    post_query(
        session,
        brand_id=brand.id,
        posting_id=ids.new(),
        code=TransferCode.DIFFER,
        posted_at=clock.now(),
        query="SELECT 1 AS seq, 0 AS owner, 7 AS amount, 'CNY' AS asset",
        parameters={},
    )


@pytest.mark.races
def test_a_close_does_not_wait_for_what_began_later(db: Database, busy: Brand) -> None:
    with another(db):
        assert sign(db, busy, FIRST, wait_seconds=0).transfers == 3


@pytest.mark.races
def test_two_signatures_at_once(db: Database, busy: Brand) -> None:
    barrier, ended = threading.Barrier(2), list[str]()

    def close(name: str) -> None:
        barrier.wait()
        try:
            ended.append(sign(db, busy, FIRST, signed_by=name).signed_by)
        except AlreadyClosed as error:
            ended.append(type(error).__name__)

    threads = [threading.Thread(target=close, args=[name]) for name in ("ann", "bo")]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(ended, key=len)[-1] == "AlreadyClosed"
    with db.transaction() as session:
        assert len(list_closes(session, brand_id=busy.id)) == 1


def test_a_later_intruder_is_found(db: Database, busy: Brand) -> None:
    for n in range(3):
        sign(db, busy, day(n))
    with clock.travel(NOON + days(1)), db.transaction() as session:
        _post_something(session, busy)
        session.flush()
        found = [e for e in audit_brand(session, brand_id=busy.id) if e.check == "books.closes"]
        session.rollback()
    assert {each.row["day"] for each in found} == {day(1)}
    said = " ".join(each.detail for each in found)
    for name in ("movements", "closing", "transfers", "digest"):
        assert f"{name} were signed as" in said
    with clock.travel(NOON - days(9)), db.transaction() as session:
        _post_something(session, busy)
        session.flush()
        details = [each.detail for each in audit_brand(session, brand_id=busy.id)]
        session.rollback()
    assert "1 transfers are of days before 2026-03-01, the first" in details


CORRUPTIONS = {
    "another opening": "opening = '{}'::jsonb",
    "another closing": "closing = jsonb_set(closing, '{CNY,held}', '1')",
    "other movements": "movements = '{}'::jsonb",
    "another count": "transfers = transfers + 1",
    "another digest": "digest = sha256(digest)",
    "another begin": "first_at = first_at + interval '1 hour'",
    "another end": "end_at = end_at - interval '1 minute'",
    "another day": "day = day + 100",
}


@pytest.mark.parametrize("name", [*CORRUPTIONS, "a gap", "a transfer that changed"])
def test_the_audit_names_it(db: Database, busy: Brand, name: str) -> None:
    for n in range(3):
        sign(db, busy, day(n))
    here = "brand_id = :id AND day = '2026-03-02'"
    others = {
        "a gap": f"DELETE FROM day_close WHERE {here}",
        "a transfer that changed": "UPDATE transfer SET seq = seq + 10 WHERE brand_id = :id",
    }
    change = CORRUPTIONS.get(name, "")
    statement = others.get(name, f"UPDATE day_close SET {change} WHERE {here}")
    with db.transaction() as session:
        session.execute(text("SET LOCAL session_replication_role = replica"))
        session.execute(text(statement), {"id": busy.id})
        session.expire_all()
        found = {each.check for each in audit_brand(session, brand_id=busy.id)}
        session.rollback()
    assert "books.closes" in found


# -- whatever was posted --------------------------------------------------------------------------


@given(
    posted=st.lists(st.tuples(st.integers(0, 9), st.integers(1, 5)), min_size=1, max_size=8),
    steps=st.lists(st.integers(0, 12), max_size=6),
)
@hypothesis_settings(max_examples=20)
def test_any_days_can_be_closed_and_replayed(
    db: Database, posted: list[tuple[int, int]], steps: list[int]
) -> None:
    brand = factories.brand(db)
    factories.chain(db, brand)
    for n, (at, units) in enumerate(sorted(posted)):
        placed = NOON + days(at)
        ids_of(take(db, brand, order(f"o-{n}", 1_000 * units, placed_at=placed)))
    moved = sorted({at for at, _ in posted})
    closed = moved[0] - 1
    for step in [*sorted(steps), *moved, 12]:
        between = [at for at in moved if closed < at < step]
        if step <= closed:
            with pytest.raises(AlreadyClosed if closed >= moved[0] else NothingToClose):
                sign(db, brand, day(step))
        elif between:
            with pytest.raises(CloseOutOfOrder, match=str(day(between[0]))):
                sign(db, brand, day(step))
        else:
            sign(db, brand, day(step))
            closed = step
    with db.transaction() as session:
        closes = session.scalars(
            select(DayClose).where(DayClose.brand_id == brand.id).order_by(DayClose.day)
        ).all()
    assert [each.day for each in closes] == [day(n) for n in range(moved[0], 13)]
    units = sum(units for _, units in posted)
    assert closes[-1].closing == {"CNY": {"commission_expense": -170 * units, "held": 170 * units}}
    assert findings(db, brand) == []


# -- on paper -------------------------------------------------------------------------------------


def test_a_close_on_paper(db: Database, busy: Brand) -> None:
    close = DayFigures.of(sign(db, busy, FIRST, signed_by="=cmd|' /C calc'!A0"))
    document = json.loads(as_json(close.document(busy)))
    assert document["day"] == "2026-03-01"
    assert document["closing"] == {"CNY": {"commission_expense": -1_700, "held": 1_700}}
    assert document["digest"] == close.digest.hex()
    rows = list(csv.reader(io.StringIO(write_csv(close))))
    assert rows[:5] == [
        ["part", "name", "asset", "transfers", "amount"],
        ["movement", "accrue", "CNY", "3", "17.00"],
        ["closing", "commission_expense", "CNY", "", "-17.00"],
        ["closing", "held", "CNY", "", "17.00"],
        ["close", "day", "", "3", "2026-03-01"],
    ]
    assert ["close", "signed_by", "", "", "'=cmd|' /C calc'!A0"] in rows
    page = write_text(close, name=busy.name, time_zone=busy.time_zone)
    for words in (
        "Tea House: Sunday, 01 March 2026",
        "2026-03-01 00:00 to 2026-03-02 00:00 Asia/Shanghai; 3 transfers",
        "accrue",
        "-17.00 CNY",
        close.digest.hex(),
        "Signed by =cmd",
    ):
        assert words in page
    assert len(page.splitlines()) < 50
    assert "Not signed." in write_text(prepare(db, busy), name=busy.name, time_zone=busy.time_zone)
