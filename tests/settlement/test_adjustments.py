"""Adjustments: decided by two, posted once, explained to the cent."""

from __future__ import annotations

from datetime import date
from functools import partial
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from distrib import clock, faults, ids
from distrib.brands.tables import Brand
from distrib.config import Settings
from distrib.db import Database
from distrib.errors import Conflict, InvalidInput
from distrib.settlement.adjustments import (
    AdjustmentDecided,
    AdjustmentNotFound,
    DebtTooSmall,
    PaidTooLittle,
    approve_adjustment,
    get_adjustment,
    list_adjustments,
    reject_adjustment,
    request_adjustment,
)
from distrib.settlement.audit import audit_brand
from distrib.settlement.batch import NothingToSettle, cancel_batch
from distrib.settlement.book_tables import Adjustment
from distrib.settlement.debts import debt_of, list_debts
from distrib.settlement.maturation import begin_maturation, mature
from distrib.settlement.people import AnotherPersonNeeded
from distrib.settlement.statement import Earning, list_earnings, read_statement
from distrib.tree.facts import DistributorNotFound
from tests import factories
from tests.factories import NOON, balances, days, give_back, ids_of, order, refund, take
from tests.races.world import background, blocked, findings, together, wait_until

DAY = date(2026, 3, 16)
MATURED = NOON + days(15)
LATER = NOON + days(20)


@pytest.fixture
def ann(db: Database, settings: Settings, brand: Brand) -> int:
    """Ann, who was paid 10.00 and then lost 6.00 and 4.00 of it: she owes 10.00."""
    who = factories.chain(db, brand)["ann"]
    ids_of(take(db, brand, order("o-1", 10_000)))
    factories.settle(db, settings, brand, DAY, MATURED)
    ids_of(give_back(db, brand, refund("r-1", "o-1", (1, 0, 6_000), refunded_at=LATER - days(2))))
    ids_of(give_back(db, brand, refund("r-2", "o-1", refunded_at=LATER - days(1))))
    assert balances(db, brand, who).available == -1_000
    return who


def ask(
    db: Database,
    brand: Brand,
    who: int,
    kind: str = "write_off",
    amount: int | None = None,
    *,
    by: str = "Ann Lee",
) -> Adjustment:
    with clock.travel(LATER), db.transaction() as session:
        return request_adjustment(
            session,
            brand=brand,
            distributor_id=who,
            kind=kind,
            amount=amount,
            reason="gone",
            requested_by=by,
        )


def approve(db: Database, brand: Brand, asked: Adjustment, by: str = "finance") -> Adjustment:
    with clock.travel(LATER):
        return db.run(
            lambda session: approve_adjustment(
                session, brand_id=brand.id, adjustment_id=asked.id, approved_by=by
            )
        )


def outcome(work: Any) -> str:
    try:
        work()
    except (Conflict, InvalidInput) as error:
        return type(error).__name__
    return "well"


def test_a_debt_is_written_off(db: Database, brand: Brand, ann: int) -> None:
    asked = ask(db, brand, ann)
    assert (asked.amount, asked.state, asked.asset) == (1_000, "requested", "CNY")
    assert balances(db, brand, ann).available == -1_000, "nothing counts before it is approved"
    assert findings(db, brand) == []
    done = approve(db, brand, asked)
    assert (done.state, done.decided_by, done.decided_at) == ("approved", "finance", LATER)
    assert done.available_on == date(2026, 3, 21)
    found = balances(db, brand, ann)
    assert (found.available, found.paid, found.reversed) == (0, 1_000, 1_000)
    assert findings(db, brand) == []
    with clock.travel(LATER), db.transaction() as session:
        assert debt_of(session, brand=brand, distributor_id=ann) == 0
        assert list_debts(session, brand=brand) == [
            each for each in list_debts(session, brand=brand) if each.distributor_id != ann
        ]


