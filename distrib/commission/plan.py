"""What a brand pays, as a document a person can read, and compiled for the engine. Pure.

A plan document::

    {
      "name": "Spring 2026",
      "rounding": "half_up",
      "rules": [
        {"name": "default", "rates": ["10%", "5%", "2%"]},
        {"name": "books", "match": {"category": ["books"]}, "rates": ["4%", "2%"]},
        {"name": "gift card", "match": {"sku": ["GIFT-50", "GIFT-100"]}, "rates": ["0%"]}
      ]
    }

The most specific rule wins: SKU, then category, then the default (the rule without ``match``). A
line that no rule matches pays nothing. Zero is a rate; a level left out pays nothing either, and
is told apart in explanations.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from distrib.errors import InvalidInput, unstorable
from distrib.money import PPM, Rounding, parse_rate

MAX_LEVELS = 3
MAX_RULES = 10_000


class PlanInvalid(InvalidInput):
    """A plan document says something that cannot be."""

    title = "The plan document is not valid"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: which lines it matches and what each level gets, in parts per million."""

    no: int
    name: str
    skus: tuple[str, ...]
    categories: tuple[str, ...]
    rates: tuple[int, ...]

    @property
    def specificity(self) -> str:
        """Why this rule could win: ``"sku"``, ``"category"`` or ``"default"``."""
        return "sku" if self.skus else "category" if self.categories else "default"


@dataclass(frozen=True)
class Plan:
    """A validated plan. Rules are numbered from 1, in the document's order.

    ``rates`` is the engine's view: row r, column l is what level l + 1 gets by rule r, and row 0
    (no rule) is all zero.
    """

    name: str
    rounding: Rounding
    levels: int
    rules: tuple[Rule, ...]
    by_sku: dict[str, int]
    by_category: dict[str, int]
    default: int
    rates: np.ndarray[Any, np.dtype[np.int64]]

    def rule_for(self, sku: str, category: str | None) -> int:
        """The number of the rule that a line of this SKU and category falls under, or 0."""
        return (
            self.by_sku.get(sku)
            or (self.by_category.get(category) if category is not None else None)
            or self.default
        )


def _fail(reason: str, field: str) -> PlanInvalid:
    return PlanInvalid(reason, field=field)


def _only(document: dict[str, Any], allowed: set[str], field: str) -> None:
    unknown = sorted(set(document) - allowed)
    if unknown:
        names = ", ".join(sorted(allowed))
        raise _fail(f"unknown key {unknown[0]!r}; known are {names}", f"{field}{unknown[0]}")


def _text(value: Any, field: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _fail("must be a text that is not empty", field)
    if (reason := unstorable(value)) is not None:
        raise _fail(reason, field)
    return value


def _strings(value: Any, field: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise _fail("must be a list of at least one text", field)
    for i, item in enumerate(value):
        _text(item, f"{field}[{i}]")
    if len(set(value)) != len(value):
        raise _fail("names something twice", field)
    return tuple(value)


def _rule(document: Any, no: int, levels: int) -> Rule:
    at = f"rules[{no - 1}]"
    if not isinstance(document, dict):
        raise _fail("must be an object", at)
    _only(document, {"name", "match", "rates"}, f"{at}.")
    match = document.get("match", {})
    if not isinstance(match, dict):
        raise _fail("must be an object", f"{at}.match")
    _only(match, {"sku", "category"}, f"{at}.match.")
    if len(match) > 1:
        raise _fail("a rule matches by sku or by category, not both", f"{at}.match")
    given = document.get("rates")
    if not isinstance(given, list) or not 1 <= len(given) <= levels:
        raise _fail(f"must be a list of 1 to {levels} rates, one a level", f"{at}.rates")
    rates = []
    for i, rate in enumerate(given):
        try:
            rates.append(parse_rate(rate if isinstance(rate, str) else repr(rate)))
        except ValueError as error:
            raise _fail(str(error), f"{at}.rates[{i}]") from None
    if sum(rates) > PPM:
        raise _fail("the levels together pay more than 100%", f"{at}.rates")
    name = _text(document.get("name", f"rule {no}"), f"{at}.name")
    return Rule(
        no=no,
        name=name,
        skus=_strings(match["sku"], f"{at}.match.sku") if "sku" in match else (),
        categories=_strings(match["category"], f"{at}.match.category")
        if "category" in match
        else (),
        rates=tuple(rates),
    )


def read_plan(document: Any, *, levels: int) -> Plan:
    """Validate a plan document and compile it.

    :param levels: how many levels the brand allows, 1 to 3.
    :raises PlanInvalid: naming the place, as in ``rules[1].rates[0]``, and the reason. Two rules
        that claim the same SKU or category, or two defaults, are an error here, never a surprise
        when an order comes.
    """
    if not isinstance(document, dict):
        raise _fail("a plan is a JSON object", "document")
    _only(document, {"name", "rounding", "rules"}, "")
    name = _text(document.get("name", "plan"), "name")
    try:
        rounding = Rounding(document.get("rounding", Rounding.HALF_UP))
    except ValueError:
        names = ", ".join(Rounding)
        raise _fail(f"must be one of {names}", "rounding") from None
    given = document.get("rules")
    if not isinstance(given, list) or not 1 <= len(given) <= MAX_RULES:
        raise _fail(f"must be a list of 1 to {MAX_RULES} rules", "rules")
    rules = tuple(_rule(rule, no, levels) for no, rule in enumerate(given, 1))
    by_sku: dict[str, int] = {}
    by_category: dict[str, int] = {}
    default = 0
    for rule in rules:
        for kind, claimed, table in (
            ("SKU", rule.skus, by_sku),
            ("category", rule.categories, by_category),
        ):
            for each in claimed:
                if each in table:
                    raise _fail(
                        f"{kind} {each!r} is claimed by rule {table[each]} too",
                        f"rules[{rule.no - 1}].match",
                    )
                table[each] = rule.no
        if rule.specificity == "default":
            if default:
                raise _fail(f"rule {default} is the default already", f"rules[{rule.no - 1}].match")
            default = rule.no
    rates = np.zeros((len(rules) + 1, MAX_LEVELS), np.int64)
    for rule in rules:
        rates[rule.no, : len(rule.rates)] = rule.rates
    return Plan(name, rounding, levels, rules, by_sku, by_category, default, rates)


def document_hash(document: Any) -> bytes:
    """16 bytes that name a document's content, whatever the order of its keys."""
    text = json.dumps(document, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
