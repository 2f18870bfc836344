"""The registry, the United States, no regime, and the words of all of them."""

from __future__ import annotations

import pytest

from distrib.errors import InvalidInput
from distrib.settlement.tax import REGIMES, TaxFacts, explain, find_regime
from distrib.settlement.tax.united_states import needs_1099


def facts(amount: int, before: int = 0, withheld: int = 0, tax_id: bool = True) -> TaxFacts:
    """A payout in May 2026, the fifth month in a row."""
    return TaxFacts(amount, before, withheld, before, withheld, 5, tax_id, 2026, 5)


def told(code: str, of: TaxFacts, language: str) -> str:
    """The explanation."""
    regime = find_regime(code, 2026)
    return explain(regime.withhold(of), regime, language)


@pytest.mark.parametrize(
    "amount,tax_id,tax",
    [
        (100_00, True, 0),
        (100_00, False, 24_00),
        (1, False, 0),
        (2, False, 0),
        (3, False, 1),
        (23, False, 6),  # 5.52
        (0, False, 0),
    ],
)
def test_backup_withholding(amount: int, tax_id: bool, tax: int) -> None:
    assert find_regime("us_1099", 2026).withhold(facts(amount, tax_id=tax_id)).tax == tax


@pytest.mark.parametrize(
    "year,total,withheld,needed",
    [
        (2025, 599_99, 0, False),
        (2025, 600_00, 0, True),
        (2026, 1_999_99, 0, False),
        (2026, 2_000_00, 0, True),
        (2026, 10_00, 2_40, True),
        (2030, 2_000_00, 0, True),
    ],
)
def test_who_gets_a_1099(year: int, total: int, withheld: int, needed: bool) -> None:
    assert needs_1099(year, total, withheld=withheld) is needed


def test_nothing_is_nothing() -> None:
    assert find_regime("none", 1999).withhold(facts(10**12)).tax == 0


def test_codes_and_currencies() -> None:
    assert {code: (r.code, r.currency, r.asks_tax_id) for code, r in REGIMES.items()} == {
        "none": ("none", None, False),
        "cn_labour": ("cn_labour", "CNY", False),
        "cn_platform": ("cn_platform", "CNY", False),
        "us_1099": ("us_1099", "USD", True),
    }


@pytest.mark.parametrize(
    "code,year,field,message",
    [
        ("fr", 2026, "tax_regime", "there is no tax regime 'fr', only cn_labour"),
        ("cn_labour", 2018, "year", "cn_labour is defined for 2019-01-01.., not for 2018"),
        ("cn_platform", 2024, "year", "cn_platform is defined for 2025-10-01.., not for 2024"),
    ],
)
def test_unknown_regimes(code: str, year: int, field: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        find_regime(code, year)
    assert caught.value.field == field


def test_facts_that_cannot_be() -> None:
    regime = find_regime("cn_platform", 2026)
    for wrong in [
        facts(-1),
        TaxFacts(1, 0, 0, 0, 0, 0, True, 2026, 1),
        TaxFacts(1, 0, 0, 0, 0, 13, True, 2026, 1),
    ]:
        with pytest.raises(ValueError, match="no payout has the facts"):
            regime.withhold(wrong)


def test_steps_of_labour() -> None:
    assert find_regime("cn_labour", 2026).withhold(facts(3_000_00, 3_000_00, 440_00)).steps == (
        ("amount", 300_000),
        ("gross", 600_000),
        ("expenses", 120_000),
        ("taxable", 480_000),
        ("rate_ppm", 200_000),
        ("quick", 0),
        ("due", 96_000),
        ("withheld", 44_000),
        ("tax", 52_000),
    )


@pytest.mark.parametrize(
    "code,of,english,chinese",
    [
        (
            "cn_labour",
            facts(3_000_00, 3_000_00, 440_00),
            "Labour remuneration, each month one occurrence: with this payout of 3,000.00 the month"
            " comes to 6,000.00; less expenses of 1,200.00 that leaves 4,800.00, and 4,800.00 × 20%"
            " = 960.00. Of that 440.00 was withheld before; 520.00 remains.",
            "劳务报酬所得（以一个月内取得的收入为一次）：连同本次 3,000.00，当月收入 6,000.00；"
            "减除费用 1,200.00，预扣预缴应纳税所得额 4,800.00；4,800.00 × 20% = 960.00。"
            "减去此前已预扣 440.00，本次预扣 520.00。",
        ),
        (
            "cn_labour",
            facts(5_000_01),
            "Labour remuneration, each month one occurrence: with this payout of 5,000.01 the month"
            " comes to 5,000.01; less expenses of 1,000.002 that leaves 4,000.008, and 4,000.008 ×"
            " 20% = 800.00, rounded half up. Nothing was withheld before, so 800.00 is.",
            "劳务报酬所得（以一个月内取得的收入为一次）：连同本次 5,000.01，当月收入 5,000.01；"
            "减除费用 1,000.002，预扣预缴应纳税所得额 4,000.008；"
            "4,000.008 × 20% = 800.00（四舍五入至分）。此前未预扣，本次预扣 800.00。",
        ),
        (
            "cn_labour",
            facts(500_00),
            "The deductions leave nothing to tax (500.00 so far).",
            "减除费用后没有应纳税所得额（累计收入 500.00）。",
        ),
        (
            "cn_platform",
            facts(30_000_00, 120_000_00, 6_580_00),
            "Cumulative withholding by an internet platform: with this payout of 30,000.00 the year"
            " comes to 150,000.00; less expenses of 20% (30,000.00) and 5,000.00 for each of 5"
            " consecutive months (25,000.00) that leaves 95,000.00, and 95,000.00 × 10% − 2,520.00"
            " = 6,980.00. Of that 6,580.00 was withheld before; 400.00 remains.",
            "互联网平台企业累计预扣：连同本次 30,000.00，本年累计收入 150,000.00；减除累计费用"
            "（20%）30,000.00、累计减除费用 25,000.00（5,000.00 × 连续 5 个月），"
            "累计预扣预缴应纳税所得额 95,000.00；95,000.00 × 10% − 2,520.00 = 6,980.00。"
            "减去此前已预扣 6,580.00，本次预扣 400.00。",
        ),
        (
            "us_1099",
            facts(100_01, tax_id=False),
            "Without a TIN there is backup withholding: 100.01 × 24% = 24.00, rounded half up.",
            "收款人未提供纳税人识别号（TIN），实行备用预扣：100.01 × 24% = 24.00（四舍五入至分）。",
        ),
        (
            "us_1099",
            facts(100_00),
            "The payee has given a TIN, so nothing is withheld from 100.00.",
            "收款人已提供纳税人识别号（TIN），本次付款 100.00 不预扣税款。",
        ),
        (
            "none",
            facts(100_00),
            "Nothing is withheld from 100.00; the payee declares the income.",
            "本次付款 100.00 不预扣税款，由收款人自行申报。",
        ),
    ],
)
def test_explanations(code: str, of: TaxFacts, english: str, chinese: str) -> None:
    assert told(code, of, "en") == english
    assert told(code, of, "zh") == chinese


def test_explanations_of_too_much_and_too_little() -> None:
    enough = told("cn_platform", facts(1_000_00, 40_000_00, 500_00), "en")
    assert enough.endswith(
        "= 234.00. 500.00 was withheld before, which is enough; nothing more is."
    )
    limited = told("cn_labour", facts(1_00, 30_000_00, 0), "en")
    assert limited.endswith("0.99 is withheld and the next payout makes up for it.")
    with pytest.raises(InvalidInput) as caught:
        told("none", facts(1), "fr")
    assert caught.value.field == "language"
