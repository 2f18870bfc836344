"""The faults, each a class with a name."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import redis
from sqlalchemy.exc import DBAPIError

import distrib.settlement
from distrib.commission.service import publish_plan
from distrib.errors import DistribError
from distrib.settlement.answers import apply_outcomes
from distrib.settlement.methods import propose_method, prove_method_by_staff
from distrib.settlement.providers import BadCallback, CallsBack, ProviderUnavailable
from distrib.settlement.providers.registry import make_provider
from distrib.tree.service import move_distributor, reactivate_distributor, suspend_distributor
from tests import factories
from tests.chaos.nest import Trap
from tests.chaos.proxy import (
    Verdict,
    http_relay,
    is_commit,
    is_statement,
    postgres_relay,
)
from tests.chaos.server import Server
from tests.chaos.sides import FILES, ONLINE, SIDES
from tests.chaos.world import LEASE, PAYEES, ROLE, World
from tests.doubles.server import Message, Mischief, chaos

EVERY = tuple(SIDES)

FAULTS: dict[str, type[Fault]] = {}
"""Every fault by its name."""


class Fault:
    """What goes wrong in a run.

    :cvar weight: its share of the runs.
    :cvar providers: whom it can be tried with.
    """

    name: ClassVar[str]
    weight: ClassVar[int] = 1
    providers: ClassVar[Sequence[str]] = EVERY

    def __init_subclass__(cls) -> None:
        if hasattr(cls, "name"):
            FAULTS[cls.name] = cls

    @classmethod
    def choose_provider(cls, seed: int, dice: random.Random) -> str:  # noqa: ARG003
        """Whom the batch of this seed is paid by."""
        return dice.choice(cls.providers)

    def __init__(self, world: World) -> None:
        self.world = world
        self.dice = world.dice

    def draw_up(self) -> None:
        """Draw the batch up."""
        self.world.draw_up()

    def prepare(self) -> None:
        """Before the batch is run and the workers start."""

    def run(self) -> None:
        """Have the batch paid."""
        self.world.run()

    def strike(self) -> None:
        """While it is paid. When this returns everything is restored."""


# -- processes ------------------------------------------------------------------------------------


def _found_points() -> list[str]:
    folder = Path(distrib.settlement.__file__).parent
    return sorted(
        {
            name
            for file in folder.rglob("*.py")
            for name in re.findall(r"faults\.point\(\"([a-z_.0-9]+)\"\)", file.read_text())
        }
    )


_BY_FILE = {
    "bank_file.joined": ("bank-file",),
    "pain_001.joined": ("pain-001",),
    "complete_batch.file_written": FILES,
    "follow_chunk.asked": ("wechat-pay", "alipay", "paypal"),
}
_WHILE_DRAWING_UP = ("draw_up.", "mature.")
_NOT_OF_A_BATCH = ("adjustment.",)

POINTS = [name for name in _found_points() if not name.startswith(_NOT_OF_A_BATCH)]
"""Every point in the source that a batch passes: a new one is tried by being there."""


class Kill(Fault):
    """SIGKILL at a named point, which the seed says."""

    weight = 6
    victim: ClassVar[str]

    @classmethod
    def _point(cls, seed: int) -> str:
        return POINTS[seed % len(POINTS)]

    @classmethod
    def choose_provider(cls, seed: int, dice: random.Random) -> str:
        return dice.choice(_BY_FILE.get(cls._point(seed), EVERY))

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.point = self._point(world.seed)
        once = self.point.endswith((".joined", ".file_written", ".begun", ".gathered"))
        self.nth = 1 if once else self.dice.randint(1, 3)
        self.trap: Trap | None = None

    def draw_up(self) -> None:
        if self.point.startswith(_WHILE_DRAWING_UP):
            trap = Trap(self.point, 1, "horse", str(self.world.folder / "drawing-up"))
            self.world.draw_up(trap)
        else:
            self.world.draw_up()

    def prepare(self) -> None:
        if not self.point.startswith(_WHILE_DRAWING_UP):
            self.trap = self.world.trap(self.point, self.victim, self.nth)
        if self.point == "follow_chunk.asked":
            self.world.side.wait()

    def strike(self) -> None:
        world, trap = self.world, self.trap
        if trap is not None:
            world.wait_until(lambda: trap.sprung() or world.ended(), "somebody in the trap")
            if trap.sprung():
                world.struck()
        world.side.decide()


class KillHorse(Kill):
    """The process that does the job."""

    name, victim = "kill-horse", "horse"


class KillParent(Kill):
    """The worker; the process that does the job lives on without it."""

    name, victim = "kill-parent", "parent"


class KillBoth(Kill):
    """Both at once."""

    name, victim = "kill-both", "both"


class KillAnywhere(Fault):
    """SIGKILL at no named point: workers and their horses at random, several times."""

    name = "kill-anywhere"
    weight = 2

    def strike(self) -> None:
        for _ in range(self.dice.randint(1, 4)):
            self.world.moment()
            for pid in self.world.pids():
                if self.dice.random() < 0.5:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                        self.world.struck()


class Zombie(Fault):
    """The clock: who does the job stands still for longer than its lease, then goes on."""

    name = "zombie"
    weight = 3
    providers = EVERY

    def __init__(self, world: World) -> None:
        super().__init__(world)
        points = [each for each in POINTS if each.startswith("pay_chunk.")]
        self.point = self.dice.choice(points)

    def prepare(self) -> None:
        self.trap = self.world.trap(self.point, "zombie", self.dice.randint(1, 4))

    def strike(self) -> None:
        world = self.world
        world.wait_until(lambda: self.trap.sprung() or world.ended(), "somebody stands still")
        if self.trap.sprung():
            world.struck()
            until = time.monotonic() + LEASE * self.dice.uniform(1.2, 1.8)
            world.wait_until(lambda: time.monotonic() > until or world.ended(), "the lease ends")
            self.trap.go_on()


class Storm(Fault):
    """Several at once: kills, lost connections, an empty queue, a provider out of its mind."""

    name = "storm"
    weight = 2

    def prepare(self) -> None:
        rates = {each: self.dice.uniform(0, 0.05) for each in Mischief}
        if self.world.side.double is not None:
            self.world.side.double.chaos = chaos(rates, seed=self.world.seed)

    def strike(self) -> None:
        world = self.world
        for _ in range(self.dice.randint(2, 4)):
            world.moment()
            match self.dice.choice(("kill", "terminate", "flush")):
                case "kill":
                    for pid in world.pids()[:1]:
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(pid, signal.SIGKILL)
                case "terminate":
                    _terminate(world, 2)
                case "flush":
                    _flush(world)
            world.struck()
        world.side.slow(0.01)


# -- PostgreSQL -----------------------------------------------------------------------------------


def _terminate(world: World, count: int) -> int:
    return len(
        world.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE usename = :role AND datname = current_database()"
            " ORDER BY random() LIMIT :count",
            role=ROLE,
            count=count,
        )
    )


class BackendTerminated(Fault):
    """Connections of workers end by the database's will, several times."""

    name = "pg-backend-terminated"

    def strike(self) -> None:
        world = self.world
        for _ in range(self.dice.randint(2, 6)):
            world.moment()
            until = time.monotonic() + 0.5
            while time.monotonic() < until and not world.ended():
                if _terminate(world, self.dice.randint(1, 3)):
                    world.struck()
                    break


