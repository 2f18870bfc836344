"""Batches: what they take, what they leave, and that nothing is paid twice or lost."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy import event, select, text
from sqlalchemy.orm import Session

from distrib import clock, faults, jobs
from distrib.brands.tables import Brand
from distrib.commission.tables import OpenItem
from distrib.config import Settings
from distrib.db import Database
from distrib.errors import DistribError, InvalidInput
from distrib.ledger.service import fold
from distrib.settlement.audit import audit_brand
from distrib.settlement.batch import (
    BatchChanged,
    BatchInWrongState,
    BatchNotFound,
    NothingToSettle,
    approve_batch,
    cancel_batch,
    draw_up_batch,
    get_batch,
    mature_for_batch,
    submit_batch,
)
from distrib.settlement.finishing import list_files
from distrib.settlement.maturation import begin_maturation, mature, post_maturations
from distrib.settlement.progress import batch_progress
from distrib.settlement.providers.registry import choose_provider
from distrib.settlement.running import NothingFailed, retry_batch, run_batch
from distrib.settlement.tables import Maturation, Payout, PayoutAttempt, SettlementBatch
from distrib.tree.service import reactivate_distributor, suspend_distributor
from tests import factories
from tests.factories import NOON, balances, days, draw_up, give_back, ids_of, order, refund, take

DAY = date(2026, 3, 16)
"""The day on which the commission of an order of NOON leaves the hold."""
MATURED = NOON + days(15)


def payouts(db: Database, batch: SettlementBatch) -> dict[int, tuple[int, str]]:
    """Distributor → amount and state."""
    with db.transaction() as session:
        rows = session.scalars(
            select(Payout).where(Payout.brand_id == batch.brand_id, Payout.batch_id == batch.id)
        )
        return {row.distributor_id: (row.amount, row.state) for row in rows}


def items(db: Database, brand: Brand) -> set[tuple[int, int, int, date, str]]:
    """The brand's open items (but for the account they were posted to)."""
    with db.transaction() as session:
        rows = session.scalars(select(OpenItem).where(OpenItem.brand_id == brand.id))
        return {
            (row.distributor_id, row.posting_id, row.amount, row.available_on, row.asset)
            for row in rows
        }


def findings(db: Database, brand_id: int) -> list[str]:
    with db.snapshot() as session:
        return [each.detail for each in audit_brand(session, brand_id=brand_id)]


@contextmanager
def stop_at(point: str) -> Iterator[None]:
    """Raise at a fault point, as a kill would end the work there."""

    def hook(name: str) -> None:
        if name == point:
            raise KeyboardInterrupt(name)

    faults.hook = hook
    try:
        with pytest.raises(KeyboardInterrupt, match=point):
            yield
    finally:
        faults.hook = None


Who = dict[str, int]


@pytest.fixture
def who(db: Database, brand: Brand) -> Who:
    """Ann, Bo and Cy, with a plan of 10 %, 5 % and 2 % in force."""
    return factories.chain(db, brand)


# -- maturing -------------------------------------------------------------------------------------


def test_days_leave_the_hold(db: Database, brand: Brand, who: Who) -> None:
    orders = (order(f"o-{n}", 10_000, placed_at=NOON + days(n)) for n in range(3))
    ids_of(take(db, brand, *orders))
    seen: list[Any] = []
    for day in range(14, 19):
        with clock.travel(NOON + days(day)):
            seen.append(mature(db, brand_id=brand.id))
            assert mature(db, brand_id=brand.id) == 0, "a second time posts nothing"
        found = balances(db, brand, who["ann"])
        seen.append((found.pending, found.available))
        assert findings(db, brand.id) == []
    assert seen == [0, (3000, 0), 3, (2000, 1000), 3, (1000, 2000), 3, (0, 3000), 0, (0, 3000)]


def test_many_days_at_once_are_one_transfer_each(db: Database, brand: Brand, who: Who) -> None:
    orders = (order(f"o-{n}", 10_000, placed_at=NOON + days(n)) for n in range(3))
    ids_of(take(db, brand, *orders))
    with clock.travel(NOON + days(100)):
        assert mature(db, brand_id=brand.id, through=DAY) == 3
        assert balances(db, brand, who["ann"]).available == 1_000
        assert mature(db, brand_id=brand.id, through=DAY - days(1)) == 0
        assert mature(db, brand_id=brand.id) == 3
    assert balances(db, brand, who["ann"]).available == 3_000
    assert findings(db, brand.id) == []


