"""Payouts as a CSV file that a person uploads to the bank.

Each chunk writes a part of its own, atomically and always the same for the same requests, so doing
a chunk again replaces the part by an equal one. The whole file is the parts joined in order.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from distrib import faults, ids
from distrib.money import format_amount, parse_amount
from distrib.settlement.providers import BatchRef, PaymentFile, PayoutRequest
from distrib.spreadsheet import safe_cell

COLUMNS = ("request_no", "no", "payee", "name", "amount", "currency")


def _write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader, and a kill, meet the old content or the new, never less."""
    number, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    with os.fdopen(number, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


class BankFile:
    """Writes ``<folder>/<brand>/batch-<number>.csv``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _home(self, batch: BatchRef) -> Path:
        return self._folder / ids.public("br", batch.brand_id)

    def _part(self, batch: BatchRef, chunk: int) -> Path:
        return self._home(batch) / f".batch-{batch.number}.parts" / f"{chunk:06d}.csv"

    def pay(self, batch: BatchRef, chunk: int, requests: Sequence[PayoutRequest]) -> None:
        """Write the chunk's part."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        for request in sorted(requests, key=lambda r: r.no):
            writer.writerow(
                (
                    request.request_no,
                    request.no,
                    safe_cell(request.payee),
                    safe_cell(request.name),
                    format_amount(request.amount, request.currency, grouped=False),
                    request.currency,
                )
            )
        part = self._part(batch, chunk)
        part.parent.mkdir(parents=True, exist_ok=True)
        _write_atomically(part, text.getvalue().encode())

    def finish(self, batch: BatchRef, chunks: int) -> PaymentFile:
        """Join the parts into one file and count what it pays."""
        header = ",".join(COLUMNS) + "\n"
        content = header.encode() + b"".join(
            self._part(batch, chunk).read_bytes() for chunk in range(chunks)
        )
        path = self._home(batch) / f"batch-{batch.number}.csv"
        _write_atomically(path, content)
        faults.point("bank_file.joined")
        rows = list(csv.DictReader(io.StringIO(content.decode())))
        return PaymentFile(
            path=path,
            sha256=hashlib.sha256(content).digest(),
            payouts=len(rows),
            total=sum(parse_amount(row["amount"], batch.currency) for row in rows),
        )
