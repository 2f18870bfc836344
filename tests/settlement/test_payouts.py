"""One payout at a time, through a provider that speaks a real protocol: what fails, comes back, is
held, voided, paid anew; and the paper that each step leaves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from distrib import clock
from distrib.brands.tables import Brand
from distrib.config import Settings
from distrib.db import Database
from distrib.errors import InvalidInput
from distrib.settlement import answers, payouts
from distrib.settlement.batch import (
    BatchInWrongState,
    SecondPersonNeeded,
    approve_batch,
    reject_batch,
    remove_payout,
    submit_batch,
)
from distrib.settlement.gathering import Filters, Reason, preview_counts, preview_lines
from distrib.settlement.progress import batch_progress
from distrib.settlement.providers import Outcome, Status
from distrib.settlement.running import pause_batch, resume_batch, run_batch
from distrib.settlement.tables import PayoutAttempt, ProviderGate, SettlementBatch
from distrib.settlement.withholding import TaxMonthOver, set_tax_regime
from distrib.tree.service import suspend_distributor
from tests import factories
from tests.doubles.server import Mischief, Step
from tests.doubles.stripe import StripeDouble
from tests.settlement.paying_world import DAY, NAMES, World, stripe_settings

WRONG = (400, {"code": "account_invalid", "message": "No such account"})


@pytest.fixture
def double() -> Iterator[StripeDouble]:
    with StripeDouble() as found:
        found.balance["cny"] = 10**9
        yield found


@pytest.fixture
def world(
    db: Database,
    settings: Settings,
    double: StripeDouble,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> World:
    brand: Brand = factories.brand(db, levels=1)
    return World(db, brand, stripe_settings(settings, brand, double, tmp_path, monkeypatch), double)


def paid(world: World) -> dict[str, int]:
    """Payee → minor units, by the provider's books."""
    return {name.removeprefix("acct_"): amount for name, amount in world.double.received.items()}


def test_all_are_paid(world: World) -> None:
    world.start()
    world.work()
    assert world.state() == "settled"
    assert paid(world) == dict.fromkeys(NAMES, 1_000)
    assert [kind for kind, _, _ in world.events()] == ["drawn_up", "submitted", "approved", "run"]
    world.do(payouts.close_settled_batch, closed_by="checker")
    assert world.state() == "closed"
    assert world.findings() == []


# -- failures --------------------------------------------------------------------------------------


def test_a_failure_is_paid_anew(world: World) -> None:
    world.double.refusals["acct_bea"] = WRONG
    world.start()
    world.work()
    assert world.state() == "partly_failed"
    assert world.payouts()["bea"] == "failed"
    assert world.balance("bea").reserved == 1_000
    assert world.findings() == []
    with pytest.raises(BatchInWrongState, match="1 payouts of batch 1 are neither paid nor voided"):
        world.do(payouts.close_settled_batch, closed_by="checker")
    facts = {"no": world.no("bea"), "reissued_by": "finance", "reason": "account corrected"}
    with pytest.raises(payouts.TooEarly, match="attempt 1 ended"):
        world.do(payouts.reissue_payout, **facts)
    world.later(minutes=3)
    del world.double.refusals["acct_bea"]
    world.do(payouts.reissue_payout, **facts)
    assert (world.state(), world.payouts()["bea"]) == ("paying", "reserved")
    world.work()
    assert world.state() == "settled"
    assert paid(world) == dict.fromkeys(NAMES, 1_000)
    with world.db.transaction() as session:
        tries = session.scalars(
            text("SELECT state FROM payout_attempt WHERE brand_id = :b AND no = :n ORDER BY 1"),
            {"b": world.brand.id, "n": facts["no"]},
        ).all()
    assert tries == ["failed", "paid"]
    assert world.findings() == []


def test_a_failure_is_voided_and_settled_by_the_next_batch(world: World) -> None:
    world.double.refusals["acct_bea"] = WRONG
    world.start()
    world.work()
    world.do(payouts.void_payout, no=world.no("bea"), voided_by="finance", reason="no account")
    assert (world.state(), world.payouts()["bea"]) == ("settled", "voided")
    assert world.balance("bea").available == 1_000
    assert world.findings() == []
    del world.double.refusals["acct_bea"]
    world.start(number=2)
    world.work()
    assert (world.state(2), paid(world)) == ("settled", dict.fromkeys(NAMES, 1_000))
    assert world.findings() == []