def test_the_future_does_not_mature(db: Database, brand: Brand, who: Who) -> None:
    ids_of(take(db, brand, order("o-1", 10_000)))
    with clock.travel(MATURED - days(1)):
        assert mature(db, brand_id=brand.id, through=DAY) == 0
    with db.transaction() as session:
        matured = session.scalar(select(Brand.matured_through).where(Brand.id == brand.id))
    assert matured == DAY - days(1)


def test_maturing_goes_on_after_a_stop_between_its_steps(
    db: Database, brand: Brand, who: Who
) -> None:
    ids_of(take(db, brand, order("o-1", 10_000), order("o-2", 10_000)))
    ids_of(give_back(db, brand, refund("r-1", "o-2", (1, 0, 5_000))))
    with clock.travel(MATURED), stop_at("mature.begun"):
        mature(db, brand_id=brand.id)
    with db.transaction() as session:
        begun = session.scalars(select(Maturation).where(Maturation.brand_id == brand.id)).one()
        assert (begun.through, begun.posted_at) == (DAY, None)
    assert balances(db, brand, who["ann"]).pending == 1_500
    assert findings(db, brand.id) == [], "what is held is still explained"
    # meanwhile: an order of a matured day, and refunds of an order whose maturation is not posted
    ids_of(take(db, brand, order("late", 10_000), now=MATURED))
    ids_of(give_back(db, brand, refund("r-2", "o-2", (1, 0, 1_000)), now=MATURED))
    ids_of(give_back(db, brand, refund("r-3", "o-1"), now=MATURED))
    found = balances(db, brand, who["ann"])
    assert (found.pending, found.available, found.reversed) == (1_500, -100, 1_600)
    assert findings(db, brand.id) == []
    with clock.travel(MATURED + days(1)):
        assert mature(db, brand_id=brand.id) == 3
        assert mature(db, brand_id=brand.id) == 0
    found = balances(db, brand, who["ann"])
    assert (found.pending, found.available, found.reversed) == (0, 1_400, 1_600)
    assert findings(db, brand.id) == []


def test_two_maturations_begun_are_posted_in_order(db: Database, brand: Brand, who: Who) -> None:
    ids_of(take(db, brand, *(order(f"o-{n}", 10_000, placed_at=NOON + days(n)) for n in (0, 1))))
    for day in (15, 16):
        with clock.travel(NOON + days(day)), stop_at("mature.begun"):
            mature(db, brand_id=brand.id)
    with db.transaction() as session:
        assert post_maturations(session, brand_id=brand.id) == 6
    assert balances(db, brand, who["ann"]).available == 2_000
    assert findings(db, brand.id) == []


def test_a_late_order_is_available_at_once(db: Database, brand: Brand, who: Who) -> None:
    """Its hold was over when it came; nothing waits in held for a day that is past."""
    with clock.travel(MATURED):
        mature(db, brand_id=brand.id)
    ids_of(take(db, brand, order("late", 10_000), now=MATURED + timedelta(hours=1)))
    ids_of(take(db, brand, order("new", 10_000, placed_at=NOON + days(1)), now=MATURED))
    found = balances(db, brand, who["ann"])
    assert (found.pending, found.available) == (1_000, 1_000)
    batch = draw_up(db, brand, DAY, MATURED)
    assert payouts(db, batch)[who["ann"]] == (1_000, "reserved")
    assert findings(db, brand.id) == []


# -- gathering ------------------------------------------------------------------------------------


def test_a_batch_takes_what_is_past_its_hold(db: Database, brand: Brand, who: Who) -> None:
    ids_of(take(db, brand, *(order(f"o-{n}", 10_000, placed_at=NOON + days(n)) for n in range(3))))
    batch = draw_up(db, brand, DAY + days(1), NOON + days(30))
    assert payouts(db, batch) == {
        who["ann"]: (2_000, "reserved"),
        who["bo"]: (1_000, "reserved"),
        who["cy"]: (400, "reserved"),
    }
    assert (batch.number, batch.state, batch.payouts, batch.total) == (1, "draft", 3, 3_400)
    assert (batch.currency, batch.minimum_payout, batch.cutoff) == ("CNY", 100, DAY + days(1))
    found = balances(db, brand, who["ann"])
    assert (found.pending, found.available, found.reserved) == (1_000, 0, 2_000)
    assert findings(db, brand.id) == []


