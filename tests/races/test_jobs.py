"""Who may do a job, and who may write: claims, leases, fences."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy.exc import DBAPIError

from distrib import clock, faults, jobs
from distrib.brands.tables import Brand
from distrib.config import Settings
from distrib.db import Database, make_engine
from distrib.settlement.batch import (
    approve_batch,
    draw_up_batch,
    mature_for_batch,
    submit_batch,
)
from distrib.settlement.running import run_batch
from tests.races.world import (
    background,
    days_ago,
    do_jobs,
    due_jobs,
    findings,
    never_wait,
    order,
    rows,
    take,
    together,
    value,
    wait_until,
)


def _approved(db: Database, brand: Brand, *, chunk_payouts: int = 100) -> list[int]:
    """The jobs of a batch that is being paid."""
    take(db, brand, *[order(f"d{n}", placed_at=days_ago(20)) for n in range(12)])
    cutoff = mature_for_batch(db, brand=brand)
    scope: dict[str, Any] = {"brand_id": brand.id, "number": 1}
    with db.transaction() as session:
        draw_up_batch(session, brand=brand, cutoff=cutoff, created_by="test")
        submit_batch(session, submitted_by="test", **scope)
        approve_batch(session, approved_by="finance", content_hash=None, **scope)
        run_batch(session, chunk_payouts=chunk_payouts, **scope)
    return [
        job_id
        for (job_id,) in rows(db, "SELECT id FROM job WHERE brand_id = :b ORDER BY id", b=brand.id)
    ]


def _expire_lease(db: Database, job_id: int) -> None:
    """Let the lease run out, as the clock would."""
    with db.transaction() as session:
        job = session.get_one(jobs.Job, job_id)
        assert job.lease_until is not None
        job.lease_until = clock.now() - timedelta(seconds=1)


class _Pause:
    """Holds the first thread that passes a point, until it is let go."""

    def __init__(self, point: str) -> None:
        self._point = point
        self._free = threading.Lock()
        self._going_on = threading.Event()
        self.reached = threading.Event()

    def __call__(self, name: str) -> None:
        if name == self._point and self._free.acquire(blocking=False):
            self.reached.set()
            self._going_on.wait(20)

    def go_on(self) -> None:
        self._going_on.set()


@contextmanager
def _pause_at(point: str) -> Iterator[_Pause]:
    pause = _Pause(point)
    faults.hook = pause
    try:
        yield pause
    finally:
        faults.hook = None
        pause.go_on()


def test_eight_claims_at_once(db: Database, shop: Brand) -> None:
    (job_id,) = _approved(db, shop)

    def claim() -> jobs.Claim | None:
        with db.transaction() as session:
            return jobs.claim(session, job_id, lease_seconds=60)

    claims = [each for each in together(*[claim] * 8) if each is not None]
    assert [each.fence for each in claims] == [1]


def test_eight_claims_of_an_expired_lease_at_once(db: Database, shop: Brand) -> None:
    """One takes it over, with a new fence; the one that held it may write nothing more."""
    (job_id,) = _approved(db, shop)

    def claim() -> jobs.Claim | None:
        with db.transaction() as session:
            return jobs.claim(session, job_id, lease_seconds=60)

    first = claim()
    assert first is not None
    _expire_lease(db, job_id)
    claims = [each for each in together(*[claim] * 8) if each is not None]
    assert [each.fence for each in claims] == [2]
    with pytest.raises(jobs.LeaseLost), db.transaction() as session:
        first.hold(session)


def test_a_job_added_by_eight_at_once_is_one(db: Database, shop: Brand) -> None:
    def add() -> None:
        with db.transaction() as session:
            jobs.add(session, brand_id=shop.id, kind="none", key=f"once-{shop.id}")

    together(*[add] * 8)
    found = rows(db, "SELECT id, fence FROM job WHERE brand_id = :b", b=shop.id)
    assert [fence for _, fence in found] == [0]
    with db.transaction() as session:  # nobody knows how to do it
        job = session.get_one(jobs.Job, found[0][0])
        job.state = jobs.JobState.DONE


def test_a_claim_never_waits_for_who_holds_the_job(db: Database, shop: Brand) -> None:
    """A process that was frozen in the middle of a transaction holds its job's row although its
    lease is over. Others must pass it by: whoever waits there waits as long as it is frozen, and
    the sweeper would send one worker after the other to wait beside it."""
    (job_id,) = _approved(db, shop)
    with db.transaction() as session:
        frozen = jobs.claim(session, job_id, lease_seconds=60)
    assert frozen is not None
    _expire_lease(db, job_id)
    with db.transaction() as session:
        frozen.hold(session)
        with db.transaction() as other:
            never_wait(other)
            assert jobs.claim(other, job_id, lease_seconds=60) is None
    with db.transaction() as session:
        assert jobs.claim(session, job_id, lease_seconds=60) is not None


POINTS = [
    "pay_chunk.claimed",
    "pay_chunk.attempts_committed",
    "pay_chunk.provider_called",
    "pay_chunk.before_commit",
    "pay_chunk.done",
    "bank_file.joined",
    "complete_batch.file_written",
]


# who stands still at the other two holds the job's row, or has ended the job
@pytest.mark.parametrize(
    "point", [each for each in POINTS if each not in ("pay_chunk.before_commit", "pay_chunk.done")]
)
def test_a_slow_worker_whose_job_another_has_done_writes_nothing(
    db: Database, shop: Brand, settings: Settings, point: str
) -> None:
    """The first stands still at ``point`` until its lease has run out and another worker has done
    everything; then it goes on."""
    job_ids = _approved(db, shop)
    if not point.startswith("pay_chunk"):
        jobs.run(db, settings, job_ids[0])
        job_ids = due_jobs(db, shop)
    with _pause_at(point) as pause:
        slow = background(partial(jobs.run, db, settings, job_ids[0]))
        assert pause.reached.wait(10)
        _expire_lease(db, job_ids[0])
        assert jobs.run(db, settings, job_ids[0])
        do_jobs(db, settings, shop)
        before = _everything(db, shop, settings.data_dir)
        pause.go_on()
        assert slow() is False  # LeaseLost, which is no failure of the job
    assert _everything(db, shop, settings.data_dir) == before
    state = "SELECT state FROM settlement_batch WHERE brand_id = :b"
    assert value(db, state, b=shop.id) == "settled"
    assert findings(db, shop) == []


def test_a_slow_worker_goes_on_while_another_is_at_the_same_job(
    db: Database, shop: Brand, settings: Settings
) -> None:
    """The first wakes up while the second is between its steps: the second's claim counts."""
    (job_id,) = _approved(db, shop)
    with _pause_at("pay_chunk.provider_called") as first:
        slow = background(partial(jobs.run, db, settings, job_id))
        assert first.reached.wait(10)
        _expire_lease(db, job_id)
        with _pause_at("pay_chunk.attempts_committed") as second:
            taking_over = background(partial(jobs.run, db, settings, job_id))
            assert second.reached.wait(10)
            first.go_on()
            assert slow() is False
            paid = "SELECT count(*) FROM payout WHERE brand_id = :b AND state = 'paid'"
            assert value(db, paid, b=shop.id) == 0
            assert findings(db, shop) == []
            second.go_on()
            assert taking_over() is True
    do_jobs(db, settings, shop)
    assert findings(db, shop) == []


