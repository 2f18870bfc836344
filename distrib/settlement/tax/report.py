"""What was withheld from whom: by month, by quarter and by year, as tables. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from distrib.errors import InvalidInput


class Kind(StrEnum):
    """What the cells of a column hold."""

    TEXT = "text"
    NUMBER = "number"
    MONTH = "month"
    MONEY = "money"


Cell = str | int | date
Row = tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class TaxRow:
    """What a payee was paid in a month. Money in minor units, ``net`` = ``gross`` - ``tax``.

    :param payee: what tells payees apart, the same in every month.
    :param month: the first day of the month.
    """

    payee: str
    name: str
    tax_id: str
    month: date
    gross: int
    tax: int
    net: int


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under a header, ready to be written. Money in minor units of ``currency``."""

    title: str
    header: tuple[str, ...]
    kinds: tuple[Kind, ...]
    currency: str
    rows: Sequence[Row]


_COLUMNS: dict[str, tuple[Kind, str, str]] = {
    "payee": (Kind.TEXT, "Payee", "收款人编号"),
    "name": (Kind.TEXT, "Name", "姓名"),
    "tax_id": (Kind.TEXT, "Tax number", "纳税人识别号"),
    "month": (Kind.MONTH, "Month", "月份"),
    "year": (Kind.NUMBER, "Year", "年度"),
    "quarter": (Kind.NUMBER, "Quarter", "季度"),
    "gross": (Kind.MONEY, "Gross", "应发金额"),
    "tax": (Kind.MONEY, "Tax withheld", "预扣税额"),
    "net": (Kind.MONEY, "Net", "实发金额"),
}
_TITLES = {
    "monthly": ("By month", "按月"),
    "quarterly": ("By quarter", "按季"),
    "yearly": ("By year", "按年"),
}
_LANGUAGES = {"en": 0, "zh": 1}


def monthly(rows: Iterable[TaxRow], currency: str, language: str = "en") -> Table:
    """The rows themselves, by payee and month."""
    cells: list[Row] = [
        (row.payee, row.name, row.tax_id, row.month, row.gross, row.tax, row.net)
        for row in sorted(rows, key=lambda row: (row.payee, row.month))
    ]
    return _table("monthly", ("month",), cells, currency, language)


def quarterly(rows: Iterable[TaxRow], currency: str, language: str = "en") -> Table:
    """Totals of each payee and quarter."""
    cells = _totals(rows, lambda day: (day.year, (day.month + 2) // 3))
    return _table("quarterly", ("year", "quarter"), cells, currency, language)


def yearly(rows: Iterable[TaxRow], currency: str, language: str = "en") -> Table:
    """Totals of each payee and year."""
    cells = _totals(rows, lambda day: (day.year,))
    return _table("yearly", ("year",), cells, currency, language)


def _totals(rows: Iterable[TaxRow], period: Callable[[date], tuple[int, ...]]) -> list[Row]:
    """Sums by payee and period. Name and tax number are those of the period's last month: people
    marry and move, and the office asks under which name they are known now."""
    sums: dict[tuple[str, tuple[int, ...]], list[int]] = {}
    known: dict[tuple[str, tuple[int, ...]], TaxRow] = {}
    for row in rows:
        key = row.payee, period(row.month)
        total = sums.setdefault(key, [0, 0, 0])
        for place, amount in enumerate((row.gross, row.tax, row.net)):
            total[place] += amount
        if key not in known or known[key].month <= row.month:
            known[key] = row
    return [
        (key[0], known[key].name, known[key].tax_id, *key[1], *sums[key]) for key in sorted(sums)
    ]


def _table(
    title: str, period: tuple[str, ...], rows: list[Row], currency: str, language: str
) -> Table:
    if language not in _LANGUAGES:
        raise InvalidInput(f"no words in {language!r}, only en and zh", field="language")
    which = _LANGUAGES[language]
    columns = [
        _COLUMNS[name] for name in ("payee", "name", "tax_id", *period, "gross", "tax", "net")
    ]
    return Table(
        title=_TITLES[title][which],
        header=tuple(
            f"{column[1 + which]} ({currency})" if column[0] is Kind.MONEY else column[1 + which]
            for column in columns
        ),
        kinds=tuple(column[0] for column in columns),
        currency=currency,
        rows=rows,
    )
