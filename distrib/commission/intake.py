"""Taking orders: recorded, credited, priced and posted, all in one transaction.

A single order is a chunk of one. Each order of a chunk has an :class:`Outcome` of its own; a
refused order writes nothing and does not disturb the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from sqlalchemy.orm import Session

from distrib import clock, ids
from distrib.brands.tables import Brand
from distrib.bulk import Writer, together, write_rows
from distrib.commission.engine import Ints, Lines
from distrib.commission.outcome import CLOCK_TOLERANCE, Outcome, Status, settle_repeats
from distrib.commission.posting import Changes, Days, Sources, write_commissions
from distrib.commission.pricing import price
from distrib.commission.refunds import apply_waiting
from distrib.db import cursor, share_facts
from distrib.errors import Conflict, DistribError, InvalidInput
from distrib.orders.document import OrderIn, check_order, content_hash
from distrib.orders.tables import Order, OrderLine
from distrib.referrals.credit import LEVELS, Credit, read_credits


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
    if order.distributor is not None and credit.distributor is None:
        raise UnknownDistributor(
            f"the brand has no distributor {order.distributor!r}", field="distributor"
        )
    if order.code is not None and credit.distributor is None:
        raise UnknownCode(f"no distributor has the code {order.code!r}", field="code")
    if credit.distributor is not None and credit.upline[0] == 0:
        raise NotYetJoined(
            f"distributor {order.distributor or order.code!r} joined after the order was placed",
            field="code" if order.distributor is None else "distributor",
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
            at=effective,
        )
    new: list[_New] = []
    for i, credit, at, order_id in zip(
        candidates, found, effective, ids.take(len(candidates)), strict=True
    ):
        try:
            outcome = _known(orders[i], credit, digests[i])
        except DistribError as error:
            outcome = Outcome(Status.REJECTED, error=error)
        if outcome is None:
            outcome = Outcome(Status.ACCEPTED, order_id)
            new.append(_New(order_id, orders[i], credit, digests[i], at))
        outcomes[i] = outcome
    if new:
        # in one order everywhere: two that take the same orders wait, and are no deadlock
        new.sort(key=lambda each: (each.order.shop, each.order.external_id))
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


@dataclass(frozen=True, slots=True)
class _New:
    """An order that will be recorded."""

    id: int
    order: OrderIn
    credit: Credit
    digest: bytes
    effective_at: datetime


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


def _referral(order: OrderIn) -> str:
    return "direct" if order.distributor else "code" if order.code else "none"


def _record(session: Session, brand: Brand, new: list[_New], now: datetime) -> None:
    """Price new orders, then write them and what follows from them."""
    zone = clock.zone(brand.time_zone)
    order_ids = np.array([each.id for each in new], np.int64)
    days: Days = np.array(
        [each.effective_at.astimezone(zone).date() for each in new], "datetime64[D]"
    )
    available: Days = np.add(days, np.timedelta64(brand.hold_days, "D"))
    counts = np.array([len(each.order.lines) for each in new], np.int64)
    owner: Ints = np.repeat(np.arange(len(new), dtype=np.int64), counts)
    line_no: Ints = np.arange(1, len(owner) + 1) - (np.cumsum(counts) - counts)[owner]
    lines = [line for each in new for line in each.order.lines]
    sku, category = [line.sku for line in lines], [line.category for line in lines]
    uplines = np.array([each.credit.upline for each in new], np.int64)
    base = np.fromiter((line.net for line in lines), np.int64, len(lines))
    result = price(
        session,
        brand_id=brand.id,
        plan_versions=[each.credit.plan_version for each in new],
        lines=Lines(owner, sku, category, base),
        uplines=uplines,
    )
    held = np.greater(available, np.datetime64(new[0].credit.matured_through, "D"))
    with together(cursor(session), LEVELS * len(lines)) as out:
        _write_orders(out, brand=brand, new=new, order_ids=order_ids, available=available, now=now)
        write_rows(
            out,
            OrderLine,
            {
                "brand_id": brand.id,
                "order_id": order_ids[owner],
                "line_no": line_no,
                "sku": sku,
                "category": category,
                "quantity": [line.quantity for line in lines],
                "unit_price": [line.unit_price for line in lines],
                "discount": [line.discount for line in lines],
                "shipping": [line.shipping for line in lines],
                "tax": [line.tax for line in lines],
            },
            len(lines),
        )
        write_commissions(
            out,
            brand=brand,
            sources=Sources(order_ids, order_ids, uplines, days, available, held),
            changes=Changes(owner, line_no, result.rule, base, result.rate_ppm, result.amount),
            posted_at=now,
        )


def _write_orders(
    out: Writer,
    *,
    brand: Brand,
    new: list[_New],
    order_ids: Ints,
    available: Days,
    now: datetime,
) -> None:
    write_rows(
        out,
        Order,
        {
            "brand_id": brand.id,
            "id": order_ids,
            "shop": [each.order.shop for each in new],
            "external_id": [each.order.external_id for each in new],
            "content_hash": [each.digest for each in new],
            "currency": brand.currency,
            "buyer": [each.order.buyer for each in new],
            "referral": [_referral(each.order) for each in new],
            "referral_code": [each.order.code for each in new],
            "distributor_id": [each.credit.distributor for each in new],
            "plan_version_id": [each.credit.plan_version for each in new],
            "placed_at": [each.order.placed_at for each in new],
            "effective_at": [each.effective_at for each in new],
            "recorded_at": now,
            "available_on": available,
        },
        len(new),
    )
