"""``distrib up``, ``distrib stop`` and ``distrib status``."""

from __future__ import annotations

import logging
import sys
from functools import partial

import click
from rich.text import Text

from distrib import embedded
from distrib.cli import house, keeper
from distrib.cli.desk import Desk, is_embedded, with_desk
from distrib.cli.output import facts, note
from distrib.cli.run import HOST, PORT


@click.command()
@click.option("--host", default=HOST, show_default=True, help="Address of the API.")
@click.option("--port", default=PORT, show_default=True, help="0 takes any that is free.")
@click.option(
    "--workers", "count", type=click.IntRange(1), default=2, show_default=True, help="How many."
)
@click.option("--detach", is_flag=True, help="In the background, until distrib stop.")
@with_desk
def up(desk: Desk, *, host: str, port: int, count: int, detach: bool) -> None:
    """Run everything until Ctrl-C: the servers, workers, the sweeper and the API."""
    logging.basicConfig(format="%(asctime)s %(name)s[%(process)d] %(message)s")
    logging.getLogger("distrib").setLevel(logging.INFO)
    house.refuse_second(embedded.default_data_dir())
    settings = desk.ready()
    port = house.free_port(host, port, strict=True)
    if detach:
        started = house.start(settings.data_dir, host=host, port=port, workers=count)
        desk.done(
            {"address": started.address, "pid": started.pid},
            f"distrib is up at {started.address} (pid {started.pid}); distrib stop ends it.",
        )
        return
    serve = [
        sys.executable,
        "-P",
        "-m",
        "distrib.cli",
        "serve",
        "--host",
        host,
        "--port",
        str(port),
    ]
    with house.hold(settings.data_dir, host=host, port=port) as (here, removed):
        note("starting workers and the API …")
        keeper.Keeper(keeper.commands(count) | {"API": serve}, keeper.environment(settings)).run(
            until=partial(_look, desk, here, removed, [])
        )


def _look(desk: Desk, here: house.House, removed: house.Check, announced: list[bool]) -> bool:
    """Say once that the API answers; true when there is nothing left to run for."""
    if not announced and here.answers():
        announced.append(True)
        desk.done(
            {"address": here.address, "pid": here.pid},
            f"distrib is up at {here.address}; Ctrl-C ends it.",
        )
        sys.stdout.flush()
    return removed()


@click.command()
@with_desk
def stop(desk: Desk) -> None:
    """Stop what runs on this data directory, and its servers."""
    data_dir = embedded.default_data_dir()
    stopped = house.stop(data_dir)
    servers = embedded.stop(data_dir)
    what = " and ".join(
        name for name, was in (("distrib up", stopped), ("the servers", servers)) if was
    )
    desk.done(
        {"up": stopped, "servers": servers},
        f"Stopped {what}." if what else f"Nothing runs in {data_dir}.",
    )


@click.command()
@with_desk
def status(desk: Desk) -> None:
    """Say what runs on this data directory, and where. Nothing is started."""
    data_dir = embedded.default_data_dir()
    servers = embedded.running(data_dir)
    running = house.find(data_dir)
    answers = running is not None and running.answers()
    desk.show(
        {
            "data_dir": data_dir,
            "embedded": is_embedded(),
            "servers": servers is not None,
            "database_url": servers.database_url if servers else None,
            "redis_url": servers.redis_url if servers else None,
            "api": running.address if running else None,
            "ready": answers,
            "pid": running.pid if running else None,
        },
        facts(
            [
                ("data", data_dir),
                (
                    "servers",
                    (Text("run", "green") if servers else Text("do not run", "yellow"))
                    if is_embedded()
                    else "others: DATABASE_URL and REDIS_URL",
                ),
                ("PostgreSQL", servers.database_url if servers else None),
                ("Valkey", servers.redis_url if servers else None),
                (
                    "API",
                    Text(running.address, "green" if answers else "red")
                    if running
                    else Text("does not run", "yellow"),
                ),
                ("process", f"{running.pid}" if running else None),
            ]
        ),
    )
