"""A small brand to race in, and ways of doing many things at the same instant."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Generic, TypeVar

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from distrib import clock, ids, jobs
from distrib.brands.tables import Brand
from distrib.bulk import write_rows
from distrib.commission.intake import take_orders
from distrib.commission.outcome import Outcome
from distrib.commission.refunds import take_refunds
from distrib.commission.service import publish_plan
from distrib.config import Settings
from distrib.db import Database, cursor
from distrib.ledger.chart import AccountKind
from distrib.ledger.service import read_balances
from distrib.orders.document import LineIn, OrderIn, RefundIn, RefundLineIn
from distrib.settlement.audit import audit_brand
from distrib.tree.tables import Distributor, Sponsorship

JOINED = datetime(2026, 1, 1, tzinfo=UTC)
"""When everybody joined and the plan began."""

PLAN = {
    "name": "three levels",
    "rules": [
        {"name": "default", "rates": ["10%", "5%", "2%"]},
        {"name": "books", "match": {"category": ["books"]}, "rates": ["4%", "2%"]},
    ],
}

PATIENCE = 60.0
"""Seconds after which something that should have ended hangs."""

T = TypeVar("T")


# -- the brand ------------------------------------------------------------------------------------


def populate(db: Database, brand: Brand, distributors: int = 12) -> list[str]:
    """Distributors d0 … dn of the brand, all of one popular upline, and a plan.

    d0 sponsors d1, and d1 sponsors all others: every order pays its distributor, d1 and d0.
    """
    names = [f"d{n}" for n in range(distributors)]
    with db.transaction() as session:
        numbers = ids.take(distributors)
        write_rows(
            cursor(session),
            Distributor,
            {
                "brand_id": brand.id,
                "id": numbers,
                "external_id": names,
                "code": [f"code-{name}" for name in names],
                "name": [f"Distributor {name}" for name in names],
                "status": "active",
                "joined_at": JOINED,
                "created_at": JOINED,
            },
            distributors,
        )
        sponsors = [None, numbers[0], *[numbers[1]] * (distributors - 2)]
        write_rows(
            cursor(session),
            Sponsorship,
            {
                "brand_id": brand.id,
                "distributor_id": numbers,
                "valid_from": JOINED,
                "sponsor_id": sponsors,
            },
            distributors,
        )
        publish_plan(
            session, brand=brand, document=PLAN, effective_from=JOINED, published_by="test"
        )
    return names


def days_ago(days: float) -> datetime:
    """An instant that many days back."""
    return clock.now() - timedelta(days=days)


_numbers = itertools.count(1)


def order(
    distributor: str | None,
    *,
    name: str | None = None,
    price: int = 10_000,
    quantity: int = 1,
    lines: int = 1,
    placed_at: datetime | None = None,
) -> OrderIn:
    """An order of ``lines`` equal lines credited to ``distributor``; a name of its own."""
    return OrderIn(
        shop="shop",
        external_id=name or f"o{next(_numbers)}",
        placed_at=placed_at or clock.now(),
        currency="CNY",
        lines=tuple(
            LineIn(sku=f"sku-{n}", quantity=quantity, unit_price=price) for n in range(lines)
        ),
        distributor=distributor,
    )


def refund(
    of: OrderIn | str, *, quantity: int | None = None, line_no: int = 1, name: str | None = None
) -> RefundIn:
    """A refund of an order: ``quantity`` units of a line, or all that is left."""
    return RefundIn(
        shop="shop",
        order_external_id=of if isinstance(of, str) else of.external_id,
        external_id=name or f"r{next(_numbers)}",
        refunded_at=clock.now(),
        lines=None if quantity is None else (RefundLineIn(line_no, quantity),),
    )


def take(db: Database, brand: Brand, *orders: OrderIn) -> list[Outcome]:
    """Take orders in a transaction of their own, as the API does."""
    return db.run(lambda session: take_orders(session, brand=brand, orders=orders))


def give_back(db: Database, brand: Brand, *refunds: RefundIn) -> list[Outcome]:
    """Take refunds in a transaction of their own, as the API does."""
    return db.run(lambda session: take_refunds(session, brand=brand, refunds=refunds))


def due_jobs(db: Database, brand: Brand) -> list[int]:
    """The brand's jobs that are due. (Others in this database may be another test's leftovers.)"""
    with db.transaction() as session:
        due = jobs.due(session)
        mine = set(session.scalars(select(jobs.Job.id).where(jobs.Job.brand_id == brand.id)))
    return [job_id for job_id in due if job_id in mine]


def do_jobs(db: Database, settings: Settings, brand: Brand) -> int:
    """Do the brand's jobs, one after the other, until none is due; how many were done."""
    done = 0
    while due := due_jobs(db, brand):
        progress = sum(jobs.run(db, settings, job_id) for job_id in due)
        if not progress:
            return done
        done += progress
    return done


