"""``distrib demo``."""

from __future__ import annotations

import json
import os
import statistics
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click
from rich.progress import Progress
from sqlalchemy import select

from distrib import clock, ids, jobs, schema
from distrib.brands import service as brands
from distrib.brands.service import BrandExists
from distrib.brands.tables import Brand
from distrib.cli import keeper
from distrib.cli.demo_report import (
    Audit,
    Speed,
    draw_audit,
    draw_figures,
    draw_speed,
    draw_words,
)
from distrib.cli.demo_service import curl_lines, draw_service, leave_running
from distrib.cli.desk import Desk, with_desk
from distrib.cli.output import note, progress
from distrib.cli.run import PORT
from distrib.cli.waiting import wait_for_batch
from distrib.commission.explanation import explain_commission
from distrib.db import make_engine
from distrib.demo import shop
from distrib.demo.figures import Figures, find_worth_explaining, read_figures
from distrib.demo.history import Pace, blocks_to_come, found_brand, play
from distrib.demo.world import Block, build_world, first_day
from distrib.errors import Unauthorized
from distrib.ledger.service import fold
from distrib.settlement.audit import CHECKS, audit_brand
from distrib.settlement.batch import get_batch
from distrib.settlement.running import run_batch
from distrib.settlement.tables import SettlementBatch

WORKERS = 2
CHUNK_PAYOUTS = 100  # small, so that both workers have something to do


@dataclass
class Memory:
    """What the demo keeps between runs, in the data directory: its key, and how fast it was."""

    brand_id: int = 0
    key: str = ""
    finished: bool = False
    speed: Speed = field(default_factory=Speed)

    @classmethod
    def read(cls, path: Path) -> Memory:
        """What was kept; a fresh memory if nothing was."""
        try:
            kept = json.loads(path.read_text())
            return cls(**kept | {"speed": Speed(**kept["speed"])})
        except (OSError, ValueError, TypeError, KeyError):
            return cls()

    def write(self, path: Path) -> None:
        """Keep it; it holds a key, so nobody else may read it."""
        path.touch(mode=0o600)
        path.write_text(json.dumps(asdict(self)))


@click.command()
@click.option("--serve/--no-serve", default=True, help="Leave the API running (the default).")
@click.option("--port", default=PORT, show_default=True, help="Of the API; another if it is taken.")
@with_desk
def demo(desk: Desk, serve: bool, port: int) -> None:
    """Make a brand with half a year of history, report on it, and leave the API running.

    Its orders, refunds, moves and settlements go through the same services as any. It is made
    once; run again, it goes on where it was interrupted, or only reports.
    """
    settings = desk.settings
    engine = make_engine(settings.database_url)
    schema.upgrade(engine)
    engine.dispose()
    path = settings.data_dir / "demo.json"
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    memory = Memory.read(path)
    brand = _brand(desk)
    if memory.brand_id != brand.id:
        memory = Memory(brand_id=brand.id)
    if not memory.finished:
        try:
            memory.speed = _make_history(desk, brand)
        except KeyboardInterrupt:
            note("Interrupted. Run it again: it goes on where it stopped.")
            raise
        memory.finished = True
    memory.key = _key(desk, brand, memory.key)
    memory.write(path)
    story = _tell(desk, brand)
    running = leave_running(desk, port, workers=WORKERS) if serve else None
    desk.show(
        story.document | {"key": memory.key, "api": running and running.address},
        *draw_figures(story.figures),
        draw_words(story.words),
        draw_audit(story.audit),
        draw_speed(memory.speed),
    )
    if running is not None and not desk.as_json:
        stop = os.environ.get("DISTRIB_STOP", "distrib stop")
        desk.show(None, draw_service(running.address, memory.key, stop=stop), "")
        best = story.figures.earners[0].external_id
        # not drawn: a line to paste is never cut
        for line in curl_lines(running.address, memory.key, distributor=best, order=story.order):
            click.echo(line)
    if story.audit.findings:
        click.get_current_context().exit(1)


def _brand(desk: Desk) -> Brand:
    with desk.database.transaction() as session:
        brand = session.scalar(select(Brand).where(Brand.slug == shop.SLUG))
        if brand is None:
            today = clock.day_of(clock.now(), shop.TIME_ZONE)
            brand = found_brand(session, start=first_day(today))
        if brand.name != shop.NAME:
            raise BrandExists(f"{brand.name} has the slug {shop.SLUG!r}, which the demo needs")
        return brand


def _key(desk: Desk, brand: Brand, known: str) -> str:
    """A key of the demo's brand: the one of the last run, if it is still good."""
    with desk.database.transaction() as session:
        try:
            if brands.authenticate(session, secret=known).brand_id == brand.id:
                return known
        except Unauthorized:
            pass
        return brands.create_key(session, brand_id=brand.id, name="demo")


