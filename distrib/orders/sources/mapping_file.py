"""Reading a mapping from TOML, with a reason for everything that is wrong in it.

Some mappings come with distrib (``mappings/*.toml``); another may extend one of them and change
what differs. ``docs/imports.md`` describes every key.
"""

from __future__ import annotations

import codecs
import re
import tomllib
from collections.abc import Mapping as Table
from importlib import resources
from pathlib import Path
from typing import Any

from distrib import clock, money
from distrib.errors import InvalidInput
from distrib.orders.sources.mapping import (
    HEAD_FIELDS,
    LINE_FIELDS,
    Field,
    Mapping,
    Refunds,
    Refusal,
)

REQUIRED = ("order", "placed_at", "sku", "quantity", "unit_price")
FIELDS = ("order", *HEAD_FIELDS, *LINE_FIELDS)

KEYS = {
    "extends", "shop", "currency", "time_zone", "encoding", "delimiter", "amounts", "decimal",
    "datetime", "order_fields", "whole_orders", "columns", "refunds", "refuse",
}  # fmt: skip
FIELD_KEYS = {
    "column", "value", "optional", "strip_suffix", "remove", "lower", "pattern", "blank", "map",
    "default",
}  # fmt: skip
_NAME = re.compile(r"[a-z0-9-]+")


class MappingInvalid(InvalidInput):
    """A mapping says something that cannot be."""

    title = "The mapping is not valid"


def builtin_mappings() -> list[str]:
    """The names of the mappings that come with distrib."""
    folder = resources.files(__package__).joinpath("mappings")
    return sorted(
        item.name.removesuffix(".toml") for item in folder.iterdir() if item.name.endswith(".toml")
    )


def load_mapping(name: str | Path) -> Mapping:
    """The mapping of that name, or in that file (a path ends in ``.toml``).

    :raises MappingInvalid: naming the key that is wrong, or the mappings there are.
    """
    return read_mapping(_document(name))


