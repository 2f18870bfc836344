"""Whose law a brand lives under, what that limits, and who answers for going further.

``docs/jurisdictions.md`` says what is limited and why.
"""

from __future__ import annotations

import re
from enum import StrEnum

from sqlalchemy import exists, select, text
from sqlalchemy.orm import Session

from distrib import clock, ids
from distrib.brands.tables import Brand, LegalAcknowledgement
from distrib.db import Lock, lock
from distrib.errors import Conflict, InvalidInput, unstorable

CHINA = "CN"
MOST_LEVELS = 3
_JURISDICTION = re.compile(r"[A-Z]{2}|other")
_MOST_LETTERS = 200


class Subject(StrEnum):
    """What is answered for."""

    LEVELS = "levels"
    WECHAT_LEVELS = "wechat_levels"


class JurisdictionStays(Conflict):
    """A brand that has published plans under the law of a place does not leave it."""

    title = "The brand's jurisdiction stays"


class SecondPersonStays(Conflict):
    """The brand cannot excuse itself from a second person; the operator can."""

    title = "The second person stays"


def check_jurisdiction(jurisdiction: str) -> str:
    """``jurisdiction``, if it is one.

    :raises InvalidInput: when it is not.
    """
    if not _JURISDICTION.fullmatch(jurisdiction):
        raise InvalidInput(
            f"{jurisdiction!r} is neither two capital letters of ISO 3166, such as CN, nor 'other'",
            field="jurisdiction",
        )
    return jurisdiction


def default_levels(jurisdiction: str) -> int:
    """How many levels a new brand has."""
    return 1 if jurisdiction == CHINA else MOST_LEVELS


def check_levels(levels: int, jurisdiction: str, *, acknowledged: bool) -> int:
    """``levels``, if the jurisdiction allows so many.

    :raises InvalidInput: when it does not, saying what to do.
    """
    if not 1 <= levels <= MOST_LEVELS:
        raise InvalidInput(f"{levels} is outside 1 to {MOST_LEVELS}", field="levels")
    if levels > 1 and jurisdiction == CHINA and not acknowledged:
        raise InvalidInput(
            "a brand in China (CN) has one level until somebody answers for more: record an"
            " acknowledgement of 'levels' (distrib brand acknowledge levels), then set its levels",
            field="levels",
        )
    return levels


# -- acknowledgements -----------------------------------------------------------------------------


def acknowledge(
    session: Session, *, brand: Brand, subject: str, text_version: str, acknowledged_by: str
) -> LegalAcknowledgement:
    """Record that somebody has read a text about the law, and answers for going further.

    The same person and text again change nothing.

    :param text_version: which text it was, such as ``distrib-levels-1``.
    :raises InvalidInput: naming the field.
    """
    try:
        about = Subject(subject)
    except ValueError:
        raise InvalidInput(f"must be one of {', '.join(Subject)}", field="subject") from None
    text_version = _stated(text_version, "text_version")
    acknowledged_by = _stated(acknowledged_by, "acknowledged_by")
    lock(session, brand.id, Lock.FACTS)
    same = session.scalar(
        select(LegalAcknowledgement).where(
            LegalAcknowledgement.brand_id == brand.id,
            LegalAcknowledgement.subject == about,
            LegalAcknowledgement.text_version == text_version,
            LegalAcknowledgement.acknowledged_by == acknowledged_by,
        )
    )
    if same is not None:
        return same
    made = LegalAcknowledgement(
        brand_id=brand.id,
        id=ids.new(),
        subject=str(about),
        text_version=text_version,
        acknowledged_by=acknowledged_by,
        acknowledged_at=clock.now(),
    )
    session.add(made)
    session.flush()
    return made


def _stated(words: str, field: str) -> str:
    words = words.strip()
    if not 1 <= len(words) <= _MOST_LETTERS:
        raise InvalidInput(f"must have 1 to {_MOST_LETTERS} characters", field=field)
    if (reason := unstorable(words)) is not None:
        raise InvalidInput(reason, field=field)
    return words


def list_acknowledgements(session: Session, *, brand_id: int) -> list[LegalAcknowledgement]:
    """All acknowledgements of a brand, newest first."""
    return list(
        session.scalars(
            select(LegalAcknowledgement)
            .where(LegalAcknowledgement.brand_id == brand_id)
            .order_by(LegalAcknowledgement.id.desc())
        )
    )


def is_acknowledged(session: Session, *, brand_id: int, subject: Subject) -> bool:
    """Whether anybody answers for it."""
    query = exists().where(
        LegalAcknowledgement.brand_id == brand_id, LegalAcknowledgement.subject == subject
    )
    return bool(session.scalar(select(query)))


def channel_levels(session: Session, *, brand: Brand) -> dict[str, int]:
    """Channels whose orders pay fewer levels than the brand has."""
    if brand.jurisdiction != CHINA:
        return {}
    if is_acknowledged(session, brand_id=brand.id, subject=Subject.WECHAT_LEVELS):
        return {}
    return {"wechat": 1}


# -- settings -------------------------------------------------------------------------------------


def _hold(session: Session, brand: Brand) -> Brand:
    """The brand as it is now; nobody prices, publishes or changes it until the transaction ends."""
    lock(session, brand.id, Lock.FACTS)
    return session.get_one(Brand, brand.id, populate_existing=True)


def set_levels(session: Session, *, brand: Brand, levels: int) -> Brand:
    """Say how many levels of the tree earn, from the next plan version on.

    Versions that are published keep the levels that they were published with.

    :raises InvalidInput: when the brand's jurisdiction does not allow so many.
    """
    row = _hold(session, brand)
    acknowledged = is_acknowledged(session, brand_id=row.id, subject=Subject.LEVELS)
    row.levels = check_levels(levels, row.jurisdiction, acknowledged=acknowledged)
    session.flush()
    return row


def set_jurisdiction(session: Session, *, brand: Brand, jurisdiction: str) -> Brand:
    """Say whose law the brand lives under.

    :raises InvalidInput: when it has more levels than that law allows.
    :raises JurisdictionStays: when it would leave China after publishing a plan there.
    """
    check_jurisdiction(jurisdiction)
    row = _hold(session, brand)
    if row.jurisdiction == jurisdiction:
        return row
    if row.jurisdiction == CHINA and _has_published(session, row.id):
        raise JurisdictionStays(
            "the brand has published a plan as one in China (CN)", field="jurisdiction"
        )
    acknowledged = is_acknowledged(session, brand_id=row.id, subject=Subject.LEVELS)
    check_levels(row.levels, jurisdiction, acknowledged=acknowledged)
    row.jurisdiction = jurisdiction
    session.flush()
    return row


def _has_published(session: Session, brand_id: int) -> bool:
    # plans live further up the house; the brand only asks whether there is one
    found = session.scalar(
        text("SELECT EXISTS (SELECT FROM plan_version WHERE brand_id = :brand_id)"),
        {"brand_id": brand_id},
    )
    return bool(found)


def require_second_person(
    session: Session, *, brand: Brand, required: bool, by_operator: bool
) -> Brand:
    """Say whether a plan is published only after a second person has approved it.

    :raises SecondPersonStays: when a brand would excuse itself.
    """
    row = _hold(session, brand)
    if row.second_person and not required and not by_operator:
        raise SecondPersonStays(
            "only the operator lets a brand publish plans without a second person",
            field="second_person",
        )
    row.second_person = required
    session.flush()
    return row