def test_what_is_paid_cannot_be_paid_anew_or_voided(world: World) -> None:
    world.start()
    world.work()
    no = world.no("ann")
    with pytest.raises(payouts.PayoutInWrongState, match="is paid; this needs it to be failed"):
        world.do(payouts.reissue_payout, no=no, reissued_by="finance", reason="why not")
    with pytest.raises(payouts.PayoutInWrongState, match="is paid"):
        world.do(payouts.void_payout, no=no, voided_by="finance", reason="why not")
    with pytest.raises(payouts.PayoutNotFound, match="no payout 99"):
        world.do(payouts.void_payout, no=99, voided_by="finance", reason="why not")


def test_a_lost_answer_is_asked_about_and_never_paid_twice(world: World) -> None:
    for mischief in (Mischief.CLOSE_AFTER, Mischief.ERROR_AFTER, Mischief.CUT):
        world.double.script.append(Step(mischief, matching="POST /v1/transfers "))
    world.start()
    world.work()
    assert world.state() == "paying"
    assert world.findings() == []
    with pytest.raises(payouts.PayoutInWrongState, match="is sent"):
        world.do(payouts.void_payout, no=world.no("ann"), voided_by="finance", reason="slow")
    for _ in range(4):
        world.later(minutes=2)
        world.work()
    assert world.state() == "settled"
    assert paid(world) == dict.fromkeys(NAMES, 1_000)
    assert world.findings() == []


def test_a_provider_that_is_away_is_left_in_peace(world: World) -> None:
    for _ in range(3):
        world.double.script.append(Step(Mischief.RATE_LIMITED, matching="POST /v1/transfers "))
    world.start()
    world.work()
    with world.db.transaction() as session:
        gate = session.get_one(ProviderGate, (world.brand.id, "stripe"))
        assert gate.failures >= 1
        assert gate.last_error
    for _ in range(6):
        world.later(minutes=11)
        world.work()
    assert world.state() == "settled"
    assert paid(world) == dict.fromkeys(NAMES, 1_000)
    with world.db.transaction() as session:
        assert session.get_one(ProviderGate, (world.brand.id, "stripe")).failures == 0


# -- money that comes back -------------------------------------------------------------------------


def test_money_comes_back_and_goes_out_again(world: World) -> None:
    world.start()
    world.work()
    no = world.no("cat")
    world.do(payouts.return_payout, no=no, returned_by="finance", reason="bank returned it")
    assert (world.state(), world.payouts()["cat"]) == ("partly_failed", "returned")
    assert (world.balance("cat").reserved, world.balance("cat").paid) == (1_000, 0)
    assert world.findings() == []
    world.later(minutes=3)
    world.do(payouts.reissue_payout, no=no, reissued_by="finance", reason="again")
    world.work()
    assert world.state() == "settled"
    assert paid(world)["cat"] == 2_000, "the double does not know that the first came back"
    assert world.balance("cat").paid == 1_000
    assert world.findings() == []


def test_a_late_return_of_a_closed_batch_is_voided(world: World) -> None:
    world.start()
    world.work()
    world.do(payouts.close_settled_batch, closed_by="checker")
    no = world.no("cat")
    world.do(payouts.return_payout, no=no, returned_by="finance", reason="bank returned it")
    assert world.state() == "closed"
    world.do(payouts.void_payout, no=no, voided_by="finance", reason="next batch")
    assert (world.state(), world.balance("cat").available) == ("closed", 1_000)
    assert world.findings() == []


def apply(world: World, *outcomes: Outcome) -> answers.Applied:
    with clock.travel(world.now):
        return answers.apply_outcomes(
            world.db,
            brand_id=world.brand.id,
            provider="stripe",
            outcomes=outcomes,
            source="callback",
        )


def suspend(world: World, name: str) -> None:
    with clock.travel(world.now), world.db.transaction() as session:
        suspend_distributor(session, brand_id=world.brand.id, distributor=name)


def request_no(world: World, name: str) -> str:
    with world.db.transaction() as session:
        found = session.scalars(
            text("SELECT request_no FROM payout_attempt WHERE brand_id = :b AND no = :n"),
            {"b": world.brand.id, "n": world.no(name)},
        ).one()
    return str(found)


def test_messages_come_twice_and_in_any_order(world: World) -> None:
    world.start()
    world.work()
    number = request_no(world, "dan")
    before = world.balance("dan")
    for status in (Status.PAID, Status.PENDING, Status.PAID):
        assert apply(world, Outcome(number, status)).moved == 0
    assert world.balance("dan") == before
    assert apply(world, Outcome(number, Status.RETURNED)).moved == 1
    for status in (Status.PAID, Status.RETURNED, Status.FAILED):
        assert apply(world, Outcome(number, status)).moved == 0
    assert (world.payouts()["dan"], world.state()) == ("returned", "partly_failed")
    assert world.findings() == []


