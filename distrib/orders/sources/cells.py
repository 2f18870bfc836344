"""From the cells of a row to what they say, under a mapping. Pure.

What a file repeats is read once: a line's cells are looked up before they are parsed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from operator import itemgetter

from distrib.errors import InvalidInput
from distrib.money import MAX_AMOUNT
from distrib.orders.document import LineIn, OrderIn, check_order
from distrib.orders.sources.mapping import HEAD_FIELDS, LINE_FIELDS, Field, Mapping
from distrib.orders.sources.values import EARLIEST, EXACT, Values

Cells = tuple[str, ...]

OUTCOME = ("file", "line", "reason")
"""Columns that a rejects file begins with; ignored in what is read, so that a rejects file can be
corrected and imported as it is."""

_CACHED = 100_000


@dataclass(frozen=True, slots=True)
class Head:
    """What all rows of an order say alike."""

    placed_at: datetime
    buyer: str | None
    distributor: str | None
    code: str | None
    subtotal: int | None


@dataclass(frozen=True, slots=True)
class SaleLine:
    """What a row says of its line: the line and its money, or why it cannot be used.

    :param minor: quantity × unit price − discount + shipping + tax, in minor units.
    :param money: the same in major units for a row that cannot be used, None if it says none.
    """

    line: LineIn | None
    minor: int = 0
    reason: str = ""
    money: Decimal | None = None


@dataclass(frozen=True, slots=True)
class RefundLine:
    """What a refund's row says came back; units and money are positive.

    :param order: the refunded order, where the file names it.
    :param sku: None when all that is left of the order came back.
    :param unit_price: None where the file gives none.
    :param amount: None when the returned units' share of what the line cost is meant.
    """

    order: str | None
    sku: str | None
    quantity: int
    unit_price: int | None
    amount: int | None


def reason_of(error: InvalidInput) -> str:
    """An error in the words of a rejects file."""
    return error.detail if error.field is None else f"{error.field}: {error.detail}"


class _Part:
    """Some of a row's columns, taken out of it in one step."""

    def __init__(self) -> None:
        self.columns: list[int] = []
        self.fields: dict[str, tuple[Field, tuple[int, ...], dict[Cells, str]]] = {}

    def add(self, name: str, field: Field, columns: Sequence[int]) -> None:
        # a column that feeds two fields is taken out once
        self.columns += [column for column in columns if column not in self.columns]
        places = tuple(self.columns.index(column) for column in columns)
        self.fields[name] = (field, places, {})

    def getter(self) -> Callable[[list[str]], Cells]:
        # an itemgetter of one item would not return a tuple
        columns = self.columns if len(self.columns) > 1 else [*self.columns, 0, 0]
        return itemgetter(*columns)

    def text(self, name: str, cells: Sequence[str]) -> str:
        """The text of a field, empty where there is none.

        :raises InvalidInput: naming the field.
        """
        if name not in self.fields:
            return ""
        field, places, known = self.fields[name]
        own = tuple([cells[i] for i in places])
        text = known.get(own)
        if text is None:
            try:
                text = field.text(own)
            except InvalidInput as error:
                raise InvalidInput(error.detail, field=name) from None
            if len(known) >= _CACHED:
                known.clear()
            known[own] = text
        return text


