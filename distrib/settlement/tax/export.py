"""Tables of withheld tax as CSV and as workbooks that a spreadsheet cannot be tricked by."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import IO, Any

import xlsxwriter

from distrib.money import exponent, format_amount
from distrib.settlement.tax.report import Cell, Kind, Row, Table
from distrib.spreadsheet import safe_cell

SHEET_ROWS = 1_048_576
"""Rows that a sheet of a workbook can have, its header included."""

_WIDTHS = {Kind.TEXT: 22, Kind.NUMBER: 9, Kind.MONTH: 10, Kind.MONEY: 16}

_SAFE = {
    "constant_memory": True,
    "strings_to_formulas": False,
    "strings_to_numbers": False,
    "strings_to_urls": False,
}


def write_csv(table: Table, file: IO[str]) -> None:
    """Header and rows. Money in major units without grouping, a month as ``2026-03``."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([safe_cell(name) for name in table.header])
    for row in table.rows:
        writer.writerow(
            [
                _plain(cell, kind, table.currency)
                for cell, kind in zip(row, table.kinds, strict=True)
            ]
        )


def _plain(cell: Cell, kind: Kind, currency: str) -> str:
    if isinstance(cell, date):
        return f"{cell:%Y-%m}"
    if isinstance(cell, str):
        return safe_cell(cell)
    return format_amount(cell, currency, grouped=False) if kind is Kind.MONEY else str(cell)


def write_xlsx(tables: Sequence[Table], path: Path, *, written_at: datetime) -> None:
    """A sheet for each table; one that is longer than a sheet goes on in the next.

    Money is a number with the currency's decimals, a month a date, a text a text, whatever it
    looks like. Memory does not grow with the rows.

    :param written_at: the time the workbook says it was made. The same tables and time are the
        same bytes.
    """
    with xlsxwriter.Workbook(str(path), _SAFE) as book:
        book.set_properties({"created": written_at})
        for table in tables:
            for number, rows in enumerate(_sheets(table.rows)):
                _write_sheet(book, table, number, rows)


def _sheets(rows: Sequence[Row]) -> Iterable[Sequence[Row]]:
    room = SHEET_ROWS - 1
    return (rows[start : start + room] for start in range(0, max(1, len(rows)), room))


def _write_sheet(book: Any, table: Table, number: int, rows: Sequence[Row]) -> None:
    sheet = book.add_worksheet(f"{table.title} {number + 1}" if number else table.title)
    bold = book.add_format({"bold": True, "bottom": 1})
    formats = {
        Kind.TEXT: book.add_format({"num_format": "@"}),
        Kind.NUMBER: book.add_format({"num_format": "0"}),
        Kind.MONTH: book.add_format({"num_format": "yyyy-mm"}),
        Kind.MONEY: book.add_format({"num_format": _money_format(table.currency)}),
    }
    for column, (name, kind) in enumerate(zip(table.header, table.kinds, strict=True)):
        sheet.set_column(column, column, _WIDTHS[kind])
        sheet.write_string(0, column, name, bold)
    sheet.freeze_panes(1, 0)
    places = exponent(table.currency)
    for line, row in enumerate(rows, start=1):
        for column, (cell, kind) in enumerate(zip(row, table.kinds, strict=True)):
            if isinstance(cell, str):
                sheet.write_string(line, column, cell, formats[kind])
            elif isinstance(cell, date):
                sheet.write_datetime(line, column, cell, formats[kind])
            elif kind is Kind.MONEY:
                # a Decimal is written digit by digit: no float on this side of the file
                sheet.write_number(line, column, Decimal(cell).scaleb(-places), formats[kind])
            else:
                sheet.write_number(line, column, cell, formats[kind])


def _money_format(currency: str) -> str:
    places = exponent(currency)
    return "#,##0." + "0" * places if places else "#,##0"
