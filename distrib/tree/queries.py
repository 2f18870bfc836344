"""Named selects over the tree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import psycopg
from sqlalchemy import ColumnElement, Select, literal, or_, select, text, tuple_
from sqlalchemy.orm import Session

from distrib.errors import InvalidInput
from distrib.tree.facts import (
    DistributorNotFound,
    DistributorStatus,
    Known,
    SponsorNotFound,
    check_instant,
    storable,
)
from distrib.tree.tables import Distributor, Sponsorship

# -- distributors ---------------------------------------------------------------------------------


def get_distributor(
    session: Session,
    *,
    brand_id: int,
    external_id: str | None = None,
    distributor_id: int | None = None,
    code: str | None = None,
) -> Distributor:
    """The distributor of that external id, id or code.

    :raises DistributorNotFound: when this brand has none.
    """
    given = {"external_id": external_id, "id": distributor_id, "code": code}
    stated = {field: value for field, value in given.items() if value is not None}
    if len(stated) != 1:
        raise TypeError("name the distributor in one way: external_id, distributor_id or code")
    ((field, value),) = stated.items()
    found = None
    if not isinstance(value, str) or storable(value):
        found = session.scalar(
            select(Distributor).where(
                Distributor.brand_id == brand_id, getattr(Distributor, field) == value
            )
        )
    if found is None:
        raise DistributorNotFound(
            f"there is no distributor with the {field} {value!r} in this brand",
            field="distributor",
        )
    return found


def no_sponsor(external_id: str) -> SponsorNotFound:
    """The error that this brand has no sponsor of that external id."""
    return SponsorNotFound(
        f"there is no distributor {external_id!r} in this brand", field="sponsor"
    )


def get_sponsor(session: Session, *, brand_id: int, external_id: str) -> Distributor:
    """The distributor that is named as a sponsor.

    :raises SponsorNotFound: when this brand has none of that external id.
    """
    try:
        return get_distributor(session, brand_id=brand_id, external_id=external_id)
    except DistributorNotFound:
        raise no_sponsor(external_id) from None


class SortBy(StrEnum):
    """By what a list of distributors is sorted."""

    ENROLMENT = "enrolment"
    JOINED_AT = "joined_at"
    EXTERNAL_ID = "external_id"


@dataclass(frozen=True)
class Place:
    """The place in a list after a row: its sort value, written out, and its id."""

    value: str
    id: int


@dataclass(frozen=True)
class Page:
    """Some distributors of a list, and where the next page begins; None after the last."""

    distributors: list[Distributor]
    after: Place | None


def list_distributors(
    session: Session,
    *,
    brand_id: int,
    status: DistributorStatus | None = None,
    sponsor: str | None = None,
    q: str | None = None,
    sort: SortBy = SortBy.ENROLMENT,
    descending: bool = False,
    after: Place | None = None,
    limit: int = 50,
) -> Page:
    """A page of the brand's distributors.

    :param sponsor: external id of the present sponsor.
    :param q: how the external id or the name begins; letter case matters in neither.
    :param after: where the page before ended.
    :raises SponsorNotFound: when this brand has no such sponsor.
    :raises InvalidInput: when ``after`` belongs to a list sorted otherwise.
    """
    where: list[ColumnElement[bool]] = [Distributor.brand_id == brand_id]
    if status is not None:
        where.append(Distributor.status == status)
    if sponsor is not None:
        above = get_sponsor(session, brand_id=brand_id, external_id=sponsor)
        where.append(Distributor.id.in_(_directly_below(brand_id, above.id)))
    if q:
        if not storable(q):
            return Page([], None)
        where.append(
            or_(
                Distributor.external_id.istartswith(q, autoescape=True),
                Distributor.name.istartswith(q, autoescape=True),
            )
        )
    keys: list[Any] = [Distributor.id]
    if sort is not SortBy.ENROLMENT:
        keys.insert(0, getattr(Distributor, sort))
    if after is not None:
        place = tuple_(
            *(
                literal(value, key.type)
                for key, value in zip(keys, _place_values(sort, after), strict=True)
            )
        )
        where.append(tuple_(*keys) < place if descending else tuple_(*keys) > place)
    rows = list(
        session.scalars(
            select(Distributor)
            .where(*where)
            .order_by(*(key.desc() if descending else key.asc() for key in keys))
            .limit(limit + 1)
        )
    )
    if len(rows) <= limit:
        return Page(rows, None)
    last = rows[limit - 1]
    value = {
        SortBy.ENROLMENT: str(last.id),
        SortBy.JOINED_AT: last.joined_at.isoformat(),
        SortBy.EXTERNAL_ID: last.external_id,
    }[sort]
    return Page(rows[:limit], Place(value, last.id))


def _place_values(sort: SortBy, after: Place) -> list[Any]:
    try:
        if not (storable(after.value) and 0 <= after.id < 1 << 63):
            raise ValueError
        if sort is SortBy.JOINED_AT:
            joined_at = check_instant(datetime.fromisoformat(after.value), field="after")
            return [joined_at, after.id]
    except ValueError:
        raise InvalidInput(f"{after.value!r} is no place in this list", field="after") from None
    return [after.id] if sort is SortBy.ENROLMENT else [after.value, after.id]


def _directly_below(brand_id: int, distributor_id: int) -> Select[int]:
    return select(Sponsorship.distributor_id).where(
        Sponsorship.brand_id == brand_id,
        Sponsorship.sponsor_id == distributor_id,
        Sponsorship.valid_to.is_(None),
    )


def direct_downline(session: Session, *, brand_id: int, distributor_id: int) -> list[Distributor]:
    """Those whose sponsor the distributor is at present, in the order of their enrolment."""
    return list(
        session.scalars(
            select(Distributor)
            .where(
                Distributor.brand_id == brand_id,
                Distributor.id.in_(_directly_below(brand_id, distributor_id)),
            )
            .order_by(Distributor.id)
        )
    )


def present_sponsors(
    session: Session, *, brand_id: int, distributor_ids: Sequence[int]
) -> dict[int, str]:
    """The sponsor's external id for each of the distributors that has one at present."""
    rows = session.execute(
        text(
            "SELECT s.distributor_id, d.external_id FROM sponsorship s"
            " JOIN distributor d ON d.brand_id = s.brand_id AND d.id = s.sponsor_id"
            " WHERE s.brand_id = :brand_id AND s.distributor_id = ANY(:ids)"
            " AND s.valid_to IS NULL"
        ),
        {"brand_id": brand_id, "ids": list(distributor_ids)},
    )
    return {row.distributor_id: row.external_id for row in rows}


