"""Why an amount is what it is: as data, and in words, English and Chinese.

The explanation does not trust the stored row: it reads the order, the plan version and what was
known at that time, asks the engine again with its trace on, and says whether the answer is the
amount on record.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from distrib import ids
from distrib.brands.tables import Brand
from distrib.commission.book import Book, open_book
from distrib.commission.engine import Result
from distrib.commission.goods import Left
from distrib.commission.known import microseconds
from distrib.commission.pay_words import Cell, explain_level, why_nothing
from distrib.commission.plan import Plan, Rule
from distrib.commission.service import compiled_plan
from distrib.commission.tables import Commission, PlanVersion
from distrib.commission.trace import make_trace
from distrib.commission.wording import Pair, Words, listed, phrase
from distrib.errors import NotFound
from distrib.money import format_amount, format_rate
from distrib.orders.tables import Order, OrderLine, Refund
from distrib.tree.tables import Distributor

Ints = np.ndarray[Any, np.dtype[np.int64]]


class CommissionNotFound(NotFound):
    """No commission of that source, line and level."""

    title = "No such commission"


class OrderNotFound(NotFound):
    """No order of that id."""

    title = "No such order"


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why, as data for programs and as sentences for people, English and Chinese."""

    data: dict[str, Any]
    words: list[str]
    words_zh: list[str]


@dataclass(frozen=True)
class Case:
    """An order with all that decided what it pays."""

    brand: Brand
    order: Order
    lines: list[OrderLine]
    book: Book
    version: PlanVersion | None
    plan: Plan | None
    people: dict[int, Distributor]

    def money(self, amount: int) -> str:
        """An amount as people write it."""
        return f"{format_amount(amount, self.brand.currency)} {self.brand.currency}"

    def person(self, distributor_id: int) -> str:
        """A distributor as people know it."""
        person = self.people.get(distributor_id)
        return f"{person.external_id} ({person.name})" if person else "somebody unknown"

    def external_id(self, distributor_id: int) -> str | None:
        """The brand's id of a distributor."""
        person = self.people.get(distributor_id)
        return person.external_id if person else None

    @property
    def upline(self) -> list[int]:
        """Who earns at each level, 0 for nobody."""
        return [int(i) for i in self.book.upline[0]]

    def rule(self, number: int) -> Rule | None:
        """The rule of that number; none for 0."""
        return self.plan.rules[number - 1] if self.plan and number else None


def _open_case(session: Session, brand: Brand, order_id: int, *others: int) -> Case:
    order = session.get(Order, (brand.id, order_id))
    if order is None:
        raise OrderNotFound(f"there is no order {ids.public('ord', order_id)}", field="order")
    book = open_book(session, brand_id=brand.id, order_ids=[order_id])
    version = plan = None
    if order.plan_version_id is not None:
        version = session.get_one(PlanVersion, (brand.id, order.plan_version_id))
        plan = compiled_plan(session, brand_id=brand.id, version_id=version.id)
    # the record may name others than the tree does: an explanation must be able to say so
    named = {*book.upline[0].tolist(), *others, order.distributor_id or 0}
    named.add(order.buyer_distributor_id or 0)
    people = session.scalars(
        select(Distributor).where(Distributor.brand_id == brand.id, Distributor.id.in_(named))
    )
    return Case(
        brand=brand,
        order=order,
        lines=list(
            session.scalars(
                select(OrderLine)
                .where(OrderLine.brand_id == brand.id, OrderLine.order_id == order_id)
                .order_by(OrderLine.line_no)
            )
        ),
        book=book,
        version=version,
        plan=plan,
        people={person.id: person for person in people},
    )


# -- what all explanations say ---------------------------------------------------------------------


