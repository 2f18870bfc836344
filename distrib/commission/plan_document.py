"""Reading a plan document: what a person wrote, checked and made a :class:`Plan`. Pure.

Every error names the place, as in ``rules[1].rates[0]``, and the reason. ``docs/plans.md``
describes the document.
"""

from __future__ import annotations

import hashlib
import json
import re
from fractions import Fraction
from itertools import accumulate, pairwise
from math import ceil, prod
from operator import mul
from typing import Any

from distrib.commission.matching import Match, first_tie
from distrib.commission.plan import (
    MAX_LEVELS,
    Base,
    Campaign,
    Caps,
    Eligibility,
    FirstOrderBonus,
    Kind,
    Milestone,
    Pay,
    Plan,
    Rank,
    Rule,
    SelfPurchase,
    Step,
    Unfilled,
    UplineBase,
)
from distrib.commission.plan_values import (
    Document,
    E,
    PlanInvalid,
    fail,
    read_amount,
    read_choice,
    read_count,
    read_list,
    read_object,
    read_rate,
    read_strings,
    read_text,
    read_window,
)
from distrib.money import PPM, Rounding, format_rate
from distrib.orders.document import wrong_channel

__all__ = ["MAX_FIXED", "MAX_RULES", "PlanInvalid", "document_hash", "read_plan"]

MAX_RULES = 10_000
MAX_FIXED = 1_000_000_000
"""Largest fixed amount in minor units. Its product with any quantity fits 64 bits."""
_MOST_CAMPAIGNS = 100
_MOST_MILESTONES = 60
_MULTIPLIER = re.compile(r"[0-9]{1,9}(\.[0-9]{1,6})?")


def _together(shares: list[int], base: UplineBase) -> Fraction:
    """The most that the levels get of a sale, for shares in parts per million."""
    first, *others = (Fraction(share, PPM) for share in shares)
    match base:
        case UplineBase.SALE:
            return sum(others, first)
        case UplineBase.DIRECT:
            return first * sum(others, Fraction(1))
        case UplineBase.PREVIOUS:
            return sum(accumulate(others, mul, initial=first), Fraction(0))
        case UplineBase.RESIDUAL:
            return 1 - prod((1 - share for share in others), start=1 - first)


