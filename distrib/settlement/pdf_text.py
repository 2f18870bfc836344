"""Latin and Chinese text on a PDF page: which glyphs there are, how wide, where lines break.

Two fonts come with distrib (distrib/settlement/fonts), and each document embeds the glyphs that it
uses. Between them they have every character of GB2312, GBK and CJK extension A, and those that the
Table of General Standard Chinese Characters has beyond. A character that neither has is drawn as a
box with its code point, so that a name is never printed as if it were another.
"""

from __future__ import annotations

import io
import lzma
import re
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from itertools import groupby
from typing import Any

from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont

_FONTS = ("latin", "hanzi")
_EM = 1000

_NOT_FIRST = frozenset("，。、；：？！）》」』】〉”’…—·％,.;:?!)]}%")
_NOT_LAST = frozenset("（《「『【〈“‘([{¥$")


class _Font(TTFont):
    """A font whose text can be copied. ReportLab writes a character above U+FFFF as five digits
    into the table that readers copy by, where the standard has UTF-16."""

    def addObjects(self, doc: Any) -> None:  # noqa: N802 (ReportLab's name)
        """Add the glyphs in use to a document that is being closed."""
        super().addObjects(doc)
        for name, made in doc.idToObject.items():
            if name.startswith("toUnicodeCMap:"):
                made.content = _ASTRAL.sub(_in_utf16, made.content)


_ASTRAL = re.compile("<([0-9A-F]{5,6})>")


def _in_utf16(code: re.Match[str]) -> str:
    return f"<{chr(int(code[1], 16)).encode('utf-16-be').hex().upper()}>"


@cache
def _glyphs() -> dict[int, tuple[str, int]]:
    """Font and width (thousandths of the size) by code point. Reads the fonts once a process."""
    found: dict[int, tuple[str, int]] = {}
    for name in _FONTS:
        packed = files("distrib.settlement").joinpath("fonts", f"{name}.ttf.xz").read_bytes()
        # without this, every document would carry the font's glyphs of ASCII, used or not
        font = _Font(f"distrib-{name}", io.BytesIO(lzma.decompress(packed)), asciiReadable=False)
        pdfmetrics.registerFont(font)
        for code, width in font.face.charWidths.items():
            found.setdefault(code, (font.fontName, width))
    return found


def is_drawable(character: str) -> bool:
    """Whether a font has the character."""
    return ord(character) in _glyphs()


def measure(text: str, size: float) -> float:
    """How wide ``text`` is drawn, in points."""
    glyphs = _glyphs()
    thousandths = 0
    for character in text:
        glyph = glyphs.get(ord(character))
        thousandths += glyph[1] if glyph else _box_width(character)
    return thousandths * size / _EM


def _box_width(character: str) -> int:
    """A box has two digits in a row, or three."""
    return _EM if character <= "\uffff" else _EM * 3 // 2


def base_font() -> str:
    """The font that a canvas has to begin with: its own is one that is not embedded."""
    _glyphs()
    return f"distrib-{_FONTS[0]}"


def draw(canvas: Any, x: float, y: float, text: str, size: float) -> None:
    """Write ``text`` from ``x`` on the base line ``y``."""
    glyphs = _glyphs()
    nothing = ("", 0)
    line = None
    for font, run in groupby(text, key=lambda c: glyphs.get(ord(c), nothing)[0]):
        if font:
            if line is None:
                line = canvas.beginText(x, y)
            line.setFont(font, size)
            part = "".join(run)
            line.textOut(part)
            x += measure(part, size)
            continue
        if line is not None:
            canvas.drawText(line)
            line = None
        for character in run:
            _draw_box(canvas, x, y, character, size)
            x += measure(character, size)
    if line is not None:
        canvas.drawText(line)


def _draw_box(canvas: Any, x: float, y: float, character: str, size: float) -> None:
    """The code point's digits in two rows in a box."""
    width = measure(character, size)
    digits = f"{ord(character):04X}" if character <= "\uffff" else f"{ord(character):06X}"
    half = len(digits) // 2
    small = size * 0.44
    canvas.saveState()
    canvas.setLineWidth(size * 0.04)
    canvas.rect(x + size * 0.05, y - size * 0.14, width - size * 0.1, size, stroke=1, fill=0)
    canvas.setFont(base_font(), small)
    for row, part in enumerate((digits[:half], digits[half:])):
        left = x + (width - measure(part, small)) / 2
        canvas.drawString(left, y + size * (0.45 - 0.45 * row), part)
    canvas.restoreState()


def wrap(text: str, width: float, size: float) -> list[str]:
    """``text`` in lines of at most ``width`` points, at least one.

    Breaks at spaces and between Chinese characters, not before a closing mark nor after an opening
    one; a word that is wider than a line is cut. A line break in the text is one here.
    """
    if measure(text, size) <= width and text.isprintable():
        return [text]
    lines = []
    for paragraph in text.splitlines() or [""]:
        line = ""
        for piece in _pieces(paragraph):
            if measure((line + piece).rstrip(), size) <= width:
                line += piece
                continue
            if line.strip():
                lines.append(line.rstrip())
            line = piece.lstrip()
            while len(line) > 1 and measure(line.rstrip(), size) > width:
                fits = _fitting(line, width, size)
                lines.append(line[:fits])
                line = line[fits:]
        lines.append(line.rstrip())
    return lines


def _fitting(text: str, width: float, size: float) -> int:
    """How many characters of ``text`` fit, at least one."""
    return next((n for n in range(2, len(text)) if measure(text[:n], size) > width), len(text)) - 1


def _pieces(text: str) -> Iterator[str]:
    """What a line is not broken within: words with the space after them, and single characters of
    Chinese with the marks that belong to them."""
    start = 0
    for place in range(1, len(text)):
        before, after = text[place - 1], text[place]
        if after == " " or after in _NOT_FIRST or before in _NOT_LAST:
            continue
        if before == " " or _is_wide(before) or _is_wide(after):
            yield text[start:place]
            start = place
    if text:
        yield text[start:]


def _is_wide(character: str) -> bool:
    return ord(character) >= 0x2E80 or character in "“”‘’…—"
