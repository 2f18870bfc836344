"""Mappings: what a field's text becomes, and every mistake in a mapping file by its key."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from distrib.errors import InvalidInput
from distrib.orders.sources.mapping import Field
from distrib.orders.sources.mapping_file import (
    FIELD_KEYS,
    FIELDS,
    KEYS,
    MappingInvalid,
    builtin_mappings,
    load_mapping,
    read_mapping,
)

COLUMNS = {
    "order": "No",
    "placed_at": "Date",
    "sku": "Item",
    "quantity": "Qty",
    "unit_price": "Price",
}


def document(**changes: Any) -> dict[str, Any]:
    """A small valid mapping, with changes; ``columns`` are added to it."""
    columns = COLUMNS | changes.pop("columns", {})
    return {"shop": "corner", "columns": columns, **changes}


def test_the_mappings_that_come_along_are_valid() -> None:
    assert builtin_mappings() == ["shopify", "standard", "uci-online-retail",
                                  "uci-online-retail-plain"]  # fmt: skip
    for name in builtin_mappings():
        assert load_mapping(name).shop


def test_the_least_a_mapping_says() -> None:
    mapping = read_mapping(document())
    assert mapping.shop == "corner"
    assert mapping.columns["sku"] == Field(columns=("Item",))
    assert (mapping.currency, mapping.time_zone, mapping.refunds) == (None, None, None)
    assert (mapping.encoding, mapping.delimiter, mapping.formats) == ("utf-8-sig", ",", ("iso",))
    assert [mapping.minor, mapping.inherit, mapping.whole_orders] == [False] * 3


def test_a_subtotal_means_whole_orders() -> None:
    assert read_mapping(document(columns={"subtotal": "Sum"})).whole_orders


def test_one_column_can_feed_two_fields() -> None:
    mapping = load_mapping("uci-online-retail")
    for name in ("buyer", "distributor"):
        assert mapping.columns[name] == Field(columns=("CustomerID",), strip_suffix=".0")


def test_extending_takes_over_what_is_not_said() -> None:
    plain = load_mapping("uci-online-retail-plain")
    whole = load_mapping("uci-online-retail")
    assert "distributor" not in plain.columns
    assert plain.columns["buyer"] == whole.columns["buyer"]
    assert (plain.refunds, plain.refusals, plain.shop) == (
        whole.refunds,
        whole.refusals,
        whole.shop,
    )
    twice = read_mapping({"extends": "uci-online-retail-plain", "shop": "second"})
    assert "distributor" not in twice.columns
    assert (twice.shop, twice.currency) == ("second", "GBP")


@pytest.mark.parametrize(
    "spec, cells, text",
    [
        ({"column": "a"}, ["  x "], "x"),
        ({"column": ["a", "b"]}, ["", " y"], "y"),
        ({"column": ["a", "b"]}, ["x", "y"], "x"),
        ({"column": "a", "optional": True}, [], ""),
        ({"value": "always"}, [], "always"),
        ({"column": "a", "strip_suffix": ".0"}, ["17850.0"], "17850"),
        ({"column": "a", "strip_suffix": ".0"}, ["17850"], "17850"),
        ({"column": "a", "remove": "£ ,"}, ["£ 1,234.50"], "1234.50"),
        ({"column": "a", "lower": True}, ["Ann@Example.COM"], "ann@example.com"),
        ({"column": "a", "pattern": r"REF-(\w+)"}, ["10OFF, REF-ann"], "ann"),
        ({"column": "a", "pattern": r"REF-\w+"}, ["10OFF, REF-ann"], "REF-ann"),
        ({"column": "a", "pattern": "REF-"}, ["10OFF"], ""),
        ({"column": "a", "blank": ["guest", "-"]}, ["guest"], ""),
        ({"column": "a", "map": {"B": "books"}}, ["B"], "books"),
        ({"column": "a", "map": {"B": "books"}}, ["C"], "C"),
        ({"column": "a", "map": {"B": "books"}, "default": "goods"}, ["C"], "goods"),
        ({"column": "a", "default": "1"}, [""], "1"),
        ({"column": "a", "default": "1"}, ["2"], "2"),
    ],
)
def test_cleaning(spec: dict[str, Any], cells: list[str], text: str) -> None:
    assert read_mapping(document(columns={"buyer": spec})).columns["buyer"].text(cells) == text


@pytest.mark.parametrize("cell, reason", [("a\x00b", "NUL"), ("caf\udce9", "encoding")])
def test_text_that_cannot_be_kept(cell: str, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        Field(columns=("a",)).text([cell])


@pytest.mark.parametrize(
    "changes, field, reason",
    [
        ({"colums": {}}, "colums", "is not known; known are amounts"),
        ({"shop": ""}, "shop", "is a text, not empty"),
        ({"shop": 7}, "shop", "is a text, not empty"),
        ({"currency": "QQQ"}, "currency", "'QQQ' is not an ISO 4217 currency code"),
        ({"time_zone": "Europe/Londn"}, "time_zone", "is not an IANA time zone"),
        ({"encoding": "utf-9"}, "encoding", "'utf-9' is no encoding that Python knows"),
        ({"encoding": "hex"}, "encoding", "'hex' is no encoding that Python knows"),
        ({"delimiter": ";;"}, "delimiter", "is one character"),
        ({"delimiter": '"'}, "delimiter", "is one character"),
        ({"amounts": "cents"}, "amounts", "is 'major' or 'minor'"),
        ({"decimal": "·"}, "decimal", "is '.' or ','"),
        ({"datetime": []}, "datetime", "is a text or a list of texts"),
        ({"order_fields": "first"}, "order_fields", "is 'every_row' or 'first_row'"),
        ({"whole_orders": "yes"}, "whole_orders", "is true or false"),
        ({"columns": {"price": "P"}}, "columns.price", "is not known; known are buyer"),
        ({"columns": {"sku": ""}}, "columns.sku", "is needed: name its column"),
        ({"columns": {"order": ["A", "B"]}}, "columns.order", "is one column of the file"),
        ({"columns": {"order": {"value": "1"}}}, "columns.order", "is one column of the file"),
        ({"columns": {"sku": 3}}, "columns.sku", "is a column, a list of columns or a table"),
        ({"columns": {"sku": {"colum": "a"}}}, "columns.sku.colum", "is not known"),
        ({"columns": {"sku": {"lower": True}}}, "columns.sku", "has a column or a value"),
        ({"columns": {"sku": {"column": "a", "value": "b"}}}, "columns.sku", "a column or a value"),
        ({"columns": {"sku": ["a", ""]}}, "columns.sku.column", "a column without a name"),
        ({"columns": {"sku": ["a", 1]}}, "columns.sku.column", "is a text or a list of texts"),
        ({"columns": {"sku": {"column": "a", "pattern": "("}}}, "columns.sku.pattern",
         "is no regular expression"),
        ({"columns": {"sku": {"column": "a", "map": {"x": 1}}}}, "columns.sku.map",
         "is a table of texts"),
        ({"columns": {"sku": {"column": "a", "optional": 1}}}, "columns.sku.optional",
         "is true or false"),
        ({"refunds": []}, "refunds", "is a table"),
        ({"refunds": {}}, "refunds", "say how a refund is told"),
        ({"refunds": {"prefx": "C"}}, "refunds.prefx", "is not known"),
        ({"refunds": {"prefix": "C", "column": "Type"}}, "refunds.column", "not both"),
        ({"refunds": {"column": "Type", "sale": "S"}}, "refunds.refund", "goes with a column"),
        ({"refunds": {"prefix": "C", "sale": "S"}}, "refunds.sale", "goes with a column"),
        ({"refunds": {"column": "T", "sale": "S", "refund": ["R", "S"]}}, "refunds.refund",
         "has a text that means a sale"),
        ({"refunds": {"prefix": "C", "amount": "A"}}, "refunds.amount", "goes with the refunded"),
        ({"refunds": {"prefix": "C", "id": "I"}}, "refunds.id", "the refund's own number"),
        ({"refunds": {"prefix": "C", "quantity": "minus"}}, "refunds.quantity", "is 'negative'"),
        ({"refuse": {}}, "refuse", r"write \[\[refuse\]\]"),
        ({"refuse": [{"column": "No", "reason": "x"}]}, "refuse[0]", "has one of prefix"),
        ({"refuse": [{"column": "No", "prefix": "A"}]}, "refuse[0].reason", "is needed"),
        ({"refuse": [{"prefix": "A", "reason": "x"}]}, "refuse[0]", "has a column or a value"),
        ({"extends": "nobody"}, "mapping", "there is no mapping 'nobody'; known are shopify"),
        ({"extends": "../x.toml"}, "extends", "is the name of a mapping that comes with distrib"),
    ],
)  # fmt: skip
def test_mistakes(changes: dict[str, Any], field: str, reason: str) -> None:
    with pytest.raises(MappingInvalid, match=reason) as caught:
        read_mapping(document(**changes))
    assert caught.value.field == field


def test_a_mapping_of_the_shops_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('extends = "standard"\nshop = "mine"\n', encoding="utf-8")
    assert load_mapping(path).shop == load_mapping(str(path)).shop == "mine"


@pytest.mark.parametrize("content", [None, b"shop = ", b"\xff"])
def test_a_mapping_file_that_is_none(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "mine.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(MappingInvalid, match=r"mine\.toml") as caught:
        load_mapping(path)
    assert caught.value.field == "mapping"


DOCS = (Path(__file__).parents[2] / "docs" / "imports.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("example", re.findall(r"```toml\n(.*?)```", DOCS, re.DOTALL))
def test_the_examples_of_the_documentation(example: str) -> None:
    assert read_mapping(tomllib.loads(example)).shop


def test_the_documentation_names_every_key() -> None:
    for key in (*KEYS, *FIELD_KEYS, *FIELDS):
        assert f"`{key}`" in DOCS, key


def test_an_unknown_name() -> None:
    with pytest.raises(MappingInvalid, match=r"known are shopify, standard.*or give a \.toml file"):
        load_mapping("magento")