def _tell_tree(case: Case, words: Words) -> None:
    order = case.order
    if order.distributor_id is None:
        if order.buyer_distributor_id is None:
            words.say("nobody")
        else:
            words.say("self_off", buyer=case.person(order.buyer_distributor_id))
        return
    how = {
        "code": phrase("by_code", code=order.referral_code),
        "self": phrase("by_self"),
    }.get(order.referral, phrase("by_reference"))
    words.say("credited", how=how, who=case.person(order.distributor_id))
    levels = [
        phrase("somebody", level=n, who=case.person(i)) if i else phrase("empty", level=n)
        for n, i in enumerate(case.upline[: case.brand.levels], 1)
    ]
    words.say("tree", at=f"{order.effective_at:%Y-%m-%d %H:%M:%S}", levels=listed(levels))


def _tell_plan(case: Case, words: Words, line: OrderLine, rule: Rule | None, level: int) -> None:
    if case.version is None or case.plan is None:
        words.say("no_plan")
        return
    words.say(
        "plan",
        number=case.version.number,
        name=case.plan.name,
        since=f"{case.version.effective_from:%Y-%m-%d %H:%M:%S}",
    )
    if rule is None:
        words.say("no_rule", sku=line.sku)
        return
    words.say("rule", no=rule.no, name=rule.name, why=_why_rule(case, line, rule, level))


def _why_rule(case: Case, line: OrderLine, rule: Rule, level: int) -> Pair:
    conditions = rule.match.conditions
    if not conditions:
        return phrase("default")
    if conditions == ["sku"]:
        return phrase("by_sku", sku=line.sku)
    if conditions == ["category"]:
        return phrase("by_category", category=line.category)
    beaten = [str(each["no"]) for each in _beaten(case, line, rule, level)]
    return phrase(
        "by_conditions",
        conditions=", ".join(conditions),
        beaten=phrase("rules", numbers=", ".join(beaten)) if beaten else phrase("any_other"),
    )


def _beaten(case: Case, line: OrderLine, rule: Rule | None, level: int) -> list[dict[str, Any]]:
    """The rules that matched the line as well and were less specific."""
    if case.plan is None or rule is None:
        return []
    known = case.book.known
    holding = case.plan.matcher.holding(
        line.sku,
        line.category,
        channel=case.order.channel,
        at=int(microseconds([case.order.effective_at])[0]),
        first=bool(known.first[0]),
        rank=int(known.rank[0, level - 1]),
        earner=case.upline[level - 1],
    )
    numbers = [clause.rule_no for clause in holding]
    beaten = dict.fromkeys(number for number in numbers if number != rule.no)
    return [_rule_data(case.plan.rules[number - 1]) for number in beaten]


def _tell_line(case: Case, words: Words, line: OrderLine) -> None:
    gross = line.quantity * line.unit_price
    includes = sorted(case.plan.includes) if case.plan else []
    words.say(
        "line",
        line=line.line_no,
        order=case.order.external_id,
        shop=case.order.shop,
        quantity=line.quantity,
        price=case.money(line.unit_price),
        sku=line.sku,
        discount=phrase("discount", amount=case.money(line.discount)) if line.discount else "",
        net=case.money(gross - line.discount),
        apart=phrase("apart", names=listed([phrase(name) for name in includes]))
        if includes
        else phrase("nothing_apart"),
    )


# -- one commission --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _State:
    """What was left of the order's lines after an event, and what they had paid before it."""

    left: Left
    paid: Ints | None


def _state_after(session: Session, case: Case, refund: Refund | None) -> _State:
    goods = case.book.goods
    if refund is None:
        return _State(Left(goods.quantity, goods.net), None)
    scope = {"brand_id": case.brand.id, "order_id": case.order.id, "no": refund.no}
    quantity, net = goods.quantity.copy(), goods.net.copy()
    for row in session.execute(_RETURNED, scope):
        quantity[row.line_no - 1] -= row.quantity
        net[row.line_no - 1] -= row.amount
    paid = np.zeros_like(case.book.paid)
    for row in session.execute(_PAID_BEFORE, scope):
        paid[row.line_no - 1, row.level - 1] = row.amount
    return _State(Left(quantity, net), paid)


