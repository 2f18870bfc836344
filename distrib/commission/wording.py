"""Why, in sentences: English and Chinese. Pure.

Each sentence stands here once in each language; :class:`Words` collects those of an explanation.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from distrib.commission.plan import Base, UplineBase
from distrib.money import Rounding

SENTENCES = {
    "line": (
        "Line {line} of order {order} ({shop}): {quantity} × {price} of SKU {sku!r}{discount},"
        " cost {net}; {apart}.",
        "订单 {order}（{shop}）第 {line} 行：SKU “{sku}” {quantity} 件，单价 {price}{discount}，"
        "成交 {net}；{apart}。",
    ),
    "nobody": (
        "No distributor referred the order, so it pays nothing.",
        "该订单没有推荐人，不产生佣金。",
    ),
    "self_off": (
        "The buyer is the distributor {buyer} and the plan pays nothing on own purchases.",
        "买家本身是分销商 {buyer}，该方案对自购不返佣。",
    ),
    "credited": (
        "By {how} the order was credited to {who}.",
        "该订单通过{how}归属于 {who}。",
    ),
    "tree": (
        "In the tree of {at} UTC, {levels}.",
        "按 {at} UTC 时的推荐关系，{levels}。",
    ),
    "no_plan": (
        "No plan version was in force at that time, so the order pays nothing.",
        "当时没有生效的佣金方案，不产生佣金。",
    ),
    "plan": (
        "Plan version {number} ({name!r}) was in force from {since} UTC.",
        "佣金方案第 {number} 版“{name}”自 {since} UTC 起生效。",
    ),
    "no_rule": (
        "None of its rules matches SKU {sku!r}; the line pays nothing.",
        "没有规则适用于 SKU “{sku}”，该行不产生佣金。",
    ),
    "rule": (
        "Rule {no} ({name!r}) applies, {why}.",
        "适用第 {no} 条规则“{name}”：{why}。",
    ),
    "refund_left": (
        "Refund {refund} of {day} left {base} of the line.",
        "{day} 的退款 {refund} 之后，该行余 {base}。",
    ),
    "percent": (
        "Level {level} gets {rate} of {base}{of}: {exact}{rounded}.",
        "第 {level} 级得 {base}{of} 的 {rate}：{exact}{rounded}。",
    ),
    "of_order": (
        "Rounded once for the whole order, {rounding}; of that {amount} falls on this line.",
        "全单合计后一次取整（{rounding}），本行分得 {amount}。",
    ),
    "difference": (
        "Rank {rank} is worth {share}; what levels below already got is taken off.",
        "等级“{rank}”对应 {share}，减去下级已得的比例。",
    ),
    "campaign": (
        "Campaign {name!r} multiplies rates and amounts by {factor}.",
        "活动“{name}”期间，比例与金额乘以 {factor}。",
    ),
    "per_unit": (
        "Level {level} gets {each} for each of {quantity} units: {amount}.",
        "第 {level} 级每件得 {each}，共 {quantity} 件：{amount}。",
    ),
    "per_order": (
        "Level {level} gets {each} for the order; by its share this line has {amount} of it.",
        "第 {level} 级每单得 {each}，本行按比例分得 {amount}。",
    ),
    "tiers": (
        "Level {level} gets {tiers} by the month's volume, which stood at {volume}: {amount} for"
        " this line.",
        "第 {level} 级按当月业绩阶梯计佣（{tiers}），此前业绩 {volume}：本行 {amount}。",
    ),
    "unfilled": (
        "Nobody who may earn stands at level {level}, so it is not paid.",
        "第 {level} 级没有可计佣的分销商，不支付。",
    ),
    "bonus": (
        "Bonuses add {amount}.",
        "奖励另加 {amount}。",
    ),
    "milestone": (
        "With this order the month's volume reaches a milestone: {amount} more.",
        "本单使当月业绩达到里程碑：另加 {amount}。",
    ),
    "cap": (
        "The plan's caps bring it from {before} to {after}, all levels in proportion.",
        "受方案封顶限制，各级按比例缩减，由 {before} 减为 {after}。",
    ),
    "room": (
        "{who} could still get {room} of this order under the cap of the day or month: {after}.",
        "受日/月封顶限制，{who} 本单最多还可得 {room}：得 {after}。",
    ),
    "before": (
        "Before, the line paid {before}; the difference is {amount}.",
        "此前该行已计 {before}，差额为 {amount}。",
    ),
    "verdict": (
        "{who} gets {amount}; computed again just now, the engine {agrees}.",
        "{who} 得 {amount}；刚刚重新计算，结果{agrees}。",
    ),
    "came_back": (
        "Of the line {refunded} came back; it now pays {paid}.",
        "该行已退 {refunded}，现各级佣金为 {paid}。",
    ),
    "level_nothing": ("Level {level} gets nothing: {why}.", "第 {level} 级无佣金：{why}。"),
}

PHRASES = {
    "discount": (", less {amount} discount", "，优惠 {amount}"),
    "nothing_apart": ("shipping and tax do not earn", "运费和税费不计佣"),
    "apart": ("{names} earn as well", "{names}也计佣"),
    "shipping": ("shipping", "运费"),
    "tax": ("tax", "税费"),
    "by_code": ("code {code!r}", "推荐码“{code}”"),
    "by_reference": ("its reference", "订单指定的推荐人"),
    "by_self": ("the buyer's own purchase", "自购"),
    "somebody": ("level {level} was {who}", "第 {level} 级是 {who}"),
    "empty": ("level {level} was empty", "第 {level} 级空缺"),
    "default": (
        "the default, because no rule names the SKU or the category",
        "没有规则指明该 SKU 或品类，适用默认规则",
    ),
    "by_sku": (
        "because it names SKU {sku!r}, the most specific match",
        "它指明了 SKU “{sku}”，最为具体",
    ),
    "by_category": (
        "because it names category {category!r} and no rule names the SKU",
        "它指明了品类“{category}”，且没有规则指明该 SKU",
    ),
    "by_conditions": (
        "matched by {conditions}, more specific than {beaten}",
        "按 {conditions} 匹配，比{beaten}更具体",
    ),
    "any_other": ("any other", "其他规则"),
    "rules": ("rule {numbers}", "第 {numbers} 条规则"),
    "rounded": (", rounded {rounding} to {amount}", "，{rounding}取整为 {amount}"),
    "exactly": (" exactly", "（恰好）"),
    "agrees": ("gives the same", "一致"),
    "disagrees": ("DISAGREES", "不一致！"),
    "no_rule": ("no rule applies", "没有适用的规则"),
    "rate_absent": ("the rule names no rate for it", "规则没有给这一级的比例"),
    "nobody_there": ("nobody stood there", "这一级没有人"),
    "rate_zero": ("its rate is {rate}", "其比例为 {rate}"),
    "no_base": ("the line has nothing to earn on", "该行没有可计佣的金额"),
    "rounds_away": ("the amount rounds to zero", "金额取整后为零"),
    "not_eligible": (
        "who stood there may not earn by the plan",
        "这一级的分销商按方案不可计佣",
    ),
    "rank_nothing": (
        "its rank is worth no more than what was paid below",
        "其等级比例不高于下级已得",
    ),
    "capped": ("caps leave nothing for it", "封顶后没有余额"),
}

ROUNDINGS = {
    Rounding.DOWN: ("down", "向下"),
    Rounding.HALF_UP: ("half up", "四舍五入"),
    Rounding.HALF_EVEN: ("half to even", "四舍六入五成双"),
}

BASES = {
    Base.GROSS: (" before discount", "（折前）"),
    Base.NET: ("", ""),
    Base.PAID: (" paid in cash", "（现金实付）"),
    Base.MARGIN: (" margin", "（毛利）"),
    Base.INCOME: (" affiliate income", "（联盟收入）"),
}

UPLINE_BASES = {
    UplineBase.SALE: ("", ""),
    UplineBase.DIRECT: (" of direct commission", "（直推佣金）"),
    UplineBase.PREVIOUS: (" of the commission below", "（下一级佣金）"),
    UplineBase.RESIDUAL: (" left by the levels below", "（扣除下级后的余额）"),
}


@dataclass
class Words:
    """Sentences in both languages, one after the other."""

    en: list[str] = field(default_factory=list)
    zh: list[str] = field(default_factory=list)

    def say(self, sentence: str, **values: Any) -> None:
        """Add a sentence. A value is a text, or a pair of English and Chinese."""
        english, chinese = SENTENCES[sentence]
        self.en.append(english.format(**{name: _pick(value, 0) for name, value in values.items()}))
        self.zh.append(chinese.format(**{name: _pick(value, 1) for name, value in values.items()}))

    def gap(self) -> None:
        """An empty line."""
        self.en.append("")
        self.zh.append("")


Pair = tuple[str, str]


def phrase(name: str, **values: Any) -> Pair:
    """A part of a sentence, in both languages."""
    english, chinese = PHRASES[name]
    return (
        english.format(**{key: _pick(value, 0) for key, value in values.items()}),
        chinese.format(**{key: _pick(value, 1) for key, value in values.items()}),
    )


def listed(parts: list[Pair]) -> Pair:
    """Parts one after the other."""
    return ", ".join(part[0] for part in parts), "，".join(part[1] for part in parts)


def _pick(value: Any, language: int) -> Any:
    return value[language] if isinstance(value, tuple) else value