def test_a_payout_says_what_it_is_made_of(db: Database, brand: Brand, who: Who) -> None:
    first, second = ids_of(take(db, brand, order("o-1", 10_000), order("o-2", 20_000)))
    (back,) = ids_of(give_back(db, brand, refund("r-1", "o-2", (1, 0, 5_000))))
    batch = draw_up(db, brand, DAY, MATURED)
    with db.transaction() as session:
        payout = session.scalars(
            select(Payout).where(Payout.brand_id == brand.id, Payout.distributor_id == who["ann"])
        ).one()
    assert payout.batch_id == batch.id
    assert dict(zip(payout.postings, payout.amounts, strict=True)) == {
        first: 1_000,
        second: 2_000,
        back: -500,
    }


def test_small_sums_are_carried_forward(db: Database, who: Who) -> None:
    brand = factories.brand(db, minimum_payout=1_000)
    who = factories.chain(db, brand)
    ids_of(take(db, brand, order("o-1", 9_999), order("o-2", 15, distributor="bo")))
    first = draw_up(db, brand, DAY, MATURED)  # 1000 for Ann, 500 + 2 for Bo, 200 + 1 for Cy
    assert payouts(db, first) == {who["ann"]: (1_000, "reserved")}
    ids_of(take(db, brand, order("o-3", 10_000, placed_at=NOON + days(1)), now=NOON + days(1)))
    second = draw_up(db, brand, DAY + days(1), MATURED + days(1))
    assert payouts(db, second) == {
        who["ann"]: (1_000, "reserved"),
        who["bo"]: (1_002, "reserved"),
    }
    assert balances(db, brand, who["cy"]).available == 401
    assert findings(db, brand.id) == []


@pytest.mark.parametrize("base, due", [(9_989, False), (9_994, False), (9_995, True)])
def test_the_minimum_to_the_fen(db: Database, base: int, due: bool) -> None:
    brand = factories.brand(db, minimum_payout=1_000)
    factories.chain(db, brand, "10%")
    ids_of(take(db, brand, order("o-1", base)))
    if due:
        assert draw_up(db, brand, DAY, MATURED).total == 1_000
    else:
        with pytest.raises(NothingToSettle):
            draw_up(db, brand, DAY, MATURED)


def test_a_debt_is_netted(db: Database, settings: Settings, brand: Brand, who: Who) -> None:
    ids_of(take(db, brand, order("o-1", 10_000)))
    factories.settle(db, settings, brand, DAY, MATURED)
    ids_of(give_back(db, brand, refund("r-1", "o-1", (1, 0, 7_000)), now=MATURED))
    assert balances(db, brand, who["ann"]).available == -700
    ids_of(take(db, brand, order("o-2", 6_000, placed_at=NOON + days(1)), now=MATURED))
    with pytest.raises(NothingToSettle, match="3 distributors"):
        draw_up(db, brand, DAY + days(1), MATURED + days(1))
    ids_of(take(db, brand, order("o-3", 3_000, placed_at=NOON + days(2)), now=MATURED))
    batch = factories.settle(db, settings, brand, DAY + days(2), MATURED + days(2))
    assert payouts(db, batch) == {who["ann"]: (200, "paid"), who["bo"]: (100, "paid")}
    assert balances(db, brand, who["ann"]).available == 0
    assert balances(db, brand, who["cy"]).available == 40, "4 fen of Cy's stay below the minimum"
    assert findings(db, brand.id) == []


# -- nothing to settle ----------------------------------------------------------------------------


def why(db: Database, brand: Brand, cutoff: date = DAY) -> str:
    with pytest.raises(NothingToSettle) as caught:
        draw_up(db, brand, cutoff, MATURED)
    with db.transaction() as session:
        left = select(SettlementBatch).where(
            SettlementBatch.brand_id == brand.id, SettlementBatch.payouts == 0
        )
        assert session.scalars(left).all() == [], "no empty batch is left behind"
    return str(caught.value)


