"""What a batch would hold, before it is drawn up. Nothing is written."""

from __future__ import annotations

from datetime import date
from typing import Any

from marshmallow import fields, validate

from distrib import clock
from distrib.api import settlement_lists
from distrib.api.context import database
from distrib.api.fields import Amount, Choice, Day, Objects, PublicId, Shape, Text, Whole
from distrib.api.paging import Page, PageQuery, page_of
from distrib.api.routes import PREFIX, Routes
from distrib.api.settlement import provider_of, read_filters
from distrib.api.settlement_lists import by_reason
from distrib.api.settlement_shapes import LeftOutSchema
from distrib.brands.tables import Brand
from distrib.settlement.gathering import Reason, preview_counts

routes = Routes(
    "Settlement preview",
    __name__,
    url_prefix=PREFIX,
    description="Who a batch would pay and who not, and why: the same judgement that drawing up"
    " makes. Repeat `only` and `without` for several distributors.",
)

_MOST_NAMED = 200


class PreviewQuery(Shape):
    """Of which batch. The same as drawing up takes."""

    cutoff = Day(
        load_default=None,
        metadata={
            "description": "Last day that counts; left out: today. A day to come tells what would"
            " be due by then, as far as is known now."
        },
    )
    provider = Text(load_default="bank-file", metadata={"description": "Default: bank-file."})
    chosen = fields.List(
        Text(),
        data_key="only",
        load_default=list,
        validate=validate.Length(max=_MOST_NAMED),
        metadata={"description": "External id; nobody else is paid."},
    )
    without = fields.List(
        Text(),
        load_default=list,
        validate=validate.Length(max=_MOST_NAMED),
        metadata={"description": "External id that is not paid."},
    )
    minimum = Whole(
        1, strict=False, load_default=None, metadata={"description": "At least the brand's."}
    )


class PreviewLinesQuery(PreviewQuery, PageQuery):
    """Of which batch, and which part."""


class PreviewSchema(Shape):
    """What a batch drawn up now would hold. Tax is computed when it is drawn up."""

    cutoff = Day(required=True)
    provider = Text(required=True, metadata={"example": "bank-file"})
    currency = Text(required=True, metadata={"example": "CNY"})
    payouts = Whole(required=True, metadata={"example": 1200})
    total = Whole(required=True, metadata={"example": 48_230_000})
    left_out = Objects(LeftOutSchema, required=True)


class PreviewLineSchema(Shape):
    """One distributor with something open, and what becomes of it."""

    distributor = Text(required=True, metadata={"example": "anna"})
    distributor_id = PublicId("dst", required=True)
    name = Text(required=True, metadata={"example": "Anna"})
    due = Amount(
        required=True,
        metadata={"description": "At the cutoff; negative is a debt.", "example": 1980},
    )
    amount = Amount(
        required=True, metadata={"description": "What the batch would pay.", "example": 1980}
    )
    carried_forward = Amount(
        required=True,
        metadata={"description": "Due, and left for a later batch.", "example": 0},
    )
    later = Amount(
        required=True, metadata={"description": "Becomes available after it.", "example": 500}
    )
    currency = Text(required=True, metadata={"example": "CNY"})
    reason = Choice(
        *Reason,
        required=True,
        allow_none=True,
        metadata={"description": "Why it is not paid; null when it is."},
    )
    reason_words = Text(required=True, allow_none=True, metadata={"example": None})


def _cutoff(mine: Brand, cutoff: date | None) -> date:
    return cutoff or clock.day_of(clock.now(), mine.time_zone)


@routes.operation(
    "GET",
    "/settlement/preview",
    {200: (PreviewSchema, "Numbers and sums")},
    query=PreviewQuery,
)
def preview_batch(mine: Brand, query: dict[str, Any]) -> dict[str, Any]:
    """Preview a batch: how many it would pay, and how many not, and why."""
    provider = provider_of(mine, query["provider"])
    with database().snapshot() as session:
        found = preview_counts(
            session,
            brand=mine,
            cutoff=_cutoff(mine, query["cutoff"]),
            filters=read_filters(query),
            method=provider.method,
        )
    return {
        "cutoff": found.cutoff,
        "provider": provider.name,
        "currency": mine.currency,
        "payouts": found.payouts,
        "total": found.total,
        "left_out": by_reason(found.reasons),
    }


@routes.operation(
    "GET",
    "/settlement/preview/lines",
    {200: (page_of(PreviewLineSchema), "A page of distributors, by external id")},
    query=PreviewLinesQuery,
)
def preview_batch_lines(mine: Brand, query: dict[str, Any]) -> Page:
    """Preview a batch line by line: everybody with something open, paid or not."""
    provider = provider_of(mine, query["provider"])
    with database().snapshot() as session:
        return settlement_lists.preview(
            session,
            brand=mine,
            cutoff=_cutoff(mine, query["cutoff"]),
            filters=read_filters(query),
            method=provider.method,
            cursor=query["cursor"],
            limit=query["limit"],
        )
