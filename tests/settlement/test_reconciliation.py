"""Reconciliation: what agrees is matched, what does not is a case, and every case has an end."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import select, text

from distrib import clock
from distrib.brands.tables import Brand
from distrib.config import Settings
from distrib.db import Database
from distrib.errors import InvalidInput
from distrib.settlement.adjustments import PaidTooLittle, approve_adjustment
from distrib.settlement.audit import audit_brand
from distrib.settlement.book_tables import Adjustment, StatementImport, StatementLine
from distrib.settlement.cases import (
    CaseNeedsAnother,
    CaseNotFound,
    CaseResolved,
    get_case,
    list_cases,
    view_case,
)
from distrib.settlement.payouts import return_payout
from distrib.settlement.reconciliation import (
    ImportNotFound,
    check_provider,
    get_import,
    list_imports,
)
from distrib.settlement.reconciliation_summary import read_clearing, summarize
from distrib.settlement.statement_rows import BadStatement
from distrib.settlement.tables import Payout, SettlementBatch
from tests import factories
from tests.factories import balances, days
from tests.settlement.books import (
    MATURED,
    PAID_ON,
    PROVIDER,
    Paid,
    cases,
    csv,
    decide,
    findings,
    imported,
    pay_many,
    resolve,
)

NEXT = PAID_ON + timedelta(days=1)
LAST = PAID_ON + timedelta(days=10)


@dataclass(frozen=True)
class World:
    """Six payouts: the first three are paid, the fourth has failed, two are on their way."""

    brand: Brand
    batch: SettlementBatch
    paid: list[Paid]


@pytest.fixture
def world(db: Database, settings: Settings, brand: Brand) -> World:
    batch, paid = pay_many(db, settings, brand, ["a", "b", "c", "d", "e", "f"])
    for each in paid[:3]:
        decide(db, batch, each.no)
    decide(db, batch, paid[3].no, paid=False)
    return World(brand, batch, paid)


def lines(world: World, *numbers: int, day: date = NEXT) -> list[tuple[str, int, date]]:
    return [(world.paid[n].request_no, world.paid[n].net, day) for n in numbers]


def kinds(db: Database, world: World, state: str | None = "open") -> list[tuple[str, int, int]]:
    return [(case.kind, case.expected, case.found) for case in cases(db, world.brand, state)]


END = ("end", 1, LAST)
"""A line that is nobody's, so that the statement reaches to its last day."""


# -- matching -------------------------------------------------------------------------------------


def test_what_agrees_is_matched(db: Database, world: World) -> None:
    report = imported(db, world.brand, csv(*lines(world, 0, 1, 2)))
    assert (report.read, report.accepted, report.matched, report.rejected) == (3, 3, 3, 0)
    assert (report.found, report.known) == ({}, False)
    assert (report.statement.first_day, report.statement.last_day) == (NEXT, NEXT)
    assert cases(db, world.brand) == []
    assert findings(db, world.brand) == []


def test_the_same_file_is_one_import(db: Database, world: World) -> None:
    content = csv(*lines(world, 0, 4), ("bad", 0, NEXT))
    first = imported(db, world.brand, content)
    again = imported(db, world.brand, content, name="another name", imported_by="somebody else")
    assert (again.known, again.statement.id) == (True, first.statement.id)
    assert (again.accepted, again.rejected, len(again.rejects)) == (2, 1, 1)
    with db.transaction() as session:
        assert [each.id for each in list_imports(session, brand_id=world.brand.id)] == [
            first.statement.id
        ]
    assert kinds(db, world) == [("extra", 0, world.paid[4].net)]
    other = imported(db, world.brand, content, provider="bank-file")
    assert not other.known, "of another provider it is another statement"


def test_lines_are_found_by_their_text_and_their_attempts(db: Database, world: World) -> None:
    a, b, c = world.paid[:3]
    report = imported(
        db,
        world.brand,
        csv(
            ("TRF 99", a.net, NEXT, f"payout {a.request_no.upper()} thanks"),
            (f"x{b.request_no}y", b.net, NEXT, c.request_no),
            (f"{b.request_no} {c.request_no}", c.net, NEXT),
        ),
    )
    assert (report.matched, report.found) == (2, {"extra": 1}), "a line that names two names none"


