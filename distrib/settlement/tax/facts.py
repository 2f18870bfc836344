"""What a withholding is worked out from, what it says, and what a regime is. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction

from distrib.errors import InvalidInput

Steps = tuple[tuple[str, int | Fraction], ...]
"""Named values in the order in which they follow from each other. Money is in minor units (a
fraction where the law asks for no rounding yet), a name that ends in ``_ppm`` is a rate in parts
per million, and ``months`` a count."""


@dataclass(frozen=True, slots=True)
class TaxFacts:
    """One payout and what its payee had before it from the same payer. Money in minor units.

    :param amount: gross of this payout, zero or above.
    :param month_gross: gross of earlier payouts of the same month; ``month_withheld`` their tax.
    :param year_gross: gross of earlier payouts of the same tax year, this month's included;
        ``year_withheld`` their tax.
    :param months: consecutive months with income in this tax year, up to and including this one,
        1 to 12. How a regime counts them is said there.
    :param has_tax_id: the payee has given a tax number.
    :param year: the tax year the payout falls into; ``month`` 1 to 12.
    """

    amount: int
    month_gross: int
    month_withheld: int
    year_gross: int
    year_withheld: int
    months: int
    has_tax_id: bool
    year: int
    month: int


@dataclass(frozen=True, slots=True)
class Withholding:
    """The tax kept back from a payout: 0 <= ``tax`` < the payout's gross, or zero of a zero."""

    tax: int
    facts: TaxFacts
    _tell: Callable[[TaxFacts], Steps] = field(repr=False, compare=False)

    @property
    def steps(self) -> Steps:
        """From the facts to the tax, for somebody with a calculator. Worked out when asked for:
        a batch has a hundred thousand of them, and few are looked at."""
        return self._tell(self.facts)


@dataclass(frozen=True, slots=True)
class Regime:
    """A rule of withholding as it stood from one tax year to another.

    :param version: the dates between which it is the law, ``2019-01-01..`` when it still is.
    :param first: first tax year; ``last`` the last, or None.
    :param start: first month of the first tax year.
    :param currency: what its amounts are defined in, or None when it has none.
    :param asks_tax_id: whether having a tax number changes what is withheld.
    :param compute: facts to tax, fast; ``tell`` the same, step by step.
    """

    code: str
    version: str
    first: int
    last: int | None
    start: int
    currency: str | None
    asks_tax_id: bool
    compute: Callable[[TaxFacts], int]
    tell: Callable[[TaxFacts], Steps]

    def covers(self, year: int, month: int = 12) -> bool:
        """Whether it is the law in a month."""
        return (self.first, self.start) <= (year, month) and (
            self.last is None or year <= self.last
        )

    def withhold(self, facts: TaxFacts) -> Withholding:
        """The tax to keep back from a payout.

        :raises InvalidInput: when the regime is not the law in that month.
        :raises ValueError: when a fact is not what :class:`TaxFacts` says it is.
        """
        if not self.covers(facts.year, facts.month):
            raise InvalidInput(
                f"tax regime {self.code} is defined for {self.version}, not for"
                f" {facts.year}-{facts.month:02d}",
                field="month" if self.covers(facts.year) else "year",
            )
        if facts.amount < 0 or not 1 <= facts.months <= 12:
            raise ValueError(f"no payout has the facts {facts}")
        return Withholding(self.compute(facts), facts, self.tell)


def plain(value: Fraction) -> int | Fraction:
    """An integer where it is one."""
    return value.numerator if value.denominator == 1 else value


def keep_back(due: int, before: int, amount: int) -> int:
    """What of ``due`` is taken from a payout, when ``before`` was taken from earlier ones.

    Never below zero (what was taken too much the year's settlement gives back), and never the
    whole payout: a payee is paid at least one minor unit, and the next payout makes up for it.
    """
    return max(0, min(due - before, amount - 1))
