"""Taking refunds: what remains is priced again, and the difference is posted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from distrib import clock
from distrib.brands.tables import Brand
from distrib.commission.outcome import CLOCK_TOLERANCE, Outcome, Status
from distrib.commission.refunds import (
    RefundDiffers,
    RefundExceedsOrder,
    UnknownLine,
    apply_waiting,
)
from distrib.commission.tables import Commission
from distrib.config import Settings
from distrib.db import Database
from distrib.errors import InvalidInput
from distrib.money import MAX_AMOUNT
from distrib.orders.document import (
    LineIn,
    RefundIn,
    RefundLineIn,
    content_hash,
    refund_as_json,
    refund_from_json,
)
from distrib.orders.tables import Refund, RefundLine, WaitingRefund
from distrib.settlement.audit import audit_brand
from distrib.settlement.maturation import mature
from distrib.tree.queries import get_distributor
from distrib.tree.service import move_distributor
from tests import factories
from tests.factories import NOON, days, give_back, ids_of, order, refund, take


def remains(db: Database, brand: Brand) -> dict[int, int]:
    """Level → what the brand's only order still pays it."""
    with db.transaction() as session:
        rows = session.execute(
            select(Commission.level, func.sum(Commission.amount))
            .where(Commission.brand_id == brand.id)
            .group_by(Commission.level)
        )
        return {level: int(amount) for level, amount in rows}


def returned(db: Database, brand: Brand, refund_id: int | None) -> list[tuple[int, int, int]]:
    """The lines of a refund: line, units, money."""
    with db.transaction() as session:
        rows = session.execute(
            select(RefundLine.line_no, RefundLine.quantity, RefundLine.amount)
            .where(RefundLine.brand_id == brand.id, RefundLine.refund_id == refund_id)
            .order_by(RefundLine.line_no)
        )
        return [(row.line_no, row.quantity, row.amount) for row in rows]


def waiting(db: Database, brand: Brand) -> dict[str, str | None]:
    """Refunds that wait, with what is wrong with them."""
    with db.transaction() as session:
        rows = session.scalars(select(WaitingRefund).where(WaitingRefund.brand_id == brand.id))
        return {row.external_id: row.problem for row in rows}


def findings(db: Database, brand: Brand) -> list[str]:
    with db.snapshot() as session:
        return [each.detail for each in audit_brand(session, brand_id=brand.id)]


@pytest.fixture
def sold(db: Database, brand: Brand) -> Brand:
    """A brand that sold o-1: 10 units for 100.00, and 3 for 10.02 less a discount of 0.03."""
    factories.chain(db, brand)
    lines = [LineIn("a", 10, 1_000), LineIn("b", 3, 334, discount=3)]
    ids_of(take(db, brand, order("o-1", lines=lines)))
    return brand


BEFORE = {1: 1_100, 2: 550, 3: 220}

# -- what comes back ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lines, back, left",
    [
        # units: their share of what the line cost
        ([(1, 1)], [(1, 1, 1_000)], {1: 1_000, 2: 500, 3: 200}),
        ([(1, 10)], [(1, 10, 10_000)], {1: 100, 2: 50, 3: 20}),
        ([(2, 1)], [(2, 1, 333)], {1: 1_067, 2: 533, 3: 213}),
        ([(2, 2)], [(2, 2, 666)], {1: 1_033, 2: 517, 3: 207}),
        ([(2, 3)], [(2, 3, 999)], {1: 1_000, 2: 500, 3: 200}),
        ([(1, 1), (2, 1)], [(1, 1, 1_000), (2, 1, 333)], {1: 967, 2: 483, 3: 193}),
        # money, with units or without
        ([(1, 0, 500)], [(1, 0, 500)], {1: 1_050, 2: 525, 3: 210}),
        ([(1, 2, 500)], [(1, 2, 500)], {1: 1_050, 2: 525, 3: 210}),
        ([(1, 0, 10_000)], [(1, 0, 10_000)], {1: 100, 2: 50, 3: 20}),
        ([(1, 3, 0)], [(1, 3, 0)], BEFORE),
        ([(1, 0, 1)], [(1, 0, 1)], BEFORE),  # 99.99 still pays 10.00
        # everything
        ([], [(1, 10, 10_000), (2, 3, 999)], {1: 0, 2: 0, 3: 0}),
    ],
)
def test_what_comes_back(
    db: Database, sold: Brand, lines: list[Any], back: list[Any], left: dict[int, int]
) -> None:
    # line 2 cost 9.99: it pays 1.00, 0.50 and 0.20
    assert remains(db, sold) == BEFORE
    (outcome,) = give_back(db, sold, refund("r-1", "o-1", *lines))
    assert outcome.status is Status.ACCEPTED
    assert returned(db, sold, outcome.id) == back
    assert remains(db, sold) == left
    assert findings(db, sold) == []


