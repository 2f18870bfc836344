"""China: cumulative withholding by internet platforms (累计预扣法). Pure.

STA announcement 2025 no. 16, art. 1 (1), in force since 2025-10-01:

    tax = (income × 0.8 − 5,000 × months − …) × rate − quick deduction − … − withheld

where each is the sum of the tax year at this platform, and the rates are those of table 1 of STA
announcement 2018 no. 61. Rounded once, to the fen, half up.

``months`` is, in the words of the announcement, the number of months "of the year up to this month
in which the taxpayer continuously got labour remuneration from this platform"
(当年截至本月在本互联网平台企业连续取得劳务报酬的月份数): this month, and those right before it in
the same calendar year, back to the last one without any. :func:`count_months` counts so.
"""

from __future__ import annotations

from collections.abc import Collection
from fractions import Fraction

from distrib.settlement.tax.brackets import FEN, FIFTHS, Brackets
from distrib.settlement.tax.facts import Regime, Steps, TaxFacts, keep_back, plain

RATES = Brackets(
    (
        (36_000, 3, 0),
        (144_000, 10, 2_520),
        (300_000, 20, 16_920),
        (420_000, 25, 31_920),
        (660_000, 30, 52_920),
        (960_000, 35, 85_920),
        (None, 45, 181_920),
    )
)

_A_MONTH = 5_000 * FEN


def count_months(paid: Collection[int], month: int) -> int:
    """The run of months that ends with ``month``, itself included.

    :param paid: the months of the same year (1 to 12) in which something was paid.
    """
    first = month
    while first - 1 in paid and first > 1:
        first -= 1
    return month - first + 1


def due_on(gross: int, months: int) -> int:
    """The tax on all that a person got in a year."""
    return RATES.tax((FIFTHS - 1) * gross - FIFTHS * _A_MONTH * months)


def compute(facts: TaxFacts) -> int:
    """The tax on the year so far, less what was withheld in it."""
    return keep_back(
        due_on(facts.year_gross + facts.amount, facts.months), facts.year_withheld, facts.amount
    )


def tell(facts: TaxFacts) -> Steps:
    """The same in steps. ``taxable`` is zero when the deductions are more than the income."""
    gross = facts.year_gross + facts.amount
    expenses = Fraction(gross, FIFTHS)
    taxable = max(Fraction(0), gross - expenses - _A_MONTH * facts.months)
    rate, quick = RATES.find(int(taxable * FIFTHS))
    return (
        ("amount", facts.amount),
        ("gross", gross),
        ("expenses", plain(expenses)),
        ("months", facts.months),
        ("deduction", _A_MONTH * facts.months),
        ("taxable", plain(taxable)),
        ("rate_ppm", rate),
        ("quick", quick),
        ("due", due_on(gross, facts.months)),
        ("withheld", facts.year_withheld),
        ("tax", compute(facts)),
    )


CN_PLATFORM = Regime(
    code="cn_platform",
    version="2025-10-01..",
    first=2025,
    last=None,
    start=10,
    currency="CNY",
    asks_tax_id=False,
    compute=compute,
    tell=tell,
)
