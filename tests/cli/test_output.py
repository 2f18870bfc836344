"""What a person sees: columns that stand, also under Chinese names, and data that stays data."""

from __future__ import annotations

import io
from datetime import UTC, date, datetime

import pytest
from rich.cells import cell_len
from rich.console import RenderableType

from distrib.cli.output import as_json, console, facts, local, money, table


def drawn(drawing: RenderableType) -> list[str]:
    file = io.StringIO()
    console(file).print(drawing)
    return file.getvalue().splitlines()


def test_columns_stand_under_wide_letters() -> None:
    lines = drawn(table("name|>amount", [("欧阳若曦", "1,234.50"), ("Ann", "0.05")]))
    rows = [line for line in lines if "." in line]
    # the last digit of both amounts stands in the same column
    assert len({cell_len(line.rstrip()) for line in rows}) == 1


def test_data_that_looks_like_markup_is_left_alone() -> None:
    name = "陈[bold]子轩[/bold] :smile: [/]"
    assert name in "\n".join(drawn(table("name", [(name,)])))
    assert name in "\n".join(drawn(facts([("name", name)], title=name)))


def test_facts_leave_out_what_is_not_known() -> None:
    text = "\n".join(drawn(facts([("code", "c1"), ("settled", None), ("items", 12_345)])))
    assert "settled" not in text
    assert "12,345" in text


def test_money_and_times_for_people() -> None:
    assert money(-123_456, "CNY") == "-1,234.56 CNY"
    assert money(1_000, "JPY") == "1,000 JPY"
    assert local(datetime(2026, 3, 1, 16, 5, tzinfo=UTC), "Asia/Shanghai") == "2026-03-02 00:05"
    assert local(None, "Asia/Shanghai") == ""


def test_json_has_plain_values() -> None:
    document = {
        "at": datetime(2026, 3, 1, tzinfo=UTC),
        "day": date(2026, 3, 1),
        "hash": b"\x01\xff",
        "name": "茶",
    }
    text = as_json(document)
    assert '"2026-03-01T00:00:00+00:00"' in text
    assert '"01ff"' in text
    assert "茶" in text
    with pytest.raises(TypeError, match="set has no JSON form"):
        as_json({1})
