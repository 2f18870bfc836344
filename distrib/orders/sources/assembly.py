"""The rows of one order made into it, or of one refund. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TypeVar

from distrib.errors import InvalidInput
from distrib.money import allocate, format_amount
from distrib.orders.document import LineIn, OrderIn
from distrib.orders.sources.cells import (
    Head,
    Layout,
    RefundLine,
    Unusable,
    reason_of,
)
from distrib.orders.sources.columns import Cells
from distrib.orders.sources.mapping import Mapping
from distrib.orders.sources.values import Values

ORDER_SPAN = timedelta(days=1)
"""How far apart the times of an order's rows may be; the order's time is the earliest."""

At = tuple[int, int]
"""Where a row stands: the number of its file, and the line it starts on."""


Row = tuple[int, int, Cells, Cells]
"""File, line, and the cells, not yet read, that speak of the order and of its line. A plain tuple:
there is one for every row of a file."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that cannot be used.

    :param money: what it says of money, in major units; None if it says nothing readable.
    """

    at: At
    reason: str
    money: Decimal | None


@dataclass(frozen=True, slots=True)
class Sale:
    """An order and its rows.

    :param repeats: rows of other files that say all of it again.
    :param minor: what all these rows say of money, in minor units.
    """

    order: OrderIn
    rows: list[At]
    repeats: list[At]
    minor: int


@dataclass(frozen=True, slots=True)
class CancelledRow:
    """A row that says what came back."""

    at: At
    line: RefundLine


@dataclass(frozen=True, slots=True)
class Cancellation:
    """A refund as the file has it; of which orders is yet to be found out.

    :param repeats: rows of other files that say all of it again.
    """

    number: str
    refunded_at: datetime
    buyer: str | None
    rows: list[CancelledRow]
    repeats: list[CancelledRow]


_Line = tuple[At, Head, LineIn, int]  # the last is its money in minor units


class _Refused(Exception):
    """The order as a whole cannot be taken."""


@dataclass(frozen=True)
class Assembler:
    """Makes orders and refunds of rows; every row comes back in exactly one of the results.

    :param names: of the files, for reasons.
    :param spoilt: numbers of orders that have rows which are not rows at all.
    """

    mapping: Mapping
    layouts: list[Layout]
    values: Values
    names: Sequence[str]
    spoilt: set[str] = field(default_factory=set)

    def sale(self, number: str, rows: list[Row]) -> list[Sale | Rejected]:
        """The order that the rows make up, and the rows that cannot be used."""
        kept: list[_Line] = []
        found: list[Sale | Rejected] = []
        for (file, line, _, cells), head in zip(rows, self._heads(rows), strict=True):
            said = self.layouts[file].sale(cells)
            if isinstance(said, Unusable):
                reason = head if isinstance(head, str) else said.reason
                found.append(Rejected((file, line), reason, said.money))
            elif isinstance(head, str):
                found.append(Rejected((file, line), head, self.values.major(said[1])))
            else:
                kept.append(((file, line), head, *said))
        again: list[_Line] = []
        if rows[0][0] != rows[-1][0]:
            kept, again, clashing = _copies(
                [(each[0][0], (each[1].placed_at, each[2]), each) for each in kept]
            )
            found += [self._refuse(each, self._clash(kept[0][0])) for each in clashing]
        if kept:
            try:
                order, minor = self._order(
                    number, kept, spoilt=bool(found) or number in self.spoilt
                )
            except _Refused as refused:
                found += [self._refuse(each, str(refused)) for each in (*kept, *again)]
            else:
                copies = 1 + len(again) // len(kept)
                repeats = [each[0] for each in again]
                found.append(Sale(order, [each[0] for each in kept], repeats, copies * minor))
        return found

    def _refuse(self, line: _Line, reason: str) -> Rejected:
        at, _, _, minor = line
        return Rejected(at, reason, self.values.major(minor))

    def _clash(self, first: At) -> str:
        return f"order: some of its rows stand in {self.names[first[0]]} too, some do not"

    def _order(self, number: str, kept: list[_Line], *, spoilt: bool) -> tuple[OrderIn, int]:
        """The order, and its money in minor units.

        :param spoilt: whether other rows of it were refused.
        """
        if spoilt and self.mapping.whole_orders:
            raise _Refused("order: it is taken whole or not at all, and a row of it is refused")
        head = kept[0][1]
        lines = [each[2] for each in kept]
        minor = sum([each[3] for each in kept])
        if head.subtotal is not None:
            discount = sum(line.net for line in lines) - head.subtotal
            lines = self._discounted(lines, discount)
            minor -= discount
        order = OrderIn(
            shop=self.mapping.shop,
            external_id=number,
            placed_at=min([each[1].placed_at for each in kept]),
            currency=self.values.currency,
            lines=tuple(lines),
            buyer=head.buyer,
            distributor=head.distributor,
            code=head.code,
            buyer_distributor=head.buyer_distributor,
            channel=head.channel,
        )
        return order, minor

    def _discounted(self, lines: list[LineIn], discount: int) -> list[LineIn]:
        """Divide a discount of the whole order over its lines, by what they cost."""
        net = [line.net for line in lines]
        if not 0 <= discount <= sum(net):
            said, found = (
                format_amount(amount, self.values.currency)
                for amount in (sum(net) - discount, sum(net))
            )
            raise _Refused(f"subtotal: is {said}, the order's lines come to {found}")
        return [
            replace(line, discount=line.discount + part)
            for line, part in zip(lines, allocate(discount, net), strict=True)
        ]

    def cancellation(self, number: str, rows: list[Row]) -> list[Cancellation | Rejected]:
        """The refund that the rows make up, and the rows that cannot be used."""
        read: list[tuple[int, Hashable, tuple[Head, CancelledRow]]] = []
        found: list[Cancellation | Rejected] = []
        for (file, number_of_line, _, cells), head in zip(rows, self._heads(rows), strict=True):
            at, layout = (file, number_of_line), self.layouts[file]
            try:
                line = layout.refund(cells)
                if isinstance(head, str):
                    raise InvalidInput(head)
            except InvalidInput as error:
                found.append(Rejected(at, reason_of(error), layout.money(cells, refund=True)))
                continue
            read.append((file, (head.placed_at, line), (head, CancelledRow(at, line))))
        kept, again, clashing = _copies(read)
        for _, each in clashing:
            found.append(Rejected(each.at, self._clash(kept[0][1].at), self.worth(each.line)))
        if kept:
            found.append(
                Cancellation(
                    number,
                    min(head.placed_at for head, _ in kept),
                    kept[0][0].buyer,
                    [each for _, each in kept],
                    [each for _, each in again],
                )
            )
        return found

    def worth(self, line: RefundLine) -> Decimal | None:
        """What a refund's row says of money, in major units: negative, or None."""
        return None if line.amount is None else self.values.major(-line.amount)

    # -- what all rows say alike ------------------------------------------------------------------

    def _heads(self, rows: list[Row]) -> list[Head | str]:
        """The head of each row, or why the row cannot be used."""
        file, _, same, _ = rows[0]
        if len(rows) == 1 or all(row[2] == same and row[0] == file for row in rows):
            return [self._head(file, same)] * len(rows)
        cells = _filled(rows) if self.mapping.inherit else [row[2] for row in rows]
        heads: list[Head | str] = []
        first: Head | None = None
        for row, said in zip(rows, cells, strict=True):
            head = self._head(row[0], said)
            if isinstance(head, Head):
                first = first or head
                head = _disagreement(head, first) or head
            heads.append(head)
        return heads

    def _head(self, file: int, cells: Cells) -> Head | str:
        try:
            return self.layouts[file].head(cells)
        except InvalidInput as error:
            return reason_of(error)


