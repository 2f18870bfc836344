"""From the cells of a row to what they say, under a mapping. Pure.

What a file repeats is read once: fields, and whole lines, are looked up before they are parsed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from distrib.errors import InvalidInput
from distrib.money import MAX_AMOUNT
from distrib.orders.document import LineIn, OrderIn, check_order
from distrib.orders.sources.columns import CACHED, Cells, Part
from distrib.orders.sources.mapping import HEAD_FIELDS, LINE_FIELDS, Mapping
from distrib.orders.sources.values import EARLIEST, EXACT, Values

OUTCOME = ("file", "line", "reason")
"""Columns that a rejects file begins with; ignored in what is read, so that a rejects file can be
corrected and imported as it is."""

_PLAIN = 200  # letters of a name that need no closer look


@dataclass(frozen=True, slots=True)
class Head:
    """What all rows of an order say alike."""

    placed_at: datetime
    buyer: str | None
    distributor: str | None
    code: str | None
    buyer_distributor: str | None
    channel: str | None
    subtotal: int | None


Worth = tuple[LineIn, int]
"""A line, and its quantity × unit price − discount + shipping + tax in minor units."""


@dataclass(frozen=True, slots=True)
class Unusable:
    """Why a line cannot be used.

    :param money: what the row says of money, in major units; None if it says nothing readable.
    """

    reason: str
    money: Decimal | None


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


def _name(text: str, _: str) -> str | None:
    return text or None


def _text(text: str, _: str) -> str:
    return text


def _needed(text: str, field: str) -> str:
    if not text:
        raise InvalidInput("must not be empty", field=field)
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
        names = list(header)
        if self.header[: len(OUTCOME)] == OUTCOME:
            names[: len(OUTCOME)] = [""] * len(OUTCOME)
        row, head, line = Part(names), Part(names), Part(names)
        row.add("order", mapping.columns["order"])
        self.order_at = row.columns[0]
        for part, wanted in ((head, HEAD_FIELDS), (line, LINE_FIELDS)):
            for name in wanted:
                if name in mapping.columns:
                    part.add(name, mapping.columns[name])
        for n, refusal in enumerate(mapping.refusals):
            head.add(f"refuse[{n}]", refusal.field)
        self._add_refunds(row, line)
        self.head_cells, self.line_cells, self._row_cells = head.take(), line.take(), row.take()
        self._order = row.reader("order", _needed, once=True)
        self._refund = row.reader("refund", _needed) if "refund" in row.fields else self._order
        self._read_head(head)
        self._read_line(line)
        self._lines: dict[Cells, Worth | Unusable] = {}

    def _add_refunds(self, row: Part, line: Part) -> None:
        """Place the fields of refunds, and find out what tells a refund."""
        refunds = self._mapping.refunds
        self._told: Callable[[Sequence[str]], bool] | None = None
        if refunds is None:
            return
        for part, name, field in (
            (row, "refund", refunds.id),
            (line, "refunded order", refunds.order),
            (line, "refund amount", refunds.amount),
        ):
            if field is not None:
                part.add(name, field)
        tells = refunds.kind if refunds.kind is not None else refunds.order
        if refunds.prefix is None and tells is not None:
            row.add("type", tells)
            if row.fields["type"][1]:
                self._told = row.reader("type", self._tell)

    def _tell(self, text: str, field: str) -> bool:
        refunds = self._mapping.refunds
        if refunds is None or refunds.kind is None:
            return bool(text)
        if text not in refunds.sale | refunds.refund:
            sale, refund = (" or ".join(sorted(names)) for names in (refunds.sale, refunds.refund))
            raise InvalidInput(f"{text!r} is neither {sale} nor {refund}", field=field)
        return text in refunds.refund

    def _read_head(self, part: Part) -> None:
        self._placed_at = part.reader("placed_at", self._values.instant, once=True)
        self._buyer = part.reader("buyer", _name)
        self._distributor = part.reader("distributor", _name)
        self._code = part.reader("code", _name)
        self._buyer_distributor = part.reader("buyer_distributor", _name)
        self._channel = part.reader("channel", _name)
        self._currency = part.reader("currency", _text)
        self._subtotal = part.reader("subtotal", self._values.optional_amount)
        self._refusals = [
            (refusal, part.reader(f"refuse[{n}]", _text))
            for n, refusal in enumerate(self._mapping.refusals)
        ]

    def _read_line(self, part: Part) -> None:
        values = self._values
        self._sku = part.reader("sku", _text)
        self._category = part.reader("category", _name)
        self._quantity = part.reader("quantity", values.quantity)
        self._unit_price = part.reader("unit_price", values.amount)
        self._discount = part.reader("discount", values.charge)
        self._shipping = part.reader("shipping", values.charge)
        self._tax = part.reader("tax", values.charge)
        self._other_paid = part.reader("other_paid", values.charge)
        self._cost = part.reader("cost", values.optional_amount)
        self._income = part.reader("income", values.optional_amount)
        self._of = part.reader("refunded order", _name)
        self._price_given = part.reader("unit_price", values.optional_amount)
        self._amount_given = part.reader("refund amount", values.optional_amount)
        self._units_given = part.reader("quantity", values.optional_quantity)
        self._loose_units = part.reader("quantity", values.loose_quantity)
        self._loose = {
            name: part.reader(name, values.loose_amount)
            for name in ("unit_price", "discount", "shipping", "tax", "refund amount")
        }

    # -- whose row it is --------------------------------------------------------------------------

    @property
    def tells_refunds(self) -> bool:
        """Whether a column tells a refund from a sale, row by row."""
        return self._told is not None

    def is_refund(self, row: list[str]) -> bool:
        """Whether the row is a refund's, where a column tells.

        :raises InvalidInput: when it is neither a sale nor a refund.
        """
        return self._told is not None and self._told(self._row_cells(row))

    def number_of(self, row: list[str], *, refund: bool = False) -> str:
        """The number of the row's order, or of the refund itself.

        :raises InvalidInput: when it has none.
        """
        return (self._refund if refund else self._order)(self._row_cells(row))

    # -- what it says -----------------------------------------------------------------------------

    def head(self, cells: Cells) -> Head:
        """What the order's rows say alike.

        :raises InvalidInput: naming the field, or with the reason of a refusal.
        """
        for refusal, read in self._refusals:
            if refusal.refuses(read(cells)):
                raise InvalidInput(refusal.reason)
        brand = self._values.currency
        currency = self._currency(cells) or self._mapping.currency or brand
        if currency != brand:
            raise InvalidInput(
                f"the brand takes {brand}, the order is in {currency}", field="currency"
            )
        return Head(
            self._placed_at(cells),
            self._buyer(cells),
            self._distributor(cells),
            self._code(cells),
            self._buyer_distributor(cells),
            self._channel(cells),
            self._subtotal(cells),
        )

    def sale(self, cells: Cells) -> Worth | Unusable:
        """What a sale's row says of its line."""
        found = self._lines.get(cells)
        if found is None:
            if len(self._lines) >= CACHED:
                self._lines.clear()
            found = self._lines[cells] = self._read_sale(cells)
        return found

    def _read_sale(self, cells: Cells) -> Worth | Unusable:
        try:
            quantity = self._quantity(cells)
            if quantity < 1:
                reason = f"must be at least 1, it is {quantity}{self._no_refund()}"
                raise InvalidInput(reason, field="quantity")
            sku, unit_price, category = (
                self._sku(cells), self._unit_price(cells), self._category(cells),
            )  # fmt: skip
            discount, shipping, tax = (
                self._discount(cells), self._shipping(cells), self._tax(cells),
            )  # fmt: skip
            other_paid, cost, income = (
                self._other_paid(cells), self._cost(cells), self._income(cells),
            )  # fmt: skip
            line = LineIn(
                sku, quantity, unit_price, category, discount, shipping, tax,
                other_paid, cost, income,
            )  # fmt: skip
            gross = quantity * unit_price
            plain = 0 < len(sku) < _PLAIN and (category is None or len(category) < _PLAIN)
            plain = plain and other_paid <= gross - discount and cost is income is None
            if not plain or discount > gross or gross + shipping + tax > MAX_AMOUNT:
                _check_line(line, self._values.currency)
        except InvalidInput as error:
            return Unusable(reason_of(error), self.money(cells, refund=False))
        return line, gross - discount + shipping + tax

    def _no_refund(self) -> str:
        refunds = self._mapping.refunds
        if refunds is None:
            return ""
        what = "order is no cancellation" if refunds.prefix is not None else "row is no refund"
        return f", and the {what}"

    def refund(self, cells: Cells) -> RefundLine:
        """What a refund's row says came back.

        :raises InvalidInput: naming the field.
        """
        sign = self._sign()
        order, sku = self._of(cells), self._sku(cells)
        units, amount = self._units_given(cells), self._amount_given(cells)
        if order is not None and not sku and units is None and amount is None:
            return RefundLine(order, None, 0, None, None)
        _needed(sku, "sku")
        quantity = 0 if units is None and amount else sign * self._quantity(cells)
        if quantity < 1 and (quantity < 0 or not amount or order is None):
            wanted = "at most -1" if sign < 0 else "at least 1"
            reason = f"must be {wanted} in a refund, it is {sign * quantity}"
            raise InvalidInput(reason, field="quantity")
        price = self._unit_price(cells) if order is None else self._price_given(cells)
        if amount is None and price is not None:
            amount = quantity * price - self._discount(cells)
            if amount < 0:
                raise InvalidInput("is more than the returned units' price", field="discount")
        if amount is not None and amount > MAX_AMOUNT:
            raise InvalidInput(f"{amount} is more than {MAX_AMOUNT}", field="amount")
        return RefundLine(order, sku, quantity, price, amount)

    def _sign(self) -> int:
        return -1 if self._mapping.refunds is None else self._mapping.refunds.sign

    def money(self, cells: Cells, *, refund: bool) -> Decimal | None:
        """What a row that cannot be used says of money, in major units; None if it says none.

        It is what the line would have cost, negative for a refund.
        """
        charges = ("discount",) if refund else ("discount", "shipping", "tax")
        try:
            units = self._loose_units(cells)
            price = self._loose["unit_price"](cells)
            given = self._loose["refund amount"](cells) if refund else None
            discount, *added = (self._loose[name](cells) or Decimal() for name in charges)
        except InvalidInput:
            return None
        if given is not None:
            return -given
        if units is None or price is None:
            return None
        total = EXACT.multiply(units, price)
        if refund:
            # what came back is written with the mapping's sign; its discount makes it less
            return EXACT.add(EXACT.multiply(total, Decimal(-self._sign())), discount)
        for charge in added:
            total = EXACT.add(total, charge)
        return EXACT.subtract(total, discount)


def _check_line(line: LineIn, currency: str) -> None:
    """Ask the order's own check, with the line as its only one.

    :raises InvalidInput: naming the line's field.
    """
    try:
        check_order(OrderIn("-", "-", EARLIEST, currency, (line,)))
    except InvalidInput as error:
        field = (error.field or "").removeprefix("lines[0].").replace("lines", "unit_price")
        raise InvalidInput(error.detail, field=field) from None
