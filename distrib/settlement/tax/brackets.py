"""Progressive rates with quick deductions, exact to the minor unit. Pure.

China's law defines the two taxable amounts here as gross times 0.8, less whole yuan. Counted in
fifths of a fen they are integers, so a tax is one exact ratio and is rounded once, half up.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

FEN = 100
"""Minor units in a yuan."""

FIFTHS = 5
"""Units that a taxable amount is counted in, to the fen."""


class Brackets:
    """A table of rates.

    :param rows: upper end in yuan (it belongs to the bracket; None has no end), rate in percent,
        quick deduction in yuan, lowest bracket first.
    """

    __slots__ = ("_ends", "_rows", "_terms")

    def __init__(self, rows: Sequence[tuple[int | None, int, int]]) -> None:
        self._rows = tuple(rows)
        self._ends = [end * FEN * FIFTHS for end, _, _ in rows if end is not None]
        # tax = fifths * percent / 500 - quick = (2 * percent * fifths - 1000 * quick) / 1000; half
        # of the denominator is put in here, which makes the floor of a division round half up
        self._terms = [(2 * rate, 500 - 1000 * quick * FEN) for _, rate, quick in rows]

    def tax(self, taxable: int) -> int:
        """The tax on ``taxable`` fifths of a fen (zero on less than zero), in fen, half up."""
        if taxable <= 0:
            return 0
        rate, term = self._terms[bisect_left(self._ends, taxable)]
        return (taxable * rate + term) // 1000

    def find(self, taxable: int) -> tuple[int, int]:
        """Rate in parts per million and quick deduction in fen of the bracket it falls into."""
        _, rate, quick = self._rows[bisect_left(self._ends, taxable)]
        return rate * 10_000, quick * FEN
