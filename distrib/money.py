"""Money as integers: parsing, printing, rounding and dividing without loss.

An amount is an ``int`` in minor units (fen, cents, yen) beside a currency code. A rate is an
``int`` in parts per million. Nothing here, and nothing that uses it, sees a float.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from fractions import Fraction

PPM = 1_000_000
"""Parts per million in a whole: the finest rate a plan can name is 0.0001 %."""

MAX_AMOUNT = 9_000_000_000_000
"""Largest amount of one order in minor units. Its product with a rate still fits 64 bits."""

# ISO 4217: the currencies whose minor unit is not a hundredth.
_NO_DECIMALS = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_THREE_DECIMALS = "BHD IQD JOD KWD LYD OMR TND"
_TWO_DECIMALS = (
    "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP BYN BZD "
    "CAD CDF CHF CNY COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD "
    "GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD "
    "MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP "
    "PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS "
    "TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD YER ZAR ZMW ZWG"
)
EXPONENTS: dict[str, int] = {
    **dict.fromkeys(_TWO_DECIMALS.split(), 2),
    **dict.fromkeys(_NO_DECIMALS.split(), 0),
    **dict.fromkeys(_THREE_DECIMALS.split(), 3),
}
"""Decimals of each accepted currency (ISO 4217, active codes)."""

_DECIMAL = re.compile(r"-?[0-9]+(\.[0-9]+)?")


class Rounding(StrEnum):
    """How a product that is no whole number of minor units becomes one."""

    DOWN = "down"
    HALF_UP = "half_up"
    HALF_EVEN = "half_even"


def round_ratio(numerator: int, denominator: int, rounding: Rounding) -> int:
    """Round ``numerator / denominator`` (numerator >= 0, denominator > 0) to an integer.

    This is the plain definition; the engine's columns and the tests both answer to it.
    """
    if numerator < 0 or denominator <= 0:
        raise ValueError("round_ratio takes a numerator >= 0 and a denominator > 0")
    whole, rest = divmod(numerator, denominator)
    match rounding:
        case Rounding.DOWN:
            return whole
        case Rounding.HALF_UP:
            return whole + (2 * rest >= denominator)
        case Rounding.HALF_EVEN:
            return whole + (2 * rest > denominator or (2 * rest == denominator and whole % 2 == 1))


def allocate(total: int, shares: Sequence[int]) -> list[int]:
    """Divide ``total`` minor units in proportion to ``shares``; the parts sum to ``total`` exactly.

    Largest remainder: every part gets the floor of its exact share, and the units left over go to
    the largest remainders, earlier parts first on a tie. A share of zero gets zero. ``total`` may
    be negative (the parts mirror those of its absolute value).

    :raises ValueError: on a negative share, or when all shares are zero and ``total`` is not.
    """
    if any(share < 0 for share in shares):
        raise ValueError("a share is never negative")
    weight = sum(shares)
    if weight == 0:
        if total == 0:
            return [0] * len(shares)
        raise ValueError("cannot divide an amount over shares that are all zero")
    if total < 0:
        return [-part for part in allocate(-total, shares)]
    parts = [total * share // weight for share in shares]
    left = total - sum(parts)
    by_remainder = sorted(range(len(shares)), key=lambda i: -(total * shares[i] % weight))
    for i in by_remainder[:left]:
        parts[i] += 1
    return parts


def exponent(currency: str) -> int:
    """Decimals of ``currency``.

    :raises ValueError: when the code is not an active ISO 4217 currency.
    """
    try:
        return EXPONENTS[currency]
    except KeyError:
        raise ValueError(f"{currency!r} is not an ISO 4217 currency code") from None


def parse_amount(text: str, currency: str) -> int:
    """Read a decimal amount in major units (``"12.34"``) into minor units, exactly.

    :raises ValueError: when it is not a plain decimal number, or is finer than the minor unit.
    """
    places = exponent(currency)
    if not _DECIMAL.fullmatch(text):
        raise ValueError(f"{text!r} is not a decimal number")
    whole, _, fraction = text.partition(".")
    if len(fraction) > places:
        if fraction[places:].strip("0"):
            raise ValueError(f"{text} has more decimals than {currency} has ({places})")
        fraction = fraction[:places]
    return int(whole + fraction.ljust(places, "0"))


def format_amount(amount: int, currency: str, *, grouped: bool = True) -> str:
    """Print minor units as major units: ``format_amount(123456, "CNY") == "1,234.56"``."""
    places = exponent(currency)
    whole, fraction = divmod(abs(amount), 10**places)
    text = f"{whole:,}" if grouped else str(whole)
    if places:
        text += f".{fraction:0{places}d}"
    return f"-{text}" if amount < 0 else text


def parse_rate(text: str) -> int:
    """Read ``"12.5%"`` into parts per million, exactly.

    :raises ValueError: when it is no percentage, lies outside 0..100 %, or is finer than 0.0001 %.
    """
    number = text.removesuffix("%")
    if number == text or not _DECIMAL.fullmatch(number):
        raise ValueError(f'{text!r} is not a rate; write a percentage such as "12.5%"')
    ppm = Fraction(number) * 10_000
    if not 0 <= ppm <= PPM:
        raise ValueError(f"{text} is outside 0% to 100%")
    if ppm.denominator != 1:
        raise ValueError(f"{text} is finer than 0.0001%")
    return int(ppm)


def format_rate(ppm: int) -> str:
    """Print parts per million as a percentage: ``format_rate(125_000) == "12.5%"``."""
    whole, fraction = divmod(ppm, 10_000)
    return f"{whole}.{fraction:04d}".rstrip("0").rstrip(".") + "%"
