"""Settlement: batches from drawing up to the payment file."""

from __future__ import annotations

import hashlib
from typing import Any

from flask import Response
from marshmallow import fields
from sqlalchemy.orm import Session

from distrib.api import lists
from distrib.api.context import caller, context, database
from distrib.api.fields import Choice, Day, Hex, Instant, PublicId, Shape, Text, Whole
from distrib.api.idempotency import Answer, replay, transact
from distrib.api.paging import Page, PageQuery, page_of
from distrib.api.routes import PLAIN, PREFIX, Routes
from distrib.brands.tables import Brand
from distrib.errors import Conflict, Unavailable
from distrib.settlement.batch import (
    approve_batch,

    cancel_batch,
    draw_up_batch,
    get_batch,
    mature_for_batch,
)
from distrib.settlement.paying import retry_batch, run_batch
from distrib.settlement.progress import batch_progress
from distrib.settlement.tables import SettlementBatch

routes = Routes(
    "Settlement",
    __name__,
    url_prefix=PREFIX,
    description="A batch gathers what has left the hold, one payout a distributor. Finance"
    " reviews and approves exactly that content; then it is paid in the background, each payout"
    " once.",
)

_BATCH = "/settlement/batches/<int(max=2147483647):number>"
_STATES = ("draft", "approved", "paying", "settled", "cancelled")


class NoFileYet(Conflict):
    """The batch is not settled."""

    title = "The batch has no payment file yet"


class NewBatchSchema(Shape):
    """A batch to draw up."""

    cutoff = Day(
        load_default=None,
        metadata={"description": "Last day that counts, where the brand lives. Left out: today."},
    )
    provider = Choice(*sorted(PROVIDERS), load_default="bank-file")


class ProgressSchema(Shape):
    """How far a batch has come."""

    payouts = Whole(required=True, metadata={"example": 1200})
    paid = Whole(required=True, metadata={"example": 500})
    total = Whole(required=True, metadata={"example": 48_230_000})
    paid_total = Whole(required=True, metadata={"example": 20_100_000})


class BatchSchema(Shape):
    """A settlement batch. Money in minor units of `currency`."""

    id = PublicId("bat", required=True)
    number = Whole(required=True, metadata={"example": 1})
    state = Choice(*_STATES, required=True)
    cutoff = Day(required=True)
    currency = Text(required=True, metadata={"example": "CNY"})
    minimum_payout = Whole(required=True, metadata={"example": 100})
    provider = Text(required=True, metadata={"example": "bank-file"})
    payouts = Whole(required=True, metadata={"example": 1200})
    total = Whole(required=True, metadata={"example": 48_230_000})
    content_hash = Hex(
        required=True,
        metadata={"description": "Names the content; an approval repeats it."},
    )
    created_at = Instant(required=True)
    created_by = Text(required=True, metadata={"example": "back office"})
    approved_at = Instant(required=True, allow_none=True)
    approved_by = Text(required=True, allow_none=True, metadata={"example": "finance"})
    settled_at = Instant(required=True, allow_none=True)
    file_sha256 = Hex(required=True, allow_none=True)


class BatchDetailSchema(BatchSchema):
    """A settlement batch and how far it has come."""

    progress = fields.Nested(ProgressSchema, required=True)


class BatchQuery(PageQuery):
    """Which batches."""

    state = Choice(*_STATES, load_default=None)


class PayoutSchema(Shape):
    """What one distributor gets in a batch."""

    batch = Whole(required=True, metadata={"example": 1})
    no = Whole(required=True, metadata={"example": 1})
    distributor = Text(required=True, metadata={"example": "anna"})
    distributor_id = PublicId("dst", required=True)
    amount = Whole(required=True, metadata={"example": 1980})
    currency = Text(required=True, metadata={"example": "CNY"})
    state = Choice("reserved", "paid", "failed", "cancelled", required=True)
    items = Whole(
        required=True,
        metadata={"description": "Of how many orders and refunds it is made.", "example": 3},
    )


class ApprovalSchema(Shape):
    """What is approved."""

    content_hash = Hex(
        required=True,
        metadata={"description": "Of the batch that was reviewed.", "example": "3f2c…"},
    )


_batch = BatchSchema()


@routes.operation(
    "POST",
    "/settlement/batches",
    {201: (BatchSchema, "The batch was drawn up, for review")},
    body=NewBatchSchema,
    example={"cutoff": "2026-03-31"},
    problems=(409,),
)
def create_batch(mine: Brand, given: dict[str, Any]) -> Response:
    """Draw up a batch.

    What is past its hold at the cutoff is gathered and reserved. A distributor below the minimum
    waits for the next batch.
    """
    if (again := replay()) is not None:
        return again
    cutoff = mature_for_batch(database(), brand=mine, cutoff=given["cutoff"])

    def work(session: Session) -> Answer:
        made = draw_up_batch(
            session,
            brand=mine,
            cutoff=cutoff,
            provider=given["provider"],
            created_by=caller().principal.name,
        )
        return Answer(201, _batch.dump(made))

    return transact(work)


