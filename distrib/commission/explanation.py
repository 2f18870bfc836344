"""Why an amount is what it is: as data, and in words.

The explanation does not trust the stored row: it reads the order, the plan version and the tree of
that time, asks the engine again, and says whether the answer is the amount on record.
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
from distrib.commission.plan import Plan, Rule
from distrib.commission.service import compiled_plan
from distrib.commission.tables import Commission, PlanVersion
from distrib.errors import NotFound
from distrib.money import PPM, Rounding, format_amount, format_rate
from distrib.orders.tables import Order, OrderLine, Refund
from distrib.tree.tables import Distributor


class CommissionNotFound(NotFound):
    """No commission of that source, line and level."""

    title = "No such commission"


class OrderNotFound(NotFound):
    """No order of that id."""

    title = "No such order"


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why, as data for programs and as sentences for people."""

    data: dict[str, Any]
    words: list[str]


_ROUNDINGS = {
    Rounding.DOWN: "down",
    Rounding.HALF_UP: "half up",
    Rounding.HALF_EVEN: "half to even",
}


@dataclass(frozen=True)
class _Case:
    """An order with all that decided what it pays."""

    brand: Brand
    order: Order
    lines: list[OrderLine]
    book: Book
    version: PlanVersion | None
    plan: Plan | None
    people: dict[int, Distributor]

    def money(self, amount: int) -> str:
        return f"{format_amount(amount, self.brand.currency)} {self.brand.currency}"

    def person(self, distributor_id: int) -> str:
        person = self.people.get(distributor_id)
        return f"{person.external_id} ({person.name})" if person else "somebody unknown"

    def external_id(self, distributor_id: int) -> str | None:
        person = self.people.get(distributor_id)
        return person.external_id if person else None

    @property
    def upline(self) -> list[int]:
        return [int(i) for i in self.book.upline[0]]


def _open_case(session: Session, brand: Brand, order_id: int, *others: int) -> _Case:
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
    people = session.scalars(
        select(Distributor).where(Distributor.brand_id == brand.id, Distributor.id.in_(named))
    )
    return _Case(
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


def _tree_words(case: _Case) -> list[str]:
    order = case.order
    if order.distributor_id is None:
        return ["No distributor referred the order, so it pays nothing."]
    how = f"code {order.referral_code!r}" if order.referral == "code" else "its reference"
    levels = [
        f"level {n} was {case.person(i)}" if i else f"level {n} was empty"
        for n, i in enumerate(case.upline[: case.brand.levels], 1)
    ]
    return [
        f"By {how} the order was credited to {case.person(order.distributor_id)}.",
        f"In the tree of {order.effective_at:%Y-%m-%d %H:%M:%S} UTC, {', '.join(levels)}.",
    ]


def _plan_words(case: _Case, line: OrderLine, rule: Rule | None) -> list[str]:
    if case.version is None or case.plan is None:
        return ["No plan version was in force at that time, so the order pays nothing."]
    head = (
        f"Plan version {case.version.number} ({case.plan.name!r}) was in force"
        f" from {case.version.effective_from:%Y-%m-%d %H:%M:%S} UTC."
    )
    if rule is None:
        return [head, f"None of its rules matches SKU {line.sku!r}; the line pays nothing."]
    why = {
        "sku": f"because it names SKU {line.sku!r}, the most specific match",
        "category": f"because it names category {line.category!r} and no rule names the SKU",
        "default": "the default, because no rule names the SKU or the category",
    }[rule.specificity]
    return [head, f"Rule {rule.no} ({rule.name!r}) applies, {why}."]


def _line_words(case: _Case, line: OrderLine) -> str:
    gross = line.quantity * line.unit_price
    words = (
        f"Line {line.line_no} of order {case.order.external_id} ({case.order.shop}):"
        f" {line.quantity} × {case.money(line.unit_price)} of SKU {line.sku!r}"
    )
    if line.discount:
        words += f", less {case.money(line.discount)} discount"
    return f"{words}, cost {case.money(gross - line.discount)}; shipping and tax do not earn."


def _product_words(case: _Case, level: int, base: int, rate: int, amount: int) -> str:
    rounding = case.plan.rounding if case.plan else Rounding.DOWN
    exact = _exact(base * rate, case.brand.currency)
    rounded = (
        f", rounded {_ROUNDINGS[rounding]} to {case.money(amount)}"
        if base * rate % PPM
        else " exactly"
    )
    return f"Level {level} gets {format_rate(rate)} of {case.money(base)}: {exact}{rounded}."


def _exact(product: int, currency: str) -> str:
    """A product of minor units and parts per million in major units, every digit of it."""
    whole, rest = divmod(product, PPM)
    digits = f"{rest:06d}".rstrip("0")
    text_ = format_amount(whole, currency)
    return (text_ if "." in text_ or not digits else f"{text_}.") + digits


def _rule(case: _Case, number: int) -> Rule | None:
    return case.plan.rules[number - 1] if case.plan and number else None


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
    result = case.book.price(
        session, brand.id, np.array([line_no - 1]), np.array([row.base], np.int64)
    )
    now_pays = int(result.amount[0, level - 1])
    before = _paid_before(session, row)
    rule = _rule(case, int(result.rule[0]))
    rate = int(result.rate_ppm[0, level - 1])
    amount = now_pays - before
    verified = (amount, rate, rule and rule.no, case.upline[level - 1]) == (
        row.amount,
        row.rate_ppm,
        row.rule_no,
        row.distributor_id,
    )
    words = [_line_words(case, line), *_tree_words(case), *_plan_words(case, line, rule)]
    if refund is not None:
        words.append(
            f"Refund {refund.external_id} of {refund.refunded_at:%Y-%m-%d} left"
            f" {case.money(row.base)} of the line."
        )
    words.append(_product_words(case, level, row.base, rate, now_pays))
    if refund is not None:
        words.append(
            f"Before, the line paid {case.money(before)}; the difference is {case.money(amount)}."
        )
    words.append(
        f"{case.person(row.distributor_id)} gets {case.money(row.amount)}; computed again just now,"
        f" the engine {'gives the same' if verified else 'DISAGREES'}."
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
            "rule": rule and {"no": rule.no, "name": rule.name, "matched_by": rule.specificity},
            "base": row.base,
            "rate": format_rate(rate),
            "rate_ppm": rate,
            "rounding": case.plan and str(case.plan.rounding),
            "paid_before": before,
            "amount": row.amount,
            "currency": brand.currency,
            "verified": verified,
        },
        words,
    )