class PostgresKilled(Fault):
    """SIGKILL of the postmaster and all backends."""

    name = "pg-killed"

    def strike(self) -> None:
        self.world.moment()
        self.world.struck()
        self.world.arena.kill_server("postgres")


class _Relayed(Fault):
    """Workers reach PostgreSQL through a relay."""

    def prepare(self) -> None:
        world = self.world
        folder = Path(world.enter(tempfile.TemporaryDirectory(prefix="relay-")))
        socket = world.arena.postgres_socket
        world.enter(postgres_relay(folder, socket, self.judge))
        url = world.worker_settings.database_url.replace(str(socket.parent), str(folder))
        world.worker_settings = replace(world.worker_settings, database_url=url)
        self.seen = 0
        self.at = self.moments()

    def moments(self) -> set[int]:
        """Which of the pieces that count are struck."""
        raise NotImplementedError

    def counts(self, piece: bytes) -> bool:
        """Whether a piece of the stream counts."""
        raise NotImplementedError

    def verdict(self) -> Verdict:
        """What becomes of a piece that is struck."""
        raise NotImplementedError

    def judge(self, piece: bytes) -> Verdict:
        """See :data:`tests.chaos.proxy.Judge`."""
        if not self.counts(piece):
            return Verdict.PASS
        self.seen += 1
        if self.seen not in self.at:
            return Verdict.PASS
        self.world.struck()
        return self.verdict()

    def strike(self) -> None:
        self.world.wait_until(
            lambda: self.seen > max(self.at) or self.world.ended(), "the connections are cut"
        )


