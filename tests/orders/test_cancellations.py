"""Finding what a cancellation cancels: worked examples, and what holds for any."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distrib.orders.sources.assembly import Cancellation, CancelledRow
from distrib.orders.sources.cancellations import Matched, match_cancellations
from distrib.orders.sources.cells import RefundLine
from distrib.orders.sources.shelf import Back, Goods, Recorded, Shelf, Stock

START = datetime(2026, 1, 1, tzinfo=UTC)


def day(number: float) -> datetime:
    return START + timedelta(days=number)


def stock(order: str, placed: float, left: int, **changes: Any) -> Stock:
    """A line of an order: 1.00 a unit, SKU A, line 1, without a discount."""
    fields: dict[str, Any] = {"line_no": 1, "sku": "A", "unit_price": 100, **changes}
    fields.setdefault("money", left * fields["unit_price"])
    return Stock(order=order, placed_at=day(placed), left=left, **fields)


def shelf(*stocks: Stock, buyer: str = "ann") -> Shelf:
    found = Shelf()
    for each in sorted(stocks, key=lambda s: (s.placed_at, s.order), reverse=True):
        orders = found.goods.setdefault(Goods(buyer, each.sku, each.unit_price), [])
        if not orders or orders[-1][0].order != each.order:
            orders.append([])
        orders[-1].append(each)
        orders[-1].sort(key=lambda s: s.line_no)
        found.orders.setdefault(each.order, []).append(each)
    return found


def line(quantity: int, sku: str = "A", price: int | None = 100, **changes: Any) -> RefundLine:
    amount = None if price is None else quantity * price
    return RefundLine(**{"order": None, "amount": amount, **changes}, sku=sku,
                      quantity=quantity, unit_price=price)  # fmt: skip


def cancel(number: str, at: float, *lines: RefundLine, buyer: str | None = "ann") -> Cancellation:
    rows = [CancelledRow((0, n), each) for n, each in enumerate(lines, 2)]
    return Cancellation(number, day(at), buyer, rows, [])


def match(on: Shelf, *cancellations: Cancellation) -> list[Matched]:
    return match_cancellations(cancellations, on, shop="corner", currency="GBP")


def taken(matched: Matched) -> dict[str, list[tuple[int, int, int | None]]]:
    """Order → line, units and money of its refund."""
    return {
        refund.order_external_id: [
            (each.line_no, each.quantity, each.amount) for each in refund.lines or ()
        ]
        for refund, _ in matched.refunds
    }


@pytest.mark.parametrize(
    "stocks, wanted, found",
    [
        pytest.param([stock("1", 1, 5)], 2, {"1": [(1, 2, 200)]}, id="part of an order"),
        pytest.param([stock("1", 1, 5), stock("2", 2, 5)], 5, {"2": [(1, 5, 500)]}, id="latest"),
        pytest.param([stock("1", 1, 5), stock("2", 2, 4)], 5, {"1": [(1, 5, 500)]},
                     id="the latest with enough"),
        pytest.param([stock("1", 1, 4), stock("2", 2, 3), stock("3", 3, 1)], 6,
                     {"3": [(1, 1, 100)], "2": [(1, 3, 300)], "1": [(1, 2, 200)]},
                     id="several, the latest first"),
        pytest.param([stock("1", 1, 5), stock("2", 10, 5)], 3, {"2": [(1, 3, 300)]},
                     id="an order of the same instant counts"),
        pytest.param([stock("1", 1, 5), stock("2", 10.01, 5)], 3, {"1": [(1, 3, 300)]},
                     id="a later order does not"),
        pytest.param([stock("1", 1, 2), stock("1", 1, 3, line_no=4)], 4,
                     {"1": [(1, 2, 200), (4, 2, 200)]}, id="several lines of an order"),
        pytest.param([stock("1", 1, 9), stock("2", 2, 5, money=350)], 5, {"1": [(1, 5, 500)]},
                     id="a discounted line gives no more than it cost"),
        pytest.param([stock("1", 1, 5), stock("2", 1, 5)], 1, {"2": [(1, 1, 100)]},
                     id="of two at once, the higher number"),
    ],
)  # fmt: skip
def test_what_is_found(
    stocks: list[Stock], wanted: int, found: dict[str, list[tuple[int, int, int]]]
) -> None:
    (matched,) = match(shelf(*stocks), cancel("C1", 10, line(wanted)))
    assert taken(matched) == found
    assert (matched.rejected, matched.recorded) == ([], [])
    for refund, rows in matched.refunds:
        assert (refund.shop, refund.external_id, refund.refunded_at) == ("corner", "C1", day(10))
        assert [row.at for row in rows] == [(0, 2)]


@pytest.mark.parametrize(
    "stocks, cancellation, reason",
    [
        pytest.param([stock("1", 1, 5)], cancel("C1", 10, line(1), buyer=None),
                     "buyer: there is none, so no earlier order can be found", id="no buyer"),
        pytest.param([stock("1", 1, 5)], cancel("C1", 10, line(1), buyer="bob"),
                     "no earlier order of buyer 'bob' has 'A' at 1.00", id="another buyer"),
        pytest.param([stock("1", 1, 5)], cancel("C1", 10, line(1, "B")),
                     "no earlier order of buyer 'ann' has 'B' at 1.00", id="another sku"),
        pytest.param([stock("1", 1, 5)], cancel("C1", 10, line(1, price=101)),
                     "no earlier order of buyer 'ann' has 'A' at 1.01", id="another price"),
        pytest.param([stock("1", 11, 5)], cancel("C1", 10, line(1)),
                     "no earlier order of buyer 'ann' has 'A' at 1.00", id="only a later order"),
        pytest.param([stock("1", 1, 5), stock("2", 2, 3)], cancel("C1", 10, line(9)),
                     "only 8 of 9 units of 'A' at 1.00 are left in earlier orders of buyer 'ann'",
                     id="not enough"),
        pytest.param([stock("1", 1, 5, money=399)], cancel("C1", 10, line(4)),
                     "only 3 of 4 units of 'A' at 1.00 are left in earlier orders of buyer 'ann'",
                     id="not enough money"),
    ],
)  # fmt: skip
def test_what_cannot_be_found(stocks: list[Stock], cancellation: Cancellation, reason: str) -> None:
    (matched,) = match(shelf(*stocks), cancellation)
    assert [why for _, why in matched.rejected] == [reason]
    assert (matched.refunds, matched.recorded) == ([], [])


def test_what_one_takes_is_gone_for_the_next() -> None:
    on = shelf(stock("1", 1, 3), stock("2", 2, 3))
    first, second, third = match(
        on, cancel("C1", 5, line(2)), cancel("C2", 6, line(2)), cancel("C3", 7, line(3))
    )
    assert taken(first) == {"2": [(1, 2, 200)]}
    assert taken(second) == {"1": [(1, 2, 200)]}
    assert third.rejected[0][1].startswith("only 2 of 3 units")


def test_a_cancellation_makes_one_refund_for_each_order() -> None:
    on = shelf(stock("1", 1, 5), stock("1", 1, 5, line_no=2, sku="B"), stock("2", 2, 5, sku="C"))
    rows = [line(1, "C"), line(2, "B"), line(1), line(3), line(1, "D")]
    (matched,) = match(on, cancel("C1", 10, *rows))
    assert taken(matched) == {"1": [(1, 4, 400), (2, 2, 200)], "2": [(1, 1, 100)]}
    assert {refund.external_id for refund, _ in matched.refunds} == {"C1"}
    assert [row.at[1] for row, _ in matched.rejected] == [6]


def test_a_discount_is_divided_with_the_units() -> None:
    on = shelf(stock("1", 1, 1), stock("2", 2, 2))
    (matched,) = match(on, cancel("C1", 10, line(3, amount=250)))
    assert taken(matched) == {"2": [(1, 2, 167)], "1": [(1, 1, 83)]}


# -- what is recorded ---------------------------------------------------------------------------


def recorded(on: Shelf, number: str, each: Stock, units: int, at: float = 10) -> None:
    """Let a refund of some units be recorded."""
    back = Back(day(at), number, units, units * each.unit_price)
    each.give(back)
    goods = Goods("ann", each.sku, each.unit_price)
    on.recorded.setdefault(number, []).append(Recorded(each.order, goods, units, back.money))
    on.own.setdefault(number, []).append((each, back))


def test_a_recorded_cancellation_is_recognized_though_orders_came_since() -> None:
    old, new = stock("1", 1, 5), stock("2", 2, 5)
    on = shelf(old, new)
    recorded(on, "C1", old, 3)
    (matched,) = match(on, cancel("C1", 10, line(1), line(2)))
    assert [row.at[1] for row in matched.recorded] == [3, 2]
    assert matched.known == 1
    assert (matched.refunds, matched.rejected) == ([], [])


@pytest.mark.parametrize("lines", [[line(2)], [line(4)], [line(3, "B")], [line(3, price=99)], []])
def test_a_recorded_cancellation_with_another_content(lines: list[RefundLine]) -> None:
    each = stock("1", 1, 9)
    on = shelf(each, stock("2", 1, 9, sku="B"))
    recorded(on, "C1", each, 3)
    (matched,) = match(on, cancel("C1", 10, *lines, line(1, "B")))
    reason = "refund 'C1' is recorded with another content"
    assert [why for _, why in matched.rejected] == [reason] * (len(lines) + 1)
    assert (matched.refunds, matched.recorded) == ([], [])
    assert each.left == 6


def test_what_was_refused_is_tried_again() -> None:
    each = stock("1", 1, 5)
    on = shelf(each, stock("2", 2, 5, sku="B"))
    recorded(on, "C1", each, 3)
    (matched,) = match(on, cancel("C1", 10, line(3), line(9), line(1, "B")))
    assert [row.at[1] for row in matched.recorded] == [2]
    assert taken(matched) == {"2": [(1, 1, 100)]}
    # an order has one refund of a cancellation: what is left of it is not for this one
    assert matched.rejected[0][1].startswith("only 5 of 9")


def test_what_was_refused_is_refused_in_the_same_words_again() -> None:
    first = shelf(stock("1", 1, 5))
    before = match(first, cancel("C1", 5, line(6)), cancel("C2", 6, line(6), line(3), line(2)))
    each = stock("1", 1, 5)
    again = shelf(each)
    recorded(again, "C2", each, 5, at=6)
    after = match(again, cancel("C1", 5, line(6)), cancel("C2", 6, line(6), line(3), line(2)))
    assert [m.rejected for m in after] == [m.rejected for m in before]
    assert before[0].rejected[0][1].startswith("only 5 of 6")
    # and when later refunds are why there is not enough, they count
    (late,) = match(again, cancel("C0", 4, line(4)))
    assert late.rejected[0][1].startswith("only 0 of 4")


# -- cancellations that name their order --------------------------------------------------------


@pytest.mark.parametrize(
    "lines, found",
    [
        ([line(2, order="1")], {"1": [(1, 2, 200)]}),
        ([line(2, order="1", price=None)], {"1": [(1, 2, None)]}),
        ([line(2, order="1", price=120)], {"1": [(2, 2, 240)]}),
        ([line(2, order="1", price=90)], {"1": [(1, 2, 180)]}),
        ([line(7, order="1", price=None)], {"1": [(1, 5, None), (2, 2, None)]}),
        ([line(7, order="1", amount=701)], {"1": [(1, 5, 501), (2, 2, 200)]}),
        ([line(0, order="1", price=None, amount=50)], {"1": [(1, 0, 50)]}),
        ([line(1, order="1"), line(2, order="1")], {"1": [(1, 3, 300)]}),
        ([line(1, order="1"), line(1, "B", order="2")], {"1": [(1, 1, 100)], "2": [(1, 1, 100)]}),
    ],
)
def test_lines_of_a_named_order(
    lines: list[RefundLine], found: dict[str, list[tuple[int, int, int | None]]]
) -> None:
    on = shelf(
        stock("1", 1, 5), stock("1", 1, 5, line_no=2, unit_price=120), stock("2", 20, 1, sku="B")
    )
    (matched,) = match(on, cancel("C1", 10, *lines, buyer=None))
    assert matched.rejected == []
    assert taken(matched) == found


def whole(order: str) -> RefundLine:
    return RefundLine(order, None, 0, None, None)


def test_a_named_order_as_a_whole() -> None:
    (matched,) = match(Shelf(), cancel("C1", 10, whole("1"), whole("2")))
    assert [(refund.order_external_id, refund.lines) for refund, _ in matched.refunds] == [
        ("1", None),
        ("2", None),
    ]


@pytest.mark.parametrize(
    "lines, reason",
    [
        ([line(1, order="9")], "order '9' is not recorded, so its lines are not known"),
        ([line(1, "B", order="1")], "sku: order '1' has no 'B'"),
        ([line(6, order="1")], "quantity: 6 units of 'A' come back, 5 are left"),
        ([whole("1"), line(1, order="1")], "sku: the whole order is named beside its lines"),
        ([line(2, order="1"), line(1, order="1", price=None)],
         "sku: 'A' is named twice, once without an amount"),
    ],
)  # fmt: skip
def test_named_orders_that_do_not_fit(lines: list[RefundLine], reason: str) -> None:
    (matched,) = match(shelf(stock("1", 1, 5)), cancel("C1", 10, *lines))
    assert [why for _, why in matched.rejected] == [reason]


def test_a_recorded_refund_of_a_named_order_is_made_again_as_it_was() -> None:
    each = stock("1", 1, 5)
    on = shelf(each)
    recorded(on, "C1", each, 2)
    recorded(on, "C2", each, 2)
    again, other, third = match(
        on,
        cancel("C1", 10, line(2, order="1")),
        cancel("C2", 11, line(2, order="1")),
        cancel("C3", 12, line(1, order="1")),
    )
    assert taken(again) == taken(other) == {"1": [(1, 2, 200)]}
    assert taken(third) == {"1": [(1, 1, 100)]}
    assert each.left == 0


# -- properties ---------------------------------------------------------------------------------

stocks = st.lists(
    st.tuples(st.integers(0, 6), st.integers(1, 4), st.sampled_from("AB"), st.integers(0, 2)),
    max_size=8,
)
asked = st.lists(
    st.tuples(
        st.integers(0, 7),
        st.lists(st.tuples(st.integers(1, 6), st.sampled_from("AB")), min_size=1, max_size=3),
    ),
    max_size=6,
)


def _shelf(facts: list[tuple[int, int, str, int]]) -> Shelf:
    return shelf(
        *(
            stock(str(placed), placed, left, sku=sku, line_no=n, money=left * 100 - less * 40)
            for n, (placed, left, sku, less) in enumerate(facts, 1)
        )
    )


def _cancellations(facts: list[tuple[int, list[tuple[int, str]]]]) -> list[Cancellation]:
    made = [
        cancel(f"C{n}", at, *(line(*row) for row in rows)) for n, (at, rows) in enumerate(facts)
    ]
    return sorted(made, key=lambda each: (each.refunded_at, each.number))


@given(stocks, asked, st.randoms(use_true_random=False))
def test_any_matching(
    lines: list[tuple[int, int, str, int]],
    facts: list[tuple[int, list[tuple[int, str]]]],
    shuffle: random.Random,
) -> None:
    on, cancellations = _shelf(lines), _cancellations(facts)
    before = Counter(each.sku for all_of in on.goods.values() for o in all_of for each in o
                     for _ in range(each.left))  # fmt: skip
    found = match(on, *cancellations)
    for each, matched in zip(cancellations, found, strict=True):
        places = {row.at for _, rows in matched.refunds for row in rows}
        refused = [row.at for row, _ in matched.rejected]
        assert sorted([*places, *refused]) == [row.at for row in each.rows]
        money = sum(
            part.amount or 0 for refund, _ in matched.refunds for part in refund.lines or ()
        )
        units = sum(part.quantity for refund, _ in matched.refunds for part in refund.lines or ())
        accepted = [row.line for row in each.rows if row.at in places]
        assert money == sum(row.amount or 0 for row in accepted)
        assert units == sum(row.quantity for row in accepted)
        before.subtract(row.sku or "" for row in accepted for _ in range(row.quantity))
    after = [each for all_of in on.goods.values() for o in all_of for each in o]
    assert all(each.left >= 0 and each.money >= 0 for each in after)
    assert Counter({sku: n for sku, n in before.items() if n}) == Counter(
        each.sku for each in after for _ in range(each.left)
    )
    # one at a time, and with their rows shuffled, they find the same
    again = _shelf(lines)
    for each, matched in zip(cancellations, found, strict=True):
        shuffle.shuffle(each.rows)
        assert taken(match(again, each)[0]) == taken(matched)
