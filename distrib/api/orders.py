"""Orders and refunds: taking them, one by one or by the thousand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from flask import Response, request
from marshmallow import Schema
from sqlalchemy.orm import Session

from distrib import ids
from distrib.api import documents
from distrib.api.context import context, database
from distrib.api.idempotency import Answer, replay, transact
from distrib.api.reading import read_json
from distrib.api.routes import PREFIX, Routes
from distrib.brands.tables import Brand
from distrib.commission.intake import take_orders
from distrib.commission.outcome import Outcome, Status
from distrib.commission.refunds import take_refunds
from distrib.orders.document import OrderIn, RefundIn

routes = Routes(
    "Orders",
    __name__,
    url_prefix=PREFIX,
    description="Orders and refunds as the shop reports them. Each is recorded once, credited,"
    " priced and posted in one transaction. The same document again is a duplicate and changes"
    " nothing; the same name with another content is refused.",
)

_order, _refund = documents.OrderInSchema(), documents.RefundInSchema()
_STATUS_OF = {Status.ACCEPTED: 201, Status.DUPLICATE: 200, Status.WAITING: 202}


def _tell(prefix: str, outcome: Outcome) -> dict[str, Any]:
    number = None if outcome.id is None else ids.public(prefix, outcome.id)
    told: dict[str, Any] = {"status": outcome.status, "id": number}
    if outcome.error is not None:
        told["problem"] = outcome.error.problem()
    return told


def _answer(prefix: str, outcome: Outcome) -> Answer:
    if outcome.error is not None:
        raise outcome.error
    return Answer(_STATUS_OF[outcome.status], _tell(prefix, outcome))


def _batch(
    prefix: str,
    name: str,
    schema: Schema,
    statuses: Sequence[Status],
    take: Callable[[Session, list[Any]], list[Outcome]],
) -> Response:
    """Take a batch of documents, each chunk of them in a transaction of its own."""
    if (again := replay()) is not None:
        return again
    given = documents.read_documents(read_json(request), name, schema)
    outcomes = documents.take_in_chunks(
        given,
        context().settings.chunk_orders,
        lambda chunk: database().run(lambda session: take(session, chunk)),
    )
    counts = Counter(outcome.status for outcome in outcomes)
    told = {status: counts[status] for status in statuses} | {
        "results": [_tell(prefix, outcome) for outcome in outcomes]
    }
    return transact(lambda _: Answer(200, told))


@routes.operation(
    "POST",
    "/orders",
    {
        201: (documents.OrderTakenSchema, "The order was taken"),
        200: (documents.OrderTakenSchema, "The order was taken before; nothing changed"),
    },
    body=_order,
    example=documents.ORDER_EXAMPLE,
    problems=(409,),
)
def take_order(mine: Brand, order: OrderIn) -> Response:
    """Take an order.

    It is recorded, credited to its distributor, and its commission computed and posted, all or
    nothing. An order known by `shop` and `external_id` with another content is refused with 409.
    """
    return transact(
        lambda session: _answer("ord", take_orders(session, brand=mine, orders=[order])[0])
    )


@routes.operation(
    "POST",
    "/orders/batch",
    {200: (documents.OrderResultsSchema, "What became of each order")},
    shows=documents.OrderBatchSchema,
    example={"orders": [documents.ORDER_EXAMPLE]},
)
def take_order_batch(mine: Brand) -> Response:
    """Take up to 10,000 orders.

    Each is taken or refused by itself; the answer has a result for each, in the same order, and a
    refused one says why. Should the request break off, send it again: what was taken is then a
    duplicate.
    """
    return _batch(
        "ord",
        "orders",
        _order,
        (Status.ACCEPTED, Status.DUPLICATE, Status.REJECTED),
        lambda session, chunk: take_orders(session, brand=mine, orders=chunk),
    )


@routes.operation(
    "POST",
    "/refunds",
    {
        201: (documents.RefundTakenSchema, "The refund was taken"),
        200: (documents.RefundTakenSchema, "The refund was taken before; nothing changed"),
        202: (documents.RefundTakenSchema, "Its order has not arrived; the refund waits for it"),
    },
    body=_refund,
    example=documents.REFUND_EXAMPLE,
    problems=(409,),
)
def take_refund(mine: Brand, refund: RefundIn) -> Response:
    """Take a refund.

    What remains of the order is priced again and the difference posted, so the commission is
    always exactly what the remaining order earns.
    """
    return transact(
        lambda session: _answer("ref", take_refunds(session, brand=mine, refunds=[refund])[0])
    )


@routes.operation(
    "POST",
    "/refunds/batch",
    {200: (documents.RefundResultsSchema, "What became of each refund")},
    shows=documents.RefundBatchSchema,
    example={"refunds": [documents.REFUND_EXAMPLE]},
)
def take_refund_batch(mine: Brand) -> Response:
    """Take up to 10,000 refunds.

    Each is taken or refused by itself; see the batch of orders.
    """
    return _batch(
        "ref",
        "refunds",
        _refund,
        tuple(Status),
        lambda session, chunk: take_refunds(session, brand=mine, refunds=chunk),
    )