@routes.operation(
    "GET",
    "/settlement/batches",
    {200: (page_of(BatchSchema), "A page of batches, newest first")},
    query=BatchQuery,
)
def list_batches(mine: Brand, query: dict[str, Any]) -> Page:
    """List settlement batches."""
    with database().transaction() as session:
        return lists.batches(session, brand_id=mine.id, **query)


@routes.operation("GET", _BATCH, {200: (BatchDetailSchema, "The batch")}, problems=(404,))
def show_batch(mine: Brand, number: int) -> dict[str, Any]:
    """Show a batch and how far it has come."""
    with database().transaction() as session:
        found = get_batch(session, brand_id=mine.id, number=number)
        columns = {column.key: getattr(found, column.key) for column in found.__table__.columns}
        return columns | {"progress": batch_progress(session, batch=found)}


@routes.operation(
    "GET",
    f"{_BATCH}/payouts",
    {200: (page_of(PayoutSchema), "A page of its payouts")},
    query=PageQuery,
    problems=(404,),
)
def list_batch_payouts(mine: Brand, query: dict[str, Any], number: int) -> Page:
    """List the payouts of a batch."""
    with database().transaction() as session:
        found = get_batch(session, brand_id=mine.id, number=number)
        return lists.batch_payouts(session, batch=found, **query)


@routes.operation(
    "POST",
    f"{_BATCH}/approve",
    {200: (BatchSchema, "The batch is approved")},
    body=ApprovalSchema,
    example={"content_hash": "3f2c9a…"},
    problems=(404, 409),
)
def approve(mine: Brand, given: dict[str, Any], number: int) -> Response:
    """Approve a batch.

    The approval is of the content that was reviewed: should the batch hold anything else, it is
    refused with 409.
    """
    return transact(
        lambda session: Answer(
            200,
            _batch.dump(
                approve_batch(
                    session,
                    brand_id=mine.id,
                    number=number,
                    approved_by=caller().principal.name,
                    content_hash=given["content_hash"],
                )
            ),
        )
    )


@routes.operation(
    "POST",
    f"{_BATCH}/run",
    {202: (BatchSchema, "The batch is being paid")},
    problems=(404, 409),
)
def run(mine: Brand, number: int) -> Response:
    """Pay an approved batch, in the background."""
    chunk = context().settings.chunk_payouts
    return transact(
        lambda session: Answer(
            202,
            _batch.dump(run_batch(session, brand_id=mine.id, number=number, chunk_payouts=chunk)),
        )
    )


@routes.operation(
    "POST",
    f"{_BATCH}/retry",
    {202: (BatchSchema, "The batch is being paid again")},
    problems=(404, 409),
)
def retry(mine: Brand, number: int) -> Response:
    """Try again what failed for good while a batch was being paid.

    For when its cause is gone. What was paid stays paid.
    """
    return transact(
        lambda session: Answer(
            202, _batch.dump(retry_batch(session, brand_id=mine.id, number=number))
        )
    )


@routes.operation(
    "POST",
    f"{_BATCH}/cancel",
    {200: (BatchSchema, "The batch is called off")},
    problems=(404, 409),
)
def cancel(mine: Brand, number: int) -> Response:
    """Call off a batch that is not being paid.

    What it held is open for the next.
    """
    return transact(
        lambda session: Answer(
            200, _batch.dump(cancel_batch(session, brand_id=mine.id, number=number))
        )
    )


@routes.operation(
    "GET",
    f"{_BATCH}/file",
    {200: (PLAIN, "The payment file")},
    content_type="text/csv",
    problems=(404, 409),
)
def download_file(mine: Brand, number: int) -> Response:
    """Download the payment file of a settled batch.

    It is checked against the digest in the batch before it is handed out.
    """
    with database().transaction() as session:
        found = get_batch(session, brand_id=mine.id, number=number)
    if found.file_name is None:
        raise NoFileYet(f"batch {number} is {found.state}; only a settled one has a file")
    return _send_file(found)


def _send_file(batch: SettlementBatch) -> Response:
    path = context().settings.data_dir / str(batch.file_name)
    try:
        content = path.read_bytes()
    except OSError:
        raise Unavailable(f"the file of batch {batch.number} is not on this machine") from None
    digest = hashlib.sha256(content).digest()
    if digest != batch.file_sha256:
        raise Unavailable(f"the file of batch {batch.number} is not what was settled")
    response = Response(content, content_type="text/csv; charset=utf-8")
    response.headers["Content-Disposition"] = f'attachment; filename="{path.name}"'
    response.set_etag(digest.hex())
    return response
