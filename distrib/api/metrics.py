"""What Prometheus asks for: requests as they are served, and what waits in the database."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from flask import Flask, Response, g, request
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from distrib.db import Database

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

_BACKLOG = text(
    """
    SELECT 'distrib_jobs_ready', kind, count(*) FROM job WHERE state = 'ready' GROUP BY kind
    UNION ALL SELECT 'distrib_jobs_failed', kind, count(*) FROM job WHERE state = 'failed'
        GROUP BY kind
    UNION ALL SELECT 'distrib_jobs_oldest_seconds', '',
        coalesce(extract(epoch FROM now() - min(run_after)), 0) FROM job
        WHERE state = 'ready' AND run_after <= now()
    UNION ALL SELECT 'distrib_unfolded_postings', '', count(*) FROM unfolded_posting
    UNION ALL SELECT 'distrib_waiting_refunds', '', count(*) FROM waiting_refund
    UNION ALL SELECT 'distrib_open_batches', state, count(*) FROM settlement_batch
        WHERE state IN ('draft', 'approved', 'paying') GROUP BY state
    """
)

_GAUGES = {
    "distrib_jobs_ready": ("Jobs that are not done yet, by kind", "kind"),
    "distrib_jobs_failed": ("Jobs that will not be tried again, by kind", "kind"),
    "distrib_jobs_oldest_seconds": ("For how long the oldest due job has waited", None),
    "distrib_unfolded_postings": ("Ledger postings that are not in balances yet", None),
    "distrib_waiting_refunds": ("Refunds whose order has not arrived", None),
    "distrib_open_batches": ("Settlement batches on their way, by state", "state"),
}


class _Backlog(Collector):
    """Asks the database what waits in it, at every scrape."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def collect(self) -> Iterator[Metric]:
        gauges = {
            name: GaugeMetricFamily(name, help_, labels=[label] if label else [])
            for name, (help_, label) in _GAUGES.items()
        }
        try:
            with self._database.transaction() as session:
                for name, label, value in session.execute(_BACKLOG):
                    gauges[name].add_metric([label] if _GAUGES[name][1] else [], float(value))
        except SQLAlchemyError:
            yield GaugeMetricFamily("distrib_database_up", "Whether the database answers", 0)
            return
        yield GaugeMetricFamily("distrib_database_up", "Whether the database answers", 1)
        yield from gauges.values()


class Metrics:
    """Counts and times requests.

    With several processes, set ``PROMETHEUS_MULTIPROC_DIR`` before they start: then each answers
    for all of them.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "distrib_http_requests",
            "Requests served",
            ["method", "route", "status"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "distrib_http_request_seconds",
            "Time to serve a request",
            ["method", "route"],
            buckets=_BUCKETS,
            registry=self._registry,
        )
        # finding a series by its labels costs more than counting
        self._series: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def watch(self, app: Flask) -> None:
        """Count and time every request of ``app``."""
        app.before_request(self._begin)
        app.after_request(self._end)

    def _begin(self) -> None:
        g.began = time.perf_counter()

    def _end(self, response: Response) -> Response:
        # what a caller can invent (paths, methods) must not become labels without end
        method = request.method if request.method in _METHODS else "other"
        route = request.url_rule.rule if request.url_rule is not None else "none"
        name = (method, route, response.status_code)
        series = self._series.get(name)
        if series is None:
            series = (
                self._requests.labels(method, route, str(response.status_code)),
                self._seconds.labels(method, route),
            )
            self._series[name] = series
        series[0].inc()
        series[1].observe(time.perf_counter() - g.began)
        return response

    def scrape(self) -> bytes:
        """Everything, in Prometheus' text format."""
        counted: CollectorRegistry = self._registry
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            counted = CollectorRegistry()
            MultiProcessCollector(counted)  # type: ignore[no-untyped-call]
        waiting = CollectorRegistry()
        waiting.register(_Backlog(self._database))
        return generate_latest(counted) + generate_latest(waiting)