def test_numbers_of_nobody(world: World) -> None:
    world.start()
    world.work()
    others = ("1p1a1", "nonsense", request_no(world, "dan")[:-1] + "7", "9" * 40 + "p1a1")
    applied = apply(world, *(Outcome(each, Status.FAILED) for each in others))
    assert (applied.moved, applied.known, sorted(applied.unknown)) == (0, 0, sorted(others))
    assert world.findings() == []


def test_a_contradiction_moves_nothing_and_is_noted(world: World) -> None:
    world.double.refusals["acct_bea"] = WRONG
    world.start()
    world.work()
    assert apply(world, Outcome(request_no(world, "bea"), Status.PAID)).moved == 0
    assert apply(world, Outcome(request_no(world, "ann"), Status.FAILED)).moved == 0
    assert [(kind, no) for kind, no, _ in world.events()][-2:] == [
        ("contradiction", world.no("bea")),
        ("contradiction", world.no("ann")),
    ]
    assert (world.payouts()["bea"], world.payouts()["ann"]) == ("failed", "paid")
    assert world.findings() == []


# -- holding back ----------------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["draft", "approved", "paused"])
def test_a_payout_is_held_and_released(world: World, when: str) -> None:
    world.draw_up()
    if when != "draft":
        world.approve()
    if when == "paused":
        world.do(run_batch, chunk_payouts=2)
        world.do(pause_batch, paused_by="finance")
        world.work()
        assert paid(world) == {}
    world.do(payouts.hold_payout, no=world.no("eve"), held_by="support", reason="fraud check")
    if when == "draft":
        world.approve()
    if when == "paused":
        world.do(resume_batch, resumed_by="finance")
    else:
        world.do(run_batch, chunk_payouts=2)
    world.work()
    assert (world.state(), world.payouts()["eve"]) == ("partly_failed", "held")
    assert "eve" not in paid(world)
    assert world.findings() == []
    world.do(payouts.release_payout, no=world.no("eve"), released_by="support", reason="clean")
    world.work()
    assert (world.state(), paid(world)) == ("settled", dict.fromkeys(NAMES, 1_000))
    assert world.findings() == []


def test_held_and_released_again_and_again_is_paid_once(world: World) -> None:
    world.start()
    world.do(pause_batch, paused_by="finance")
    for _ in range(3):
        world.do(payouts.hold_payout, no=world.no("eve"), held_by="a", reason="x")
        world.do(payouts.release_payout, no=world.no("eve"), released_by="a", reason="y")
    world.do(resume_batch, resumed_by="finance")
    world.work()
    assert (world.state(), paid(world)) == ("settled", dict.fromkeys(NAMES, 1_000))
    assert world.findings() == []


def test_what_changed_since_the_approval_is_held(world: World) -> None:
    world.draw_up()
    world.approve()
    world.add_method("ann", "acct_thief")
    suspend(world, "bea")
    world.do(run_batch, chunk_payouts=2)
    world.work()
    assert world.payouts() == {
        **dict.fromkeys(NAMES, "paid"),
        "ann": "held",
        "bea": "held",
    }
    assert ("held", world.no("ann"), "distrib") in world.events()
    assert world.findings() == []


def test_pausing_keeps_what_was_not_handed_over(world: World) -> None:
    world.start()
    world.do(pause_batch, paused_by="finance", reason="bank holiday")
    world.work()
    assert (world.state(), paid(world)) == ("paused", {})
    world.later(hours=30)
    world.do(resume_batch, resumed_by="finance")
    with clock.travel(world.now), world.db.transaction() as session:
        batch = session.scalars(
            text("SELECT id FROM settlement_batch WHERE brand_id = :b"), {"b": world.brand.id}
        ).one()
        found = session.get_one(SettlementBatch, (world.brand.id, batch))
        progress = batch_progress(session, batch=found)
        assert (progress.paid, progress.states) == (0, {"reserved": (5, 5_000)})
    world.work()
    assert (world.state(), paid(world)) == ("settled", dict.fromkeys(NAMES, 1_000))


def test_every_step_wants_a_reason(world: World) -> None:
    world.draw_up()
    with pytest.raises(InvalidInput, match="say why"):
        world.do(payouts.hold_payout, no=world.no("eve"), held_by="support", reason=" ")


# -- paid outside, status files --------------------------------------------------------------------


