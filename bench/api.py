"""One order through the HTTP API, against the same rows written by a hand-written transaction, at
the same concurrency. Both commit durably; both run on the same machine as their server."""

from __future__ import annotations

import http.client
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from typing import Any

import psycopg

from bench.common import FULL, PLAN, Bench, interleave, make_brand, make_orders, show
from distrib import clock
from distrib.brands.service import create_key
from distrib.orders.document import OrderIn

DISTRIBUTORS = 5_000
PROCESSES = 8
HOST = "127.0.0.1"

Target = Callable[[int, int, Any], None]


def body(order: OrderIn) -> bytes:
    """The order as the API takes it."""
    document = {
        "shop": order.shop,
        "external_id": order.external_id,
        "placed_at": order.placed_at.isoformat(),
        "currency": order.currency,
        "buyer": order.buyer,
        "distributor": order.distributor,
        "lines": [
            {
                "sku": line.sku,
                "quantity": line.quantity,
                "unit_price": line.unit_price,
                "discount": line.discount,
            }
            | ({"category": line.category} if line.category else {})
            for line in order.lines
        ],
    }
    return json.dumps(document).encode()


def _orders(worker: int, count: int, tag: str) -> list[OrderIn]:
    return list(make_orders(count, DISTRIBUTORS, prefix=f"{tag}-{worker}-", seed=worker))


def post_orders(worker: int, count: int, target: tuple[int, str, str]) -> None:
    """Client process: one connection, one order after the other."""
    port, key, tag = target
    bodies = [body(order) for order in _orders(worker, count, tag)]
    connection = http.client.HTTPConnection(HOST, port)
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    _started.wait()
    for each in bodies:
        connection.request("POST", "/api/v1/orders", each, headers)
        answer = connection.getresponse()
        content = answer.read()
        if answer.status != 201:
            raise RuntimeError(f"{answer.status}: {content[:300]!r}")


def write_by_hand(
    worker: int, count: int, target: tuple[str, int, dict[str, int], str, bool]
) -> None:
    """Baseline process: the rows that the API writes, with amounts made up beforehand."""
    url, brand, distributors, tag, told = target
    orders = _orders(worker, count, tag)
    first = (worker + 1 << 50) + (int(time.time()) << 19)
    with psycopg.connect(url) as connection:
        connection.prepare_threshold = 1
        cur = connection.cursor()
        _started.wait()
        for number, order in enumerate(orders):
            earner = distributors[order.distributor or ""]
            _write_one(cur, brand, first + number, earner, order)
            if told:
                _write_told(cur, brand, first + number, earner, order)
            connection.commit()


def _write_one(
    cur: psycopg.Cursor[Any], brand: int, order_id: int, earner: int, order: OrderIn
) -> None:
    now, day = clock.now(), date(2026, 1, 1)
    cur.execute(
        "SELECT 1 FROM orders WHERE brand_id = %s AND shop = %s AND external_id = %s",
        (brand, order.shop, order.external_id),
    )
    cur.execute(
        "INSERT INTO orders (brand_id, id, shop, external_id, content_hash, currency, buyer,"
        " referral, distributor_id, placed_at, effective_at, recorded_at, available_on)"
        " VALUES (%s, %s, %s, %s, %s, 'CNY', %s, 'direct', %s, %s, %s, %s, %s)",
        (
            *(brand, order_id, order.shop, order.external_id, b"0" * 16, order.buyer, earner),
            *(order.placed_at, order.placed_at, now, day),
        ),
    )
    for no, line in enumerate(order.lines, 1):
        cur.execute(
            "INSERT INTO order_line VALUES (%s, %s, %s, %s, %s, %s, %s, %s, 0, 0)",
            (
                *(brand, order_id, no, line.sku, line.category),
                *(line.quantity, line.unit_price, line.discount),
            ),
        )
        for level in (1, 2, 3):
            cur.execute(
                "INSERT INTO commission VALUES (%s, %s, %s, %s, %s, %s, 1, 100000, 1, 1, %s)",
                (brand, order_id, no, level, order_id, earner, day),
            )
    for level in (1, 2, 3):
        cur.execute(
            "INSERT INTO transfer VALUES (%s, %s, %s, 1, 1, %s, 1, 'CNY', %s)",
            (brand, order_id, level, earner * 16 + 8, now),
        )
        cur.execute(
            "INSERT INTO open_item VALUES (%s, %s, %s, 'CNY', 1, %s, true)",
            (brand, earner + level, order_id, day),
        )
    cur.execute("INSERT INTO unfolded_posting VALUES (%s, %s)", (brand, order_id))