_RETURNED = text(
    """
    SELECT x.line_no, sum(x.quantity)::bigint AS quantity, sum(x.amount)::bigint AS amount
    FROM refund f JOIN refund_line x ON x.brand_id = f.brand_id AND x.refund_id = f.id
    WHERE f.brand_id = :brand_id AND f.order_id = :order_id AND f.no <= :no
    GROUP BY x.line_no
    """
)

_PAID_BEFORE = text(
    """
    SELECT c.line_no, c.level, sum(c.amount)::bigint AS amount
    FROM (
        SELECT CAST(:order_id AS bigint)
        UNION ALL SELECT id FROM refund
        WHERE brand_id = :brand_id AND order_id = :order_id AND no < :no) s (id)
    CROSS JOIN LATERAL (
        SELECT * FROM commission x WHERE x.brand_id = :brand_id AND x.source_id = s.id OFFSET 0) c
    GROUP BY c.line_no, c.level
    """
)


def explain_commission(
    session: Session, *, brand: Brand, source_id: int, line_no: int, level: int
) -> Explanation:
    """Why one commission is what it is.

    :raises CommissionNotFound: when there is none of that source, line and level.
    """
    row = session.get(Commission, (brand.id, source_id, line_no, level))
    if row is None:
        raise CommissionNotFound(
            f"no commission of {ids.public('ord', source_id)} line {line_no} level {level}"
        )
    case = _open_case(session, brand, row.order_id, row.distributor_id)
    line = case.lines[line_no - 1]
    refund = None if source_id == row.order_id else session.get_one(Refund, (brand.id, source_id))
    state = _state_after(session, case, refund)
    everything = np.arange(len(case.lines))
    result = case.book.price(session, brand.id, everything, state.left, paid=state.paid, trace=True)
    i, column = line_no - 1, level - 1
    now_pays = int(result.amount[i, column])
    before = 0 if state.paid is None else int(state.paid[i, column])
    rule = case.rule(int(result.rule[i, column]))
    rate, base = int(result.rate_ppm[i, column]), int(result.base[i, column])
    amount = now_pays - before
    verified = (amount, rate, base, rule and rule.no, case.upline[column]) == (
        row.amount,
        row.rate_ppm,
        row.base,
        row.rule_no,
        row.distributor_id,
    )
    words = Words()
    _tell_line(case, words, line)
    _tell_tree(case, words)
    _tell_plan(case, words, line, rule, level)
    if refund is not None:
        words.say(
            "refund_left",
            refund=refund.external_id,
            day=f"{refund.refunded_at:%Y-%m-%d}",
            base=case.money(int(state.left.net[i])),
        )
    if case.plan is not None:
        explain_level(Cell(case, case.plan, result, state.left, i, column), words)
    if refund is not None:
        words.say("before", before=case.money(before), amount=case.money(amount))
    words.say(
        "verdict",
        who=case.person(row.distributor_id),
        amount=case.money(row.amount),
        agrees=phrase("agrees" if verified else "disagrees"),
    )
    return Explanation(
        {
            "order": _order_data(case),
            "refund": refund
            and {"id": ids.public("ref", refund.id), "external_id": refund.external_id},
            "line": _line_data(line),
            "level": level,
            "distributor": case.external_id(row.distributor_id),
            "plan_version": case.version and case.version.number,
            "rule": rule and _rule_data(rule),
            "beaten": _beaten(case, line, rule, level),
            "base": base,
            "rate": format_rate(rate),
            "rate_ppm": rate,
            "rounding": case.plan and str(case.plan.rounding),
            "rounding_step": case.plan and str(case.plan.rounding_step),
            "stages": _stages(result, i, column),
            "told": _told(case, column),
            "paid_before": before,
            "trace": case.plan
            and case.version
            and make_trace(
                case.plan,
                case.version.document,
                case.book.known_after(everything, state.paid),
                case.book.goods,
                state.left,
            ),
            "amount": row.amount,
            "currency": brand.currency,
            "verified": verified,
        },
        words.en,
        words.zh,
    )