# -- many things at once --------------------------------------------------------------------------


@dataclass
class _Running:
    results: list[Any]
    errors: list[BaseException]


def together(*works: Callable[[], T]) -> list[T]:
    """Do all works at the same instant, each in a thread; their results, in the same order.

    The first error is raised when all have ended. One that does not end fails the test.
    """
    barrier = threading.Barrier(len(works))
    running = _Running([None] * len(works), [])

    def one(place: int, work: Callable[[], T]) -> None:
        try:
            barrier.wait(PATIENCE)
            running.results[place] = work()
        except BaseException as error:
            running.errors.append(error)

    threads = [threading.Thread(target=one, args=each, daemon=True) for each in enumerate(works)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + PATIENCE
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    if running.errors:
        raise running.errors[0]
    hanging = sum(thread.is_alive() for thread in threads)
    if hanging:
        raise TimeoutError(f"{hanging} of {len(works)} works have not ended")
    return running.results


class Background(Generic[T]):
    """A work that runs in a thread; calling it waits for the end and gives the result."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._results: list[T] = []
        self._errors: list[BaseException] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._results.append(self._work())
        except BaseException as error:
            self._errors.append(error)

    def ended(self) -> bool:
        """Whether it has ended, well or not."""
        return not self._thread.is_alive()

    def __call__(self) -> T:
        self._thread.join(PATIENCE)
        if self._errors:
            raise self._errors[0]
        if not self._results:
            raise TimeoutError("a work in the background has not ended")
        return self._results[0]


def background(work: Callable[[], T]) -> Background[T]:
    """Begin a work in a thread."""
    return Background(work)


@contextmanager
def meanwhile(*works: Callable[[], object]) -> Iterator[None]:
    """Do each work over and over, in a thread of its own, while the block runs."""
    stop = threading.Event()

    def loop(work: Callable[[], object]) -> bool:
        while not stop.is_set():
            work()
        return True

    running = [background(partial(loop, work)) for work in works]
    try:
        yield
    finally:
        stop.set()
    for each in running:
        each()


def wait_until(condition: Callable[[], object], what: str, patience: float = PATIENCE) -> None:
    """Wait until ``condition`` is true.

    :raises TimeoutError: naming ``what`` did not come about.
    """
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"in {patience} s not seen: {what}")
        time.sleep(0.02)


def blocked(db: Database) -> int:
    """How many transactions of this database wait for another one: for its end, for a row, or for
    an advisory lock. (Waiting for a page to be added to a table is no such wait.)"""
    with db.engine.connect() as connection:
        return int(
            connection.scalar(
                text(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                    " AND wait_event_type = 'Lock'"
                    " AND wait_event IN ('transactionid', 'tuple', 'advisory', 'spectoken')"
                )
            )
            or 0
        )


def never_wait(session: Session) -> None:
    """Any wait for a lock in this transaction is an error."""
    session.execute(text("SET LOCAL lock_timeout = '150ms'"))


# -- what must hold -------------------------------------------------------------------------------


def findings(db: Database, brand: Brand, *, but: Sequence[str] = ()) -> list[str]:
    """What the audit finds wrong with the brand; ``but`` names checks that may find something."""
    with db.snapshot() as session:
        return [
            f"{finding.check}: {finding.detail}"
            for finding in audit_brand(session, brand_id=brand.id)
            if finding.check not in but
        ]


def held(db: Database, brand: Brand, name: str) -> int:
    """What a distributor has in the hold, from the ledger."""
    with db.transaction() as session:
        balances = read_balances(session, brand_id=brand.id, owner=distributor_id(db, brand, name))
    return balances.get((AccountKind.HELD, "CNY"), 0)


def rows(db: Database, query: str, **parameters: Any) -> list[Any]:
    """What a query selects."""
    with db.engine.connect() as connection:
        return list(connection.execute(text(query), parameters))


def value(db: Database, query: str, **parameters: Any) -> Any:
    """The one value that a query selects."""
    ((found,),) = rows(db, query, **parameters)
    return found


def distributor_id(db: Database, brand: Brand, name: str) -> int:
    """The id of a distributor."""
    return int(
        value(
            db,
            "SELECT id FROM distributor WHERE brand_id = :brand AND external_id = :name",
            brand=brand.id,
            name=name,
        )
    )