def _write_told(
    cur: psycopg.Cursor[Any], brand: int, order_id: int, earner: int, order: OrderIn
) -> None:
    """What a plan that asks for more leaves behind as well."""
    cur.execute(
        "INSERT INTO customer VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
        (brand, order.buyer, order_id),
    )
    cur.execute(
        "INSERT INTO order_facts VALUES (%s, %s, true, %s, %s, %s, 0, 0, 0, 1, 1, 1, 1, 1, 1, 0)",
        (brand, order_id, earner, earner, earner),
    )
    for level in (1, 2, 3):
        cur.execute(
            "INSERT INTO distributor_day AS d VALUES (%s, %s, %s, 1, 1, 1)"
            " ON CONFLICT (brand_id, distributor_id, day) DO UPDATE SET orders = d.orders + 1,"
            " volume = d.volume + 1, earned = d.earned + 1",
            (brand, earner + level, date(2026, 1, 1)),
        )


_started = multiprocessing.get_context("fork").Event()


def _spread(work: Target, count: int, target: Any) -> float:
    """Orders a second of ``PROCESSES`` processes that do ``count`` each."""
    context = multiprocessing.get_context("fork")
    _started.clear()
    processes = [
        context.Process(target=work, args=(worker, count, target)) for worker in range(PROCESSES)
    ]
    for process in processes:
        process.start()
    time.sleep(1)
    begin = time.perf_counter()
    _started.set()
    for process in processes:
        process.join()
    seconds = time.perf_counter() - begin
    if any(process.exitcode for process in processes):
        raise RuntimeError("a client failed")
    return PROCESSES * count / seconds


def _wait_until_ready(port: int) -> None:
    for _ in range(200):
        try:
            connection = http.client.HTTPConnection(HOST, port, timeout=1)
            connection.request("GET", "/ready")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise RuntimeError("the server did not come up")


def run(
    bench: Bench,
    count: int = 400,
    runs: int = 3,
    port: int = 18_080,
    *,
    plan: dict[str, Any] = PLAN,
) -> None:
    """Measure ``count`` orders from each of eight clients."""
    with bench.database() as (database, settings, _):
        brand = make_brand(database, DISTRIBUTORS, plan=plan)
        with database.transaction() as session:
            key = create_key(session, brand_id=brand.id, name="bench")
            rows = session.connection().exec_driver_sql("SELECT external_id, id FROM distributor")
            distributors = {row[0]: row[1] for row in rows}
        database.engine.dispose()
        environment = os.environ | {
            "DATABASE_URL": settings.database_url,
            "REDIS_URL": settings.redis_url,
            "DISTRIB_DATA": str(settings.data_dir),
        }
        server = subprocess.Popen(
            [sys.executable, "-m", "distrib.cli", "serve", "--port", str(port)],
            env=environment,
            stdout=subprocess.DEVNULL,
        )
        url = settings.database_url.replace("+psycopg", "")
        turn = iter(range(1_000_000))
        try:
            _wait_until_ready(port)
            _spread(post_orders, 50, (port, key, "warm"))
            # a rate, so the roles are swapped: bare / ours is what must be at most two
            theirs, mine, ratios = interleave(
                runs,
                lambda: _spread(
                    write_by_hand,
                    count,
                    (url, brand.id, distributors, f"h{next(turn)}", plan is FULL),
                ),
                lambda: _spread(post_orders, count, (port, key, f"a{next(turn)}")),
            )
        finally:
            server.terminate()
            server.wait()
    show(
        f"one order at a time, {PROCESSES} clients, plan {plan['name']!r}",
        {
            "through the HTTP API": f"{mine:,.0f} /s",
            "hand-written transaction, same rows": f"{theirs:,.0f} /s",
        },
        1 / statistics.median(ratios),
        "at least 0.5",
    )
