"""Enrolling distributors, moving and suspending them."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import insert, select, text, update
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.orm import Session

from distrib import clock, ids
from distrib.db import Lock, cursor, lock
from distrib.tree import facts, queries
from distrib.tree.facts import (
    CodeTaken,
    CycleRefused,
    DistributorExists,
    DistributorStatus,
    MoveInTheFuture,
    MoveInThePast,
    SelfSponsorship,
)
from distrib.tree.standing import set_status
from distrib.tree.tables import Distributor, Sponsorship

_TICK = timedelta(microseconds=1)  # the finest that timestamptz tells apart


# -- enrolling ----------------------------------------------------------------------------------


def enrol_distributor(
    session: Session,
    *,
    brand_id: int,
    external_id: str,
    name: str,
    sponsor: str | None = None,
    code: str | None = None,
    joined_at: datetime | None = None,
) -> Distributor:
    """Enrol a distributor. Enrolling it again with the same facts returns the one there is.

    It takes no lock of the brand: somebody new has nobody below, so no cycle can close and no
    order already priced can have its upline changed.

    :param sponsor: the sponsor's external id; None for a root.
    :param code: what orders refer to; by default the letters of the id.
    :param joined_at: not in the future, not before the sponsor joined; by default now.
    :raises InvalidInput: naming the field.
    :raises SelfSponsorship: when it names itself.
    :raises SponsorNotFound: when this brand has no such sponsor.
    :raises JoinedBeforeSponsor: when the sponsor joined later.
    :raises DistributorExists: when the external id is enrolled with other facts.
    :raises CodeTaken: when another distributor has the code.
    """
    now = clock.now()
    facts.check_text(external_id, field="external_id")
    name = facts.check_text(name.strip(), field="name")
    if code is not None:
        facts.check_code(code)
    if joined_at is not None:
        joined_at = facts.check_joined_at(joined_at, now)
    if sponsor == external_id:
        raise SelfSponsorship(f"{external_id} names itself as sponsor", field="sponsor")

    def enrolled(known: facts.Known) -> Distributor:
        reason = facts.contradiction(
            known, name=name, sponsor=sponsor, code=code, joined_at=joined_at
        )
        if reason is not None:
            raise DistributorExists(reason)
        return queries.get_distributor(
            session, brand_id=brand_id, distributor_id=known.distributor_id
        )

    wanted = [each for each in (external_id, sponsor) if each and facts.storable(each)]
    found = queries.known_distributors(cursor(session), brand_id=brand_id, external_ids=wanted)
    if external_id in found:
        return enrolled(found[external_id])
    above = None if sponsor is None else found.get(sponsor)
    if sponsor is not None and above is None:
        raise queries.no_sponsor(sponsor)
    joins_at = facts.joining(
        joined_at, sponsor_joined_at=above.joined_at if above else None, now=now
    )
    distributor_id = ids.new()
    code_or_default = code or facts.default_code(distributor_id)
    distributor: Distributor | None = session.scalar(
        pg_insert(Distributor)
        .values(
            brand_id=brand_id,
            id=distributor_id,
            external_id=external_id,
            code=code_or_default,
            name=name,
            status=DistributorStatus.ACTIVE,
            joined_at=joins_at,
            created_at=now,
        )
        .on_conflict_do_nothing()
        .returning(Distributor)
    )
    if distributor is None:  # another has the code, or enrolled the external id an instant ago
        found = queries.known_distributors(cursor(session), brand_id=brand_id, external_ids=wanted)
        if external_id in found:
            return enrolled(found[external_id])
        raise CodeTaken(f"another distributor has the code {code_or_default!r}", field="code")
    session.execute(
        insert(Sponsorship).values(
            brand_id=brand_id,
            distributor_id=distributor_id,
            valid_from=joins_at,
            sponsor_id=above and above.distributor_id,
        )
    )
    return distributor


# -- changing -----------------------------------------------------------------------------------


def move_distributor(
    session: Session,
    *,
    brand_id: int,
    distributor: str,
    sponsor: str | None,
    at: datetime | None = None,
) -> Sponsorship:
    """Put a distributor, with everybody below it, under another sponsor from an instant on.

    The tree changes only ahead of the orders already priced: the new edge begins after the latest
    of them. Moving to the present sponsor changes nothing and returns the present edge.

    :param distributor: its external id.
    :param sponsor: the new sponsor's external id; None makes the distributor a root.
    :param at: when the new edge begins, not in the future; by default as soon as it can.
    :raises DistributorNotFound: when this brand has no such distributor.
    :raises SponsorNotFound: when this brand has no such sponsor.
    :raises SelfSponsorship: when it names itself.
    :raises MoveInTheFuture: when ``at`` is yet to come.
    :raises MoveInThePast: when ``at`` is before the latest order, the present edge, or the day on
        which the sponsor joined.
    :raises CycleRefused: when the sponsor is below the distributor at ``at`` or later.
    """
    # orders share this lock while they are priced; held alone, nobody prices and nobody moves
    lock(session, brand_id, Lock.FACTS)
    now = clock.now()
    if at is not None:
        at = facts.check_instant(at, field="at")
        if at > now:
            raise MoveInTheFuture(f"a move begins now or earlier, not {at.isoformat()}", field="at")
    moved = queries.get_distributor(session, brand_id=brand_id, external_id=distributor)
    if sponsor == distributor:
        raise SelfSponsorship(f"{distributor} names itself as sponsor", field="sponsor")
    above = (
        None
        if sponsor is None
        else queries.get_sponsor(session, brand_id=brand_id, external_id=sponsor)
    )

    edge = session.scalars(
        select(Sponsorship)
        .where(
            Sponsorship.brand_id == brand_id,
            Sponsorship.distributor_id == moved.id,
            Sponsorship.valid_to.is_(None),
        )
        .execution_options(populate_existing=True)
    ).one()
    if edge.sponsor_id == (above and above.id):
        return edge
    begins = _start_of_move(session, edge, above, at, now)
    if above is not None:
        _refuse_cycle(session, moved, above, begins)

    session.execute(
        update(Sponsorship)
        .where(
            Sponsorship.brand_id == brand_id,
            Sponsorship.distributor_id == moved.id,
            Sponsorship.valid_from == edge.valid_from,
        )
        .values(valid_to=begins)
    )
    return session.scalars(
        insert(Sponsorship)
        .values(
            brand_id=brand_id,
            distributor_id=moved.id,
            valid_from=begins,
            sponsor_id=above and above.id,
        )
        .returning(Sponsorship)
    ).one()


def _start_of_move(
    session: Session,
    edge: Sponsorship,
    above: Distributor | None,
    at: datetime | None,
    now: datetime,
) -> datetime:
    """The instant at which the new edge begins: ``at``, if nothing stands against it."""
    latest_order = session.scalar(
        text(
            "SELECT max(effective_at) FROM orders"
            " WHERE brand_id = :brand_id AND effective_at > '-infinity'"
        ),
        {"brand_id": edge.brand_id},
    )
    bounds = [(edge.valid_from + _TICK, "the present sponsorship begins before it")]
    if latest_order is not None:
        bounds.append((latest_order + _TICK, "the latest order is priced before it"))
    if above is not None:
        bounds.append((above.joined_at, f"the sponsor {above.external_id} joins then"))
    earliest, why = max(bounds)
    if at is None:
        return max(now, earliest)
    if at < earliest:
        raise MoveInThePast(
            f"a move begins at {earliest.isoformat()} at the earliest ({why}),"
            f" not at {at.isoformat()}",
            field="at",
        )
    return at


def _refuse_cycle(
    session: Session, moved: Distributor, above: Distributor, begins: datetime
) -> None:
    """Refuse a sponsor who is below ``moved`` at ``begins`` or at any instant after it."""
    closed_at = queries.first_instant_below(
        session, brand_id=moved.brand_id, below=above.id, above=moved.id, since=begins
    )
    if closed_at is None:
        return
    below = [above.external_id]
    for member in queries.upline_at(
        session, brand_id=moved.brand_id, distributor_id=above.id, at=closed_at
    ):
        below.append(member.external_id)
        if member.distributor_id == moved.id:
            break
    raise CycleRefused(
        f"{above.external_id} is below {moved.external_id}: {facts.write_path(below[::-1])}",
        field="sponsor",
    )


def suspend_distributor(
    session: Session, *, brand_id: int, distributor: str, changed_by: str = "system"
) -> Distributor:
    """Suspend the distributor of that external id. Doing it again changes nothing.

    :raises DistributorNotFound: when this brand has no such distributor.
    """
    return set_status(
        session,
        brand_id=brand_id,
        distributor=distributor,
        status=DistributorStatus.SUSPENDED,
        changed_by=changed_by,
    )


def reactivate_distributor(
    session: Session, *, brand_id: int, distributor: str, changed_by: str = "system"
) -> Distributor:
    """End the suspension of the distributor of that external id.

    :raises DistributorNotFound: when this brand has no such distributor.
    """
    return set_status(
        session,
        brand_id=brand_id,
        distributor=distributor,
        status=DistributorStatus.ACTIVE,
        changed_by=changed_by,
    )
