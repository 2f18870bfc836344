"""Making the Flask app."""

from __future__ import annotations

import redis
from flask import Flask, Response
from flask.json.provider import DefaultJSONProvider

from distrib import __version__
from distrib.api import (
    accounts,
    brands,
    closes,
    debts,
    distributors,
    docs,
    drafts,
    orders,
    payout_methods,
    payouts,
    plans,
    provider_callbacks,
    ranks,
    reconciliation,
    records,
    settlement,
    settlement_preview,
    settlement_records,
    simulations,
    system,
    tax,
    tree,
)
from distrib.api.context import Context, Keyring
from distrib.api.metrics import Metrics
from distrib.api.problems import handle_errors
from distrib.api.routes import PREFIX, Specification
from distrib.config import Settings
from distrib.db import Database

MOST_BYTES = 16 * 1024 * 1024

_REDIS_SECONDS = 2.0

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

_INTRODUCTION = """\
Send `Authorization: Bearer dk_…`. A brand's key sees its own brand and nothing else.

**Money** is an integer in minor units (fen, cents) beside a `currency`; **instants** are ISO 8601
with a time zone (in a query, write `+` as `%2B`), **days** are days where the brand lives. **Ids**
have a prefix that says what they are.

**Lists** come in pages: `{"items": […], "next": …}`. Pass `next` as `cursor` for the page that
follows; it is null on the last one. What is added meanwhile neither repeats nor hides an item.

**Errors** are problem details (RFC 9457, `application/problem+json`). Where fields are to blame,
`errors` names each and says why. After an error nothing has been changed; only a batch that broke
off may have taken a part, and takes the rest when it is sent again.

**Idempotency-Key** on a POST: sent again with the same key, a request happens once and its kept
answer comes back with `Idempotent-Replayed: true`. The same key with another request is an error.
Only successes are kept."""

_BLUEPRINTS = (
    *(
        brands,
        plans,
        drafts,
        simulations,
        distributors,
        ranks,
        tree,
        orders,
        records,
        accounts,
        settlement_preview,
        settlement,
        settlement_records,
        payouts,
        tax,
        payout_methods,
        debts,
        reconciliation,
        closes,
        provider_callbacks,
    ),
    system,
)


def _harden(response: Response) -> Response:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def create_app(settings: Settings, database: Database) -> Flask:
    """The API as a WSGI application.

    :param database: made in this process; what it does after a commit wakes the workers.
    """
    app = Flask("distrib.api", static_folder=None)
    if isinstance(app.json, DefaultJSONProvider):
        app.json.sort_keys, app.json.ensure_ascii, app.json.compact = False, False, True
    app.config.update(
        API_TITLE="distrib",
        API_VERSION=__version__,
        OPENAPI_VERSION="3.1.0",
        OPENAPI_URL_PREFIX=PREFIX,
        API_SPEC_OPTIONS={
            "info": {"description": _INTRODUCTION},
            "components": {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
            "security": [{"key": []}],
        },
        MAX_CONTENT_LENGTH=MOST_BYTES,
    )
    app.url_map.merge_slashes = False  # a redirect would answer what nobody asked
    metrics = Metrics(database)
    metrics.watch(app)
    app.after_request(_harden)
    handle_errors(app)
    app.extensions["distrib"] = Context(
        settings=settings,
        database=database,
        keyring=Keyring(database),
        redis=redis.from_url(
            settings.redis_url,
            socket_timeout=_REDIS_SECONDS,
            socket_connect_timeout=_REDIS_SECONDS,
        ),
        metrics=metrics,
    )
    specification = Specification(app)
    for each in _BLUEPRINTS:
        specification.register_blueprint(each.routes)
    docs.register(app, specification)
    return app
