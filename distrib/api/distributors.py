"""Distributors: enrolling them, finding them, and the tree they form."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flask import Response
from sqlalchemy.orm import Session

from distrib import clock, ids
from distrib.api import lists
from distrib.api.context import caller, database
from distrib.api.fields import Choice, Instant, Objects, PublicId, Shape, Text, Whole
from distrib.api.idempotency import Answer, transact
from distrib.api.paging import Page, PageQuery, page_of
from distrib.api.routes import PREFIX, Routes
from distrib.brands.tables import Brand
from distrib.tree import queries, service
from distrib.tree.facts import DistributorStatus
from distrib.tree.queries import SortBy
from distrib.tree.tables import Distributor

routes = Routes(
    "Distributors",
    __name__,
    url_prefix=PREFIX,
    description="A distributor earns commission. It is named by its external id or its `dst_` id;"
    " an external id that contains a slash only by the latter. Sponsorships are dated: a move"
    " closes one and opens another, and what was earned under the old one stays.",
)

_REF = "/distributors/<ref>"
_WHO = {"description": "External id of the sponsor; null for a root.", "example": "mei"}


class NewDistributorSchema(Shape):
    """A distributor to enrol."""

    external_id = Text(required=True, metadata={"example": "anna"})
    name = Text(required=True, metadata={"example": "Anna"})
    sponsor = Text(load_default=None, metadata=_WHO)
    code = Text(
        64,
        load_default=None,
        metadata={
            "description": "What orders may refer to; by default the letters of the id.",
            "example": "ANNA10",
        },
    )
    joined_at = Instant(
        load_default=None, metadata={"description": "Left out: now. Never before the sponsor's."}
    )


class DistributorSchema(Shape):
    """A distributor."""

    id = PublicId("dst", required=True)
    external_id = Text(required=True, metadata={"example": "anna"})
    name = Text(required=True, metadata={"example": "Anna"})
    code = Text(required=True, metadata={"example": "ANNA10"})
    status = Choice(*DistributorStatus, required=True)
    sponsor = Text(required=True, allow_none=True, metadata=_WHO)
    joined_at = Instant(required=True)
    created_at = Instant(required=True)


class SponsorshipSchema(Shape):
    """Under whom a distributor stood, and when."""

    sponsor = Text(required=True, allow_none=True, metadata=_WHO)
    sponsor_id = PublicId("dst", required=True, allow_none=True)
    valid_from = Instant(required=True)
    valid_to = Instant(required=True, allow_none=True, metadata={"description": "Null: still."})


class DistributorDetailSchema(DistributorSchema):
    """A distributor with all sponsors it had."""

    sponsorships = Objects(SponsorshipSchema, required=True)


class DistributorQuery(PageQuery):
    """Which distributors."""

    status = Choice(*DistributorStatus, load_default=None)
    sponsor = Text(
        load_default=None, metadata={"description": "External id of the present sponsor."}
    )
    q = Text(
        load_default=None,
        metadata={"description": "How the external id or the name begins, in either case."},
    )
    sort = Choice(
        *(sign + by for by in SortBy for sign in ("", "-")), load_default=SortBy.ENROLMENT
    )


class MoveSchema(Shape):
    """Where a distributor moves, with everybody below it."""

    sponsor = Text(required=True, allow_none=True, metadata=_WHO)
    at = Instant(
        load_default=None,
        metadata={"description": "From when on; after every order taken. Left out: at once."},
    )


class UplineQuery(Shape):
    """Of when."""

    at = Instant(load_default=None, metadata={"description": "Left out: now."})


class UplineMemberSchema(Shape):
    """Somebody above: level 1 is the sponsor."""

    level = Whole(required=True, metadata={"example": 1})
    id = PublicId("dst", required=True, attribute="distributor_id")
    external_id = Text(required=True, metadata={"example": "mei"})
    name = Text(required=True, metadata={"example": "Mei"})
    since = Instant(required=True, metadata={"description": "When the edge below it began."})


class UplineSchema(Shape):
    """Who stood above a distributor at an instant, the sponsor first."""

    at = Instant(required=True)
    upline = Objects(UplineMemberSchema, required=True)


_distributor, _detail = DistributorSchema(), DistributorDetailSchema()
_distributors = page_of(DistributorSchema)


def find(session: Session, mine: Brand, ref: str) -> Distributor:
    """The distributor that a path names, by ``dst_`` id or by external id.

    :raises DistributorNotFound: when this brand has none.
    """
    try:
        number = ids.parse("dst", ref)
    except ValueError:
        return queries.get_distributor(session, brand_id=mine.id, external_id=ref)
    return queries.get_distributor(session, brand_id=mine.id, distributor_id=number)


def tell(session: Session, *distributors: Distributor) -> list[dict[str, Any]]:
    """Distributors with their present sponsors."""
    if not distributors:
        return []
    sponsors = queries.present_sponsors(
        session,
        brand_id=distributors[0].brand_id,
        distributor_ids=[each.id for each in distributors],
    )
    shown = ("id", "external_id", "name", "code", "status", "joined_at", "created_at")
    return [
        {name: getattr(each, name) for name in shown} | {"sponsor": sponsors.get(each.id)}
        for each in distributors
    ]


@routes.operation(
    "POST",
    "/distributors",
    {
        201: (DistributorSchema, "The distributor was enrolled"),
        200: (DistributorSchema, "It is enrolled with the same facts already"),
    },
    body=NewDistributorSchema,
    example={"external_id": "anna", "name": "Anna", "sponsor": "mei"},
    problems=(409,),
)
def enrol(mine: Brand, given: dict[str, Any]) -> Response:
    """Enrol a distributor."""

    def work(session: Session) -> Answer:
        known = lists.is_enrolled(session, brand_id=mine.id, external_id=given["external_id"])
        made = service.enrol_distributor(session, brand_id=mine.id, **given)
        return Answer(200 if known else 201, _distributor.dump(tell(session, made)[0]))

    return transact(work)


@routes.operation(
    "GET", "/distributors", {200: (_distributors, "A page of distributors")}, query=DistributorQuery
)
def list_distributors(mine: Brand, query: dict[str, Any]) -> Page:
    """List distributors."""
    with database().transaction() as session:
        found, following = lists.distributors(session, brand_id=mine.id, **query)
        return Page(tell(session, *found), following)


@routes.operation("GET", _REF, {200: (DistributorDetailSchema, "The distributor")}, problems=(404,))
def show_distributor(mine: Brand, ref: str) -> dict[str, Any]:
    """Show a distributor."""
    with database().transaction() as session:
        found = find(session, mine, ref)
        history = queries.sponsorship_history(session, brand_id=mine.id, distributor_id=found.id)
        return tell(session, found)[0] | {"sponsorships": history}


@routes.operation(
    "POST",
    f"{_REF}/move",
    {200: (DistributorDetailSchema, "The distributor as it stands now")},
    body=MoveSchema,
    example={"sponsor": "mei"},
    problems=(404, 409),
)
def move_distributor(mine: Brand, given: dict[str, Any], ref: str) -> Response:
    """Put a distributor under another sponsor.

    Orders already taken keep the upline of their own time. Moving it to where it stands changes
    nothing.
    """

    def work(session: Session) -> Answer:
        moved = find(session, mine, ref)
        service.move_distributor(session, brand_id=mine.id, distributor=moved.external_id, **given)
        history = queries.sponsorship_history(session, brand_id=mine.id, distributor_id=moved.id)
        return Answer(200, _detail.dump(tell(session, moved)[0] | {"sponsorships": history}))

    return transact(work)


def _set_status(mine: Brand, ref: str, change: Any) -> Response:
    def work(session: Session) -> Answer:
        found = find(session, mine, ref)
        changed = change(
            session,
            brand_id=mine.id,
            distributor=found.external_id,
            changed_by=caller().principal.name,
        )
        return Answer(200, _distributor.dump(tell(session, changed)[0]))

    return transact(work)


@routes.operation(
    "POST",
    f"{_REF}/suspend",
    {200: (DistributorSchema, "The distributor is suspended")},
    problems=(404,),
)
def suspend_distributor(mine: Brand, ref: str) -> Response:
    """Suspend a distributor.

    Doing it again changes nothing.
    """
    return _set_status(mine, ref, service.suspend_distributor)


@routes.operation(
    "POST",
    f"{_REF}/reactivate",
    {200: (DistributorSchema, "The distributor is active")},
    problems=(404,),
)
def reactivate_distributor(mine: Brand, ref: str) -> Response:
    """End a distributor's suspension.

    Doing it again changes nothing.
    """
    return _set_status(mine, ref, service.reactivate_distributor)


@routes.operation(
    "GET",
    f"{_REF}/upline",
    {200: (UplineSchema, "Who stood above it")},
    query=UplineQuery,
    problems=(404,),
)
def show_upline(mine: Brand, query: dict[str, Any], ref: str) -> dict[str, Any]:
    """Show who stood above a distributor at an instant."""
    at: datetime = query["at"] or clock.now()
    with database().transaction() as session:
        found = find(session, mine, ref)
        upline = queries.upline_at(session, brand_id=mine.id, distributor_id=found.id, at=at)
    return {"at": at, "upline": upline}


@routes.operation(
    "GET",
    f"{_REF}/downline",
    {200: (_distributors, "A page of those directly below it")},
    query=PageQuery,
    problems=(404,),
)
def list_downline(mine: Brand, query: dict[str, Any], ref: str) -> Page:
    """List those whose sponsor a distributor is at present."""
    with database().transaction() as session:
        found = find(session, mine, ref)
        below, following = lists.distributors(
            session,
            brand_id=mine.id,
            status=None,
            sponsor=found.external_id,
            q=None,
            sort=SortBy.ENROLMENT,
            **query,
        )
        return Page(tell(session, *below), following)
