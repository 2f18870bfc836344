"""The rows of a CSV file, each with the line it starts on; what is no row costs only itself.

A misplaced quote makes the rest of a file one field. Here the line with the quote is given back as
:class:`Broken`, and reading goes on with the line after it.
"""

from __future__ import annotations

import csv
import gzip
import lzma
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import BinaryIO, TextIO, cast

from distrib.errors import InvalidInput

_OPEN = "a quote is opened and never closed"
_REASONS = (
    ("unexpected end", _OPEN),
    ("field larger", f"a field is longer than {csv.field_size_limit()} characters"),
    ("expected after", 'a closing quote is followed by text; a quote in a text is written ""'),
)


class FileUnreadable(InvalidInput):
    """A file cannot be read as the CSV that its mapping says it is."""

    title = "A file cannot be read"


class Broken(list[str]):
    """A line that is no row: no cells, but the line itself and what is wrong with it."""

    def __init__(self, raw: str, reason: str) -> None:
        super().__init__()
        self.raw = raw
        self.reason = reason


@dataclass(frozen=True)
class CsvFile:
    """A file as it was when it was found. Files that end in .gz or .xz are unpacked."""

    path: Path
    encoding: str
    delimiter: str
    stamp: tuple[int, int]

    @classmethod
    def find(cls, path: Path, *, encoding: str, delimiter: str) -> CsvFile:
        """The file at ``path``.

        :raises FileUnreadable: when there is none.
        """
        if not path.is_file():
            raise FileUnreadable(f"{path} is no file", field="files")
        return cls(path, encoding, delimiter, _stamp(path))

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Each row with the number of the line it starts on; the header is the first.

        Blank lines are no rows. A row of another width than the header's that runs over several
        lines is taken for a quote that is not closed.

        :raises FileUnreadable: when the file is not what it was or is not in its encoding.
        """
        with self._open() as file:
            yield from read_rows(file, self.delimiter)

    @contextmanager
    def _open(self) -> Iterator[TextIO]:
        try:
            if _stamp(self.path) != self.stamp:
                raise FileUnreadable(f"{self.path} changed while it was read", field="files")
            with self._text() as file:
                yield file
        except UnicodeError as error:
            raise FileUnreadable(
                f"{self.path} is not {self.encoding}: {error}", field="files"
            ) from None
        except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
            raise FileUnreadable(f"{self.path} cannot be read: {error}", field="files") from None

    def _text(self) -> TextIO:
        packed: BinaryIO
        if self.path.suffix == ".gz":
            packed = cast(BinaryIO, gzip.GzipFile(self.path))
        elif self.path.suffix == ".xz":
            packed = cast(BinaryIO, lzma.LZMAFile(self.path))  # noqa: SIM115  # closed below
        else:
            packed = self.path.open("rb")
        # a byte that cannot be decoded is kept, so that it spoils no more than its cell
        return TextIOWrapper(packed, self.encoding, errors="surrogateescape", newline="")


def _stamp(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def read_rows(file: Iterable[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The rows of a text with their lines; see :meth:`CsvFile.rows`."""
    source = iter(file)
    again: deque[str] = deque()  # lines to read once more
    taken: list[str] = []  # lines of the row at hand

    def feed() -> Iterator[str]:
        while again:
            taken.append(again.popleft())
            yield taken[-1]
        for line in source:
            taken.append(line)
            yield line

    line, width, more = 1, 0, True
    while more:
        reason = ""
        try:
            more = False
            for row in csv.reader(feed(), delimiter=delimiter, strict=True):
                width = width or len(row)
                if len(row) != width and len(taken) > 1 and row:
                    reason = _OPEN
                    break
                if row:
                    yield line, row
                line += len(taken)
                taken.clear()
        except csv.Error as error:
            reason = next((ours for theirs, ours in _REASONS if theirs in str(error)), str(error))
        if reason:
            more = True
            if len(taken) > 1:
                reason = _OPEN
            yield line, Broken(taken[0], reason)
            again.extendleft(reversed(taken[1:]))
            taken.clear()
            line += 1
