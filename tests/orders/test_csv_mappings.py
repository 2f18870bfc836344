"""Files of different shops: amounts, refunds and order fields each written in their own way."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from distrib.errors import InvalidInput
from distrib.orders.document import LineIn
from distrib.orders.sources.cells import RefundLine
from distrib.orders.sources.mapping_file import load_mapping
from tests.orders.files import SHOP, read, shop_mapping


def test_discount_shipping_and_tax_stand_apart(tmp_path: Path) -> None:
    found = read(tmp_path, SHOP + "1,2026-01-01,A,3,10.00,1.50,4.00,2.10,ann,,\n",
                 mapping=shop_mapping())  # fmt: skip
    assert found.sales[0].order.lines == (
        LineIn("A", 3, 1000, discount=150, shipping=400, tax=210),
    )
    assert found.files.money == Decimal("34.60")


@pytest.mark.parametrize(
    "changes, price, amount",
    [
        ({"decimal": ","}, '"10,50"', 1050),
        ({"amounts": "minor"}, "1050", 1050),
        ({"columns": {"unit_price": {"column": "Price", "remove": "$,"}}}, '"$1,010.50"', 101050),
    ],
)
def test_ways_to_write_amounts(
    tmp_path: Path, changes: dict[str, Any], price: str, amount: int
) -> None:
    text = f"{SHOP}1,2026-01-01,A,1,{price},,,,ann,,\n"
    found = read(tmp_path, text, mapping=shop_mapping(**changes))
    assert [sale.order.lines[0].unit_price for sale in found.sales] == [amount]
    assert found.files.money == Decimal(amount) / 100


@pytest.mark.parametrize(
    "changes, price, reason",
    [
        ({"decimal": ","}, "10.50", "unit_price: '10,50' is not a decimal number"),
        ({"amounts": "minor"}, "10.50", "unit_price: '10.50' is no whole number of minor units"),
    ],
)
def test_amounts_written_otherwise(
    tmp_path: Path, changes: dict[str, Any], price: str, reason: str
) -> None:
    text = f"{SHOP}1,2026-01-01,A,1,{price},,,,ann,,\n"
    assert read(tmp_path, text, mapping=shop_mapping(**changes)).reasons == [(2, reason)]


def test_refunds_told_by_a_column(tmp_path: Path) -> None:
    refunds = {"column": "Kind", "sale": "sale", "refund": ["return", "void"], "order": "Of",
               "quantity": "positive"}  # fmt: skip
    found = read(
        tmp_path,
        SHOP + "1,2026-01-01,A,2,10.00,,,,ann,sale,\n"
        "1,2026-01-01,B,1,5.00,,,,ann,sale,\n"
        "R1,2026-01-02,A,1,10.00,1.00,,9.99,ann,return,1\n"
        "R2,2026-01-03,,,,,,,ann,void,1\n"
        "R3,2026-01-03,A,-1,10.00,,,,ann,return,1\n"
        "R4,2026-01-03,A,1,10.00,,,,ann,swap,1\n"
        "1,2026-01-01,C,1,5.00,,,,ann,sale,\n",
        mapping=shop_mapping(refunds=refunds),
    )
    assert [len(sale.order.lines) for sale in found.sales] == [3]  # refunds do not part an order
    one, two = found.cancellations
    assert (one.number, one.rows[0].line.order, one.rows[0].line.amount) == ("R1", "1", 900)
    assert (two.number, two.rows[0].line.order, two.rows[0].line.sku) == ("R2", "1", None)
    assert found.reasons == [
        (6, "quantity: must be at least 1 in a refund, it is -1"),
        (7, "type: 'swap' is neither sale nor return or void"),
    ]
    # R3 would have given 10.00 back wrongly signed, and R4 is read as the sale it may be
    assert found.files.money == 30 - 9 + 10 + 10
    assert found.files.rows_without_money == 1


def test_refunds_with_their_own_numbers_and_amounts(tmp_path: Path) -> None:
    text = (
        "order,placed_at,sku,quantity,unit_price,refund_of,refund_amount\n"
        "1,2026-01-01,A,2,10.00,,\n"
        "R1,2026-01-02,A,,,1,3.50\n"
        "R2,2026-01-02,A,-1,,1,\n"
        "R3,2026-01-02,A,-1,,1,-2\n"
        "R4,2026-01-02,,-1,,1,\n"
    )
    found = read(tmp_path, text, mapping=load_mapping("standard"))
    lines = [each.rows[0].line for each in found.cancellations]
    assert [(line.quantity, line.amount) for line in lines] == [(0, 350), (1, None)]
    assert found.reasons == [
        (5, "refund amount: must not be negative, it is -2"),
        (6, "sku: must not be empty"),
    ]


def test_whole_orders(tmp_path: Path) -> None:
    text = SHOP + "1,2026-01-01,A,1,10,,,,ann,,\n1,2026-01-01,B,x,10,,,,ann,,\n"
    found = read(tmp_path, text, mapping=shop_mapping(whole_orders=True))
    assert found.reasons == [
        (2, "order: it is taken whole or not at all, and a row of it is refused"),
        (3, "quantity: 'x' is no whole number"),
    ]
    assert not found.sales


@pytest.mark.parametrize("row", ["1,2026-01-01,B,1", '1,2026-01-01,"B"x,1,10,,,,ann,,'])
def test_a_row_that_is_none_spoils_its_order_too(tmp_path: Path, row: str) -> None:
    text = f"{SHOP}1,2026-01-01,A,1,10,,,,ann,,\n{row}\n2,2026-01-01,A,1,10,,,,ann,,\n"
    found = read(tmp_path, text, mapping=shop_mapping(whole_orders=True))
    assert [sale.order.external_id for sale in found.sales] == ["2"]
    assert len(read(tmp_path, text, mapping=shop_mapping()).sales) == 2


def test_another_currency_than_the_brands(tmp_path: Path) -> None:
    text = SHOP + "1,2026-01-01,A,1,10,,,,ann,USD,\n2,2026-01-01,A,1,10,,,,ann,GBP,\n"
    found = read(tmp_path, text, mapping=shop_mapping(columns={"currency": "Kind"}))
    assert found.reasons == [(2, "currency: the brand takes GBP, the order is in USD")]
    assert [sale.order.external_id for sale in found.sales] == ["2"]


def test_files_in_another_currency_than_the_brands(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="the brand takes CNY, the files are in GBP") as caught:
        read(tmp_path, SHOP, mapping=shop_mapping(currency="GBP"), currency="CNY")
    assert caught.value.field == "currency"


def test_the_example_of_the_documentation(tmp_path: Path) -> None:
    docs = (Path(__file__).parents[2] / "docs" / "imports.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```csv\n(.*?)```", docs, re.DOTALL)
    found = read(tmp_path, example, mapping=load_mapping("standard"), currency="CNY")
    assert found.reasons == []
    assert [len(sale.order.lines) for sale in found.sales] == [2]
    assert found.cancellations[0].rows[0].line == RefundLine("1001", "ZEN", 1, None, None)


SHOPIFY = (
    "Name,Email,Financial Status,Paid at,Currency,Subtotal,Shipping,Taxes,Total,Discount Code,"
    "Discount Amount,Created at,Lineitem quantity,Lineitem name,Lineitem price,Lineitem sku,"
    "Cancelled at,Refunded Amount,Lineitem discount\n"
)


def test_shopify(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        SHOPIFY + "#1001,Ann@Example.com,paid,,GBP,47.00,6.00,3.29,56.29,ANN5,5.00,"
        "2026-09-03 10:14:00 -0400,2,Fern Print,16.00,FERN-1,,0.00,0.00\n"
        "#1001,Ann@Example.com,,,,,,,,,,2026-09-03 10:14:00 -0400,1,Canvas Tote,21.00,,,,1.00\n"
        "#1002,bo@example.com,refunded,,GBP,25.00,0,0,25.00,,0,2026-09-10 09:00:00 -0400,"
        "1,Mug,25.00,MUG,,25.00,0\n"
        "#1002,,,,,,,,,,,,1,Tote,20.00,,,,0\n"
        "#1003,cy@example.com,paid,,GBP,26.00,0,0,26.00,,0,2026-09-10 09:00:00 -0400,"
        "1,Mug,25.00,MUG,,0.00,0\n",
        mapping=load_mapping("shopify"),
    )
    (sale,) = found.sales
    order = sale.order
    assert (order.external_id, order.buyer, order.code) == ("#1001", "ann@example.com", "ANN5")
    assert order.placed_at == datetime(2026, 9, 3, 14, 14, tzinfo=UTC)
    # 5.00 off 32.00 + 20.00: divided by what the lines cost
    assert order.lines == (
        LineIn("FERN-1", 2, 1600, discount=308, shipping=600, tax=329),
        LineIn("Canvas Tote", 1, 2100, discount=100 + 192),
    )
    reason = "money was given back, and the export does not say for which lines"
    assert found.reasons == [
        (4, reason),
        (5, reason),
        (6, "subtotal: is 26.00, the order's lines come to 25.00"),
    ]
    assert found.files.money == Decimal("56.29") + 25 + 20 + 25


def test_shopify_leaves_out_what_it_has_said(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        SHOPIFY + "#1,a@b.c,paid,,GBP,3.00,,,,,,2026-09-03 10:14:00 -0400,1,A,1.00,A,,0,\n"
        "#1,z@b.c,,,,,,,,,,,1,B,2.00,B,,,\n",
        mapping=load_mapping("shopify"),
    )
    assert found.reasons == [
        (2, "order: it is taken whole or not at all, and a row of it is refused"),
        (3, "buyer: is 'z@b.c', the order's first row says 'a@b.c'"),
    ]