def test_paid_outside_with_evidence(world: World) -> None:
    world.start("manual")
    world.work()
    assert set(world.payouts().values()) == {"sent"}
    for name in NAMES:
        world.do(
            payouts.decide_payout,
            no=world.no(name),
            paid=name != "eve",
            decided_by="finance",
            evidence=f"receipt of {name}",
        )
    with pytest.raises(payouts.PayoutInWrongState, match="is paid; this needs it to be sent"):
        world.do(
            payouts.decide_payout,
            no=world.no("ann"),
            paid=True,
            decided_by="finance",
            evidence="again",
        )
    world.later(minutes=1)
    world.work()
    assert (world.state(), world.payouts()["eve"]) == ("partly_failed", "failed")
    assert ("refused", world.no("eve"), "finance") in world.events()
    assert world.findings() == []


def test_a_bank_that_reports(world: World) -> None:
    world.start("bank")
    world.work()
    assert (world.state(), set(world.payouts().values())) == ("paying", {"sent"})
    numbers = {name: request_no(world, name) for name in NAMES}
    with clock.travel(world.now):
        applied = answers.apply_outcomes(
            world.db,
            brand_id=world.brand.id,
            provider="bank",
            outcomes=[
                Outcome(number, Status.FAILED if name == "cat" else Status.PAID)
                for name, number in numbers.items()
            ],
            source="status file",
        )
    assert (applied.moved, applied.unknown) == (5, ())
    world.later(seconds=5)
    world.work()
    assert world.state() == "partly_failed"
    assert world.findings() == []


# -- four eyes -------------------------------------------------------------------------------------


def test_nobody_approves_what_they_made(world: World) -> None:
    world.draw_up()
    world.do(submit_batch, submitted_by="helper")
    for name in ("maker", " MAKER ", "Helper"):
        with pytest.raises(SecondPersonNeeded, match="somebody else approves it"):
            world.do(approve_batch, approved_by=name, content_hash=None)
        with (
            pytest.raises(DBAPIError, match="approved by somebody else"),
            world.db.transaction() as s,
        ):
            s.execute(
                text(
                    "INSERT INTO batch_approval SELECT brand_id, id, round, :name, content_hash,"
                    " now() FROM settlement_batch WHERE brand_id = :b"
                ),
                {"b": world.brand.id, "name": name},
            )
    with pytest.raises(DBAPIError, match="without the approvals"), world.db.transaction() as s:
        s.execute(
            text(
                "UPDATE settlement_batch SET state = 'approved', approved_at = now()"
                " WHERE brand_id = :b"
            ),
            {"b": world.brand.id},
        )


def test_a_large_sum_needs_two(world: World) -> None:
    with world.db.transaction() as session:
        session.execute(
            text("UPDATE brand SET second_approval_above = 4999 WHERE id = :b"),
            {"b": world.brand.id},
        )
    world.draw_up()
    world.do(submit_batch, submitted_by="maker")
    batch = world.do(approve_batch, approved_by="checker", content_hash=None)
    assert (batch.state, batch.approvals_needed) == ("submitted", 2)
    with pytest.raises(SecondPersonNeeded, match="needs another person"):
        world.do(approve_batch, approved_by="Checker", content_hash=None)
    with pytest.raises(BatchInWrongState):
        world.do(run_batch, chunk_payouts=2)
    batch = world.do(approve_batch, approved_by="boss", content_hash=None)
    assert (batch.state, batch.approved_by) == ("approved", "checker, boss")
    world.do(run_batch, chunk_payouts=2)
    world.work()
    assert (world.state(), world.findings()) == ("settled", [])


def test_a_removed_payout_voids_the_approval(world: World) -> None:
    drawn = world.draw_up()
    world.approve()
    batch = world.do(remove_payout, no=world.no("dan"), removed_by="maker", reason="disputed")
    assert (batch.state, batch.payouts, batch.total) == ("draft", 4, 4_000)
    assert batch.content_hash != drawn.content_hash
    assert world.balance("dan").available == 1_000
    assert world.findings() == []
    with pytest.raises(BatchInWrongState, match="is draft"):
        world.do(run_batch, chunk_payouts=2)
    world.approve()
    world.do(run_batch, chunk_payouts=2)
    world.work()
    assert (world.state(), set(paid(world))) == ("settled", set(NAMES) - {"dan"})
    assert world.findings() == []


def test_a_rejected_batch_goes_back_and_its_approvals_are_void(world: World) -> None:
    world.draw_up()
    world.approve()
    world.do(reject_batch, rejected_by="boss", reason="wrong month")
    world.do(submit_batch, submitted_by="maker")
    assert world.state() == "submitted"
    with pytest.raises(BatchInWrongState, match="is submitted"):
        world.do(run_batch, chunk_payouts=2)
    world.do(approve_batch, approved_by="checker", content_hash=None)
    assert world.state() == "approved"


