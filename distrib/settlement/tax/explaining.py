"""A withholding in a paragraph, from its steps. Pure."""

from __future__ import annotations

from fractions import Fraction

from distrib.errors import InvalidInput
from distrib.money import PPM, format_amount, format_rate
from distrib.settlement.tax.facts import Regime, Steps, Withholding
from distrib.settlement.tax.words import BETWEEN, CODES, ROUNDED, SENTENCES


def explain(
    withholding: Withholding, regime: Regime, language: str, *, currency: str | None = None
) -> str:
    """Why so much was withheld, with the figures in major units.

    :param language: ``en`` or ``zh``.
    :param currency: of the payout, where the regime itself has none.
    :raises InvalidInput: on any other language.
    """
    if language not in CODES:
        raise InvalidInput(f"no words in {language!r}, only en and zh", field="language")
    steps = withholding.steps
    values = dict(steps)
    shown = _show(steps, regime.currency or currency or "CNY")
    which = CODES[language]
    shown["less"] = f" − {shown['quick']}" if values.get("quick") else ""
    shown["rounded"] = ROUNDED[which] if _is_rounded(values) else ""
    names = list(_sentences(values, regime.code))
    return BETWEEN[which].join(SENTENCES[name][which].format(**shown) for name in names)


def _sentences(values: dict[str, int | Fraction], code: str) -> list[str]:
    if "due" not in values:
        return [code + "_backup" if values.get("rate_ppm") else code]
    due, withheld, tax = values["due"], values["withheld"], values["tax"]
    opening = code if values["taxable"] else "nothing_due"
    if due - withheld <= 0:
        return [opening, "enough"] if withheld else [opening]
    ending = "limited" if tax != due - withheld else "rest" if withheld else "first"
    return [opening, ending]


def _is_rounded(values: dict[str, int | Fraction]) -> bool:
    """Whether the product on show is not a whole number of minor units."""
    if "due" in values:
        exact = values["taxable"] * Fraction(values["rate_ppm"], PPM) - values["quick"]
        return values["taxable"] > 0 and exact != values["due"]
    return values["amount"] * Fraction(values.get("rate_ppm", 0), PPM) != values["tax"]


def _show(steps: Steps, currency: str) -> dict[str, str]:
    shown = {}
    for name, value in steps:
        if name.endswith("_ppm"):
            shown[name.removesuffix("_ppm")] = format_rate(int(value))
        elif name == "months":
            shown[name] = str(value)
        else:
            shown[name] = _money(value, currency)
    return shown


def _money(value: int | Fraction, currency: str) -> str:
    """Major units with every digit: a fifth of a fen is 0.002 yuan."""
    whole, rest = divmod(Fraction(value), 1)
    digit = f"{int(rest * 10)}".rstrip("0")
    return format_amount(whole, currency) + digit
