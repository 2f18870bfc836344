"""Orders out of files: what their rows make up, and that no row is lost or taken twice."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distrib.orders.document import LineIn
from distrib.orders.sources.mapping_file import load_mapping
from tests.orders.files import UCI, Read, read


def test_rows_make_orders(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        UCI + "536365,85123A,HEART,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom\n"
        "536365,POST,POSTAGE,1,2010-12-01 08:27:00,18.00,17850.0,United Kingdom\n"
        "536366,22633,\"WARMER, HAND\",2,2011-07-01 08:28:00,0.0,,France\n"
        "C536379,22633,,-1,2011-07-02 09:41:00,1.85,14527.0,United Kingdom\n",
        mapping=load_mapping("uci-online-retail"),
    )  # fmt: skip
    first, gift = (sale.order for sale in found.sales)
    assert (first.shop, first.external_id, first.currency) == ("uci-online-retail", "536365", "GBP")
    assert first.placed_at == datetime(2010, 12, 1, 8, 26, tzinfo=UTC)
    assert (first.buyer, first.distributor, first.code) == ("17850", "17850", None)
    assert first.lines == (
        LineIn("85123A", 6, 255, category="goods"),
        LineIn("POST", 1, 1800, category="postage"),
    )
    assert gift.placed_at == datetime(2011, 7, 1, 7, 28, tzinfo=UTC)  # London's summer
    assert (gift.buyer, gift.distributor) == (None, None)
    assert gift.lines == (LineIn("22633", 2, 0, category="goods"),)
    assert [sale.rows for sale in found.sales] == [[(0, 2), (0, 3)], [(0, 4)]]
    (cancelled,) = found.cancellations
    assert (cancelled.number, cancelled.buyer) == ("C536379", "14527")
    (row,) = cancelled.rows
    assert (row.line.sku, row.line.quantity, row.line.unit_price) == ("22633", 1, 185)
    assert row.line.amount == 185
    assert found.files.money == Decimal("6") * Decimal("2.55") + 18 - Decimal("1.85")


@pytest.mark.parametrize(
    "row, reason",
    [
        ("1,A,,1,2011-01-01,0.001,9,UK", "unit_price: 0.001 has more decimals than GBP has (2)"),
        ("1,A,,-5,2011-01-01,1,9,UK",
         "quantity: must be at least 1, it is -5, and the order is no cancellation"),
        ("1,A,,0,2011-01-01,1,9,UK",
         "quantity: must be at least 1, it is 0, and the order is no cancellation"),
        ("1,A,,1.5,2011-01-01,1,9,UK", "quantity: '1.5' is no whole number"),
        ("1,A,,1_0,2011-01-01,1,9,UK", "quantity: '1_0' is no whole number"),
        ("1,A,,٣,2011-01-01,1,9,UK", "quantity: '٣' is no whole number"),
        ("1,A,,,2011-01-01,1,9,UK", "quantity: must not be empty"),
        (f"1,A,,{'9' * 18},2011-01-01,0,9,UK",
         f"quantity: {'9' * 18} is more than 1000000000"),
        (f"1,A,,{'9' * 5000},2011-01-01,0,9,UK",
         f"quantity: '{'9' * 5000}' is no whole number"),
        ("1,A,,1,2011-01-01,,9,UK", "unit_price: must not be empty"),
        ("1,A,,1,2011-01-01,-1.50,9,UK", "unit_price: must not be negative, it is -1.50"),
        ("1,A,,1,2011-01-01,1e3,9,UK", "unit_price: '1e3' is not a decimal number"),
        ("1,A,,1,2011-01-01,nan,9,UK", "unit_price: 'nan' is not a decimal number"),
        ("1,A,,1,2011-01-01,£5,9,UK", "unit_price: '£5' is not a decimal number"),
        ("1,A,,1000000000,2011-01-01,99,9,UK",
         "unit_price: the order's total of 9900000000000 is more than 9000000000000 minor units"),
        ("1, ,,1,2011-01-01,1,9,UK", "sku: must not be empty"),
        (f"1,{'A' * 201},,1,2011-01-01,1,9,UK", "sku: is longer than 200 characters"),
        ("1,A\x00,,1,2011-01-01,1,9,UK", "sku: contains a NUL character"),
        (" ,A,,1,2011-01-01,1,9,UK", "order: must not be empty"),
        ("1,A,,1,,1,9,UK", "placed_at: must not be empty"),
        ("1,A,,1,2011-02-29,1,9,UK",
         "placed_at: '2011-02-29' is no time of the form iso or %d/%m/%Y %H:%M or %m/%d/%y %H:%M"),
        ("1,A,,1,1900-01-01,1,9,UK", "placed_at: '1900-01-01' is before 1970"),
        ("1,A,,1,0001-01-01T00:00+09:00,1,9,UK",
         "placed_at: '0001-01-01T00:00+09:00' is at the edge of the calendar"),
        ("1,A,,1,2011-03-27 01:30,1,9,UK",
         "placed_at: the clocks of Europe/London skipped '2011-03-27 01:30'"),
        ("A1,B,,1,2011-01-01,1,9,UK", "the invoice adjusts bad debt, it is no sale"),
        ("1,A,,1,2011-01-01,1,9", "row has 7 columns, the header 8"),
        ("1,A,,1,2011-01-01,1,9,UK,x", "row has 9 columns, the header 8"),
        ("1,A,\"x\"y,1,2011-01-01,1,9,UK",
         'quotes: a closing quote is followed by text; a quote in a text is written ""'),
        (f"1,A,{'x' * 140_000},1,2011-01-01,1,9,UK",
         "quotes: a field is longer than 131072 characters"),
        ("C1,A,,5,2011-01-01,1,9,UK", "quantity: must be at most -1 in a refund, it is 5"),
        ("C1,,,-5,2011-01-01,1,9,UK", "sku: must not be empty"),
        ("C1,A,,-5,2011-01-01,,9,UK", "unit_price: must not be empty"),
        ("C1,A,,-5,2011-13-01,1,9,UK",
         "placed_at: '2011-13-01' is no time of the form iso or %d/%m/%Y %H:%M or %m/%d/%y %H:%M"),
    ],
)  # fmt: skip
def test_unusable_rows(tmp_path: Path, row: str, reason: str) -> None:
    good = "7,A,,1,2011-01-01,2.00,9,UK\n"
    found = read(tmp_path, f"{UCI}{good}{row}\n{good}")
    assert found.reasons == [(3, reason)]
    assert [sale.rows for sale in found.sales] == [[(0, 2), (0, 4)]]


@pytest.mark.parametrize(
    "row, money",
    [
        ("1,A,,3,2011-01-01,0.001,9,UK", "0.003"),
        ("1,A,,-5,2011-01-01,1.10,9,UK", "-5.50"),
        ("A1,A,,2,2011-01-01,-11062.06,9,UK", "-22124.12"),
        ("C1,A,,-2,x,1.25,9,UK", "-2.50"),
        ("1,A,,2,x,1.25,9,UK", "2.50"),
        ("1,A,,x,2011-01-01,1.25,9,UK", None),
        ("1,A,,1,2011-01-01,x,9,UK", None),
        ("1,A,,1,2011-01-01,1.25,9", None),
    ],
)
def test_the_money_of_unusable_rows_is_told(tmp_path: Path, row: str, money: str | None) -> None:
    found = read(tmp_path, f"{UCI}{row}\n")
    (rejected,) = found.rejected
    assert rejected.money == (None if money is None else Decimal(money))
    assert found.files.money == Decimal(money or 0)
    assert found.files.rows_without_money == (money is None)


@pytest.mark.parametrize(
    "rows, reasons",
    [
        ("1,A,,1,2011-01-01,1,9,UK\n1,B,,1,2011-01-01,1,8,UK\n1,C,,1,2011-01-01,1,9,UK\n",
         [(3, "buyer: is '8', the order's first row says '9'")]),
        ("1,A,,1,2011-01-01,1,,UK\n1,B,,1,2011-01-01,1,8,UK\n",
         [(3, "buyer: is '8', the order's first row says None")]),
        ("1,A,,1,x,1,8,UK\n1,B,,1,2011-01-01,1,9,UK\n1,C,,1,2011-01-01,1,9,UK\n",
         [(2, "placed_at: 'x' is no time of the form iso or %d/%m/%Y %H:%M or %m/%d/%y %H:%M")]),
        ("1,A,,1,2011-01-01,1,9,UK\n1,B,,1,2011-01-02T00:00:01,1,9,UK\n",
         [(3, "placed_at: is 2011-01-02T00:00:01+00:00, more than a day from the order's first"
              " row, 2011-01-01T00:00:00+00:00")]),
        # what a row says of its order counts even when its line cannot be used
        ("1,A,,x,2011-01-01,1,9,UK\n1,B,,1,2011-01-01,1,8,UK\n",
         [(2, "quantity: 'x' is no whole number"),
          (3, "buyer: is '8', the order's first row says '9'")]),
    ],
)  # fmt: skip
def test_rows_that_disagree(tmp_path: Path, rows: str, reasons: list[tuple[int, str]]) -> None:
    assert read(tmp_path, UCI + rows).reasons == reasons


def test_the_earliest_row_tells_the_time(tmp_path: Path) -> None:
    found = read(tmp_path, UCI + "1,A,,1,2011-01-01 10:01,1,9,UK\n1,B,,1,2011-01-01 10:00,1,9,UK\n")
    assert [sale.order.placed_at.minute for sale in found.sales] == [0]


def test_the_first_of_two_like_hours_is_meant(tmp_path: Path) -> None:
    found = read(tmp_path, UCI + "1,A,,1,2011-10-30 01:30,1,9,UK\n")
    assert found.sales[0].order.placed_at == datetime(2011, 10, 30, 0, 30, tzinfo=UTC)


# -- rows apart ---------------------------------------------------------------------------------


def test_rows_of_an_order_may_stand_apart(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        UCI + "1,A,,1,2011-01-01,1,9,UK\n2,A,,1,2011-01-01,1,9,UK\n1,B,,1,2011-01-01,1,9,UK\n",
        UCI + "2,B,,1,2011-01-01,1,9,UK\n3,A,,1,2011-01-01,1,9,UK\n",
    )
    lines = {
        sale.order.external_id: [line.sku for line in sale.order.lines] for sale in found.sales
    }
    assert lines == {"1": ["A", "B"], "2": ["A", "B"], "3": ["A"]}


def test_the_same_order_in_two_files_is_one(tmp_path: Path) -> None:
    order = "1,A,,1,2011-01-01,1,9,UK\n1,A,,1,2011-01-01,1,9,UK\n1,B,,x,2011-01-01,1,9,UK\n"
    other = "2,A,,1,2011-01-01,1,9,UK\n"
    found = read(tmp_path, UCI + order, UCI + other + order, UCI + order)
    first, second = sorted(found.sales, key=lambda sale: sale.order.external_id)
    assert len(first.order.lines) == len(first.rows) == 2
    assert first.repeats == [(1, 3), (1, 4), (2, 2), (2, 3)]
    assert (second.rows, second.repeats) == ([(1, 2)], [])
    assert [row.at for row in found.rejected] == [(0, 4), (1, 5), (2, 4)]
    assert found.files.money == 3 * 2 + 1


def test_an_order_that_is_half_in_two_files_contradicts_itself(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        UCI + "1,A,,1,2011-01-01,1,9,UK\n",
        UCI + "1,A,,1,2011-01-01,1,9,UK\n1,B,,1,2011-01-01,1,9,UK\n",
    )
    assert [sale.rows for sale in found.sales] == [[(0, 2)]]
    reason = f"order: some of its rows stand in {tmp_path / '0.csv'} too, some do not"
    assert found.reasons == [(2, reason), (3, reason)]


def test_the_same_cancellation_in_two_files_is_one(tmp_path: Path) -> None:
    row = "C1,A,,-1,2011-01-01,1,9,UK\n"
    (found,) = read(tmp_path, UCI + row, UCI + row).cancellations
    assert ([row.at for row in found.rows], [row.at for row in found.repeats]) == (
        [(0, 2)],
        [(1, 2)],
    )


# -- properties ---------------------------------------------------------------------------------

cells = st.sampled_from(["A", "B", "C", "", "D"])
quantities = st.sampled_from(["1", "2", "3", "10", "-1", "-2", "0", "x", "1.5"])
prices = st.sampled_from(["0", "0.10", "1.99", "100", "0.001", "-1", "", "y"])
rows = st.builds(
    lambda order, sku, quantity, price: (
        f"{order[0]},{sku},,{quantity},2011-01-{order[1]:02} 10:00,{price},{order[2]},UK\n"
    ),
    st.sampled_from([("1", 1, "9"), ("2", 2, "8"), ("3", 3, ""), ("C4", 4, "9"), ("A5", 5, "")]),
    cells,
    quantities,
    prices,
)


def _shape(found: Read) -> tuple[Any, ...]:
    """What was read, whatever the order it was read in."""
    orders = [sale.order for sale in found.sales]
    return (
        {(o.external_id, o.placed_at, o.buyer, _bag(o.lines)) for o in orders},
        {
            (each.number, each.refunded_at, each.buyer, _bag(row.line for row in each.rows))
            for each in found.cancellations
        },
        Counter(row.reason for row in found.rejected),
        found.files.money,
        found.files.rows_without_money,
    )


def _bag(items: Iterable[Any]) -> frozenset[Any]:
    return frozenset(Counter(items).items())


@given(st.lists(rows, max_size=30), st.randoms(use_true_random=False))
def test_any_shuffling_gives_the_same_orders(
    tmp_path: Path, lines: list[str], shuffle: random.Random
) -> None:
    before = _shape(read(tmp_path, UCI + "".join(lines)))
    shuffle.shuffle(lines)
    assert _shape(read(tmp_path, UCI + "".join(lines))) == before


@given(st.lists(rows, max_size=30), st.integers(0, 30))
def test_the_money_of_a_file_is_told(tmp_path: Path, lines: list[str], cut: int) -> None:
    whole = read(tmp_path, UCI + "".join(lines))
    parts = read(tmp_path, UCI + "".join(lines[:cut]), UCI + "".join(lines[cut:]))
    assert parts.files.money == whole.files.money
    assert parts.files.rows_without_money == whole.files.rows_without_money