# -- history ------------------------------------------------------------------------------------


class _Teller:
    """Tells how far the history has come: a bar in a terminal, else a line a month."""

    def __init__(self, bar: Progress, orders: int) -> None:
        self._bar = bar
        self._task = bar.add_task("", total=orders)
        self._month = 0

    def tell(self, block: Block, pace: Pace) -> None:
        day = clock.day_of(block.end, shop.TIME_ZONE)
        self._bar.update(self._task, description=f"{day}", completed=pace.orders)
        if self._bar.disable and day.month != self._month:
            self.say(f"{day}  {pace.orders:>6,} orders  {pace.seconds:5.1f} s")
        self._month = day.month

    def say(self, text: str) -> None:
        self._bar.console.print(f"  {text}", style="dim")


def _make_history(desk: Desk, brand: Brand) -> Speed:
    began = time.perf_counter()
    blocks = build_world(clock.day_of(brand.created_at, brand.time_zone))
    blocks = blocks_to_come(desk.database, brand, blocks)
    orders = sum(len(block.orders) for block in blocks)
    note(f"{brand.name}: {orders:,} orders of half a year are to come; this takes a minute or two.")
    pace = Pace()
    with keeper.in_background(desk.settings, workers=WORKERS), progress() as bar:
        teller = _Teller(bar, orders)

        def pay(number: int) -> int:
            batch = _pay(desk, brand, number)
            teller.say(f"batch {number}: {batch.payouts:,} payouts, paid by {WORKERS} workers")
            return batch.payouts

        for block, pace in play(desk.database, brand, blocks, pay=pay):
            teller.tell(block, pace)
    return _speed(pace, time.perf_counter() - began)


def _speed(pace: Pace, seconds: float) -> Speed:
    single = [1000 * each for each in pace.single] * 2  # quantiles take two at least
    return Speed(
        seconds=seconds,
        orders=pace.orders,
        order_seconds=pace.seconds,
        single_ms=statistics.median(single) if single else 0.0,
        slow_single_ms=statistics.quantiles(single, n=20)[-1] if single else 0.0,
        payouts=pace.payouts,
        payout_seconds=pace.payout_seconds,
    )


def _pay(desk: Desk, brand: Brand, number: int) -> SettlementBatch:
    """Have the workers pay an approved batch, now."""
    with desk.database.transaction() as session:
        batch = get_batch(session, brand_id=brand.id, number=number)
        if batch.state == "approved":
            run_batch(session, brand_id=brand.id, number=number, chunk_payouts=CHUNK_PAYOUTS)

    def hand_over() -> None:  # as the sweeper would
        with desk.database.transaction() as session:
            due = jobs.due(session)
        jobs.Waker(desk.settings)(due)

    *_, (batch, _) = wait_for_batch(desk, brand, number, when_idle=hand_over)
    return batch


# -- report -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Story:
    """What the report is about."""

    figures: Figures
    words: list[str]
    order: str
    audit: Audit

    @property
    def document(self) -> dict[str, Any]:
        figures = self.figures
        return {
            "brand": figures.brand.slug,
            "currency": figures.brand.currency,
            "orders": figures.trade.orders,
            "refunds": figures.trade.refunds,
            "distributors": figures.tree.distributors,
            "max_depth": figures.tree.max_depth,
            "ledger": {kind.name.lower(): total for kind, total in figures.totals.items()},
            "batches": [
                {"number": b.number, "state": b.state, "payouts": b.payouts, "total": b.total}
                for b in figures.batches
            ],
            "audit": {
                "checks": self.audit.checks,
                "rows": self.audit.rows,
                "findings": len(self.audit.findings),
            },
        }


def _tell(desk: Desk, brand: Brand) -> _Story:
    """Count, explain and audit."""
    note("counting and auditing …")
    with desk.database.transaction() as session:
        fold(session, brand_id=brand.id, wait=True)
    with desk.database.transaction() as session:
        brand = brands.get_brand(session, brand_id=brand.id)
        figures = read_figures(session, brand=brand)
        source_id, line_no, level = find_worth_explaining(session, brand_id=brand.id)
        explanation = explain_commission(
            session, brand=brand, source_id=source_id, line_no=line_no, level=level
        )
    began = time.perf_counter()
    with desk.database.snapshot() as session:
        findings = list(audit_brand(session, brand_id=brand.id))
    return _Story(
        figures=figures,
        words=explanation.words,
        order=ids.public("ord", source_id),
        audit=Audit(len(CHECKS), figures.rows, findings, time.perf_counter() - began),
    )
