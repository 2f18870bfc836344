"""Plan drafts: written by one person, approved by another, published once.

An approval is of a content, named by its hash: whoever changes an approved draft makes it a draft
again. What is published is what was approved, or nothing.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from distrib import clock, ids
from distrib.brands.jurisdiction import channel_levels
from distrib.brands.tables import Brand
from distrib.commission.plan_document import document_hash
from distrib.commission.service import (
    check_plan,
    comparable,
    newest_version,
    publish_approved,
)
from distrib.commission.tables import PlanDraft, PlanVersion
from distrib.db import Lock, lock
from distrib.errors import Conflict, InvalidInput, NotFound, unstorable

_MOST_LETTERS = 200


class DraftState(StrEnum):
    """Where a draft stands."""

    DRAFT = "draft"
    APPROVED = "approved"
    PUBLISHED = "published"
    DISCARDED = "discarded"


class DraftNotFound(NotFound):
    """No draft of that number."""

    title = "No such plan draft"


class DraftInWrongState(Conflict):
    """The draft has gone another way."""

    title = "The plan draft is in another state"


class DraftChanged(Conflict):
    """The content is not what was looked at."""

    title = "The plan draft has changed"


class SamePerson(Conflict):
    """Who wrote a draft does not approve it."""

    title = "A second person has to approve the draft"


def _person(name: str, field: str) -> str:
    name = name.strip()
    if not 1 <= len(name) <= _MOST_LETTERS:
        raise InvalidInput(f"must have 1 to {_MOST_LETTERS} characters", field=field)
    if (reason := unstorable(name)) is not None:
        raise InvalidInput(reason, field=field)
    return name


def save_draft(session: Session, *, brand: Brand, document: Any, created_by: str) -> PlanDraft:
    """Keep a valid plan document as a new draft.

    :raises PlanInvalid: when the document is not valid.
    """
    plan = check_plan(session, brand_id=brand.id, document=document)
    author, now = _person(created_by, "created_by"), clock.now()
    lock(session, brand.id, Lock.FACTS)  # for the number
    last = session.scalar(select(func.max(PlanDraft.number)).where(PlanDraft.brand_id == brand.id))
    draft = PlanDraft(
        brand_id=brand.id,
        id=ids.new(),
        number=(last or 0) + 1,
        name=plan.name,
        document=document,
        content_hash=document_hash(document),
        state=DraftState.DRAFT.value,
        created_by=author,
        created_at=now,
        edited_by=author,
        edited_at=now,
    )
    session.add(draft)
    session.flush()
    return draft


def get_draft(
    session: Session, *, brand_id: int, number: int, for_update: bool = False
) -> PlanDraft:
    """The draft of that number.

    :raises DraftNotFound: when there is none.
    """
    query = select(PlanDraft).where(PlanDraft.brand_id == brand_id, PlanDraft.number == number)
    if for_update:  # and read it again: the session may have seen it before it was locked
        query = query.with_for_update().execution_options(populate_existing=True)
    draft = session.scalar(query)
    if draft is None:
        raise DraftNotFound(f"there is no plan draft {number}", field="draft")
    return draft


def list_drafts(session: Session, *, brand_id: int) -> list[PlanDraft]:
    """All drafts, newest first."""
    return list(
        session.scalars(
            select(PlanDraft)
            .where(PlanDraft.brand_id == brand_id)
            .order_by(PlanDraft.number.desc())
        )
    )


def changes_of_draft(
    session: Session, *, brand_id: int, draft: PlanDraft
) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """What to compare to see what a draft would change: the newest version, and the draft as it
    would be published now."""
    newest = newest_version(session, brand_id=brand_id)
    brand = session.get_one(Brand, brand_id, populate_existing=True)
    frame = {"levels": brand.levels, "channel_levels": channel_levels(session, brand=brand)}
    return None if newest is None else comparable(newest), frame | draft.document


def _take(session: Session, brand: Brand, number: int, *states: DraftState) -> PlanDraft:
    """The draft, held until the transaction ends, if it is in one of ``states``."""
    draft = get_draft(session, brand_id=brand.id, number=number, for_update=True)
    if draft.state not in states:
        raise DraftInWrongState(
            f"plan draft {number} is {draft.state}; this needs it to be {' or '.join(states)}",
            field="state",
        )
    return draft


def _clear_approval(draft: PlanDraft) -> None:
    draft.approved_by = draft.approved_at = draft.approved_hash = None


def edit_draft(
    session: Session,
    *,
    brand: Brand,
    number: int,
    document: Any,
    edited_by: str,
) -> PlanDraft:
    """Change a draft. One that was approved needs approval again.

    Saving what it says already changes nothing, and leaves an approval alone.

    :raises PlanInvalid: when the document is not valid.
    :raises DraftInWrongState: when it is published or discarded.
    """
    draft = _take(session, brand, number, DraftState.DRAFT, DraftState.APPROVED)
    plan = check_plan(session, brand_id=brand.id, document=document)
    digest = document_hash(document)
    if digest == draft.content_hash:
        return draft
    draft.document, draft.content_hash, draft.name = document, digest, plan.name
    draft.edited_by, draft.edited_at = _person(edited_by, "edited_by"), clock.now()
    draft.state = DraftState.DRAFT.value
    _clear_approval(draft)
    session.flush()
    return draft


def approve_draft(
    session: Session,
    *,
    brand: Brand,
    number: int,
    content_hash: bytes | None = None,
    approved_by: str,
) -> PlanDraft:
    """Stand for the content of a draft, as somebody who did not write it.

    :param content_hash: what the approver has seen; left out, what the draft says now.
    :raises SamePerson: when the approver made the draft, or changed it last.
    :raises DraftChanged: when it is not what the approver has seen.
    """
    draft = _take(session, brand, number, DraftState.DRAFT)
    approver = _person(approved_by, "approved_by")
    if approver.lower() in (draft.created_by.lower(), draft.edited_by.lower()):
        raise SamePerson(f"{approver} has written in plan draft {number}", field="approved_by")
    if content_hash is not None and content_hash != draft.content_hash:
        raise DraftChanged(
            f"plan draft {number} says something else than what was looked at",
            field="content_hash",
        )
    check_plan(session, brand_id=brand.id, document=draft.document)  # as things are now
    draft.state = DraftState.APPROVED.value
    draft.approved_by, draft.approved_at = approver, clock.now()
    draft.approved_hash = draft.content_hash
    session.flush()
    return draft


def publish_draft(
    session: Session,
    *,
    brand: Brand,
    number: int,
    effective_from: datetime | None = None,
    published_by: str,
) -> PlanVersion:
    """Publish an approved draft; see :func:`distrib.commission.service.publish_plan`.

    :raises DraftInWrongState: when it is not approved.
    """
    lock(session, brand.id, Lock.FACTS)  # before the draft's row, as whoever saves a draft does
    draft = _take(session, brand, number, DraftState.APPROVED)
    if document_hash(draft.document) != draft.approved_hash:
        raise DraftChanged(f"plan draft {number} is not what was approved", field="content_hash")
    version = publish_approved(
        session,
        brand=brand,
        document=draft.document,
        effective_from=effective_from,
        published_by=_person(published_by, "published_by"),
    )
    draft.state, draft.version_id = DraftState.PUBLISHED.value, version.id
    session.flush()
    return version


def discard_draft(session: Session, *, brand: Brand, number: int) -> PlanDraft:
    """Put a draft away. Doing it again changes nothing."""
    draft = _take(
        session, brand, number, DraftState.DRAFT, DraftState.APPROVED, DraftState.DISCARDED
    )
    if draft.state != DraftState.DISCARDED:
        draft.state = DraftState.DISCARDED.value
        _clear_approval(draft)
        session.flush()
    return draft
