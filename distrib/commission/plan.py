"""What a brand pays: a validated plan, and the tables in which the engine looks things up. Pure.

:mod:`distrib.commission.plan_document` makes a :class:`Plan` of a document that a person wrote;
``docs/plans.md`` describes the document, field by field.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from functools import cached_property
from typing import Any

import numpy as np

from distrib.commission.matching import Match, Matcher
from distrib.money import PPM, Rounding

MAX_LEVELS = 3

Ints = np.ndarray[Any, np.dtype[np.int64]]


class Base(StrEnum):
    """What of a line earns commission."""

    GROSS = "gross"
    NET = "net"
    PAID = "paid"
    MARGIN = "margin"
    INCOME = "income"


class UplineBase(StrEnum):
    """What the rates of levels 2 and 3 apply to; level 1's always apply to the sale."""

    SALE = "sale"
    DIRECT = "direct"
    PREVIOUS = "previous"
    RESIDUAL = "residual"


class Step(StrEnum):
    """Where a percentage is rounded: in each line, or once for a level of the whole order."""

    LINE = "line"
    ORDER = "order"


class SelfPurchase(StrEnum):
    """Who is level 1 when the buyer is a distributor."""

    OFF = "off"
    BUYER_FIRST = "buyer_first"
    SPONSOR_FIRST = "sponsor_first"


class Unfilled(StrEnum):
    """What becomes of a level whose distributor may not earn."""

    KEEP = "keep"
    ROLL_UP = "roll_up"
    STOP = "stop"


class Kind(IntEnum):
    """How a level is paid."""

    PERCENT = 1
    PER_UNIT = 2
    PER_ORDER = 3
    TIERS = 4


@dataclass(frozen=True, slots=True)
class Pay:
    """What a rule pays one level.

    :param value: parts per million, or minor units a unit or an order; 0 for tiers.
    :param tiers: (volume from which it holds in minor units, parts per million), rising from 0.
    """

    kind: Kind
    value: int = 0
    tiers: tuple[tuple[int, int], ...] = ()

    @property
    def most(self) -> int:
        """The highest share it can be, in parts per million; 0 for fixed amounts."""
        if self.kind is Kind.PERCENT:
            return self.value
        return max((rate for _, rate in self.tiers), default=0)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: what it matches, and what it pays.

    :param pays: one entry a level, level 1 first; a level left out gets nothing.
    :param difference: instead of ``pays``: parts per million by rank (none first), each upline
        getting what its rank has above the highest already paid below.
    """

    no: int
    name: str
    match: Match
    pays: tuple[Pay, ...] = ()
    difference: tuple[int, ...] = ()

    @property
    def specificity(self) -> str:
        """What it matches by: ``"sku+channel"``, or ``"default"`` for a rule without a match."""
        return "+".join(self.match.conditions) or "default"


@dataclass(frozen=True, slots=True)
class Campaign:
    """A time in which every rate and amount of the rules is multiplied.

    :param multiplier: parts per million; from and to are instants in microseconds, half open.
    """

    name: str
    begins: int
    ends: int
    multiplier: int


@dataclass(frozen=True, slots=True)
class FirstOrderBonus:
    """What a customer's first order pays on top."""

    name: str
    pays: tuple[Pay, ...]


@dataclass(frozen=True, slots=True)
class Milestone:
    """An amount for level 1 when its month's volume reaches ``volume``, once a month."""

    name: str
    volume: int
    amount: int


@dataclass(frozen=True, slots=True)
class Rank:
    """A rank of the brand's ladder.

    :param volume: a month's volume in minor units that earns it; None for one given by hand.
    """

    name: str
    volume: int | None = None


@dataclass(frozen=True, slots=True)
class Eligibility:
    """What a distributor must be to earn: else its level is treated as :class:`Unfilled` says."""

    active: bool = False
    sold_within_days: int | None = None
    month_volume: int | None = None

    def __bool__(self) -> bool:
        return self.active or self.asks_sales

    @property
    def asks_sales(self) -> bool:
        """Whether it looks at what the distributor has sold."""
        return self.sold_within_days is not None or self.month_volume is not None


@dataclass(frozen=True, slots=True)
class Caps:
    """The most that is paid. None means no such cap.

    :param order: parts per million of the order's ``order_base``, all levels together.
    :param line: minor units a line, all levels together.
    :param day: minor units a distributor and day of the brand; ``month`` likewise.
    """

    order: int | None = None
    order_base: Base = Base.NET
    line: int | None = None
    day: int | None = None
    month: int | None = None