@pytest.mark.parametrize(
    "sold_for, back, money",
    [
        ((3, 1_000), [1, 1, 1], [333, 334, 333]),  # of 1000, of 667, of the rest
        ((3, 1_000), [2, 1], [667, 333]),
        ((2, 5), [1, 1], [3, 2]),  # half a fen goes to who asks first
        ((2, 1), [1, 1], [1, 0]),
        ((4, 2), [1, 1, 1, 1], [1, 0, 1, 0]),
        ((7, 0), [3, 4], [0, 0]),
    ],
)
def test_units_take_their_share_of_what_is_left(
    db: Database, sold_for: tuple[int, int], back: list[int], money: list[int]
) -> None:
    brand, (units, cost) = factories.brand(db), sold_for
    factories.chain(db, brand)
    line = LineIn("a", units, 1_000, discount=units * 1_000 - cost)
    ids_of(take(db, brand, order("o-1", lines=[line])))
    for n, (count, amount) in enumerate(zip(back, money, strict=True)):
        (refund_id,) = ids_of(give_back(db, brand, refund(f"r-{n}", "o-1", (1, count))))
        assert returned(db, brand, refund_id) == [(1, count, amount)]
    assert set(remains(db, brand).values()) <= {0}


def test_a_refund_writes_the_difference(db: Database, sold: Brand) -> None:
    (refund_id,) = ids_of(
        give_back(db, sold, refund("r-1", "o-1", (1, 4), refunded_at=NOON + days(1), reason="torn"))
    )
    with db.transaction() as session:
        rows = session.scalars(
            select(Commission)
            .where(Commission.brand_id == sold.id, Commission.source_id == refund_id)
            .order_by(Commission.level)
        ).all()
        row = session.get_one(Refund, (sold.id, refund_id))
    assert [(row.line_no, row.base, row.rate_ppm, row.amount) for row in rows] == [
        (1, 6_000, 100_000, -400),
        (1, 6_000, 50_000, -200),
        (1, 6_000, 20_000, -80),
    ]
    assert {row.earned_on for row in rows} == {date(2026, 3, 2)}
    assert (row.no, row.reason, row.refunded_at) == (1, "torn", NOON + days(1))


