"""The demo's world is the same each time, and its history is one that the audit believes."""

from __future__ import annotations

import itertools
import json
import shlex
import urllib.request
from collections.abc import Iterator
from datetime import date

import pytest
from sqlalchemy import func, select

from distrib import jobs
from distrib.brands.jurisdiction import list_acknowledgements
from distrib.brands.tables import Brand
from distrib.cli import demo, house, keeper
from distrib.cli.demo import Memory
from distrib.commission.explanation import explain_commission
from distrib.config import Settings
from distrib.db import Database
from distrib.demo import history, shop, world
from distrib.demo.figures import find_worth_explaining, read_figures
from distrib.demo.world import Block, build_world, first_day
from distrib.ledger.chart import AccountKind
from distrib.orders.tables import WaitingRefund
from distrib.settlement.audit import audit_brand
from distrib.settlement.running import run_batch
from tests.cli.conftest import Cli
from tests.cli.processes import alive, wait_for

START = date(2026, 5, 24)
SCALE = 60

_slugs = (f"demo-{n}" for n in itertools.count())


@pytest.fixture(scope="module")
def blocks() -> list[Block]:
    return build_world(START, scale=SCALE)


def test_the_same_start_is_the_same_world(blocks: list[Block]) -> None:
    assert build_world(START, scale=SCALE) == blocks
    assert build_world(date(2026, 5, 25), scale=SCALE) != blocks


@pytest.mark.parametrize("today", [date(2026, 1, 3), date(2026, 3, 31), date(2028, 2, 29)])
def test_a_world_begins_on_any_day(today: date) -> None:
    start = first_day(today)
    blocks = build_world(start, scale=SCALE)
    assert [block.plan for block in blocks if block.plan] == [1, 2]
    assert all(one.end < other.end for one, other in itertools.pairwise(blocks))
    cutoffs = [block.cutoff for block in blocks if block.cutoff]
    assert len(cutoffs) == world.BATCHES
    assert max(block.end for block in blocks) <= world.midnight(today)


def test_the_whole_world_is_as_large_as_it_says() -> None:
    blocks = build_world(START)
    sponsors = {join.external_id: join.sponsor for block in blocks for join in block.joins}
    assert len(sponsors) == world.DISTRIBUTORS
    assert sum(len(block.moves) for block in blocks) == world.MOVES
    orders = [order for block in blocks for order in block.orders]
    assert world.ORDERS * 0.999 < len(orders) <= world.ORDERS
    assert max(len(list(upline(sponsors, name))) for name in sponsors) >= 8


def upline(sponsors: dict[str, str | None], name: str) -> Iterator[str]:
    above = sponsors[name]
    while above is not None:
        yield above
        above = sponsors[above]


def test_its_brand_answers_for_its_levels(db: Database) -> None:
    with db.transaction() as session:
        brand = history.found_brand(session, start=START, slug=next(_slugs))
        (answer,) = list_acknowledgements(session, brand_id=brand.id)
    assert (brand.jurisdiction, brand.levels) == ("CN", 3)
    assert (answer.subject, answer.acknowledged_by) == ("levels", shop.LEGAL_PERSON)
    assert (answer.text_version, answer.acknowledged_at) == (shop.LEGAL_TEXT, brand.created_at)


def test_its_history_can_be_interrupted_and_stands_up_to_the_audit(
    db: Database, settings: Settings, blocks: list[Block]
) -> None:
    with db.transaction() as session:
        brand = history.found_brand(session, start=START, slug=next(_slugs))

    def pay(number: int) -> int:
        with db.transaction() as session:
            batch = run_batch(session, brand_id=brand.id, number=number, chunk_payouts=20)
        jobs.run_all(db, settings)
        return batch.payouts

    for block, _ in history.play(db, brand, blocks, pay=pay):
        if block.end > blocks[len(blocks) // 2].end:
            break  # as if it had been killed
    to_come = history.blocks_to_come(db, brand, blocks)
    assert 0 < len(to_come) < len(blocks)
    for _, pace in history.play(db, brand, to_come, pay=pay):
        assert pace.orders
    assert history.blocks_to_come(db, brand, blocks) == [blocks[-1]]

    with db.transaction() as session:
        brand = session.get_one(Brand, brand.id)
        assert list(audit_brand(session, brand_id=brand.id)) == []
        figures = read_figures(session, brand=brand)
        waiting = session.scalar(select(func.count()).where(WaitingRefund.brand_id == brand.id))
        assert waiting == 0
        source_id, line_no, level = find_worth_explaining(session, brand_id=brand.id)
        words = explain_commission(
            session, brand=brand, source_id=source_id, line_no=line_no, level=level
        ).words
    assert figures.trade.orders == sum(len(block.orders) for block in blocks)
    assert figures.trade.refunds == sum(len(block.refunds) for block in blocks)
    assert figures.tree.distributors == sum(len(block.joins) for block in blocks)
    assert [batch.state for batch in figures.batches] == ["settled", "settled"]
    assert sum(figures.totals.values()) == 0
    assert figures.totals[AccountKind.PAID] == sum(batch.total for batch in figures.batches)
    assert "computed again just now, the engine gives the same" in words[-1]


# -- the command --------------------------------------------------------------------------------


@pytest.fixture
def small(apart: Settings, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """A command line whose environment names the servers, and a demo of a few people."""
    monkeypatch.setattr(world, "DISTRIBUTORS", 50)
    monkeypatch.setattr(world, "ORDERS", 400)
    monkeypatch.setattr(world, "MOVES", 2)
    monkeypatch.setattr(demo, "WORKERS", 1)
    for name, value in keeper.environment(apart).items():
        monkeypatch.setenv(name, value)
    return Cli(apart)


def test_the_demo_leaves_an_api_to_ask(small: Cli, apart: Settings) -> None:
    try:
        said = small("demo", "--port", "0")
        assert said.code == 0, said
        assert "Nothing is wrong." in said.out
        assert "batch 2: " in said.err
        asked = [shlex.split(line) for line in said.out.splitlines() if line.startswith("curl")]
        assert len(asked) == 5
        for *_, header, url in asked:
            name, _, key = header.partition(": ")
            with urllib.request.urlopen(urllib.request.Request(url, headers={name: key})) as answer:
                assert json.load(answer)
        again = small("demo", "--json")
        assert again.document["key"] in asked[0][3]
        assert again.document["api"] == small.document("status")["api"]
        assert again.document["audit"]["findings"] == 0
        second = small("up")
        assert (second.code, "is up already at" in second.err) == (1, True)
    finally:
        running = house.find(apart.data_dir)
        stopped = small.document("stop")
    assert running is not None
    assert stopped == {"up": True, "servers": False}
    assert house.find(apart.data_dir) is None
    assert not running.answers()
    wait_for(lambda: not alive(running.pid))
    assert small.well("stop").startswith("Nothing runs in")


def test_somebody_elses_brand_is_left_alone(small: Cli) -> None:
    small.well("brand", "create", "demo", "--name", "Mine")
    said = small("demo", "--no-serve")
    assert (said.code, "Mine has the slug 'demo'" in said.err) == (1, True)


def test_only_its_owner_may_read_the_key(small: Cli, apart: Settings) -> None:
    Memory(key="dk_x").write(apart.data_dir / "demo.json")
    assert (apart.data_dir / "demo.json").stat().st_mode & 0o077 == 0
    assert Memory.read(apart.data_dir / "demo.json").key == "dk_x"
    (apart.data_dir / "demo.json").write_text("{")
    assert Memory.read(apart.data_dir / "demo.json").key == ""
