"""Finding the orders that cancellations cancel. Pure.

A cancellation that names its order takes back lines of it. One that does not is matched by buyer,
SKU and unit price: the latest order up to its own time with enough units left gives them all; when
no single one has enough, several do, the latest first. What cannot be matched in full is refused
with a reason. Only what came before counts, so importing a day at a time or all at once gives the
same refunds, and so does importing again: a cancellation that is recorded is recognized by what
its refunds say, not matched anew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from distrib.errors import InvalidInput
from distrib.money import allocate, format_amount
from distrib.orders.document import RefundIn, RefundLineIn
from distrib.orders.sources.assembly import Cancellation, CancelledRow
from distrib.orders.sources.cells import RefundLine, reason_of
from distrib.orders.sources.shelf import Back, Goods, Shelf, Stock


@dataclass
class Matched:
    """What was found for a cancellation; each of its rows is in at least one of these.

    :param refunds: one for each order, with the rows that it came from.
    :param recorded: rows that recorded refunds account for, of ``known`` orders.
    """

    refunds: list[tuple[RefundIn, list[CancelledRow]]] = field(default_factory=list)
    recorded: list[CancelledRow] = field(default_factory=list)
    known: int = 0
    rejected: list[tuple[CancelledRow, str]] = field(default_factory=list)


@dataclass(slots=True)
class _Take:
    """What a row takes of a line."""

    stock: Stock
    units: int
    amount: int | None


def match_cancellations(
    cancellations: Iterable[Cancellation], shelf: Shelf, *, shop: str, currency: str
) -> list[Matched]:
    """Match cancellations, in order of time; what one takes is gone from the shelf for the next."""
    return [_Matcher(each, shelf, shop, currency).match() for each in cancellations]


class _Matcher:
    """Matches one cancellation."""

    def __init__(self, cancellation: Cancellation, shelf: Shelf, shop: str, currency: str) -> None:
        self._own = cancellation
        self._shelf = shelf
        self._shop = shop
        self._currency = currency
        self._now = (cancellation.refunded_at, cancellation.number)
        self._touched: set[str] = set()  # orders that it is recorded for
        self._named = {row.line.order for row in cancellation.rows} - {None}
        self._spent: Counter[Goods | None] = Counter()  # units found by the rows so far
        self._taken: dict[str, list[tuple[CancelledRow, _Take]]] = {}
        self._whole: dict[str, list[CancelledRow]] = {}

    def match(self) -> Matched:
        found = Matched()
        recorded = self._read_recorded()
        # an order that does not hang on the file's: the same rows shuffled find the same orders
        rows = sorted(self._own.rows, key=_rank)
        known = [
            row.line.order is None and _is_recorded(row.line, self._goods(row.line), recorded)
            for row in rows
        ]
        if any(units or money for units, money in recorded.values()):
            reason = f"refund {self._own.number!r} is recorded with another content"
            return Matched(rejected=[(row, reason) for row in self._own.rows])
        found.known = len(self._touched)
        for row, is_known in zip(rows, known, strict=True):
            if is_known:
                found.recorded.append(row)
            else:
                try:
                    self._take(row)
                except InvalidInput as error:
                    found.rejected.append((row, reason_of(error)))
                    continue
            self._spent[self._goods(row.line)] += row.line.quantity
        found.refunds = [self._refund(order) for order in {**self._taken, **self._whole}]
        return found

    def _read_recorded(self) -> dict[Goods, list[int]]:
        """Goods → units and money that the cancellation's recorded refunds took back.

        Refunds of orders that it names are made again as they were, for the intake to recognize:
        what they took back is put on the shelf first.
        """
        for stock, back in self._shelf.own.pop(self._own.number, []):
            if stock.order in self._named:
                stock.give(Back(*self._now, -back.units, -back.money))
        found: dict[Goods, list[int]] = {}
        for order, goods, units, money in self._shelf.recorded.get(self._own.number, []):
            if order not in self._named:
                self._touched.add(order)
                before = found.setdefault(goods, [0, 0])
                before[0] += units
                before[1] += money
        return found

    def _goods(self, line: RefundLine) -> Goods | None:
        if self._own.buyer is None or line.sku is None or line.unit_price is None:
            return None
        return Goods(self._own.buyer, line.sku, line.unit_price)

    def _take(self, row: CancelledRow) -> None:
        """Find what the row takes back, and take it off the shelf.

        :raises InvalidInput: with the reason why it cannot be found.
        """
        for take in self._takes(row):
            take.stock.give(Back(*self._now, take.units, take.amount or 0))
            self._taken.setdefault(take.stock.order, []).append((row, take))

    def _takes(self, row: CancelledRow) -> list[_Take]:
        """What the row takes back; nothing for all that is left of its order."""
        line = row.line
        if line.order is None:
            return self._from_earlier(line)
        if line.sku is None:
            if line.order in self._taken:
                raise InvalidInput("lines of the order are named beside the whole", field="sku")
            self._whole.setdefault(line.order, []).append(row)
            return []
        if line.order in self._whole:
            raise InvalidInput("the whole order is named beside its lines", field="sku")
        return self._from_order(line.order, line.sku, line)

    def _from_earlier(self, line: RefundLine) -> list[_Take]:
        goods = self._goods(line)
        if goods is None:
            raise InvalidInput("there is none, so no earlier order can be found", field="buyer")
        buyer, sku, price = goods
        cost = format_amount(price, self._currency)
        earlier = [
            lines
            for lines in self._shelf.goods.get(goods, [])
            if lines[0].placed_at <= self._own.refunded_at
        ]
        if not earlier:
            raise InvalidInput(f"no earlier order of buyer {buyer!r} has {sku!r} at {cost}")
        # an order that this cancellation is recorded for cannot have a second refund of it
        units = [
            0 if lines[0].order in self._touched else sum(stock.units() for stock in lines)
            for lines in earlier
        ]
        if sum(units) < line.quantity:
            # what was left at its time, if that explains it: said again when imported again
            then = sum(stock.units(before=self._now) for lines in earlier for stock in lines)
            then -= self._spent[goods]
            left = then if 0 <= then < line.quantity else sum(units)
            raise InvalidInput(
                f"only {left} of {line.quantity} units of {sku!r} at {cost} are left in"
                f" earlier orders of buyer {buyer!r}"
            )
        usable = [(lines, n) for lines, n in zip(earlier, units, strict=True) if n]
        enough = [lines for lines, n in usable if n >= line.quantity]
        chosen = enough[0] if enough else [stock for lines, _ in usable for stock in lines]
        return _share(line, [(stock, stock.units()) for stock in chosen])

    def _from_order(self, order: str, sku: str, line: RefundLine) -> list[_Take]:
        if order not in self._shelf.orders:
            raise InvalidInput(f"order {order!r} is not recorded, so its lines are not known")
        stock = [each for each in self._shelf.orders[order] if each.sku == sku]
        if not stock:
            raise InvalidInput(f"order {order!r} has no {sku!r}", field="sku")
        stock.sort(key=lambda each: (each.unit_price != line.unit_price, each.line_no))
        if line.quantity == 0:
            return [_Take(stock[0], 0, line.amount)]
        left = sum(each.left for each in stock)
        if left < line.quantity:
            raise InvalidInput(
                f"{line.quantity} units of {sku!r} come back, {left} are left", field="quantity"
            )
        enough = [each for each in stock if each.left >= line.quantity]
        takes = _share(line, [(each, each.left) for each in enough[:1] or stock])
        for _, before in self._taken.get(order, []):
            same = any(take.stock is before.stock for take in takes)
            if same and (before.amount is None) != (line.amount is None):
                raise InvalidInput(f"{sku!r} is named twice, once without an amount", field="sku")
        return takes

    def _refund(self, order: str) -> tuple[RefundIn, list[CancelledRow]]:
        takes = self._taken.get(order)
        units: dict[int, int] = {}
        amounts: dict[int, int | None] = {}
        for _, take in takes or ():
            number = take.stock.line_no
            before = amounts.get(number, 0)
            unknown = take.amount is None or before is None
            amounts[number] = None if unknown else (take.amount or 0) + (before or 0)
            units[number] = units.get(number, 0) + take.units
        refund = RefundIn(
            shop=self._shop,
            order_external_id=order,
            external_id=self._own.number,
            refunded_at=self._own.refunded_at,
            lines=tuple(RefundLineIn(n, units[n], amounts[n]) for n in sorted(units))
            if takes
            else None,
        )
        rows = {row.at: row for row, _ in takes or ()}
        return refund, [*rows.values(), *self._whole.get(order, [])]


def _rank(row: CancelledRow) -> tuple[Any, ...]:
    line = row.line
    price = -1 if line.unit_price is None else line.unit_price
    return line.order or "", line.sku or "", price, -line.quantity, -(line.amount or 0), row.at


def _is_recorded(line: RefundLine, goods: Goods | None, recorded: dict[Goods, list[int]]) -> bool:
    """Whether recorded refunds account for the line; what they do is used up."""
    left = recorded.get(goods) if goods is not None else None
    amount = line.amount or 0
    if left is None or line.quantity > left[0] or amount > left[1]:
        return False
    left[0] -= line.quantity
    left[1] -= amount
    return True


def _share(line: RefundLine, stocks: Sequence[tuple[Stock, int]]) -> list[_Take]:
    """Take the line's units from the stocks, one after the other, and divide its money over them.

    :param stocks: each with the units that it can give.
    """
    takes, missing = [], line.quantity
    for stock, left in stocks:
        units = min(missing, left)
        if units > 0:
            takes.append(_Take(stock, units, None))
            missing -= units
    if line.amount is not None:
        parts = allocate(line.amount, [take.units for take in takes])
        for take, part in zip(takes, parts, strict=True):
            take.amount = part
    return takes