def _stages(result: Result, line: int, column: int) -> dict[str, int]:
    """What each stage of the engine made of the amount."""
    return {name: int(stage[line, column]) for name, stage in result.stages.items()}


def _told(case: Case, column: int) -> dict[str, Any] | None:
    """What the plan was told beside the tree, if it asked."""
    if not case.book.asked[0] or case.plan is None:
        return None
    known = case.book.known
    rank, room = int(known.rank[0, column]), int(known.room[0, column])
    return {
        "first_order": bool(known.first[0]),
        "rank": case.plan.ranks[rank - 1].name if rank else None,
        "month_volume": int(known.volume[0, column]) if case.plan.uses_volume else None,
        "room": room if case.plan.uses_room and room < 1 << 62 else None,
    }


def _rule_data(rule: Rule) -> dict[str, Any]:
    return {"no": rule.no, "name": rule.name, "matched_by": rule.specificity}


def _order_data(case: Case) -> dict[str, Any]:
    order = case.order
    return {
        "id": ids.public("ord", order.id),
        "shop": order.shop,
        "external_id": order.external_id,
        "placed_at": order.placed_at.isoformat(),
        "effective_at": order.effective_at.isoformat(),
        "referral": order.referral,
        "channel": order.channel,
        "upline": [
            {"level": n, "distributor": case.external_id(i)}
            for n, i in enumerate(case.upline[: case.brand.levels], 1)
        ],
    }


def _line_data(line: OrderLine) -> dict[str, Any]:
    return {
        "line_no": line.line_no,
        "sku": line.sku,
        "category": line.category,
        "quantity": line.quantity,
        "unit_price": line.unit_price,
        "discount": line.discount,
    }


# -- a whole order ---------------------------------------------------------------------------------


def explain_order(session: Session, *, brand: Brand, order_id: int) -> Explanation:
    """What each line of an order paid each level, and why a level got nothing.

    :raises OrderNotFound: when there is no such order.
    """
    case = _open_case(session, brand, order_id)
    everything = np.arange(len(case.lines))
    goods = case.book.goods
    whole = Left(goods.quantity, goods.net)
    result = case.book.price(session, brand.id, everything, whole, trace=True)
    words = Words()
    _tell_tree(case, words)
    lines = []
    for i, line in enumerate(case.lines):
        words.gap()
        _tell_line(case, words, line)
        _tell_plan(case, words, line, case.rule(int(result.rule[i, 0])), 1)
        levels = []
        for column in range(brand.levels):
            reason = _tell_level(case, words, result, whole, i, column)
            levels.append(
                {
                    "level": column + 1,
                    "rate": format_rate(int(result.rate_ppm[i, column])),
                    "amount": int(result.amount[i, column]),
                    "reason": reason and reason[0],
                }
            )
        refunded = int(goods.net[i] - case.book.left.net[i])
        if refunded:
            paid = ", ".join(case.money(int(x)) for x in case.book.paid[i, : brand.levels])
            words.say("came_back", refunded=case.money(refunded), paid=paid)
        lines.append(_line_data(line) | {"refunded": refunded, "levels": levels})
    return Explanation(
        {
            "order": _order_data(case),
            "plan_version": case.version and case.version.number,
            "currency": brand.currency,
            "lines": lines,
        },
        words.en,
        words.zh,
    )


def _tell_level(  # noqa: PLR0917  # where in which table, and where to say it
    case: Case, words: Words, result: Result, whole: Left, i: int, column: int
) -> Pair | None:
    """Say what a level got of a line; if it got nothing, why."""
    if case.plan is None:
        return phrase("no_rule")
    cell = Cell(case, case.plan, result, whole, i, column)
    reason = why_nothing(cell)
    number = int(result.rule[i, column])
    if case.order.distributor_id is None or not number:
        return reason
    if number != result.rule[i, 0]:
        _tell_plan(case, words, case.lines[i], case.rule(number), column + 1)
    if reason is None:
        explain_level(cell, words)
    else:
        words.say("level_nothing", level=column + 1, why=reason)
    return reason
