"""China's two regimes: worked examples, and what splitting and order cannot change."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distrib.errors import InvalidInput
from distrib.money import PPM, Rounding, parse_amount, round_ratio
from distrib.settlement.tax import (
    REGIMES,
    TaxFacts,
    Withholding,
    cn_labour,
    cn_platform,
    find_regime,
)
from distrib.settlement.tax.brackets import Brackets

YUAN = 100
LABOUR = find_regime("cn_labour", 2026)
PLATFORM = find_regime("cn_platform", 2026)

# a fen can carry no tax and leave something to pay; see keep_back
PARTS = st.lists(st.integers(2, 20_000_000) | st.integers(2, 90_000), min_size=1, max_size=12)
AMOUNTS = st.integers(0, 10**12) | st.integers(0, 500_000)


def in_month(amounts: list[int]) -> list[int]:
    """What the labour regime withholds from payouts of one month."""
    gross = 0
    withheld: list[int] = []
    for amount in amounts:
        facts = TaxFacts(amount, gross, sum(withheld), gross, sum(withheld), 1, True, 2026, 5)
        withheld.append(LABOUR.withhold(facts).tax)
        gross += amount
    return withheld


def in_year(payouts: list[tuple[int, int]]) -> list[int]:
    """What the platform regime withholds from payouts (month, amount) of one year."""
    gross = 0
    withheld: list[int] = []
    paid: set[int] = set()
    for month, amount in payouts:
        months = cn_platform.count_months(paid, month)
        facts = TaxFacts(amount, 0, 0, gross, sum(withheld), months, True, 2026, month)
        withheld.append(PLATFORM.withhold(facts).tax)
        gross += amount
        paid.add(month)
    return withheld


@pytest.mark.parametrize(
    "gross,tax",
    [
        (0, "0"),
        (800, "0"),
        (801, "0.20"),
        (3_000, "440"),
        (4_000, "640"),
        (4_001, "640.16"),
        (5_000, "800"),
        (25_000, "4000"),
        (25_001, "4000.24"),
        (30_000, "5200"),
        (62_500, "13000"),
        (62_501, "13000.32"),
        (100_000, "25000"),
    ],
)
def test_labour_of_a_month(gross: int, tax: str) -> None:
    assert in_month([gross * YUAN]) == [parse_amount(tax, "CNY")]


@pytest.mark.parametrize(
    "amounts,taxes",
    [
        ([3_000, 3_000], [440, 520]),
        ([800, 3_200], [0, 640]),
        ([10_000, 10_000, 10_000], [1_600, 1_600, 2_000]),
        ([500, 500], [0, 40]),
    ],
)
def test_labour_counts_the_month_as_one(amounts: list[int], taxes: list[int]) -> None:
    assert in_month([a * YUAN for a in amounts]) == [t * YUAN for t in taxes]


@pytest.mark.parametrize(
    "monthly,taxes",
    [
        (6_000, ["0"] * 12),
        (6_250, ["0"] * 12),
        (6_251, ["0.02", "0.03", "0.02"]),  # 0.024 a month, cumulated before it is rounded
        (10_000, ["90", "90", "90"]),
        (30_000, ["570", "710", "1900"]),
        (100_000, ["4980", "8100", "15000", "15000", "18750"]),
    ],
)
def test_platform_of_a_year(monthly: int, taxes: list[str]) -> None:
    payouts = [(month, monthly * YUAN) for month in range(1, len(taxes) + 1)]
    assert in_year(payouts) == [parse_amount(tax, "CNY") for tax in taxes]


def test_platform_never_gives_back() -> None:
    # a good month, then small ones: the due falls below what was withheld
    assert in_year([(1, 50_000 * YUAN), (2, 1_000 * YUAN), (3, 1_000 * YUAN)]) == [
        105_000,
        52_000 - 52_000,
        0,
    ]


@pytest.mark.parametrize(
    "paid,month,months",
    [
        (set(), 1, 1),
        (set(), 10, 1),
        ({1}, 1, 1),
        ({1}, 2, 2),
        ({1, 2, 3}, 4, 4),
        ({1, 2, 3}, 5, 1),
        ({1, 2, 4, 5}, 6, 3),
        (set(range(1, 12)), 12, 12),
        ({0, 1}, 2, 2),
    ],
)
def test_months_run_back_to_the_last_gap(paid: set[int], month: int, months: int) -> None:
    assert cn_platform.count_months(paid, month) == months


@given(PARTS)
def test_labour_is_the_same_however_a_month_is_split(parts: list[int]) -> None:
    """The due never falls when gross grows, so the parts add up to the due of the sum."""
    assert sum(in_month(parts)) == cn_labour.due_on(sum(parts))


@given(AMOUNTS, AMOUNTS)
def test_labour_due_never_falls(gross: int, more: int) -> None:
    assert cn_labour.due_on(gross) <= cn_labour.due_on(gross + more)


@given(st.lists(st.integers(0, 300_000) | st.integers(0, 20_000_000), min_size=1, max_size=12))
def test_platform_withholds_the_highest_due_of_the_year(amounts: list[int]) -> None:
    """Month by month without a gap: the sum is the due of the year at its highest, and the due of
    the whole year when that is the highest. Amounts of one fen are the exception."""
    amounts = [0 if amount == 1 else amount for amount in amounts]
    taxes = in_year(list(enumerate(amounts, start=1)))
    dues = [
        cn_platform.due_on(sum(amounts[:months]), months) for months in range(1, len(amounts) + 1)
    ]
    reached = max((due for due, amount in zip(dues, amounts, strict=True) if amount), default=0)
    assert sum(taxes) == reached
    if all(amount * 4 >= 5_000 * YUAN * 5 for amount in amounts):
        assert sum(taxes) == dues[-1]


@given(PARTS, st.integers(1, 12))
def test_platform_is_the_same_however_a_month_is_split(parts: list[int], month: int) -> None:
    together = in_year([(month, sum(parts))])
    assert [sum(in_year([(month, part) for part in parts]))] == together


@given(
    st.sampled_from(sorted(REGIMES)),
    st.lists(AMOUNTS, min_size=5, max_size=5),
    st.integers(1, 12),
    st.booleans(),
)
def test_a_payout_is_never_taken_whole(
    code: str, amounts: list[int], months: int, has_tax_id: bool
) -> None:
    """Whatever was withheld before, right or wrong."""
    amount, month_gross, month_withheld, year_gross, year_withheld = amounts
    facts = TaxFacts(
        amount,
        month_gross,
        month_withheld,
        year_gross,
        year_withheld,
        months,
        has_tax_id,
        2026,
        12,
    )
    tax = find_regime(code, 2026).withhold(facts).tax
    assert 0 <= tax < amount or tax == amount == 0


@given(st.sampled_from(["cn_labour", "cn_platform"]), AMOUNTS, AMOUNTS, st.integers(1, 12))
def test_steps_lead_to_the_tax(code: str, amount: int, before: int, months: int) -> None:
    """Each step again from those before it, by the definition of rounding in ``money``."""
    facts = TaxFacts(amount, before, before // 9, before, before // 9, months, True, 2026, 12)
    found: Withholding = find_regime(code, 2026).withhold(facts)
    at = dict(found.steps)
    assert at["gross"] == amount + before
    left = at["gross"] - at["expenses"] - at.get("deduction", 0)
    assert at["taxable"] == max(0, left)
    exact = max(Fraction(0), Fraction(at["taxable"]) * at["rate_ppm"] / PPM - at["quick"])
    assert at["due"] == round_ratio(exact.numerator, exact.denominator, Rounding.HALF_UP)
    assert at["tax"] == max(0, min(at["due"] - at["withheld"], amount - 1)) == found.tax


@pytest.mark.parametrize("table", [cn_labour.RATES, cn_platform.RATES])
def test_no_jump_between_brackets(table: Brackets) -> None:
    for end in [20_000, 50_000, 36_000, 144_000, 300_000, 420_000, 660_000, 960_000]:
        fifths = end * YUAN * 5
        assert 0 <= table.tax(fifths + 5) - table.tax(fifths) <= 1


def test_platform_begins_in_october_2025() -> None:
    facts = TaxFacts(1_000_000, 0, 0, 0, 0, 1, True, 2025, 10)
    assert find_regime("cn_platform", 2025).withhold(facts).tax == 9_000
    early = TaxFacts(1_000_000, 0, 0, 0, 0, 1, True, 2025, 9)
    with pytest.raises(InvalidInput, match="not for 2025-09") as caught:
        PLATFORM.withhold(early)
    assert caught.value.field == "month"
