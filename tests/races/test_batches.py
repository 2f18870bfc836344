"""Batches drawn up, called off, approved and run at the same instant."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from distrib import clock
from distrib.brands.tables import Brand
from distrib.commission.outcome import Status
from distrib.config import Settings
from distrib.db import Database
from distrib.errors import DistribError
from distrib.settlement.batch import (
    BatchInWrongState,
    NothingToSettle,
    approve_batch,
    cancel_batch,
    draw_up_batch,
    get_batch,
    mature_for_batch,
    submit_batch,
)
from distrib.settlement.providers import BatchRef, PayoutRequest
from distrib.settlement.providers.bank_file import BankFile
from distrib.settlement.running import run_batch
from tests.races.world import (
    background,
    blocked,
    days_ago,
    do_jobs,
    findings,
    give_back,
    meanwhile,
    order,
    refund,
    rows,
    take,
    together,
    value,
    wait_until,
)

Step = Callable[[Session], object]


def _today() -> date:
    return clock.day_of(clock.now(), "Asia/Shanghai")


def _draw_up(db: Database, brand: Brand) -> int | None:
    """Draw up a batch up to today; its number, or None when there is nothing."""
    cutoff = mature_for_batch(db, brand=brand)
    try:
        with db.transaction() as session:
            return draw_up_batch(session, brand=brand, cutoff=cutoff, created_by="test").number
    except NothingToSettle:
        return None


def _approve(session: Session, brand: Brand, number: int) -> object:
    submit_batch(session, brand_id=brand.id, number=number, submitted_by="test")
    return approve_batch(
        session, brand_id=brand.id, number=number, approved_by="finance", content_hash=None
    )


def _run(session: Session, brand: Brand, number: int) -> object:
    return run_batch(session, brand_id=brand.id, number=number, chunk_payouts=3)


def _cancel(session: Session, brand: Brand, number: int) -> object:
    return cancel_batch(session, brand_id=brand.id, number=number)


def _try(db: Database, step: Step) -> str:
    try:
        with db.transaction() as session:
            step(session)
    except DistribError as error:
        return error.kind
    return "done"


def _ripe(db: Database, brand: Brand, orders: int = 20) -> None:
    """Orders whose hold is over."""
    take(db, brand, *[order(f"d{2 + n % 10}", placed_at=days_ago(20)) for n in range(orders)])


# -- drawing up -----------------------------------------------------------------------------------


def test_four_batches_drawn_up_at_once(db: Database, shop: Brand) -> None:
    """One gets everything; the others find nothing. No item is in two."""
    _ripe(db, shop)
    numbers = together(*[partial(_draw_up, db, shop)] * 4)
    assert sorted(numbers, key=str) == [1, None, None, None]
    assert value(db, "SELECT count(*) FROM open_item WHERE brand_id = :b", b=shop.id) == 0
    assert findings(db, shop) == []


def test_a_batch_waits_for_another_and_takes_only_the_rest(db: Database, shop: Brand) -> None:
    """Orders come after the first has gathered; the second waits, and takes those."""
    _ripe(db, shop)
    mature_for_batch(db, brand=shop)
    with Session(db.engine) as session:
        draw_up_batch(session, brand=shop, cutoff=_today(), created_by="test")
        _ripe(db, shop, orders=4)
        second = background(partial(_draw_up, db, shop))
        wait_until(lambda: blocked(db) == 1, "the second waits")
        session.commit()
    assert second() == 2
    totals = rows(
        db, "SELECT total FROM settlement_batch WHERE brand_id = :b ORDER BY number", b=shop.id
    )
    assert [total for (total,) in totals] == [20 * 1_700, 4 * 1_700]
    assert findings(db, shop) == []


def test_batches_come_and_go_while_orders_and_refunds_stream_in(
    db: Database, shop: Brand, settings: Settings
) -> None:
    """Three threads take orders and refunds, two draw up batches, and call them off, leave them, or
    pay them; all the while the audit adds up every account and every item."""

    def stream(seed: int) -> None:
        mine = random.Random(seed)
        for _ in range(12):
            ones = [
                order(
                    f"d{mine.randrange(12)}",
                    quantity=2,
                    placed_at=days_ago(mine.choice([0, 1, 14, 15, 16, 20])),
                )
                for _ in range(3)
            ]
            assert {each.status for each in take(db, shop, *ones)} == {Status.ACCEPTED}
            for one in ones:
                if mine.random() < 0.4:
                    (outcome,) = give_back(db, shop, refund(one, quantity=mine.choice([1, 2])))
                    assert outcome.status is Status.ACCEPTED

    def settle() -> None:
        number = _draw_up(db, shop) or 0
        fate = number % 3  # one is left as it is, one called off, one paid
        steps = [[], [_cancel], [_approve, _run]][fate]
        for step in steps:
            assert _try(db, partial(step, brand=shop, number=number)) == "done"
        if fate == 2:
            do_jobs(db, settings, shop)

    def audit() -> None:
        assert findings(db, shop) == []

    with meanwhile(settle, settle, audit):
        together(*[partial(stream, seed) for seed in range(3)])
    for _ in range(3):
        _ripe(db, shop)
        settle()
    assert findings(db, shop) == []
    states = rows(db, "SELECT DISTINCT state FROM settlement_batch WHERE brand_id = :b", b=shop.id)
    assert {"draft", "cancelled", "settled"} <= {state for (state,) in states}


# -- one step or the other ------------------------------------------------------------------------

STEPS = {"approve": _approve, "run": _run, "cancel": _cancel}


@pytest.mark.parametrize(
    "steps,approved",
    [
        (["approve"] * 4, False),
        (["approve", "cancel"] * 2, False),
        (["run"] * 4, True),
        (["run", "cancel"] * 2, True),
        (["cancel"] * 4, False),
    ],
    ids=lambda each: "-".join(each) if isinstance(each, list) else None,
)
def test_steps_of_one_batch_at_once(
    db: Database, shop: Brand, settings: Settings, steps: list[str], approved: bool
) -> None:
    """Each step starts from one state, so of those that start from the same only one is done;
    and whatever was done, the batch can be paid, or its items are open again."""
    _ripe(db, shop)
    _draw_up(db, shop)
    if approved:
        assert _try(db, partial(_approve, brand=shop, number=1)) == "done"
    works = [partial(_try, db, partial(STEPS[step], brand=shop, number=1)) for step in steps]
    done = [step for step, result in zip(steps, together(*works), strict=True) if result == "done"]
    # an approved batch may still be called off, so both may be done, in that order
    assert done in ([steps[0]], [steps[-1]], ["approve", "cancel"], ["cancel", "approve"])
    do_jobs(db, settings, shop)
    assert findings(db, shop) == []
    expected = {"run": "settled", "approve": "approved", "cancel": "cancelled"}
    state = value(db, "SELECT state FROM settlement_batch WHERE brand_id = :b", b=shop.id)
    assert state == expected["cancel" if "cancel" in done else done[0]]


def test_a_batch_read_before_it_was_run_cannot_be_called_off(
    db: Database, shop: Brand, settings: Settings
) -> None:
    """A request reads the batch (to show it, to check a permission); another one runs it; the
    first goes on. What it read is old, and must not be what it decides by."""
    _ripe(db, shop)
    _draw_up(db, shop)
    _try(db, partial(_approve, brand=shop, number=1))
    with Session(db.engine) as session:
        batch = get_batch(session, brand_id=shop.id, number=1)
        assert batch.state == "approved"
        assert _try(db, partial(_run, brand=shop, number=1)) == "done"
        with pytest.raises(BatchInWrongState):
            cancel_batch(session, brand_id=shop.id, number=1)
        session.rollback()
    do_jobs(db, settings, shop)
    assert findings(db, shop) == []


def test_a_batch_read_before_it_was_called_off_cannot_be_approved(
    db: Database, shop: Brand
) -> None:
    _ripe(db, shop)
    _draw_up(db, shop)
    with Session(db.engine) as session:
        batch = get_batch(session, brand_id=shop.id, number=1)
        assert batch.state == "draft"
        assert _try(db, partial(_cancel, brand=shop, number=1)) == "done"
        with pytest.raises(BatchInWrongState):
            _approve(session, shop, 1)


def test_a_batch_read_before_it_was_called_off_is_not_run(
    db: Database, shop: Brand, settings: Settings
) -> None:
    """The way of ``distrib settle run``: read, look, run."""
    _ripe(db, shop)
    _draw_up(db, shop)
    _try(db, partial(_approve, brand=shop, number=1))
    with Session(db.engine) as session:
        batch = get_batch(session, brand_id=shop.id, number=1)
        assert batch.state == "approved"
        assert _try(db, partial(_cancel, brand=shop, number=1)) == "done"
        with pytest.raises(BatchInWrongState):
            _run(session, shop, 1)
        session.rollback()
    do_jobs(db, settings, shop)
    assert findings(db, shop) == []


# -- paying ---------------------------------------------------------------------------------------


def test_chunks_of_a_batch_paid_at_once(db: Database, shop: Brand, settings: Settings) -> None:
    """Four threads do every job they see: each chunk is paid once, and one of them, whichever
    ends last, adds the closing of the batch."""
    _ripe(db, shop)
    _draw_up(db, shop)
    _try(db, partial(_approve, brand=shop, number=1))
    _try(db, partial(_run, brand=shop, number=1))
    done = together(*[partial(do_jobs, db, settings, shop)] * 4)
    assert sum(done) == 4 + 1
    kinds = rows(
        db,
        "SELECT kind, state, count(*) FROM job WHERE brand_id = :b GROUP BY 1, 2 ORDER BY 1",
        b=shop.id,
    )
    assert kinds == [("complete_batch", "done", 1), ("pay_chunk", "done", 4)]
    batch = "SELECT state FROM settlement_batch WHERE brand_id = :b"
    assert value(db, batch, b=shop.id) == "settled"
    assert findings(db, shop) == []


def test_one_chunk_handed_to_the_provider_twice_at_once(tmp_path: Path) -> None:
    """A worker was thought dead and is not; another does its chunk. Their processes may well have
    the same number: in two containers that share the data directory, or, as here, in threads."""
    batch = BatchRef(brand_id=1, batch_id=2, number=1, currency="CNY")
    requests = [
        PayoutRequest(f"2p{n}a1", n, f"d{n}", "Somebody", 100, "CNY", call_no=7)
        for n in range(1, 51)
    ]
    provider = BankFile(tmp_path)

    def pay() -> None:
        for _ in range(40):
            provider.pay(batch, requests)
            file = provider.finish(batch, [7])
            assert (file.payouts, file.total) == (50, 5_000)

    together(*[pay] * 4)
    left = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(left) == ["7.csv", "batch-1.csv"]
