"""Reading small made-up order files, with a check that every row comes out once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distrib.orders.sources.assembly import Cancellation, Rejected, Sale
from distrib.orders.sources.csv_file import OrderFiles
from distrib.orders.sources.mapping import Mapping
from distrib.orders.sources.mapping_file import load_mapping, read_mapping

UCI = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
SHOP = "No,Date,Item,Qty,Price,Off,Ship,Tax,Buyer,Kind,Of\n"


def shop_mapping(**changes: Any) -> Mapping:
    """A mapping with every line field; ``columns`` are added to it."""
    columns = {
        "order": "No", "placed_at": "Date", "sku": "Item", "quantity": "Qty",
        "unit_price": "Price", "discount": "Off", "shipping": "Ship", "tax": "Tax",
        "buyer": "Buyer", **changes.pop("columns", {}),
    }  # fmt: skip
    return read_mapping({"shop": "corner", "columns": columns, **changes})


class Read:
    """What came out of some files."""

    def __init__(self, paths: list[Path], mapping: Mapping, currency: str) -> None:
        self.files = OrderFiles.open(paths, mapping, currency=currency, time_zone="Europe/London")
        events = list(self.files.events())
        self.sales = [event for event in events if isinstance(event, Sale)]
        self.cancellations = [event for event in events if isinstance(event, Cancellation)]
        self.rejected = [event for event in events if isinstance(event, Rejected)]

    def places(self) -> Iterator[tuple[int, int]]:
        for sale in self.sales:
            yield from (*sale.rows, *sale.repeats)
        for each in self.cancellations:
            yield from (row.at for row in (*each.rows, *each.repeats))
        yield from (row.at for row in self.rejected)

    @property
    def reasons(self) -> list[tuple[int, str]]:
        return sorted((row.at[1], row.reason) for row in self.rejected)


def read(
    folder: Path, *texts: str | bytes, mapping: Mapping | None = None, currency: str = "GBP"
) -> Read:
    """Write the texts to files of their own, read them, and check that each row is there once."""
    paths = []
    for n, text in enumerate(texts):
        path = folder / f"{n}.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        paths.append(path)
    found = Read(paths, mapping or load_mapping("uci-online-retail-plain"), currency)
    places = list(found.places())
    assert len(set(places)) == len(places) == found.files.rows_read == found.files.rows
    return found