class PostgresCut(_Relayed):
    """The connection to PostgreSQL ends in the middle of a statement."""

    name = "pg-cut"
    weight = 2

    def moments(self) -> set[int]:
        return set(self.dice.sample(range(1, 220), self.dice.randint(2, 8)))

    def counts(self, piece: bytes) -> bool:
        return is_statement(piece)

    def verdict(self) -> Verdict:
        return self.dice.choice(
            (
                Verdict.CUT_BEFORE,
                Verdict.CUT_HALF,
                Verdict.CUT_AFTER,
                Verdict.SWALLOW,
                Verdict.CUT_ANSWER,
            )
        )


class CommitLost(_Relayed):
    """COMMIT is done, and nobody hears of it."""

    name = "commit-lost"
    weight = 2

    def moments(self) -> set[int]:
        return set(self.dice.sample(range(1, 50), self.dice.randint(2, 8)))

    def counts(self, piece: bytes) -> bool:
        return is_commit(piece)

    def verdict(self) -> Verdict:
        return Verdict.SWALLOW


_WRITTEN = {
    "payout": "UPDATE",
    "payout_attempt": "INSERT OR UPDATE",
    "batch_posting": "INSERT",
    "transfer": "INSERT",
    "job": "INSERT OR UPDATE",
    "settlement_batch": "UPDATE",
}


class _Raising(Fault):
    """Statements of workers fail, by a trigger that counts with a sequence: that is not undone."""

    code: ClassVar[str]

    def prepare(self) -> None:
        at = self.dice.sample(range(1, 60), self.dice.randint(2, 6))
        self.last = max(at)
        deferred = self.dice.random() < 0.4
        self.world.do(
            "CREATE SEQUENCE chaos_count",
            f"""
            CREATE FUNCTION chaos_raise() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                IF current_user = '{ROLE}' AND nextval('chaos_count') IN ({", ".join(map(str, at))})
                THEN RAISE EXCEPTION 'chaos' USING ERRCODE = '{self.code}'; END IF;
                RETURN NULL;
            END $$
            """,
            *(
                f"CREATE CONSTRAINT TRIGGER zz_chaos AFTER {events} ON {table}"
                " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION chaos_raise()"
                if deferred
                else f"CREATE TRIGGER zz_chaos AFTER {events} ON {table}"
                " FOR EACH STATEMENT EXECUTE FUNCTION chaos_raise()"
                for table, events in _WRITTEN.items()
            ),
        )

    def strike(self) -> None:
        world = self.world
        world.wait_until(
            lambda: world.value("SELECT last_value FROM chaos_count") > self.last or world.ended(),
            "the statements have failed",
        )
        if world.value("SELECT last_value FROM chaos_count") > 1:
            world.struck()


class SerializationFailures(_Raising):
    """40001, forced."""

    name, code = "serialization-failure", "40001"


class DeadlocksForced(_Raising):
    """40P01, forced."""

    name, code = "deadlock-forced", "40P01"


class DiskFullInPostgres(_Raising):
    """53100, forced."""

    name, code = "pg-disk-full-forced", "53100"


