"""What settlement batches look like outside."""

from __future__ import annotations

from marshmallow import fields, validate

from distrib.api.fields import (
    Amount,
    Choice,
    Day,
    Hex,
    Instant,
    Objects,
    PublicId,
    Shape,
    Text,
    Whole,
)
from distrib.api.paging import PageQuery
from distrib.settlement.gathering import Reason

STATES = (
    *("draft", "submitted", "approved", "paying", "paused", "settled", "partly_failed"),
    *("closed", "cancelled"),
)
_MOST_NAMED = 10_000


class FiltersSchema(Shape):
    """What a batch is limited to."""

    chosen = fields.List(  # a schema has an attribute "only" of its own
        Text(),
        data_key="only",
        load_default=list,
        validate=validate.Length(max=_MOST_NAMED),
        metadata={
            "description": "External ids; nobody else is paid. Left out: everybody.",
            "example": ["anna"],
        },
    )
    without = fields.List(
        Text(),
        load_default=list,
        validate=validate.Length(max=_MOST_NAMED),
        metadata={"description": "External ids that are not paid.", "example": ["bo"]},
    )
    minimum = Whole(
        1,
        load_default=None,
        allow_none=True,
        metadata={
            "description": "Smallest payout, at least the brand's. Left out: the brand's.",
            "example": 5000,
        },
    )


class NewBatchSchema(Shape):
    """A batch to draw up."""

    cutoff = Day(
        load_default=None,
        metadata={"description": "Last day that counts, where the brand lives. Left out: today."},
    )
    provider = Text(
        load_default="bank-file",
        metadata={"description": "One of the brand's payment providers.", "example": "bank-file"},
    )
    filters = fields.Nested(FiltersSchema, load_default=None)


class BatchSchema(Shape):
    """A settlement batch. Money in minor units of `currency`; `total` is gross."""

    id = PublicId("bat", required=True)
    number = Whole(required=True, metadata={"example": 1})
    state = Choice(*STATES, required=True)
    cutoff = Day(required=True)
    currency = Text(required=True, metadata={"example": "CNY"})
    minimum_payout = Whole(required=True, metadata={"example": 100})
    provider = Text(required=True, metadata={"example": "bank-file"})
    filters = fields.Dict(
        keys=fields.String(),
        required=True,
        metadata={"description": "As it was drawn up.", "example": {"without": ["bo"]}},
    )
    payouts = Whole(required=True, metadata={"example": 1200})
    total = Whole(required=True, metadata={"example": 48_230_000})
    tax_total = Whole(
        required=True, metadata={"description": "Withheld of the total.", "example": 0}
    )
    tax_regime = Text(required=True, allow_none=True, metadata={"example": "cn_labour"})
    tax_version = Text(required=True, allow_none=True, metadata={"example": "2019-01-01.."})
    tax_month = Day(
        required=True,
        allow_none=True,
        metadata={"description": "First day of the month that its tax is of."},
    )
    content_hash = Hex(
        required=True,
        metadata={"description": "Names the content; an approval repeats it."},
    )
    approvals_needed = Whole(
        required=True,
        metadata={"description": "Fixed when it is submitted.", "example": 1},
    )
    created_at = Instant(required=True)
    created_by = Text(required=True, metadata={"example": "back office"})
    submitted_at = Instant(required=True, allow_none=True)
    submitted_by = Text(required=True, allow_none=True, metadata={"example": "back office"})
    approved_at = Instant(required=True, allow_none=True)
    approved_by = Text(required=True, allow_none=True, metadata={"example": "finance"})
    settled_at = Instant(required=True, allow_none=True)
    closed_at = Instant(required=True, allow_none=True)
    closed_by = Text(required=True, allow_none=True, metadata={"example": "finance"})


class StateSchema(Shape):
    """The payouts in one state."""

    state = Text(required=True, metadata={"example": "paid"})
    payouts = Whole(required=True, metadata={"example": 500})
    total = Whole(required=True, metadata={"example": 20_100_000})


class ProgressSchema(Shape):
    """How far a batch has come. Amounts are gross."""

    payouts = Whole(required=True, metadata={"example": 1200})
    paid = Whole(required=True, metadata={"example": 500})
    total = Whole(required=True, metadata={"example": 48_230_000})
    paid_total = Whole(required=True, metadata={"example": 20_100_000})
    states = Objects(StateSchema, required=True)
    rate = fields.Float(
        required=True,
        allow_none=True,
        metadata={
            "description": "Payouts handed over a second; null while none are.",
            "example": 312.5,
        },
    )
    seconds_left = fields.Float(
        required=True,
        allow_none=True,
        metadata={"description": "At that rate, until all are handed over.", "example": 2.2},
    )


class BatchApprovalSchema(Shape):
    """Somebody approved the batch as it is."""

    approved_by = Text(required=True, metadata={"example": "finance"})
    approved_at = Instant(required=True)


class FileSchema(Shape):
    """A payment file: the first holds all, later ones what was paid anew."""

    no = Whole(required=True, attribute="file_no", metadata={"example": 1})
    sha256 = Hex(required=True)
    payouts = Whole(required=True, metadata={"example": 1200})
    total = Whole(
        required=True, metadata={"description": "Net, what is paid.", "example": 48_230_000}
    )
    created_at = Instant(required=True)


class LeftOutSchema(Shape):
    """How many are left out for one reason, and how much they have."""

    reason = Choice(*Reason, required=True)
    reason_words = Text(
        required=True, metadata={"example": "below the minimum payout; carried forward"}
    )
    distributors = Whole(required=True, metadata={"example": 12})
    amount = Amount(required=True, metadata={"example": 640})


class BatchDetailSchema(BatchSchema):
    """A settlement batch: how far it has come, who approved it, its files, who is not in it."""

    progress = fields.Nested(ProgressSchema, required=True)
    approvals = Objects(
        BatchApprovalSchema,
        required=True,
        metadata={"description": "Those that count: of the content as it was last submitted."},
    )
    files = Objects(FileSchema, required=True)
    exclusions = Objects(LeftOutSchema, required=True)


class BatchQuery(PageQuery):
    """Which batches."""

    state = Choice(*STATES, load_default=None)


class ApprovalSchema(Shape):
    """What is approved."""

    content_hash = Hex(
        required=True,
        metadata={"description": "Of the batch that was reviewed.", "example": "3f2c…"},
    )


class ReasonSchema(Shape):
    """Why something is done. It stays on record."""

    reason = Text(500, required=True, metadata={"example": "the account was closed"})


class PerhapsReasonSchema(Shape):
    """Why something is done, if there is something to say."""

    reason = Text(500, load_default=None, metadata={"example": "the bank is closed today"})
