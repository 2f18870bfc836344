"""Plan documents: what is refused and why, and which rule wins."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distrib.commission.plan import MAX_RULES, PlanInvalid, document_hash, read_plan
from distrib.money import PPM, Rounding

DEFAULT = {"name": "default", "rates": ["10%"]}


def with_rule(**changes: Any) -> dict[str, Any]:
    """A document of one rule."""
    return {"rules": [{"name": "all", "rates": ["10%"]} | changes]}


def two(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """A document of two rules that match by ``first`` and ``second``."""
    return {
        "rules": [
            {"name": "one", "match": first, "rates": ["1%"]},
            {"name": "two", "match": second, "rates": ["2%"]},
        ]
    }


@pytest.mark.parametrize(
    "document, field, reason",
    [
        (None, "document", "a JSON object"),
        ([], "document", "a JSON object"),
        ("plan", "document", "a JSON object"),
        ({}, "rules", "1 to 10000 rules"),
        ({"rules": {}}, "rules", "1 to 10000 rules"),
        ({"rules": []}, "rules", "1 to 10000 rules"),
        ({"rules": [DEFAULT], "rate": 1}, "rate", "unknown key 'rate'"),
        ({"rules": [DEFAULT], "name": ""}, "name", "not empty"),
        ({"rules": [DEFAULT], "name": "  "}, "name", "not empty"),
        ({"rules": [DEFAULT], "name": None}, "name", "not empty"),
        ({"rules": [DEFAULT], "name": 7}, "name", "not empty"),
        ({"rules": [DEFAULT], "rounding": "up"}, "rounding", "down, half_up, half_even"),
        ({"rules": [DEFAULT], "rounding": None}, "rounding", "down, half_up, half_even"),
        ({"rules": [DEFAULT], "rounding": ["down"]}, "rounding", "down, half_up, half_even"),
        ({"rules": [None]}, "rules[0]", "an object"),
        ({"rules": ["10%"]}, "rules[0]", "an object"),
        (with_rule(priority=1), "rules[0].priority", "unknown key 'priority'"),
        (with_rule(name=""), "rules[0].name", "not empty"),
        (with_rule(name=None), "rules[0].name", "not empty"),
        (with_rule(match=None), "rules[0].match", "an object"),
        (with_rule(match=["books"]), "rules[0].match", "an object"),
        (with_rule(match={"brand": ["x"]}), "rules[0].match.brand", "unknown key 'brand'"),
        (with_rule(match={"sku": "A"}), "rules[0].match.sku", "at least one text"),
        (with_rule(match={"sku": []}), "rules[0].match.sku", "at least one text"),
        (with_rule(match={"sku": None}), "rules[0].match.sku", "at least one text"),
        (with_rule(match={"sku": ["A", 7]}), "rules[0].match.sku[1]", "not empty"),
        (with_rule(match={"sku": ["A", " "]}), "rules[0].match.sku[1]", "not empty"),
        (with_rule(match={"sku": ["A", "B", "A"]}), "rules[0].match.sku", "twice"),
        (with_rule(match={"category": [["x"]]}), "rules[0].match.category[0]", "not empty"),
        (with_rule(match={"sku": ["A"], "category": ["b"]}), "rules[0].match", "not both"),
        (with_rule(rates=None), "rules[0].rates", "1 to 3 rates"),
        (with_rule(rates="10%"), "rules[0].rates", "1 to 3 rates"),
        (with_rule(rates=[]), "rules[0].rates", "1 to 3 rates"),
        (with_rule(rates=["1%"] * 4), "rules[0].rates", "1 to 3 rates"),
        (with_rule(rates=[10]), "rules[0].rates[0]", "'10' is not a rate"),
        (with_rule(rates=[0.1]), "rules[0].rates[0]", "'0.1' is not a rate"),
        (with_rule(rates=[None]), "rules[0].rates[0]", "'None' is not a rate"),
        (with_rule(rates=["5%", "ten"]), "rules[0].rates[1]", "'ten' is not a rate"),
        (with_rule(rates=["5%", "-1%"]), "rules[0].rates[1]", "outside 0% to 100%"),
        (with_rule(rates=["100.1%"]), "rules[0].rates[0]", "outside 0% to 100%"),
        (with_rule(rates=["0.00001%"]), "rules[0].rates[0]", "finer than 0.0001%"),
        (with_rule(rates=["60%", "30%", "10.0001%"]), "rules[0].rates", "more than 100%"),
        ({"rules": [DEFAULT, DEFAULT]}, "rules[1].match", "rule 1 is the default already"),
        (two({}, {}), "rules[1].match", "rule 1 is the default already"),
        (
            two({"sku": ["A"]}, {"sku": ["B", "A"]}),
            "rules[1].match",
            "SKU 'A' is claimed by rule 1",
        ),
        (
            two({"category": ["tea"]}, {"category": ["tea"]}),
            "rules[1].match",
            "category 'tea' is claimed by rule 1",
        ),
    ],
)
def test_what_is_no_plan(document: Any, field: str, reason: str) -> None:
    with pytest.raises(PlanInvalid) as caught:
        read_plan(document, levels=3)
    assert caught.value.field == field
    assert reason in caught.value.detail


@pytest.mark.parametrize("text", ["a\0b", "\ud800", "a\udfff"])
@pytest.mark.parametrize(
    "field, place",
    [
        ("name", lambda text: {"rules": [DEFAULT], "name": text}),
        ("rules[0].name", lambda text: with_rule(name=text)),
        ("rules[0].match.sku[1]", lambda text: with_rule(match={"sku": ["A", text]})),
        ("rules[0].match.category[0]", lambda text: with_rule(match={"category": [text]})),
    ],
)
def test_what_the_database_cannot_keep_is_no_plan(
    field: str, place: Callable[[str], Any], text: str
) -> None:
    with pytest.raises(PlanInvalid) as caught:
        read_plan(place(text), levels=3)
    assert caught.value.field == field


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_a_rule_has_no_more_rates_than_the_brand_has_levels(levels: int) -> None:
    assert read_plan(with_rule(rates=["1%"] * levels), levels=levels).levels == levels
    with pytest.raises(PlanInvalid, match=f"1 to {levels} rates") as caught:
        read_plan(with_rule(rates=["1%"] * (levels + 1)), levels=levels)
    assert caught.value.field == "rules[0].rates"


def test_there_is_an_end_to_rules() -> None:
    rules = [{"match": {"sku": [f"s{n}"]}, "rates": ["1%"]} for n in range(MAX_RULES)]
    assert len(read_plan({"rules": rules}, levels=1).rules) == MAX_RULES
    with pytest.raises(PlanInvalid, match="1 to 10000 rules"):
        read_plan({"rules": [*rules, DEFAULT]}, levels=1)


def test_what_a_document_leaves_out() -> None:
    plan = read_plan({"rules": [{"rates": ["100%"]}]}, levels=3)
    assert (plan.name, plan.rounding, plan.default) == ("plan", Rounding.HALF_UP, 1)
    (rule,) = plan.rules
    assert (rule.name, rule.rates, rule.specificity) == ("rule 1", (PPM,), "default")
    assert plan.rates.tolist() == [[0, 0, 0], [PPM, 0, 0]]


PRECEDENCE: dict[str, Any] = {
    "rules": [
        {"name": "books", "match": {"category": ["books", "maps"]}, "rates": ["4%"]},
        {"name": "default", "rates": ["10%", "5%", "2%"]},
        {"name": "gift", "match": {"sku": ["GIFT", "books"]}, "rates": ["0%", "1%"]},
    ]
}


@pytest.mark.parametrize(
    "sku, category, rule",
    [
        ("A", None, 2),
        ("A", "toys", 2),
        ("A", "books", 1),
        ("A", "maps", 1),
        ("GIFT", None, 3),
        ("GIFT", "books", 3),
        ("GIFT", "toys", 3),
        ("books", None, 3),  # a SKU that is called like a category
        ("maps", None, 2),  # a category's name is no SKU
        ("A", "GIFT", 2),
        ("gift", "Books", 2),  # letter case matters
        ("GIFT ", " books", 2),  # and so does white space
    ],
)
def test_the_most_specific_rule_wins(sku: str, category: str | None, rule: int) -> None:
    assert read_plan(PRECEDENCE, levels=3).rule_for(sku, category) == rule


def test_no_default_means_nothing() -> None:
    document = {"rules": [each for each in PRECEDENCE["rules"] if "match" in each]}
    plan = read_plan(document, levels=3)
    assert plan.rule_for("A", "toys") == 0
    assert plan.rule_for("A", "books") == 1
    assert plan.rates[0].tolist() == [0, 0, 0]


def test_why_a_rule_could_win() -> None:
    plan = read_plan(PRECEDENCE, levels=3)
    assert [rule.specificity for rule in plan.rules] == ["category", "default", "sku"]
    assert [rule.no for rule in plan.rules] == [1, 2, 3]


# -- the hash -------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


def _turned(value: Any) -> Any:
    """The same content, the keys of every object in another order."""
    if isinstance(value, dict):
        return {key: _turned(value[key]) for key in reversed(value)}
    return [_turned(each) for each in value] if isinstance(value, list) else value


@given(JSON, JSON)
def test_the_hash_names_the_content(one: Any, other: Any) -> None:
    assert document_hash(one) == document_hash(_turned(one))
    assert len(document_hash(one)) == 16
    same = _canonical(one) == _canonical(other)
    assert (document_hash(one) == document_hash(other)) is same


def _canonical(value: Any) -> Any:
    """A value that compares equal for equal JSON only: ``True`` is not ``1``."""
    if isinstance(value, dict):
        return {key: _canonical(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_canonical(each) for each in value]
    return (type(value), value)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"rounding": "down"},
        {"rules": [{"name": "default", "rates": ["10%", "5%"]}]},
        {"rules": [{"name": "default", "rates": ["5%", "10%", "2%"]}]},
    ],
)
def test_another_plan_has_another_hash(change: dict[str, Any]) -> None:
    document = {
        "name": "plan",
        "rounding": "half_up",
        "rules": [DEFAULT | {"rates": ["10%", "5%", "2%"]}],
    }
    assert document_hash(document) != document_hash(document | change)
    assert document_hash(document) == document_hash(dict(reversed(document.items())))
