"""United States: nothing is withheld, unless the payee has given no TIN. Pure.

Internal Revenue Code §3406 (a) (1) (A): backup withholding, at the fourth lowest rate of §1 (c),
24 % since 2018 (made permanent by Public Law 119-21, 2025). Here it is kept back from the first
dollar; docs/tax.md says where the law would let a payer wait. Rounded to the cent, half up.
"""

from __future__ import annotations

from distrib.money import PPM
from distrib.settlement.tax.facts import Regime, Steps, TaxFacts, keep_back

_RATE = 240_000

_CENTS = 100


def compute(facts: TaxFacts) -> int:
    """24 % of the payout without a TIN, else nothing. Each payout stands for itself."""
    if facts.has_tax_id:
        return 0
    return keep_back((facts.amount * _RATE + PPM // 2) // PPM, 0, facts.amount)


def tell(facts: TaxFacts) -> Steps:
    """The same in steps."""
    rate = 0 if facts.has_tax_id else _RATE
    return (("amount", facts.amount), ("rate_ppm", rate), ("tax", compute(facts)))


def threshold_1099(year: int) -> int:
    """From how many cents a year on a payer files Form 1099-NEC (§6041 (a), §6041A (a)).

    600 dollars; 2,000 from 2026 (Public Law 119-21, §70433). From 2027 on the law raises it with
    prices; this stays at 2,000, which can only file too many.
    """
    return (2_000 if year >= 2026 else 600) * _CENTS


def needs_1099(year: int, total: int, *, withheld: int = 0) -> bool:
    """Whether a payee who got ``total`` cents in ``year`` needs the form. Whoever had backup
    withholding does, however little it was."""
    return total >= threshold_1099(year) or withheld > 0


UNITED_STATES = Regime(
    code="us_1099",
    version="2018-01-01..",
    first=2018,
    last=None,
    start=1,
    currency="USD",
    asks_tax_id=True,
    compute=compute,
    tell=tell,
)
