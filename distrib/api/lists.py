"""What only the API lists, page by page: brands, keys, plans, distributors."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import case, exists, func, select
from sqlalchemy.orm import Session

from distrib import clock, ids
from distrib.api.paging import Listing, Page, read_page
from distrib.brands.tables import ApiKey, Brand, LegalAcknowledgement
from distrib.commission.service import VersionState, number_in_force
from distrib.commission.simulation_tables import Simulation
from distrib.commission.tables import PlanDraft, PlanVersion
from distrib.errors import NotFound
from distrib.tree import queries
from distrib.tree.facts import DistributorStatus
from distrib.tree.queries import Place, SortBy
from distrib.tree.tables import Distributor


class KeyNotFound(NotFound):
    """No key of that id in this brand."""

    title = "No such API key"


# -- brands and keys ------------------------------------------------------------------------------

_BRANDS = Listing("brands", {"id": int}, descending=True)
_KEYS = Listing("keys", {"id": int}, descending=True)


def brands(session: Session, *, cursor: str | None, limit: int) -> Page:
    """All brands, newest first."""
    return read_page(session, Brand, _BRANDS, where=[], cursor=cursor, limit=limit)


def keys(session: Session, *, brand_id: int, cursor: str | None, limit: int) -> Page:
    """The keys of a brand, newest first."""
    mine = [ApiKey.brand_id == brand_id]
    return read_page(session, ApiKey, _KEYS, where=mine, cursor=cursor, limit=limit)


def get_key(session: Session, *, brand_id: int, public_id: str) -> int:
    """The id of the brand's key that goes by ``public_id``.

    :raises KeyNotFound: when there is none.
    """
    try:
        key_id = ids.parse("key", public_id)
    except ValueError as error:
        raise KeyNotFound(str(error)) from None
    found = session.scalar(
        select(ApiKey.id).where(ApiKey.id == key_id, ApiKey.brand_id == brand_id)
    )
    if found is None:
        raise KeyNotFound(f"the brand has no key {public_id}")
    return found


# -- plans ----------------------------------------------------------------------------------------

_PLANS = Listing("plans", {"number": int}, descending=True)


def plans(session: Session, *, brand_id: int, cursor: str | None, limit: int) -> Page:
    """Plan versions without their documents, newest first."""
    now = clock.now()
    in_force = number_in_force(session, brand_id=brand_id, at=now)
    return read_page(
        session,
        PlanVersion,
        _PLANS,
        where=[PlanVersion.brand_id == brand_id],
        show=lambda plan: select(
            plan.number,
            plan.id,
            plan.effective_from,
            case(
                (plan.effective_from > now, VersionState.SCHEDULED),
                (plan.number == in_force, VersionState.IN_FORCE),
                else_=VersionState.SUPERSEDED,
            ).label("state"),
            plan.levels,
            plan.channel_levels,
            plan.content_hash,
            plan.published_at,
            plan.published_by,
        ),
        cursor=cursor,
        limit=limit,
    )


_DRAFTS = Listing("plan drafts", {"number": int}, descending=True)


def drafts(
    session: Session, *, brand_id: int, state: str | None, cursor: str | None, limit: int
) -> Page:
    """Plan drafts, newest first."""
    where = [PlanDraft.brand_id == brand_id]
    if state is not None:
        where.append(PlanDraft.state == state)
    return read_page(session, PlanDraft, _DRAFTS, where=where, cursor=cursor, limit=limit)


_SIMULATIONS = Listing("simulations", {"number": int}, descending=True)


def simulations(session: Session, *, brand_id: int, cursor: str | None, limit: int) -> Page:
    """Simulations, newest first."""
    where = [Simulation.brand_id == brand_id]
    return read_page(session, Simulation, _SIMULATIONS, where=where, cursor=cursor, limit=limit)


_ACKNOWLEDGEMENTS = Listing("acknowledgements", {"id": int}, descending=True)


def acknowledgements(session: Session, *, brand_id: int, cursor: str | None, limit: int) -> Page:
    """What somebody answers for, newest first."""
    return read_page(
        session,
        LegalAcknowledgement,
        _ACKNOWLEDGEMENTS,
        where=[LegalAcknowledgement.brand_id == brand_id],
        cursor=cursor,
        limit=limit,
    )


def latest_plan_number(session: Session, *, brand_id: int) -> int:
    """The number of the newest plan version, 0 before the first."""
    query = select(func.max(PlanVersion.number)).where(PlanVersion.brand_id == brand_id)
    return session.scalar(query) or 0


# -- distributors ---------------------------------------------------------------------------------


def is_enrolled(session: Session, *, brand_id: int, external_id: str) -> bool:
    """Whether the brand has a distributor of that external id."""
    query = exists().where(Distributor.brand_id == brand_id, Distributor.external_id == external_id)
    return bool(session.scalar(select(query)))


def distributors(
    session: Session,
    *,
    brand_id: int,
    status: str | None,
    sponsor: str | None,
    q: str | None,
    sort: str,
    cursor: str | None,
    limit: int,
) -> tuple[list[Distributor], str | None]:
    """A page of distributors, and the next cursor."""
    by = SortBy(sort.removeprefix("-"))
    kind = datetime if by is SortBy.JOINED_AT else str
    order = Listing(f"distributors {sort}", {"value": kind, "id": int})
    after = order.read(cursor)
    place = None
    if after is not None:
        value = after[0].isoformat() if kind is datetime else after[0]
        place = Place(value, after[1])
    page = queries.list_distributors(
        session,
        brand_id=brand_id,
        status=None if status is None else DistributorStatus(status),
        sponsor=sponsor,
        q=q,
        sort=by,
        descending=sort.startswith("-"),
        after=place,
        limit=limit,
    )
    at = page.after
    following = None if at is None else order.write([at.value, at.id])
    return page.distributors, following