def _document(name: str | Path) -> dict[str, Any]:
    if _NAME.fullmatch(str(name)):
        found = resources.files(__package__).joinpath("mappings", f"{name}.toml")
        if not found.is_file():
            known = ", ".join(builtin_mappings())
            raise MappingInvalid(
                f"there is no mapping {str(name)!r}; known are {known}, or give a .toml file",
                field="mapping",
            )
        return tomllib.loads(found.read_text(encoding="utf-8"))
    try:
        return tomllib.loads(Path(name).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise MappingInvalid(f"{name}: {error}", field="mapping") from None


def read_mapping(document: Table[str, Any]) -> Mapping:
    """Check a mapping document, with what it extends.

    :raises MappingInvalid: naming the key, as in ``columns.sku.pattern``.
    """
    document = _extended(document)
    _only(document, KEYS, "")
    given = _table(document, "columns")
    _only(given, set(FIELDS), "columns.")
    columns = {
        name: read_field(spec, f"columns.{name}")
        for name, spec in given.items()
        if spec not in ("", {})
    }
    for name in REQUIRED:
        if name not in columns:
            raise _fail("is needed: name its column", f"columns.{name}")
    if len(columns["order"].columns) != 1:
        raise _fail("is one column of the file", "columns.order")
    formats = document.get("datetime", "iso")
    inherit = _choice(document, "order_fields", ("every_row", "first_row")) == "first_row"
    delimiter = _text(document, "delimiter", ",")
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise _fail("is one character, and no quote", "delimiter")
    return Mapping(
        shop=_text(document, "shop"),
        columns=columns,
        currency=_checked(document, "currency", money.exponent),
        time_zone=_checked(document, "time_zone", clock.zone),
        encoding=read_encoding(document),
        delimiter=delimiter,
        minor=_choice(document, "amounts", ("major", "minor")) == "minor",
        decimal=_choice(document, "decimal", (".", ",")),
        formats=tuple(_texts({"datetime": formats}, "datetime", "")),
        inherit=inherit,
        whole_orders=_flag(document, "whole_orders", "") or "subtotal" in columns,
        refunds=_refunds(_table(document, "refunds")) if "refunds" in document else None,
        refusals=read_refusals(document.get("refuse", [])),
    )


def _extended(document: Table[str, Any]) -> Table[str, Any]:
    """The document with all that it takes over; a column set to "" is not taken over."""
    if "extends" not in document:
        return document
    base = _extended(_document(_name(document, "extends")))
    return {**base, **document, "columns": {**base["columns"], **_table(document, "columns")}}


def _fail(reason: str, key: str) -> MappingInvalid:
    return MappingInvalid(reason, field=key)


def _only(table: Table[str, Any], allowed: set[str], at: str) -> None:
    unknown = sorted(set(table) - allowed)
    if unknown:
        raise _fail(f"is not known; known are {', '.join(sorted(allowed))}", f"{at}{unknown[0]}")


def _table(document: Table[str, Any], key: str) -> dict[str, Any]:
    value = document.get(key, {})
    if not isinstance(value, dict):
        raise _fail("is a table", key)
    return value


def _text(table: Table[str, Any], key: str, default: str | None = None, at: str = "") -> str:
    value = table.get(key, default)
    if value is None:
        raise _fail("is needed", f"{at}{key}")
    if not isinstance(value, str) or not value:
        raise _fail("is a text, not empty", f"{at}{key}")
    return value


def _name(table: Table[str, Any], key: str) -> str:
    value = _text(table, key)
    if not _NAME.fullmatch(value):
        raise _fail("is the name of a mapping that comes with distrib", key)
    return value


def _texts(table: Table[str, Any], key: str, at: str) -> list[str]:
    """A text, or a list of texts."""
    value = table[key]
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts or not all(isinstance(t, str) for t in texts):
        raise _fail("is a text or a list of texts", f"{at}{key}")
    return texts


def _flag(table: Table[str, Any], key: str, at: str) -> bool:
    value = table.get(key, False)
    if not isinstance(value, bool):
        raise _fail("is true or false", f"{at}{key}")
    return value


def _choice(table: Table[str, Any], key: str, choices: tuple[str, str], at: str = "") -> str:
    value = table.get(key, choices[0])
    if value not in choices:
        raise _fail(f"is {choices[0]!r} or {choices[1]!r}", f"{at}{key}")
    return str(value)


def _checked(document: Table[str, Any], key: str, check: Any) -> str | None:
    if key not in document:
        return None
    value = _text(document, key)
    try:
        check(value)
    except ValueError as error:
        raise _fail(str(error), key) from None
    return value


def read_encoding(document: Table[str, Any]) -> str:
    """The encoding that a document names, by Python's name for it; UTF-8 when it names none.

    :raises MappingInvalid: when Python knows none of that name.
    """
    name = _text(document, "encoding", "utf-8")
    try:
        codec = codecs.lookup(name)
        "a".encode(name)  # some codecs are no text encodings
    except (LookupError, ValueError):
        raise _fail(f"{name!r} is no encoding that Python knows", "encoding") from None
    # the mark that some programs put before UTF-8 is no part of the first column's name
    return "utf-8-sig" if codec.name == "utf-8" else codec.name


def read_field(spec: Any, at: str) -> Field:
    """A field as a mapping writes it: a column, a list of columns, or a table.

    :param at: its place in the document, for errors.
    :raises MappingInvalid: naming the key that is wrong.
    """
    table = {"column": spec} if isinstance(spec, str | list) else spec
    if not isinstance(table, dict):
        raise _fail("is a column, a list of columns or a table", at)
    _only(table, FIELD_KEYS, f"{at}.")
    if ("column" in table) == ("value" in table):
        raise _fail("has a column or a value", at)
    if "" in table.get("column", ()) and not isinstance(table["column"], str):
        raise _fail("names a column without a name", f"{at}.column")
    renamed = table.get("map")
    if renamed is not None and not (
        isinstance(renamed, dict) and all(isinstance(value, str) for value in renamed.values())
    ):
        raise _fail("is a table of texts", f"{at}.map")
    pattern = None
    if "pattern" in table:
        try:
            pattern = re.compile(_text(table, "pattern", at=f"{at}."))
        except re.error as error:
            raise _fail(f"is no regular expression: {error}", f"{at}.pattern") from None
    return Field(
        columns=tuple(_texts(table, "column", f"{at}.")) if "column" in table else (),
        value=_text(table, "value", at=f"{at}.") if "value" in table else "",
        optional=_flag(table, "optional", f"{at}."),
        strip_suffix=_text(table, "strip_suffix", at=f"{at}.") if "strip_suffix" in table else "",
        remove=_text(table, "remove", at=f"{at}.") if "remove" in table else "",
        lower=_flag(table, "lower", f"{at}."),
        pattern=pattern,
        blank=frozenset(_texts(table, "blank", f"{at}.")) if "blank" in table else frozenset(),
        renamed=renamed,
        default=_text(table, "default", at=f"{at}.") if "default" in table else None,
    )


def _refunds(table: dict[str, Any]) -> Refunds:
    at = "refunds."
    _only(table, {"prefix", "column", "sale", "refund", "order", "id", "amount", "quantity"}, at)
    if "prefix" in table and "column" in table:
        raise _fail("a prefix or a column tells a refund, not both", "refunds.column")
    if not table.keys() & {"prefix", "column", "order"}:
        raise _fail("say how a refund is told: by prefix, column or order", "refunds")
    for key in ("sale", "refund"):
        if ("column" in table) != (key in table):
            raise _fail("goes with a column that tells what a row is", f"{at}{key}")
    if set(_texts(table, "sale", at) if "sale" in table else []) & set(
        _texts(table, "refund", at) if "refund" in table else []
    ):
        raise _fail("has a text that means a sale", "refunds.refund")
    fields = {
        key: read_field(table[key], f"{at}{key}")
        for key in ("order", "id", "amount")
        if key in table
    }
    if "amount" in fields and "order" not in fields:
        raise _fail("goes with the refunded order's column", "refunds.amount")
    if "id" in fields and "prefix" in table:
        raise _fail("the prefix is of the refund's own number", "refunds.id")
    return Refunds(
        prefix=_text(table, "prefix", at=at) if "prefix" in table else None,
        kind=read_field(table["column"], "refunds.column") if "column" in table else None,
        sale=frozenset(_texts(table, "sale", at)) if "sale" in table else frozenset(),
        refund=frozenset(_texts(table, "refund", at)) if "refund" in table else frozenset(),
        sign=-1 if _choice(table, "quantity", ("negative", "positive"), at) == "negative" else 1,
        **fields,
    )


def read_refusals(tables: Any) -> tuple[Refusal, ...]:
    """The ``[[refuse]]`` tables of a mapping.

    :raises MappingInvalid: naming the key that is wrong.
    """
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise _fail("is a list of tables: write [[refuse]]", "refuse")
    refusals = []
    for n, table in enumerate(tables):
        at = f"refuse[{n}]."
        rules = {"prefix", "values", "unless"}
        _only(table, {"column", "optional", "reason", *rules}, at)
        if len(table.keys() & rules) != 1:
            raise _fail("has one of prefix, values, unless", at.rstrip("."))
        field = {key: table[key] for key in ("column", "optional") if key in table}
        refusals.append(
            Refusal(
                field=read_field(field, at.rstrip(".")),
                reason=_text(table, "reason", at=at),
                prefix=_text(table, "prefix", at=at) if "prefix" in table else None,
                values=frozenset(_texts(table, "values", at)) if "values" in table else None,
                unless=frozenset(_texts(table, "unless", at)) if "unless" in table else None,
            )
        )
    return tuple(refusals)