def test_nothing_at_all(db: Database, brand: Brand) -> None:
    assert why(db, brand) == "up to 2026-03-16: no commission is open"


def test_everything_below_the_minimum(db: Database, brand: Brand, who: Who) -> None:
    ids_of(take(db, brand, order("o-1", 900)))
    assert why(db, brand) == (
        "up to 2026-03-16: 3 distributors (1.53 CNY): below the minimum payout; carried forward"
    )


def test_everything_later(db: Database, brand: Brand, who: Who) -> None:
    ids_of(take(db, brand, order("o-1", 10_000)))
    assert why(db, brand, DAY - days(1)) == (
        "up to 2026-03-15: 3 distributors (17.00 CNY): available only after the cutoff"
    )


def test_everything_at_once(db: Database, settings: Settings, brand: Brand, who: Who) -> None:
    dan = factories.enrol(db, brand, {"dan": None, "eli": None})["dan"]
    paid = order("paid", 10_000, distributor="dan", placed_at=NOON - days(20))
    ids_of(take(db, brand, paid))
    assert factories.settle(db, settings, brand, DAY - days(20), MATURED).total == 1_000
    ids_of(
        take(
            db,
            brand,
            order("small", 500),
            order("later", 10_000, placed_at=NOON + days(1), distributor="eli"),
            now=NOON + days(1),
        )
    )
    ids_of(give_back(db, brand, refund("r-1", "paid", refunded_at=NOON + days(2))))
    assert balances(db, brand, dan).available == -1_000
    with pytest.raises(NothingToSettle) as caught:
        draw_up(db, brand, DAY, MATURED)
    assert str(caught.value) == (
        "up to 2026-03-16: 3 distributors (0.85 CNY): below the minimum payout; carried forward;"
        " 1 distributor (10.00 CNY): in debt after refunds; netted from later earnings;"
        " 1 distributor (10.00 CNY): available only after the cutoff"
    )


@pytest.mark.parametrize(
    "currency, minimum, words",
    [
        ("JPY", 5_000, "(1,000 JPY): below the minimum payout"),
        ("KWD", 5_000, "(1.000 KWD): below the minimum payout"),
    ],
)
def test_words_in_the_currency_of_the_brand(
    db: Database, currency: str, minimum: int, words: str
) -> None:
    brand = factories.brand(db, currency=currency, minimum_payout=minimum)
    factories.chain(db, brand, "10%")
    ids_of(take(db, brand, order("o-1", 10_000, currency=currency)))
    assert words in why(db, brand)


def test_a_cutoff_is_not_in_the_future(db: Database, brand: Brand, who: Who) -> None:
    with (
        clock.travel(NOON),
        pytest.raises(InvalidInput, match="2026-03-02 is yet to come, today is 2026-03-01"),
    ):
        mature_for_batch(db, brand=brand, cutoff=date(2026, 3, 2))
    with clock.travel(NOON):
        assert mature_for_batch(db, brand=brand) == date(2026, 3, 1)


def test_a_cutoff_has_matured(db: Database, brand: Brand, who: Who) -> None:
    ids_of(take(db, brand, order("o-1", 10_000)))
    with clock.travel(MATURED):
        mature(db, brand_id=brand.id, through=DAY - days(1))
        with (
            pytest.raises(InvalidInput, match="only days up to 2026-03-15 have left the hold"),
            db.transaction() as session,
        ):
            draw_up_batch(session, brand=brand, cutoff=DAY, created_by="tests")


def test_a_provider_must_be_known(settings: Settings, brand: Brand) -> None:
    with (
        pytest.raises(InvalidInput, match="no provider 'pigeon'; known are bank-file, manual"),
    ):
        choose_provider(settings, brand.slug, "pigeon")


def test_a_batch_posts_a_maturation_that_was_left(db: Database, brand: Brand, who: Who) -> None:
    ids_of(take(db, brand, order("o-1", 10_000)))
    with clock.travel(MATURED), stop_at("mature.begun"):
        mature(db, brand_id=brand.id)
    with clock.travel(MATURED), db.transaction() as session:
        draw_up_batch(session, brand=brand, cutoff=DAY, created_by="tests")
    assert balances(db, brand, who["ann"]).reserved == 1_000
    assert findings(db, brand.id) == []