# -- sponsorships --------------------------------------------------------------------------------


@dataclass(frozen=True)
class UplineMember:
    """Somebody above a distributor: level 1 is the sponsor, ``since`` when the edge below began."""

    level: int
    distributor_id: int
    external_id: str
    name: str
    since: datetime


# One row for each step. UNION drops a step taken before, so even a cycle, which is never there,
# would end; LIMIT stops the walk, for PostgreSQL takes from it only what is asked for.
_UPLINE = text(
    """
    WITH RECURSIVE up (distributor_id, sponsor_id, since) AS (
        SELECT distributor_id, sponsor_id, valid_from FROM sponsorship
        WHERE brand_id = :brand_id AND distributor_id = :distributor_id
          AND valid_from <= :at AND (valid_to IS NULL OR valid_to > :at)
        UNION
        SELECT s.distributor_id, s.sponsor_id, s.valid_from FROM up JOIN sponsorship s
            ON s.brand_id = :brand_id AND s.distributor_id = up.sponsor_id
           AND s.valid_from <= :at AND (s.valid_to IS NULL OR s.valid_to > :at))
    SELECT up.distributor_id, up.sponsor_id, up.since, d.external_id, d.name
    FROM (SELECT * FROM up WHERE sponsor_id IS NOT NULL LIMIT :levels) up
    JOIN distributor d ON d.brand_id = :brand_id AND d.id = up.sponsor_id
    """
)


def upline_at(
    session: Session,
    *,
    brand_id: int,
    distributor_id: int,
    at: datetime,
    levels: int | None = None,
) -> list[UplineMember]:
    """Who stood above a distributor at the instant ``at``, the sponsor first.

    Nobody, when it was a root then or had not joined yet.

    :param levels: how far up, at most; None for all the way.
    """
    rows = session.execute(
        _UPLINE,
        {"brand_id": brand_id, "distributor_id": distributor_id, "at": at, "levels": levels},
    )
    steps = {row.distributor_id: row for row in rows}
    upline: list[UplineMember] = []
    below = distributor_id
    while below in steps:
        step = steps.pop(below)
        below = step.sponsor_id
        upline.append(UplineMember(len(upline) + 1, below, step.external_id, step.name, step.since))
    return upline


