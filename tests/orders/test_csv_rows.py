"""Files as they really are: encodings, quotes, packed, empty, changed while they are read."""

from __future__ import annotations

import gzip
import lzma
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distrib.errors import InvalidInput
from distrib.orders.sources.csv_file import OrderFiles
from distrib.orders.sources.csv_rows import FileUnreadable
from distrib.orders.sources.mapping_file import load_mapping, read_mapping
from tests.orders.files import UCI, Read, read


def test_an_open_quote_costs_one_line(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        UCI + '1,A,"open,1,2011-01-01,1,9,UK\n'
        "2,A,,1,2011-01-01,1,9,UK\n"
        '3,A,"fine, two\nlines",1,2011-01-01,1,9,UK\n'
        "4,A,,1,2011-01-01,1,9,UK\n"
        '5,A,"open to the end,1,2011-01-01,1,9,UK\n'
        "6,A,,1,2011-01-01,1,9,UK\n",
    )
    assert found.reasons == [
        (2, "quotes: a quote is opened and never closed"),
        (7, "quotes: a quote is opened and never closed"),
    ]
    assert [(sale.order.external_id, sale.rows) for sale in found.sales] == [
        ("2", [(0, 3)]), ("3", [(0, 4)]), ("4", [(0, 6)]), ("6", [(0, 8)]),
    ]  # fmt: skip


def test_lines_are_counted_as_an_editor_counts_them(tmp_path: Path) -> None:
    found = read(
        tmp_path, UCI + '\n1,A,"a\r\nb\n",1,2011-01-01,1,9,UK\r\n\r\n1,A,,x,2011-01-01,1,9,UK'
    )
    assert [sale.rows for sale in found.sales] == [[(0, 3)]]
    assert found.reasons == [(7, "quantity: 'x' is no whole number")]


ROW = "1,A,caf\u00e9,1,2011-01-01,1,9,UK\n"


@pytest.mark.parametrize(
    "content, changes",
    [
        ((UCI + ROW).encode("utf-8-sig"), {}),
        ((UCI + ROW).replace("\n", "\r\n").encode(), {}),
        ((UCI + ROW).replace("\n", "\r").encode(), {}),
        ((UCI + ROW).encode("utf-16"), {"encoding": "utf-16"}),
        ((UCI + ROW).encode("latin-1"), {"encoding": "latin-1"}),
        ((UCI + ROW).encode("latin-1"), {}),  # only an unused column is spoilt
        ((UCI + ROW).replace(",", ";").encode(), {"delimiter": ";"}),
        ((UCI + ROW).replace(",", "\t").encode(), {"delimiter": "\t"}),
        ((UCI + ROW).upper().encode(), {}),
        ((UCI + ROW).rstrip().encode(), {}),
        (b" " + (UCI + ROW).replace(",", " , ").encode(), {}),
    ],
)
def test_ways_to_write_a_file(tmp_path: Path, content: bytes, changes: dict[str, Any]) -> None:
    mapping = read_mapping({"extends": "uci-online-retail-plain", **changes})
    assert [sale.order.external_id for sale in read(tmp_path, content, mapping=mapping).sales] == [
        "1"
    ]


@pytest.mark.parametrize("suffix, pack", [("gz", gzip.compress), ("xz", lzma.compress)])
def test_packed_files(tmp_path: Path, suffix: str, pack: Any) -> None:
    path = tmp_path / f"orders.csv.{suffix}"
    path.write_bytes(pack((UCI + ROW).encode()))
    mapping = load_mapping("uci-online-retail-plain")
    assert len(Read([path], mapping, "GBP").sales) == 1
    path.write_bytes(pack((UCI + ROW).encode())[:-12])
    with pytest.raises(FileUnreadable, match="cannot be read"):
        Read([path], mapping, "GBP")


def test_a_byte_that_cannot_be_decoded_spoils_its_row(tmp_path: Path) -> None:
    text = UCI + "1,caf\u00e9,,1,2011-01-01,1,9,UK\n2,A,,1,2011-01-01,1,9,UK\n"
    found = read(tmp_path, text.encode("latin-1"))
    assert found.reasons == [(2, "sku: contains bytes that are not in the file's encoding")]
    assert [sale.order.external_id for sale in found.sales] == ["2"]


@pytest.mark.parametrize(
    "content, changes, reason",
    [
        (b"", {}, r"0\.csv is empty: it has no header"),
        (b"\n\n", {}, r"0\.csv is empty: it has no header"),
        (b"InvoiceNo,StockCode\n", {},
         r"0\.csv: placed_at: there is no column 'InvoiceDate'; the columns are 'InvoiceNo',"
         " 'StockCode'"),
        (UCI.replace("Country", "quantity").encode(), {},
         r"0\.csv: quantity: the column 'Quantity' stands 2 times"),
        (UCI.replace("Country", '"Country').encode(), {}, "the header: a quote is opened"),
        (UCI.encode("utf-16"), {}, "there is no column"),
        (b"\xff\xfe\x00\xd8", {"encoding": "utf-16"}, "is not utf-16"),
    ],
)  # fmt: skip
def test_files_that_are_refused(
    tmp_path: Path, content: bytes, changes: dict[str, Any], reason: str
) -> None:
    mapping = read_mapping({"extends": "uci-online-retail-plain", **changes})
    with pytest.raises(InvalidInput, match=reason):
        read(tmp_path, content, mapping=mapping)


def test_no_file_and_what_is_none(tmp_path: Path) -> None:
    mapping = load_mapping("standard")
    with pytest.raises(FileUnreadable, match="name at least one file"):
        Read([], mapping, "GBP")
    for path in (tmp_path, tmp_path / "none.csv"):
        with pytest.raises(FileUnreadable, match="is no file"):
            Read([path], mapping, "GBP")


def test_a_file_that_changes_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "0.csv"
    path.write_text(UCI + ROW, encoding="utf-8")
    mapping = load_mapping("uci-online-retail-plain")
    files = OrderFiles.open([path], mapping, currency="GBP", time_zone="UTC")
    path.write_text(UCI + ROW + ROW, encoding="utf-8")
    with pytest.raises(FileUnreadable, match="changed while it was read"):
        list(files.events())


letters = st.sampled_from(
    [*list('",\n\r\x00 1C0-.:;'), "2011-01-01", "UK", "é", "1,A,,1,2011-01-01,1,9,UK\n"]
)


@given(st.lists(letters, max_size=60), st.sampled_from(["utf-8", "latin-1"]))
def test_anything_at_all_is_accounted_for(tmp_path: Path, text: list[str], encoding: str) -> None:
    good = "7,A,,1,2011-01-01,1,9,UK\n"
    found = read(tmp_path, (UCI + good + "".join(text)).encode(encoding))
    assert (0, 2) in set(found.places())
