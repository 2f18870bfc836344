"""Plan documents: what is refused and why, and what is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distrib.commission.plan import (
    Base,
    Caps,
    Eligibility,
    Kind,
    Pay,
    Rank,
    SelfPurchase,
    Step,
    Unfilled,
    UplineBase,
)
from distrib.commission.plan_document import MAX_RULES, PlanInvalid, document_hash, read_plan
from distrib.money import MAX_AMOUNT, PPM, Rounding

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


FROM, TO = "2026-11-11T00:00:00+08:00", "2026-11-12T00:00:00+08:00"
RATE = "rules[0].rates[0]"
CAMPAIGN = {"kind": "campaign", "from": FROM, "to": TO, "multiplier": "2"}


def tiered(*tiers: dict[str, str]) -> dict[str, Any]:
    """A document of one rule that pays level 1 by tiers."""
    return with_rule(rates=[{"tiers": list(tiers)}])


def ranked(name: str, volume: str) -> dict[str, str]:
    """A rank that is earned."""
    return {"name": name, "month_volume": volume}


def bonus(**given: Any) -> dict[str, Any]:
    """A document with one bonus."""
    return {"rules": [DEFAULT], "bonuses": [given]}


def campaign(multiplier: str, rate: Any = "10%") -> dict[str, Any]:
    """A document with a campaign and a rate for it to multiply."""
    return with_rule(rates=[rate]) | {"bonuses": [CAMPAIGN | {"multiplier": multiplier}]}


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
        (with_rule(rates=None), "rules[0].rates", "1 to 3 rates"),
        (with_rule(rates="10%"), "rules[0].rates", "1 to 3 rates"),
        (with_rule(rates=[]), "rules[0].rates", "1 to 3 rates"),
        (with_rule(rates=["1%"] * 4), "rules[0].rates", "names 4 levels; the brand has 3 levels"),
        (with_rule(rates=[10]), "rules[0].rates[0]", "'10' is not a rate"),
        (with_rule(rates=[0.1]), "rules[0].rates[0]", "'0.1' is not a rate"),
        (with_rule(rates=[None]), "rules[0].rates[0]", "'None' is not a rate"),
        (with_rule(rates=["5%", "ten"]), "rules[0].rates[1]", "'ten' is not a rate"),
        (with_rule(rates=["5%", "-1%"]), "rules[0].rates[1]", "outside 0% to 100%"),
        (with_rule(rates=["100.1%"]), "rules[0].rates[0]", "outside 0% to 100%"),
        (with_rule(rates=["0.00001%"]), "rules[0].rates[0]", "finer than 0.0001%"),
        (with_rule(rates=["60%", "30%", "10.0001%"]), "rules[0].rates", "more than 100%"),
        (with_rule(rates=["5%"], difference={"x": "1%"}), "rules[0].rates", "either rates or"),
        ({"rules": [{"name": "x"}]}, "rules[0].rates", "either rates or a difference"),
        (with_rule(match={"rank": ["gold"]}), "rules[0].match.rank[0]", "none of the plan's ranks"),
        (with_rule(match={"first_order": False}), "rules[0].match.first_order", "must be true"),
        (with_rule(match={"first_order": 1}), "rules[0].match.first_order", "must be true"),
        (with_rule(match={"from": FROM}), "rules[0].match.to", "a from and a to"),
        (with_rule(match={"to": FROM}), "rules[0].match.from", "a from and a to"),
        (with_rule(match={"from": FROM, "to": FROM}), "rules[0].match.to", "must lie after from"),
        (with_rule(match={"from": FROM, "to": "soon"}), "rules[0].match.to", "no instant"),
        (with_rule(match={"from": FROM, "to": 7}), "rules[0].match.to", "not empty"),
        (with_rule(match={"from": "2026-11-11", "to": TO}), "rules[0].match.from", "a time zone"),
        (
            with_rule(match={"from": FROM, "to": "2201-01-01T00:00:00Z"}),
            "rules[0].match.to",
            "between 1970 and 2200",
        ),
        # ties
        ({"rules": [DEFAULT, DEFAULT]}, "rules[1].match", "rule 1 matches by the same (default)"),
        (two({"sku": ["A"]}, {"sku": ["B", "A"]}), "rules[1].match", "by the same (sku)"),
        (two({"category": ["t"]}, {"category": ["t"]}), "rules[1].match", "by the same (category)"),
        (
            two({"channel": ["shop"], "sku": ["A"]}, {"sku": ["A"], "channel": ["live", "shop"]}),
            "rules[1].match",
            "rule 1 matches by the same (sku+channel); a line could fall under either",
        ),
        # fixed amounts and tiers
        (with_rule(rates=[{}]), "rules[0].rates[0]", "one of per_unit, per_order and tiers"),
        (
            with_rule(rates=[{"per_unit": "1", "per_order": "1"}]),
            "rules[0].rates[0]",
            "one of per_unit, per_order and tiers",
        ),
        (with_rule(rates=[{"flat": "1"}]), "rules[0].rates[0].flat", "unknown key 'flat'"),
        (with_rule(rates=[{"per_unit": "1.005"}]), f"{RATE}.per_unit", "more decimals than CNY"),
        (with_rule(rates=[{"per_unit": "-1"}]), f"{RATE}.per_unit", "must not be negative"),
        (with_rule(rates=[{"per_unit": "5%"}]), f"{RATE}.per_unit", "not a decimal number"),
        (with_rule(rates=[{"per_order": None}]), f"{RATE}.per_order", "not a decimal number"),
        (
            with_rule(rates=[{"per_order": "10000000.01"}]),
            f"{RATE}.per_order",
            "more than 10000000",
        ),
        (tiered(), f"{RATE}.tiers", "a list of 1 to 100 tiers"),
        (tiered({"above": "1", "rate": "1%"}), f"{RATE}.tiers", "begin at 0 and rise"),
        (tiered({"rate": "1%"}, {"rate": "2%"}), f"{RATE}.tiers[1].above", "only the first"),
        (tiered({"above": "0"}), f"{RATE}.tiers[0].rate", "is not a rate"),
        (
            tiered({"rate": "1%"}, {"above": "5", "rate": "1%"}, {"above": "5", "rate": "1%"}),
            f"{RATE}.tiers",
            "begin at 0 and rise",
        ),
        (tiered({"rate": "1%"}) | {"base": "paid"}, f"{RATE}.tiers", "the plan's base must be net"),
        (tiered({"rate": "1%"}) | {"includes": ["tax"]}, f"{RATE}.tiers", "base must be net"),
        (
            with_rule(rates=["60%", {"tiers": [{"rate": "1%"}, {"above": "5", "rate": "41%"}]}]),
            "rules[0].rates",
            "more than 100%",
        ),
        # settings
        (with_rule() | {"base": "turnover"}, "base", "gross, net, paid, margin, income"),
        (with_rule() | {"includes": []}, "includes", "at least one text"),
        (with_rule() | {"includes": ["tax", "tips"]}, "includes[1]", "one of shipping, tax"),
        (with_rule() | {"upline_base": "self"}, "upline_base", "sale, direct, previous, residual"),
        (with_rule() | {"rounding_step": "month"}, "rounding_step", "one of line, order"),
        (with_rule() | {"self_purchase": True}, "self_purchase", "off, buyer_first, sponsor_first"),
        (with_rule() | {"unfilled": "drop"}, "unfilled", "one of keep, roll_up, stop"),
        (with_rule() | {"eligibility": {"active": 1}}, "eligibility.active", "true or false"),
        (
            with_rule() | {"eligibility": {"sold_within_days": 0}},
            "eligibility.sold_within_days",
            "from 1 to 366",
        ),
        (
            with_rule() | {"eligibility": {"sold_within_days": True}},
            "eligibility.sold_within_days",
            "a whole number",
        ),
        (with_rule() | {"eligibility": {"paid_fee": True}}, "eligibility.paid_fee", "unknown key"),
        # ranks
        (with_rule() | {"ranks": ["a", "a"]}, "ranks", "twice"),
        (with_rule() | {"ranks": [{"month_volume": "1"}]}, "ranks[0].name", "not empty"),
        (with_rule() | {"ranks": [ranked("a", "5"), ranked("b", "5")]}, "ranks", "must rise"),
        ({"ranks": ["a"], "rules": [{"difference": {}}]}, "rules[0].difference", "at least one"),
        (
            {"ranks": ["a"], "rules": [{"difference": {"b": "1%"}}]},
            "rules[0].difference.b",
            "unknown key",
        ),
        (
            {"ranks": ["a", "b"], "rules": [{"difference": {"a": "2%"}}]},
            "rules[0].difference",
            "a higher rank must not get less",
        ),
        (
            {"ranks": ["a", "b"], "rules": [{"difference": {"a": "2%", "b": "1%"}}]},
            "rules[0].difference",
            "a higher rank must not get less",
        ),
        # caps
        (with_rule() | {"caps": {"week": "1"}}, "caps.week", "unknown key"),
        (with_rule() | {"caps": {"order": "1.00"}}, "caps.order", "is not a rate"),
        (with_rule() | {"caps": {"order_base": "net"}}, "caps.order_base", "does not say how much"),
        (with_rule() | {"caps": {"line": "90000000000.01"}}, "caps.line", "9000000000000 minor"),
        (with_rule() | {"caps": {"distributor_day": "-1"}}, "caps.distributor_day", "negative"),
        # bonuses
        (bonus(kind="recruiting"), "bonuses[0].kind", "campaign, first_order, milestone"),
        ({"rules": [DEFAULT], "bonuses": []}, "bonuses", "1 to 200 bonuses"),
        (campaign("1e3"), "bonuses[0].multiplier", "a number such as"),
        (campaign("1."), "bonuses[0].multiplier", "a number such as"),
        (campaign("9" * 5_000), "bonuses[0].multiplier", "a number such as"),
        (campaign("1.0000001"), "bonuses[0].multiplier", "a number such as"),
        (campaign("0"), "bonuses[0].multiplier", "above 0 and at most 10"),
        (campaign("10.1"), "bonuses[0].multiplier", "above 0 and at most 10"),
        (campaign("1.00001", "0.0001%"), "rules[0].rates", "not exact"),
        (campaign("2", "50.0001%"), "rules[0].rates", "pays 100.0002%, more than 100%"),
        (campaign("1.5", {"per_unit": "0.01"}), "rules[0].rates", "not exact"),
        (
            campaign("10", {"per_unit": "1000000.01"}),
            "rules[0].rates",
            "more than 1000000000 minor units",
        ),
        (
            {"rules": [DEFAULT], "bonuses": [CAMPAIGN, CAMPAIGN | {"name": "also"}]},
            "bonuses",
            "'campaign' and 'also' overlap in time",
        ),
        (
            bonus(kind="first_order", rates=[{"tiers": [{"rate": "1%"}]}]),
            "bonuses[0].rates",
            "no tiers",
        ),
        (bonus(kind="first_order"), "bonuses[0].rates", "1 to 3 rates"),
        (
            bonus(kind="milestone", month_volume="0", amount="1"),
            "bonuses[0].month_volume",
            "above 0",
        ),
        (bonus(kind="milestone", month_volume="1"), "bonuses[0].amount", "not a decimal number"),
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
    with pytest.raises(
        PlanInvalid, match=f"names {levels + 1} levels; the brand has {levels} level"
    ) as caught:
        read_plan(with_rule(rates=["1%"] * (levels + 1)), levels=levels)
    assert caught.value.field == "rules[0].rates"


def test_there_is_an_end_to_rules() -> None:
    rules = [{"match": {"sku": [f"s{n}"]}, "rates": ["1%"]} for n in range(MAX_RULES)]
    assert len(read_plan({"rules": rules}, levels=1).rules) == MAX_RULES
    with pytest.raises(PlanInvalid, match="1 to 10000 rules"):
        read_plan({"rules": [*rules, DEFAULT]}, levels=1)


def test_what_a_document_leaves_out() -> None:
    plan = read_plan({"rules": [{"rates": ["100%"]}]}, levels=3)
    assert (plan.name, plan.currency, plan.levels) == ("plan", "CNY", 3)
    assert (plan.base, plan.includes, plan.upline_base) == (Base.NET, frozenset(), UplineBase.SALE)
    assert (plan.rounding, plan.rounding_step) == (Rounding.HALF_UP, Step.LINE)
    assert (plan.self_purchase, plan.unfilled) == (SelfPurchase.BUYER_FIRST, Unfilled.KEEP)
    assert (plan.eligibility, plan.caps, plan.ranks) == (Eligibility(), Caps(), ())
    assert (plan.campaigns, plan.first_order, plan.milestones) == ((), (), ())
    (rule,) = plan.rules
    assert (rule.name, rule.pays, rule.specificity) == (
        "rule 1",
        (Pay(Kind.PERCENT, PPM),),
        "default",
    )
    assert plan.percent.tolist() == [[[0, 0, 0], [PPM, 0, 0]]]
    assert plan.is_plain
    assert not plan.uses_facts


def test_what_a_document_says() -> None:
    document = {
        "name": "双十一",
        "base": "paid",
        "includes": ["tax", "shipping"],
        "upline_base": "residual",
        "rounding": "half_even",
        "rounding_step": "order",
        "self_purchase": "sponsor_first",
        "unfilled": "roll_up",
        "eligibility": {"active": True, "sold_within_days": 30, "month_volume": "100"},
        "ranks": ["会员", ranked("店长", "5000"), ranked("经理", "20000.50")],
        "rules": [
            {"rates": [{"per_unit": "3"}, {"per_order": "0.5"}, "0%"]},
            {
                "match": {"sku": ["A"], "rank": ["店长"]},
                "difference": {"店长": "15%", "经理": "20%"},
            },
        ],
        "bonuses": [
            {"kind": "milestone", "month_volume": "5000", "amount": "88"},
            CAMPAIGN,
            {"kind": "first_order", "rates": ["5%"]},
        ],
        "caps": {"order": "50%", "order_base": "paid", "line": "9", "distributor_month": "1000"},
    }
    plan = read_plan(document, levels=3)
    assert plan.includes == {"tax", "shipping"}
    assert plan.ranks == (Rank("会员"), Rank("店长", 500_000), Rank("经理", 2_000_050))
    one, other = plan.rules
    assert one.pays == (Pay(Kind.PER_UNIT, 300), Pay(Kind.PER_ORDER, 50), Pay(Kind.PERCENT))
    assert other.difference == (0, 0, 150_000, 200_000), (
        "no rank first; a rank left out gets nothing"
    )
    assert other.specificity == "sku+rank"
    assert plan.eligibility == Eligibility(active=True, sold_within_days=30, month_volume=10_000)
    assert plan.caps == Caps(500_000, Base.PAID, 900, None, 100_000)
    assert [each.multiplier for each in plan.campaigns] == [2 * PPM]
    assert plan.campaigns[0].ends - plan.campaigns[0].begins == 86_400 * 1_000_000
    assert (plan.milestones[0].volume, plan.milestones[0].amount) == (500_000, 8_800)
    assert plan.first_order[0].pays == (Pay(Kind.PERCENT, 50_000),)
    assert plan.uses_facts
    assert not plan.is_plain


@pytest.mark.parametrize(
    "upline_base, most, too_much",
    [
        ("sale", ["50%", "30%", "20%"], ["50%", "30%", "20.0001%"]),
        ("direct", ["50%", "60%", "40%"], ["50%", "60%", "40.0001%"]),
        ("previous", ["50%", "50%", "100%"], ["60%", "50%", "40%"]),
        ("residual", ["100%", "100%", "100%"], None),
    ],
)
def test_the_levels_together_get_no_more_than_the_sale(
    upline_base: str, most: list[str], too_much: list[str] | None
) -> None:
    document = {"upline_base": upline_base}
    assert read_plan(with_rule(rates=most) | document, levels=3).rules[0].pays
    if too_much is not None:
        with pytest.raises(PlanInvalid, match="more than 100%"):
            read_plan(with_rule(rates=too_much) | document, levels=3)
    # a first order's bonus is of the sale, whatever the rules' uplines are paid of
    first = {"kind": "first_order", "rates": ["60%", "41%"]}
    with pytest.raises(PlanInvalid, match="more than 100%"):
        read_plan(with_rule() | document | {"bonuses": [first]}, levels=3)


def test_a_campaign_multiplies_no_rate_beyond_all() -> None:
    document = campaign("2") | {"upline_base": "previous"}
    document["rules"] = [{"rates": ["10%", "50%"]}]
    read_plan(document, levels=3)
    document["rules"] = [{"rates": ["10%", "50.0001%"]}]
    with pytest.raises(PlanInvalid, match=r"pays 100.0002%, more than 100%"):
        read_plan(document, levels=3)


def test_what_could_not_be_paid_for_by_the_order_is_capped_at_all_of_it() -> None:
    ranks = {"ranks": ["gold"]}
    by_rank = {"match": {"rank": ["gold"]}, "rates": ["60%"]}
    for document in (
        with_rule(rates=[{"per_unit": "1"}]),
        with_rule(rates=["1%", {"per_order": "1"}]),
        with_rule(match={"distributor": ["ann"]}),
        ranks | {"rules": [DEFAULT | {"rates": ["0%", "60%"]}, by_rank]},
        bonus(kind="first_order", rates=["1%"]),
    ):
        assert read_plan(document, levels=3).caps == Caps(order=PPM)
        less = read_plan(document | {"caps": {"order": "20%"}}, levels=3)
        assert less.caps == Caps(order=200_000)
    for document in (
        tiered({"rate": "1%"}),
        bonus(kind="milestone", month_volume="1", amount="1"),  # for the month, not the order
    ):
        assert read_plan(document, levels=3).caps == Caps()


@pytest.mark.parametrize(
    "currency, text, minor",
    [("JPY", "300", 300), ("CNY", "3.00", 300), ("CNY", "3", 300), ("KWD", "0.300", 300)],
)
def test_amounts_are_of_the_brands_currency(currency: str, text: str, minor: int) -> None:
    plan = read_plan(with_rule(rates=[{"per_unit": text}]), levels=1, currency=currency)
    assert plan.rules[0].pays == (Pay(Kind.PER_UNIT, minor),)


def test_there_is_an_end_to_amounts() -> None:
    most = f"{MAX_AMOUNT // 100}.00"
    plan = read_plan(with_rule() | {"caps": {"line": most}}, levels=1)
    assert plan.caps.line == MAX_AMOUNT


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


def test_a_mark_has_one_milestone() -> None:
    goal = {"kind": "milestone", "month_volume": "100", "amount": "1"}
    document = with_rule() | {"bonuses": [goal, goal | {"month_volume": "100.00"}]}
    with pytest.raises(PlanInvalid, match="at the same month_volume") as caught:
        read_plan(document, levels=3)
    assert caught.value.field == "bonuses"
    assert len(read_plan(with_rule() | {"bonuses": [goal, goal | {"month_volume": "2"}]},
                         levels=3).milestones) == 2  # fmt: skip