# The walk carries the span of time for which all edges so far hold, and each step narrows it.
_INSTANT_BELOW = text(
    """
    WITH RECURSIVE up (id, since, until) AS (
        SELECT sponsor_id, greatest(valid_from, :since), coalesce(valid_to, 'infinity')
        FROM sponsorship
        WHERE brand_id = :brand_id AND distributor_id = :below AND sponsor_id IS NOT NULL
          AND (valid_to IS NULL OR valid_to > :since)
        UNION
        SELECT s.sponsor_id, greatest(s.valid_from, up.since),
               least(coalesce(s.valid_to, 'infinity'), up.until)
        FROM up JOIN sponsorship s ON s.brand_id = :brand_id AND s.distributor_id = up.id
         AND s.valid_from < up.until AND (s.valid_to IS NULL OR s.valid_to > up.since)
        WHERE up.id <> :above AND s.sponsor_id IS NOT NULL)
    SELECT min(since) FROM up WHERE id = :above
    """
)


def first_instant_below(
    session: Session, *, brand_id: int, below: int, above: int, since: datetime
) -> datetime | None:
    """The first instant from ``since`` on at which ``below`` stands below ``above``, if any."""
    found: datetime | None = session.scalar(
        _INSTANT_BELOW, {"brand_id": brand_id, "below": below, "above": above, "since": since}
    )
    return found


@dataclass(frozen=True)
class Period:
    """Under whom a distributor stood from ``valid_from`` until ``valid_to`` (None: still)."""

    sponsor_id: int | None
    sponsor: str | None
    sponsor_name: str | None
    valid_from: datetime
    valid_to: datetime | None


def sponsorship_history(session: Session, *, brand_id: int, distributor_id: int) -> list[Period]:
    """Every sponsor a distributor ever had, the first one first."""
    rows = session.execute(
        text(
            "SELECT s.sponsor_id, d.external_id, d.name, s.valid_from, s.valid_to"
            " FROM sponsorship s"
            " LEFT JOIN distributor d ON d.brand_id = s.brand_id AND d.id = s.sponsor_id"
            " WHERE s.brand_id = :brand_id AND s.distributor_id = :distributor_id"
            " ORDER BY s.valid_from"
        ),
        {"brand_id": brand_id, "distributor_id": distributor_id},
    )
    return [Period(*row) for row in rows]


# -- for enrolment, one by one or by the file -----------------------------------------------------


# Subqueries, not joins: whatever the planner believes of the tables, and after an import it may be
# far from the truth, each of them is a look into an index.
_KNOWN = """
SELECT d.id, d.external_id, d.name, d.code, d.joined_at,
       (SELECT (SELECT e.external_id FROM distributor e
                WHERE e.brand_id = s.brand_id AND e.id = s.sponsor_id)
        FROM sponsorship s WHERE s.brand_id = d.brand_id AND s.distributor_id = d.id
         AND s.valid_from = d.joined_at),
       (SELECT (SELECT e.external_id FROM distributor e
                WHERE e.brand_id = s.brand_id AND e.id = s.sponsor_id)
        FROM sponsorship s WHERE s.brand_id = d.brand_id AND s.distributor_id = d.id
         AND s.valid_to IS NULL)
FROM unnest(%(external_ids)s::text[]) g (external_id)
CROSS JOIN LATERAL (
    SELECT * FROM distributor x
    WHERE x.brand_id = %(brand_id)s AND x.external_id = g.external_id LIMIT 1) d
"""

_TAKEN = """
SELECT g.code FROM unnest(%(codes)s::text[]) g (code)
WHERE EXISTS (SELECT FROM distributor d
              WHERE d.brand_id = %(brand_id)s AND d.code = g.code OFFSET 0)
"""


def known_distributors(
    cursor: psycopg.Cursor[tuple[object, ...]], *, brand_id: int, external_ids: Sequence[str]
) -> dict[str, Known]:
    """What is recorded of those of ``external_ids`` that are enrolled: of one, or of a file."""
    cursor.execute(_KNOWN, {"brand_id": brand_id, "external_ids": list(external_ids)})
    return {known.external_id: known for known in (Known(*row) for row in cursor)}  # type: ignore[arg-type]


def taken_codes(
    cursor: psycopg.Cursor[tuple[object, ...]], *, brand_id: int, codes: Sequence[str]
) -> set[str]:
    """Those of ``codes`` that a distributor of the brand has."""
    cursor.execute(_TAKEN, {"brand_id": brand_id, "codes": list(codes)})
    return {str(row[0]) for row in cursor}
