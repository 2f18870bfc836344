"""Money: nothing is lost in dividing, rounding, reading or printing it."""

from __future__ import annotations

from decimal import ROUND_DOWN, ROUND_HALF_EVEN, ROUND_HALF_UP, Context, Decimal
from fractions import Fraction
from math import floor

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from distrib import money
from distrib.money import (
    MAX_AMOUNT,
    PPM,
    Rounding,
    allocate,
    format_amount,
    format_rate,
    parse_amount,
    parse_rate,
    round_ratio,
)

CURRENCIES = st.sampled_from(["CNY", "USD", "JPY", "KRW", "KWD", "BHD"])
AMOUNTS = st.integers(-(10**18), 10**18)

# -- allocate -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "total, shares, parts",
    [
        (100, [1, 1, 1], [34, 33, 33]),
        (101, [1, 1, 1], [34, 34, 33]),
        (2, [1, 1, 1], [1, 1, 0]),
        (100, [1, 0, 1], [50, 0, 50]),
        (1, [0, 0, 5], [0, 0, 1]),
        (10, [1, 2, 4], [1, 3, 6]),  # exact: 1.43, 2.86, 5.71: the larger remainders round up
        (5, [3, 3, 1], [2, 2, 1]),  # exact: 2.14, 2.14, 0.71
        (-100, [1, 1, 1], [-34, -33, -33]),
        (-1, [0, 1], [0, -1]),
        (0, [3, 4], [0, 0]),
        (0, [0, 0], [0, 0]),
        (0, [], []),
        (7, [10**18, 10**18 + 1], [3, 4]),
        (10**18 + 1, [1, 1], [500_000_000_000_000_001, 500_000_000_000_000_000]),
    ],
)
def test_allocate_by_largest_remainder(total: int, shares: list[int], parts: list[int]) -> None:
    assert allocate(total, shares) == parts


@pytest.mark.parametrize("total, shares", [(1, [0, 0]), (1, []), (-1, [0]), (1, [2, -1])])
def test_allocate_refuses(total: int, shares: list[int]) -> None:
    with pytest.raises(ValueError, match="share"):
        allocate(total, shares)


@given(
    AMOUNTS,
    st.lists(st.integers(0, 10**12), min_size=1, max_size=30).filter(
        lambda shares: sum(shares) > 0
    ),
)
def test_allocate_is_fair(total: int, shares: list[int]) -> None:
    parts = allocate(total, shares)
    exact = [Fraction(abs(total) * share, sum(shares)) for share in shares]
    assert sum(parts) == total
    assert all(part == 0 for part, share in zip(parts, shares, strict=True) if share == 0)
    sizes = [abs(part) for part in parts]
    assert all(total * part >= 0 for part in parts)
    assert all(floor(e) <= size <= floor(e) + 1 for e, size in zip(exact, sizes, strict=True))
    # whoever was rounded up had a remainder at least as large as whoever was not
    up = [e - floor(e) for e, size in zip(exact, sizes, strict=True) if size > e]
    down = [e - floor(e) for e, size in zip(exact, sizes, strict=True) if size < e]
    assert not up or not down or min(up) >= max(down)


@given(AMOUNTS, st.lists(st.integers(1, 1000), min_size=1, max_size=10))
def test_allocate_mirrors_negative_totals(total: int, shares: list[int]) -> None:
    assert allocate(-total, shares) == [-part for part in allocate(total, shares)]


# -- rounding -------------------------------------------------------------------------------------

DECIMAL_ROUNDING = {
    Rounding.DOWN: ROUND_DOWN,
    Rounding.HALF_UP: ROUND_HALF_UP,
    Rounding.HALF_EVEN: ROUND_HALF_EVEN,
}


