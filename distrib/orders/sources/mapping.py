"""How a shop's CSV file says what an order says. Pure.

A mapping names the column of every field, so that a file a shop exports needs no rewriting;
:mod:`distrib.orders.sources.mapping_file` reads one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping as Table
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from distrib.errors import InvalidInput

HEAD_FIELDS = (
    *("placed_at", "buyer", "buyer_distributor", "distributor", "code", "channel"),
    *("currency", "subtotal"),
)
"""What every row of an order says alike."""

LINE_FIELDS = (
    *("sku", "category", "quantity", "unit_price", "discount", "shipping", "tax"),
    *("other_paid", "cost", "income"),
)
"""What a row says of its line."""

# PostgreSQL keeps no NUL, and half a surrogate pair stands for a byte that could not be decoded
_UNKEPT = re.compile("[\x00\ud800-\udfff]")


@dataclass(frozen=True)
class Field:
    """Where a field comes from and how its text is cleaned, in the order of these attributes.

    :param columns: the first of them that is not blank counts; empty for a constant.
    :param value: the constant.
    :param optional: a file may lack the columns; the field is blank then.
    :param pattern: the part that matches is kept (the first group, if there is one); a text
        without such a part is blank.
    :param blank: texts that mean nothing is given.
    :param renamed: text → what it means; others stay as they are, or become ``default``.
    """

    columns: tuple[str, ...] = ()
    value: str = ""
    optional: bool = False
    strip_suffix: str = ""
    remove: str = ""
    lower: bool = False
    pattern: re.Pattern[str] | None = None
    blank: frozenset[str] = frozenset()
    renamed: Table[str, str] | None = None
    default: str | None = None

    @cached_property
    def plain(self) -> bool:
        """Whether the text is taken as it is."""
        return self == Field(self.columns, self.value, self.optional)

    def text(self, cells: Sequence[str]) -> str:
        """The field's text in a row, cleaned; empty where the row gives none.

        :param cells: the row's cells of :attr:`columns`, those that the file has.
        :raises InvalidInput: without a field name, when the text cannot be kept.
        """
        text = self.value
        for cell in cells:
            text = cell.strip()
            if text:
                break
        if not self.plain:
            text = self._clean(text)
        if not text.isprintable() and (found := _UNKEPT.search(text)):
            raise InvalidInput(
                "contains a NUL character"
                if found[0] == "\x00"
                else "contains bytes that are not in the file's encoding"
            )
        return text

    def _clean(self, text: str) -> str:
        text = text.removesuffix(self.strip_suffix)
        if self.remove:
            text = text.translate(dict.fromkeys(map(ord, self.remove))).strip()
        if self.lower:
            text = text.lower()
        if self.pattern is not None:
            found = self.pattern.search(text)
            text = "" if found is None else (found[1] or "" if found.re.groups else found[0])
        if text in self.blank:
            text = ""
        if self.renamed is not None and text in self.renamed:
            text = self.renamed[text]
        elif self.default is not None and (self.renamed is not None or not text):
            text = self.default
        return text


@dataclass(frozen=True)
class Refunds:
    """How refunds look in the file.

    :param prefix: order numbers that begin so are refunds, or
    :param kind: its text tells: one of ``sale`` or one of ``refund``; with neither, a row that
        names an ``order`` is a refund.
    :param order: the refunded order's number. Without it, a refund is matched to earlier orders.
    :param id: the refund's own number; by default what stands in the order's column.
    :param amount: money given back, where the file says so; by default quantity × unit price.
    :param sign: -1 when units that come back are written as negative quantities.
    """

    prefix: str | None = None
    kind: Field | None = None
    sale: frozenset[str] = frozenset()
    refund: frozenset[str] = frozenset()
    order: Field | None = None
    id: Field | None = None
    amount: Field | None = None
    sign: int = -1


@dataclass(frozen=True)
class Refusal:
    """Orders that are refused for a reason of the shop's own, by what a column says."""

    field: Field
    reason: str
    prefix: str | None = None
    values: frozenset[str] | None = None
    unless: frozenset[str] | None = None

    def refuses(self, text: str) -> bool:
        """Whether an order of which the column says ``text`` is refused."""
        if self.prefix is not None:
            return text.startswith(self.prefix)
        if self.values is not None:
            return text in self.values
        return self.unless is not None and text not in self.unless


@dataclass(frozen=True)
class Mapping:
    """A shop's file. ``currency`` and ``time_zone`` default to the brand's.

    :param inherit: a blank cell of an order field means what the order's other rows say.
    :param whole_orders: an order of which a row is refused is refused whole.
    """

    shop: str
    columns: Table[str, Field]
    currency: str | None = None
    time_zone: str | None = None
    encoding: str = "utf-8-sig"
    delimiter: str = ","
    minor: bool = False
    decimal: str = "."
    formats: tuple[str, ...] = ("iso",)
    inherit: bool = False
    whole_orders: bool = False
    refunds: Refunds | None = None
    refusals: tuple[Refusal, ...] = ()
