"""The rejects file: every unusable row, with its reason, as it was, to be corrected and sent."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from distrib.brands.tables import Brand
from distrib.commission.import_orders import Count
from distrib.db import Database
from distrib.errors import InvalidInput
from tests.orders.files import UCI
from tests.orders.imports import DAYS, brand, load, orders, write


@pytest.fixture
def shop(db: Database) -> Brand:
    return brand(db)


def test_the_rejects_file(db: Database, shop: Brand, tmp_path: Path) -> None:
    paths = write(tmp_path, *DAYS)
    rejects = tmp_path / "rejects.csv"
    load(db, shop, paths, rejects_path=rejects)
    assert rejects.read_text(encoding="utf-8").splitlines() == [
        f"file,line,reason,{UCI.strip()}",
        f"{paths[0]},6,\"buyer: there is none, so no earlier order can be found\",C2,A,,-1,"
        "2011-01-01 12:00,1.00,,UK",
        f"{paths[1]},3,quantity: 'x' is no whole number,3,A,,x,2011-01-02 10:00,1.00,ann,UK",
        f"{paths[1]},5,\"the invoice adjusts bad debt, it is no sale\",A4,Z,,1,2011-01-02 10:00,"
        "-50.00,,UK",
        f"{paths[2]},4,only 0 of 9 units of 'A' at 1.00 are left in earlier orders of buyer 'ann',"
        "C6,A,,-9,2011-01-03 11:01,1.00,ann,UK",
    ]  # fmt: skip
    before = rejects.read_bytes()
    load(db, shop, paths, rejects_path=rejects)
    assert rejects.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "day-1.csv", "day-2.csv", "day-3.csv", "rejects.csv",
    ]  # fmt: skip


def test_a_rejects_file_is_corrected_and_imported(
    db: Database, shop: Brand, tmp_path: Path
) -> None:
    text = UCI + "1,A,,x,2011-01-01,1.00,ann,UK\n2,A,,1,2011-01-01,1.00,ann,UK\n"
    rejects, more = tmp_path / "rejects.csv", tmp_path / "more.csv"
    load(db, shop, write(tmp_path, text), rejects_path=rejects)
    load(db, shop, [rejects], rejects_path=more)
    assert more.read_text(encoding="utf-8").splitlines() == [
        f"file,line,reason,{UCI.strip()}",
        f"{rejects},2,quantity: 'x' is no whole number,1,A,,x,2011-01-01,1.00,ann,UK",
    ]
    rejects.write_text(more.read_text(encoding="utf-8").replace(",x,", ",3,"), encoding="utf-8")
    report = load(db, shop, [rejects], rejects_path=more)
    assert report.rows == Count(accepted=1)
    assert not more.exists()


def test_rejects_are_written_as_they_were_read(db: Database, shop: Brand, tmp_path: Path) -> None:
    one, other = tmp_path / "one.csv", tmp_path / "other.csv"
    one.write_bytes(
        UCI.encode() + b'1,caf\xe9,,1,2011-01-01,1,,UK\n2,"a\n"b,1\n'
        b"3,A,,1\n4,A,,1,2011-01-01,1,,UK,more\n"
    )
    other.write_bytes(b"Quantity,StockCode,InvoiceNo,InvoiceDate,UnitPrice,CustomerID,Note,Note\n"
                      b"0,A,5,2011-01-01,1,,n,m\n")  # fmt: skip
    rejects = tmp_path / "rejects.csv"
    load(db, shop, [one, other], rejects_path=rejects)
    with rejects.open(encoding="latin-1", newline="") as file:
        cells = list(csv.reader(file))
    assert cells[0] == [*["file", "line", "reason"], *UCI.strip().split(","), "Note", "Note"]
    assert [line[3:] for line in cells[1:]] == [
        ["1", "caf\xe9", "", "1", "2011-01-01", "1", "", "UK", "", ""],
        ['2,"a', *[""] * 9],
        ['"b,1', *[""] * 9],
        ["3", "A", "", "1", *[""] * 6],
        ["4", "A", "", "1", "2011-01-01", "1", "", "UK", "", "", "more"],
        ["5", "A", "", "0", "2011-01-01", "1", "", "", "n", "m"],
    ]
    assert [line[1] for line in cells[1:]] == ["2", "3", "4", "5", "6", "2"]


def test_where_rejects_cannot_be_written(db: Database, shop: Brand, tmp_path: Path) -> None:
    paths = write(tmp_path, *DAYS)
    for path in (paths[1], tmp_path, tmp_path / "none" / "rejects.csv"):
        with pytest.raises(InvalidInput) as caught:
            load(db, shop, paths, rejects_path=path)
        assert caught.value.field == "rejects"
    assert orders(db, shop) == []