def _everything(db: Database, brand: Brand, data_dir: Path) -> list[object]:
    """All that paying writes: rows, and the brand's files."""
    tables = ("job", "payout", "payout_attempt", "settlement_batch", "transfer", "unfolded_posting")
    found: list[object] = [
        rows(db, f"SELECT t::text FROM {table} t WHERE brand_id = :b ORDER BY 1", b=brand.id)
        for table in tables
    ]
    files = sorted(path for path in data_dir.rglob("*") if path.is_file())
    return [*found, [(str(path), path.read_bytes()) for path in files]]


@pytest.mark.parametrize("point", POINTS)
def test_the_database_ends_the_connections_of_a_worker(
    db: Database, shop: Brand, settings: Settings, point: str
) -> None:
    """All of them, once, at ``point``. The worker says so, and the next to come ends the job."""
    name = f"races-{shop.id}"
    separator = "&" if "?" in settings.database_url else "?"
    url = f"{settings.database_url}{separator}application_name={name}"
    own = Database(make_engine(url, pool_size=2))
    _approved(db, shop)
    passed: list[str] = []

    def end_connections(at: str) -> None:
        if at == point and not passed:
            passed.append(at)
            ends = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            rows(db, f"{ends} WHERE application_name = :name", name=name)

    def due() -> list[int]:
        # at once: neither the pause after an error nor the lease is waited for
        found = rows(
            db, "SELECT id FROM job WHERE brand_id = :b AND state = 'ready' ORDER BY id", b=shop.id
        )
        return [job_id for (job_id,) in found]

    faults.hook = end_connections
    try:
        while ready := due():
            try:
                jobs.run(own, settings, ready[0])
            except (psycopg.OperationalError, DBAPIError):
                with db.transaction() as session:
                    session.get_one(jobs.Job, ready[0]).lease_until = None
    finally:
        faults.hook = None
        own.engine.dispose()
    assert passed == [point]
    assert value(db, "SELECT state FROM settlement_batch WHERE brand_id = :b", b=shop.id) == (
        "settled"
    )
    assert findings(db, shop) == []


def test_a_queue_that_is_away_delays_and_breaks_nothing(
    db: Database, shop: Brand, settings: Settings, tmp_path: Path
) -> None:
    """Redis is unreachable at the moment of approval: the request succeeds all the same, and the
    job is where the sweeper finds it."""
    dead = replace(settings, redis_url=f"unix://{tmp_path}/nobody.sock")
    away = Database(db.engine, jobs.Waker(dead))
    (job_id,) = _approved(away, shop)
    assert due_jobs(db, shop) == [job_id]
    assert do_jobs(db, settings, shop) >= 2
    assert findings(db, shop) == []


def test_a_provider_slower_than_the_lease_is_waited_for(
    db: Database, shop: Brand, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two workers and a sweeper, and a provider that takes twice the lease: it must end."""
    (job_id,) = _approved(db, shop)
    short = replace(settings, lease_seconds=1)
    stop = threading.Event()

    def hook(name: str) -> None:
        if name == "pay_chunk.attempts_committed":
            stop.wait(1.5)

    def work() -> int:
        calls = 0
        while not stop.is_set():
            calls += sum(jobs.run(db, short, each) for each in due_jobs(db, shop))
            stop.wait(0.05)
        return calls

    def paid() -> bool:
        state = "SELECT state FROM job WHERE id = :id"
        return bool(value(db, state, id=job_id) == "done")

    monkeypatch.setattr(faults, "hook", hook)
    workers = [background(work) for _ in range(2)]
    try:
        wait_until(paid, "the chunk is paid", patience=6)
    finally:
        stop.set()
        for worker in workers:
            worker()
