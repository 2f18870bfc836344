"""Which rule a line falls under. Pure.

A rule matches by any of seven conditions, all of which must hold. The most specific rule wins, by a
fixed precedence: the distributor in person, then the SKU, then the category (a deeper one before a
shallower one), the earner's rank, the channel, the customer's first order, the window of time. So
what a rule names further up the list decides, however much another names further down. Two rules
that could both match and are equally specific are refused when a plan is read.

Categories are paths: a rule for ``tea`` matches ``tea/green`` too.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Ints = np.ndarray[Any, np.dtype[np.int64]]

CONDITIONS = ("distributor", "sku", "category", "rank", "channel", "first_order", "window")
"""In order of precedence."""

_MOST_LINE_KEYS = 200_000
_DENSE = 1 << 22


@dataclass(frozen=True, slots=True)
class Match:
    """What a rule matches: an empty condition holds for everything.

    :param window: instants in microseconds, from and to, half open.
    """

    distributors: tuple[str, ...] = ()
    skus: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    ranks: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    first_order: bool = False
    window: tuple[int, int] | None = None

    @property
    def conditions(self) -> list[str]:
        """The names of the conditions it has, in order of precedence."""
        values = (
            self.distributors,
            self.skus,
            self.categories,
            self.ranks,
            self.channels,
            self.first_order,
            self.window,
        )
        return [name for name, value in zip(CONDITIONS, values, strict=True) if value]

    @property
    def looks_at_earner(self) -> bool:
        """Whether it may hold for one level of a line and not for another."""
        return bool(self.distributors or self.ranks)


Rank = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Clause:
    """A rule as far as its categories are of one depth: that depth is part of its precedence."""

    rule_no: int
    match: Match
    categories: tuple[str, ...]

    @property
    def precedence(self) -> Rank:
        """Compared from the left; the greater wins."""
        m = self.match
        depth = self.categories[0].count("/") + 1 if self.categories else 0
        return (
            int(bool(m.distributors)),
            int(bool(m.skus)),
            depth,
            int(bool(m.ranks)),
            int(bool(m.channels)),
            int(m.first_order),
            int(m.window is not None),
        )

    def overlaps(self, other: Clause) -> bool:
        """Whether a line can fall under both, given that both have the same precedence."""
        a, b = self.match, other.match
        pairs = (
            (a.distributors, b.distributors),
            (a.skus, b.skus),
            (self.categories, other.categories),
            (a.ranks, b.ranks),
            (a.channels, b.channels),
        )
        if any(one and not set(one) & set(two) for one, two in pairs):
            return False
        return (
            a.window is None
            or b.window is None
            or (a.window[0] < b.window[1] and b.window[0] < a.window[1])
        )


def clauses(matches: Sequence[Match]) -> list[Clause]:
    """The clauses of rules numbered from 1, the most specific first."""
    found = []
    for no, match in enumerate(matches, 1):
        by_depth: dict[int, list[str]] = defaultdict(list)
        for category in match.categories:
            by_depth[category.count("/")].append(category)
        if not by_depth:
            found.append(Clause(no, match, ()))
        found += [Clause(no, match, tuple(those)) for those in by_depth.values()]
    return sorted(found, key=lambda clause: clause.precedence, reverse=True)


def first_tie(matches: Sequence[Match]) -> tuple[int, int] | None:
    """The numbers of two rules that could both match and neither is more specific, if any."""
    seen: dict[tuple[Rank, str, str], list[Clause]] = defaultdict(list)
    for clause in sorted(clauses(matches), key=lambda each: each.rule_no):
        for name, value in _most_telling(clause):
            bucket = seen[clause.precedence, name, value]
            for other in bucket:
                if clause.overlaps(other):
                    return (other.rule_no, clause.rule_no)
            bucket.append(clause)
    return None


def _most_telling(clause: Clause) -> Iterator[tuple[str, str]]:
    """Values of one condition: clauses that share none of them cannot overlap."""
    m = clause.match
    for name, values in (
        ("distributor", m.distributors),
        ("sku", m.skus),
        ("category", clause.categories),
        ("rank", m.ranks),
        ("channel", m.channels),
    ):
        if values:
            yield from ((name, value) for value in values)
            return
    yield ("", "")


def _prefixes(category: str) -> Iterator[str]:
    parts = category.split("/")
    for end in range(1, len(parts) + 1):
        yield "/".join(parts[:end])


class _LineKeys(dict[tuple[str, str | None], int]):
    """(SKU, category) → number of the list of clauses that such a line may fall under."""

    def __init__(self, matcher: Matcher) -> None:
        self._matcher = matcher

    def __missing__(self, key: tuple[str, str | None]) -> int:
        return self._matcher._admit(self, key)


class Matcher:
    """Finds the rules of many lines at once.

    Lines are told apart by what of them any rule looks at: first SKU and category, then the
    order's channel, time and whether it is the customer's first, then the earner's rank and name.
    Each combination that occurs is decided once; the rest is looking up numbers in arrays.
    """

    def __init__(
        self, matches: Sequence[Match], ranks: Sequence[str], people: Mapping[str, int]
    ) -> None:
        self._clauses = clauses(matches)
        self._by_sku: dict[str, list[int]] = defaultdict(list)
        self._by_category: dict[str, list[int]] = defaultdict(list)
        self._anywhere: list[int] = []
        for n, clause in enumerate(self._clauses):
            if clause.match.skus:
                for sku in clause.match.skus:
                    self._by_sku[sku].append(n)
            elif clause.categories:
                for category in clause.categories:
                    self._by_category[category].append(n)
            else:
                self._anywhere.append(n)
        self._channels = {
            name: n
            for n, name in enumerate(
                sorted({channel for match in matches for channel in match.channels}), 1
            )
        }
        self._bounds = np.array(
            sorted({t for match in matches if match.window for t in match.window}), np.int64
        )
        self._ranks = {name: n for n, name in enumerate(ranks, 1)}
        named = {name for match in matches for name in match.distributors}
        self._people = np.array(sorted(people[name] for name in named if name in people), np.int64)
        self._ids = dict(people)
        self._codes_of = {
            name: int(np.searchsorted(self._people, people[name])) + 1
            for name in named
            if name in people
        }
        self.by_earner = any(match.looks_at_earner for match in matches)
        self._by_order = any(
            match.channels or match.first_order or match.window for match in matches
        )
        self.by_time = bool(len(self._bounds))
        self._lock = threading.Lock()
        self._lists: list[tuple[int, ...]] = []
        self._list_numbers: dict[tuple[int, ...], int] = {}
        self._keys = _LineKeys(self)
        self._firsts: list[int] = []  # the rule of each list's first clause: all, in simple plans

    def _admit(self, keys: _LineKeys, key: tuple[str, str | None]) -> int:
        sku, category = key
        found = set(self._anywhere)
        for n in self._by_sku.get(sku, ()):
            wanted = self._clauses[n].categories
            if not wanted or (
                category is not None and not {*_prefixes(category)}.isdisjoint(wanted)
            ):
                found.add(n)
        if category is not None:
            for prefix in _prefixes(category):
                found.update(self._by_category.get(prefix, ()))
        candidates = tuple(sorted(found))
        with self._lock:
            number = self._list_numbers.get(candidates)
            if number is None:
                number = len(self._lists)
                self._lists.append(candidates)
                self._firsts.append(self._clauses[candidates[0]].rule_no if candidates else 0)
                self._list_numbers[candidates] = number
            if len(keys) >= _MOST_LINE_KEYS:
                keys.clear()
            keys[key] = number
        return number

    def candidates(self, sku: str, category: str | None) -> list[Clause]:
        """The clauses that a line of this SKU and category may fall under, best first."""
        return [self._clauses[n] for n in self._lists[self._keys[sku, category]]]

    def holding(
        self,
        sku: str,
        category: str | None,
        *,
        channel: str | None,
        at: int,
        first: bool,
        rank: int,
        earner: int,
    ) -> list[Clause]:
        """The clauses that hold for one line and earner, best first: the first is its rule."""
        return [
            clause
            for clause in self.candidates(sku, category)
            if (not clause.match.channels or channel in clause.match.channels)
            and (not clause.match.first_order or first)
            and (
                clause.match.window is None or clause.match.window[0] <= at < clause.match.window[1]
            )
            and (not clause.match.ranks or any(self._ranks[r] == rank for r in clause.match.ranks))
            and (
                not clause.match.distributors
                or any(self._ids.get(name) == earner for name in clause.match.distributors)
            )
        ]

    def rules_of(
        self,
        order: Ints,
        sku: Sequence[str],
        category: Sequence[str | None],
        *,
        channel: Sequence[str | None] | None,
        at: Ints | None,
        first: np.ndarray[Any, np.dtype[np.bool_]] | None,
        rank: Ints | None,
        upline: Ints,
    ) -> Ints:
        """The number of the rule of each line and level, 0 for none. Shape (lines, 3).

        :param order: which order each line belongs to; the rest is given by order.
        """
        keys = np.fromiter(
            map(self._keys.__getitem__, zip(sku, category, strict=True)), np.int64, len(sku)
        )
        if not (self._by_order or self.by_earner):
            rule = np.array(self._firsts, np.int64)[keys] if len(keys) else keys
            return np.broadcast_to(rule[:, None], (len(rule), 3))
        orders = len(upline)
        by_order, order_kinds = self._order_codes(orders, channel, at, first)
        by_earner, earner_kinds = self._earner_codes(upline, rank)
        code = (keys * order_kinds + by_order[order])[:, None] * earner_kinds + by_earner[order]
        found = self._decide(code, len(self._lists) * order_kinds * earner_kinds, earner_kinds)
        return found if self.by_earner else np.broadcast_to(found, (len(keys), 3))

    def _order_codes(
        self,
        orders: int,
        channel: Sequence[str | None] | None,
        at: Ints | None,
        first: np.ndarray[Any, np.dtype[np.bool_]] | None,
    ) -> tuple[Ints, int]:
        code = np.zeros(orders, np.int64)
        if self._channels and channel is not None:
            known = self._channels
            code = np.fromiter((known.get(c or "", 0) for c in channel), np.int64, orders)
        spans = len(self._bounds) + 1
        code = code * spans
        if len(self._bounds) and at is not None:
            code = code + np.searchsorted(self._bounds, at, side="right")
        code = code * 2 + (0 if first is None else first)
        return code, (len(self._channels) + 1) * spans * 2

    def _earner_codes(self, upline: Ints, rank: Ints | None) -> tuple[Ints, int]:
        if not self.by_earner:
            return np.zeros((len(upline), 1), np.int64), 1
        person = np.zeros(upline.shape, np.int64)
        if len(self._people):
            place = np.minimum(np.searchsorted(self._people, upline), len(self._people) - 1)
            person = np.where(self._people[place] == upline, place + 1, 0)
        ranks = len(self._ranks) + 1
        code = person * ranks + (0 if rank is None else rank)
        return code, (len(self._people) + 1) * ranks

    def _decide(self, code: Ints, size: int, earner_kinds: int) -> Ints:
        if size <= min(_DENSE, 1024 + 8 * code.size):
            occurs = np.zeros(size, bool)
            occurs[code] = True
            rules = np.zeros(size, np.int64)
            for each in np.flatnonzero(occurs).tolist():
                rules[each] = self._rule_of_code(each, earner_kinds)
            return rules[code]
        unique, inverse = np.unique(code, return_inverse=True)
        decided = [self._rule_of_code(each, earner_kinds) for each in unique.tolist()]
        return np.array(decided, np.int64)[inverse].reshape(code.shape)

    def _rule_of_code(self, code: int, earner_kinds: int) -> int:
        ranks = len(self._ranks) + 1 if self.by_earner else 1
        spans = len(self._bounds) + 1
        rest, earner = divmod(code, earner_kinds)
        person, rank = divmod(earner, ranks)
        rest, first = divmod(rest, 2)
        rest, span = divmod(rest, spans)
        key, channel = divmod(rest, len(self._channels) + 1)
        for n in self._lists[key]:
            m = self._clauses[n].match
            if (
                (not m.channels or any(self._channels[c] == channel for c in m.channels))
                and (not m.first_order or first)
                and (m.window is None or self._within(m.window, span))
                and (not m.ranks or any(self._ranks[r] == rank for r in m.ranks))
                and (
                    not m.distributors
                    or (person and any(self._codes_of.get(d) == person for d in m.distributors))
                )
            ):
                return self._clauses[n].rule_no
        return 0

    def _within(self, window: tuple[int, int], span: int) -> bool:
        """Whether the span of time that begins with bound number ``span`` lies in the window."""
        return span > 0 and window[0] <= int(self._bounds[span - 1]) < window[1]
