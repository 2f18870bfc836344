"""The words in which changes of a plan are told, in English and Chinese. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

_LEVEL = re.compile(r"rates\[(\d+)\]")


@dataclass(frozen=True)
class Words:
    """A language.

    :param names: of parts, settings and aspects; what has no name is called as the document does.
    :param forms: sentences with places to fill.
    """

    names: Mapping[str, str]
    forms: Mapping[str, str]
    comma: str

    # -- what is talked about

    def subject(self, part: str, name: str) -> str:
        """``rule 'books'``, or a setting by its name."""
        if part in ("rule", "bonus", "rank"):
            return self.forms["named"].format(part=self.names[part], name=name)
        return self.aspect(name)

    def aspect(self, aspect: str) -> str:
        """What of a thing: ``level 2``."""
        level = _LEVEL.fullmatch(aspect)
        if level is not None:
            return self.forms["level"].format(int(level[1]) + 1)
        if aspect.startswith("difference."):
            return self.forms["rank"].format(aspect.removeprefix("difference."))
        return self.names.get(aspect, aspect)

    def place(self, subject: str, aspect: str) -> str:
        """``rule 'books': level 2``."""
        return self.forms["place"].format(subject, aspect)

    # -- what happened to it

    def changed(self, place: str, before: str, after: str) -> str:
        """From this to that."""
        return self.forms["changed"].format(place, before, after)

    def list_changed(self, place: str, came: Sequence[str], went: Sequence[str]) -> str:
        """What a list has gained and lost."""
        told = [
            self.forms[key].format(", ".join(those))
            for key, those in (("gained", came), ("lost", went))
            if those
        ]
        return f"{place} {self.join(told)}"

    def renamed(self, subject: str, name: str) -> str:
        """Another name."""
        return self.forms["renamed"].format(subject, name)

    def added(self, subject: str, detail: str) -> str:
        """New."""
        return self._whole("added", subject, detail)

    def removed(self, subject: str, detail: str) -> str:
        """Gone."""
        return self._whole("removed", subject, detail)

    def _whole(self, verb: str, subject: str, detail: str) -> str:
        told = self.forms[verb].format(subject)
        return self.place(told, detail) if detail else told

    # -- values

    def rule(self, condition: str, pays: str) -> str:
        """What a rule matches and pays."""
        return self.forms["rule"].format(condition or self.forms["everything"], pays)

    def fixed(self, name: str, amount: str) -> str:
        """An amount for each unit or order."""
        return self.forms[name].format(amount)

    def tiers(self, tiers: Sequence[tuple[str, str]]) -> str:
        """Rates by volume."""
        first, *others = tiers
        told = [first[1], *(self.forms["tier"].format(above, rate) for above, rate in others)]
        return " / ".join(told)

    def span(self, begins: str, ends: str) -> str:
        """A window of time."""
        return self.forms["span"].format(begins, ends)

    def choice(self, value: str) -> str:
        """A word of the rule language."""
        return self.names.get(f"={value}", value)

    def join(self, told: Iterable[str]) -> str:
        """One after the other."""
        return self.comma.join(told)

    @property
    def nothing(self) -> str:
        """No value."""
        return self.forms["nothing"]

    @property
    def yes(self) -> str:
        """True."""
        return self.forms["yes"]

    @property
    def no(self) -> str:
        """False."""
        return self.forms["no"]

    @property
    def by_rank(self) -> str:
        """The difference of ranks."""
        return self.forms["by_rank"]


ENGLISH = Words(
    names={
        "rule": "rule",
        "bonus": "bonus",
        "rank": "rank",
        "levels": "levels",
        "channel_levels": "channels that pay fewer levels",
        "upline_base": "base of levels 2 and 3",
        "rounding_step": "rounding step",
        "self_purchase": "self-purchase",
        "unfilled": "levels that cannot earn",
        "ranks": "order of ranks",
        "includes": "base includes",
        "month_volume": "monthly volume",
        "active": "only active distributors earn",
        "sold_within_days": "days within which one must have sold",
        "order": "most an order pays",
        "order_base": "base of the most an order pays",
        "line": "most a line pays",
        "distributor_day": "most a distributor earns in a day",
        "distributor_month": "most a distributor earns in a month",
        "match.sku": "SKU",
        "match.category": "category",
        "match.distributor": "distributor",
        "match.rank": "rank",
        "match.channel": "channel",
        "match.first_order": "first order",
        "match.window": "time",
        "rates": "rates",
        "pays": "pay",
        "from": "begin",
        "to": "end",
    },
    forms={
        "named": "{part} '{name}'",
        "level": "level {}",
        "rank": "rank {}",
        "place": "{}: {}",
        "changed": "{} from {} to {}",
        "gained": "gains {}",
        "lost": "loses {}",
        "renamed": "{} is now called '{}'",
        "added": "{} added",
        "removed": "{} removed",
        "rule": "{} pays {}",
        "everything": "everything else",
        "per_unit": "{} a unit",
        "per_order": "{} an order",
        "tier": "{1} above {0}",
        "span": "from {} to {}",
        "nothing": "none",
        "yes": "yes",
        "no": "no",
        "by_rank": "differences of ranks",
    },
    comma=", ",
)

CHINESE = Words(
    names={
        "rule": "规则",
        "bonus": "奖励",
        "rank": "等级",
        "name": "方案名称",
        "levels": "层级数",
        "channel_levels": "层级受限的渠道",
        "base": "计佣基数",
        "includes": "基数包含",
        "upline_base": "二、三级基数",
        "rounding": "取整方式",
        "rounding_step": "取整环节",
        "self_purchase": "自购",
        "unfilled": "空缺层级",
        "ranks": "等级顺序",
        "month_volume": "月销售额",
        "active": "仅有效分销商可得佣",
        "sold_within_days": "须有销售的天数",
        "order": "单笔订单佣金上限",
        "order_base": "订单上限的基数",
        "line": "单行佣金上限",
        "distributor_day": "分销商每日上限",
        "distributor_month": "分销商每月上限",
        "match.sku": "SKU",
        "match.category": "类目",
        "match.distributor": "分销商",
        "match.rank": "等级",
        "match.channel": "渠道",
        "match.first_order": "首单",
        "match.window": "时间",
        "rates": "佣金",
        "pays": "佣金",
        "from": "开始",
        "to": "结束",
        "multiplier": "倍数",
        "amount": "金额",
        "=gross": "原价",
        "=net": "折后价",
        "=paid": "实付",
        "=margin": "毛利",
        "=income": "收入",
        "=sale": "销售额",
        "=direct": "直推佣金",
        "=previous": "下一级佣金",
        "=residual": "剩余部分",
        "=half_up": "四舍五入",
        "=half_even": "银行家取整",
        "=down": "向下取整",
        "=line": "每行",
        "=order": "整单",
        "=off": "关闭",
        "=buyer_first": "本人为一级",
        "=sponsor_first": "上级为一级",
        "=keep": "留空",
        "=roll_up": "上移",
        "=stop": "停止",
    },
    forms={
        "named": "{part}“{name}”",
        "level": "第 {} 级",
        "rank": "等级“{}”",
        "place": "{}：{}",
        "changed": "{}由 {} 改为 {}",
        "gained": "增加 {}",
        "lost": "去掉 {}",
        "renamed": "{}更名为“{}”",
        "added": "新增{}",
        "removed": "删除{}",
        "rule": "{}，佣金 {}",
        "everything": "其他全部",
        "per_unit": "每件 {}",
        "per_order": "每单 {}",
        "tier": "超过 {0} 后 {1}",
        "span": "{} 至 {}",
        "nothing": "无",
        "yes": "是",
        "no": "否",
        "by_rank": "按等级级差",
    },
    comma="、",
)

LANGUAGES = {"en": ENGLISH, "zh": CHINESE}


def words_in(language: str) -> Words:
    """The words of a language.

    :raises ValueError: when it has none here.
    """
    try:
        return LANGUAGES[language]
    except KeyError:
        raise ValueError(f"{language!r} is none of {', '.join(LANGUAGES)}") from None
