"""Totals by quarter and year, and the files they are written to."""

from __future__ import annotations

import csv
import io
import zipfile
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from distrib.errors import InvalidInput
from distrib.settlement.tax import export
from distrib.settlement.tax.export import write_csv, write_xlsx
from distrib.settlement.tax.report import TaxRow, monthly, quarterly, yearly

NOON = datetime(2026, 4, 1, 12, tzinfo=UTC)


def row(
    payee: str, month: int, gross: int, tax: int, *, name: str = "王芳", year: int = 2026
) -> TaxRow:
    """A month of a payee."""
    return TaxRow(payee, name, "0110", date(year, month, 1), gross, tax, gross - tax)


ROWS = [
    row("d2", 4, 500_00, 0, name="=HYPERLINK(1)"),
    row("d1", 3, 3_000_00, 440_00),
    row("d1", 1, 1_000_00, 40_00, name="王小芳"),
    row("d1", 4, 800_00, 0),
    row("d1", 12, 10_00, 0, year=2025),
]


def test_by_quarter() -> None:
    table = quarterly(ROWS, "CNY")
    assert table.header[3:] == ("Year", "Quarter", "Gross (CNY)", "Tax withheld (CNY)", "Net (CNY)")
    assert table.rows == [
        ("d1", "王芳", "0110", 2025, 4, 1000, 0, 1000),
        ("d1", "王芳", "0110", 2026, 1, 400_000, 48_000, 352_000),
        ("d1", "王芳", "0110", 2026, 2, 80_000, 0, 80_000),
        ("d2", "=HYPERLINK(1)", "0110", 2026, 2, 50_000, 0, 50_000),
    ]


def test_by_year_the_name_is_the_last_one() -> None:
    table = yearly(reversed(ROWS), "CNY", "zh")
    assert table.title == "按年"
    assert table.header == (
        "收款人编号",
        "姓名",
        "纳税人识别号",
        "年度",
        "应发金额 (CNY)",
        "预扣税额 (CNY)",
        "实发金额 (CNY)",
    )
    assert [r[1:] for r in table.rows] == [
        ("王芳", "0110", 2025, 1000, 0, 1000),
        ("王芳", "0110", 2026, 480_000, 48_000, 432_000),
        ("=HYPERLINK(1)", "0110", 2026, 50_000, 0, 50_000),
    ]


def test_csv_cells_are_no_formulas() -> None:
    file = io.StringIO()
    write_csv(monthly(ROWS, "CNY"), file)
    assert list(csv.reader(io.StringIO(file.getvalue())))[-2:] == [
        ["d1", "王芳", "0110", "2026-04", "800.00", "0.00", "800.00"],
        ["d2", "'=HYPERLINK(1)", "0110", "2026-04", "500.00", "0.00", "500.00"],
    ]


def sheets(path: Path) -> dict[str, str]:
    """The workbook's parts."""
    with zipfile.ZipFile(path) as book:
        return {name: book.read(name).decode() for name in book.namelist()}


def test_xlsx_has_numbers_dates_and_texts(tmp_path: Path) -> None:
    path = tmp_path / "tax.xlsx"
    write_xlsx([monthly(ROWS, "CNY"), yearly(ROWS, "JPY", "zh")], path, written_at=NOON)
    parts = sheets(path)
    first, second = parts["xl/worksheets/sheet1.xml"], parts["xl/worksheets/sheet2.xml"]
    assert "<f>" not in first + second
    assert "=HYPERLINK(1)" in first
    assert ">0110<" in first
    assert "<v>46113</v>" in first  # 2026-04-01, counted in days
    assert "<v>3000.00</v>" in first
    assert "<v>440.00</v>" in first
    assert "<v>480000</v>" in second  # yen have no decimals
    assert 'name="By month"' in parts["xl/workbook.xml"]
    assert 'name="按年"' in parts["xl/workbook.xml"]
    styles = parts["xl/styles.xml"]
    assert 'formatCode="yyyy-mm"' in styles
    assert 'formatCode="#,##0"' in styles or 'numFmtId="3"' in styles


def test_xlsx_amounts_are_exact(tmp_path: Path) -> None:
    path = tmp_path / "tax.xlsx"
    most = 9_000_000_000_000
    write_xlsx([monthly([row("d", 1, most - 1, 7)], "CNY")], path, written_at=NOON)
    first = sheets(path)["xl/worksheets/sheet1.xml"]
    for value in ["89999999999.99", "0.07", "89999999999.92"]:
        assert f"<v>{value}</v>" in first


def test_xlsx_is_the_same_for_the_same(tmp_path: Path) -> None:
    paths = [tmp_path / "a.xlsx", tmp_path / "b.xlsx"]
    for path in paths:
        write_xlsx([quarterly(ROWS, "CNY")], path, written_at=NOON)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_long_table_goes_on_in_another_sheet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "SHEET_ROWS", 3)
    path = tmp_path / "tax.xlsx"
    write_xlsx([monthly(ROWS, "CNY"), monthly([], "CNY", "zh")], path, written_at=NOON)
    names = ['name="By month"', 'name="By month 2"', 'name="By month 3"', 'name="按月"']
    assert [name in sheets(path)["xl/workbook.xml"] for name in names] == [True] * 4


def test_no_other_language() -> None:
    with pytest.raises(InvalidInput):
        monthly([], "CNY", "fr")
