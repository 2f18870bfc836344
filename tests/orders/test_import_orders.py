"""Importing files: what is recorded, what is reported, and that doing it again changes nothing."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distrib import clock
from distrib.brands.tables import Brand
from distrib.commission import import_orders as module
from distrib.commission.import_orders import Count, ImportDoesNotAddUp
from distrib.config import Settings
from distrib.db import Database
from distrib.errors import InvalidInput
from distrib.orders.sources.assembly import Rejected
from distrib.orders.sources.mapping_file import load_mapping
from distrib.tree.service import enrol_distributor
from tests.orders.files import UCI
from tests.orders.imports import DAYS, PLAIN, brand, load, orders, refunds, rows, write

STANDARD = load_mapping("standard")
HEADER = "order,placed_at,sku,quantity,unit_price,distributor,refund_of\n"


@pytest.fixture
def shop(db: Database) -> Brand:
    return brand(db)


REFUNDS = [
    # the latest with enough: 1 gives four, 3 has too few for C3, of which 1 has six left
    ("C1", "1", 1, 4, 400),
    ("C3", "1", 1, 4, 400),
    ("C3", "1", 2, 1, 250),
    ("C4", "1", 1, 2, 200),  # the day before 3 was placed
    ("C5", "3", 1, 3, 300),
    ("C5", "5", 1, 1, 100),
]


def test_an_import(db: Database, shop: Brand, tmp_path: Path) -> None:
    seen: list[int] = []
    report = load(db, shop, write(tmp_path, *DAYS), progress=seen.append)
    assert refunds(db, shop) == REFUNDS
    assert [(order, sku, n) for order, _, _, _, _, sku, n, _ in orders(db, shop)] == [
        ("1", "A", 10), ("1", "B", 2), ("2", "A", 3), ("3", "A", 3), ("3", "C", 1), ("5", "A", 1),
    ]  # fmt: skip
    assert (report.files, report.rows) == (3, Count(accepted=11, duplicate=0, rejected=4))
    assert report.orders == Count(accepted=4)
    assert report.refunds == Count(accepted=5, rejected=2)
    assert asdict(report.money) == {
        "currency": "GBP",
        "file": Decimal("22.00") - Decimal("16.50") - 60,
        "sales": Decimal("22.00"),
        "refunds": Decimal("16.50"),
        "duplicate": Decimal(0),
        "rejected": Decimal("-60.00"),
    }
    assert report.reasons == {
        "buyer: there is none, so no earlier order can be found": 1,
        "quantity: … is no whole number": 1,
        "the invoice adjusts bad debt, it is no sale": 1,
        "only … of … units of … at … are left in earlier orders of buyer …": 1,
    }
    assert report.rows_without_money == 1
    assert seen[-1] == 15
    assert seen == sorted(seen)


def test_again_changes_nothing(db: Database, shop: Brand, tmp_path: Path) -> None:
    paths = write(tmp_path, *DAYS)
    first = load(db, shop, paths)
    before = (orders(db, shop), refunds(db, shop), _postings(db, shop))
    for chunk in (1, 2, 100):
        again = load(db, shop, paths, chunk_orders=chunk)
        assert (orders(db, shop), refunds(db, shop), _postings(db, shop)) == before
        assert again.rows == Count(duplicate=first.rows.accepted, rejected=first.rows.rejected)
        assert again.orders == Count(duplicate=first.orders.accepted)
        assert again.refunds == Count(duplicate=first.refunds.accepted, rejected=2)
        assert again.reasons == first.reasons
        assert again.money.file == first.money.file
        assert again.money.duplicate == first.money.sales - first.money.refunds


def _postings(db: Database, of: Brand) -> list[tuple[Any, ...]]:
    return rows(db, of, "SELECT * FROM transfer WHERE brand_id = :brand ORDER BY 1, 2, 3")


def test_a_day_at_a_time_or_all_at_once(db: Database, shop: Brand, tmp_path: Path) -> None:
    paths = write(tmp_path, *DAYS)
    load(db, shop, paths, chunk_orders=100)
    daily = brand(db)
    reports = [load(db, daily, [path]) for path in paths]
    assert refunds(db, daily) == refunds(db, shop) == REFUNDS
    assert orders(db, daily) == orders(db, shop)
    assert sum(report.rows.accepted for report in reports) == 11


def test_the_same_key_with_another_content(db: Database, shop: Brand, tmp_path: Path) -> None:
    load(db, shop, write(tmp_path, *DAYS))
    changed = DAYS[0].replace("2,A,,3", "2,A,,4").replace("C1,A,,-4", "C1,A,,-5")
    report = load(db, shop, write(tmp_path, changed, name="changed"))
    assert report.rows == Count(duplicate=2, rejected=3)
    assert report.reasons["external_id: order … of … is recorded with another content"] == 1
    assert report.reasons["refund … is recorded with another content"] == 1
    assert refunds(db, shop) == REFUNDS


def test_a_distributor_nobody_knows(db: Database, shop: Brand, tmp_path: Path) -> None:
    with db.transaction() as session:
        enrol_distributor(
            session, brand_id=shop.id, external_id="ann", name="Ann",
            joined_at=clock.now() - timedelta(days=9000),
        )  # fmt: skip
    report = load(db, shop, write(tmp_path, DAYS[0]), mapping=load_mapping("uci-online-retail"))
    assert report.orders == Count(accepted=1, rejected=1)
    assert report.reasons["distributor: the brand has no distributor …"] == 1
    credited = rows(db, shop, "SELECT external_id, referral FROM orders WHERE brand_id = :brand")
    assert credited == [("1", "direct")]


def test_the_same_file_twice_in_one_run(db: Database, shop: Brand, tmp_path: Path) -> None:
    paths = write(tmp_path, *DAYS)
    report = load(db, shop, [*paths, paths[1], *paths])
    assert refunds(db, shop) == REFUNDS
    assert report.rows == Count(accepted=11, duplicate=11 + 5, rejected=4 + 4 + 2)
    assert report.orders == Count(accepted=4)
    assert report.money.duplicate == Decimal("22.00") - Decimal("16.50") + 3 - Decimal("8.50")


def test_an_unreadable_file_stops_everything(db: Database, shop: Brand, tmp_path: Path) -> None:
    paths = write(tmp_path, *DAYS, "InvoiceNo\n")
    with pytest.raises(InvalidInput, match="there is no column 'InvoiceDate'"):
        load(db, shop, paths)
    assert orders(db, shop) == []


# -- refunds that name their order --------------------------------------------------------------


def test_named_refunds(db: Database, shop: Brand, tmp_path: Path) -> None:
    text = (
        HEADER + "1,2026-01-01,A,3,10.00,,\n1,2026-01-01,B,2,1.00,,\n2,2026-01-01,A,1,5.00,,\n"
        "R1,2026-01-02,A,-1,10.00,,1\n"
        "R2,2026-01-03,A,-1,4.00,,1\n"
        "R3,2026-01-04,,,,,2\n"
        "R4,2026-01-04,A,-2,,,1\n"
        "R5,2026-01-05,,,,,3\n"
        "R6,2026-01-05,A,-1,,,3\n"
    )
    paths = write(tmp_path, text)
    report = load(db, shop, paths, mapping=STANDARD)
    assert refunds(db, shop) == [
        ("R1", "1", 1, 1, 1000),
        ("R2", "1", 1, 1, 400),
        ("R3", "2", 1, 1, 500),
    ]
    assert (report.refunds, report.waiting) == (Count(accepted=4, rejected=2), 1)
    assert report.reasons == {
        "quantity: … units of … come back, … are left": 1,
        "order … is not recorded, so its lines are not known": 1,
    }
    assert load(db, shop, paths, mapping=STANDARD).refunds == Count(
        accepted=1, duplicate=3, rejected=2
    )
    late = write(tmp_path, HEADER + "3,2026-01-01,A,2,7.00,,\n", name="late")
    load(db, shop, late, mapping=STANDARD)
    assert refunds(db, shop)[-1] == ("R5", "3", 1, 2, 1400)
    again = load(db, shop, paths, mapping=STANDARD)
    assert again.refunds == Count(duplicate=4, rejected=2)


def test_a_refund_that_the_intake_refuses(db: Database, shop: Brand, tmp_path: Path) -> None:
    future = (clock.now() + timedelta(days=2)).isoformat()
    text = (
        HEADER + "1,2026-01-01,A,3,10.00,,\n"
        "R1,2026-01-02,A,-1,10.00,,1\n"
        f"R2,{future},A,-1,10.00,,1\n"
        "R3,2026-01-03,A,-1,10.01,,1\n"
        "R4,2026-01-04,A,-1,20.01,,1\n"
    )
    report = load(db, shop, write(tmp_path, text), mapping=STANDARD, chunk_orders=100)
    assert [refund[0] for refund in refunds(db, shop)] == ["R1", "R3"]
    assert report.refunds == Count(accepted=2, rejected=2)
    assert sorted(report.reasons) == [
        "lines[…].amount: … is given back, … is left of the line (minor units)",
        "refunded_at: … is yet to come",
    ]


# -- that it adds up ----------------------------------------------------------------------------


@pytest.mark.parametrize("lost", ["rows", "money"])
def test_what_does_not_add_up(
    db: Database, shop: Brand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    if lost == "money":
        monkeypatch.setattr(module, "_minor", lambda _: 1)
    else:
        monkeypatch.setattr(module._Run, "_repeats", lambda self, *_: self.reject(_NOBODYS))
    with pytest.raises(ImportDoesNotAddUp):
        load(db, shop, write(tmp_path, *DAYS))


_NOBODYS = Rejected((0, 0), "a row that nobody has read", None)

_numbers = itertools.count(1)
_lines = st.builds(
    "{0},{1},,{2},2011-01-0{3} 10:00,{4},{5},UK\n".format,
    st.sampled_from(["1", "2", "3", "4", "C1", "C2", "C3", "A1", ""]),
    st.sampled_from("AB"),
    st.sampled_from(["1", "2", "5", "-1", "-2", "-5", "x"]),
    st.integers(1, 4),
    st.sampled_from(["1", "1", "0", "0.001", "y"]),
    st.sampled_from(["ann", "ann", "bob", ""]),
)


@given(st.lists(_lines, max_size=25), st.integers(1, 5), st.integers(0, 25))
@settings(max_examples=20)
def test_any_file_adds_up(
    db: Database, tmp_path: Path, lines: list[str], chunk: int, cut: int
) -> None:
    texts = [UCI + "".join(lines[:cut]), UCI + "".join(lines[cut:])]
    paths = write(tmp_path, *texts, name=f"any{next(_numbers)}")
    shop, other = brand(db), brand(db)
    report = load(db, shop, paths, chunk_orders=chunk)
    whole = load(db, other, paths, chunk_orders=100)
    assert report == whole
    assert report.rows.total == len(lines)
    assert refunds(db, shop) == refunds(db, other)
    again = load(db, shop, paths)
    assert again.rows.accepted == 0
    assert again.rows.rejected == report.rows.rejected
    assert refunds(db, shop) == refunds(db, other)
    left = rows(
        db,
        shop,
        """
        SELECT l.quantity - sum(x.quantity), l.quantity * l.unit_price - sum(x.amount)
        FROM order_line l JOIN refund f ON f.brand_id = l.brand_id AND f.order_id = l.order_id
        JOIN refund_line x ON x.brand_id = f.brand_id AND x.refund_id = f.id
             AND x.line_no = l.line_no
        WHERE l.brand_id = :brand GROUP BY l.order_id, l.line_no, l.quantity, l.unit_price""",
    )
    assert all(units >= 0 and money >= 0 for units, money in left)


# -- pulling the plug ---------------------------------------------------------------------------

_CHILD = """
import sys
from pathlib import Path
from distrib.brands.service import get_brand
from distrib.db import Database, make_engine
from tests.orders.imports import load

