"""A simulation drawn: bars of what would have been paid, beside what was. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from distrib.commission.simulation_report import Report, Share
from distrib.money import format_amount, format_rate

MOST_BARS = 8
"""Categories or channels that are drawn."""

_WIDTH, _LEFT, _RIGHT = 880, 200, 210
_ROW, _BAR, _HEAD = 40, 12, 96
_INK, _FAINT, _SIMULATED, _PAID = "#1f2933", "#7b8794", "#2563eb", "#cbd2d9"


@dataclass(frozen=True, slots=True)
class Bar:
    """A pair of bars. ``group`` is the heading that it stands under."""

    group: str
    name: str
    simulated: int
    paid: int


def bars_of(report: Report) -> list[Bar]:
    """What is drawn of a report, in order; amounts in minor units."""
    bars = [Bar("Total", "all orders", report.simulated, report.paid)]
    bars += [
        Bar("By level", f"level {level}", *amounts)
        for level, amounts in enumerate(report.levels, 1)
        if any(amounts)
    ]
    for group, shares in (
        ("By category", report.categories),
        ("By channel", report.channels),
    ):
        paying = [each for each in shares if each.simulated or each.paid]
        if len(paying) > 1:
            bars += [Bar(group, name_of(e), e.simulated, e.paid) for e in paying[:MOST_BARS]]
    return bars


def name_of(share: Share) -> str:
    """How a category or channel is called."""
    if share.others:
        return f"{share.others} others"
    return "(none)" if share.name is None else share.name


def draw_svg(report: Report, title: str) -> str:
    """The report as an SVG document."""
    bars = bars_of(report)
    groups = list(dict.fromkeys(bar.group for bar in bars))
    most = max([1, *(max(bar.simulated, bar.paid) for bar in bars)])
    room = _WIDTH - _LEFT - _RIGHT
    height = _HEAD + _ROW * len(bars) + 34 * len(groups)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}"'
        f' width="{_WIDTH}" height="{height}" font-family="system-ui, sans-serif" font-size="13">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
        _text(24, 34, title, size=18, weight=600),
        _text(24, 56, _words(report), fill=_FAINT),
        f'<rect x="24" y="70" width="12" height="12" fill="{_SIMULATED}"/>',
        _text(42, 81, "would have been paid"),
        f'<rect x="200" y="70" width="12" height="12" fill="{_PAID}"/>',
        _text(218, 81, "was paid"),
    ]
    at, group = _HEAD, ""
    for bar in bars:
        if bar.group != group:
            group = bar.group
            at += 34
            parts.append(_text(24, at - 10, group, weight=600))
        parts.append(_text(24, at + 17, _short(bar.name)))
        for n, (amount, colour) in enumerate(((bar.simulated, _SIMULATED), (bar.paid, _PAID))):
            top = at + 2 + n * (_BAR + 2)
            width = max(amount, 0) * room // most
            parts.append(
                f'<rect x="{_LEFT}" y="{top}" width="{width}" height="{_BAR}" fill="{colour}"/>'
            )
            shown = format_amount(amount, report.currency)
            parts.append(_text(_LEFT + width + 6, top + 11, shown, size=11, fill=_FAINT))
        at += _ROW
    return "\n".join([*parts, "</svg>", ""])


def _words(report: Report) -> str:
    said = f"{report.orders:,} orders, {report.first_day} to {report.last_day}, {report.currency}"
    if report.cost_ppm is not None and report.paid_ppm is not None:
        said += (
            f"; {format_rate(report.cost_ppm)} of sales instead of {format_rate(report.paid_ppm)}"
        )
    return said


def _short(name: str) -> str:
    return name if len(name) <= 22 else f"{name[:21]}…"


def _text(
    x: int, y: int, words: str, *, size: int = 13, weight: int = 400, fill: str = _INK
) -> str:
    return (
        f'<text x="{x}" y="{y}" font-size="{size}" font-weight="{weight}" fill="{fill}">'
        f"{escape(words)}</text>"
    )
