"""Tax withheld from payouts: what a payer must keep back, by the law of the payee's country. Pure.

A regime says how much; :func:`find_regime` finds it, :func:`explain` tells why.
"""

from __future__ import annotations

from distrib.errors import InvalidInput
from distrib.settlement.tax.cn_labour import CN_LABOUR
from distrib.settlement.tax.cn_platform import CN_PLATFORM
from distrib.settlement.tax.explaining import explain
from distrib.settlement.tax.facts import Regime, Steps, TaxFacts, Withholding
from distrib.settlement.tax.none import NONE
from distrib.settlement.tax.united_states import UNITED_STATES

__all__ = [
    "REGIMES",
    "Regime",
    "Steps",
    "TaxFacts",
    "Withholding",
    "explain",
    "find_regime",
]

_VERSIONS = (NONE, CN_LABOUR, CN_PLATFORM, UNITED_STATES)
"""Every version of every regime, oldest first. One that ended stays: old payouts are explained
by it."""

REGIMES: dict[str, Regime] = {regime.code: regime for regime in _VERSIONS}
"""The newest version of each regime, by code."""


def find_regime(code: str, year: int) -> Regime:
    """The version of a regime that is the law in a tax year.

    :raises InvalidInput: when no regime has the code, or none of its versions is for the year.
    """
    if code not in REGIMES:
        raise InvalidInput(
            f"there is no tax regime {code!r}, only {', '.join(sorted(REGIMES))}",
            field="tax_regime",
        )
    for regime in _VERSIONS:
        if regime.code == code and regime.covers(year):
            return regime
    known = ", ".join(regime.version for regime in _VERSIONS if regime.code == code)
    raise InvalidInput(f"tax regime {code} is defined for {known}, not for {year}", field="year")
