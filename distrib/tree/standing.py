"""A distributor's standing: its status and rank, from an instant on.

A change begins after every order taken, as a move does, so what priced an order stays what it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy import insert, select, text, update
from sqlalchemy.orm import Session

from distrib import clock
from distrib.db import Lock, lock
from distrib.errors import InvalidInput
from distrib.tree import facts, queries
from distrib.tree.facts import DistributorStatus
from distrib.tree.tables import Distributor, Standing

_TICK = timedelta(microseconds=1)
_LONGEST = 60

BY_HAND = "hand"
BY_VOLUME = "volume"


def _earliest(session: Session, brand_id: int) -> datetime:
    """The first instant at which a change may begin. To be called with ``Lock.FACTS`` held."""
    last: datetime | None = session.scalar(
        text(
            "SELECT max(effective_at) FROM orders"
            " WHERE brand_id = :brand_id AND effective_at > '-infinity'"
        ),
        {"brand_id": brand_id},
    )
    return clock.now() if last is None else max(clock.now(), last + _TICK)


def present_standing(session: Session, *, brand_id: int, distributor_id: int) -> Standing | None:
    """The latest standing of a distributor; None when it never changed."""
    return session.scalar(
        select(Standing)
        .where(Standing.brand_id == brand_id, Standing.distributor_id == distributor_id)
        .order_by(Standing.valid_from.desc())
        .limit(1)
    )


def list_standings(session: Session, *, brand_id: int, distributor_id: int) -> list[Standing]:
    """All that a distributor was, newest first."""
    return list(
        session.scalars(
            select(Standing)
            .where(Standing.brand_id == brand_id, Standing.distributor_id == distributor_id)
            .order_by(Standing.valid_from.desc())
        )
    )


def _change(
    session: Session,
    found: Distributor,
    *,
    status: str,
    rank: str | None,
    source: str,
    changed_by: str,
) -> Distributor:
    """Write the standing from now on; the same again changes nothing."""
    present = present_standing(session, brand_id=found.brand_id, distributor_id=found.id)
    before = ("active", None, BY_HAND) if present is None else _of(present)
    if before == (status, rank, source) or (present is None and before[:2] == (status, rank)):
        return found
    begins = max(_earliest(session, found.brand_id), found.joined_at)
    if present is not None:
        begins = max(begins, present.valid_from + _TICK)
    session.add(
        Standing(
            brand_id=found.brand_id,
            distributor_id=found.id,
            valid_from=begins,
            status=status,
            rank=rank,
            source=source,
            changed_by=changed_by,
            recorded_at=clock.now(),
        )
    )
    session.execute(
        update(Distributor)
        .where(Distributor.brand_id == found.brand_id, Distributor.id == found.id)
        .values(status=status)
    )
    session.flush()
    session.refresh(found)
    return found


def _of(standing: Standing) -> tuple[str, str | None, str]:
    return standing.status, standing.rank, standing.source


def set_status(
    session: Session,
    *,
    brand_id: int,
    distributor: str,
    status: DistributorStatus,
    changed_by: str,
) -> Distributor:
    """Suspend or reactivate a distributor. Doing it again changes nothing.

    :raises DistributorNotFound: when this brand has no such distributor.
    """
    lock(session, brand_id, Lock.FACTS)
    found = queries.get_distributor(session, brand_id=brand_id, external_id=distributor)
    present = present_standing(session, brand_id=brand_id, distributor_id=found.id)
    return _change(
        session,
        found,
        status=status,
        rank=None if present is None else present.rank,
        source=BY_HAND if present is None else present.source,
        changed_by=changed_by,
    )


def set_rank(
    session: Session, *, brand_id: int, distributor: str, rank: str | None, changed_by: str
) -> Distributor:
    """Give a distributor a rank by hand, or none. Volumes do not change it then.

    :raises DistributorNotFound: when this brand has no such distributor.
    :raises InvalidInput: when the rank is no name.
    """
    if rank is not None:
        facts.check_text(rank, field="rank")
        if len(rank) > _LONGEST:
            raise InvalidInput(f"has more than {_LONGEST} letters", field="rank")
    lock(session, brand_id, Lock.FACTS)
    found = queries.get_distributor(session, brand_id=brand_id, external_id=distributor)
    present = present_standing(session, brand_id=brand_id, distributor_id=found.id)
    return _change(
        session,
        found,
        status=found.status if present is None else present.status,
        rank=rank,
        source=BY_HAND,
        changed_by=changed_by,
    )


_PRESENT = text(
    """
    SELECT DISTINCT ON (distributor_id) distributor_id, valid_from, status, rank, source
    FROM standing WHERE brand_id = :brand_id ORDER BY distributor_id, valid_from DESC
    """
)


def earn_ranks(
    session: Session, *, brand_id: int, ranks: Mapping[int, str], changed_by: str
) -> int:
    """Give distributors the ranks that their volumes earn; who is not named loses an earned one.

    Ranks given by hand stay. To be called with ``Lock.FACTS`` held alone.

    :param ranks: distributor id → rank.
    :returns: how many standings changed.
    """
    present = {row.distributor_id: row for row in session.execute(_PRESENT, {"brand_id": brand_id})}
    earned_before = {who for who, row in present.items() if row.source == BY_VOLUME and row.rank}
    begins = _earliest(session, brand_id)
    changes = []
    for who in sorted({*ranks, *earned_before}):
        row, rank = present.get(who), ranks.get(who)
        if row is not None and ((row.source == BY_HAND and row.rank) or row.rank == rank):
            continue
        changes.append(
            {
                "brand_id": brand_id,
                "distributor_id": who,
                "valid_from": begins if row is None else max(begins, row.valid_from + _TICK),
                "status": "active" if row is None else row.status,
                "rank": rank,
                "source": BY_VOLUME,
                "changed_by": changed_by,
                "recorded_at": clock.now(),
            }
        )
    if changes:
        session.execute(insert(Standing), changes)
    return len(changes)