class Deadlocks(Fault):
    """Real ones: others lock the batch's rows in another order than workers do."""

    name = "deadlock-real"
    weight = 2

    def prepare(self) -> None:
        world = self.world
        world.side.slow(0.03)
        tables = (
            "SELECT FROM payout WHERE no = {n} FOR UPDATE",
            "SELECT FROM settlement_batch FOR UPDATE",
            "SELECT FROM job WHERE id = (SELECT id FROM job ORDER BY id OFFSET {m} LIMIT 1)"
            " FOR UPDATE",
            "UPDATE payout_attempt SET asked = asked WHERE no = {n}",
        )

        def attack(dice: random.Random) -> Callable[[], None]:
            def lock() -> None:
                if self.over:
                    time.sleep(0.1)
                    return
                with world.db.engine.begin() as connection:
                    for n in sorted(dice.sample(range(1, PAYEES + 1), 5), reverse=True):
                        statement = dice.choice(tables).format(n=n, m=dice.randrange(4))
                        connection.exec_driver_sql(statement)
                        time.sleep(dice.uniform(0, 0.03))
                time.sleep(0.02)

            return lock

        self.over = False
        self.attackers = [attack(random.Random(self.dice.random())) for _ in range(3)]

    def strike(self) -> None:
        world = self.world
        before = self._deadlocks()
        for each in self.attackers:
            world.thread(each)
        world.wait_until(lambda: world.begun() or world.ended(), "a beginning")
        until = time.monotonic() + self.dice.uniform(1.5, 3)
        world.wait_until(lambda: time.monotonic() > until or world.ended(), "the end of the attack")
        self.over = True
        time.sleep(0.1)
        if self._deadlocks() > before:
            world.struck()

    def _deadlocks(self) -> int:
        return int(
            self.world.value(
                "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
            )
        )


class NoConnections(Fault):
    """Workers get no connection, for a while."""

    name = "no-connections"

    def strike(self) -> None:
        world = self.world
        world.moment()
        try:
            world.arena.admin(f"ALTER ROLE {ROLE} CONNECTION LIMIT {self.dice.randint(1, 2)}")
            world.struck()
            if self.dice.random() < 0.5:
                _terminate(world, 10)
                world.arena.admin(f"ALTER ROLE {ROLE} CONNECTION LIMIT 0")
            time.sleep(self.dice.uniform(0.5, 2))
        finally:
            world.arena.admin(f"ALTER ROLE {ROLE} CONNECTION LIMIT -1")


# -- full disks -----------------------------------------------------------------------------------


def may_mount() -> bool:
    """Whether a small file system can be made here."""
    if os.geteuid() != 0:
        return False
    with tempfile.TemporaryDirectory() as folder:
        mount = ["mount", "-t", "tmpfs", "chaos", folder]
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            return False
        subprocess.run(["umount", folder], check=True)
        return True


@contextlib.contextmanager
def _small_disk(folder: Path, size: str) -> Any:
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "chaos", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def _fill(folder: Path) -> Path:
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 512)
    return filler


class FileTooLarge(Fault):
    """A worker can no longer write the payment file (RLIMIT_FSIZE)."""

    name = "file-too-large"
    providers = FILES

    def prepare(self) -> None:
        point = self.dice.choice(
            ("pay_chunk.claimed", "pay_chunk.attempts_committed", "pay_chunk.provider_called")
        )
        self.trap = self.world.trap(point, "full", self.dice.randint(1, 4))

    def strike(self) -> None:
        self.world.wait_until(lambda: self.trap.sprung() or self.world.ended(), "a full disk")
        if self.trap.sprung():
            self.world.struck()


class DiskFull(Fault):
    """The disk for payment files is full for a while; really so where one can be mounted."""

    name = "disk-full"
    providers = FILES

    def prepare(self) -> None:
        world = self.world
        if may_mount():
            world.enter(_small_disk(world.settings.data_dir, "64k"))
            self.filler: Path | None = None
        else:
            world.trap("pay_chunk.attempts_committed", "full", self.dice.randint(1, 3))

    def strike(self) -> None:
        world = self.world
        if world.traps:
            world.wait_until(lambda: world.traps[0].sprung() or world.ended(), "a full disk")
            world.struck()
            return
        if self.dice.random() < 0.7:
            world.moment()
        filler = _fill(world.settings.data_dir)
        world.struck()
        time.sleep(self.dice.uniform(0.3, 1.5))
        filler.unlink()


