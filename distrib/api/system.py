"""Whether the service is well: for probes, load balancers and Prometheus."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import redis
from alembic.script import ScriptDirectory
from flask import Response
from prometheus_client import CONTENT_TYPE_LATEST
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from distrib.api.context import Access, context
from distrib.api.fields import Choice, Shape, Yes
from distrib.api.routes import PLAIN, Routes
from distrib.errors import Unavailable

# distrib.schema, which applies them, stands above the API
_MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"

routes = Routes(
    "System",
    __name__,
    description="For probes and Prometheus; no key is needed and no brand's data is shown.",
)


class NotReady(Unavailable):
    """Something that is needed is not there."""

    title = "Not ready to serve"


class HealthSchema(Shape):
    """The process is up."""

    status = Choice("up", required=True)


class ReadySchema(Shape):
    """What is needed is there."""

    status = Choice("ready", required=True)
    database = Yes(required=True, metadata={"example": True})
    redis = Yes(required=True, metadata={"example": True})
    migrations = Yes(required=True, metadata={"example": True})


@cache
def _newest() -> frozenset[str]:
    return frozenset(ScriptDirectory(str(_MIGRATIONS)).get_heads())


def _check_database() -> tuple[bool, bool]:
    """Whether the database answers, and whether its schema is ours."""
    try:
        with context().database.transaction() as session:
            found = session.scalars(text("SELECT version_num FROM alembic_version"))
            return True, frozenset(found) == _newest()
    except SQLAlchemyError:
        return False, False


def _check_redis() -> bool:
    try:
        return bool(context().redis.ping())
    except redis.RedisError:
        return False


@routes.operation("GET", "/health", {200: (HealthSchema, "The process is up")}, access=Access.OPEN)
def health() -> dict[str, Any]:
    """Tell that the process is up."""
    return {"status": "up"}


@routes.operation(
    "GET",
    "/ready",
    {200: (ReadySchema, "Ready to serve")},
    access=Access.OPEN,
)
def ready() -> dict[str, Any]:
    """Tell whether requests can be served.

    The database answers and its schema is up to date. Whether Redis answers is told and makes no
    difference: it only wakes workers, and without it they are later, not wrong.
    """
    answers, current = _check_database()
    found = {"database": answers, "redis": _check_redis(), "migrations": current}
    missing = [name for name in ("database", "migrations") if not found[name]]
    if missing:
        raise NotReady(f"not ready: {', '.join(missing)}", checks=found)
    return {"status": "ready", **found}


@routes.operation(
    "GET",
    "/metrics",
    {200: (PLAIN, "Counters, timings and backlogs")},
    access=Access.OPEN,
    content_type="text/plain",
)
def metrics() -> Response:
    """Measure, in Prometheus' text format."""
    return Response(context().metrics.scrape(), content_type=CONTENT_TYPE_LATEST)
