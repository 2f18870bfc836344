"""The API that the demo leaves running."""

from __future__ import annotations

import shlex

from rich.console import Group

from distrib.cli import house
from distrib.cli.demo_report import section
from distrib.cli.desk import Desk
from distrib.cli.output import facts, note
from distrib.cli.run import HOST


def leave_running(desk: Desk, port: int, *, workers: int) -> house.House:
    """The API, left running in the background."""
    data_dir = desk.settings.data_dir
    running = house.find(data_dir)
    if running is not None and running.answers():
        return running
    note("starting workers and the API in the background …")
    port = house.free_port(HOST, port, strict=False)
    return house.start(data_dir, host=HOST, port=port, workers=workers)


def draw_service(address: str, key: str, *, stop: str) -> Group:
    """Where the API answers."""
    return section(
        "The API is running",
        facts(
            [
                ("address", address),
                ("key", key),
                ("reference", f"{address}/api/v1/docs"),
                ("stop it", stop),
            ]
        ),
    )


def curl_lines(address: str, key: str, *, distributor: str, order: str) -> list[str]:
    """Questions for the API, to paste into a shell."""
    ask = f"curl -s -H {shlex.quote(f'Authorization: Bearer {key}')} {address}/api/v1"
    return [
        f"{ask}/brand",
        f"{ask}/distributors/{distributor}/statement",
        f"{ask}/distributors/{distributor}/upline",
        f"{ask}/orders/{order}/explanation",
        f"{ask}/settlement/batches",
    ]
