"""Publishing plan versions and finding them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from distrib import clock, ids
from distrib.brands.tables import Brand
from distrib.commission.plan import Plan, document_hash, read_plan
from distrib.commission.tables import PlanVersion
from distrib.db import Lock, lock
from distrib.errors import Conflict, InvalidInput, NotFound


class PlanNotEffective(Conflict):
    """A version may only rule orders that have not been taken."""

    title = "The version would re-price orders already taken"


class PlanVersionNotFound(NotFound):
    """No version of that number."""

    title = "No such plan version"


def publish_plan(
    session: Session,
    *,
    brand: Brand,
    document: Any,
    effective_from: datetime | None = None,
    published_by: str,
) -> PlanVersion:
    """Publish a plan version: immutable from now on, in force from ``effective_from``.

    Waits for orders being taken and holds off new ones for the instant of publishing, so no order
    is priced under one version and recorded under another. Publishing what is in force already
    changes nothing.

    :param effective_from: default is now, but after every order taken and the version before.
    :raises PlanInvalid: when the document is not valid.
    :raises PlanNotEffective: when orders or a later version already exist at that time.
    """
    plan = read_plan(document, levels=brand.levels)
    if effective_from is not None and effective_from.tzinfo is None:
        raise InvalidInput("needs a time zone", field="effective_from")
    if effective_from is not None and not 1970 <= effective_from.year <= 2200:
        raise InvalidInput("must lie between 1970 and 2200", field="effective_from")
    lock(session, brand.id, Lock.FACTS)
    latest = session.scalar(
        select(PlanVersion)
        .where(PlanVersion.brand_id == brand.id)
        .order_by(PlanVersion.number.desc())
        .limit(1)
    )
    digest = document_hash(document)
    if latest is not None and latest.content_hash == digest and effective_from is None:
        return latest
    last_order: datetime | None = session.scalar(
        text(
            "SELECT max(effective_at) FROM orders"
            " WHERE brand_id = :brand_id AND effective_at > '-infinity'"
        ),
        {"brand_id": brand.id},
    )
    taken = [] if last_order is None else [last_order]
    if latest is not None:
        taken.append(latest.effective_from)
    earliest = max(taken) + timedelta(microseconds=1) if taken else None
    now = clock.now()
    if effective_from is None:
        effective_from = max(now, earliest) if earliest else now
    elif earliest is not None and effective_from < earliest:
        raise PlanNotEffective(
            f"orders or versions exist up to {max(taken).isoformat()}; a new version starts later",
            field="effective_from",
        )
    version = PlanVersion(
        brand_id=brand.id,
        id=ids.new(),
        number=1 if latest is None else latest.number + 1,
        effective_from=effective_from,
        levels=plan.levels,
        document=document,
        content_hash=digest,
        published_at=now,
        published_by=published_by,
    )
    session.add(version)
    session.flush()
    return version


def get_plan_version(session: Session, *, brand_id: int, number: int) -> PlanVersion:
    """The version of that number.

    :raises PlanVersionNotFound: when there is none.
    """
    version = session.scalar(
        select(PlanVersion).where(PlanVersion.brand_id == brand_id, PlanVersion.number == number)
    )
    if version is None:
        raise PlanVersionNotFound(f"there is no plan version {number}", field="version")
    return version


def list_plan_versions(session: Session, *, brand_id: int) -> list[PlanVersion]:
    """All versions, newest first."""
    return list(
        session.scalars(
            select(PlanVersion)
            .where(PlanVersion.brand_id == brand_id)
            .order_by(PlanVersion.number.desc())
        )
    )


# a version never changes, so neither does its compiled form
_compiled: dict[tuple[int, int], Plan] = {}
_COMPILED_LIMIT = 1_000


def compiled_plan(session: Session, *, brand_id: int, version_id: int) -> Plan:
    """The compiled plan of a version, from the process's cache where it can."""
    key = (brand_id, version_id)
    plan = _compiled.get(key)
    if plan is None:
        version = session.get_one(PlanVersion, key)
        plan = read_plan(version.document, levels=version.levels)
        if len(_compiled) >= _COMPILED_LIMIT:
            _compiled.clear()
        _compiled[key] = plan
    return plan
