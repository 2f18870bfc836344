"""PostgreSQL: its cluster, its settings, and whether it answers."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import signal
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import psycopg

from distrib.embedded.child import Program, noted_pid, spawn
from distrib.embedded.home import Home, private_dir
from distrib.embedded.layout import Layout, alive

NAME = "distrib"  # of the superuser and of the database
PORT = 5432


def program(home: Home, layout: Layout) -> Program:
    """How to run this home's PostgreSQL."""
    data = home.path / "pg"
    cluster = f"distrib-{hashlib.sha256(os.fsencode(home.path)).hexdigest()[:12]}"
    settings = {
        "cluster_name": cluster,
        "listen_addresses": "",
        "unix_socket_directories": home.sockets,
        "unix_socket_permissions": "0700",
        "port": PORT,
        "max_connections": 200,
        "shared_buffers": f"{_shared_buffers()}MB",
        "work_mem": "32MB",
        "max_wal_size": "4GB",
        "checkpoint_timeout": "15min",
        "wal_compression": "on",
        "fsync": "on",
        "synchronous_commit": "on",
        "jit": "off",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_checkpoints": "off",
        "log_line_prefix": "%m [%p] ",
    }
    command = [str(home.postgres_bin / "postgres"), "-D", str(data)]
    for name, value in settings.items():
        command += ["-c", f"{name}={value}"]
    command += _options()
    return Program(
        name="postgres",
        executable="postgres",
        marker=cluster,
        command=command,
        pid_file=data / "postmaster.pid",
        socket=home.sockets / f".s.PGSQL.{PORT}",
        kind=signal.SIGINT,  # fast shutdown; 18.6 hangs on it while it recovers from a crash
        sure=signal.SIGQUIT,  # immediate shutdown
        prepare=lambda lock: _prepare(home, layout, lock),
        ping=lambda: _ping(home.sockets),
    )


def _options() -> list[str]:
    """What the environment adds; the later of two settings counts."""
    return shlex.split(os.environ.get("DISTRIB_EMBEDDED_PG_OPTIONS", ""))


def url(home: Home) -> str:
    """The address for SQLAlchemy. It names the port, lest PGPORT of the environment does."""
    return f"postgresql+psycopg://{NAME}@/{NAME}?host={home.sockets}&port={PORT}"


def has_cluster(home: Home) -> bool:
    """Whether the database files are there."""
    return (home.path / "pg" / "PG_VERSION").exists()


def _prepare(home: Home, layout: Layout, lock: int) -> int:
    """Make the cluster, or remove what a killed server left in it; called while none is alive."""
    data = home.path / "pg"
    if not has_cluster(home):
        return _make_cluster(data, home, layout, lock)
    # PostgreSQL takes the pids in its own lock files for its forerunner, even if by now they are
    # somebody else's, as is common in containers. Of a server that was started by hand it is right.
    if not _is_server(noted_pid(data / "postmaster.pid"), data):
        for path in (data / "postmaster.pid", *home.sockets.glob(".s.PGSQL.*")):
            path.unlink(missing_ok=True)
    return 0


def _is_server(pid: int | None, data: Path) -> bool:
    """Whether this process may be a server of that cluster."""
    if pid is None or not alive(pid):
        return False
    process = Path(f"/proc/{pid}")
    try:
        about = (process / "stat").read_text()
        # A zombie is none, though PostgreSQL would wait for its parent to take note of its death.
        if not about.startswith(f"{pid} (postgres) ") or about.startswith(f"{pid} (postgres) Z"):
            return False
        return (process / "cwd").samefile(data)
    except FileNotFoundError:
        return not sys.platform.startswith("linux")
    except PermissionError:
        return True  # it may well be


def _make_cluster(data: Path, home: Home, layout: Layout, lock: int) -> int:
    """Run initdb: it works in a draft, so a cluster is there as a whole or not at all."""
    for old in home.path.glob("pg-draft-*"):
        shutil.rmtree(old, ignore_errors=True)
    draft = private_dir(Path(tempfile.mkdtemp(prefix="pg-draft-", dir=home.path)), home.account)
    command = [str(home.postgres_bin / "initdb"), "-D", str(draft), "-U", NAME, "-E", "UTF8"]
    command += ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    command += ["--auth-local=trust", "--auth-host=reject", "--no-instructions"]
    if "fsync=off" in _options():
        command.append("--no-sync")
    with layout.log("postgres").open("ab") as log:
        code = spawn(command, home, lock, log, death=signal.SIGKILL).wait()
    if code == 0:
        draft.rename(data)
        parent = os.open(home.path, os.O_RDONLY)
        os.fsync(parent)  # initdb itself made the rest durable
        os.close(parent)
    return code


def _ping(sockets: Path) -> str | None:
    """The version if it answers, with our database there."""
    where = f"host={sockets} port={PORT} user={NAME} dbname=postgres connect_timeout=5"
    try:
        with psycopg.connect(where, autocommit=True) as connection:
            found = connection.execute("SELECT FROM pg_database WHERE datname = %s", [NAME])
            if found.fetchone() is None:
                with suppress(psycopg.errors.DuplicateDatabase):
                    connection.execute(f"CREATE DATABASE {NAME}")
            return connection.info.parameter_status("server_version")
    except psycopg.Error:
        return None


def _shared_buffers() -> int:
    """A quarter of the memory, in MB, within limits."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):  # no limit is the word "max"
        memory = min(memory, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return max(64, min(memory // 4 // 2**20, 1024))