@pytest.mark.races
def test_a_batch_never_takes_what_is_still_held(db: Database, brand: Brand, who: Who) -> None:
    """A day begins to mature while a batch is drawn up: it is all in the batch, or not at all."""
    ids_of(take(db, brand, order("o-1", 10_000)))
    begun: list[date] = []

    def begin_meanwhile(*about: Any) -> None:
        """Right after the batch has looked at what has matured, another day begins to."""
        looked = "FROM maturation" in about[2] or "matured_through" in about[2]
        if looked and not begun:
            begun.append(DAY)
            with db.transaction() as other:
                begin_maturation(other, brand_id=brand.id, through=DAY)

    with clock.travel(MATURED):
        mature(db, brand_id=brand.id, through=DAY - days(1))
        event.listen(db.engine, "after_cursor_execute", begin_meanwhile)
        try:
            with contextlib.suppress(DistribError), db.transaction() as session:
                draw_up_batch(session, brand=brand, cutoff=DAY, created_by="tests")
        finally:
            event.remove(db.engine, "after_cursor_execute", begin_meanwhile)
        assert begun == [DAY]
        mature(db, brand_id=brand.id)
    assert findings(db, brand.id) == []


# -- suspended ------------------------------------------------------------------------------------


def test_who_is_suspended_is_passed_over(
    db: Database, settings: Settings, brand: Brand, who: Who
) -> None:
    ids_of(take(db, brand, order("o-1", 10_000)))
    with db.transaction() as session:
        suspend_distributor(session, brand_id=brand.id, distributor="ann")
    first = factories.settle(db, settings, brand, DAY, MATURED)
    assert payouts(db, first) == {who["bo"]: (500, "paid"), who["cy"]: (200, "paid")}
    assert balances(db, brand, who["ann"]).available == 1_000
    assert (
        why(db, brand)
        == "up to 2026-03-16: 1 distributor (10.00 CNY): suspended; stays open until reactivated"
    )
    with db.transaction() as session:
        reactivate_distributor(session, brand_id=brand.id, distributor="ann")
    second = factories.settle(db, settings, brand, DAY, MATURED)
    assert payouts(db, second) == {who["ann"]: (1_000, "paid")}
    assert findings(db, brand.id) == []


# -- states ---------------------------------------------------------------------------------------


@pytest.fixture
def draft(db: Database, brand: Brand, who: Who) -> SettlementBatch:
    """A draft batch of three payouts."""
    ids_of(take(db, brand, order("o-1", 10_000), order("o-2", 333)))
    return draw_up(db, brand, DAY, MATURED)


def verb(session: Session, what: str, batch: SettlementBatch) -> None:
    scope: dict[str, Any] = {"brand_id": batch.brand_id, "number": batch.number}
    match what:
        case "approve":
            approve_batch(session, approved_by="finance", content_hash=None, **scope)
        case "submit":
            submit_batch(session, submitted_by="tests", **scope)
        case "run":
            run_batch(session, chunk_payouts=7, **scope)
        case "retry":
            retry_batch(session, **scope)
        case "cancel":
            cancel_batch(session, **scope)


STATES: dict[str, tuple[str, ...]] = {
    "draft": (),
    "submitted": ("submit",),
    "approved": ("submit", "approve"),
    "paying": ("submit", "approve", "run"),
    "cancelled": ("cancel",),
    "settled": ("submit", "approve", "run", "jobs"),
}


