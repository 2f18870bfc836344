"""What changes between two plan documents: as data, and in words. Pure.

Documents are compared by what they mean: ``"10.0%"`` is ``"10%"``, a setting that is left out is
its default, and rules are told apart by their names, wherever they stand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from distrib.commission.plan_words import Words, words_in

Document = Mapping[str, Any]

_DEFAULTS: dict[str, Any] = {
    "name": "plan",
    "levels": None,
    "channel_levels": {},
    "base": "net",
    "includes": [],
    "upline_base": "sale",
    "rounding": "half_up",
    "rounding_step": "line",
    "self_purchase": "buyer_first",
    "unfilled": "keep",
}
"""Settings of a document in the order in which they are told. ``levels`` and ``channel_levels``
are no part of one: who compares versions adds them."""

_CHOICES = {
    *("base", "upline_base", "rounding", "rounding_step", "self_purchase", "unfilled"),
    "order_base",
}
"""What is set to a word of the rule language."""

_LISTS = ("sku", "category", "distributor", "rank", "channel")


class Kind(StrEnum):
    """What happened."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"
    RENAMED = "renamed"


class Part(StrEnum):
    """To what kind of thing it happened."""

    SETTING = "setting"
    RANK = "rank"
    ELIGIBILITY = "eligibility"
    CAP = "cap"
    RULE = "rule"
    BONUS = "bonus"


@dataclass(frozen=True, slots=True)
class Change:
    """One difference.

    :param name: of the setting, rank, cap, rule or bonus.
    :param aspect: what of it, such as ``rates[1]`` or ``match.sku``; empty for all of it.
    :param before: as the document had it, made comparable; None where there was nothing.
    :param after: likewise.
    """

    kind: Kind
    part: Part
    name: str
    aspect: str = ""
    before: Any = None
    after: Any = None


def compare_plans(before: Document | None, after: Document) -> list[Change]:
    """The differences between two valid plan documents, always in the same order.

    :param before: None compares with nothing: all that ``after`` says is new.
    """
    old = before or {}
    return [
        *_settings(old, after),
        *_ranks(old, after),
        *_fields(Part.ELIGIBILITY, old, after, "eligibility"),
        *_fields(Part.CAP, old, after, "caps"),
        *_rules(_numbered(old), _numbered(after)),
        *_bonuses(old, after),
    ]


def describe_changes(
    before: Document | None, after: Document, *, language: str = "en"
) -> list[str]:
    """The differences between two valid plan documents, a sentence each.

    :param language: ``en`` or ``zh``.
    """
    words = words_in(language)
    return [say(change, words) for change in compare_plans(before, after)]


# -- comparing ------------------------------------------------------------------------------------