class PostgresDiskFull(Fault):
    """The disk below a table is full for a while; forced by a trigger where none can be
    mounted."""

    name = "pg-disk-full"

    def prepare(self) -> None:
        world = self.world
        self.forced: _Raising | None = None
        if not may_mount():
            self.forced = DiskFullInPostgres(world)
            self.forced.prepare()
            return
        socket = world.arena.postgres_socket.parent.stat()
        disk = Path(world.enter(tempfile.TemporaryDirectory(prefix="chaos-disk-")))
        world.enter(_small_disk(disk, "1m"))
        disk.chmod(0o755)
        self.space = f"chaos_{world.name}"
        home = disk / "space"
        home.mkdir()
        os.chown(home, socket.st_uid, socket.st_gid)
        world.arena.admin(f"CREATE TABLESPACE {self.space} LOCATION '{home}'")
        for table in ("payout_attempt", "transfer", "batch_posting"):
            world.do(f"ALTER TABLE {table} SET TABLESPACE {self.space}")
        world.enter(_without(world, self.space))
        self.disk = disk
        if self.dice.random() < 0.5:
            self.filler: Path | None = _fill(disk)
        else:
            self.filler = None

    def strike(self) -> None:
        if self.forced is not None:
            self.forced.strike()
            return
        world = self.world
        if self.filler is None:
            world.moment()
            # pages that are not full take more rows; a new index does not fit
            self.filler = _fill(self.disk)
            world.do("ALTER TABLE payout_attempt SET (fillfactor = 10)")
        else:
            time.sleep(self.dice.uniform(0.5, 1.5))
        world.struck()
        time.sleep(self.dice.uniform(0.2, 0.8))
        self.filler.unlink()


@contextlib.contextmanager
def _without(world: World, space: str) -> Any:
    try:
        yield
    finally:
        world.workers_alive = False
        world.db.engine.dispose()
        world.arena.drop(world.name)
        world.arena.admin(f"DROP TABLESPACE IF EXISTS {space}")


# -- Redis ----------------------------------------------------------------------------------------


def _flush(world: World) -> None:
    with (
        contextlib.suppress(redis.RedisError),
        redis.from_url(world.settings.redis_url) as connection,
    ):
        connection.flushall()


class RedisKilled(Fault):
    """SIGKILL of the queue's server."""

    name = "redis-killed"

    def strike(self) -> None:
        self.world.moment()
        self.world.struck()
        self.world.arena.kill_server("valkey")


class RedisWiped(Fault):
    """The queue is emptied, several times."""

    name = "redis-wiped"

    def strike(self) -> None:
        for _ in range(self.dice.randint(2, 8)):
            self.world.moment()
            time.sleep(self.dice.uniform(0, 0.2))
            _flush(self.world)
            self.world.struck()


# -- the provider ---------------------------------------------------------------------------------


class Misbehaving(Fault):
    """The provider does all that doubles can do wrong, at high rates."""

    name = "mischief"
    weight = 4
    providers = ONLINE

    def prepare(self) -> None:
        world = self.world
        assert world.side.double is not None
        total = self.dice.uniform(0.3, 0.7)
        shares = {each: self.dice.random() for each in Mischief}
        whole = sum(shares.values())
        rates = {each: share / whole * total for each, share in shares.items()}
        if self.dice.random() < 0.5:
            world.side.wait()
        world.side.failing = 0.2
        world.side.double.chaos = chaos(rates, seed=world.seed)

    def strike(self) -> None:
        world = self.world
        world.wait_until(lambda: world.begun() or world.ended(), "a beginning")
        until = time.monotonic() + self.dice.uniform(1, 3)
        world.wait_until(lambda: time.monotonic() > until or world.ended(), "the end of mischief")
        world.struck()
        world.side.slow(0.01)
        world.side.decide()


class ProviderCut(Fault):
    """The connection to the provider ends in the middle of a request."""

    name = "provider-cut"
    weight = 2
    providers = ONLINE

    def prepare(self) -> None:
        world = self.world
        relay, address = http_relay(world.side.port, self.judge)
        world.enter(relay)
        world.point_provider_at(address)
        self.over = False
        self.rate = self.dice.uniform(0.1, 0.6)

    def judge(self, _: bytes) -> Verdict:
        """See :data:`tests.chaos.proxy.Judge`."""
        if self.over or self.dice.random() > self.rate:
            return Verdict.PASS
        self.world.struck()
        return self.dice.choice([each for each in Verdict if each is not Verdict.PASS])

    def strike(self) -> None:
        world = self.world
        world.wait_until(lambda: world.begun() or world.ended(), "a beginning")
        until = time.monotonic() + self.dice.uniform(1, 3)
        world.wait_until(lambda: time.monotonic() > until or world.ended(), "the end of the cuts")
        self.over = True