ALLOWED = {
    "submit": {"draft"},
    "approve": {"submitted"},
    "run": {"approved"},
    "retry": {"paying"},
    "cancel": {"draft", "submitted", "approved"},
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("what", ALLOWED)
def test_states(
    db: Database, settings: Settings, draft: SettlementBatch, state: str, what: str
) -> None:
    with clock.travel(MATURED):
        for step in STATES[state]:
            if step == "jobs":
                jobs.run_all(db, settings)
            else:
                with db.transaction() as session:
                    verb(session, step, draft)
        with db.transaction() as session:
            assert get_batch(session, brand_id=draft.brand_id, number=1).state == state
            if what == "retry" and state == "paying":
                with pytest.raises(NothingFailed, match="no job of batch 1 has failed"):
                    verb(session, what, draft)
            elif state in ALLOWED[what]:
                verb(session, what, draft)
            else:
                with pytest.raises(BatchInWrongState, match=f"batch 1 is {state}; this needs it"):
                    verb(session, what, draft)
        jobs.run_all(db, settings)  # leaves nothing for the tests that follow
    assert findings(db, draft.brand_id) == []


@pytest.mark.parametrize("kind", ["pay_chunk", "complete_batch"])
def test_what_failed_for_good_is_tried_again(
    db: Database,
    settings: Settings,
    draft: SettlementBatch,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: Any) -> None:
        raise NothingFailed("the bank is closed")

    with clock.travel(MATURED):
        for step in STATES["paying"]:
            with db.transaction() as session:
                verb(session, step, draft)
        with monkeypatch.context() as patch:
            patch.setitem(jobs._handlers, kind, refuse)
            jobs.run_all(db, settings)
        with db.transaction() as session:
            assert get_batch(session, brand_id=draft.brand_id, number=1).state == "paying"
            verb(session, "retry", draft)
        jobs.run_all(db, settings)
    with db.transaction() as session:
        assert get_batch(session, brand_id=draft.brand_id, number=1).state == "settled"
    assert findings(db, draft.brand_id) == []


def test_a_batch_that_is_not_there(db: Database, draft: SettlementBatch) -> None:
    other = factories.brand(db)
    for brand_id, number in ((draft.brand_id, 2), (other.id, 1)):
        with (
            pytest.raises(BatchNotFound, match=f"there is no batch {number}"),
            db.transaction() as session,
        ):
            get_batch(session, brand_id=brand_id, number=number)


@pytest.mark.parametrize("seen", [b"", b"\0" * 32])
def test_approval_is_of_what_was_seen(db: Database, draft: SettlementBatch, seen: bytes) -> None:
    with db.transaction() as session:
        verb(session, "submit", draft)
    with pytest.raises(BatchChanged, match="not what was reviewed"), db.transaction() as session:
        approve_batch(
            session, brand_id=draft.brand_id, number=1, approved_by="finance", content_hash=seen
        )
    with clock.travel(MATURED), db.transaction() as session:
        batch = approve_batch(
            session,
            brand_id=draft.brand_id,
            number=1,
            approved_by="finance",
            content_hash=draft.content_hash,
        )
        assert (batch.state, batch.approved_at, batch.approved_by) == (
            "approved",
            MATURED,
            "finance",
        )


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE payout SET amount = amount + 1",
        "UPDATE payout SET distributor_id = 1",
        "UPDATE payout SET no = no + 10",
        "DELETE FROM payout",
    ],
)
def test_a_draft_that_changed_is_not_approved(
    db: Database, draft: SettlementBatch, change: str
) -> None:
    with db.transaction() as session:
        verb(session, "submit", draft)
        session.execute(text("SET LOCAL session_replication_role = replica"))
        session.execute(text(f"{change} WHERE batch_id = :id AND no = 2"), {"id": draft.id})
    for seen in (None, draft.content_hash):
        with pytest.raises(BatchChanged), db.transaction() as session:
            approve_batch(
                session, brand_id=draft.brand_id, number=1, approved_by="f", content_hash=seen
            )


# -- cancelling -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "steps", [("cancel",), ("submit", "cancel"), ("submit", "approve", "cancel")]
)
def test_cancelling_opens_exactly_what_was_taken(
    db: Database, settings: Settings, brand: Brand, who: Who, steps: tuple[str, ...]
) -> None:
    ids_of(take(db, brand, order("o-1", 10_000), order("o-2", 20_000, placed_at=NOON + days(1))))
    ids_of(give_back(db, brand, refund("r-1", "o-2", (1, 0, 5_000)), now=NOON + days(1)))
    with clock.travel(MATURED + days(1)):
        mature(db, brand_id=brand.id)
    ids_of(give_back(db, brand, refund("r-2", "o-1", (1, 0, 777)), now=MATURED + days(1)))
    before = items(db, brand), [balances(db, brand, each) for each in who.values()]
    for number in (1, 2):
        batch = draw_up(db, brand, DAY + days(1), MATURED + days(1))
        assert batch.number == number
        assert items(db, brand) == set()
        with clock.travel(MATURED + days(1)):
            for step in steps:
                with db.transaction() as session:
                    verb(session, step, batch)
        assert (items(db, brand), [balances(db, brand, each) for each in who.values()]) == before
        assert {state for _, state in payouts(db, batch).values()} == {"cancelled"}
        assert findings(db, brand.id) == []
    # nothing matures a second time, and the next batch is the same
    with clock.travel(MATURED + days(9)):
        assert mature(db, brand_id=brand.id) == 0
    again = factories.settle(db, settings, brand, DAY + days(1), MATURED + days(9))
    assert (again.number, again.total, again.state) == (3, batch.total, "settled")
    assert findings(db, brand.id) == []


