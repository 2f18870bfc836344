"""Settlement batches: drawn up, submitted, approved by somebody else, paid, closed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Response
from sqlalchemy.orm import Session

from distrib.api import settlement_lists
from distrib.api.context import caller, context, database
from distrib.api.idempotency import Answer, replay, transact
from distrib.api.paging import Page, page_of
from distrib.api.routes import PREFIX, Routes
from distrib.api.settlement_lists import by_reason
from distrib.api.settlement_shapes import (
    ApprovalSchema,
    BatchDetailSchema,
    BatchQuery,
    BatchSchema,
    NewBatchSchema,
    PerhapsReasonSchema,
    ReasonSchema,
)
from distrib.brands.tables import Brand
from distrib.errors import Unavailable
from distrib.settlement import batch as batches
from distrib.settlement import running
from distrib.settlement.finishing import list_files
from distrib.settlement.gathering import Filters
from distrib.settlement.looking import count_exclusions
from distrib.settlement.payouts import close_settled_batch
from distrib.settlement.progress import Progress, batch_progress
from distrib.settlement.providers import BadProviderSetting
from distrib.settlement.providers.registry import ProviderChoice, choose_provider
from distrib.settlement.tables import SettlementBatch

routes = Routes(
    "Settlement",
    __name__,
    url_prefix=PREFIX,
    description="A batch gathers what has left the hold, one payout a distributor: `draft` →"
    " `submitted` → `approved` → `paying` (⇄ `paused`) → `settled` or `partly_failed` → `closed`."
    " Who draws it up or submits it cannot approve it; who acts is the name of the API key. An"
    " approval is of exactly the reviewed content, and void when that changes. Then it is paid in"
    " the background, each payout once.",
)

BATCH = "/settlement/batches/<int(max=2147483647):number>"

_batch = BatchSchema()


def actor() -> str:
    """Who acts: people are API keys."""
    return caller().principal.name


def provider_of(mine: Brand, name: str) -> ProviderChoice:
    """The brand's provider of that name.

    :raises Unavailable: when it is there and badly configured.
    """
    try:
        return choose_provider(context().settings, mine.slug, name)
    except BadProviderSetting as error:
        raise Unavailable(f"provider {name!r} is not configured: {error}") from None


def read_filters(given: dict[str, Any] | None) -> Filters:
    """The filters of a body or a query."""
    if given is None:
        return Filters()
    return Filters(tuple(given["chosen"]), tuple(given["without"]), given["minimum"])


def _change(
    mine: Brand, number: int, verb: Callable[..., SettlementBatch], **facts: Any
) -> Response:
    """Do a verb of a batch, and show the batch."""
    return transact(
        lambda session: Answer(
            200, _batch.dump(verb(session, brand_id=mine.id, number=number, **facts))
        )
    )


@routes.operation(
    "POST",
    "/settlement/batches",
    {201: (BatchSchema, "The batch was drawn up, for review")},
    body=NewBatchSchema,
    example={"cutoff": "2026-03-31", "provider": "bank-file", "filters": {"without": ["bo"]}},
    problems=(409,),
)
def create_batch(mine: Brand, given: dict[str, Any]) -> Response:
    """Draw up a batch.

    What is past its hold at the cutoff is gathered and reserved, and the tax of each payout is
    computed. Who is left out, and why, is in `/exclusions`; `/settlement/preview` tells beforehand.
    """
    if (again := replay()) is not None:
        return again
    provider, filters = provider_of(mine, given["provider"]), read_filters(given["filters"])
    cutoff = batches.mature_for_batch(database(), brand=mine, cutoff=given["cutoff"])

    def work(session: Session) -> Answer:
        made = batches.draw_up_batch(
            session,
            brand=mine,
            cutoff=cutoff,
            provider=provider,
            filters=filters,
            created_by=actor(),
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
        return settlement_lists.batches(session, brand_id=mine.id, **query)


def _tell(progress: Progress) -> dict[str, Any]:
    told = {name: getattr(progress, name) for name in progress.__dataclass_fields__}
    return told | {
        "states": [
            {"state": state, "payouts": count, "total": total}
            for state, (count, total) in progress.states.items()
        ]
    }


@routes.operation("GET", BATCH, {200: (BatchDetailSchema, "The batch")}, problems=(404,))
def show_batch(mine: Brand, number: int) -> dict[str, Any]:
    """Show a batch and how far it has come."""
    with database().transaction() as session:
        found = batches.get_batch(session, brand_id=mine.id, number=number)
        columns = {column.key: getattr(found, column.key) for column in found.__table__.columns}
        return columns | {
            "progress": _tell(batch_progress(session, batch=found)),
            "approvals": batches.list_approvals(session, batch=found),
            "files": list_files(session, batch=found),
            "exclusions": by_reason(count_exclusions(session, batch=found)),
        }


@routes.operation(
    "POST",
    f"{BATCH}/submit",
    {200: (BatchSchema, "The batch waits for approval")},
    problems=(404, 409),
)
def submit_batch(mine: Brand, number: int) -> Response:
    """Submit a draft for approval.

    A total above the brand's `second_approval_above` needs two approvals.
    """
    return _change(mine, number, batches.submit_batch, submitted_by=actor())


@routes.operation(
    "POST",
    f"{BATCH}/approve",
    {200: (BatchSchema, "The approval is recorded; `approved` once there are as many as it needs")},
    body=ApprovalSchema,
    example={"content_hash": "3f2c9a…"},
    problems=(404, 409),
)
def approve(mine: Brand, given: dict[str, Any], number: int) -> Response:
    """Approve a submitted batch.

    By somebody who neither drew it up nor submitted it. The approval is of the content that was
    reviewed: should the batch hold anything else, it is refused with 409.
    """
    return _change(
        mine,
        number,
        batches.approve_batch,
        approved_by=actor(),
        content_hash=given["content_hash"],
    )


@routes.operation(
    "POST",
    f"{BATCH}/reject",
    {200: (BatchSchema, "The batch is a draft again")},
    body=ReasonSchema,
    example={"reason": "anna's account is being checked"},
    problems=(404, 409),
)
def reject_batch(mine: Brand, given: dict[str, Any], number: int) -> Response:
    """Send a batch back to its maker.

    Its approvals are void.
    """
    return _change(mine, number, batches.reject_batch, rejected_by=actor(), reason=given["reason"])


@routes.operation(
    "POST",
    f"{BATCH}/run",
    {202: (BatchSchema, "The batch is being paid")},
    problems=(404, 409),
)
def run(mine: Brand, number: int) -> Response:
    """Pay an approved batch, in the background."""
    chunk = context().settings.chunk_payouts
    return transact(
        lambda session: Answer(
            202,
            _batch.dump(
                running.run_batch(
                    session, brand_id=mine.id, number=number, chunk_payouts=chunk, run_by=actor()
                )
            ),
        )
    )


@routes.operation(
    "POST",
    f"{BATCH}/retry",
    {202: (BatchSchema, "The batch is being paid again")},
    problems=(404, 409),
)
def retry(mine: Brand, number: int) -> Response:
    """Try again what failed for good while a batch was being paid.

    For when its cause is gone. What was paid stays paid. Payouts that the provider refused are
    re-issued one by one.
    """
    return transact(
        lambda session: Answer(
            202,
            _batch.dump(
                running.retry_batch(session, brand_id=mine.id, number=number, retried_by=actor())
            ),
        )
    )


@routes.operation(
    "POST",
    f"{BATCH}/pause",
    {200: (BatchSchema, "Nothing more is handed over")},
    body=PerhapsReasonSchema,
    example={"reason": "the bank is closed today"},
    problems=(404, 409),
)
def pause_batch(mine: Brand, given: dict[str, Any], number: int) -> Response:
    """Pause a batch that is being paid.

    What was handed over is followed all the same.
    """
    return _change(mine, number, running.pause_batch, paused_by=actor(), reason=given["reason"])


@routes.operation(
    "POST",
    f"{BATCH}/resume",
    {200: (BatchSchema, "The batch is being paid again")},
    problems=(404, 409),
)
def resume_batch(mine: Brand, number: int) -> Response:
    """Go on paying a paused batch."""
    return _change(mine, number, running.resume_batch, resumed_by=actor())


@routes.operation(
    "POST",
    f"{BATCH}/cancel",
    {200: (BatchSchema, "The batch is called off")},
    body=PerhapsReasonSchema,
    example={"reason": "the cutoff was a day early"},
    problems=(404, 409),
)
def cancel(mine: Brand, given: dict[str, Any], number: int) -> Response:
    """Call off a batch that is not being paid.

    What it held is open for the next.
    """
    return _change(mine, number, batches.cancel_batch, cancelled_by=actor(), reason=given["reason"])


@routes.operation(
    "POST",
    f"{BATCH}/close",
    {200: (BatchSchema, "The batch is closed")},
    problems=(404, 409),
)
def close_batch(mine: Brand, number: int) -> Response:
    """Close a batch of which nothing is left to do: each payout is paid or voided."""
    return _change(mine, number, close_settled_batch, closed_by=actor())
