"""Orders and cancellations out of CSV files, every row of which ends up somewhere.

The files are read twice. The first pass finds out whether they can be read at all, before anything
is recorded, and which orders have rows apart from each other; only the rows of those, and of
refunds, are kept in memory. A row that cannot be used is rejected with a reason, and the rest of
its order is still taken, unless the mapping says that orders are taken whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from distrib.errors import InvalidInput
from distrib.orders.sources.assembly import Assembler, Cancellation, Rejected, Row, Sale
from distrib.orders.sources.cells import Layout, reason_of
from distrib.orders.sources.csv_rows import Broken, CsvFile, FileUnreadable
from distrib.orders.sources.mapping import Mapping
from distrib.orders.sources.values import EXACT, Values

Event = Sale | Cancellation | Rejected


@dataclass
class OrderFiles:
    """Files that are read as one run: :meth:`open` looks through them, :meth:`events` reads them.

    :param rows: of all files, as the first pass counted them.
    :param rows_read: so far, by :meth:`events`.
    :param rows_without_money: of those, the rows that say nothing readable of money.
    """

    files: list[CsvFile]
    layouts: list[Layout]
    values: Values
    assembler: Assembler
    prefix: str | None
    rows: int = 0
    rows_read: int = 0
    rows_without_money: int = 0
    _apart: set[str] = field(default_factory=set)
    _minor: int = 0
    _major: Decimal = field(default_factory=Decimal)

    @classmethod
    def open(
        cls, paths: Sequence[Path], mapping: Mapping, *, currency: str, time_zone: str
    ) -> OrderFiles:
        """Look through the files.

        :param currency: the brand's, which all orders are in.
        :param time_zone: the brand's, for a mapping that names none.
        :raises FileUnreadable: when one cannot be read, is empty or lacks a column.
        :raises InvalidInput: when they are in another currency.
        """
        if not paths:
            raise FileUnreadable("name at least one file", field="files")
        if mapping.currency not in (None, currency) and "currency" not in mapping.columns:
            raise InvalidInput(
                f"the brand takes {currency}, the files are in {mapping.currency}", field="currency"
            )
        values = Values(mapping, currency=currency, time_zone=time_zone)
        encoding, delimiter = mapping.encoding, mapping.delimiter
        files = [CsvFile.find(path, encoding=encoding, delimiter=delimiter) for path in paths]
        known: dict[tuple[str, ...], Layout] = {}
        layouts = [_layout(file, mapping, values, known) for file in files]
        found = cls(
            files=files,
            layouts=layouts,
            values=values,
            assembler=Assembler(mapping, layouts, values, [str(path) for path in paths]),
            prefix=mapping.refunds.prefix if mapping.refunds is not None else None,
        )
        found._scan()
        return found

    def _scan(self) -> None:
        """Count the rows, and find the orders whose rows do not stand together in one file."""
        seen: set[str] = set()
        for file, layout in zip(self.files, self.layouts, strict=True):
            width, order_at, tells = layout.width, layout.order_at, layout.tells_refunds
            last: str | None = None
            for _, row in _body(file):
                self.rows += 1
                if len(row) != width:
                    self._spoil(layout, row)
                    continue
                if tells:
                    try:
                        if layout.is_refund(row):
                            continue
                    except InvalidInput:
                        self._spoil(layout, row)
                        continue
                if row[order_at] == last:
                    continue
                last = row[order_at]
                number, why = _number(layout, row)
                if not why:
                    (self._apart if number in seen else seen).add(number)

    def _spoil(self, layout: Layout, row: list[str]) -> None:
        """Remember the order of a row that cannot be read, as far as it can be told."""
        cells = row.raw.split(self.files[0].delimiter) if isinstance(row, Broken) else row
        cells = cells[: layout.width] + [""] * (layout.width - len(cells))
        self.assembler.spoilt.add(_number(layout, cells)[0])

    @property
    def money(self) -> Decimal:
        """What the rows read so far say of money, in major units: sales less refunds."""
        return EXACT.add(self.values.major(self._minor), self._major)

    def events(self) -> Iterator[Event]:
        """All sales, then all cancellations in order of time; rejected rows in between."""
        self.rows_read = self.rows_without_money = self._minor = 0
        self._major = Decimal()
        for event in self._events():
            if isinstance(event, Sale):
                self._minor += event.minor
            elif isinstance(event, Cancellation):
                for row in (*event.rows, *event.repeats):
                    self._minor -= row.line.amount or 0
                    self.rows_without_money += row.line.amount is None
            elif event.money is None:
                self.rows_without_money += 1
            else:
                self._major = EXACT.add(self._major, event.money)
            yield event

    def _events(self) -> Iterator[Event]:
        apart: dict[str, list[Row]] = {}
        refunds: dict[str, list[Row]] = {}
        for n in range(len(self.files)):
            yield from self._read(n, apart, refunds)
        for number, rows in apart.items():
            yield from self.assembler.sale(number, rows)
        found: list[Cancellation] = []
        for number, rows in refunds.items():
            for event in self.assembler.cancellation(number, rows):
                if isinstance(event, Cancellation):
                    found.append(event)
                else:
                    yield event
        yield from sorted(found, key=lambda each: (each.refunded_at, each.number))

    def _read(
        self, n: int, apart: dict[str, list[Row]], refunds: dict[str, list[Row]]
    ) -> Iterator[Sale | Rejected]:
        layout = self.layouts[n]
        width, order_at, tells = layout.width, layout.order_at, layout.tells_refunds
        head_cells, line_cells = layout.head_cells, layout.line_cells
        number, why = "", ""
        last: str | None = None
        together: list[Row] = []  # the rows of the order at hand, if they stand together
        target = together
        for line, row in _body(self.files[n]):
            self.rows_read += 1
            if len(row) != width:
                yield Rejected((n, line), _misfit(row, width), None)
                continue
            if tells:
                try:
                    if layout.is_refund(row):
                        own = layout.number_of(row, refund=True)
                        told = (n, line, head_cells(row), line_cells(row))
                        refunds.setdefault(own, []).append(told)
                        continue
                except InvalidInput as error:
                    money = layout.money(line_cells(row), refund=_told(layout, row))
                    yield Rejected((n, line), reason_of(error), money)
                    continue
            if row[order_at] != last:
                if together:
                    yield from self.assembler.sale(number, together)
                last = row[order_at]
                number, why = _number(layout, row)
                target = together = []
                if self.prefix is not None and number.startswith(self.prefix):
                    target = refunds.setdefault(number, [])
                elif number in self._apart:
                    target = apart.setdefault(number, [])
            if why:
                yield Rejected((n, line), why, layout.money(line_cells(row), refund=False))
                continue
            target.append((n, line, head_cells(row), line_cells(row)))
        if together:
            yield from self.assembler.sale(number, together)


def _layout(
    file: CsvFile, mapping: Mapping, values: Values, known: dict[tuple[str, ...], Layout]
) -> Layout:
    header = next(file.rows(), (0, None))[1]
    if header is None:
        raise FileUnreadable(f"{file.path} is empty: it has no header", field="files")
    if isinstance(header, Broken):
        raise FileUnreadable(f"{file.path}: the header: {header.reason}", field="files")
    try:
        if tuple(header) not in known:
            known[tuple(header)] = Layout(header, mapping, values)
    except InvalidInput as error:
        raise FileUnreadable(f"{file.path}: {reason_of(error)}", field=error.field) from None
    return known[tuple(header)]


def _body(file: CsvFile) -> Iterator[tuple[int, list[str]]]:
    rows = file.rows()
    next(rows, None)
    return rows


def _number(layout: Layout, row: list[str]) -> tuple[str, str]:
    """The number of the row's order, or why it has none."""
    try:
        return layout.number_of(row), ""
    except InvalidInput as error:
        return "", reason_of(error)


def _told(layout: Layout, row: list[str]) -> bool:
    """Whether the row is told to be a refund's; one that is neither is no refund."""
    try:
        return layout.is_refund(row)
    except InvalidInput:
        return False


def _misfit(row: list[str], width: int) -> str:
    if isinstance(row, Broken):
        return f"quotes: {row.reason}"
    return f"row has {len(row)} columns, the header {width}"
