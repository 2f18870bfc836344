"""A payout on paper: what was paid to whom, what was withheld, and what it is made of. Pure.

The same facts are the same bytes. The content hash is of the facts, not of the file, so it is the
same in both languages and whoever has the facts can check it.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any

from reportlab.lib.pagesizes import A4
from reportlab.pdfgen.canvas import Canvas

from distrib.errors import InvalidInput
from distrib.money import format_amount
from distrib.settlement.payout_words import LANGUAGES, word
from distrib.settlement.pdf_text import base_font, draw, measure, wrap


class LineKind(StrEnum):
    """What an amount comes from."""

    ORDER = "order"
    REFUND = "refund"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class PaperLine:
    """One amount of a payout.

    :param number: the order's number in its shop.
    :param level: 1 is who sold; None where there is none.
    :param amount: minor units; negative for a refund.
    """

    day: date
    kind: LineKind
    shop: str
    number: str
    level: int | None
    amount: int


@dataclass(frozen=True, slots=True)
class PayoutPaper:
    """All that a payout's paper says. Amounts in minor units of ``currency``.

    :param batch: number of the batch; ``drawn_up`` the day it was drawn up.
    :param paid_on: None while it is not paid.
    :param tax_explanation: a paragraph in the language of the paper; empty leaves it out.
    :param reference: the provider's, if it gave one.
    :param lines: what the payout is made of, in the order to show them.
    :param document_id: what the paper is filed under; ``issued_on`` the day it is.
    :raises ValueError: when net is not gross less tax, or lines do not add up to gross.
    """

    brand: str
    payee: str
    payee_id: str
    batch: int
    drawn_up: date
    paid_on: date | None
    currency: str
    gross: int
    tax: int
    tax_explanation: str
    net: int
    provider: str
    reference: str | None
    lines: tuple[PaperLine, ...]
    document_id: str
    issued_on: date

    def __post_init__(self) -> None:
        if self.net != self.gross - self.tax:
            raise ValueError(f"{self.gross} less {self.tax} is not {self.net}")
        if sum(line.amount for line in self.lines) != self.gross:
            raise ValueError(f"the lines of {self.document_id} do not add up to {self.gross}")


def content_hash(facts: PayoutPaper) -> str:
    """SHA-256 in hex over the facts that do not depend on the language: JSON, UTF-8, in the order
    of the fields, dates in ISO 8601, without spaces, the tax explanation left out."""
    content = {
        name: getattr(facts, name)
        for name in PayoutPaper.__dataclass_fields__
        if name not in {"lines", "tax_explanation"}
    }
    content["lines"] = [
        (line.day, line.kind, line.shop, line.number, line.level, line.amount)
        for line in facts.lines
    ]
    text = json.dumps(content, default=date.isoformat, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


# points, from the left and bottom of the page
_WIDTH, _HEIGHT = A4
_LEFT, _RIGHT = 48.0, _WIDTH - 48.0
_TOP, _BOTTOM = _HEIGHT - 48.0, 70.0
_SMALL, _TEXT, _LARGE = 7.0, 9.0, 17.0
_LEADING = 13.0
_PAD = 5.0

_INK, _GREY, _RULE, _SHADE = 0.12, 0.45, 0.75, 0.96

_COLUMNS = (
    # name, left edge, right edge, whether it is flush right
    ("day", _LEFT, _LEFT + 62, False),
    ("kind", _LEFT + 62, _LEFT + 110, False),
    ("shop", _LEFT + 110, _LEFT + 222, False),
    ("number", _LEFT + 222, _LEFT + 376, False),
    ("level", _LEFT + 376, _LEFT + 412, False),
    ("amount", _LEFT + 412, _RIGHT, True),
)


@dataclass(frozen=True, slots=True)
class _Row:
    """Cells of a table's row, each in lines."""

    cells: tuple[list[str], ...]

    @property
    def height(self) -> float:
        return max(len(lines) for lines in self.cells) * _LEADING + 3


def render_payout(facts: PayoutPaper, language: str) -> bytes:
    """The paper as PDF, A4, fonts embedded.

    :param language: ``en`` or ``zh``.
    :raises InvalidInput: on any other language.
    """
    if language not in LANGUAGES:
        raise InvalidInput(f"no words in {language!r}, only en and zh", field="language")
    return _Paper(facts, language).render()