@given(
    lines=st.lists(
        st.tuples(st.integers(1, 5), st.integers(0, 4_000), st.integers(0, 99)),
        min_size=1,
        max_size=3,
    ),
    rounding=st.sampled_from(["down", "half_up", "half_even"]),
    data=st.data(),
)
@settings(max_examples=15)
def test_any_number_of_partial_refunds_adds_up(
    db: Database, lines: list[tuple[int, int, int]], rounding: str, data: st.DataObject
) -> None:
    """After each refund the order pays what the rest of it would pay, ordered alone."""
    brand = factories.brand(db)
    factories.plan(db, brand, plan_document=factories.document("33.3333%", "7%", rounding=rounding))
    who = factories.trio(db, brand)
    bought = [
        LineIn(f"s-{n}", units, price, discount=units * price * percent // 100)
        for n, (units, price, percent) in enumerate(lines)
    ]
    ids_of(take(db, brand, order("o-1", lines=bought)))
    left = [(line.quantity, line.net) for line in bought]
    for number in range(data.draw(st.integers(1, 6))):
        returns: list[tuple[int, int, int | None]] = []
        for line, (units, money) in enumerate(left, 1):
            quantity = data.draw(st.integers(0, units))
            amount = data.draw(st.none() | st.integers(0, money)) if quantity else None
            if not quantity and money:
                amount = data.draw(st.integers(0, money))
            if quantity or amount:
                returns.append((line, quantity, amount))
        if not returns:
            continue
        (refund_id,) = ids_of(give_back(db, brand, refund(f"r-{number}", "o-1", *returns)))
        stated = {line: amount for line, _, amount in returns}
        for line, quantity, amount in returned(db, brand, refund_id):
            units, money = left[line - 1]
            left[line - 1] = (units - quantity, money - amount)
            if stated[line] is None and quantity == units:
                assert amount == money, "the last unit takes the rest"
    rest = factories.brand(db)
    factories.plan(db, rest, plan_document=factories.document("33.3333%", "7%", rounding=rounding))
    alone = factories.trio(db, rest)
    ids_of(take(db, rest, order("o-1", *[money for _, money in left])))
    for name in who:
        assert (
            factories.balances(db, brand, who[name]).pending
            == factories.balances(db, rest, alone[name]).pending
        )
    everything = give_back(db, brand, refund("rest", "o-1"))
    assert everything[0].status is (Status.ACCEPTED if any(map(any, left)) else Status.REJECTED)
    assert all(factories.balances(db, brand, number).pending == 0 for number in who.values())
    assert findings(db, brand) == []


def test_a_refund_is_priced_like_its_order(db: Database, sold: Brand) -> None:
    """By the plan version and the tree of the order's time, whatever came since."""
    factories.enrol(db, sold, {"dan": None})
    factories.plan(db, sold, "50%", effective_from=NOON + days(1))
    with clock.travel(NOON + days(1)), db.transaction() as session:
        move_distributor(session, brand_id=sold.id, distributor="ann", sponsor="dan")
    ids_of(give_back(db, sold, refund("r-1", "o-1", refunded_at=NOON + days(2))))
    assert remains(db, sold) == {1: 0, 2: 0, 3: 0}
    assert findings(db, sold) == []


@pytest.mark.parametrize("plan", [True, False])
def test_a_refund_of_an_order_that_paid_nothing(db: Database, brand: Brand, plan: bool) -> None:
    if plan:
        factories.plan(db, brand)
    factories.trio(db, brand)
    ids_of(take(db, brand, order("o-1", 100, distributor=None)))
    (refund_id,) = ids_of(give_back(db, brand, refund("r-1", "o-1")))
    assert returned(db, brand, refund_id) == [(1, 1, 100)]
    assert (remains(db, brand), findings(db, brand)) == ({}, [])


@pytest.mark.parametrize(
    "refunded_at, day",
    [
        ("2026-03-02T15:59:59+00:00", date(2026, 3, 2)),
        ("2026-03-02T16:00:00+00:00", date(2026, 3, 3)),
        ("2026-03-03T00:00:00+08:00", date(2026, 3, 3)),
    ],
)
def test_the_day_of_a_refund_is_the_brands(
    db: Database, sold: Brand, refunded_at: str, day: date
) -> None:
    at = datetime.fromisoformat(refunded_at)
    (refund_id,) = ids_of(
        give_back(db, sold, refund("r-1", "o-1", refunded_at=at), now=NOON + days(5))
    )
    with db.transaction() as session:
        found = session.scalars(
            select(Commission.earned_on).where(
                Commission.brand_id == sold.id, Commission.source_id == refund_id
            )
        )
        assert set(found) == {day}


# -- refused --------------------------------------------------------------------------------------

HALVES = datetime.fromisoformat("0001-01-01T00:00:00+08:00")

REFUSED: list[tuple[str, RefundIn, type[Exception], str]] = [
    ("too many units", refund("x", "o-1", (1, 11)), RefundExceedsOrder, "lines[0].quantity"),
    ("too much money", refund("x", "o-1", (1, 1, 10_001)), RefundExceedsOrder, "lines[0].amount"),
    (
        "too much of the second line",
        refund("x", "o-1", (1, 1), (2, 0, 1_000)),
        RefundExceedsOrder,
        "lines[1].amount",
    ),
    ("no such line", refund("x", "o-1", (1, 1), (3, 1)), UnknownLine, "lines[1].line_no"),
    ("line 0", refund("x", "o-1", (0, 1)), InvalidInput, "lines[0].line_no"),
    ("nothing", refund("x", "o-1", (1, 0)), InvalidInput, "lines[0].quantity"),
    ("nothing in words", refund("x", "o-1", (1, 0, 0)), InvalidInput, "lines[0].quantity"),
    ("less than nothing", refund("x", "o-1", (1, -1)), InvalidInput, "lines[0].quantity"),
    ("negative money", refund("x", "o-1", (1, 1, -1)), InvalidInput, "lines[0].amount"),
    ("huge money", refund("x", "o-1", (1, 1, MAX_AMOUNT + 1)), InvalidInput, "lines[0].amount"),
    ("a line twice", refund("x", "o-1", (1, 1), (1, 2)), InvalidInput, "lines[1].line_no"),
    ("no lines", refund("x", "o-1", lines=()), InvalidInput, "lines"),
    ("no name", refund("", "o-1"), InvalidInput, "external_id"),
    ("no order", refund("x", " "), InvalidInput, "order_external_id"),
    ("no reason", refund("x", "o-1", reason=""), InvalidInput, "reason"),
    (
        "yet to come",
        refund("x", "o-1", refunded_at=NOON + CLOCK_TOLERANCE + timedelta(seconds=1)),
        InvalidInput,
        "refunded_at",
    ),
    (
        "no time zone",
        refund("x", "o-1", refunded_at=datetime(2026, 3, 1)),  # noqa: DTZ001
        InvalidInput,
        "refunded_at",
    ),
]
CANNOT_BE_KEPT: list[tuple[str, RefundIn, type[Exception], str]] = [
    ("half a letter", refund("\ud800", "o-1"), InvalidInput, "external_id"),
    ("half a letter", refund("x", "\ud800"), InvalidInput, "order_external_id"),
    ("half a letter", refund("x", "o-9", reason="\udfff"), InvalidInput, "reason"),
    ("the beginning of days", refund("x", "o-1", refunded_at=HALVES), InvalidInput, "refunded_at"),
]
EVERY_REFUSAL = [pytest.param(*case[1:], id=case[0]) for case in [*REFUSED, *CANNOT_BE_KEPT]]


@pytest.mark.parametrize("wrong, error, field", EVERY_REFUSAL)
def test_a_refused_refund_changes_nothing_and_disturbs_no_other(
    db: Database, sold: Brand, wrong: RefundIn, error: type[Exception], field: str
) -> None:
    one, other = refund("r-1", "o-1", (1, 1, 10)), refund("r-2", "o-1", (2, 1, 10))
    first, refused, second = give_back(db, sold, one, wrong, other, now=NOON)
    assert (first.status, second.status) == (Status.ACCEPTED, Status.ACCEPTED)
    assert (refused.status, refused.id, type(refused.error)) == (Status.REJECTED, None, error)
    assert refused.error is not None
    assert refused.error.field == field
    with db.transaction() as session:
        count = select(func.count()).select_from(Refund).where(Refund.brand_id == sold.id)
        assert session.scalar(count) == 2
    assert waiting(db, sold) == {}
    assert findings(db, sold) == []


def test_nothing_is_left_of_an_order_that_came_back(db: Database, sold: Brand) -> None:
    ids_of(give_back(db, sold, refund("r-1", "o-1")))
    for again in (
        refund("r-2", "o-1"),
        refund("r-2", "o-1", (1, 1)),
        refund("r-2", "o-1", (1, 0, 1)),
    ):
        (outcome,) = give_back(db, sold, again)
        assert isinstance(outcome.error, RefundExceedsOrder)
    assert remains(db, sold) == {1: 0, 2: 0, 3: 0}


def test_a_refund_is_no_order(db: Database, sold: Brand) -> None:
    """A refund of a refund names an order that is not there, and waits in vain."""
    ids_of(give_back(db, sold, refund("r-1", "o-1", (1, 1))))
    assert give_back(db, sold, refund("r-2", "r-1")) == [Outcome(Status.WAITING)]
    assert remains(db, sold) == {1: 1_000, 2: 500, 3: 200}


# -- the same again -------------------------------------------------------------------------------


def test_the_same_again_is_a_duplicate(db: Database, sold: Brand) -> None:
    first, twice = give_back(db, sold, *[refund("r-1", "o-1", (1, 1))] * 2)
    assert first.status is Status.ACCEPTED
    assert twice == Outcome(Status.DUPLICATE, first.id)
    assert give_back(db, sold, refund("r-1", "o-1", (1, 1)), now=NOON + days(3)) == [twice]
    assert remains(db, sold) == {1: 1_000, 2: 500, 3: 200}


DIFFERENT: list[Callable[[RefundIn], RefundIn]] = [
    lambda it: replace(it, lines=None),
    lambda it: replace(it, lines=(RefundLineIn(1, 2),)),
    lambda it: replace(it, lines=(RefundLineIn(1, 1, 1_000),)),
    lambda it: replace(it, lines=(RefundLineIn(1, 99),)),
    lambda it: replace(it, reason="other"),
    lambda it: replace(it, refunded_at=NOON - timedelta(seconds=1)),
]


@pytest.mark.parametrize("change", DIFFERENT)
@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("here", [True, False])
def test_the_same_refund_with_another_content_is_refused(
    db: Database, sold: Brand, change: Callable[[RefundIn], RefundIn], together: bool, here: bool
) -> None:
    it = refund("r-1", "o-1" if here else "o-2", (1, 1))
    chunks = [[it, change(it)]] if together else [[it], [change(it)]]
    first, second = [each for chunk in chunks for each in give_back(db, sold, *chunk, now=NOON)]
    assert first.status is (Status.ACCEPTED if here else Status.WAITING)
    assert (second.status, type(second.error)) == (Status.REJECTED, RefundDiffers)


def test_orders_number_their_refunds_apart(db: Database, sold: Brand) -> None:
    ids_of(take(db, sold, order("o-2", 100)))
    ids_of(give_back(db, sold, refund("r-1", "o-1", (1, 1)), refund("r-1", "o-2", (1, 1))))


def test_several_refunds_of_one_order_in_one_chunk(db: Database, sold: Brand) -> None:
    """They take effect in the order given: what is too much after the others is refused."""
    ids_of(take(db, sold, order("o-2", 500, 600)))
    outcomes = give_back(
        db,
        sold,
        refund("r-1", "o-1", (1, 6)),
        refund("r-2", "o-2", (2, 1)),
        refund("r-3", "o-1", (1, 6)),
        refund("r-4", "o-1", (1, 4)),
        refund("r-5", "o-2"),
        refund("r-6", "o-1"),
        refund("r-7", "o-1"),
    )
    assert [each.status.value for each in outcomes] == [
        "accepted", "accepted", "rejected", "accepted", "accepted", "accepted", "rejected",
    ]  # fmt: skip
    with db.transaction() as session:
        numbers = session.execute(
            select(Refund.external_id, Refund.no).where(Refund.brand_id == sold.id)
        )
        assert dict(map(tuple, numbers)) == {"r-1": 1, "r-4": 2, "r-6": 3, "r-2": 1, "r-5": 2}  # type: ignore[arg-type]
    assert findings(db, sold) == []


ALONE_OR_TOGETHER: list[tuple[str, list[RefundIn]]] = [
    ("wrong, then right", [refund("r", "o-1", (1, 99)), refund("r", "o-1", (1, 1))]),
    ("right, then wrong", [refund("r", "o-1", (1, 1)), refund("r", "o-1", (1, 99))]),
    ("two orders, one of them absent", [refund("r", "o-1", (1, 1)), refund("r", "o-9", (1, 1))]),
    ("absent, twice", [refund("r", "o-9", (1, 1))] * 2),
    (
        "too much after another, then right",
        [
            refund("q", "o-1", (1, 9)),
            refund("r", "o-1", (1, 2)),
            refund("r", "o-1", (1, 1)),
        ],
    ),
]


@pytest.mark.parametrize(
    "refunds", [pytest.param(case, id=name) for name, case in ALONE_OR_TOGETHER]
)
def test_a_chunk_is_its_refunds_one_by_one(db: Database, refunds: list[RefundIn]) -> None:
    found: list[Any] = []
    for together in (True, False):
        brand = factories.brand(db)
        factories.chain(db, brand)
        ids_of(take(db, brand, order("o-1", lines=[LineIn("a", 10, 1_000)])))
        chunks = [refunds] if together else [[each] for each in refunds]
        outcomes = [each for chunk in chunks for each in give_back(db, brand, *chunk)]
        found.append(
            (
                [(each.status, type(each.error)) for each in outcomes],
                remains(db, brand),
                waiting(db, brand),
            )
        )
    assert found[0] == found[1]


def test_a_large_chunk(db: Database, brand: Brand) -> None:
    """More refunds than an INSERT takes: they go by COPY."""
    factories.chain(db, brand)
    ids_of(take(db, brand, *(order(f"o-{n}", 1_000, 2_000) for n in range(250))))
    ids_of(give_back(db, brand, *(refund(f"r-{n}", f"o-{n}", (1, 1)) for n in range(250))))
    assert remains(db, brand) == {1: 50_000, 2: 25_000, 3: 10_000}
    assert findings(db, brand) == []


# -- before its order -----------------------------------------------------------------------------


def test_a_refund_waits_for_its_order(db: Database, brand: Brand) -> None:
    who = factories.chain(db, brand)
    early = refund("r-1", "o-1", (1, 0, 400), refunded_at=NOON + days(1), reason="schnell")
    assert give_back(db, brand, early) == [Outcome(Status.WAITING)]
    assert give_back(db, brand, early, early) == [Outcome(Status.WAITING)] * 2
    assert waiting(db, brand) == {"r-1": None}
    assert findings(db, brand) == []
    ids_of(take(db, brand, order("o-1", 1_000), now=NOON + days(2)))
    assert waiting(db, brand) == {}
    assert remains(db, brand) == {1: 60, 2: 30, 3: 12}
    assert factories.balances(db, brand, who["ann"]).reversed == 40
    (again,) = give_back(db, brand, early, now=NOON + days(3))
    assert again.status is Status.DUPLICATE
    assert findings(db, brand) == []


def test_only_the_awaited_order_ends_the_wait(db: Database, brand: Brand) -> None:
    factories.chain(db, brand)
    give_back(db, brand, refund("r-1", "o-1"), refund("r-2", "o-2", shop="market"))
    ids_of(take(db, brand, order("o-2", 1_000), order("o-3", 1_000)))
    assert waiting(db, brand) == {"r-1": None, "r-2": None}
    ids_of(take(db, brand, order("o-1", 1_000), order("o-2", 1_000, shop="market")))
    assert waiting(db, brand) == {}


def test_a_refused_order_does_not_end_the_wait(db: Database, brand: Brand) -> None:
    factories.chain(db, brand)
    give_back(db, brand, refund("r-1", "o-1"))
    take(db, brand, order("o-1", 1_000, distributor="dan"))
    assert waiting(db, brand) == {"r-1": None}
    ids_of(take(db, brand, order("o-1", 1_000)))
    assert waiting(db, brand) == {}


def test_several_refunds_wait_for_several_orders(db: Database, brand: Brand) -> None:
    factories.chain(db, brand)
    early = [refund(f"r-{n}", f"o-{n % 3}", (1, 1)) for n in range(9)]
    for n, each in enumerate(early):
        give_back(db, brand, each, now=NOON + timedelta(seconds=n))
    lines = [LineIn("a", 4, 1_000)]
    ids_of(take(db, brand, *(order(f"o-{n}", lines=lines) for n in range(3)), now=NOON + days(1)))
    assert waiting(db, brand) == {}
    assert remains(db, brand) == {1: 300, 2: 150, 3: 60}
    assert findings(db, brand) == []


def test_a_waiting_refund_that_turns_out_to_be_wrong_is_kept(db: Database, brand: Brand) -> None:
    factories.chain(db, brand)
    give_back(db, brand, refund("r-1", "o-1", (1, 3)), now=NOON)
    give_back(db, brand, refund("r-2", "o-1", (1, 1)), now=NOON + days(1))
    give_back(db, brand, refund("r-3", "o-1", (5, 1)), now=NOON + days(2))
    ids_of(take(db, brand, order("o-1", lines=[LineIn("a", 2, 1_000)]), now=NOON + days(3)))
    assert waiting(db, brand) == {
        "r-1": "3 units come back, 2 are left",
        "r-3": "the order has 1 lines, none is number 5",
    }
    assert remains(db, brand) == {1: 100, 2: 50, 3: 20}
    assert findings(db, brand) == [
        "refund r-1 waits for order o-1, which is here: 3 units come back, 2 are left",
        "refund r-3 waits for order o-1, which is here: the order has 1 lines, none is number 5",
    ]
    with db.transaction() as session:
        assert apply_waiting(session, brand=brand) == 0, "a wrong one is not tried for ever"


def test_a_wrong_one_that_is_put_right_waits_no_more(db: Database, brand: Brand) -> None:
    factories.chain(db, brand)
    give_back(db, brand, refund("r-1", "o-1", (1, 3)))
    ids_of(take(db, brand, order("o-1", lines=[LineIn("a", 2, 1_000)])))
    assert waiting(db, brand) == {"r-1": "3 units come back, 2 are left"}
    ids_of(give_back(db, brand, refund("r-1", "o-1", (1, 1))))
    assert waiting(db, brand) == {}
    assert findings(db, brand) == []


def test_the_sweeper_finds_what_came_at_the_same_instant(db: Database, sold: Brand) -> None:
    """A refund that was kept while its order was being taken."""
    early = refund("r-1", "o-1", (1, 1))
    with db.transaction() as session:
        session.add(
            WaitingRefund(
                brand_id=sold.id,
                shop=early.shop,
                order_external_id=early.order_external_id,
                external_id=early.external_id,
                content_hash=content_hash(early),
                document=refund_as_json(early),
                received_at=NOON,
                problem=None,
            )
        )
    assert findings(db, sold) == ["refund r-1 waits for order o-1, which is here: not applied"]
    with clock.travel(NOON + days(1)), db.transaction() as session:
        assert apply_waiting(session, brand=sold) == 1
    assert waiting(db, sold) == {}
    assert findings(db, sold) == []


@given(
    st.builds(
        RefundIn,
        shop=st.text(max_size=3),
        order_external_id=st.text(max_size=3),
        external_id=st.text(max_size=3),
        refunded_at=st.datetimes(timezones=st.timezones()).filter(lambda at: 1970 < at.year < 9000),
        lines=st.none()
        | st.lists(
            st.builds(RefundLineIn, st.integers(), st.integers(), st.none() | st.integers())
        ).map(tuple),
        reason=st.none() | st.text(max_size=3),
    )
)
def test_a_refund_survives_waiting(it: RefundIn) -> None:
    kept = refund_from_json(refund_as_json(it))
    assert content_hash(kept) == content_hash(it)
    assert (kept.lines, kept.reason) == (it.lines, it.reason)
    assert kept.refunded_at == it.refunded_at.astimezone(UTC)


# -- in which account -----------------------------------------------------------------------------


def test_before_and_after_the_hold(db: Database, sold: Brand, settings: Settings) -> None:
    with db.transaction() as session:
        ann = get_distributor(session, brand_id=sold.id, external_id="ann").id

    def state() -> tuple[int, int, int, int, int]:
        found = factories.balances(db, sold, ann)
        return found.pending, found.available, found.reserved, found.paid, found.reversed

    assert state() == (1_100, 0, 0, 0, 0)
    ids_of(give_back(db, sold, refund("r-1", "o-1", (1, 1))))
    assert state() == (1_000, 0, 0, 0, 100)
    matured = NOON + days(15)
    with clock.travel(matured - days(1)):
        assert mature(db, brand_id=sold.id) == 0
    with clock.travel(matured):
        assert mature(db, brand_id=sold.id) == 3
    assert state() == (0, 1_000, 0, 0, 100)
    ids_of(give_back(db, sold, refund("r-2", "o-1", (1, 1), refunded_at=matured)))
    assert state() == (0, 900, 0, 0, 200)
    batch = factories.draw_up(db, sold, date(2026, 3, 16), matured)
    assert state() == (0, 0, 900, 0, 200)
    ids_of(give_back(db, sold, refund("r-3", "o-1", (1, 1), refunded_at=matured)))
    assert state() == (0, -100, 900, 0, 300)
    factories.pay(db, settings, batch, matured)
    assert state() == (0, -100, 0, 900, 300)
    ids_of(give_back(db, sold, refund("r-4", "o-1", refunded_at=matured)))
    assert state() == (0, -900, 0, 900, 1_100)
    assert findings(db, sold) == []
    # the next batch nets the debt
    ids_of(take(db, sold, order("o-2", 20_000, placed_at=matured)))
    later = matured + days(15)
    batch = factories.settle(db, settings, sold, date(2026, 3, 31), later)
    assert state() == (0, 0, 0, 2_000, 1_100)
    assert findings(db, sold) == []
