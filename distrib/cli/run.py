"""``distrib serve``, ``distrib worker`` and ``distrib migrate``."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable
from typing import Any

import click

from distrib import schema
from distrib.cli import keeper
from distrib.cli.desk import Desk, with_desk
from distrib.cli.output import note
from distrib.db import make_engine

HOST = "127.0.0.1"
PORT = 8000


def load_app(_target: str) -> Callable[..., Any]:
    """The API's app, in the process that serves it, which is to end with the server above it."""
    from distrib.api.wsgi import build

    keeper.die_with_parent(signal.SIGTERM, os.getppid())
    return build()


@click.command()
@click.option("--host", default=HOST, show_default=True, help="Address to listen at.")
@click.option("--port", default=PORT, show_default=True, type=click.IntRange(1, 65535))
@click.option("--workers", "processes", default=2, show_default=True, help="Processes.")
@click.option("--threads", default=4, show_default=True, help="Threads of each process.")
@with_desk
def serve(desk: Desk, *, host: str, port: int, processes: int, threads: int) -> None:
    """Run the API server until Ctrl-C."""
    from granian import Granian
    from granian.constants import Interfaces
    from granian.log import LogLevels

    kept = keeper.follow_keeper()
    os.environ.update(keeper.environment(desk.ready()))
    metrics = tempfile.TemporaryDirectory(prefix="distrib-metrics-")
    # where the processes count together, so that each can answer for all
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = metrics.name
    if not kept:
        note(f"serving http://{host}:{port}")
    server = Granian(
        "distrib.api.wsgi",
        address=host,
        port=port,
        interface=Interfaces.WSGI,
        workers=processes,
        blocking_threads=threads,
        respawn_failed_workers=True,
        workers_kill_timeout=10,
        log_level=LogLevels.error,
    )
    with metrics:
        server.serve(target_loader=load_app)


@click.command()
@click.option(
    "--workers", "count", type=click.IntRange(1), default=2, show_default=True, help="How many."
)
@click.option("--sweeper/--no-sweeper", default=True, show_default=True, help="And the sweeper.")
@with_desk
def worker(desk: Desk, count: int, sweeper: bool) -> None:
    """Run workers and the sweeper until Ctrl-C."""
    keeper.keep(desk.ready(), workers=count, sweeper=sweeper)


@click.command()
@with_desk
def migrate(desk: Desk) -> None:
    """Bring the database to this program's version."""
    engine = make_engine(desk.settings.database_url)
    schema.upgrade(engine)
    engine.dispose()
    desk.done({"migrated": True}, "The database is at the newest version.")