class Callbacks(Fault):
    """Messages come many times, in any order, from several threads at once, with forged ones."""

    name = "callbacks"
    weight = 3
    providers = ONLINE

    def prepare(self) -> None:
        self.world.side.wait()
        self.world.side.failing = 0.3

    def strike(self) -> None:
        world = self.world
        adapter = make_provider(world.settings, "acme", world.side.name)
        assert isinstance(adapter, CallsBack)
        double = world.side.double
        assert double is not None

        def deliver(seed: float) -> Callable[[], None]:
            dice = random.Random(seed)

            def once() -> None:
                world.side.decide()
                with double.lock:
                    messages = double.messages(times=2, shuffled=dice, forged=True)
                for message in messages:
                    world.struck()
                    self.take(adapter, message)
                world.side.wait()

            return once

        for _ in range(3):
            world.thread(deliver(self.dice.random()), 0.05)
        world.wait_until(lambda: world.begun() == PAYEES or world.ended(), "all is handed over")
        world.wait_for_the_end()

    def take(self, adapter: CallsBack, message: Message) -> None:
        """What the API does with a message."""
        headers = {name.lower(): value for name, value in message.headers.items()}
        try:
            callback = adapter.read_callback(headers, message.body)
        except (BadCallback, ProviderUnavailable):
            return
        apply_outcomes(
            self.world.db,
            brand_id=self.world.brand.id,
            provider=self.world.side.name,
            outcomes=callback.outcomes,
            source="callback",
        )


# -- the API --------------------------------------------------------------------------------------


class ApiRunKilled(Fault):
    """The API server is killed while it is told to run the batch; it is told again."""

    name = "api-run-killed"
    weight = 2

    def prepare(self) -> None:
        # so that it can be killed within the transaction
        self.world.do(
            f"""
            CREATE FUNCTION chaos_slow() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                IF current_user <> '{ROLE}' THEN PERFORM pg_sleep(0.1); END IF;
                RETURN NULL;
            END $$
            """,
            "CREATE TRIGGER zz_chaos AFTER INSERT ON job"
            " FOR EACH STATEMENT EXECUTE FUNCTION chaos_slow()",
        )
        self.server = Server(self.world)
        self.world.enter(contextlib.closing(_Stopping(self.server)))
        self.server.start()

    def run(self) -> None:
        world, server = self.world, self.server
        path, key = f"/settlement/batches/{world.number}/run", f"run-{world.seed}"
        answers: list[int | None] = []
        asking = threading.Thread(target=lambda: answers.append(server.post(path, key=key)))
        asking.start()
        time.sleep(self.dice.uniform(0, 0.3))
        server.kill(all_of_it=self.dice.random() < 0.5)
        world.struck()
        asking.join(30)
        server.revive()
        world.wait_until(lambda: server.post(path, key=key) == 202, "the batch is run")
        if answers not in ([None], [202]):
            raise AssertionError(f"the first request was answered {answers}")


class _Stopping:
    def __init__(self, server: Server) -> None:
        self._server = server

    def close(self) -> None:
        """Stop it."""
        self._server.stop()