def test_what_comes_after_a_write_off_is_paid_in_full(
    db: Database, settings: Settings, brand: Brand, ann: int
) -> None:
    approve(db, brand, ask(db, brand, ann, amount=400))
    assert balances(db, brand, ann).available == -600
    ids_of(take(db, brand, order("o-2", 20_000, placed_at=LATER)))
    matured = LATER + days(15)
    batch = factories.draw_up(db, brand, date(2026, 4, 5), matured)
    assert balances(db, brand, ann).reserved == 1_400
    assert findings(db, brand) == []
    with clock.travel(matured), db.transaction() as session:
        cancel_batch(session, brand_id=brand.id, number=batch.number)
    assert balances(db, brand, ann).available == 1_400
    assert findings(db, brand) == [], "an adjustment is opened again like anything else"
    factories.settle(db, settings, brand, date(2026, 4, 5), matured)
    assert balances(db, brand, ann).paid == 2_400
    assert findings(db, brand) == []


def test_overpaid_and_underpaid(db: Database, settings: Settings, brand: Brand, ann: int) -> None:
    approve(db, brand, ask(db, brand, ann, "overpaid", 50))
    found = balances(db, brand, ann)
    assert (found.available, found.paid) == (-1_050, 1_050)
    assert findings(db, brand) == []
    approve(db, brand, ask(db, brand, ann, "underpaid", 1_050))
    found = balances(db, brand, ann)
    assert (found.available, found.paid) == (0, 0)
    assert findings(db, brand) == []
    with pytest.raises(PaidTooLittle, match=r"0\.00 CNY have been paid in all; 0\.01 CNY"):
        ask(db, brand, ann, "underpaid", 1)
    # what was found to be missing is paid by the next batch, at once
    approve(db, brand, ask(db, brand, ann, "overpaid", 300))
    approve(db, brand, ask(db, brand, ann, "underpaid", 300))
    with pytest.raises(NothingToSettle):
        factories.settle(db, settings, brand, date(2026, 3, 21), LATER)


def test_an_adjustment_of_today_waits_for_a_cutoff_of_today(
    db: Database, settings: Settings, brand: Brand, ann: int
) -> None:
    ids_of(take(db, brand, order("o-3", 100_000, distributor="bo", placed_at=NOON)))
    with db.transaction() as session:
        bo = list_ids(session, brand)["bo"]
    factories.settle(db, settings, brand, DAY, MATURED)
    approve(db, brand, ask(db, brand, bo, "underpaid", 700))
    with pytest.raises(NothingToSettle):
        factories.settle(db, settings, brand, date(2026, 3, 20), LATER)
    assert findings(db, brand) == []
    factories.settle(db, settings, brand, date(2026, 3, 21), LATER)
    assert findings(db, brand) == []
    assert balances(db, brand, bo).available == 0


def list_ids(session: Session, brand: Brand) -> dict[str, int]:
    rows = session.execute(
        text("SELECT external_id, id FROM distributor WHERE brand_id = :b"), {"b": brand.id}
    )
    return {row.external_id: row.id for row in rows}


@pytest.mark.parametrize("by", ["Ann Lee", "ann lee ", " ANN LEE"])
def test_it_takes_two(db: Database, brand: Brand, ann: int, by: str) -> None:
    asked = ask(db, brand, ann)
    with pytest.raises(AnotherPersonNeeded, match="has asked for this adjustment"):
        approve(db, brand, asked, by)
    assert balances(db, brand, ann).available == -1_000


def test_the_database_wants_two_as_well(db: Database, brand: Brand, ann: int) -> None:
    asked = ask(db, brand, ann)
    with pytest.raises(Exception, match="second_person"), db.engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE adjustment SET state = 'approved', decided_by = requested_by,"
                " decided_at = now() WHERE id = :id"
            ),
            {"id": asked.id},
        )