@pytest.mark.parametrize(
    "numerator, denominator, down, half_up, half_even",
    [
        (0, 1, 0, 0, 0),
        (1, 2, 0, 1, 0),
        (3, 2, 1, 2, 2),
        (5, 2, 2, 3, 2),
        (1, 3, 0, 0, 0),
        (2, 3, 0, 1, 1),
        (7, 7, 1, 1, 1),
        (499_999, PPM, 0, 0, 0),
        (500_000, PPM, 0, 1, 0),
        (500_001, PPM, 0, 1, 1),
        (1_500_000, PPM, 1, 2, 2),
        (MAX_AMOUNT * PPM + 500_000, PPM, MAX_AMOUNT, MAX_AMOUNT + 1, MAX_AMOUNT),
    ],
)
def test_round_ratio(
    numerator: int, denominator: int, down: int, half_up: int, half_even: int
) -> None:
    assert [round_ratio(numerator, denominator, each) for each in Rounding] == [
        down,
        half_up,
        half_even,
    ]


@given(st.integers(0, 10**18), st.integers(1, 10**9), st.sampled_from(Rounding))
def test_round_ratio_is_what_fractions_say(
    numerator: int, denominator: int, rounding: Rounding
) -> None:
    exact = Fraction(numerator, denominator)
    expected = {
        Rounding.DOWN: floor(exact),
        Rounding.HALF_UP: floor(exact + Fraction(1, 2)),
        Rounding.HALF_EVEN: round(exact),  # a Fraction rounds half to even
    }[rounding]
    assert round_ratio(numerator, denominator, rounding) == expected


@given(st.integers(0, 10**18), st.integers(0, 12), st.sampled_from(Rounding))
def test_round_ratio_is_what_decimal_says(numerator: int, places: int, rounding: Rounding) -> None:
    context = Context(prec=60)
    exact = Decimal(numerator).scaleb(-places, context)
    expected = exact.quantize(Decimal(1), DECIMAL_ROUNDING[rounding], context)
    assert round_ratio(numerator, 10**places, rounding) == int(expected)


@pytest.mark.parametrize("numerator, denominator", [(-1, 2), (1, 0), (1, -2)])
def test_round_ratio_refuses(numerator: int, denominator: int) -> None:
    with pytest.raises(ValueError, match="numerator >= 0"):
        round_ratio(numerator, denominator, Rounding.DOWN)


# -- amounts --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "amount, currency, grouped, plain",
    [
        (0, "CNY", "0.00", "0.00"),
        (5, "CNY", "0.05", "0.05"),
        (123_456, "CNY", "1,234.56", "1234.56"),
        (-123_456, "CNY", "-1,234.56", "-1234.56"),
        (-5, "USD", "-0.05", "-0.05"),
        (1_000_000, "JPY", "1,000,000", "1000000"),
        (-1, "KRW", "-1", "-1"),
        (1_234_567, "KWD", "1,234.567", "1234.567"),
        (7, "BHD", "0.007", "0.007"),
        (MAX_AMOUNT, "CNY", "90,000,000,000.00", "90000000000.00"),
    ],
)
def test_format_amount(amount: int, currency: str, grouped: str, plain: str) -> None:
    assert format_amount(amount, currency) == grouped
    assert format_amount(amount, currency, grouped=False) == plain


@pytest.mark.parametrize(
    "text, currency, amount",
    [
        ("12.34", "CNY", 1234),
        ("12", "CNY", 1200),
        ("12.3", "CNY", 1230),
        ("12.3400", "CNY", 1234),
        ("0.05", "CNY", 5),
        ("-0.05", "CNY", -5),
        ("-0", "CNY", 0),
        ("007", "JPY", 7),
        ("7.000", "JPY", 7),
        ("1.234", "KWD", 1234),
        ("1.2", "KWD", 1200),
    ],
)
def test_parse_amount(text: str, currency: str, amount: int) -> None:
    assert parse_amount(text, currency) == amount


