"""Plan drafts: written by one person, approved by another, then published."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Response
from sqlalchemy.orm import Session

from distrib.api import lists
from distrib.api.context import caller, database
from distrib.api.fields import Choice, Hex, Instant, PublicId, Shape, Text, Whole
from distrib.api.idempotency import Answer, transact
from distrib.api.paging import Page, PageQuery, page_of
from distrib.api.plans import (
    EXAMPLE,
    ChangesQuery,
    ChangesSchema,
    DocumentField,
    PlanDetailSchema,
    PlanDocumentSchema,
    tell_changes,
    tell_version,
    within_body,
)
from distrib.api.routes import PREFIX, Routes
from distrib.brands.tables import Brand
from distrib.commission.drafts import (
    DraftState,
    approve_draft,
    changes_of_draft,
    discard_draft,
    edit_draft,
    get_draft,
    publish_draft,
    save_draft,
)
from distrib.commission.plan_document import PlanInvalid
from distrib.commission.tables import PlanDraft

routes = Routes(
    "Plan drafts",
    __name__,
    url_prefix=PREFIX,
    description="A draft is a valid plan that is not published yet. Somebody else than its author"
    " approves its content; a change ends the approval. Persons are told apart by the names of"
    " their API keys.",
)

_DRAFT = "/plans/drafts/<int(max=2147483647):number>"


class DraftSchema(Shape):
    """A plan draft, without its document."""

    id = PublicId("pld", required=True)
    number = Whole(required=True, metadata={"example": 1})
    name = Text(required=True, metadata={"example": "Spring 2026"})
    state = Choice(*DraftState, required=True)
    content_hash = Hex(
        required=True,
        metadata={
            "description": "Names the content; an approval repeats it.",
            "example": "0f3c7a9be05d4d7c8f6f2f0e4a1d9b22",
        },
    )
    created_at = Instant(required=True)
    created_by = Text(required=True, metadata={"example": "back office"})
    edited_at = Instant(required=True)
    edited_by = Text(required=True, metadata={"example": "back office"})
    approved_at = Instant(required=True, allow_none=True)
    approved_by = Text(required=True, allow_none=True, metadata={"example": "finance"})
    version_id = PublicId("plv", required=True, allow_none=True)


class DraftDetailSchema(DraftSchema):
    """A plan draft."""

    document = DocumentField(required=True, metadata={"example": EXAMPLE})


class DraftsQuery(PageQuery):
    """Which drafts."""

    state = Choice(*DraftState, load_default=None)


class DraftApprovalSchema(Shape):
    """What is approved."""

    content_hash = Hex(
        required=True,
        metadata={"description": "Of the draft that was looked at.", "example": "0f3c…"},
    )


class DraftPublicationSchema(Shape):
    """When a draft comes into force."""

    effective_from = Instant(
        load_default=None,
        metadata={
            "description": "It must lie after every order taken and after the version before, and"
            " at most 400 days ahead. Left out: now."
        },
    )


_detail, _version = DraftDetailSchema(), PlanDetailSchema()


def _transact(status: int, work: Callable[[Session], PlanDraft]) -> Response:
    def answer(session: Session) -> Answer:
        try:
            return Answer(status, _detail.dump(work(session)))
        except PlanInvalid as error:
            raise within_body(error) from None

    return transact(answer)


@routes.operation(
    "POST",
    "/plans/drafts",
    {201: (DraftDetailSchema, "The draft was saved")},
    body=PlanDocumentSchema,
    example={"document": EXAMPLE},
)
def create_draft(mine: Brand, given: dict[str, Any]) -> Response:
    """Save a draft."""
    author = caller().principal.name
    return _transact(
        201,
        lambda session: save_draft(
            session, brand=mine, document=given["document"], created_by=author
        ),
    )


@routes.operation(
    "GET",
    "/plans/drafts",
    {200: (page_of(DraftSchema), "A page of drafts, newest first")},
    query=DraftsQuery,
)
def list_drafts(mine: Brand, query: dict[str, Any]) -> Page:
    """List the drafts."""
    with database().transaction() as session:
        return lists.drafts(session, brand_id=mine.id, **query)


@routes.operation("GET", _DRAFT, {200: (DraftDetailSchema, "The draft")}, problems=(404,))
def show_draft(mine: Brand, number: int) -> PlanDraft:
    """Show a draft."""
    with database().transaction() as session:
        return get_draft(session, brand_id=mine.id, number=number)


@routes.operation(
    "GET",
    f"{_DRAFT}/changes",
    {200: (ChangesSchema, "What the draft would change")},
    query=ChangesQuery,
    problems=(404,),
)
def show_draft_changes(mine: Brand, query: dict[str, Any], number: int) -> dict[str, Any]:
    """Compare a draft with the newest version."""
    with database().transaction() as session:
        draft = get_draft(session, brand_id=mine.id, number=number)
        compared = changes_of_draft(session, brand_id=mine.id, draft=draft)
    return tell_changes(*compared, query["language"])


@routes.operation(
    "POST",
    _DRAFT,
    {200: (DraftDetailSchema, "The draft says this now")},
    body=PlanDocumentSchema,
    example={"document": EXAMPLE},
    problems=(404, 409),
)
def change_draft(mine: Brand, given: dict[str, Any], number: int) -> Response:
    """Change a draft.

    An approval ends with it, unless the document says the same as before.
    """
    editor = caller().principal.name
    return _transact(
        200,
        lambda session: edit_draft(
            session, brand=mine, number=number, document=given["document"], edited_by=editor
        ),
    )


@routes.operation(
    "POST",
    f"{_DRAFT}/approve",
    {200: (DraftDetailSchema, "The draft is approved")},
    body=DraftApprovalSchema,
    example={"content_hash": "0f3c7a9b"},
    problems=(404, 409),
)
def approve_plan_draft(mine: Brand, given: dict[str, Any], number: int) -> Response:
    """Approve a draft.

    Whoever made the draft, or changed it last, is refused with 409; so is an approval of anything
    but what it says.
    """
    approver = caller().principal.name
    return _transact(
        200,
        lambda session: approve_draft(
            session,
            brand=mine,
            number=number,
            content_hash=given["content_hash"],
            approved_by=approver,
        ),
    )


@routes.operation(
    "POST",
    f"{_DRAFT}/publish",
    {200: (PlanDetailSchema, "The version that the draft became")},
    body=DraftPublicationSchema,
    example={"effective_from": "2026-06-01T00:00:00+08:00"},
    problems=(404, 409),
)
def publish_plan_draft(mine: Brand, given: dict[str, Any], number: int) -> Response:
    """Publish an approved draft."""

    def work(session: Session) -> Answer:
        version = publish_draft(
            session,
            brand=mine,
            number=number,
            published_by=caller().principal.name,
            **given,
        )
        return Answer(200, _version.dump(tell_version(session, version)))

    return transact(work)


@routes.operation(
    "POST",
    f"{_DRAFT}/discard",
    {200: (DraftDetailSchema, "The draft is put away")},
    problems=(404, 409),
)
def discard_plan_draft(mine: Brand, number: int) -> Response:
    """Discard a draft. Doing it again changes nothing."""
    return _transact(200, lambda session: discard_draft(session, brand=mine, number=number))