@dataclass(frozen=True)
class Plan:
    """A validated plan. Rules are numbered from 1, in the document's order."""

    name: str
    levels: int
    currency: str
    rules: tuple[Rule, ...]
    base: Base = Base.NET
    includes: frozenset[str] = frozenset()
    upline_base: UplineBase = UplineBase.SALE
    rounding: Rounding = Rounding.HALF_UP
    rounding_step: Step = Step.LINE
    self_purchase: SelfPurchase = SelfPurchase.BUYER_FIRST
    unfilled: Unfilled = Unfilled.KEEP
    eligibility: Eligibility = field(default_factory=Eligibility)
    ranks: tuple[Rank, ...] = ()
    campaigns: tuple[Campaign, ...] = ()
    first_order: tuple[FirstOrderBonus, ...] = ()
    milestones: tuple[Milestone, ...] = ()
    caps: Caps = field(default_factory=Caps)
    people: dict[str, int] = field(default_factory=dict)
    channel_levels: dict[str, int] = field(default_factory=dict)
    """Channels that pay fewer levels."""

    # -- what the plan needs to know of an order ---------------------------------------------------

    @cached_property
    def uses_volume(self) -> bool:
        """Whether it asks how much a distributor has sold."""
        tiers = any(pay.kind is Kind.TIERS for rule in self.rules for pay in rule.pays)
        return (
            tiers
            or bool(self.milestones)
            or self.eligibility.month_volume is not None
            or self.eligibility.sold_within_days is not None
        )

    @cached_property
    def uses_room(self) -> bool:
        """Whether it limits what a distributor earns in a day or month."""
        return self.caps.day is not None or self.caps.month is not None

    @cached_property
    def uses_first(self) -> bool:
        """Whether it asks if an order is its customer's first."""
        return bool(self.first_order) or any(rule.match.first_order for rule in self.rules)

    @cached_property
    def needs_counting(self) -> bool:
        """Whether the brand must count sales and know its customers for it."""
        earned = any(rank.volume is not None for rank in self.ranks)
        return self.uses_volume or self.uses_room or self.uses_first or earned

    @cached_property
    def uses_rank(self) -> bool:
        """Whether it asks for ranks."""
        return any(rule.difference or rule.match.ranks for rule in self.rules)

    @cached_property
    def uses_facts(self) -> bool:
        """Whether it needs more than the tree: then what it was told is kept with the order."""
        return bool(
            self.uses_volume
            or self.uses_room
            or self.uses_first
            or self.uses_rank
            or self.eligibility
        )

    @cached_property
    def is_plain(self) -> bool:
        """Nothing but percentages of the sale, rounded in each line."""
        return (
            self.upline_base is UplineBase.SALE
            and self.rounding_step is Step.LINE
            and self.caps == Caps(order_base=self.caps.order_base)
            and not (self.campaigns or self.first_order or self.milestones)
            and not any(rule.difference for rule in self.rules)
            and all(pay.kind is Kind.PERCENT for rule in self.rules for pay in rule.pays)
        )

    # -- the engine's tables: [campaign, rule, level]; campaign 0 is none, rule 0 no rule -------

    @cached_property
    def matcher(self) -> Matcher:
        """Finds the rule of a line."""
        return Matcher(
            [rule.match for rule in self.rules],
            [rank.name for rank in self.ranks],
            self.people,
        )

    @cached_property
    def percent(self) -> Ints:
        """Parts per million where a level is paid a percentage."""
        return self._table(Kind.PERCENT)

    @cached_property
    def per_unit(self) -> Ints:
        """Minor units a unit."""
        return self._table(Kind.PER_UNIT)

    @cached_property
    def per_order(self) -> Ints:
        """Minor units an order."""
        return self._table(Kind.PER_ORDER)

    def _table(self, kind: Kind) -> Ints:
        made = np.zeros((len(self._factors), len(self.rules) + 1, MAX_LEVELS), np.int64)
        for rule in self.rules:
            for level, pay in enumerate(rule.pays):
                if pay.kind is kind:
                    for number, factor in enumerate(self._factors):
                        made[number, rule.no, level] = pay.value * factor // PPM
        return made

    @cached_property
    def difference(self) -> Ints:
        """Parts per million by rank. Shape (campaigns, rules, ranks), with no rank first."""
        shape = (len(self._factors), len(self.rules) + 1, len(self.ranks) + 1)
        made = np.zeros(shape, np.int64)
        for rule in self.rules:
            for rank, rate in enumerate(rule.difference):
                for number, factor in enumerate(self._factors):
                    made[number, rule.no, rank] = rate * factor // PPM
        return made

    @cached_property
    def is_difference(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which rules pay differences of ranks."""
        return np.array([False, *(bool(rule.difference) for rule in self.rules)])

    def tiers(self, rule_no: int, level: int) -> tuple[tuple[int, int], ...]:
        """The tiers of a rule's level (counted from 0), or none."""
        pays = self.rules[rule_no - 1].pays if rule_no else ()
        return pays[level].tiers if level < len(pays) else ()

    @cached_property
    def has_tiers(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which rules have tiers at which level."""
        return np.array(
            [
                [bool(self.tiers(no, level)) for level in range(MAX_LEVELS)]
                for no in range(len(self.rules) + 1)
            ]
        )

    @cached_property
    def _factors(self) -> list[int]:
        return [PPM, *(each.multiplier for each in self.campaigns)]

    def factor(self, campaign: int) -> int:
        """What a campaign multiplies by, in parts per million; campaign 0 is none."""
        return self._factors[campaign]

    def campaign_at(self, at: Ints) -> Ints:
        """The number of the campaign at each instant (microseconds), 0 for none."""
        found = np.zeros(len(at), np.int64)
        for number, each in enumerate(self.campaigns, 1):
            found[(at >= each.begins) & (at < each.ends)] = number
        return found