def test_rejecting(db: Database, brand: Brand, ann: int) -> None:
    asked = ask(db, brand, ann)
    with db.transaction() as session:
        scope: dict[str, Any] = {"brand_id": brand.id, "adjustment_id": asked.id}
        assert reject_adjustment(session, **scope, rejected_by="Ann Lee").state == "rejected"
    with pytest.raises(AdjustmentDecided, match="it was rejected by Ann Lee"):
        approve(db, brand, asked)
    with pytest.raises(AdjustmentDecided), db.transaction() as session:
        reject_adjustment(session, **scope, rejected_by="Bo")
    assert balances(db, brand, ann).available == -1_000
    assert findings(db, brand) == []
    done = approve(db, brand, ask(db, brand, ann))
    with pytest.raises(AdjustmentDecided, match="it was approved by finance"):
        approve(db, brand, done, "cy")
    with db.transaction() as session:
        found = list_adjustments(session, brand_id=brand.id)
        assert [each.state for each in found] == ["approved", "rejected"]
        assert list_adjustments(session, brand_id=brand.id, state="requested") == []


@pytest.mark.parametrize(
    "changes, refusal, reason",
    [
        ({"amount": 1_001}, DebtTooSmall, r"10\.00 CNY are owed at present; 10\.01 CNY cannot"),
        ({"amount": 0}, InvalidInput, "outside 1 to"),
        ({"amount": -5}, InvalidInput, "outside 1 to"),
        ({"amount": 10**15, "kind": "overpaid"}, InvalidInput, "outside 1 to"),
        ({"kind": "overpaid"}, InvalidInput, "say how much"),
        ({"by": "  "}, InvalidInput, "must have 1 to 200"),
    ],
)
def test_what_cannot_be_asked_for(
    db: Database, brand: Brand, ann: int, *, changes: dict[str, Any], refusal: Any, reason: str
) -> None:
    with pytest.raises(refusal, match=reason):
        ask(db, brand, ann, **changes)


def test_a_reason_says_something(db: Database, brand: Brand, ann: int) -> None:
    for reason in ("", "  ", "\x00", "x" * 3_000):
        with pytest.raises(InvalidInput) as caught, db.transaction() as session:
            request_adjustment(
                session,
                brand=brand,
                distributor_id=ann,
                kind="write_off",
                amount=1,
                reason=reason,
                requested_by="bo",
            )
        assert caught.value.field == "reason"


def test_adjustments_are_their_brands(db: Database, brand: Brand, ann: int) -> None:
    asked = ask(db, brand, ann)
    other = factories.brand(db)
    with pytest.raises(AdjustmentNotFound):
        approve(db, other, asked)
    with db.transaction() as session:
        for verb in (
            partial(get_adjustment, session),
            partial(reject_adjustment, session, rejected_by="x"),
        ):
            with pytest.raises(AdjustmentNotFound):
                verb(brand_id=other.id, adjustment_id=asked.id)
    with pytest.raises(DistributorNotFound):
        ask(db, other, ann)


def test_a_debt_that_became_smaller_is_not_written_off(
    db: Database, brand: Brand, ann: int
) -> None:
    asked = ask(db, brand, ann)
    ids_of(take(db, brand, order("o-2", 3_000, placed_at=NOON), now=LATER))
    with pytest.raises(DebtTooSmall, match=r"7\.00 CNY are owed at present; 10\.00 CNY cannot"):
        approve(db, brand, asked)
    assert balances(db, brand, ann).available == -700
    with db.transaction() as session:
        state = get_adjustment(session, brand_id=brand.id, adjustment_id=asked.id).state
    assert state == "requested", "it may be rejected, or approved should the debt grow again"
    assert findings(db, brand) == []


def test_what_began_to_mature_settles_the_debt_first(db: Database, brand: Brand, ann: int) -> None:
    ids_of(take(db, brand, order("o-2", 3_000, placed_at=NOON + days(1))))
    asked = ask(db, brand, ann)
    with clock.travel(LATER), db.transaction() as session:
        begin_maturation(session, brand_id=brand.id, through=None)
    with pytest.raises(DebtTooSmall, match=r"7\.00 CNY are owed"):
        approve(db, brand, asked)
    approve(db, brand, ask(db, brand, ann, amount=700))
    with clock.travel(LATER):
        mature(db, brand_id=brand.id)
    assert balances(db, brand, ann).available == 0
    assert findings(db, brand) == []


