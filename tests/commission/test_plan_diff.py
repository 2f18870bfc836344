"""What changes between two plans, in words and as data."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distrib.commission.plan_diff import Change, Kind, Part, compare_plans, describe_changes
from distrib.commission.plan_document import read_plan

BEFORE: dict[str, Any] = {
    "name": "Spring",
    "rounding": "half_up",
    "ranks": ["silver", {"name": "gold", "month_volume": "5000"}],
    "eligibility": {"active": True},
    "caps": {"order": "50%"},
    "rules": [
        {"name": "default", "rates": ["10%", "5%", "2%"]},
        {"name": "books", "match": {"category": ["books"]}, "rates": ["4%", "2%"]},
        {"name": "gift card", "match": {"sku": ["GIFT-50"]}, "rates": ["0%"]},
        {
            "name": "golden",
            "match": {"category": ["tea"]},
            "difference": {"silver": "10%", "gold": "12%"},
        },
    ],
    "bonuses": [
        {
            "kind": "campaign",
            "name": "Double 11",
            "from": "2026-11-11T00:00:00+08:00",
            "to": "2026-11-12T00:00:00+08:00",
            "multiplier": "1.5",
        },
        {"kind": "milestone", "month_volume": "1000", "amount": "8.00"},
    ],
}


def changed(**settings: Any) -> dict[str, Any]:
    return copy.deepcopy(BEFORE) | settings


def with_rule(no: int, **fields: Any) -> dict[str, Any]:
    """BEFORE, with one of its rules changed; None takes a field away."""
    made = changed()
    rule = made["rules"][no] | fields
    made["rules"][no] = {name: value for name, value in rule.items() if value is not None}
    return made


def without_rule(no: int) -> dict[str, Any]:
    made = changed()
    del made["rules"][no]
    return made


def with_bonus(no: int, **fields: Any) -> dict[str, Any]:
    made = changed()
    made["bonuses"][no] |= fields
    return made


WEEK = {"from": "2026-05-01T00:00:00+08:00", "to": "2026-05-08T00:00:00+08:00"}

CASES: list[tuple[dict[str, Any], list[str], list[str]]] = [
    (
        with_rule(1, rates=["4%", "3%"]),
        ["rule 'books': level 2 from 2% to 3%"],
        ["规则“books”：第 2 级由 2% 改为 3%"],
    ),
    (
        with_rule(1, rates=["4%"]),
        ["rule 'books': level 2 from 2% to none"],
        ["规则“books”：第 2 级由 2% 改为 无"],
    ),
    (
        with_rule(1, rates=["4%", {"per_unit": "3.00"}, {"per_order": "1"}]),
        [
            "rule 'books': level 2 from 2% to 3 a unit",
            "rule 'books': level 3 from none to 1 an order",
        ],
        ["规则“books”：第 2 级由 2% 改为 每件 3", "规则“books”：第 3 级由 无 改为 每单 1"],
    ),
    (
        with_rule(1, rates=[{"tiers": [{"rate": "4%"}, {"above": "5000", "rate": "6%"}]}, "2%"]),
        ["rule 'books': level 1 from 4% to 4% / 6% above 5000"],
        ["规则“books”：第 1 级由 4% 改为 4% / 超过 5000 后 6%"],
    ),
    (
        with_rule(1, match={"category": ["tea/green", "books"], "channel": ["web"]}),
        ["rule 'books': category gains tea/green", "rule 'books': channel from none to web"],
        ["规则“books”：类目 增加 tea/green", "规则“books”：渠道由 无 改为 web"],
    ),
    (
        with_rule(2, match={"sku": ["GIFT-51"]}),
        ["rule 'gift card': SKU gains GIFT-51, loses GIFT-50"],
        ["规则“gift card”：SKU 增加 GIFT-51、去掉 GIFT-50"],
    ),
    (
        with_rule(2, match={"sku": ["GIFT-50"], "first_order": True} | WEEK),
        [
            "rule 'gift card': first order from none to yes",
            "rule 'gift card': time from none to"
            " 2026-05-01T00:00:00+08:00, 2026-05-08T00:00:00+08:00",
        ],
        [
            "规则“gift card”：首单由 无 改为 是",
            "规则“gift card”：时间由 无 改为 2026-05-01T00:00:00+08:00, 2026-05-08T00:00:00+08:00",
        ],
    ),
    (
        with_rule(3, difference={"silver": "10%", "gold": "15%"}),
        ["rule 'golden': rank gold from 12% to 15%"],
        ["规则“golden”：等级“gold”由 12% 改为 15%"],
    ),
    (
        with_rule(3, difference=None, rates=["9%"]),
        ["rule 'golden': pay from differences of ranks, silver 10%, gold 12% to 9%"],
        ["规则“golden”：佣金由 按等级级差、silver 10%、gold 12% 改为 9%"],
    ),
    (
        with_rule(1, name="reading"),
        ["rule 'books' is now called 'reading'"],
        ["规则“books”更名为“reading”"],
    ),
    (
        without_rule(2),
        ["rule 'gift card' removed: SKU GIFT-50 pays 0%"],
        ["删除规则“gift card”：SKU GIFT-50，佣金 0%"],
    ),
    (
        changed(rules=[*BEFORE["rules"], {"match": {"channel": ["web"]} | WEEK, "rates": ["1%"]}]),
        [
            "rule 'rule 5' added: channel web,"
            " from 2026-05-01T00:00:00+08:00 to 2026-05-08T00:00:00+08:00 pays 1%"
        ],
        [
            "新增规则“rule 5”：渠道 web、2026-05-01T00:00:00+08:00 至 2026-05-08T00:00:00+08:00，"
            "佣金 1%"
        ],
    ),
    (
        changed(name="net", rounding="down", base="paid", includes=["tax", "shipping"]),
        [
            "name from Spring to net",
            "base from net to paid",
            "base includes from none to shipping, tax",
            "rounding from half_up to down",
        ],
        [
            "方案名称由 Spring 改为 net",
            "计佣基数由 折后价 改为 实付",
            "基数包含由 无 改为 shipping, tax",
            "取整方式由 四舍五入 改为 向下取整",
        ],
    ),
    (
        changed(ranks=["silver", {"name": "gold", "month_volume": "4000"}]),
        ["rank 'gold': monthly volume from 5000 to 4000"],
        ["等级“gold”：月销售额由 5000 改为 4000"],
    ),
    (
        changed(ranks=[{"name": "jade", "month_volume": "9"}, *BEFORE["ranks"]]),
        ["rank 'jade' added: monthly volume: 9"],
        ["新增等级“jade”：月销售额：9"],
    ),
    (
        changed(eligibility={"sold_within_days": 30}, caps={"order": "40%", "line": "7"}),
        [
            "only active distributors earn from yes to none",
            "days within which one must have sold from none to 30",
            "most a line pays from none to 7",
            "most an order pays from 50% to 40%",
        ],
        [
            "仅有效分销商可得佣由 是 改为 无",
            "须有销售的天数由 无 改为 30",
            "单行佣金上限由 无 改为 7",
            "单笔订单佣金上限由 50% 改为 40%",
        ],
    ),
    (
        with_bonus(0, multiplier="2"),
        ["bonus 'Double 11': multiplier from 1.5 to 2"],
        ["奖励“Double 11”：倍数由 1.5 改为 2"],
    ),
    (
        changed(bonuses=[BEFORE["bonuses"][0], {"kind": "first_order", "rates": ["3%", "1%"]}]),
        [
            "bonus 'first order' added: rates: 3%, 1%",
            "bonus 'milestone' removed: amount: 8, monthly volume: 1000",
        ],
        ["新增奖励“first order”：佣金：3%、1%", "删除奖励“milestone”：金额：8、月销售额：1000"],
    ),
]  # fmt: skip


@pytest.mark.parametrize("after, english, chinese", CASES, ids=[case[1][0] for case in CASES])
def test_changes_in_words(after: dict[str, Any], english: list[str], chinese: list[str]) -> None:
    read_plan(BEFORE, levels=3)
    read_plan(after, levels=3)
    assert describe_changes(BEFORE, after) == english
    assert describe_changes(BEFORE, after, language="zh") == chinese


@pytest.mark.parametrize(
    "same",
    [
        changed(),
        changed(base="net", unfilled="keep", includes=[]),
        changed(rules=BEFORE["rules"][::-1]),
        changed(eligibility={"active": True, "month_volume": None}),
        with_rule(0, rates=["10.0%", "05%", "2%"]),
        with_rule(0, match={}),
        with_bonus(0, multiplier="1.50"),
        with_bonus(1, month_volume="1000.00", name="milestone"),
        changed(ranks=["silver", {"name": "gold", "month_volume": 5000}]),
    ],
)
def test_what_means_the_same_is_no_change(same: dict[str, Any]) -> None:
    assert describe_changes(BEFORE, same) == []


def test_a_first_plan_is_all_new() -> None:
    told = describe_changes(None, {"levels": 2, "channel_levels": {"wechat": 1}} | BEFORE)
    assert told[:3] == [
        "name from plan to Spring",
        "levels from none to 2",
        "channels that pay fewer levels from none to wechat 1",
    ]
    assert "rule 'gift card' added: SKU GIFT-50 pays 0%" in told
    assert (
        "rule 'golden' added: category tea pays differences of ranks, silver 10%, gold 12%" in told
    )
    assert (
        "bonus 'Double 11' added: begin: 2026-11-11T00:00:00+08:00, multiplier: 1.5,"
        " end: 2026-11-12T00:00:00+08:00" in told
    )


def test_changes_as_data() -> None:
    after = with_rule(1, rates=["4%", "3.0%"])
    assert compare_plans(BEFORE, after) == [
        Change(Kind.CHANGED, Part.RULE, "books", "rates[1]", "2%", "3%")
    ]
    assert compare_plans(BEFORE, without_rule(2)) == [
        Change(
            Kind.REMOVED,
            Part.RULE,
            "gift card",
            "",
            {"match": {"sku": ["GIFT-50"]}, "rates": ["0%"]},
        )
    ]


def test_the_order_of_ranks() -> None:
    one = {"ranks": ["silver", "gold"], "rules": [{"rates": ["1%"]}]}
    two = one | {"ranks": ["gold", "jade", "silver"]}
    assert describe_changes(one, two) == [
        "rank 'jade' added",
        "order of ranks from silver, gold to gold, silver",
    ]
    assert describe_changes(two, one, language="zh") == [
        "删除等级“jade”",
        "等级顺序由 gold, silver 改为 silver, gold",
    ]


def test_rules_of_one_name_are_told_apart() -> None:
    def plan(*rates: str) -> dict[str, Any]:
        return {
            "rules": [
                {"name": "a", "match": {"sku": [f"s{i}"]}, "rates": [rate]}
                for i, rate in enumerate(rates)
            ]
        }

    assert describe_changes(plan("1%", "2%"), plan("1%", "3%")) == [
        "rule 'a (2)': level 1 from 2% to 3%"
    ]


def test_no_other_language() -> None:
    with pytest.raises(ValueError, match="'fr' is none of en, zh"):
        describe_changes(BEFORE, BEFORE, language="fr")


_rates = st.lists(st.sampled_from(["0%", "1%", "2.5%"]), min_size=1, max_size=3)
_rules = st.dictionaries(st.sampled_from("abcde"), _rates, min_size=1).map(
    lambda named: [
        {"name": name, "match": {"sku": [name]}, "rates": rates} for name, rates in named.items()
    ]
)


@given(one=_rules, two=_rules)
def test_there_and_back_are_the_same_changes(
    one: list[dict[str, Any]], two: list[dict[str, Any]]
) -> None:
    turned = {Kind.ADDED: Kind.REMOVED, Kind.REMOVED: Kind.ADDED}
    there = compare_plans({"rules": one}, {"rules": two})
    back = compare_plans({"rules": two}, {"rules": one})
    assert sorted(map(repr, there)) == sorted(
        repr(
            Change(
                turned.get(each.kind, each.kind),
                each.part,
                each.name,
                each.aspect,
                each.after,
                each.before,
            )
        )
        for each in back
    )
    said = describe_changes({"rules": one}, {"rules": two})
    assert len(set(said)) == len(said) == len(there)
    assert (there == []) == (sorted(map(repr, one)) == sorted(map(repr, two)))