class ApiCallbacksKilled(Fault):
    """The API server is killed while it takes callbacks, once or twice."""

    name = "api-callbacks-killed"
    weight = 2
    providers = ONLINE

    def prepare(self) -> None:
        world = self.world
        world.manner = replace(world.manner, ask_seconds=3)
        world.side.wait()
        world.side.failing = 0.2
        self.server = Server(world)
        world.enter(contextlib.closing(_Stopping(self.server)))
        self.server.start()

    def strike(self) -> None:
        world, server = self.world, self.server
        double = world.side.double
        assert double is not None
        path = f"/callbacks/acme/{world.side.name}"
        statuses: Counter[int | None] = Counter()

        def deliver(dice: random.Random) -> None:
            world.side.decide()
            world.side.wait()
            with double.lock:
                messages = double.messages(times=2, shuffled=dice, forged=True)
            for message in messages:
                if world.ended():
                    break
                statuses[server.tell(path, message.headers, message.body)] += 1

        for _ in range(2):
            dice = random.Random(self.dice.random())
            world.thread(lambda dice=dice: deliver(dice), 0.05)  # type: ignore[misc]
        for _ in range(self.dice.randint(1, 2)):
            world.moment()
            server.kill(all_of_it=self.dice.random() < 0.5)
            world.struck()
            server.revive()
        world.wait_for_the_end()
        server.revive()
        with double.lock:
            again = double.messages()  # a provider repeats what was not taken
        late = Counter(server.tell(path, each.headers, each.body) for each in again)
        world.note(f"callbacks were answered {dict(statuses)}, at last {dict(late)}")
        if not late or late.keys() - {200, 204} or 500 in statuses:
            raise AssertionError(f"callbacks were answered {dict(statuses)}, {dict(late)}")


# -- what people do meanwhile ---------------------------------------------------------------------


class _Meanwhile(Fault):
    """Facts change while the batch is paid."""

    def prepare(self) -> None:
        self.world.side.slow(0.02)

    def strike(self) -> None:
        world = self.world
        for _ in range(self.dice.randint(6, 16)):
            if world.ended():
                break
            world.struck()
            with contextlib.suppress(DistribError, DBAPIError):
                self.act()
            time.sleep(self.dice.uniform(0, 0.12))

    def act(self) -> None:
        """Change one."""
        raise NotImplementedError


class Refunds(_Meanwhile):
    """Orders that are being paid out are refunded."""

    name = "refunds"

    def act(self) -> None:
        number = self.dice.randrange(PAYEES * 2)
        self.world.refund(self.world.brand, [f"o{number}"], tag=f"late{self.dice.random()}")


class TreeMoves(_Meanwhile):
    """Distributors move below others."""

    name = "tree-moves"

    def act(self) -> None:
        child, sponsor = self.dice.sample(range(PAYEES), 2)
        self.world.db.run(
            lambda session: move_distributor(
                session,
                brand_id=self.world.brand.id,
                distributor=f"d{child}",
                sponsor=f"d{sponsor}",
            )
        )


class Plans(_Meanwhile):
    """New plans come into force, and old orders' refunds are priced as they were."""

    name = "plans"

    def act(self) -> None:
        rates = [f"{self.dice.randint(3, 9)}%", f"{self.dice.randint(1, 3)}%", "1%"]
        self.world.db.run(
            lambda session: publish_plan(
                session,
                brand=self.world.brand,
                document=factories.document(*rates),
                effective_from=None,
                published_by="maker",
            )
        )
        Refunds.act(self)  # type: ignore[arg-type]


class Suspensions(_Meanwhile):
    """Payees are suspended, and some are active again."""

    name = "suspensions"

    def act(self) -> None:
        verb = self.dice.choice((suspend_distributor, suspend_distributor, reactivate_distributor))
        name = f"d{self.dice.randrange(PAYEES)}"
        self.world.db.run(
            lambda session: verb(
                session, brand_id=self.world.brand.id, distributor=name, changed_by="checker"
            )
        )


class MethodChanges(_Meanwhile):
    """Payees change where their money goes."""

    name = "method-changes"
    providers = ("wechat-pay", "alipay", "paypal", "stripe", "pain-001")

    def act(self) -> None:
        world = self.world
        number = self.dice.randrange(PAYEES)
        owner = world.value(
            "SELECT id FROM distributor WHERE external_id = :name", name=f"d{number}"
        )
        assert world.side.method is not None
        details = world.side.account(f"d{1000 + number}")
        scope: dict[str, Any] = {"brand_id": world.brand.id, "distributor_id": owner}
        with world.db.transaction() as session:
            made = propose_method(
                session,
                **scope,
                kind=world.side.method,
                details=details,
                proposed_by="payee",
            )
            prove_method_by_staff(
                session, **scope, method_id=made.id, evidence="form 7", proved_by="checker"
            )
