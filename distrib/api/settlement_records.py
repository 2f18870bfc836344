"""The paper of a batch: who was left out, who did what, what was posted, its files, the bank's."""

from __future__ import annotations

import hashlib
import io
from typing import Any

from flask import Response, request
from marshmallow import fields
from werkzeug.exceptions import RequestEntityTooLarge, UnsupportedMediaType

from distrib.api import settlement_lists
from distrib.api.context import context, database
from distrib.api.fields import Amount, Choice, Instant, Objects, PublicId, Shape, Text, Whole
from distrib.api.idempotency import Answer, replay, transact
from distrib.api.paging import Page, PageQuery, page_of
from distrib.api.routes import PLAIN, PREFIX, Routes
from distrib.api.settlement import BATCH, actor
from distrib.brands.tables import Brand
from distrib.errors import Conflict, NotFound, Unavailable
from distrib.settlement.batch import get_batch
from distrib.settlement.finishing import list_files
from distrib.settlement.gathering import Reason
from distrib.settlement.providers.status_file import read_pain_002, read_status_csv
from distrib.settlement.status_reports import take_status_report
from distrib.settlement.tables import BatchFile

routes = Routes(
    "Settlement records",
    __name__,
    url_prefix=PREFIX,
    description="What is on record of a batch: who was left out and why, who did what and why, what"
    " it posted to the ledger, its payment files, and what the bank says of them.",
)

_MOST_BYTES = 64 * 1024 * 1024
_SHOWN = 200
_FILES = {"csv": "text/csv", "xml": "application/xml"}
_READERS = {
    "application/xml": read_pain_002,
    "text/xml": read_pain_002,
    "text/csv": read_status_csv,
}
_CSV = "request_no,status,reference,code,message\n12p1a1,paid,20260331-0001,,\n"
_XML = (
    '<Document xmlns="urn:iso:std:iso:20022:tech:xsd:pain.002.001.10"><CstmrPmtStsRpt>…'
    "</CstmrPmtStsRpt></Document>"
)


class NoFileYet(Conflict):
    """Nothing of the batch has been written to a file."""

    title = "The batch has no payment file yet"


class FileNotFound(NotFound):
    """No file of that number."""

    title = "No such payment file"


class ExclusionSchema(Shape):
    """Somebody who had something due and is not in the batch."""

    distributor = Text(required=True, metadata={"example": "anna"})
    distributor_id = PublicId("dst", required=True)
    name = Text(required=True, metadata={"example": "Anna"})
    amount = Amount(
        required=True, metadata={"description": "Due at the cutoff, left open.", "example": 40}
    )
    currency = Text(required=True, metadata={"example": "CNY"})
    reason = Choice(*Reason, required=True)
    reason_words = Text(
        required=True, metadata={"example": "below the minimum payout; carried forward"}
    )


class EventSchema(Shape):
    """What somebody did to a batch, or to one payout of it, and why."""

    id = PublicId("evt", required=True)
    at = Instant(required=True)
    kind = Text(required=True, metadata={"example": "approved"})
    actor = Text(required=True, metadata={"example": "finance"})
    no = Whole(
        required=True,
        allow_none=True,
        metadata={"description": "The payout; null for the batch as a whole.", "example": None},
    )
    reason = Text(required=True, allow_none=True, metadata={"example": None})
    data = fields.Dict(keys=fields.String(), required=True, metadata={"example": {}})


class PostingSchema(Shape):
    """What a batch posted to the ledger at once."""

    id = PublicId("pst", required=True)
    code = Text(
        required=True,
        metadata={
            "description": "`reserve`, `send`, `confirm`, `withhold`, `fail`, `return`, …",
            "example": "reserve",
        },
    )
    first_no = Whole(
        required=True, metadata={"description": "The first payout it concerns.", "example": 1}
    )
    payouts = Whole(required=True, metadata={"example": 1200})
    total = Whole(required=True, metadata={"example": 48_230_000})
    currency = Text(required=True, metadata={"example": "CNY"})


class FileQuery(Shape):
    """Which file."""

    no = Whole(
        1,
        32_767,
        strict=False,
        load_default=None,
        metadata={"description": "Counted from 1. Left out: the last."},
    )


class RefusedRowSchema(Shape):
    """A row that says nothing usable."""

    row = Whole(
        required=True,
        metadata={
            "description": "Counted from 1; in XML, the line; 0 for what the file as a whole says.",
            "example": 7,
        },
    )
    reason = Text(required=True, metadata={"example": "status is none of paid, failed"})
    text = Text(required=True, metadata={"example": "12p7a1"})


class ReportTakenSchema(Shape):
    """What a status report did. Lists are cut off after 200."""

    moved = Whole(
        required=True, metadata={"description": "Payouts in another state now.", "example": 1180}
    )
    known = Whole(
        required=True,
        metadata={"description": "Rows about payouts of the batch.", "example": 1200},
    )
    unknown_count = Whole(required=True, metadata={"example": 0})
    strangers = fields.List(  # a schema has an attribute "unknown" of its own
        fields.String(),
        data_key="unknown",
        required=True,
        metadata={"description": "Request numbers that are not of this batch.", "example": []},
    )
    refused_count = Whole(required=True, metadata={"example": 1})
    refused = Objects(RefusedRowSchema, required=True)