def test_missing(db: Database, world: World) -> None:
    # two days after the payment a statement need not have it; three days after it has
    imported(db, world.brand, csv(*lines(world, 0, day=PAID_ON), ("x", 1, PAID_ON + days(2))))
    assert "missing" not in Counter(kind for kind, *_ in kinds(db, world))
    imported(db, world.brand, csv(("y", 1, PAID_ON + days(3))))
    missing = [case for case in cases(db, world.brand) if case.kind == "missing"]
    assert [(case.subject, case.expected, case.found) for case in missing] == [
        (each.request_no, each.net, 0) for each in world.paid[1:3]
    ]
    # looked at again, it is the same case
    imported(db, world.brand, csv(("z", 1, LAST)), first_day=PAID_ON)
    assert sum(case.kind == "missing" for case in cases(db, world.brand)) == 2
    assert findings(db, world.brand) == []


def test_missing_is_of_the_statements_days(db: Database, world: World) -> None:
    imported(db, world.brand, csv(END), first_day=NEXT)
    assert [kind for kind, *_ in kinds(db, world)] == ["extra"], "nobody has said a thing of it"
    imported(db, world.brand, csv(("x", 1, LAST)), first_day=PAID_ON, missing_after_days=11)
    assert "missing" not in {kind for kind, *_ in kinds(db, world)}
    imported(db, world.brand, csv(("x", 2, LAST)), first_day=PAID_ON, provider="bank-file")
    assert "missing" not in {kind for kind, *_ in kinds(db, world)}, "another provider's"


def test_an_empty_statement_has_days(db: Database, world: World) -> None:
    with pytest.raises(BadStatement, match="which days"):
        imported(db, world.brand, csv())
    report = imported(db, world.brand, csv(), first_day=PAID_ON, last_day=LAST)
    assert (report.read, report.found) == (0, {"missing": 3})


def test_what_was_missing_and_comes_is_resolved(db: Database, world: World) -> None:
    imported(db, world.brand, csv(*lines(world, 0, 1)), first_day=PAID_ON, last_day=LAST)
    (case,) = cases(db, world.brand)
    report = imported(db, world.brand, csv(*lines(world, 2, day=LAST)), name="late.csv")
    assert report.resolved == 1
    (case,) = cases(db, world.brand)
    assert (case.state, case.resolution, case.resolved_by) == ("resolved", "note", "distrib")
    assert case.note == f'found in line 2 of "late.csv", booked on {LAST}'
    assert findings(db, world.brand) == []


def test_amounts_that_differ(db: Database, world: World) -> None:
    a, e = world.paid[0], world.paid[4]
    imported(db, world.brand, csv((a.request_no, a.net - 1, NEXT), (e.request_no, e.net + 7, NEXT)))
    assert kinds(db, world) == [
        ("amount_differs", a.net, a.net - 1), ("amount_differs", e.net, e.net + 7),
    ]  # fmt: skip


def test_extra(db: Database, world: World) -> None:
    a, d, e = world.paid[0], world.paid[3], world.paid[4]
    imported(
        db,
        world.brand,
        csv(
            *lines(world, 0, 0, 3, 4),
            ("nobody", 500, NEXT),
            ("123p4a5", -700, NEXT),
            *lines(world, 1, day=PAID_ON + days(11)),
            *lines(world, 2, day=PAID_ON + days(10)),
        ),
    )
    found = [(case.line, case.found) for case in cases(db, world.brand) if case.kind == "extra"]
    assert found == [
        (3, a.net), (4, d.net), (5, e.net), (6, 500), (7, -700), (8, world.paid[1].net),
    ]  # fmt: skip


def test_the_line_that_fits_best_is_the_payment(db: Database, world: World) -> None:
    a = world.paid[0]
    imported(db, world.brand, csv((a.request_no, a.net + 1, NEXT), (a.request_no, a.net, LAST)))
    assert [(case.kind, case.line) for case in cases(db, world.brand)] == [("extra", 2)]