class _Reader:
    """Reads one document."""

    def __init__(self, document: Document, levels: int, currency: str) -> None:
        self.document = document
        self.levels = levels
        self.currency = currency
        self.upline_base = self.choice(UplineBase, "upline_base", UplineBase.SALE)
        self.ranks = self._ranks()
        self.names = [rank.name for rank in self.ranks]

    def _ranks(self) -> tuple[Rank, ...]:
        if "ranks" not in self.document:
            return ()
        ranks = []
        for i, given in enumerate(read_list(self.document["ranks"], "ranks", 100, "ranks")):
            at = f"ranks[{i}]"
            if isinstance(given, str):
                ranks.append(Rank(read_text(given, at)))
                continue
            entry = read_object(given, at, "name", "month_volume")
            volume = entry.get("month_volume")
            ranks.append(
                Rank(
                    read_text(entry.get("name"), f"{at}.name"),
                    None
                    if volume is None
                    else read_amount(volume, f"{at}.month_volume", self.currency),
                )
            )
        if len({rank.name for rank in ranks}) != len(ranks):
            raise fail("names something twice", "ranks")
        volumes = [rank.volume for rank in ranks if rank.volume is not None]
        if sorted(set(volumes)) != volumes:
            raise fail("volumes must rise from rank to rank, lowest rank first", "ranks")
        return tuple(ranks)

    def choice(self, kind: type[E], name: str, default: E) -> E:
        """A named setting."""
        return read_choice(kind, self.document.get(name, default), name)

    # -- rules -------------------------------------------------------------------------------------

    def rules(self) -> tuple[Rule, ...]:
        """All rules, no two of which can tie."""
        given = read_list(self.document.get("rules"), "rules", MAX_RULES, "rules")
        rules = tuple(self._rule(rule, no) for no, rule in enumerate(given, 1))
        tie = first_tie([rule.match for rule in rules])
        if tie is not None:
            one, other = tie
            raise fail(
                f"rule {one} matches by the same ({rules[one - 1].specificity}); a line could fall"
                f" under either",
                f"rules[{other - 1}].match",
            )
        return rules

    def _rule(self, given: Any, no: int) -> Rule:
        at = f"rules[{no - 1}]"
        document = read_object(given, at, "name", "match", "rates", "difference")
        name = read_text(document.get("name", f"rule {no}"), f"{at}.name")
        match = self._match(document.get("match", {}), f"{at}.match")
        if ("rates" in document) == ("difference" in document):
            raise fail("a rule has either rates or a difference of ranks", f"{at}.rates")
        if "difference" in document:
            shares = self._difference(document["difference"], f"{at}.difference")
            return Rule(no, name, match, difference=shares)
        return Rule(no, name, match, self.pays(document["rates"], f"{at}.rates", self.upline_base))

    def _match(self, given: Any, at: str) -> Match:
        known = ("distributor", "sku", "category", "rank", "channel", "first_order", "from", "to")
        document = read_object(given, at, *known)

        def strings(name: str) -> tuple[str, ...]:
            return read_strings(document[name], f"{at}.{name}") if name in document else ()

        ranks = strings("rank")
        for i, rank in enumerate(ranks):
            if rank not in self.names:
                raise fail(f"{rank!r} is none of the plan's ranks", f"{at}.rank[{i}]")
        channels = strings("channel")
        for i, channel in enumerate(channels):
            if (reason := wrong_channel(channel)) is not None:
                raise fail(reason, f"{at}.channel[{i}]")
        if document.get("first_order", True) is not True:
            raise fail("must be true, or left out", f"{at}.first_order")
        return Match(
            distributors=strings("distributor"),
            skus=strings("sku"),
            categories=strings("category"),
            ranks=ranks,
            channels=channels,
            first_order="first_order" in document,
            window=read_window(document, at) if {"from", "to"} & document.keys() else None,
        )

    def pays(self, given: Any, at: str, base: UplineBase) -> tuple[Pay, ...]:
        """What each level gets, level 1 first; ``base`` is what levels 2 and 3 are paid of."""
        if isinstance(given, list) and len(given) > self.levels:
            has = f"{self.levels} level" + "s" * (self.levels > 1)
            raise fail(f"names {len(given)} levels; the brand has {has}", at)
        entries = read_list(given, at, self.levels, "rates, one a level")
        pays = tuple(self._pay(entry, f"{at}[{i}]") for i, entry in enumerate(entries))
        if _together([pay.most for pay in pays], base) > 1:
            raise fail("the levels together pay more than 100%", at)
        return pays

    def _pay(self, given: Any, at: str) -> Pay:
        if not isinstance(given, dict):
            return Pay(Kind.PERCENT, read_rate(given, at))
        document = read_object(given, at, "per_unit", "per_order", "tiers")
        if len(document) != 1:
            raise fail("says one of per_unit, per_order and tiers", at)
        ((name, value),) = document.items()
        place = f"{at}.{name}"
        if name == "tiers":
            return Pay(Kind.TIERS, tiers=self._tiers(value, place))
        kind = Kind.PER_UNIT if name == "per_unit" else Kind.PER_ORDER
        return Pay(kind, read_amount(value, place, self.currency, most=MAX_FIXED))

    def _tiers(self, given: Any, at: str) -> tuple[tuple[int, int], ...]:
        if self.document.get("base", Base.NET) != Base.NET or "includes" in self.document:
            raise fail("tiers go by volume, which is net: the plan's base must be net", at)
        tiers = []
        for i, entry in enumerate(read_list(given, at, 100, "tiers")):
            tier = read_object(entry, f"{at}[{i}]", "above", "rate")
            above = tier.get("above", "0" if i == 0 else None)
            if above is None:
                raise fail("only the first tier may leave it out", f"{at}[{i}].above")
            tiers.append(
                (
                    read_amount(above, f"{at}[{i}].above", self.currency),
                    read_rate(tier.get("rate"), f"{at}[{i}].rate"),
                )
            )
        starts = [start for start, _ in tiers]
        if starts[0] != 0 or sorted(set(starts)) != starts:
            raise fail("tiers begin at 0 and rise", at)
        return tuple(tiers)

    def _difference(self, given: Any, at: str) -> tuple[int, ...]:
        document = read_object(given, at, *self.names)
        if not document:
            raise fail("must name at least one of the plan's ranks", at)
        rates = [read_rate(document.get(name, "0%"), f"{at}.{name}") for name in self.names]
        if sorted(rates) != rates:
            raise fail("a higher rank must not get less than a lower one", at)
        return (0, *rates)

    # -- what is paid beside the rules -------------------------------------------------------------

    def bonuses(self) -> dict[str, Any]:
        """Campaigns, first-order bonuses and milestones."""
        found: dict[str, list[Any]] = {"campaigns": [], "first_order": [], "milestones": []}
        if "bonuses" not in self.document:
            return found
        for i, given in enumerate(read_list(self.document["bonuses"], "bonuses", 200, "bonuses")):
            at = f"bonuses[{i}]"
            kind = given.get("kind") if isinstance(given, dict) else None
            if kind == "campaign":
                found["campaigns"].append(self._campaign(given, at))
            elif kind == "first_order":
                document = read_object(given, at, "kind", "name", "rates")
                pays = self.pays(document.get("rates"), f"{at}.rates", UplineBase.SALE)
                if any(pay.kind is Kind.TIERS for pay in pays):
                    raise fail("a bonus has no tiers", f"{at}.rates")
                name = read_text(document.get("name", "first order"), f"{at}.name")
                found["first_order"].append(FirstOrderBonus(name, pays))
            elif kind == "milestone":
                found["milestones"].append(self._milestone(given, at))
            else:
                raise fail("must be one of campaign, first_order, milestone", f"{at}.kind")
        if len(found["milestones"]) > _MOST_MILESTONES:
            raise fail(f"has more than {_MOST_MILESTONES} milestones", "bonuses")
        marks = [each.volume for each in found["milestones"]]
        if len(set(marks)) != len(marks):
            raise fail("two milestones are at the same month_volume; add their amounts", "bonuses")
        return found

    def _campaign(self, given: Any, at: str) -> Campaign:
        document = read_object(given, at, "kind", "name", "from", "to", "multiplier")
        name = read_text(document.get("name", "campaign"), f"{at}.name")
        begins, ends = read_window(document, at)
        text = read_text(document.get("multiplier"), f"{at}.multiplier")
        if not _MULTIPLIER.fullmatch(text):
            raise fail('must be a number such as "1.5"', f"{at}.multiplier")
        whole, _, fraction = text.partition(".")
        multiplier = int(whole) * PPM + int(fraction.ljust(6, "0"))
        if not 0 < multiplier <= 10 * PPM:
            raise fail("must be above 0 and at most 10", f"{at}.multiplier")
        return Campaign(name, begins, ends, multiplier)

    def _milestone(self, given: Any, at: str) -> Milestone:
        document = read_object(given, at, "kind", "name", "month_volume", "amount")
        volume = read_amount(document.get("month_volume"), f"{at}.month_volume", self.currency)
        if not volume:
            raise fail("must be above 0", f"{at}.month_volume")
        return Milestone(
            read_text(document.get("name", "milestone"), f"{at}.name"),
            volume,
            read_amount(document.get("amount"), f"{at}.amount", self.currency, most=MAX_FIXED),
        )

    def check_campaigns(self, campaigns: list[Campaign], rules: tuple[Rule, ...]) -> None:
        """One at a time, and every multiplied rate and amount exact."""
        inorder = sorted(campaigns, key=lambda each: each.begins)
        for one, other in pairwise(inorder):
            if other.begins < one.ends:
                raise fail(f"{one.name!r} and {other.name!r} overlap in time", "bonuses")
        if len(campaigns) > _MOST_CAMPAIGNS:
            raise fail(f"has more than {_MOST_CAMPAIGNS} campaigns", "bonuses")
        for campaign in campaigns:
            for rule in rules:
                self._check_multiplied(campaign, rule)

    def _check_multiplied(self, campaign: Campaign, rule: Rule) -> None:
        factor, at = campaign.multiplier, f"rules[{rule.no - 1}]"
        values = [pay.value for pay in rule.pays]
        values += [rate for pay in rule.pays for _, rate in pay.tiers] + list(rule.difference)
        if any(value * factor % PPM for value in values):
            raise fail(
                f"times {campaign.name!r} gives a rate or amount that is not exact", f"{at}.rates"
            )
        fixed = [pay.value for pay in rule.pays if pay.kind in (Kind.PER_UNIT, Kind.PER_ORDER)]
        if any(value * factor // PPM > MAX_FIXED for value in fixed):
            raise fail(
                f"times {campaign.name!r} is more than {MAX_FIXED} minor units", f"{at}.rates"
            )
        shares = [pay.most * factor // PPM for pay in rule.pays]
        shares = shares or [max(rule.difference) * factor // PPM]
        share = max(_together(shares, self.upline_base), Fraction(max(shares), PPM))
        if share > 1:
            raise fail(
                f"times {campaign.name!r} pays {format_rate(ceil(share * PPM))}, more than 100%",
                f"{at}.rates",
            )

    def eligibility(self) -> Eligibility:
        """What a distributor must be to earn."""
        if "eligibility" not in self.document:
            return Eligibility()
        document = read_object(
            self.document["eligibility"],
            "eligibility",
            *("active", "sold_within_days", "month_volume"),
        )
        if not isinstance(document.get("active", False), bool):
            raise fail("must be true or false", "eligibility.active")
        days, volume = document.get("sold_within_days"), document.get("month_volume")
        return Eligibility(
            active=document.get("active", False),
            sold_within_days=None
            if days is None
            else read_count(days, "eligibility.sold_within_days", 366),
            month_volume=None
            if volume is None
            else read_amount(volume, "eligibility.month_volume", self.currency),
        )

    def caps(self, base: Base, *, needs_one: bool) -> Caps:
        """The most that is paid; where fixed amounts or bonuses could pay more than the order
        brings, at most all of its base."""
        names = ("order", "order_base", "line", "distributor_day", "distributor_month")
        document = read_object(self.document.get("caps", {}), "caps", *names)

        def amount(name: str) -> int | None:
            if name not in document:
                return None
            return read_amount(document[name], f"caps.{name}", self.currency)

        share = read_rate(document["order"], "caps.order") if "order" in document else None
        if share is None and needs_one:
            share = PPM
        if "order_base" in document and "order" not in document:
            raise fail("says of what, but caps.order does not say how much", "caps.order_base")
        return Caps(
            order=share,
            order_base=read_choice(Base, document.get("order_base", base), "caps.order_base"),
            line=amount("line"),
            day=amount("distributor_day"),
            month=amount("distributor_month"),
        )


_SETTINGS = (
    *("name", "base", "includes", "upline_base", "rounding", "rounding_step", "self_purchase"),
    *("unfilled", "eligibility", "ranks", "rules", "bonuses", "caps"),
)


def read_plan(document: Any, *, levels: int, currency: str = "CNY") -> Plan:
    """Validate a plan document and compile it.

    :param levels: how many levels the brand allows, 1 to 3.
    :param currency: of the amounts in the document.
    :raises PlanInvalid: naming the place and the reason. Two rules that a line could both fall
        under, neither more specific, are an error here, never a surprise when an order comes.
    """
    if not isinstance(document, dict):
        raise fail("a plan is a JSON object", "document")
    if not 1 <= levels <= MAX_LEVELS:
        raise ValueError(f"a brand has 1 to {MAX_LEVELS} levels, not {levels}")
    read_object(document, "document", *_SETTINGS)
    reader = _Reader(document, levels, currency)
    base = reader.choice(Base, "base", Base.NET)
    includes = read_strings(document["includes"], "includes") if "includes" in document else ()
    for i, name in enumerate(includes):
        if name not in ("shipping", "tax"):
            raise fail("must be one of shipping, tax", f"includes[{i}]")
    rules = reader.rules()
    bonuses = reader.bonuses()
    reader.check_campaigns(bonuses["campaigns"], rules)
    fixed = any(pay.kind in (Kind.PER_UNIT, Kind.PER_ORDER) for rule in rules for pay in rule.pays)
    mixed = any(rule.match.looks_at_earner for rule in rules)  # levels under different rules
    return Plan(
        name=read_text(document.get("name", "plan"), "name"),
        levels=levels,
        currency=currency,
        rules=rules,
        base=base,
        includes=frozenset(includes),
        upline_base=reader.upline_base,
        rounding=reader.choice(Rounding, "rounding", Rounding.HALF_UP),
        rounding_step=reader.choice(Step, "rounding_step", Step.LINE),
        self_purchase=reader.choice(SelfPurchase, "self_purchase", SelfPurchase.BUYER_FIRST),
        unfilled=reader.choice(Unfilled, "unfilled", Unfilled.KEEP),
        eligibility=reader.eligibility(),
        ranks=reader.ranks,
        campaigns=tuple(bonuses["campaigns"]),
        first_order=tuple(bonuses["first_order"]),
        milestones=tuple(bonuses["milestones"]),
        caps=reader.caps(
            base,
            needs_one=fixed or mixed or bool(bonuses["first_order"]),
        ),
    )


def document_hash(document: Any) -> bytes:
    """16 bytes that name a document's content, whatever the order of its keys."""
    text = json.dumps(document, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