_report = ReportTakenSchema()


@routes.operation(
    "GET",
    f"{BATCH}/exclusions",
    {200: (page_of(ExclusionSchema), "A page of those left out")},
    query=PageQuery,
    problems=(404,),
)
def list_exclusions(mine: Brand, query: dict[str, Any], number: int) -> Page:
    """List who had something due and is not in a batch, and why."""
    with database().transaction() as session:
        found = get_batch(session, brand_id=mine.id, number=number)
        return settlement_lists.exclusions(session, batch=found, **query)


@routes.operation(
    "GET",
    f"{BATCH}/events",
    {200: (page_of(EventSchema), "A page of events, oldest first")},
    query=PageQuery,
    problems=(404,),
)
def list_batch_events(mine: Brand, query: dict[str, Any], number: int) -> Page:
    """List who did what to a batch and its payouts, and why."""
    with database().transaction() as session:
        found = get_batch(session, brand_id=mine.id, number=number)
        return settlement_lists.events(session, batch=found, **query)


@routes.operation(
    "GET",
    f"{BATCH}/postings",
    {200: (page_of(PostingSchema), "A page of postings, oldest first")},
    query=PageQuery,
    problems=(404,),
)
def list_batch_postings(mine: Brand, query: dict[str, Any], number: int) -> Page:
    """List what a batch posted to the ledger."""
    with database().transaction() as session:
        found = get_batch(session, brand_id=mine.id, number=number)
        return settlement_lists.postings(session, batch=found, **query)


@routes.operation(
    "GET",
    f"{BATCH}/file",
    {200: (PLAIN, "The payment file")},
    query=FileQuery,
    content_type=("text/csv", "application/xml"),
    problems=(404, 409),
)
def download_file(mine: Brand, query: dict[str, Any], number: int) -> Response:
    """Download a payment file of a batch.

    It is checked against the digest that is on record before it is handed out.
    """
    with database().transaction() as session:
        batch = get_batch(session, brand_id=mine.id, number=number)
        files = list_files(session, batch=batch)
    if not files:
        raise NoFileYet(f"batch {number} is {batch.state.replace('_', ' ')}; it has no file")
    no = query["no"] or len(files)
    found = next((each for each in files if each.file_no == no), None)
    if found is None:
        raise FileNotFound(f"batch {number} has {len(files)} files, no {no}", field="no")
    return _send_file(found, f"file {no} of batch {number}")


def _send_file(file: BatchFile, name: str) -> Response:
    path = context().settings.data_dir / file.name
    try:
        content = path.read_bytes()
    except OSError:
        raise Unavailable(f"{name} is not on this machine") from None
    digest = hashlib.sha256(content).digest()
    if digest != file.sha256:
        raise Unavailable(f"{name} is not what was written")
    kind = _FILES.get(path.suffix.removeprefix("."), "text/csv")
    response = Response(content, content_type=f"{kind}; charset=utf-8")
    response.headers["Content-Disposition"] = f'attachment; filename="{path.name}"'
    response.set_etag(digest.hex())
    return response


@routes.operation(
    "POST",
    f"{BATCH}/status-report",
    {200: (ReportTakenSchema, "What the report says is recorded")},
    uploads={"text/csv": _CSV, "application/xml": _XML},
    problems=(404, 409),
)
def upload_status_report(mine: Brand, number: int) -> Response:
    """Upload what a bank says of a batch.

    As `application/xml` an ISO 20022 status report (pain.002), as `text/csv` a file with the
    columns `request_no`, `status` (`paid`, `failed`, `pending`, `returned`) and perhaps
    `reference`, `code`, `message`; up to 64 MiB. The same report again moves nothing.
    """
    request.max_content_length = _MOST_BYTES
    if (again := replay()) is not None:
        return again
    with database().transaction() as session:
        get_batch(session, brand_id=mine.id, number=number)
    reader = _READERS.get(request.mimetype)
    if reader is None:
        raise UnsupportedMediaType("send the file as application/xml (pain.002) or text/csv")
    content = read_body(_MOST_BYTES)
    taken = take_status_report(
        database(),
        brand=mine,
        number=number,
        report=reader(io.BytesIO(content)),
        sha256=hashlib.sha256(content).digest(),
        taken_by=actor(),
    )
    told = {
        "moved": taken.moved,
        "known": taken.known,
        "unknown_count": len(taken.unknown),
        "strangers": taken.unknown[:_SHOWN],
        "refused_count": len(taken.refused),
        "refused": taken.refused[:_SHOWN],
    }
    return transact(lambda _: Answer(200, _report.dump(told)))


def read_body(most: int) -> bytes:
    """The request's body as it came.

    :raises RequestEntityTooLarge: when it has more than ``most`` bytes.
    """
    request.max_content_length = most
    content = request.get_data(cache=True)
    if len(content) >= most and request.content_length is None:
        # of a body of unknown length Werkzeug reads as much as it may, and says nothing
        raise RequestEntityTooLarge
    return content