def _plain(value: Any) -> Any:
    """A value in the one form in which equal values are equal: numbers without idle zeros."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = repr(value)  # amounts may be written as numbers
    if isinstance(value, str):
        number = value.removesuffix("%")
        whole, dot, fraction = number.partition(".")
        if whole.isascii() and whole.isdigit() and (not dot or fraction.isdigit()):
            whole, fraction = whole.lstrip("0") or "0", fraction.rstrip("0")
            return (f"{whole}.{fraction}" if fraction else whole) + value[len(number) :]
    return value


def _change(part: Part, name: str, aspect: str, before: Any, after: Any) -> Iterator[Change]:
    """What happened to one value, if anything did."""
    if before == after:
        return
    kind = Kind.CHANGED
    if before is None:
        kind = Kind.ADDED
    elif after is None:
        kind = Kind.REMOVED
    yield Change(kind, part, name, aspect, before, after)


def _settings(old: Document, new: Document) -> Iterator[Change]:
    for name, default in _DEFAULTS.items():
        before, after = old.get(name, default), new.get(name, default)
        if isinstance(default, list):
            before, after = sorted(before), sorted(after)
        if before != after:
            yield Change(Kind.CHANGED, Part.SETTING, name, "", before, after)


def _ladder(document: Document) -> dict[str, Any]:
    """Volumes by rank, lowest rank first."""
    ranks = [{"name": r} if isinstance(r, str) else r for r in document.get("ranks", [])]
    return {each["name"]: _plain(each.get("month_volume")) for each in ranks}


def _ranks(old: Document, new: Document) -> Iterator[Change]:
    before, after = _ladder(old), _ladder(new)
    for name, volume in after.items():
        if name not in before:
            yield Change(Kind.ADDED, Part.RANK, name, "", None, volume)
        else:
            yield from _change(Part.RANK, name, "month_volume", before[name], volume)
    for name, volume in before.items():
        if name not in after:
            yield Change(Kind.REMOVED, Part.RANK, name, "", volume, None)
    both = [
        [name for name in one if name in two] for one, two in ((before, after), (after, before))
    ]
    if both[0] != both[1]:
        yield Change(Kind.CHANGED, Part.SETTING, "ranks", "", *both)


def _fields(part: Part, old: Document, new: Document, key: str) -> Iterator[Change]:
    before, after = dict(old.get(key, {})), dict(new.get(key, {}))
    for each in (before, after):
        if each.get("active") is False:  # the same as saying nothing
            del each["active"]
    for name in sorted(before.keys() | after.keys()):
        yield from _change(part, name, "", _plain(before.get(name)), _plain(after.get(name)))


def _numbered(document: Document) -> dict[str, Document]:
    """Rules by name; of those that share one, all but the first get a number."""
    found: dict[str, Document] = {}
    seen: Counter[str] = Counter()
    for no, rule in enumerate(document.get("rules", []), 1):
        name = rule.get("name", f"rule {no}")
        seen[name] += 1
        found[name if seen[name] == 1 else f"{name} ({seen[name]})"] = rule
    return found


def _match(rule: Document) -> dict[str, Any]:
    """The conditions, comparable: the order within a list says nothing."""
    match = dict(rule.get("match", {}))
    return {
        name: sorted(value) if isinstance(value, list) else value for name, value in match.items()
    }


def _pays(rule: Document) -> dict[str, Any]:
    """What a rule pays."""
    return {key: _plain(rule[key]) for key in ("rates", "difference") if key in rule}


def _rules(old: dict[str, Document], new: dict[str, Document]) -> Iterator[Change]:
    renamed = _renamed(old, new)
    for name, rule in new.items():
        formerly = name if name in old else renamed.get(name)
        if formerly is None:
            yield Change(Kind.ADDED, Part.RULE, name, "", None, _match_and_pays(rule))
            continue
        if formerly != name:
            yield Change(Kind.RENAMED, Part.RULE, name, "name", formerly, name)
        yield from _rule(name, old[formerly], rule)
    for name, rule in old.items():
        if name not in new and name not in renamed.values():
            yield Change(Kind.REMOVED, Part.RULE, name, "", _match_and_pays(rule), None)


def _match_and_pays(rule: Document) -> dict[str, Any]:
    return {"match": _match(rule)} | _pays(rule)


def _renamed(old: dict[str, Document], new: dict[str, Document]) -> dict[str, str]:
    """New names by which rules go that match exactly what a vanished rule matched.

    No two rules match exactly the same: a plan in which they did would be refused.
    """
    gone = {
        repr(sorted(_match(rule).items())): name for name, rule in old.items() if name not in new
    }
    came = {
        repr(sorted(_match(rule).items())): name for name, rule in new.items() if name not in old
    }
    return {came[match]: gone[match] for match in gone.keys() & came.keys()}


def _rule(name: str, old: Document, new: Document) -> Iterator[Change]:
    before, after = _match(old), _match(new)
    for condition in (*_LISTS, "first_order"):
        yield from _change(
            Part.RULE, name, f"match.{condition}", before.get(condition), after.get(condition)
        )
    windows = [[each["from"], each["to"]] if "from" in each else None for each in (before, after)]
    yield from _change(Part.RULE, name, "match.window", *windows)
    was, is_ = _pays(old), _pays(new)
    if was.keys() != is_.keys():
        yield Change(Kind.CHANGED, Part.RULE, name, "pays", was, is_)
    elif "difference" in was:
        yield from _shares(name, was["difference"], is_["difference"])
    else:
        yield from _levels(Part.RULE, name, was["rates"], is_["rates"])


def _shares(name: str, old: dict[str, str], new: dict[str, str]) -> Iterator[Change]:
    for rank in sorted(old.keys() | new.keys()):
        yield from _change(Part.RULE, name, f"difference.{rank}", old.get(rank), new.get(rank))


def _levels(part: Part, name: str, old: list[Any], new: list[Any]) -> Iterator[Change]:
    for level in range(max(len(old), len(new))):
        ours = [each[level] if level < len(each) else None for each in (old, new)]
        yield from _change(part, name, f"rates[{level}]", *ours)


_BONUS_NAMES = {"campaign": "campaign", "first_order": "first order", "milestone": "milestone"}


def _bonuses(old: Document, new: Document) -> Iterator[Change]:
    before, after = ({}, {})  # type: tuple[dict[str, Any], dict[str, Any]]
    for document, found in ((old, before), (new, after)):
        seen: Counter[str] = Counter()
        for bonus in document.get("bonuses", []):
            name = bonus.get("name", _BONUS_NAMES[bonus["kind"]])
            seen[name] += 1
            entry = {key: _plain(value) for key, value in bonus.items() if key != "name"}
            found[name if seen[name] == 1 else f"{name} ({seen[name]})"] = entry
    for name, bonus in after.items():
        was = before.get(name)
        if was is None or was["kind"] != bonus["kind"]:
            if was is not None:
                yield Change(Kind.REMOVED, Part.BONUS, name, "", was, None)
            yield Change(Kind.ADDED, Part.BONUS, name, "", None, bonus)
            continue
        for key in sorted(was.keys() | bonus.keys()):
            if key == "rates":
                yield from _levels(Part.BONUS, name, was["rates"], bonus["rates"])
            else:
                yield from _change(Part.BONUS, name, key, was.get(key), bonus.get(key))
    for name, was in before.items():
        if name not in after:
            yield Change(Kind.REMOVED, Part.BONUS, name, "", was, None)


# -- telling --------------------------------------------------------------------------------------


def say(change: Change, words: Words) -> str:
    """One sentence."""
    subject = words.subject(change.part, change.name)
    if change.kind is Kind.RENAMED:
        return words.renamed(words.subject(change.part, change.before), change.name)
    if not change.aspect and change.part in (Part.RULE, Part.BONUS, Part.RANK):
        return _say_whole(change, subject, words)
    aspect = words.aspect(change.aspect)
    place = words.place(subject, aspect) if aspect else subject
    if change.aspect.removeprefix("match.") in _LISTS and change.kind is Kind.CHANGED:
        return words.list_changed(
            place,
            [each for each in change.after if each not in change.before],
            [each for each in change.before if each not in change.after],
        )
    values = [_value(each, words) for each in (change.before, change.after)]
    if change.part is not Part.RULE and change.name in _CHOICES:
        values = [words.choice(each) for each in values]
    return words.changed(place, *values)


def _say_whole(change: Change, subject: str, words: Words) -> str:
    told = change.after if change.kind is Kind.ADDED else change.before
    detail = ""
    if change.part is Part.RULE:
        detail = words.rule(_condition(told["match"], words), _paid(told, words))
    elif change.part is Part.BONUS:
        facts = (
            words.place(words.aspect(key), _list_of(told, key, words))
            for key in sorted(told)
            if key != "kind"
        )
        detail = words.join(facts)
    elif told is not None:
        detail = words.place(words.aspect("month_volume"), told)
    verb = words.added if change.kind is Kind.ADDED else words.removed
    return verb(subject, detail)


def _list_of(bonus: Document, key: str, words: Words) -> str:
    value = bonus[key]
    return _paid({"rates": value}, words) if key == "rates" else _value(value, words)


def _condition(match: Document, words: Words) -> str:
    told = []
    for name in (*_LISTS, "first_order"):
        if name in match:
            value = match[name]
            label = words.aspect(f"match.{name}")
            told.append(label if value is True else f"{label} {', '.join(value)}")
    if "from" in match:
        told.append(words.span(match["from"], match["to"]))
    return words.join(told)


def _paid(told: Document, words: Words) -> str:
    if "difference" in told:
        return words.join(
            [words.by_rank, *(f"{rank} {rate}" for rank, rate in told["difference"].items())]
        )
    return words.join(_value(each, words) for each in told["rates"])


def _value(value: Any, words: Words) -> str:  # noqa: PLR0911  # a form a line
    if value is None or value in ([], {}):
        return words.nothing
    if isinstance(value, bool):
        return words.yes if value else words.no
    if isinstance(value, list):
        return ", ".join(str(each) for each in value)
    if not isinstance(value, dict):
        return str(value)
    if "rates" in value or "difference" in value:
        return _paid(value, words)
    if "tiers" in value:
        return words.tiers([(each.get("above", "0"), each["rate"]) for each in value["tiers"]])
    if value.keys() & {"per_unit", "per_order"}:
        ((name, amount),) = value.items()
        return words.fixed(name, str(amount))
    return ", ".join(f"{name} {each}" for name, each in sorted(value.items()))
