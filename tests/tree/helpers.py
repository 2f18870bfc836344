"""The tree's verbs for tests: each in a transaction of its own, speaking of external ids."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import text
from sqlalchemy.orm import Session

from distrib import ids
from distrib.audit import Finding
from distrib.brands.tables import Brand
from distrib.db import Database
from distrib.tree import queries, service
from distrib.tree.audit import CHECKS
from distrib.tree.tables import Distributor, Sponsorship

T = TypeVar("T")


def day(number: float) -> datetime:
    """An instant of the past: days after the beginning of 2025."""
    return datetime(2025, 1, 1, tzinfo=UTC) + timedelta(days=number)


def enrol(
    db: Database, brand: Brand, external_id: str, sponsor: str | None = None, **facts: Any
) -> Distributor:
    """Enrol somebody called like the external id."""
    stated: dict[str, Any] = {"name": external_id, "joined_at": day(0)} | facts
    with db.transaction() as session:
        return service.enrol_distributor(
            session,
            brand_id=brand.id,
            external_id=external_id,
            sponsor=sponsor,
            **stated,
        )


def enrol_all(db: Database, brand: Brand, edges: str, **facts: Any) -> None:
    """Enrol ``"A A>B B>C"``: A, B under A, C under B."""
    for edge in edges.split():
        sponsor, _, external_id = edge.rpartition(">")
        enrol(db, brand, external_id, sponsor or None, **facts)


def move(
    db: Database,
    brand: Brand,
    distributor: str,
    sponsor: str | None,
    at: datetime | None = None,
) -> Sponsorship:
    """Move somebody."""
    with db.transaction() as session:
        return service.move_distributor(
            session, brand_id=brand.id, distributor=distributor, sponsor=sponsor, at=at
        )


def upline(
    db: Database, brand: Brand, distributor: str, at: datetime, levels: int | None = None
) -> str:
    """The upline as a word: ``"BA"`` is the sponsor B, and A above it."""
    with db.transaction() as session:
        found = queries.get_distributor(session, brand_id=brand.id, external_id=distributor)
        members = queries.upline_at(
            session, brand_id=brand.id, distributor_id=found.id, at=at, levels=levels
        )
    assert [member.level for member in members] == list(range(1, len(members) + 1))
    return "".join(member.external_id for member in members)


def history(db: Database, brand: Brand, distributor: str) -> list[queries.Period]:
    """Every sponsorship that somebody ever had."""
    with db.transaction() as session:
        found = queries.get_distributor(session, brand_id=brand.id, external_id=distributor)
        return queries.sponsorship_history(session, brand_id=brand.id, distributor_id=found.id)


def take_order(session: Session, brand: Brand, at: datetime) -> None:
    """An order, as far as the tree looks at orders."""
    session.execute(
        text(
            "INSERT INTO orders (brand_id, id, shop, external_id, content_hash, currency,"
            " referral, placed_at, effective_at, recorded_at, available_on) VALUES (:brand_id,"
            " :id, 'shop', :external_id, '', 'CNY', 'none', :at, :at, :at, '2026-01-01')"
        ),
        {"brand_id": brand.id, "id": ids.new(), "external_id": str(ids.new()), "at": at},
    )


def findings(db: Database, brand: Brand) -> list[Finding]:
    """What the audit finds wrong."""
    with db.transaction() as session:
        return [finding for check in CHECKS for finding in check(session, brand.id)]


def together(*works: Callable[[], T]) -> list[T | Exception]:
    """Do all of it at once, each in a thread of its own; what each returned or raised."""
    barrier = threading.Barrier(len(works))
    outcomes: list[T | Exception] = [RuntimeError("not run")] * len(works)

    def run(place: int, work: Callable[[], T]) -> None:
        barrier.wait()
        try:
            outcomes[place] = work()
        except Exception as error:
            outcomes[place] = error

    threads = [threading.Thread(target=run, args=(place, work)) for place, work in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def errors(outcomes: Iterable[object]) -> list[str]:
    """The names of the errors among outcomes."""
    return sorted(type(each).__name__ for each in outcomes if isinstance(each, Exception))