class Layout:
    """A header under a mapping: which cells say what.

    ``head_cells`` and ``line_cells`` take out of a row what :meth:`head` and :meth:`sale` or
    :meth:`refund` read; ``order_at`` is where the order's number stands.

    :raises InvalidInput: naming a column that the file lacks, and those it has.
    """

    def __init__(self, header: Sequence[str], mapping: Mapping, values: Values) -> None:
        self.header = tuple(header)
        self.width = len(header)
        self._mapping = mapping
        self._values = values
        self._names = [name.strip().casefold() for name in header]
        if self.header[: len(OUTCOME)] == OUTCOME:
            self._names[: len(OUTCOME)] = [""] * len(OUTCOME)
        self._row, self._head, self._line = _Part(), _Part(), _Part()
        self._place(self._row, "order", mapping.columns["order"])
        for part, names in ((self._head, HEAD_FIELDS), (self._line, LINE_FIELDS)):
            for name in names:
                if name in mapping.columns:
                    self._place(part, name, mapping.columns[name])
        for n, refusal in enumerate(mapping.refusals):
            self._place(self._head, f"refuse[{n}]", refusal.field)
        self._place_refunds()
        self.order_at = self._row.columns[0]
        self.head_cells = self._head.getter()
        self.line_cells = self._line.getter()
        self._row_cells = self._row.getter()
        self._telling_cells = self._telling.getter()
        self._lines: dict[Cells, SaleLine] = {}

    def _place_refunds(self) -> None:
        refunds = self._mapping.refunds
        self._tells, self._told, self._telling = "", dict[Cells, bool](), _Part()
        if refunds is None:
            return
        for name, part, field in (
            ("type", self._telling, refunds.kind),
            ("refund", self._row, refunds.id),
            ("refunded order", self._telling, refunds.order),
            ("refunded order", self._line, refunds.order),
            ("refund amount", self._line, refunds.amount),
        ):
            if field is not None:
                self._place(part, name, field)
        if refunds.prefix is None:
            self._tells = "type" if refunds.kind is not None else "refunded order"

    def _place(self, part: _Part, name: str, field: Field) -> None:
        places: list[int] = []
        for column in field.columns:
            wanted = column.strip().casefold()
            found = [i for i, known in enumerate(self._names) if known == wanted]
            if len(found) > 1:
                raise InvalidInput(f"the column {column!r} stands {len(found)} times", field=name)
            places += found
        if field.columns and not places and not field.optional:
            wanted = " or ".join(repr(column) for column in field.columns)
            known = ", ".join(repr(column) for column in self.header)
            raise InvalidInput(f"there is no column {wanted}; the columns are {known}", field=name)
        part.add(name, field, places)

    # -- whose row it is --------------------------------------------------------------------------

    @property
    def tells_refunds(self) -> bool:
        """Whether a column tells a refund from a sale, row by row."""
        return bool(self._tells)

    def is_refund(self, row: list[str]) -> bool:
        """Whether the row is a refund's, where a column tells.

        :raises InvalidInput: when it is neither a sale nor a refund.
        """
        cells = self._telling_cells(row)
        found = self._told.get(cells)
        if found is None:
            if len(self._told) >= _CACHED:
                self._told.clear()
            found = self._told[cells] = self._tell(cells)
        return found

    def _tell(self, cells: Cells) -> bool:
        refunds = self._mapping.refunds
        text = self._telling.text(self._tells, cells)
        if refunds is None or refunds.kind is None:
            return bool(text)
        if text not in refunds.sale | refunds.refund:
            sale, refund = (" or ".join(sorted(names)) for names in (refunds.sale, refunds.refund))
            raise InvalidInput(f"{text!r} is neither {sale} nor {refund}", field=self._tells)
        return text in refunds.refund

    def number_of(self, row: list[str], *, refund: bool = False) -> str:
        """The number of the row's order, or of the refund itself.

        :raises InvalidInput: when it has none.
        """
        name = "refund" if refund and "refund" in self._row.fields else "order"
        text = self._row.text(name, self._row_cells(row))
        if not text:
            raise InvalidInput("must not be empty", field=name)
        return text

    # -- what it says -----------------------------------------------------------------------------

    def head(self, cells: Cells) -> Head:
        """What the order's rows say alike.

        :raises InvalidInput: naming the field, or with the reason of a refusal.
        """
        text, values = self._head.text, self._values
        for n, refusal in enumerate(self._mapping.refusals):
            if refusal.refuses(text(f"refuse[{n}]", cells)):
                raise InvalidInput(refusal.reason)
        currency = text("currency", cells) or self._mapping.currency or values.currency
        if currency != values.currency:
            raise InvalidInput(
                f"the brand takes {values.currency}, the order is in {currency}", field="currency"
            )
        subtotal = text("subtotal", cells)
        return Head(
            placed_at=values.instant(text("placed_at", cells), "placed_at"),
            buyer=text("buyer", cells) or None,
            distributor=text("distributor", cells) or None,
            code=text("code", cells) or None,
            subtotal=values.amount(subtotal, "subtotal") if subtotal else None,
        )

    def sale(self, cells: Cells) -> SaleLine:
        """What a sale's row says of its line."""
        found = self._lines.get(cells)
        if found is None:
            if len(self._lines) >= _CACHED:
                self._lines.clear()
            found = self._lines[cells] = self._read_sale(cells)
        return found

    def _read_sale(self, cells: Cells) -> SaleLine:
        text = self._line.text
        try:
            quantity = self._values.quantity(text("quantity", cells), "quantity")
            if quantity < 1:
                reason = f"must be at least 1, it is {quantity}{self._no_refund()}"
                raise InvalidInput(reason, field="quantity")
            line = LineIn(
                sku=text("sku", cells),
                quantity=quantity,
                unit_price=self._amount("unit_price", cells),
                category=text("category", cells) or None,
                discount=self._charge("discount", cells),
                shipping=self._charge("shipping", cells),
                tax=self._charge("tax", cells),
            )
            _check_line(line, self._values.currency)
        except InvalidInput as error:
            return SaleLine(None, reason=reason_of(error), money=self.money(cells, refund=False))
        return SaleLine(line, line.net + line.shipping + line.tax)

    def _no_refund(self) -> str:
        refunds = self._mapping.refunds
        if refunds is None:
            return ""
        what = "order is no cancellation" if refunds.prefix is not None else "row is no refund"
        return f", and the {what}"

    def _amount(self, name: str, cells: Cells) -> int:
        return self._values.amount(self._line.text(name, cells), name)

    def _charge(self, name: str, cells: Cells) -> int:
        text = self._line.text(name, cells)
        return self._values.amount(text, name) if text else 0

    def refund(self, cells: Cells) -> RefundLine:
        """What a refund's row says came back.

        :raises InvalidInput: naming the field.
        """
        text = self._line.text
        sign = self._sign()
        order, sku = text("refunded order", cells) or None, text("sku", cells) or None
        units, price = text("quantity", cells), text("unit_price", cells)
        amount: int | None = None
        if text("refund amount", cells):
            amount = self._amount("refund amount", cells)
        if order is not None and sku is None and not units and amount is None:
            return RefundLine(order, None, 0, None, None)
        if sku is None:
            raise InvalidInput("must not be empty", field="sku")
        quantity = sign * self._values.quantity(units, "quantity") if units or not amount else 0
        if quantity < 1 and (quantity < 0 or not amount or order is None):
            wanted = "at most -1" if sign < 0 else "at least 1"
            reason = f"must be {wanted} in a refund, it is {sign * quantity}"
            raise InvalidInput(reason, field="quantity")
        unit_price = self._amount("unit_price", cells) if price or order is None else None
        if amount is None and unit_price is not None:
            discount = self._charge("discount", cells)
            amount = quantity * unit_price - discount
            if amount < 0:
                raise InvalidInput("is more than the returned units' price", field="discount")
        if amount is not None and amount > MAX_AMOUNT:
            raise InvalidInput(f"{amount} is more than {MAX_AMOUNT}", field="amount")
        return RefundLine(order, sku, quantity, unit_price, amount)

    def _sign(self) -> int:
        return -1 if self._mapping.refunds is None else self._mapping.refunds.sign

    def money(self, cells: Cells, *, refund: bool) -> Decimal | None:
        """What a row that cannot be used says of money, in major units; None if it says none.

        It is what the line would have cost, negative for a refund.
        """
        names = ("unit_price", "discount") if refund else LINE_FIELDS[3:]
        try:
            texts = {name: self._line.text(name, cells) for name in names}
            units = self._values.loose_quantity(self._line.text("quantity", cells))
            given = self._line.text("refund amount", cells) if refund else ""
        except InvalidInput:
            return None
        if given:
            amount = self._values.loose_amount(given)
            return None if amount is None else -amount
        read = {name: self._values.loose_amount(text) for name, text in texts.items() if text}
        price = read.pop("unit_price", None)
        if units is None or price is None or None in read.values():
            return None
        total = EXACT.multiply(units, price)
        if refund:
            total = EXACT.multiply(total, Decimal(-self._sign()))
        for name, charge in read.items():
            less = (name == "discount") is not refund
            total = (EXACT.subtract if less else EXACT.add)(total, charge or Decimal())
        return total


def _check_line(line: LineIn, currency: str) -> None:
    """Ask the order's own check, with the line as its only one.

    :raises InvalidInput: naming the line's field.
    """
    try:
        check_order(OrderIn("-", "-", EARLIEST, currency, (line,)))
    except InvalidInput as error:
        field = (error.field or "").removeprefix("lines[0].").replace("lines", "unit_price")
        raise InvalidInput(error.detail, field=field) from None