def test_a_batch_changed_behind_its_approval_is_not_run(world: World) -> None:
    world.draw_up()
    world.approve()
    with pytest.raises(DBAPIError, match="changes in a draft only"), world.db.transaction() as s:
        s.execute(
            text("UPDATE payout SET amount = amount + 1 WHERE brand_id = :b AND no = 1"),
            {"b": world.brand.id},
        )
    with world.db.transaction() as session:
        session.execute(text("SET LOCAL session_replication_role = replica"))
        session.execute(
            text("UPDATE payout SET method_id = NULL WHERE brand_id = :b AND no = 1"),
            {"b": world.brand.id},
        )
    with pytest.raises(DBAPIError, match="is not what was approved"):
        world.do(run_batch, chunk_payouts=2)


# -- who is paid -----------------------------------------------------------------------------------


def test_the_preview_is_what_is_drawn_up(world: World) -> None:
    with world.db.transaction() as session:
        session.execute(
            text("UPDATE payout_method SET usable_from = :t WHERE id = :id"),
            {"t": world.now.replace(year=2030), "id": world.methods["bea"]},
        )
    suspend(world, "cat")
    filters = Filters(without=("dan",))
    scope: dict[str, Any] = {
        "brand": world.brand,
        "cutoff": DAY,
        "filters": filters,
        "method": "stripe",
    }
    with clock.travel(world.now), world.db.transaction() as session:
        counts = preview_counts(session, **scope)
        lines = preview_lines(session, **scope)
    assert (counts.payouts, counts.total) == (2, 2_000)
    assert {line.external_id: line.reason for line in lines} == {
        "ann": None,
        "bea": Reason.METHOD_COOLING,
        "cat": Reason.SUSPENDED,
        "dan": Reason.NOT_CHOSEN,
        "eve": None,
    }
    batch = world.draw_up(filters=filters)
    assert (batch.payouts, batch.total) == (counts.payouts, counts.total)
    assert set(world.payouts()) == {"ann", "eve"}
    with world.db.transaction() as session:
        left = session.execute(
            text("SELECT reason, amount FROM batch_exclusion WHERE brand_id = :b ORDER BY 1"),
            {"b": world.brand.id},
        ).all()
    assert [tuple(row) for row in left] == [("method_cooling", 1_000), ("suspended", 1_000)]


def test_filters_name_people_there_are(world: World) -> None:
    with pytest.raises(InvalidInput, match="there is no distributor 'nemo'") as caught:
        world.draw_up(filters=Filters(only=("ann", "nemo")))
    assert caught.value.field == "filters.only"
    with pytest.raises(InvalidInput, match="at least the brand's"):
        world.draw_up(filters=Filters(minimum=1))


# -- tax -------------------------------------------------------------------------------------------


def test_tax_is_withheld_when_it_is_paid_and_given_back_when_it_returns(world: World) -> None:
    world.earn("big", 5_000_000)
    with clock.travel(world.now), world.db.transaction() as session:
        set_tax_regime(session, brand=world.brand, year=2026, regime="cn_labour", set_by="boss")
    batch = world.draw_up()
    assert (batch.total, batch.tax_total) == (5 * 501_000, 5 * 80_160)
    world.approve()
    world.do(run_batch, chunk_payouts=2)
    world.work()
    assert paid(world) == dict.fromkeys(NAMES, 501_000 - 80_160)
    assert (world.balance("ann").paid, world.balance("ann").withheld) == (420_840, 80_160)
    assert world.findings() == []
    world.do(payouts.return_payout, no=world.no("ann"), returned_by="finance", reason="bank")
    assert (world.balance("ann").reserved, world.balance("ann").withheld) == (501_000, 0)
    world.do(payouts.void_payout, no=world.no("ann"), voided_by="finance", reason="bank")
    assert world.findings() == []


def test_a_batch_is_of_its_month(world: World) -> None:
    with clock.travel(world.now), world.db.transaction() as session:
        set_tax_regime(session, brand=world.brand, year=2026, regime="cn_labour", set_by="boss")
    world.draw_up()
    world.approve()
    world.later(days=31)
    with pytest.raises(TaxMonthOver, match="was drawn up for 2026-03, it is 2026-04"):
        world.do(run_batch, chunk_payouts=2)


def test_request_numbers_fit_every_provider(world: World) -> None:
    world.start()
    world.work()
    with world.db.transaction() as session:
        for attempt in session.query(PayoutAttempt).filter_by(brand_id=world.brand.id):
            assert attempt.request_no.isalnum()
            assert len(attempt.request_no) <= 32
