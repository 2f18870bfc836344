"""What a run happens in: servers of its runner, a brand of its own, workers, a sweeper."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import redis
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, OperationalError

from distrib import clock, ids, jobs, schema
from distrib.brands.tables import Brand
from distrib.commission.intake import take_orders
from distrib.commission.refunds import take_refunds
from distrib.commission.service import publish_plan
from distrib.config import Settings
from distrib.db import Database, make_engine
from distrib.embedded import attach, stop
from distrib.embedded.layout import Layout, read_json
from distrib.orders.document import LineIn, OrderIn, RefundIn, RefundLineIn
from distrib.settlement.batch import approve_batch, submit_batch
from distrib.settlement.book_tables import PayoutMethod
from distrib.settlement.running import run_batch
from distrib.settlement.tables import SettlementBatch
from distrib.settlement.withholding import set_tax_profile, set_tax_regime
from distrib.tree.service import enrol_distributor
from tests import factories
from tests.chaos.nest import Manner, Nest, Trap
from tests.chaos.sides import SIDES, Side
from worker import Sweeper

PAYEES = 24
CHUNK = 8
LEASE = 2
PATIENCE = 60.0
"""Seconds for a batch to end after the fault; then it counts as lost."""

ROLE = "chaos_worker"
"""Whom workers connect as: no superuser, so that limits hold for it."""

_TEMPLATE = "chaos_template"


def plain(url: str) -> str:
    """An address as psycopg wants it."""
    return url.replace("postgresql+psycopg://", "postgresql://")


class Arena:
    """The servers and the nest of one runner; runs come one after the other."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self.folder = Path(self._stack.enter_context(_folder()))
        # the machine does not fail, so what a killed server has written is there
        os.environ["DISTRIB_EMBEDDED_PG_OPTIONS"] = (
            "-c fsync=off -c full_page_writes=off -c max_connections=60 -c deadlock_timeout=50ms"
            " -c shared_buffers=64MB -c restart_after_crash=on"
        )
        data = self.folder / "data"
        self._stack.callback(stop, data)
        self.servers = self._stack.enter_context(attach(data))
        del os.environ["DISTRIB_EMBEDDED_PG_OPTIONS"]
        self.layout = Layout(data)
        self._admin = plain(self.servers.database_url)
        self.nest = Nest()
        self._stack.callback(self.nest.close)
        self.numbers = iter(range(1, 1_000_000))
        with psycopg.connect(self._admin, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {_TEMPLATE}")
            connection.execute(f"CREATE ROLE {ROLE} LOGIN IN ROLE distrib")
        engine = make_engine(self._url(_TEMPLATE))
        schema.upgrade(engine)
        engine.dispose()

    def close(self) -> None:
        """Stop everything."""
        self._stack.close()

    def _url(self, name: str) -> str:
        head, _, query = self.servers.database_url.partition("?")
        return f"{head.rpartition('/')[0]}/{name}?{query}"

    def create(self) -> tuple[str, str]:
        """A new database and the address of it."""
        name = f"chaos_{next(self.numbers)}"
        self.admin(f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE}")
        return name, self._url(name)

    def drop(self, name: str) -> None:
        """Remove a database."""
        self.admin(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def admin(self, statement: str) -> list[Any]:
        """One statement as the superuser; waits for a server that is away."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                with psycopg.connect(self._admin, autocommit=True) as connection:
                    found = connection.execute(statement.encode())
                    return found.fetchall() if found.description else []
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def server_pid(self, name: str) -> int | None:
        """The main process of ``postgres`` or ``valkey``, while both servers answer."""
        found = read_json(self.layout.ready)
        return None if found is None else int(found[name]["pid"])

    def kill_server(self, name: str) -> bool:
        """SIGKILL a server and its children, and wait until it is back."""
        pid = self.server_pid(name)
        if pid is None:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)  # so that it has no more children than we see
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            for each in (pid, *map(int, children)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(each, signal.SIGKILL)
        self.wait_for_servers(but=(name, pid))
        return True

    def wait_for_servers(self, but: tuple[str, int] | None = None) -> None:
        """Wait until both answer, as other processes than ``but`` says."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if all(
                (pid := self.server_pid(name)) is not None and (name, pid) != but
                for name in ("postgres", "valkey")
            ):
                return
            time.sleep(0.02)
        raise TimeoutError("the servers do not come back")

    @property
    def postgres_socket(self) -> Path:
        """Where PostgreSQL listens."""
        query = self.servers.database_url.partition("?")[2]
        values = dict(pair.split("=") for pair in query.split("&"))
        return Path(values["host"]) / f".s.PGSQL.{values['port']}"


@contextlib.contextmanager
def _folder() -> Iterator[str]:
    found = tempfile.mkdtemp(prefix="chaos-")
    Path(found).chmod(0o755)
    try:
        yield found
    finally:
        shutil.rmtree(found, ignore_errors=True)


class World:
    """One run: its brand, its batch, its workers."""

    def __init__(self, arena: Arena, seed: int, fault: str, provider: str) -> None:
        self.arena, self.seed = arena, seed
        self.dice = random.Random(f"{seed}/{fault}")
        self._stack = contextlib.ExitStack()
        self.folder = Path(tempfile.mkdtemp(prefix="run-", dir=arena.folder))
        self.log = self.folder / "workers.log"
        self.log.touch()
        self.name, self.url = arena.create()
        self.side: Side = SIDES[provider](self.folder, random.Random(f"{seed}/side"))
        self.manner = Manner(group=self.dice.choice((2, 3, 4)))
        self.settings = Settings(
            database_url=self.url,
            redis_url=arena.servers.redis_url,
            data_dir=self.folder / "data",
            queue=self.name,
            lease_seconds=LEASE,
            chunk_payouts=CHUNK,
            providers_file=self.folder / "providers.toml",
            retry_seconds=0.05,
        )
        self.settings.data_dir.mkdir()
        self.worker_settings = replace(
            self.settings, database_url=self.url.replace("//distrib@", f"//{ROLE}@")
        )
        self.db = Database(make_engine(self.url, pool_size=12))
        self.taxed = self.dice.random() < 0.5
        self.brand = self._populate()
        self.number = 0
        self.due: dict[tuple[int, int], int] = {}
        self.workers_alive = True
        self.traps: list[Trap] = []
        self.struck_at: float | None = None
        self.ended_at: float | None = None
        self._pids: set[int] = set()
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self.side.start()
        if self.side.double is not None:
            self.point_provider_at(self.side.double.base_url)
        else:
            self.point_provider_at("")
        self.side.slow(0.01)

    # -- the brand --------------------------------------------------------------------------------

    def _populate(self) -> Brand:
        db, dice, currency = self.db, self.dice, self.side.currency
        brand = factories.brand(db, slug="acme", currency=currency, minimum_payout=50)
        now = clock.now()
        joined = now - timedelta(days=200)
        payees = [f"d{n}" for n in range(PAYEES)]
        bad = set(dice.sample(payees, 3)) if dice.random() < 0.4 else set()
        with db.transaction() as session:
            publish_plan(
                session,
                brand=brand,
                document=factories.document(),
                effective_from=joined,
                published_by="maker",
            )
            for n, name in enumerate(payees):
                sponsor = None if n == 0 else f"d{dice.randrange(max(0, n - 4), n)}"
                person = enrol_distributor(
                    session,
                    brand_id=brand.id,
                    external_id=name,
                    name=f"Payee {name}",
                    sponsor=sponsor,
                    code=f"code-{name}",
                    joined_at=joined + timedelta(hours=n),
                )
                if self.side.method is not None:
                    session.add(self.method(brand, person.id, name, bad=name in bad))
            if self.taxed:
                regime = "cn_labour" if currency == "CNY" else "us_1099"
                for year in (now.year,):
                    set_tax_regime(session, brand=brand, year=year, regime=regime, set_by="maker")
                for name in payees[::2]:
                    set_tax_profile(
                        session,
                        brand_id=brand.id,
                        distributor=name,
                        name=name,
                        tax_id="110101199003074514",
                        set_by="maker",
                    )
        orders = [
            OrderIn(
                "shop",
                f"o{n}",
                now - timedelta(days=dice.uniform(17, 40)),
                currency,
                tuple(
                    LineIn(f"sku-{line}", dice.randint(1, 3), dice.randint(1_000, 300_000))
                    for line in range(1, dice.randint(2, 4))
                ),
                distributor=payees[n % PAYEES],
            )
            for n in range(PAYEES * 2)
        ]
        orders.sort(key=lambda order: order.placed_at)
        db.run(lambda session: take_orders(session, brand=brand, orders=orders))
        self.refund(brand, dice.sample([order.external_id for order in orders], 8))
        return brand

    def method(self, brand: Brand, owner: int, payee: str, *, bad: bool = False) -> PayoutMethod:
        """A payout method that may be used."""
        since = clock.now() - timedelta(days=100)
        assert self.side.method is not None
        return PayoutMethod(
            brand_id=brand.id,
            id=ids.new(),
            distributor_id=owner,
            kind=self.side.method,
            name=f"Payee {payee}",
            details={} if bad else self.side.account(payee),
            created_at=since,
            created_by=payee,
            proved_at=since,
            proved_by=payee,
            usable_from=since,
        )

    def refund(self, brand: Brand, orders: list[str], tag: str = "r") -> None:
        """Give back a unit of the first line of each order."""
        for order in orders:
            given = RefundIn("shop", order, f"{tag}-{order}", clock.now(), (RefundLineIn(1, 1),))
            self.db.run(
                lambda session, given=given: take_refunds(session, brand=brand, refunds=[given])  # type: ignore[misc]
            )

    # -- the batch --------------------------------------------------------------------------------

    def draw_up(self, trap: Trap | None = None) -> None:
        """Draw up the batch in a process of its own, which may be killed at it; then again."""
        for each in (trap, None):
            pid = self.arena.nest.fork(
                "draw",
                self.settings,
                self.manner,
                self.log,
                trap=each,
                provider=self.side.name,
            )
            self.wait_until(lambda pid=pid: not _alive(pid), "the batch is drawn up")  # type: ignore[misc]
            if each is not None and each.sprung():
                self.struck()
            if self.value("SELECT count(*) FROM settlement_batch"):
                break
        self.number = int(self.value("SELECT max(number) FROM settlement_batch"))

    def approve(self) -> None:
        """Submit and approve it, as two people."""
        scope: dict[str, Any] = {"brand_id": self.brand.id, "number": self.number}
        with self.db.transaction() as session:
            submit_batch(session, submitted_by="maker", **scope)
            approve_batch(session, approved_by="checker", content_hash=None, **scope)

    def run(self) -> None:
        """Begin to pay."""
        scope: dict[str, Any] = {"brand_id": self.brand.id, "number": self.number}
        with Database(self.db.engine, jobs.Waker(self.settings)).transaction() as session:
            run_batch(session, chunk_payouts=CHUNK, run_by="checker", **scope)

    def remember_what_is_due(self) -> None:
        """Note each item that is open or in a payout: distributor and posting → amount."""
        self.due = self.items()

    def items(self) -> dict[tuple[int, int], int]:
        """Every item that is open, or in a payout that was not called off."""
        found: dict[tuple[int, int], int] = {}
        for owner, posting, amount in self.rows(
            "SELECT distributor_id, posting_id, amount FROM open_item UNION ALL"
            " SELECT p.distributor_id, i.* FROM payout p, unnest(p.postings, p.amounts) i"
            " WHERE p.state NOT IN ('cancelled', 'removed', 'voided')"
        ):
            # the same item in two places counts twice, so that it is seen
            found[owner, posting] = found.get((owner, posting), 0) + amount
        return found

    # -- the machinery ----------------------------------------------------------------------------

    def point_provider_at(self, base_url: str) -> None:
        """Write the file of providers."""
        assert self.settings.providers_file is not None
        values = {"adapter": self.side.name, "read_seconds": self.manner.read_seconds}
        values |= self.side.section(base_url)
        lines = [f"[acme.{self.side.name}]"]
        lines += [f"{name} = {json.dumps(value)}" for name, value in values.items()]
        self.settings.providers_file.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def enter(self, context: contextlib.AbstractContextManager[Any]) -> Any:
        """Enter a context that ends with the run."""
        return self._stack.enter_context(context)

    def thread(self, work: Callable[[], object], pause: float = 0.0) -> None:
        """Do ``work`` again and again until the run ends; what the database refuses is tried
        again."""

        def loop() -> None:
            while not self._stop.is_set():
                with contextlib.suppress(DBAPIError, psycopg.Error, redis.RedisError, OSError):
                    work()
                self._stop.wait(pause)

        thread = threading.Thread(target=loop, daemon=True)
        self._threads.append(thread)
        thread.start()

    def start_workers(self, count: int = 2) -> None:
        """Keep so many workers and a sweeper running."""
        waker = jobs.Waker(self.settings)
        self._stack.callback(waker.connection.close)
        sweeper = Sweeper(Database(self.db.engine), waker)
        self.thread(sweeper.sweep, 0.2)

        def keep() -> None:
            gone = {pid for pid in self._pids if not _alive(pid)}
            self._pids -= gone
            while self.workers_alive and len(self._pids) < count:
                trap = next((each for each in self.traps if not each.sprung()), None)
                self._pids.add(
                    self.arena.nest.fork(
                        "work", self.worker_settings, self.manner, self.log, trap=trap
                    )
                )

        self.thread(keep, 0.05)

    def trap(self, point: str, victim: str, nth: int = 1) -> Trap:
        """A trap for the workers; set it before they start."""
        made = Trap(point, nth, victim, str(self.folder / f"trap-{len(self.traps)}"))
        self.traps.append(made)
        return made

    def pids(self) -> list[int]:
        """The workers, and their work-horses."""
        found = []
        for pid in sorted(self._pids):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
                found += [pid, *map(int, children)]
        return found

    def close(self) -> None:
        """End what the run has started."""
        self.workers_alive = False
        self._stop.set()
        for thread in self._threads:
            thread.join(10)
        for trap in self.traps:
            trap.clean_up()
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._stack.close()
        self.side.stop()
        self.db.engine.dispose()
        self.arena.wait_for_servers()
        with (
            contextlib.suppress(redis.RedisError),
            redis.from_url(self.settings.redis_url) as connection,
        ):
            connection.flushdb()
        self.arena.drop(self.name)
        shutil.rmtree(self.folder, ignore_errors=True)

    def note(self, line: str) -> None:
        """Write a line to the run's log, which is shown when something is wrong."""
        with self.log.open("a", encoding="utf-8") as log:
            log.write(line + "\n")

    # -- looking ----------------------------------------------------------------------------------

    def rows(self, query: str, **parameters: Any) -> list[Any]:
        """What a query selects; waits for a database that is away."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                with self.db.engine.connect() as connection:
                    return list(connection.execute(text(query), parameters))
            except OperationalError:
                if time.monotonic() > deadline:
                    raise
                self.db.engine.dispose()
                time.sleep(0.05)

    def value(self, query: str, **parameters: Any) -> Any:
        """The one value that a query selects."""
        ((found,),) = self.rows(query, **parameters)
        return found

    def do(self, *statements: str) -> None:
        """Statements as the superuser, committed."""
        with self.db.engine.begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)

    def wait_until(
        self, condition: Callable[[], object], what: str, patience: float = PATIENCE
    ) -> None:
        """Wait until ``condition`` holds.

        :raises TimeoutError: naming ``what`` did not come about.
        """
        deadline = time.monotonic() + patience
        while not condition():
            if time.monotonic() > deadline:
                error = TimeoutError(f"in {patience} s not seen: {what}")
                self._explain(error)
                raise error
            time.sleep(0.01)

    def _explain(self, error: Exception) -> None:
        for query in (
            "SELECT job::text FROM job WHERE state <> 'done'",
            "SELECT settlement_batch::text FROM settlement_batch",
            "SELECT payout_attempt::text FROM payout_attempt WHERE state IN ('sent', 'pending')",
            "SELECT provider_gate::text FROM provider_gate",
        ):
            for row in self.rows(query):
                error.add_note(str(row[0]))

    def batch(self) -> SettlementBatch:
        """The batch as it is."""
        with self.db.transaction() as session:
            return session.query(SettlementBatch).filter_by(number=self.number).one()

    def begun(self) -> int:
        """How many payouts have been handed over."""
        return int(self.value("SELECT count(*) FROM payout WHERE state <> 'reserved'"))

    def ended(self) -> bool:
        """Whether the batch has ended and nothing is left to do; or a job has failed for good,
        so that it never will."""
        return bool(
            self.value(
                "SELECT (SELECT state IN ('settled', 'partly_failed') FROM settlement_batch"
                "        WHERE number = :number)"
                " AND NOT EXISTS (SELECT FROM job WHERE state = 'ready')"
                " OR EXISTS (SELECT FROM job WHERE state = 'failed')",
                number=self.number,
            )
        )

    def moment(self) -> None:
        """Wait for a moment drawn by the seed: so many payouts or requests into the batch."""
        if self.side.double is not None and self.dice.random() < 0.5:
            wanted = self.dice.randint(1, PAYEES)
            self.wait_until(lambda: self.side.requests() >= wanted or self.ended(), "the moment")
        else:
            wanted = self.dice.randint(1, PAYEES - 4)
            self.wait_until(lambda: self.begun() >= wanted or self.ended(), "the moment")
        time.sleep(self.dice.uniform(0, 0.05))

    def struck(self) -> None:
        """The fault happens now: recovery is timed from its last blow."""
        self.struck_at = time.monotonic()

    def wait_for_the_end(self) -> None:
        """Wait for the end of the batch."""
        self.wait_until(self.ended, "the end of the batch")
        self.ended_at = time.monotonic()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
