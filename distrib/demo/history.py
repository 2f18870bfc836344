"""Lets the demo's world happen, in order of time, through the services that everybody uses.

What is done twice is done once, here as everywhere: an interrupted history is simply told again
from the last step on that had reached the database.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from distrib import clock
from distrib.brands.jurisdiction import CHINA, Subject, acknowledge, set_levels
from distrib.brands.service import create_brand
from distrib.brands.tables import Brand
from distrib.commission.intake import take_orders
from distrib.commission.outcome import Outcome, Status
from distrib.commission.refunds import take_refunds
from distrib.commission.service import publish_plan
from distrib.db import Database
from distrib.demo import shop
from distrib.demo.world import STEP, Block, code_of, midnight
from distrib.ledger.service import fold
from distrib.orders.document import OrderIn
from distrib.orders.tables import Order
from distrib.settlement.batch import (
    approve_batch,
    draw_up_batch,
    mature_for_batch,
    submit_batch,
)
from distrib.settlement.maturation import mature
from distrib.settlement.tables import SettlementBatch
from distrib.tree.service import enrol_distributor, move_distributor

MAKER, APPROVER = "finance@demo", "head-of-finance@demo"
OFFICE = "office@demo"
_STATISTICS = 100  # orders after which statistics are gathered first


class WentWrong(RuntimeError):
    """Something that the demo's world was sure of did not happen."""


@dataclass
class Pace:
    """How long things took, in seconds."""

    seconds: float = 0.0
    orders: int = 0
    single: list[float] = field(default_factory=list)
    payouts: int = 0
    payout_seconds: float = 0.0


def found_brand(session: Session, *, start: date, slug: str = shop.SLUG) -> Brand:
    """Create the demo's brand as of the day on which it opens.

    It lives in China, and somebody answers for its three levels before it has them.
    """
    with clock.travel(midnight(start)):
        brand = create_brand(
            session,
            slug=slug,
            name=shop.NAME,
            currency=shop.CURRENCY,
            time_zone=shop.TIME_ZONE,
            hold_days=shop.HOLD_DAYS,
            minimum_payout=shop.MINIMUM_PAYOUT,
            jurisdiction=CHINA,
        )
        acknowledge(
            session,
            brand=brand,
            subject=Subject.LEVELS,
            text_version=shop.LEGAL_TEXT,
            acknowledged_by=shop.LEGAL_PERSON,
        )
        return set_levels(session, brand=brand, levels=3)


def blocks_to_come(database: Database, brand: Brand, blocks: Sequence[Block]) -> list[Block]:
    """The blocks from the last one on of which something is recorded."""
    with database.transaction() as session:
        reached = session.scalar(
            select(func.max(Order.recorded_at)).where(Order.brand_id == brand.id)
        )
    if reached is None:
        return list(blocks)
    return [block for block in blocks if block.end >= reached]


def play(
    database: Database, brand: Brand, blocks: Sequence[Block], *, pay: Callable[[int], int]
) -> Iterator[tuple[Block, Pace]]:
    """Let the blocks happen.

    :param pay: runs the approved batch of that number until it is settled, and returns how many
        payouts it has. It is called at our own time: workers live in it, and so do their leases.
    :returns: each block when it is done, and the pace so far.
    :raises WentWrong: when a document is refused: the world holds none that should be.
    """
    pace = Pace()
    statistics = _STATISTICS
    for block in blocks:
        began = time.perf_counter()
        _happen(database, brand, block, pace)
        pace.orders += len(block.orders)
        pace.seconds += time.perf_counter() - began
        if block.cutoff is not None:
            number = _draw_up(database, brand, block)
            began = time.perf_counter()
            pace.payouts += pay(number)
            pace.payout_seconds += time.perf_counter() - began
        if block.ends_day:
            _end_day(database, brand, block)
        if pace.orders >= statistics:
            # autovacuum has hours for a day's orders; here half a year has passed when it looks
            with database.transaction() as session:
                session.execute(text("ANALYZE"))
            statistics = 2 * pace.orders
        yield block, pace


def _happen(database: Database, brand: Brand, block: Block, pace: Pace) -> None:
    """All that reaches the brand in one step."""
    if block.plan is not None or block.moves:
        _change(database, brand, block)
    together = [] if block.singly else block.orders
    with clock.travel(block.end):
        if block.joins or together or block.refunds:
            database.run(lambda session: _take(session, brand, block, together))
        for order in block.orders[len(together) :]:
            began = time.perf_counter()
            outcomes = database.run(
                lambda session, order=order: take_orders(session, brand=brand, orders=[order])  # type: ignore[misc]
            )
            pace.single.append(time.perf_counter() - began)
            _require(outcomes)


def _change(database: Database, brand: Brand, block: Block) -> None:
    """Publish plans and move distributors, before anything is sold in this step."""
    with clock.travel(block.end - STEP), database.transaction() as session:
        if block.plan is not None:
            document = shop.FIRST_PLAN if block.plan == 1 else shop.SECOND_PLAN
            publish_plan(session, brand=brand, document=document, published_by=OFFICE)
        for move in block.moves:
            move_distributor(
                session, brand_id=brand.id, distributor=move.external_id, sponsor=move.sponsor
            )


def _take(session: Session, brand: Brand, block: Block, orders: list[OrderIn]) -> None:
    for join in block.joins:
        enrol_distributor(
            session,
            brand_id=brand.id,
            external_id=join.external_id,
            name=join.name,
            sponsor=join.sponsor,
            code=code_of(join.external_id),
            joined_at=join.at,
        )
    _require(take_orders(session, brand=brand, orders=orders))
    _require(take_refunds(session, brand=brand, refunds=block.refunds))


def _require(outcomes: list[Outcome]) -> None:
    for outcome in outcomes:
        if outcome.status is Status.REJECTED:
            raise WentWrong(f"a document of the demo was refused: {outcome.error}")


def _end_day(database: Database, brand: Brand, block: Block) -> None:
    """What the sweeper does, which lives at our own time and cannot do it then."""
    with clock.travel(block.end):
        mature(database, brand_id=brand.id)
        with database.transaction() as session:
            fold(session, brand_id=brand.id, wait=True)


def _draw_up(database: Database, brand: Brand, block: Block) -> int:
    """Draw up and approve the batch of a settlement day, unless that was done before."""
    with database.transaction() as session:
        batch = session.scalar(
            select(SettlementBatch).where(
                SettlementBatch.brand_id == brand.id, SettlementBatch.cutoff == block.cutoff
            )
        )
    with clock.travel(block.end):
        if batch is None:
            cutoff = mature_for_batch(database, brand=brand, cutoff=block.cutoff)
            with database.transaction() as session:
                batch = draw_up_batch(session, brand=brand, cutoff=cutoff, created_by=MAKER)
        if batch.state == "draft":
            with database.transaction() as session:
                submit_batch(session, brand_id=brand.id, number=batch.number, submitted_by=MAKER)
                approve_batch(
                    session,
                    brand_id=brand.id,
                    number=batch.number,
                    approved_by=APPROVER,
                    content_hash=batch.content_hash,
                )
    return batch.number