# -- paying ---------------------------------------------------------------------------------------


def test_a_batch_is_paid(db: Database, settings: Settings, brand: Brand) -> None:
    """Twenty payouts in chunks of seven."""
    factories.plan(db, brand, "10%")
    names = [f"d-{n:02}" for n in range(20)]
    who = factories.enrol(db, brand, dict.fromkeys(names))
    ids_of(take(db, brand, *(order(f"o-{n}", 10_000, distributor=n) for n in names)))
    draft = draw_up(db, brand, DAY, MATURED)
    assert findings(db, brand.id) == []
    batch = factories.pay(db, settings, draft, MATURED)
    assert (batch.state, batch.payouts, batch.total) == ("settled", 20, 20 * 1_000)
    assert batch.settled_at == MATURED
    assert {balances(db, brand, who[name]).paid for name in names} == {1_000}
    with db.transaction() as session:
        progress = batch_progress(session, batch=batch)
        assert (progress.paid, progress.paid_total) == (20, 20_000)
        attempts = session.scalars(
            select(PayoutAttempt).where(PayoutAttempt.brand_id == brand.id)
        ).all()
        (payment_file,) = list_files(session, batch=batch)
    assert {each.state for each in attempts} == {"paid"}
    assert len({each.request_no for each in attempts}) == 20
    with (settings.data_dir / payment_file.name).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["no"] for row in rows] == [str(n) for n in range(1, 21)]
    assert sorted(row["payee"] for row in rows) == names
    assert {row["amount"] for row in rows} == {"10.00"}
    assert findings(db, brand.id) == []


def test_two_batches_in_sequence(db: Database, settings: Settings, brand: Brand, who: Who) -> None:
    for number in (1, 2):
        placed = NOON + days(number)
        ids_of(take(db, brand, order(f"o-{number}", 10_000 * number, placed_at=placed)))
        batch = factories.settle(db, settings, brand, DAY + days(number), placed + days(15))
        assert (batch.number, payouts(db, batch)[who["ann"]]) == (number, (1_000 * number, "paid"))
        with db.transaction() as session:
            fold(session, brand_id=brand.id)
        with pytest.raises(NothingToSettle):
            draw_up(db, brand, DAY + days(number), placed + days(15))
    assert balances(db, brand, who["ann"]).paid == 3_000
    assert findings(db, brand.id) == []


def test_a_draft_keeps_its_items_from_the_next(db: Database, brand: Brand, who: Who) -> None:
    ids_of(take(db, brand, order("o-1", 10_000)))
    first = draw_up(db, brand, DAY, MATURED)
    with pytest.raises(NothingToSettle):
        draw_up(db, brand, DAY, MATURED)
    ids_of(take(db, brand, order("late", 20_000), now=MATURED))
    second = draw_up(db, brand, DAY, MATURED)
    assert (payouts(db, first)[who["ann"]][0], payouts(db, second)[who["ann"]][0]) == (1_000, 2_000)
    assert (second.number, balances(db, brand, who["ann"]).reserved) == (2, 3_000)
    assert findings(db, brand.id) == []


def test_a_stop_while_gathering_leaves_everything_open(
    db: Database, brand: Brand, who: Who
) -> None:
    ids_of(take(db, brand, order("o-1", 10_000)))
    with clock.travel(MATURED):
        mature(db, brand_id=brand.id)
    before = items(db, brand)
    with stop_at("draw_up.gathered"):
        draw_up(db, brand, DAY, MATURED)
    assert items(db, brand) == before
    assert findings(db, brand.id) == []
    assert draw_up(db, brand, DAY, MATURED).number == 1