@pytest.mark.parametrize(
    "text, currency, reason",
    [
        ("12.345", "CNY", "more decimals than CNY has (2)"),
        ("0.5", "JPY", "more decimals than JPY has (0)"),
        ("0.0001", "KWD", "more decimals than KWD has (3)"),
        ("", "CNY", "not a decimal number"),
        (".5", "CNY", "not a decimal number"),
        ("5.", "CNY", "not a decimal number"),
        ("1,234.00", "CNY", "not a decimal number"),
        ("1_000", "CNY", "not a decimal number"),
        ("+1", "CNY", "not a decimal number"),
        (" 1", "CNY", "not a decimal number"),
        ("1\n", "CNY", "not a decimal number"),
        ("1e3", "CNY", "not a decimal number"),
        ("NaN", "CNY", "not a decimal number"),
        ("١٢", "CNY", "not a decimal number"),
        ("１２", "CNY", "not a decimal number"),
        ("1", "XXX", "not an ISO 4217 currency"),
        ("1", "cny", "not an ISO 4217 currency"),
    ],
)
def test_parse_amount_refuses(text: str, currency: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason.replace("(", r"\(").replace(")", r"\)")):
        parse_amount(text, currency)


@given(AMOUNTS, CURRENCIES)
def test_amounts_survive_printing_and_reading(amount: int, currency: str) -> None:
    text = format_amount(amount, currency, grouped=False)
    assert parse_amount(text, currency) == amount
    assert Decimal(text) == Decimal(amount).scaleb(-money.exponent(currency))
    assert format_amount(amount, currency).replace(",", "") == text


# -- rates ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, ppm",
    [
        ("0%", 0),
        ("0.0001%", 1),
        ("2%", 20_000),
        ("12.5%", 125_000),
        ("33.3333%", 333_333),
        ("99.9999%", 999_999),
        ("100%", PPM),
    ],
)
def test_rates(text: str, ppm: int) -> None:
    assert parse_rate(text) == ppm
    assert format_rate(ppm) == text


@pytest.mark.parametrize("text, ppm", [("05%", 50_000), ("5.00000%", 50_000), ("100.0%", PPM)])
def test_rates_may_carry_zeros(text: str, ppm: int) -> None:
    assert parse_rate(text) == ppm


@pytest.mark.parametrize(
    "text, reason",
    [
        ("10", "is not a rate"),
        ("", "is not a rate"),
        ("%", "is not a rate"),
        ("0.1", "is not a rate"),
        ("ten%", "is not a rate"),
        ("1,5%", "is not a rate"),
        ("10%%", "is not a rate"),
        ("NaN%", "is not a rate"),
        ("Infinity%", "is not a rate"),
        ("1_0%", "is not a rate"),
        (" 10%", "is not a rate"),
        ("10 %", "is not a rate"),
        ("+10%", "is not a rate"),
        ("1e1%", "is not a rate"),
        ("1e9999999%", "is not a rate"),
        ("1e-9999999%", "is not a rate"),
        ("１０%", "is not a rate"),
        ("-1%", "outside 0% to 100%"),
        ("100.0001%", "outside 0% to 100%"),
        ("101%", "outside 0% to 100%"),
        ("0.00001%", "finer than 0.0001%"),
        ("12.50000000000000000000000000000000001%", "finer than 0.0001%"),
        ("99.99999999999999999999999999999999999%", "finer than 0.0001%"),
        ("100.00000000000000000000000000000000001%", "outside 0% to 100%"),
    ],
)
def test_rates_are_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_rate(text)


@given(st.integers(0, PPM))
@example(10_000)
def test_rates_survive_printing_and_reading(ppm: int) -> None:
    text = format_rate(ppm)
    assert parse_rate(text) == ppm
    assert Decimal(text.removesuffix("%")) * 10_000 == ppm


# -- currencies -----------------------------------------------------------------------------------


def test_currencies_have_their_decimals() -> None:
    assert {money.exponent(code) for code in ("CNY", "EUR", "USD")} == {2}
    assert {money.exponent(code) for code in ("JPY", "KRW", "VND")} == {0}
    assert {money.exponent(code) for code in ("KWD", "BHD", "TND")} == {3}
    assert all(len(code) == 3 and code.isupper() for code in money.EXPONENTS)


def test_the_largest_amount_times_the_largest_rate_fits_64_bits() -> None:
    assert MAX_AMOUNT * PPM < 2**63
