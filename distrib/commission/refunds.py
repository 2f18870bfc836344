"""Taking refunds: what remains of a line is priced again, and the difference is posted.

So after any number of partial refunds the sum is exactly what the remaining order earns, and zero
when all of it came back. A refund that comes before its order waits for it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from distrib import clock, ids
from distrib.brands.tables import Brand
from distrib.commission.book import Book, open_book
from distrib.commission.outcome import CLOCK_TOLERANCE, Outcome, Status, settle_repeats
from distrib.commission.refund_records import Return, Taken, post_difference, write_refunds
from distrib.db import Lock, lock
from distrib.errors import Conflict, DistribError, InvalidInput
from distrib.money import Rounding, round_ratio
from distrib.orders.document import (
    RefundIn,
    check_refund,
    content_hash,
    refund_as_json,
    refund_from_json,
)
from distrib.orders.tables import Order, WaitingRefund


class RefundDiffers(Conflict):
    """The same refund came with another content."""

    title = "The refund is recorded with another content"


class UnknownLine(InvalidInput):
    """The order has no such line."""

    title = "The order has no such line"


class RefundExceedsOrder(Conflict):
    """More would come back than is left of the order."""

    title = "The refund exceeds what is left of the order"


Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class _Known:
    """A refund that is recorded: its id and content."""

    id: int
    digest: bytes


def take_refunds(session: Session, *, brand: Brand, refunds: Sequence[RefundIn]) -> list[Outcome]:
    """Take refunds: record each once, price what remains, post the difference.

    :returns: an outcome for each refund, in the same order: accepted, duplicate, waiting (its
        order has not arrived; it is kept and applied when it does) or rejected.
    """
    now = clock.now()
    outcomes: list[Outcome | None] = [None] * len(refunds)
    for i, refund in enumerate(refunds):
        try:
            _check(refund, now)
        except DistribError as error:
            outcomes[i] = Outcome(Status.REJECTED, error=error)
    lock(session, brand.id, Lock.FACTS, shared=True)
    todo = [i for i, outcome in enumerate(outcomes) if outcome is None]
    order_ids = _lock_orders(session, brand, {_order_key(refunds[i]) for i in todo})
    known = _read_known(session, brand, order_ids)
    # several refunds of one order follow each other: each round takes the next of every order
    rounds: dict[int, list[int]] = defaultdict(list)
    first: dict[tuple[str, str, str], int] = {}
    repeats: list[tuple[int, int]] = []
    waits: list[int] = []
    depth: dict[Key, int] = defaultdict(int)
    for i in todo:
        key = _order_key(refunds[i])
        digest = content_hash(refunds[i])
        name = (*key, refunds[i].external_id)
        if name in known:
            outcomes[i] = _repeat(refunds[i], known[name], digest)
            continue
        if key not in order_ids:
            waits.append(i)
            continue
        if name in first:
            repeats.append((i, first[name]))
            continue
        first[name] = i
        rounds[depth[key]].append(i)
        depth[key] += 1
    for i in sorted(waits, key=lambda i: (*_order_key(refunds[i]), refunds[i].external_id)):
        outcomes[i] = _keep_waiting(session, brand, refunds[i], content_hash(refunds[i]), now)
    if rounds:
        book = open_book(session, brand_id=brand.id, order_ids=sorted(order_ids.values()))
        for number in sorted(rounds):
            chosen = rounds[number]
            applied = _apply(session, brand, book, [refunds[i] for i in chosen], now)
            for i, outcome in zip(chosen, applied, strict=True):
                outcomes[i] = outcome
    accepted = [i for i, each in enumerate(outcomes) if each and each.status is Status.ACCEPTED]
    _end_waiting(session, brand, [refunds[i] for i in accepted])
    settle_repeats(
        outcomes,
        repeats,
        same=lambda i, first_: content_hash(refunds[i]) == content_hash(refunds[first_]),
        differs=lambda i: _differs(refunds[i]),
        take=lambda those: take_refunds(session, brand=brand, refunds=[refunds[i] for i in those]),
    )
    return [outcome for outcome in outcomes if outcome is not None]


def _check(refund: RefundIn, now: datetime) -> None:
    check_refund(refund)
    if refund.refunded_at > now + CLOCK_TOLERANCE:
        raise InvalidInput(f"{refund.refunded_at.isoformat()} is yet to come", field="refunded_at")


def _order_key(refund: RefundIn) -> Key:
    return (refund.shop, refund.order_external_id)


# LATERAL … LIMIT 1: one look into one index for each, whatever the planner believes
_LOCK_ORDERS = text(
    """
    SELECT k.shop, k.external_id, o.id
    FROM unnest(CAST(:shops AS text[]), CAST(:external_ids AS text[])) k (shop, external_id)
    CROSS JOIN LATERAL (
        SELECT id FROM orders x
        WHERE x.brand_id = :brand_id AND x.shop = k.shop AND x.external_id = k.external_id
        LIMIT 1 FOR NO KEY UPDATE) o
    """
)


def _lock_orders(session: Session, brand: Brand, keys: set[Key]) -> dict[Key, int]:
    """Lock the orders, in one order everywhere, so that refunds of one order follow each other."""
    if not keys:
        return {}
    shops, external_ids = zip(*sorted(keys), strict=True)
    rows = session.execute(
        _LOCK_ORDERS,
        {"brand_id": brand.id, "shops": list(shops), "external_ids": list(external_ids)},
    )
    return {(row.shop, row.external_id): row.id for row in rows}


_KNOWN = text(
    """
    SELECT f.order_id, f.external_id, f.id, f.content_hash
    FROM unnest(CAST(:orders AS bigint[])) o (id)
    CROSS JOIN LATERAL (
        SELECT * FROM refund x WHERE x.brand_id = :brand_id AND x.order_id = o.id OFFSET 0) f
    """
)


def _read_known(
    session: Session, brand: Brand, order_ids: dict[Key, int]
) -> dict[tuple[str, str, str], _Known]:
    """Refunds of these orders that are recorded, by shop, order and refund."""
    key_of = {order_id: key for key, order_id in order_ids.items()}
    rows = session.execute(_KNOWN, {"brand_id": brand.id, "orders": list(key_of)})
    return {
        (*key_of[row.order_id], row.external_id): _Known(row.id, row.content_hash) for row in rows
    }


def _differs(refund: RefundIn) -> RefundDiffers:
    return RefundDiffers(
        f"refund {refund.external_id!r} of order {refund.order_external_id!r} is recorded with"
        " another content",
        field="external_id",
    )


def _repeat(refund: RefundIn, before: _Known, digest: bytes) -> Outcome:
    if before.digest == digest:
        return Outcome(Status.DUPLICATE, before.id)
    return Outcome(Status.REJECTED, error=_differs(refund))


def _keep_waiting(
    session: Session, brand: Brand, refund: RefundIn, digest: bytes, now: datetime
) -> Outcome:
    """Keep a refund until its order comes. The sweeper looks too, should both come at once."""
    key = (brand.id, refund.shop, refund.order_external_id, refund.external_id)
    session.execute(
        insert(WaitingRefund)
        .values(
            brand_id=brand.id,
            shop=refund.shop,
            order_external_id=refund.order_external_id,
            external_id=refund.external_id,
            content_hash=digest,
            document=refund_as_json(refund),
            received_at=now,
        )
        .on_conflict_do_nothing()
    )
    kept = session.get(WaitingRefund, key, populate_existing=True)
    if kept is not None and kept.content_hash != digest:
        return Outcome(Status.REJECTED, error=_differs(refund))
    return Outcome(Status.WAITING)


def _end_waiting(session: Session, brand: Brand, refunds: list[RefundIn]) -> None:
    """What has been applied waits no more, not even where it once waited with a problem."""
    names = [(*_order_key(refund), refund.external_id) for refund in refunds]
    if names:
        session.execute(
            delete(WaitingRefund).where(
                WaitingRefund.brand_id == brand.id,
                tuple_(
                    WaitingRefund.shop, WaitingRefund.order_external_id, WaitingRefund.external_id
                ).in_(names),
            )
        )


def _returns(book: Book, order: int, refund: RefundIn) -> list[Return]:
    """What the refund takes of each line of its order."""
    lines = book.lines_of(order)
    if refund.lines is None:
        whole = [
            Return(i, int(book.left.quantity[i]), int(book.left.net[i]))
            for i in range(lines.start, lines.stop)
            if book.left.quantity[i] or book.left.net[i]
        ]
        if not whole:
            raise RefundExceedsOrder("nothing is left of the order to refund", field="lines")
        return whole
    returns = []
    for n, line in enumerate(refund.lines):
        if line.line_no > book.orders[order].lines:
            raise UnknownLine(
                f"the order has {book.orders[order].lines} lines, none is number {line.line_no}",
                field=f"lines[{n}].line_no",
            )
        i = lines.start + line.line_no - 1
        left, remaining = int(book.left.quantity[i]), int(book.left.net[i])
        if line.quantity > left:
            raise RefundExceedsOrder(
                f"{line.quantity} units come back, {left} are left", field=f"lines[{n}].quantity"
            )
        amount = line.amount
        if amount is None:
            amount = round_ratio(remaining * line.quantity, left, Rounding.HALF_UP)
        if amount > remaining:
            raise RefundExceedsOrder(
                f"{amount} is given back, {remaining} is left of the line (minor units)",
                field=f"lines[{n}].amount",
            )
        returns.append(Return(i, line.quantity, amount))
    return returns


def _apply(
    session: Session, brand: Brand, book: Book, refunds: list[RefundIn], now: datetime
) -> list[Outcome]:
    """Apply refunds of different orders to the book and write them."""
    place = {(order.shop, order.external_id): n for n, order in enumerate(book.orders)}
    outcomes: list[Outcome] = []
    taken: list[Taken] = []
    for refund in refunds:
        order = place[_order_key(refund)]
        try:
            returns = _returns(book, order, refund)
        except DistribError as error:
            outcomes.append(Outcome(Status.REJECTED, error=error))
            continue
        book.refunds[order] += 1
        taken.append(Taken(ids.new(), book.refunds[order], refund, order, returns))
        outcomes.append(Outcome(Status.ACCEPTED, taken[-1].id))
        for back in returns:
            book.left.quantity[back.line] -= back.quantity
            book.left.net[back.line] -= back.amount
    if taken:
        write_refunds(session, brand, taken, book, now)
        post_difference(session, brand, taken, book, now)
    return outcomes


def apply_waiting(
    session: Session, *, brand: Brand, orders: Sequence[Key] | None = None, limit: int = 1_000
) -> int:
    """Apply refunds that waited for orders which are here now.

    :param orders: (shop, external id) of the orders to look at; None looks at all that wait.
    :returns: how many waiting refunds were applied. One that turns out to be wrong stays, with
        its problem noted, for a person to look at.
    """
    query = (
        select(WaitingRefund)
        .join(
            Order,
            (Order.brand_id == WaitingRefund.brand_id)
            & (Order.shop == WaitingRefund.shop)
            & (Order.external_id == WaitingRefund.order_external_id),
        )
        .where(WaitingRefund.brand_id == brand.id, WaitingRefund.problem.is_(None))
        .order_by(WaitingRefund.received_at, WaitingRefund.external_id)
        .limit(limit)
        .with_for_update(of=WaitingRefund, skip_locked=orders is None)
    )
    if orders is not None:
        query = query.where(
            tuple_(WaitingRefund.shop, WaitingRefund.order_external_id).in_(list(orders))
        )
    waiting = list(session.scalars(query))
    if not waiting:
        return 0
    refunds = [refund_from_json(row.document) for row in waiting]
    applied = 0
    for row, outcome in zip(
        waiting, take_refunds(session, brand=brand, refunds=refunds), strict=True
    ):
        mine = [
            WaitingRefund.brand_id == brand.id,
            WaitingRefund.shop == row.shop,
            WaitingRefund.order_external_id == row.order_external_id,
            WaitingRefund.external_id == row.external_id,
        ]
        if outcome.error is None:
            session.execute(delete(WaitingRefund).where(*mine))
            applied += 1
        else:
            session.execute(update(WaitingRefund).where(*mine).values(problem=str(outcome.error)))
    return applied