def test_an_adjustment_does_not_mature(db: Database, brand: Brand, ann: int) -> None:
    approve(db, brand, ask(db, brand, ann))
    for later in (0, 1, 5):
        with clock.travel(LATER + days(later)):
            mature(db, brand_id=brand.id)
        assert balances(db, brand, ann).available == 0
        assert findings(db, brand) == []


def test_a_stop_while_posting_leaves_nothing(db: Database, brand: Brand, ann: int) -> None:
    asked = ask(db, brand, ann)

    def hook(name: str) -> None:
        if name == "adjustment.posted":
            raise KeyboardInterrupt(name)

    faults.hook = hook
    try:
        with pytest.raises(KeyboardInterrupt):
            approve(db, brand, asked)
    finally:
        faults.hook = None
    assert balances(db, brand, ann).available == -1_000
    assert findings(db, brand) == []
    approve(db, brand, asked)
    assert balances(db, brand, ann).available == 0


def test_a_statement_shows_adjustments(db: Database, brand: Brand, ann: int) -> None:
    approve(db, brand, ask(db, brand, ann, "overpaid", 50))
    done = approve(db, brand, ask(db, brand, ann, amount=1_050))
    with db.snapshot() as session:
        told = read_statement(session, brand=brand, distributor_id=ann)
        pages: list[Earning] = []
        before = None
        while page := list_earnings(
            session, brand_id=brand.id, distributor_id=ann, before=before, limit=1
        ):
            pages += page
            before = (page[-1].day, page[-1].source_id)
        whole = list_earnings(session, brand_id=brand.id, distributor_id=ann)
    assert pages == whole
    assert [(e.kind, e.amount, e.status) for e in whole] == [
        ("adjustment", 1_050, "available"),
        ("adjustment", -50, "available"),
        ("refund", -400, "available"),
        ("refund", -600, "available"),
        ("order", 1_000, "paid"),
    ]
    assert (whole[0].source_id, whole[0].order_id, whole[0].available_on) == (
        done.id,
        None,
        date(2026, 3, 21),
    )
    assert sum(day.earned for day in told.days) == told.balances.earned == 2_050
    assert sum(day.paid for day in told.days) == told.balances.paid == 1_050
    assert sum(day.reversed for day in told.days) == told.balances.reversed


# -- the audit finds what is wrong ----------------------------------------------------------------


CORRUPTIONS = {
    "no open item": ("DELETE FROM open_item WHERE posting_id = :id", "settlement.items"),
    "another amount open": (
        "UPDATE open_item SET amount = amount - 1 WHERE posting_id = :id",
        "settlement.items",
    ),
    "open, and not available": (
        "UPDATE open_item SET amount = amount - 1 WHERE posting_id = :id",
        "settlement.available",
    ),
    "another day": (
        "UPDATE open_item SET available_on = available_on + 1 WHERE posting_id = :id",
        "settlement.day",
    ),
    "said to be held": (
        "UPDATE open_item SET held = true, available_on = '2030-01-01' WHERE posting_id = :id",
        "settlement.held",
    ),
    "not posted": ("DELETE FROM transfer WHERE posting_id = :id", "settlement.adjustments"),
    "not posted, and open": ("DELETE FROM transfer WHERE posting_id = :id", "settlement.items"),
    "posted and not decided": (
        "UPDATE adjustment SET state = 'requested', decided_by = NULL WHERE id = :id",
        "settlement.adjustments",
    ),
    "decided by who asked": (
        "UPDATE adjustment SET decided_by = upper(requested_by) || ' ' WHERE id = :id",
        "settlement.adjustments",
    ),
    "of somebody else": (
        "UPDATE adjustment SET distributor_id = (SELECT id FROM distributor d WHERE d.brand_id"
        " = adjustment.brand_id AND d.external_id = 'bo') WHERE id = :id",
        "settlement.adjustments",
    ),
    "never asked for": ("DELETE FROM adjustment WHERE id = :id", "settlement.adjustments"),
}
OF_KIND = {
    "write_off": "settlement.debt_written_off",
    "overpaid": "settlement.paid",
    "underpaid": "settlement.paid",
}


