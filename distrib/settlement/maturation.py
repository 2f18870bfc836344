"""Commission whose hold is over becomes available: held → available, by day.

Two steps, so that orders wait for an instant only. First the brand's ``matured_through`` moves,
alone under the lock that orders share: from then on orders for those days post to available
directly, and the items in held are a fixed set. Then that set is summed and posted. A process
killed between the two leaves a maturation that is not posted; the next one to look posts it.
"""

from __future__ import annotations

from datetime import date

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from distrib import clock, faults, ids
from distrib.brands.tables import Brand
from distrib.db import Database, Lock, lock
from distrib.ledger.chart import TransferCode
from distrib.ledger.service import post_query
from distrib.settlement.tables import Maturation

_MATURED = """
SELECT row_number() OVER (ORDER BY distributor_id, asset) AS seq, distributor_id AS owner,
       sum(amount) AS amount, asset
FROM open_item
WHERE brand_id = :brand_id AND held AND available_on > :previous AND available_on <= :through
GROUP BY distributor_id, asset HAVING sum(amount) > 0
"""


def mature(database: Database, *, brand_id: int, through: date | None = None) -> int:
    """Let the brand's days up to ``through`` leave the hold.

    :param through: default and latest is today where the brand lives.
    :returns: the number of transfers posted. Maturing a day again posts nothing.
    """
    with database.transaction() as session:
        begin_maturation(session, brand_id=brand_id, through=through)
    faults.point("mature.begun")
    with database.transaction() as session:
        return post_maturations(session, brand_id=brand_id)


def begin_maturation(session: Session, *, brand_id: int, through: date | None) -> None:
    """Move the brand's ``matured_through``; see the module's text."""
    lock(session, brand_id, Lock.FACTS)
    brand = session.scalars(
        select(Brand).where(Brand.id == brand_id).execution_options(populate_existing=True)
    ).one()
    today = clock.day_of(clock.now(), brand.time_zone)
    through = min(through or today, today)
    if through <= brand.matured_through:
        return
    session.add(
        Maturation(
            brand_id=brand_id,
            through=through,
            previous=brand.matured_through,
            posting_id=ids.new(),
            created_at=clock.now(),
            posted_at=None,
        )
    )
    brand.matured_through = through
    session.flush()


def post_maturations(session: Session, *, brand_id: int) -> int:
    """Post the maturations of the brand that have begun and are not posted."""
    posted = 0
    for maturation in session.scalars(
        select(Maturation)
        .where(Maturation.brand_id == brand_id, Maturation.posted_at.is_(None))
        .order_by(Maturation.through)
        .with_for_update()
    ).all():
        now = clock.now()
        posted += post_query(
            session,
            brand_id=brand_id,
            posting_id=maturation.posting_id,
            code=TransferCode.MATURE,
            posted_at=now,
            query=_MATURED,
            parameters={"previous": maturation.previous, "through": maturation.through},
        )
        session.execute(
            update(Maturation)
            .where(Maturation.brand_id == brand_id, Maturation.through == maturation.through)
            .values(posted_at=now)
        )
    return posted