def _filled(rows: list[Row]) -> list[Cells]:
    """The cells of the heads; a blank one is filled from the first row of its file that has it."""
    first: dict[int, list[str]] = {}
    for file, _, cells, _ in rows:
        known = first.setdefault(file, list(cells))
        known[:] = [old if old.strip() else new for old, new in zip(known, cells, strict=True)]
    return [
        tuple(own if own.strip() else given for own, given in zip(cells, first[file], strict=True))
        for file, _, cells, _ in rows
    ]


def _disagreement(head: Head, first: Head) -> str:
    names = ("buyer", "distributor", "code", "buyer_distributor", "channel", "subtotal")
    for name in names:
        own, other = getattr(head, name), getattr(first, name)
        if own != other:
            return f"{name}: is {own!r}, the order's first row says {other!r}"
    if abs(head.placed_at - first.placed_at) > ORDER_SPAN:
        return (
            f"placed_at: is {head.placed_at.isoformat()}, more than a day from the order's first"
            f" row, {first.placed_at.isoformat()}"
        )
    return ""


_T = TypeVar("_T")


def _copies(
    rows: Sequence[tuple[int, Hashable, _T]],
) -> tuple[list[_T], list[_T], list[_T]]:
    """Tell rows of several files that continue a document from those that repeat it.

    Rows of a later file repeat the document if they are just the same rows, and continue it if
    none of them has been there; some of each is a contradiction.

    :param rows: file, what the row says, row.
    :returns: the document's rows, the repeats, and the contradicting rows.
    """
    by_file: dict[int, list[tuple[Hashable, _T]]] = {}
    for file, said, row in rows:
        by_file.setdefault(file, []).append((said, row))
    known: Counter[Hashable] = Counter()
    kept: list[_T] = []
    again: list[_T] = []
    clashing: list[_T] = []
    for found in by_file.values():
        own = Counter([said for said, _ in found])
        if not known & own:
            kept += [row for _, row in found]
            known += own
        elif known == own:
            again += [row for _, row in found]
        else:
            clashing += [row for _, row in found]
    return kept, again, clashing