def test_late_returns(db: Database, world: World) -> None:
    a = world.paid[0]
    imported(db, world.brand, csv((a.request_no, a.net, NEXT), (a.request_no, -a.net, LAST)))
    assert kinds(db, world) == [("late_return", 0, -a.net)]


def test_a_return_that_is_recorded_agrees(db: Database, world: World) -> None:
    a, b = world.paid[:2]
    imported(db, world.brand, csv(*lines(world, 0, 1)))
    imported(db, world.brand, csv((a.request_no, -a.net, LAST)))
    with clock.travel(MATURED + days(20)), db.transaction() as session:
        for each in (a, b):
            return_payout(
                session, brand_id=world.brand.id, number=1, no=each.no, returned_by="f",
                reason="bank",
            )  # fmt: skip
    report = imported(db, world.brand, csv((b.request_no, -b.net, LAST + days(11))))
    assert (report.matched, report.resolved) == (1, 1), "the case before is explained by now"
    (case,) = cases(db, world.brand)
    assert case.note == f"agrees with what is recorded of {a.request_no} now: returned"
    imported(db, world.brand, csv((a.request_no, -a.net, LAST + days(12))))
    assert kinds(db, world) == [("extra", 0, -a.net)], "it comes back once"
    assert findings(db, world.brand) == []


def test_money_of_a_failed_payment_that_came_back_is_no_difference(
    db: Database, world: World
) -> None:
    d = world.paid[3]
    imported(db, world.brand, csv((d.request_no, d.net, NEXT)))
    assert kinds(db, world) == [("extra", 0, d.net)]
    report = imported(db, world.brand, csv((d.request_no, -d.net, LAST)))
    assert (report.matched, report.resolved, report.found) == (1, 1, {})
    assert kinds(db, world) == []
    assert findings(db, world.brand) == []


def test_what_is_recorded_since_resolves(db: Database, world: World) -> None:
    imported(db, world.brand, csv(*lines(world, 4)))
    assert len(kinds(db, world)) == 1
    decide(db, world.batch, world.paid[4].no)
    imported(db, world.brand, csv(*lines(world, 0)))
    assert kinds(db, world) == []


# -- statements that overlap ----------------------------------------------------------------------


def test_a_statement_that_says_again_what_was_said(db: Database, world: World) -> None:
    a = world.paid[0]
    imported(db, world.brand, csv(*lines(world, 0), ("fee", 5, NEXT), ("fee", 5, NEXT)))
    month = imported(
        db,
        world.brand,
        csv(("fee", 5, NEXT), *lines(world, 1, 0), ("fee", 5, NEXT), ("fee", 5, NEXT),
            *lines(world, 2, day=LAST)),
    )  # fmt: skip
    assert (month.accepted, month.repeated, month.matched) == (6, 3, 2)
    assert month.found == {"extra": 1}, "the third fee is new"
    # a part of the day that does not say all that was known is another part of it
    part = imported(db, world.brand, csv((a.request_no, a.net, NEXT), ("new", 9, NEXT)))
    assert (part.repeated, part.found) == (0, {"extra": 2}), "paid twice"
    assert findings(db, world.brand) == []


def test_corrected_rejects_are_new(db: Database, world: World) -> None:
    a, b = world.paid[:2]
    whole = csv(*lines(world, 0, 1))
    imported(db, world.brand, whole.replace(b"10.01", b"10,01x"))
    report = imported(db, world.brand, whole)
    assert (report.repeated, report.matched) == (1, 1)
    assert a.net != b.net