def _paid_before(session: Session, row: Commission) -> int:
    """What the line had paid this level before the row's source."""
    if row.source_id == row.order_id:
        return 0
    found = session.scalar(
        text(
            """
            SELECT sum(c.amount)::bigint FROM commission c
            WHERE c.brand_id = :brand_id AND c.line_no = :line_no AND c.level = :level
              AND c.source_id IN (
                SELECT CAST(:order_id AS bigint)
                UNION ALL
                SELECT r.id FROM refund r JOIN refund mine
                     ON mine.brand_id = r.brand_id AND mine.id = :source_id
                WHERE r.brand_id = :brand_id AND r.order_id = :order_id
                  AND r.no < mine.no)
            """
        ),
        {
            "brand_id": row.brand_id,
            "line_no": row.line_no,
            "level": row.level,
            "order_id": row.order_id,
            "source_id": row.source_id,
        },
    )
    return int(found or 0)


def _order_data(case: _Case) -> dict[str, Any]:
    order = case.order
    return {
        "id": ids.public("ord", order.id),
        "shop": order.shop,
        "external_id": order.external_id,
        "placed_at": order.placed_at.isoformat(),
        "effective_at": order.effective_at.isoformat(),
        "referral": order.referral,
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


def explain_order(session: Session, *, brand: Brand, order_id: int) -> Explanation:
    """What each line of an order paid each level, and why a level got nothing.

    :raises OrderNotFound: when there is no such order.
    """
    case = _open_case(session, brand, order_id)
    everything = np.arange(len(case.lines))
    result = case.book.price(session, brand.id, everything, case.book.net)
    words = _tree_words(case)
    lines = []
    for i, line in enumerate(case.lines):
        rule = _rule(case, int(result.rule[i]))
        words += ["", _line_words(case, line), *_plan_words(case, line, rule)]
        levels = []
        for level in range(1, brand.levels + 1):
            base, rate = int(case.book.net[i]), int(result.rate_ppm[i, level - 1])
            amount = int(result.amount[i, level - 1])
            reason = _why_nothing(case, rule, level, amount)
            if rule is not None and case.order.distributor_id is not None:
                words.append(reason or _product_words(case, level, base, rate, amount))
            levels.append(
                {"level": level, "rate": format_rate(rate), "amount": amount, "reason": reason}
            )
        refunded = int(case.book.net[i] - case.book.remaining[i])
        if refunded:
            paid = ", ".join(case.money(int(x)) for x in case.book.paid[i, : brand.levels])
            words.append(f"Of the line {case.money(refunded)} came back; it now pays {paid}.")
        lines.append(_line_data(line) | {"refunded": refunded, "levels": levels})
    return Explanation(
        {
            "order": _order_data(case),
            "plan_version": case.version and case.version.number,
            "currency": brand.currency,
            "lines": lines,
        },
        words,
    )


def _why_nothing(case: _Case, rule: Rule | None, level: int, amount: int) -> str | None:
    """Why a level got nothing, or None if it got something."""
    if amount:
        return None
    if rule is None:
        return "no rule applies"
    if level > len(rule.rates):
        return f"Level {level} gets nothing: the rule names no rate for it."
    if not case.upline[level - 1]:
        return f"Level {level} gets nothing: nobody stood there."
    if not rule.rates[level - 1]:
        return f"Level {level} gets nothing: its rate is 0%."
    return f"Level {level} gets nothing: the amount rounds to zero."
