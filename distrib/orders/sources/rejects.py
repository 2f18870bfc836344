"""Writing the rows that an import could not use, each with its file, its line and the reason.

The rows are copied from the files themselves, in a last pass, so an import need not keep them. The
copy is in the encoding of what was read, so that it can be corrected and imported as it is.
"""

from __future__ import annotations

import codecs
import csv
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from distrib.errors import InvalidInput
from distrib.orders.sources.assembly import Rejected
from distrib.orders.sources.cells import OUTCOME
from distrib.orders.sources.csv_file import OrderFiles
from distrib.orders.sources.csv_rows import Broken

Column = tuple[str, int]
"""A column's name, and the how manieth of that name it is."""


def check_rejects_path(path: Path, sources: Sequence[Path]) -> None:
    """Find out before anything is imported whether a rejects file can be written.

    :raises InvalidInput: when it has nowhere to be, or would overwrite what is read.
    """
    if path.is_dir() or not os.access(path.absolute().parent, os.W_OK):
        raise InvalidInput(f"{path} cannot be written", field="rejects")
    if path.exists() and any(source.exists() and path.samefile(source) for source in sources):
        raise InvalidInput("the rejects would overwrite what is read", field="rejects")


def write_rejects(path: Path, files: OrderFiles, rejected: Sequence[Rejected]) -> None:
    """Write the rejected rows to ``path``, complete or not at all; without any, remove it."""
    if not rejected:
        path.unlink(missing_ok=True)
        return
    reasons: dict[int, dict[int, str]] = {}
    for each in rejected:
        reasons.setdefault(each.at[0], {})[each.at[1]] = each.reason
    columns = {column: 0 for n in sorted(reasons) for column in _columns(files.layouts[n].header)}
    columns = {column: place for place, column in enumerate(columns)}
    encoding = files.files[0].encoding.removesuffix("-sig")
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with partial.open("w", encoding=encoding, errors=_KEEP, newline="") as file:
            writer = csv.writer(file, delimiter=files.files[0].delimiter, lineterminator="\n")
            writer.writerow([*OUTCOME, *(name for name, _ in columns)])
            for n in sorted(reasons):
                writer.writerows(_rows(files, n, reasons[n], columns))
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _columns(header: Sequence[str]) -> list[Column]:
    """The columns, without those of an earlier rejects file."""
    count: Counter[str] = Counter()
    columns = []
    for name in header[len(OUTCOME) :] if tuple(header[: len(OUTCOME)]) == OUTCOME else header:
        columns.append((name, count[name]))
        count[name] += 1
    return columns


def _rows(
    files: OrderFiles, n: int, reasons: dict[int, str], columns: dict[Column, int]
) -> Iterator[list[str]]:
    header = files.layouts[n].header
    own = [columns[column] for column in _columns(header)]
    skipped = len(header) - len(own)
    for line, row in files.files[n].rows():
        if line not in reasons:
            continue
        cells = [""] * len(columns)
        if isinstance(row, Broken):
            cells[0] = row.raw.rstrip("\r\n")
        for place, cell in zip(own, row[skipped:], strict=False):
            cells[place] = cell
        cells += row[len(header) :]  # of a row that is too long
        yield [str(files.files[n].path), str(line), reasons[line], *cells]


def _keep(error: UnicodeError) -> tuple[bytes, int]:
    """A byte that could not be decoded is written as it was; what else has no place is a ``?``."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    kept = [ord(letter) - 0xDC00 if "\udc80" <= letter <= "\udcff" else 63 for letter in letters]
    return bytes(kept), error.end


_KEEP = "distrib.orders.sources.rejects"
codecs.register_error(_KEEP, _keep)