url, slug, *paths = sys.argv[1:]
database = Database(make_engine(url))
with database.transaction() as session:
    shop = get_brand(session, slug=slug)
load(database, shop, [Path(path) for path in paths], chunk_orders=3,
     progress=lambda rows: print(rows, flush=True))
"""


def _many(days: int) -> Iterator[str]:
    for day in range(1, days + 1):
        at = f"2011-01-{day:02} 10:00"
        lines = [f"{day}{n},A,,{n},{at},1.00,buyer{n % 3},UK\n" for n in range(1, 8)]
        lines += [f"C{day}{n},A,,-{n},{at},1.00,buyer{n % 3},UK\n" for n in range(1, 6)]
        yield UCI + "".join(lines)


@pytest.mark.races
@pytest.mark.parametrize("chunks", [1, 4, 9, 12])
def test_killed_and_run_again(
    db: Database, shop: Brand, settings: Settings, tmp_path: Path, chunks: int
) -> None:
    paths = write(tmp_path, *_many(4))
    command = [sys.executable, "-c", _CHILD, settings.database_url, shop.slug, *map(str, paths)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        for _ in range(chunks):
            assert child.stdout is not None
            child.stdout.readline()
        child.kill()
    report = load(db, shop, paths)
    assert report.rows.rejected + report.rows.accepted + report.rows.duplicate == 48
    assert report.orders.duplicate >= 3 * min(chunks, 9)
    other = brand(db)
    load(db, other, paths)
    assert orders(db, shop) == orders(db, other)
    assert refunds(db, shop) == refunds(db, other)
    assert refunds(db, shop)


def test_the_plain_mapping_is_what_the_tests_use() -> None:
    assert load_mapping("uci-online-retail-plain") == PLAIN
