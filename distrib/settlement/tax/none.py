"""Nothing is withheld: the payee answers for the tax. Pure."""

from __future__ import annotations

from distrib.settlement.tax.facts import Regime, Steps, TaxFacts


def compute(facts: TaxFacts) -> int:  # noqa: ARG001 (every regime is asked alike)
    """Zero."""
    return 0


def tell(facts: TaxFacts) -> Steps:
    """The amount, and zero."""
    return (("amount", facts.amount), ("tax", 0))


NONE = Regime(
    code="none",
    version="always",
    first=1,
    last=None,
    start=1,
    currency=None,
    asks_tax_id=False,
    compute=compute,
    tell=tell,
)