@pytest.mark.parametrize("kind", OF_KIND)
@pytest.mark.parametrize("name", [*CORRUPTIONS, "another amount"])
def test_corruption_is_found(db: Database, brand: Brand, ann: int, kind: str, name: str) -> None:
    done = approve(db, brand, ask(db, brand, ann, kind, 300))
    assert findings(db, brand) == []
    change, found_by = CORRUPTIONS.get(name) or (
        "UPDATE adjustment SET amount = amount + sign(amount)::int WHERE id = :id",
        OF_KIND[kind],
    )
    with Session(db.engine) as session:
        session.execute(text("SET LOCAL session_replication_role = replica"))
        assert session.execute(text(change), {"id": done.id}).rowcount == 1  # type: ignore[attr-defined]
        found = {each.check for each in audit_brand(session, brand_id=brand.id)}
        session.rollback()
    assert found_by in found
    assert findings(db, brand) == []


# -- races ----------------------------------------------------------------------------------------


@pytest.mark.races
def test_one_adjustment_approved_at_once_counts_once(db: Database, brand: Brand, ann: int) -> None:
    asked = ask(db, brand, ann)
    found = together(
        *[partial(outcome, partial(approve, db, brand, asked, by)) for by in ("bo", "cy", "di")]
    )
    assert sorted(found) == ["AdjustmentDecided", "AdjustmentDecided", "well"]
    assert balances(db, brand, ann).available == 0
    assert findings(db, brand) == []


@pytest.mark.races
def test_two_write_offs_never_exceed_the_debt(db: Database, brand: Brand, ann: int) -> None:
    asked = [ask(db, brand, ann, amount=amount) for amount in (600, 500, 400)]
    found = together(*[partial(outcome, partial(approve, db, brand, each)) for each in asked])
    assert found.count("well") in (1, 2)
    assert set(found) == {"well", "DebtTooSmall"}
    assert balances(db, brand, ann).available <= 0
    assert findings(db, brand) == []


@pytest.mark.races
def test_an_approval_waits_for_a_batch_that_is_drawn_up(
    db: Database, brand: Brand, ann: int
) -> None:
    asked = ask(db, brand, ann)
    with Session(db.engine) as session:
        session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": brand.id * 16 + 2})
        approving = background(partial(approve, db, brand, asked))
        wait_until(lambda: blocked(db) == 1, "the approval waits for the batch")
        session.commit()
    assert approving().state == "approved"


@pytest.mark.races
def test_orders_refunds_batches_and_write_offs_at_once(
    db: Database, settings: Settings, brand: Brand, ann: int
) -> None:
    asked = [ask(db, brand, ann, amount=amount) for amount in (1_000, 300, 200)]

    def sell() -> str:
        for n in range(6):
            ids_of(take(db, brand, order(f"s-{n}", 1_500, placed_at=NOON), now=LATER))
            ids_of(give_back(db, brand, refund(f"b-{n}", f"s-{n}", (1, 0, 700)), now=LATER))
        return "well"

    def gather() -> str:
        with clock.travel(LATER):
            for _ in range(4):
                try:
                    batch = factories.draw_up(db, brand, date(2026, 3, 21), LATER)
                except NothingToSettle:
                    continue
                with db.transaction() as session:
                    cancel_batch(session, brand_id=brand.id, number=batch.number)
        return "well"

    found = together(
        sell, gather, *[partial(outcome, partial(approve, db, brand, each)) for each in asked]
    )
    assert set(found) <= {"well", "DebtTooSmall"}
    assert findings(db, brand) == []
    assert ids.public("adj", asked[0].id)
