"""Cells that a spreadsheet may open."""

from __future__ import annotations

import pytest

from distrib.spreadsheet import safe_cell


@pytest.mark.parametrize(
    "text, cell",
    [
        ("tea", "tea"),
        ("", ""),
        ("=1+1", "'=1+1"),
        ("+86 139", "'+86 139"),
        ("-5", "'-5"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\n=1", "'\n=1"),
        ("＝1+1", "'＝1+1"),
        ("＠SUM", "'＠SUM"),
        ("a=1", "a=1"),
        ("安娜", "安娜"),
    ],
)
def test_no_cell_is_a_formula(text: str, cell: str) -> None:
    assert safe_cell(text) == cell
