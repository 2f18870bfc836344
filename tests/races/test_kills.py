"""Pulling the plug: whatever is killed, and wherever, each payout is paid once."""

from __future__ import annotations

import csv
import hashlib
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

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
    findings,
    meanwhile,
    order,
    rows,
    take,
    value,
    wait_until,
)

LEASE = 2

POINTS = sorted(
    name
    for file in Path(distrib.settlement.__file__).parent.rglob("*.py")
    for name in re.findall(r"faults\.point\(\"([a-z_.]+)\"\)", file.read_text())
)
"""Every point in the source at which the plug can be pulled: a new one is tested by being there."""

VICTIMS = ("horse", "worker", "parent")


@pytest.fixture(scope="session")
def nest() -> Iterator[Nest]:
    """Where workers come from."""
    found = Nest()
    yield found
    found.close()


class World:
    """A brand with a batch to settle, its database, its queue, and its workers."""

    def __init__(self, db: Database, brand: Brand, settings: Settings, nest: Nest, tmp_path: Path):
        self.db, self.brand, self.settings, self.nest = db, brand, settings, nest
        self.log = tmp_path / "workers.log"
        self.marker = tmp_path / "pulled"

    def rows(self, query: str) -> list[Any]:
        """What a query over the brand selects."""
        return rows(self.db, query, b=self.brand.id)

    def start(self, after_commit: jobs.Waker | None = None) -> None:
        """Ask for the batch, as finance would."""
        waker = jobs.Waker(self.settings) if after_commit is None else after_commit
        with Database(self.db.engine, waker).transaction() as session:
            jobs.add(
                session, brand_id=self.brand.id, kind=process.SETTLE, key=f"settle:{self.brand.id}"
            )

    def sweep(self) -> None:
        """What the sweeper does for jobs. It looks at this brand only: another test's leftovers
        are not ours."""
        with self.db.transaction() as session:
            due = set(jobs.due(session))
        mine = self.rows("SELECT id FROM job WHERE brand_id = :b")
        jobs.Waker(self.settings)([job_id for (job_id,) in mine if job_id in due])
        time.sleep(0.05)

    def settled(self) -> bool:
        """Whether the batch is settled, and nothing is left to do."""
        states = self.rows("SELECT DISTINCT state FROM settlement_batch WHERE brand_id = :b")
        left = self.rows("SELECT 1 FROM job WHERE brand_id = :b AND state <> 'done'")
        return states == [("settled",)] and not left

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
            "SELECT file_name, file_sha256, total FROM settlement_batch WHERE brand_id = :b"
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
    # whatever happened: no other test of this database shall find a job that only we can do
    with db.engine.begin() as connection:
        connection.execute(
            text("UPDATE job SET state = 'done' WHERE brand_id = :b AND state = 'ready'"),
            {"b": shop.id},
        )


def test_there_are_points_to_pull_the_plug_at() -> None:
    assert len(POINTS) == len(set(POINTS)) >= 9


@pytest.mark.parametrize("point,victim", list(product(POINTS, VICTIMS)))
def test_a_worker_is_killed(world: World, point: str, victim: str) -> None:
    """The first to come to ``point`` is killed there: the process that does the job, or with its
    parent; or the parent alone, and then what it leaves behind goes on when its lease is over.
    Another worker ends what was begun."""
    plug = Plug(point, victim, str(world.marker), pause=1.5 * LEASE)
    with world.nest.worker(world.settings, world.log, plug), meanwhile(world.sweep):
        world.start()
        wait_until(plug.pulled, f"somebody at {point}")
        if victim != "parent":
            wait_until(plug.over, "the end of the victim")
        requests, handed_over = world.requests(), world.handed_over()
        with world.nest.worker(world.settings, world.log):
            wait_until(world.settled, "the batch is settled")
            wait_until(plug.over, "the end of who was left behind")
    world.check(requests, handed_over)


def test_it_settles_without_a_kill(world: World) -> None:
    """What the other tests compare with; it does not take a lease's time."""
    with world.nest.worker(world.settings, world.log):
        world.start()
        wait_until(world.settled, "the batch is settled", patience=LEASE * 5)
    world.check({}, set())