class _Paper:
    def __init__(self, facts: PayoutPaper, language: str) -> None:
        self._facts = facts
        self._language = language
        self._file = io.BytesIO()
        self._canvas: Any = _open(self._file, LANGUAGES[language][1])
        _date_from(self._canvas, facts.issued_on)
        self._canvas.setTitle(f"{self._word('title')} {facts.document_id}")
        self._canvas.setAuthor(facts.brand)
        self._canvas.setCreator("distrib")
        self._canvas.setSubject(f"{self._word('batch')} {facts.batch}")
        self._hash = content_hash(facts)

    def render(self) -> bytes:
        rows = [self._row(line) for line in self._facts.lines]
        top = self._draw_head()
        pages = _paginate([row.height for row in rows], top - 2 * _LEADING - _PAD)
        for page, (first, last) in enumerate(pages):
            if page:
                top = _TOP
            top = self._draw_table(rows[first:last], top, odd=first % 2)
            if page == len(pages) - 1:
                self._draw_total(top)
            self._draw_foot(page + 1, len(pages))
            self._canvas.showPage()
        self._canvas.save()
        return self._file.getvalue()

    def _word(self, name: str, **values: object) -> str:
        return word(name, self._language, **values)

    def _money(self, amount: int) -> str:
        return format_amount(amount, self._facts.currency)

    def _write(self, x: float, y: float, text: str, size: float, *, right: bool = False) -> None:
        draw(self._canvas, x - measure(text, size) if right else x, y, text, size)

    def _ink(self, grey: float) -> None:
        self._canvas.setFillGray(grey)
        self._canvas.setStrokeGray(grey)

    def _rule(self, y: float, grey: float = _RULE, width: float = 0.6) -> None:
        self._canvas.setStrokeGray(grey)
        self._canvas.setLineWidth(width)
        self._canvas.line(_LEFT, y, _RIGHT, y)

    def _draw_head(self) -> float:
        """Everything above the table. Gives where the table may begin."""
        title = self._word("title")
        self._ink(_INK)
        self._write(_RIGHT, _TOP - _LARGE, title, _LARGE, right=True)
        room = _RIGHT - _LEFT - measure(title, _LARGE) - 24
        y = _TOP - _LARGE
        for number, line in enumerate(wrap(self._facts.brand, room, _LARGE)):
            y = _TOP - _LARGE - number * (_LARGE + 5)
            self._write(_LEFT, y, line, _LARGE)
        y -= 12
        self._rule(y, _INK, 1.2)
        y = self._draw_fields(y - 8)
        y = self._draw_sums(y - 8)
        return self._draw_why(y)

    def _fields(self) -> list[tuple[str, str]]:
        facts = self._facts
        nothing = self._word("none")
        return [
            ("payee", facts.payee),
            ("payee_id", facts.payee_id),
            ("batch", str(facts.batch)),
            ("drawn_up", facts.drawn_up.isoformat()),
            ("provider", facts.provider),
            ("paid_on", facts.paid_on.isoformat() if facts.paid_on else self._word("not_paid")),
            ("reference", facts.reference or nothing),
            ("issued", facts.issued_on.isoformat()),
        ]

    def _draw_fields(self, top: float) -> float:
        """Names and values, two beside each other."""
        fields = self._fields()
        middle = _LEFT + 300
        for pair in zip(fields[::2], fields[1::2], strict=True):
            deepest = 1
            for (name, value), left, right in zip(
                pair, (_LEFT, middle), (middle - 12, _RIGHT), strict=True
            ):
                self._ink(_GREY)
                self._write(left, top - _LEADING, self._word(name), _TEXT)
                self._ink(_INK)
                lines = wrap(value, right - left - 74, _TEXT)
                for number, line in enumerate(lines):
                    self._write(left + 74, top - _LEADING * (number + 1), line, _TEXT)
                deepest = max(deepest, len(lines))
            top -= _LEADING * deepest + 3
        return top

    def _draw_sums(self, top: float) -> float:
        """Gross, tax and net in a band."""
        height = 44.0
        bottom = top - height
        self._canvas.setFillGray(_SHADE)
        self._canvas.rect(_LEFT, bottom, _RIGHT - _LEFT, height, stroke=0, fill=1)
        facts = self._facts
        third = (_RIGHT - _LEFT) / 3
        sums = (("gross", facts.gross), ("tax", facts.tax), ("net", facts.net))
        for number, (name, amount) in enumerate(sums):
            x = _LEFT + number * third + 10
            self._ink(_GREY)
            self._write(x, top - 15, self._word(name), _TEXT)
            self._ink(_INK)
            shown = f"{self._money(amount)} {facts.currency}"
            size = min(14.0, 14.0 * (third - 16) / max(1.0, measure(shown, 14.0)))
            self._write(x, bottom + 11, shown, size)
        return bottom

    def _draw_why(self, top: float) -> float:
        if not self._facts.tax_explanation:
            return top
        top -= 16
        self._ink(_GREY)
        self._write(_LEFT, top - 3, self._word("why"), _TEXT)
        self._ink(_INK)
        top -= 3
        for line in wrap(self._facts.tax_explanation, _RIGHT - _LEFT, _TEXT):
            top -= _LEADING
            self._write(_LEFT, top, line, _TEXT)
        return top

    def _row(self, line: PaperLine) -> _Row:
        cells = (
            line.day.isoformat(),
            self._word(line.kind.value),
            line.shop,
            line.number,
            "" if line.level is None else str(line.level),
            self._money(line.amount),
        )
        return _Row(
            tuple(
                wrap(cell, right - left - _PAD * (2 if name == "amount" else 1), _TEXT)
                for cell, (name, left, right, _) in zip(cells, _COLUMNS, strict=True)
            )
        )

    def _draw_table(self, rows: Sequence[_Row], top: float, *, odd: int) -> float:
        """Header and rows. Gives where they end."""
        if top != _TOP:
            top -= 2 * _LEADING - 4
            self._ink(_INK)
            self._write(_LEFT, top, self._word("lines"), _TEXT + 1)
            top -= 4
        top -= _LEADING
        self._ink(_GREY)
        for name, left, right, flush in _COLUMNS:
            heading = self._word(name, currency=self._facts.currency)
            self._write(right - _PAD if flush else left + 3, top, heading, _TEXT - 1, right=flush)
        top -= 5
        self._rule(top, _GREY)
        for number, row in enumerate(rows, start=odd):
            if number % 2:
                self._canvas.setFillGray(_SHADE)
                self._canvas.rect(
                    _LEFT, top - row.height, _RIGHT - _LEFT, row.height, stroke=0, fill=1
                )
            self._ink(_INK)
            for lines, (_, left, right, flush) in zip(row.cells, _COLUMNS, strict=True):
                for place, text in enumerate(lines):
                    y = top - (place + 1) * _LEADING + 1.5
                    self._write(right - _PAD if flush else left + 3, y, text, _TEXT, right=flush)
            top -= row.height
        return top

    def _draw_total(self, top: float) -> None:
        counts = Counter(line.kind for line in self._facts.lines)
        others = counts[LineKind.OTHER]
        self._rule(top, _GREY)
        self._ink(_INK)
        total = self._word(
            "total_other" if others else "total",
            orders=f"{counts[LineKind.ORDER]:,}",
            refunds=f"{counts[LineKind.REFUND]:,}",
            others=f"{others:,}",
        )
        self._write(_LEFT + 3, top - _LEADING - 2, total, _TEXT)
        amount = self._money(self._facts.gross)
        self._write(_RIGHT - _PAD, top - _LEADING - 2, amount, _TEXT, right=True)

    def _draw_foot(self, page: int, pages: int) -> None:
        y = 44.0
        self._rule(y + 10)
        self._ink(_GREY)
        self._write(_LEFT, y, self._word("document", id=self._facts.document_id), _SMALL)
        self._write(_RIGHT, y, self._word("page", page=page, pages=pages), _SMALL, right=True)
        self._write(_LEFT, y - 10, self._word("hash", hash=self._hash), _SMALL)


def _paginate(heights: Sequence[float], first_room: float) -> list[tuple[int, int]]:
    """Which rows stand on which page, the last with room for the total. At least one page."""
    total, head = _LEADING + 6, _LEADING + 5
    pages: list[tuple[int, int]] = []
    start = 0
    left = first_room - _BOTTOM - total
    for number, height in enumerate(heights):
        if height > left and (number > start or not pages):
            pages.append((start, number))
            start, left = number, _TOP - head - _BOTTOM - total
        left -= height
    return [*pages, (start, len(heights))]


def _open(file: io.BytesIO, tag: str) -> Any:
    settings: dict[str, Any] = {"initialFontName": base_font(), "invariant": 1, "lang": tag}
    return Canvas(file, pagesize=A4, **settings)


def _date_from(canvas: Any, day: date) -> None:
    """Date the file from its facts. ReportLab knows only now, and a fixed day in 2000."""
    stamp = canvas._doc._timeStamp
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    stamp.t, stamp.lt = noon.timestamp(), noon.timetuple()
    stamp.YMDhms = tuple(stamp.lt)[:6]
