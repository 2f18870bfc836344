"""Publishing plan versions and finding them."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from distrib import clock, ids
from distrib.brands.jurisdiction import channel_levels
from distrib.brands.tables import Brand
from distrib.commission.counting import start_counting
from distrib.commission.plan import Plan
from distrib.commission.plan_document import PlanInvalid, document_hash, read_plan
from distrib.commission.tables import PlanVersion
from distrib.db import Lock, lock
from distrib.errors import Conflict, InvalidInput, NotFound
from distrib.tree.tables import Distributor

MOST_AHEAD = timedelta(days=400)
"""How far ahead a version may be scheduled."""


class PlanNotEffective(Conflict):
    """A version may only rule orders that have not been taken."""

    title = "The version would re-price orders already taken"


class SecondPersonMissing(Conflict):
    """The brand publishes only what two people stand for."""

    title = "A second person has to approve the plan"


class PlanVersionNotFound(NotFound):
    """No version of that number."""

    title = "No such plan version"


def check_plan(session: Session, *, brand_id: int, document: Any) -> Plan:
    """Read a plan document as the brand would publish it now.

    :raises PlanInvalid: naming the place and the reason.
    """
    brand = session.get_one(Brand, brand_id, populate_existing=True)
    plan = read_plan(document, levels=brand.levels, currency=brand.currency)
    return _with_people(session, brand_id, plan)


def _with_people(session: Session, brand_id: int, plan: Plan) -> Plan:
    """The plan, knowing the distributors that its rules name.

    :raises PlanInvalid: when the brand has no such distributor.
    """
    named = {name for rule in plan.rules for name in rule.match.distributors}
    if not named:
        return plan
    found = session.execute(
        select(Distributor.external_id, Distributor.id).where(
            Distributor.brand_id == brand_id, Distributor.external_id.in_(named)
        )
    )
    people = {row.external_id: row.id for row in found}
    for rule in plan.rules:
        for i, name in enumerate(rule.match.distributors):
            if name not in people:
                raise PlanInvalid(
                    f"the brand has no distributor {name!r}",
                    field=f"rules[{rule.no - 1}].match.distributor[{i}]",
                )
    return replace(plan, people=people)


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
    is priced under one version and recorded under another. Publishing what is newest already
    changes nothing.

    :param effective_from: default is now, but after every order taken and the version before.
    :raises PlanInvalid: when the document is not valid.
    :raises PlanNotEffective: when orders or a later version already exist at that time.
    :raises SecondPersonMissing: when the brand publishes approved drafts only.
    """
    return _publish(
        session,
        brand_id=brand.id,
        document=document,
        effective_from=effective_from,
        published_by=published_by,
        approved=False,
    )


def publish_approved(
    session: Session,
    *,
    brand: Brand,
    document: Any,
    effective_from: datetime | None = None,
    published_by: str,
) -> PlanVersion:
    """Publish a document that a second person has approved, for the caller has seen to that."""
    return _publish(
        session,
        brand_id=brand.id,
        document=document,
        effective_from=effective_from,
        published_by=published_by,
        approved=True,
    )


def _check_instant(effective_from: datetime, now: datetime) -> None:
    if effective_from.tzinfo is None:
        raise InvalidInput("needs a time zone", field="effective_from")
    if not 1970 <= effective_from.year <= 2200:
        raise InvalidInput("must lie between 1970 and 2200", field="effective_from")
    if effective_from > now + MOST_AHEAD:
        # versions follow each other and none is withdrawn: until then there could be no other
        raise InvalidInput(
            f"lies more than {MOST_AHEAD.days} days ahead, and would hold back every version"
            " until then",
            field="effective_from",
        )


def _publish(
    session: Session,
    *,
    brand_id: int,
    document: Any,
    effective_from: datetime | None,
    published_by: str,
    approved: bool,
) -> PlanVersion:
    plan = check_plan(session, brand_id=brand_id, document=document)
    if effective_from is not None:
        _check_instant(effective_from, clock.now())
    lock(session, brand_id, Lock.FACTS)
    now = clock.now()
    brand = session.get_one(Brand, brand_id, populate_existing=True)
    if brand.second_person and not approved:
        raise SecondPersonMissing(
            "this brand publishes what a second person has approved: save it as a draft",
            field="document",
        )
    if plan.levels != brand.levels:  # changed while the document was read
        plan = check_plan(session, brand_id=brand_id, document=document)
    fewer = channel_levels(session, brand=brand)
    latest = newest_version(session, brand_id=brand_id)
    digest = document_hash(document)
    if (
        latest is not None
        and effective_from is None
        and (latest.content_hash, latest.levels, latest.channel_levels)
        == (digest, plan.levels, fewer)
    ):
        return latest
    last_order: datetime | None = session.scalar(
        text(
            "SELECT max(effective_at) FROM orders"
            " WHERE brand_id = :brand_id AND effective_at > '-infinity'"
        ),
        {"brand_id": brand_id},
    )
    taken = [] if last_order is None else [last_order]
    if latest is not None:
        taken.append(latest.effective_from)
    earliest = max(taken) + timedelta(microseconds=1) if taken else None
    if effective_from is None:
        effective_from = max(now, earliest) if earliest else now
    elif earliest is not None and effective_from < earliest:
        raise PlanNotEffective(
            f"orders or versions exist up to {max(taken).isoformat()}; a new version starts later",
            field="effective_from",
        )
    version = PlanVersion(
        brand_id=brand_id,
        id=ids.new(),
        number=1 if latest is None else latest.number + 1,
        effective_from=effective_from,
        levels=plan.levels,
        channel_levels=fewer,
        document=document,
        content_hash=digest,
        published_at=now,
        published_by=published_by,
    )
    session.add(version)
    session.flush()
    if plan.needs_counting:
        start_counting(session, brand=brand)
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


class VersionState(StrEnum):
    """Where a version stands at an instant."""

    SCHEDULED = "scheduled"
    IN_FORCE = "in_force"
    SUPERSEDED = "superseded"


def state_of(version: PlanVersion, *, at: datetime, in_force: int) -> VersionState:
    """Where the version stands.

    :param in_force: the number of the version in force at ``at``, see :func:`number_in_force`.
    """
    if version.effective_from > at:
        return VersionState.SCHEDULED
    # numbers grow with the instants at which versions begin
    return VersionState.IN_FORCE if version.number == in_force else VersionState.SUPERSEDED


def number_in_force(session: Session, *, brand_id: int, at: datetime) -> int:
    """The number of the version in force at an instant, 0 before the first."""
    query = select(func.max(PlanVersion.number)).where(
        PlanVersion.brand_id == brand_id, PlanVersion.effective_from <= at
    )
    return session.scalar(query) or 0


def comparable(version: PlanVersion) -> dict[str, Any]:
    """What :mod:`distrib.commission.plan_diff` compares: the document, and the levels under which
    it was published."""
    return {"levels": version.levels, "channel_levels": version.channel_levels} | version.document


def newest_version(session: Session, *, brand_id: int) -> PlanVersion | None:
    """The version published last, in force or not; None before the first."""
    return session.scalar(
        select(PlanVersion)
        .where(PlanVersion.brand_id == brand_id)
        .order_by(PlanVersion.number.desc())
        .limit(1)
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
        currency = session.scalars(select(Brand.currency).where(Brand.id == brand_id)).one()
        plan = read_plan(version.document, levels=version.levels, currency=currency)
        plan = replace(
            _with_people(session, brand_id, plan), channel_levels=dict(version.channel_levels)
        )
        if len(_compiled) >= _COMPILED_LIMIT:
            _compiled.clear()
        _compiled[key] = plan
    return plan
