"""Taking orders: recorded, credited, priced and posted, all in one transaction.

A single order is a chunk of one. Each order of a chunk has an :class:`Outcome` of its own; a
refused order writes nothing and does not disturb the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import numpy as np
import psycopg
from sqlalchemy.orm import Session

from distrib import clock, ids
from distrib.brands.tables import Brand
from distrib.bulk import together
from distrib.commission.counting import count_sales
from distrib.commission.earners import ENDLESS, rooms
from distrib.commission.engine import Result, limit
from distrib.commission.facts import Coming, Facts, find_facts
from distrib.commission.goods import Goods, Left
from distrib.commission.known import Known
from distrib.commission.outcome import CLOCK_TOLERANCE, Outcome, Status, settle_repeats
from distrib.commission.posting import Changes, Sources, write_commissions
from distrib.commission.pricing import price
from distrib.commission.recording import (
    New,
    write_facts,
    write_lines,
    write_milestones,
    write_orders,
)
from distrib.commission.refunds import apply_waiting
from distrib.commission.service import compiled_plan
from distrib.commission.spreading import sums_of_levels
from distrib.db import cursor, share_facts
from distrib.errors import Conflict, DistribError, InvalidInput
from distrib.orders.document import OrderIn, check_order, content_hash
from distrib.referrals.credit import LEVELS, Credit, read_credits

Ints = np.ndarray[Any, np.dtype[np.int64]]
Days = np.ndarray[Any, np.dtype[np.datetime64]]


class OrderDiffers(Conflict):
    """The same order came with another content."""

    title = "The order is recorded with another content"


class UnknownDistributor(InvalidInput):
    """No distributor of that id in this brand."""

    title = "The referring distributor is unknown"


class UnknownCode(InvalidInput):
    """No distributor has that code in this brand."""

    title = "The referral code is unknown"


class NotYetJoined(InvalidInput):
    """The distributor joined after the order was placed."""

    title = "The distributor had not joined at the order's time"


class CurrencyNotAccepted(InvalidInput):
    """The order is in another currency than its brand."""

    title = "The brand does not take this currency"


def _check(order: OrderIn, brand: Brand, now: datetime) -> None:
    check_order(order)
    if order.currency != brand.currency:
        raise CurrencyNotAccepted(
            f"the brand takes {brand.currency}, the order is in {order.currency}", field="currency"
        )
    if order.placed_at > now + CLOCK_TOLERANCE:
        raise InvalidInput(f"{order.placed_at.isoformat()} is yet to come", field="placed_at")


def _check_credit(order: OrderIn, credit: Credit) -> None:
    if order.distributor is not None and credit.named is None:
        raise UnknownDistributor(
            f"the brand has no distributor {order.distributor!r}", field="distributor"
        )
    if order.code is not None and credit.named is None:
        raise UnknownCode(f"no distributor has the code {order.code!r}", field="code")
    if order.buyer_distributor is not None and credit.buyer is None:
        raise UnknownDistributor(
            f"the brand has no distributor {order.buyer_distributor!r}", field="buyer_distributor"
        )
    fields = ("buyer_distributor", "distributor", "code")
    field = next((name for name in fields if getattr(order, name) is not None), None)
    if field is not None and credit.chain[0] == 0:
        raise NotYetJoined(
            f"distributor {getattr(order, field)!r} joined after the order was placed", field=field
        )


def take_orders(session: Session, *, brand: Brand, orders: Sequence[OrderIn]) -> list[Outcome]:
    """Take orders: record each once, credit it, compute and post its commission.

    The same order again is a duplicate and changes nothing; the same key with another content is
    refused (:class:`OrderDiffers`). Refunds that came before their order are applied with it.
    Commission follows the plan version and the upline of the order's own time.

    :returns: an outcome for each order, in the same order.
    :raises psycopg.errors.UniqueViolation: when another transaction takes one of them at the same
        instant; run the transaction again (:meth:`distrib.db.Database.run` does).
    """
    now = clock.now()
    outcomes: list[Outcome | None] = [None] * len(orders)
    pending: dict[tuple[str, str], int] = {}
    repeats: list[tuple[int, int]] = []
    digests: dict[int, bytes] = {}
    for i, order in enumerate(orders):
        try:
            _check(order, brand, now)
        except DistribError as error:
            outcomes[i] = Outcome(Status.REJECTED, error=error)
            continue
        digests[i] = content_hash(order)
        first = pending.setdefault((order.shop, order.external_id), i)
        if first != i:
            repeats.append((i, first))
    candidates = list(pending.values())
    effective = [min(orders[i].placed_at, now) for i in candidates]
    cur = cursor(session)
    with cur.connection.pipeline():
        share_facts(cur, brand.id)
        found = read_credits(
            cur,
            brand_id=brand.id,
            shop=[orders[i].shop for i in candidates],
            external_id=[orders[i].external_id for i in candidates],
            distributor=[orders[i].distributor for i in candidates],
            code=[orders[i].code for i in candidates],
            buyer=[orders[i].buyer_distributor for i in candidates],
            at=effective,
        )
    new: list[New] = []
    for i, credit, at, order_id in zip(
        candidates, found, effective, ids.take(len(candidates)), strict=True
    ):
        try:
            outcome = _known(orders[i], credit, digests[i])
        except DistribError as error:
            outcome = Outcome(Status.REJECTED, error=error)
        if outcome is None:
            outcome = Outcome(Status.ACCEPTED, order_id)
            new.append(New(order_id, orders[i], credit, digests[i], at))
        outcomes[i] = outcome
    if new:
        _record(session, brand, new, now)
        awaited = [(each.order.shop, each.order.external_id) for each in new if each.credit.awaited]
        if awaited:
            apply_waiting(session, brand=brand, orders=awaited)
    settle_repeats(
        outcomes,
        repeats,
        same=lambda i, first: digests[i] == digests[first],
        differs=lambda i: _differs(orders[i]),
        take=lambda those: take_orders(session, brand=brand, orders=[orders[i] for i in those]),
    )
    return [outcome for outcome in outcomes if outcome is not None]


def _differs(order: OrderIn) -> OrderDiffers:
    return OrderDiffers(
        f"order {order.external_id!r} of {order.shop!r} is recorded with another content",
        field="external_id",
    )


def _known(order: OrderIn, credit: Credit, digest: bytes) -> Outcome | None:
    """The outcome of an order that is recorded already; None for a new one."""
    if credit.recorded is None:
        _check_credit(order, credit)
        return None
    order_id, recorded_digest = credit.recorded
    if digest != recorded_digest:
        raise _differs(order)
    return Outcome(Status.DUPLICATE, order_id)


def _record(session: Session, brand: Brand, new: list[New], now: datetime) -> None:
    """Find out what their plans ask, price new orders, then write them and what follows."""
    cur = cursor(session)
    zone = clock.zone(brand.time_zone)
    days = [each.effective_at.astimezone(zone).date() for each in new]
    versions = {each.credit.plan_version for each in new} - {None}
    plans = {
        version: compiled_plan(session, brand_id=brand.id, version_id=version or 0)
        for version in versions
    }
    facts = find_facts(
        cur,
        brand=brand,
        coming=[
            Coming(
                id=each.id,
                plan=plans.get(each.credit.plan_version),
                credit=each.credit,
                buyer=each.order.buyer,
                at=each.effective_at,
                day=day,
                volume=sum(line.net for line in each.order.lines),
            )
            for each, day in zip(new, days, strict=True)
        ],
    )
    goods, owner, line_no = _goods(new)
    room = np.full(facts.told.upline.shape, ENDLESS)
    known = Known(
        plan=[each.credit.plan_version for each in new],
        at=[each.effective_at for each in new],
        channel=[each.order.channel for each in new],
        upline=facts.told.upline,
        first=facts.first,
        rank=facts.told.rank,
        volume=facts.told.volume,
        room=room,
        marks=facts.told.marks,
    )
    result = price(
        session,
        brand_id=brand.id,
        known=known,
        owner=owner,
        goods=goods,
        left=Left(goods.quantity, goods.net),
    )
    if any(plan.uses_room for plan in plans.values()):
        wanted = sums_of_levels(result.amount, owner, len(new))
        room = rooms(facts.sales, known.upline, wanted, facts.ledger)
        result = limit(result, owner, room)
    _write(cur, brand, new, facts, _Priced(goods, owner, line_no, result, room, days, now))


def _goods(new: list[New]) -> tuple[Goods, Ints, Ints]:
    """The lines of all orders as columns, the order of each, and its number within it."""
    lines = [line for each in new for line in each.order.lines]
    counts = np.array([len(each.order.lines) for each in new], np.int64)
    owner: Ints = np.repeat(np.arange(len(new), dtype=np.int64), counts)
    line_no: Ints = np.arange(1, len(owner) + 1) - (np.cumsum(counts) - counts)[owner]

    def column(values: Iterable[int]) -> Ints:
        return np.fromiter(values, np.int64, len(lines))

    quantity = column(line.quantity for line in lines)
    gross = quantity * column(line.unit_price for line in lines)
    goods = Goods(
        sku=[line.sku for line in lines],
        category=[line.category for line in lines],
        quantity=quantity,
        gross=gross,
        net=gross - column(line.discount for line in lines),
        shipping=column(line.shipping for line in lines),
        tax=column(line.tax for line in lines),
        other_paid=column(line.other_paid for line in lines),
        cost=column(-1 if line.cost is None else line.cost for line in lines),
        income=column(-1 if line.income is None else line.income for line in lines),
    )
    return goods, owner, line_no


@dataclass(frozen=True, slots=True)
class _Priced:
    """What is to be written of the lines of new orders."""

    goods: Goods
    owner: Ints
    line_no: Ints
    result: Result
    room: Ints
    days: list[date]
    now: datetime


def _write(
    cur: psycopg.Cursor[Any],
    brand: Brand,
    new: list[New],
    facts: Facts,
    priced: _Priced,
) -> None:
    order_ids = np.array([each.id for each in new], np.int64)
    days: Days = np.array(priced.days, "datetime64[D]")
    available: Days = np.add(days, np.timedelta64(brand.hold_days, "D"))
    held = np.greater(available, np.datetime64(new[0].credit.matured_through, "D"))
    now = priced.now
    result, owner, upline = priced.result, priced.owner, facts.told.upline
    with together(cur, LEVELS * len(owner)) as out:
        write_orders(
            out, brand=brand, new=new, credited=facts.credited, available=available, now=now
        )
        write_lines(
            out,
            brand=brand,
            new=new,
            order_ids=order_ids[owner],
            line_no=priced.line_no,
            goods=priced.goods,
        )
        if new[0].credit.counts_sales:
            count_sales(
                out,
                brand_id=brand.id,
                day=days,
                credited=np.array([who or 0 for who in facts.credited], np.int64),
                orders=np.ones(len(new), np.int64),
                volume=np.array([sale.volume for sale in facts.sales], np.int64),
                upline=upline,
                earned=sums_of_levels(result.amount, owner, len(new)),
            )
        write_milestones(out, brand=brand, order_ids=order_ids, facts=facts)
        if facts.asked.any():
            write_facts(out, brand=brand, order_ids=order_ids, facts=facts, room=priced.room)
        write_commissions(
            out,
            brand=brand,
            sources=Sources(order_ids, order_ids, upline, days, available, held),
            changes=Changes(
                owner, priced.line_no, result.rule, result.base, result.rate_ppm, result.amount
            ),
            posted_at=now,
        )