# -- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, field",
    [
        ({"imported_by": " "}, "imported_by"),
        ({"name": ""}, "name"),
        ({"missing_after_days": -1}, "missing_after_days"),
        ({"first_day": LAST, "last_day": NEXT}, "last_day"),
    ],
)
def test_what_an_import_refuses(
    db: Database, world: World, options: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        imported(db, world.brand, csv(END), **options)
    assert caught.value.field == field


def test_rows_outside_the_days_are_rejected(db: Database, world: World) -> None:
    report = imported(db, world.brand, csv(*lines(world, 0), END), first_day=NEXT, last_day=NEXT)
    assert [(each.line, each.reason) for each in report.rejects] == [
        (3, f"{LAST} is not of the statement's days")
    ]
    with pytest.raises(BadStatement, match="no row of it could be read: amount: is zero"):
        imported(db, world.brand, csv(("x", 0, NEXT)))
    with db.transaction() as session:
        assert len(list_imports(session, brand_id=world.brand.id)) == 1


def test_a_provider_is_known_or_was(db: Database, settings: Settings, world: World) -> None:
    with db.transaction() as session:
        for name in ("manual", "bank-file"):
            assert check_provider(session, settings, brand=world.brand, provider=name) == name
        with pytest.raises(InvalidInput, match="no provider 'pigeon'"):
            check_provider(session, settings, brand=world.brand, provider="pigeon")


def test_what_is_of_another_brand_is_not_there(db: Database, world: World) -> None:
    report = imported(db, world.brand, csv(END))
    (case,) = cases(db, world.brand)
    other = factories.brand(db)
    stranger = imported(db, other, csv(*lines(world, 0)))
    assert stranger.found == {"extra": 1}, "another brand's number is nobody's"
    with db.transaction() as session:
        with pytest.raises(CaseNotFound):
            get_case(session, brand_id=other.id, case_id=case.id)
        with pytest.raises(ImportNotFound):
            get_import(session, brand_id=other.id, import_id=report.statement.id)
    with pytest.raises(CaseNotFound):
        resolve(db, other, case, "note")
    assert findings(db, other) == []


# -- resolving ------------------------------------------------------------------------------------


def only(db: Database, world: World, *rows: Any, **options: Any) -> Any:
    imported(db, world.brand, csv(*rows), **options)
    (case,) = cases(db, world.brand, "open")
    return case


def paid_to(db: Database, world: World, n: int) -> tuple[int, int]:
    """Paid and available of the distributor of the payout."""
    with db.transaction() as session:
        payout = session.get_one(Payout, (world.brand.id, world.batch.id, world.paid[n].no))
    found = balances(db, world.brand, payout.distributor_id)
    return found.paid, found.available


def test_return(db: Database, world: World) -> None:
    a = world.paid[0]
    case = only(db, world, (a.request_no, a.net, NEXT), (a.request_no, -a.net, LAST))
    resolved = resolve(db, world.brand, case, "return")
    assert (resolved.state, resolved.note, resolved.resolved_by) == (
        "resolved", "looked at", "finance",
    )  # fmt: skip
    assert resolved.posting_id
    assert paid_to(db, world, 0) == (0, 0)
    with db.transaction() as session:
        payout = session.get_one(Payout, (world.brand.id, world.batch.id, a.no))
        assert payout.state == "returned"
    assert findings(db, world.brand) == []
    with pytest.raises(CaseResolved, match="was resolved by finance: looked at"):
        resolve(db, world.brand, case, "note")


def test_missing_never_left(db: Database, world: World) -> None:
    case = only(db, world, *lines(world, 0, 1), first_day=PAID_ON, last_day=LAST)
    assert resolve(db, world.brand, case, "return").posting_id
    assert paid_to(db, world, 2) == (0, 0)
    assert findings(db, world.brand) == []


def test_confirm(db: Database, world: World) -> None:
    case = only(db, world, *lines(world, 4))
    assert resolve(db, world.brand, case, "confirm").posting_id
    assert paid_to(db, world, 4) == (world.paid[4].net, 0)
    with db.snapshot() as session:
        clearing = read_clearing(session, brand=world.brand)
    assert (clearing.balance, clearing.explained) == (world.paid[5].net, world.paid[5].net)
    assert [(each.batch, each.payouts) for each in clearing.batches] == [(1, 1)]
    assert findings(db, world.brand) == []


@pytest.mark.parametrize("change, kind", [(3, "overpaid"), (-3, "underpaid")])
def test_adjust(db: Database, world: World, change: int, kind: str) -> None:
    a = world.paid[0]
    case = only(db, world, (a.request_no, a.net + change, NEXT))
    resolved = resolve(db, world.brand, case, "adjust")
    with db.transaction() as session:
        made = session.scalars(select(Adjustment).where(Adjustment.case_id == case.id)).one()
    assert (made.id, made.kind, made.amount, made.state) == (
        resolved.posting_id, kind, -change, "requested",
    )  # fmt: skip
    assert "looked at" in made.reason
    assert findings(db, world.brand) == []
    assert paid_to(db, world, 0) == (a.net, 0), "somebody else approves it"
    with clock.travel(MATURED + days(6)), db.transaction() as session:
        approve_adjustment(
            session, brand_id=world.brand.id, adjustment_id=made.id, approved_by="head"
        )
    assert paid_to(db, world, 0) == (a.net + change, -change)
    assert findings(db, world.brand) == []


def test_paid_twice(db: Database, world: World) -> None:
    a = world.paid[0]
    case = only(db, world, *lines(world, 0, 0))
    resolve(db, world.brand, case, "adjust")
    with db.transaction() as session:
        made = session.scalars(select(Adjustment).where(Adjustment.case_id == case.id)).one()
    assert (made.kind, made.amount) == ("overpaid", -a.net)


def test_a_part_that_came_back(db: Database, world: World) -> None:
    a = world.paid[0]
    case = only(db, world, *lines(world, 0), (a.request_no, -100, LAST))
    with pytest.raises(CaseNeedsAnother, match="late return of a payment that is paid ends in adj"):
        resolve(db, world.brand, case, "return")
    resolve(db, world.brand, case, "adjust")
    with db.transaction() as session:
        made = session.scalars(select(Adjustment).where(Adjustment.case_id == case.id)).one()
    assert (made.kind, made.amount) == ("underpaid", 100)
    assert findings(db, world.brand) == []


def test_differ(db: Database, world: World) -> None:
    case = only(db, world, ("who knows", 4_321, NEXT))
    resolved = resolve(db, world.brand, case, "differ")
    assert resolved.posting_id == case.id
    with db.transaction() as session:
        moved = session.execute(
            text(
                "SELECT code, debit_account, credit_account, amount FROM transfer"
                " WHERE brand_id = :brand_id AND posting_id = :id"
            ),
            {"brand_id": world.brand.id, "id": case.id},
        ).all()
    assert [tuple(row) for row in moved] == [(17, 3, 5, 4_321)]
    assert findings(db, world.brand) == []


def test_money_of_nobody_may_be_somebodys(db: Database, world: World) -> None:
    case = only(db, world, ("who knows", 4_321, NEXT))
    with pytest.raises(InvalidInput, match="say whose money it is"):
        resolve(db, world.brand, case, "adjust")
    with pytest.raises(InvalidInput, match="only for an adjustment"):
        resolve(db, world.brand, case, "differ", distributor="a")
    resolve(db, world.brand, case, "adjust", distributor="a")
    with db.transaction() as session:
        made = session.scalars(select(Adjustment).where(Adjustment.case_id == case.id)).one()
    assert (made.kind, made.amount) == ("overpaid", -4_321)
    assert findings(db, world.brand) == []


def test_an_adjustment_that_cannot_be_leaves_the_case_open(db: Database, world: World) -> None:
    case = only(db, world, ("who knows", -4_321, NEXT))
    with pytest.raises(PaidTooLittle):
        resolve(db, world.brand, case, "adjust", distributor="a")
    assert len(cases(db, world.brand, "open")) == 1


WAYS = {
    "paid twice": ("adjust", "note"),
    "failed": ("adjust", "note"),
    "sent": ("confirm", "note"),
    "sent, more": ("note",),
    "nobody": ("differ", "adjust", "note"),
    "from nobody": ("adjust", "note"),
    "returned": ("return", "note"),
    "differs": ("adjust", "note"),
}


@pytest.mark.parametrize("what", WAYS)
def test_each_case_ends_in_some_ways_only(db: Database, world: World, what: str) -> None:
    a, e = world.paid[0], world.paid[4]
    rows: Any = {
        "paid twice": lines(world, 0, 0),
        "failed": lines(world, 3),
        "sent": lines(world, 4),
        "sent, more": [(e.request_no, e.net + 1, NEXT)],
        "nobody": [("x", 5, NEXT)],
        "from nobody": [("x", -5, NEXT)],
        "returned": [(a.request_no, -a.net, NEXT)],
        "differs": [(a.request_no, a.net + 1, NEXT)],
    }[what]
    case = only(db, world, *rows)
    with db.transaction() as session:
        view = view_case(session, case=get_case(session, brand_id=world.brand.id, case_id=case.id))
    assert view.ways == WAYS[what]
    assert (view.statement is not None, view.line is not None) == (True, True)
    assert (view.request_no is None) == (view.distributor is None) == (view.batch is None)
    for resolution in {"return", "adjust", "differ", "confirm"} - set(WAYS[what]):
        with pytest.raises(CaseNeedsAnother, match="ends in"):
            resolve(db, world.brand, case, resolution)
    for wrong in ({"note": " "}, {"resolved_by": ""}):
        with pytest.raises(InvalidInput):
            resolve(db, world.brand, case, "note", **wrong)
    assert resolve(db, world.brand, case, "note").posting_id is None
    assert findings(db, world.brand) == []


def test_cases_are_listed(db: Database, world: World) -> None:
    imported(db, world.brand, csv(*lines(world, 4), END), first_day=PAID_ON)
    found = cases(db, world.brand)
    resolve(db, world.brand, found[0], "note")
    with db.transaction() as session:
        listed = list_cases(session, brand_id=world.brand.id)
        assert [each.id for each in listed] == sorted((each.id for each in found), reverse=True)
        chosen = list_cases(
            session, brand_id=world.brand.id, state="open", kind="missing", provider=PROVIDER
        )
        assert {each.kind for each in chosen} == {"missing"}
        assert len(chosen) == 3
        assert list_cases(session, brand_id=world.brand.id, provider="x") == []
        assert len(list_cases(session, brand_id=world.brand.id, limit=1)) == 1


# -- summary --------------------------------------------------------------------------------------


def test_summary(db: Database, world: World) -> None:
    a, b, c, _, e, _ = world.paid
    imported(
        db,
        world.brand,
        csv((a.request_no, a.net, NEXT), (b.request_no, b.net + 5, NEXT), (e.request_no, e.net,
             NEXT), (a.request_no, -a.net, LAST)),
        first_day=PAID_ON,
    )  # fmt: skip
    back = next(case for case in cases(db, world.brand) if case.kind == "late_return")
    resolve(db, world.brand, back, "return")
    with db.snapshot() as session:
        (found,) = summarize(session, brand=world.brand, first_day=PAID_ON, last_day=LAST)
        assert (
            summarize(session, brand=world.brand, first_day=PAID_ON, last_day=LAST, provider="x")
            == []
        )
        (before,) = summarize(session, brand=world.brand, first_day=PAID_ON, last_day=PAID_ON)
        with pytest.raises(InvalidInput):
            summarize(session, brand=world.brand, first_day=LAST, last_day=NEXT)
    assert found.provider == PROVIDER
    assert (found.ledger_paid, found.ledger_returned) == (a.net + b.net + c.net, a.net)
    assert (found.lines, found.statement) == (4, b.net + 5 + e.net)
    assert (found.matched_lines, found.matched) == (1, a.net)
    assert found.difference == found.statement - found.ledger == 5 + e.net - c.net
    assert {kind: (each.cases, each.difference) for kind, each in found.open.items()} == {
        "amount_differs": (1, 5), "extra": (1, e.net), "missing": (1, -c.net),
    }  # fmt: skip
    assert {kind: each.cases for kind, each in found.resolved.items()} == {"late_return": 1}
    assert (before.ledger_paid, before.statement) == (a.net + b.net + c.net, 0)


def test_clearing_by_batch_and_age(db: Database, world: World) -> None:
    with db.snapshot() as session:
        found = read_clearing(session, brand=world.brand)
    assert found.balance == found.explained == sum(each.net for each in world.paid[4:])
    (batch,) = found.batches
    assert (batch.batch, batch.provider, batch.payouts, batch.oldest_at) == (
        1, PROVIDER, 2, MATURED,
    )  # fmt: skip


# -- the audit ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def resolved(db: Database, settings: Settings) -> World:
    """A brand with a case of every end."""
    brand = factories.brand(db)
    batch, paid = pay_many(db, settings, brand, ["a", "b", "c", "d"])
    for each in paid[:3]:
        decide(db, batch, each.no)
    world = World(brand, batch, paid)
    a, b = paid[:2]
    imported(
        db,
        brand,
        csv(*lines(world, 0, 2, 3), (a.request_no, -a.net, NEXT), (b.request_no, 7, NEXT),
            ("x", 50, NEXT), ("y", 60, NEXT)),
    )  # fmt: skip
    ends = {1: "confirm", 2: "return", 3: "adjust", 4: "differ", 5: "note"}
    for n, case in enumerate(cases(db, brand), 1):
        resolve(db, brand, case, ends[n])
    assert {case.resolution for case in cases(db, brand)} == set(ends.values())
    return world


CORRUPTIONS = {
    "a difference is gone": ("DELETE FROM transfer WHERE {here} AND code = 17", "differences"),
    "a difference more": (
        "INSERT INTO transfer SELECT brand_id, 77, seq, code, debit_account, credit_account,"
        " amount, asset, posted_at FROM transfer WHERE {here} AND code = 17",
        "differences",
    ),
    "another difference": (
        "UPDATE transfer SET amount = amount + 1 WHERE {here} AND code = 17", "differences",
    ),
    "a difference in dollars": (
        "UPDATE transfer SET asset = 'USD' WHERE {here} AND code = 17", "differences",
    ),
    "a return that is none": (
        "UPDATE payout_attempt SET state = 'paid' WHERE {here} AND state = 'returned'", "cases",
    ),
    "a confirmation that is none": (
        "UPDATE payout_attempt SET state = 'failed' WHERE {here} AND no = 4", "cases",
    ),
    "an adjustment that nobody asked for": ("DELETE FROM adjustment WHERE {here}", "cases"),
    "another adjustment": ("UPDATE adjustment SET amount = amount + 1 WHERE {here}", "cases"),
    "a note that moves something": (
        "UPDATE reconciliation_case SET resolution = 'note' WHERE {here}"
        " AND resolution = 'adjust'",
        "cases",
    ),
    "an end that nobody knows": (
        "UPDATE reconciliation_case SET resolution = 'wish' WHERE {here} AND resolution = 'note'",
        "cases",
    ),
    "a line that names nothing": (
        "UPDATE statement_line SET no = no + 100 WHERE {here} AND batch_id IS NOT NULL", "lines",
    ),
    "a line of nobody without a case": (
        "DELETE FROM reconciliation_case WHERE {here} AND resolution = 'note'", "lines",
    ),
    "lines that no file had": ("UPDATE statement_import SET rows = 1 WHERE {here}", "lines"),
    "days that are not its": (
        "UPDATE statement_import SET last_day = first_day - 1, first_day = first_day - 2"
        " WHERE {here}",
        "lines",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_audit_names_it(db: Database, resolved: World, name: str) -> None:
    assert findings(db, resolved.brand) == []
    statement, check = CORRUPTIONS[name]
    with db.transaction() as session:
        session.execute(text("SET LOCAL session_replication_role = replica"))
        changed = session.execute(
            text(statement.format(here="brand_id = :id")), {"id": resolved.brand.id}
        )
        assert changed.rowcount, "the corruption hit nothing"  # type: ignore[attr-defined]
        found = {each.check for each in audit_brand(session, brand_id=resolved.brand.id)}
        session.rollback()
    assert f"books.{check}" in found


# -- whatever happens -----------------------------------------------------------------------------

_FATES = st.lists(st.sampled_from(["paid", "failed", "sent"]), min_size=1, max_size=5)
_LINES = st.lists(
    st.tuples(
        st.integers(-1, 4),
        st.sampled_from([0, 0, 0, 1, -1, 50]),
        st.booleans(),
        st.integers(0, 14),
    ),
    max_size=9,
)


@given(fates=_FATES, files=st.lists(_LINES, min_size=1, max_size=3), data=st.data())
@hypothesis_settings(max_examples=25)
def test_every_line_is_matched_or_a_case_and_every_case_has_an_end(
    db: Database, settings: Settings, fates: list[str], files: list[Any], data: st.DataObject
) -> None:
    brand = factories.brand(db)
    batch, paid = pay_many(db, settings, brand, [f"d{n}" for n in range(len(fates))])
    for fate, each in zip(fates, paid, strict=True):
        if fate != "sent":
            decide(db, batch, each.no, paid=fate == "paid")
    failed = {each.no for fate, each in zip(fates, paid, strict=True) if fate == "failed"}
    for rows in files:
        told = []
        for who, more, back, day in rows:
            each = paid[who % len(paid)]
            reference = "nobody" if who < 0 else each.request_no
            amount = -(each.net + more) if back else each.net + more
            told.append((reference, amount, PAID_ON + timedelta(days=day)))
        report = imported(
            db, brand, csv(*told), first_day=PAID_ON, last_day=PAID_ON + timedelta(days=14)
        )
        assert (report.accepted, report.rejected) == (len(told), 0)
        assert findings(db, brand) == []
        _adds_up(db, brand, failed)
        # some are resolved in between
        _resolve_all(db, brand, data, most=data.draw(st.integers(0, 2)))
    _resolve_all(db, brand, data, most=100)
    assert cases(db, brand, "open") == []
    assert findings(db, brand) == []
    _adds_up(db, brand, failed)


def _adds_up(db: Database, brand: Brand, failed: set[int]) -> None:
    """Each line is matched or in one case, and they sum to what the statements say."""
    with db.transaction() as session:
        lines = session.scalars(
            select(StatementLine).where(StatementLine.brand_id == brand.id)
        ).all()
        imports = session.scalars(
            select(StatementImport).where(StatementImport.brand_id == brand.id)
        ).all()
        summaries = summarize(
            session, brand=brand, first_day=PAID_ON, last_day=PAID_ON + timedelta(days=14)
        )
    assert sum(each.rows for each in imports) >= len(lines)
    of_lines = [case for case in cases(db, brand) if case.line is not None]
    places = Counter((case.import_id, case.line) for case in of_lines)
    assert set(places.values()) <= {1}
    matched = [line for line in lines if (line.import_id, line.line) not in places]
    total = sum(line.amount for line in lines)
    assert total == sum(line.amount for line in matched) + sum(case.found for case in of_lines)
    assert all(line.batch_id is not None for line in matched)
    # one line an attempt and direction; of a failed one, as many as went out and came back
    count = Counter((x.no, x.amount > 0) for x in matched if x.no not in failed)
    assert set(count.values()) <= {1}
    for summary in summaries:
        assert (summary.lines, summary.statement) == (len(lines), total)
        assert (summary.matched_lines, summary.matched) == (
            len(matched), sum(line.amount for line in matched),
        )  # fmt: skip
        kinds = [*summary.open.values(), *summary.resolved.values()]
        assert sum(each.cases for each in kinds) == len(cases(db, brand))


def _resolve_all(db: Database, brand: Brand, data: st.DataObject, *, most: int) -> None:
    for case in cases(db, brand, "open")[:most]:
        with db.transaction() as session:
            fresh = get_case(session, brand_id=brand.id, case_id=case.id)
            view = view_case(session, case=fresh)
        way = data.draw(st.sampled_from(view.ways))
        named = {"distributor": "d0"} if way == "adjust" and view.distributor is None else {}
        try:
            resolve(db, brand, case, way, **named)
        except PaidTooLittle:
            resolve(db, brand, case, "note")
