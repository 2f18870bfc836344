"""China: labour remuneration (劳务报酬所得), each month one occurrence. Pure.

Individual Income Tax Law, art. 6; its Implementation Rules, art. 14 (1): what is paid for the same
item in a month is one occurrence; STA announcement 2018 no. 61, art. 8, and its rate table 2.
Residents only. Rounded once, to the fen, half up.
"""

from __future__ import annotations

from fractions import Fraction

from distrib.settlement.tax.brackets import FEN, FIFTHS, Brackets
from distrib.settlement.tax.facts import Regime, Steps, TaxFacts, keep_back, plain

RATES = Brackets(((20_000, 20, 0), (50_000, 30, 2_000), (None, 40, 7_000)))

_SMALL = 4_000 * FEN
_FLAT = 800 * FEN


def _taxable(gross: int) -> int:
    """In fifths of a fen. Up to 4,000 yuan 800 are taken off, above it a fifth."""
    return FIFTHS * (gross - _FLAT) if gross <= _SMALL else (FIFTHS - 1) * gross


def due_on(gross: int) -> int:
    """The tax on all that a person got in a month. It never falls when ``gross`` grows."""
    return RATES.tax(_taxable(gross))


def compute(facts: TaxFacts) -> int:
    """The tax on the month so far, less what was withheld in it."""
    return keep_back(due_on(facts.month_gross + facts.amount), facts.month_withheld, facts.amount)


def tell(facts: TaxFacts) -> Steps:
    """The same in steps."""
    gross = facts.month_gross + facts.amount
    taxable = max(0, _taxable(gross))
    rate, quick = RATES.find(taxable)
    base = Fraction(taxable, FIFTHS)
    return (
        ("amount", facts.amount),
        ("gross", gross),
        ("expenses", plain(gross - base)),
        ("taxable", plain(base)),
        ("rate_ppm", rate),
        ("quick", quick),
        ("due", due_on(gross)),
        ("withheld", facts.month_withheld),
        ("tax", compute(facts)),
    )


CN_LABOUR = Regime(
    code="cn_labour",
    version="2019-01-01..",
    first=2019,
    last=None,
    start=1,
    currency="CNY",
    asks_tax_id=False,
    compute=compute,
    tell=tell,
)
