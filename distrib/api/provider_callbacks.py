"""What payment providers say of their own accord. Their signature says who they are."""

from __future__ import annotations

import logging
import time
from typing import cast

from flask import Response, current_app, request

from distrib.api.context import Access, context, database
from distrib.api.routes import PREFIX, Routes
from distrib.api.settlement_records import read_body
from distrib.brands.service import get_brand
from distrib.errors import InvalidInput, NotFound, Unavailable
from distrib.settlement.answers import apply_outcomes
from distrib.settlement.providers import BadProviderSetting, CallsBack
from distrib.settlement.providers.registry import make_provider

routes = Routes(
    "Callbacks",
    __name__,
    url_prefix=PREFIX,
    description="Where payment providers send what became of payouts. They carry no API key: each"
    " message is verified by the provider's signature. A message that comes twice, or late, changes"
    " nothing.",
)

_MOST_BYTES = 1024 * 1024
_REMEMBERED_SECONDS = 30.0
_log = logging.getLogger("distrib.api")


class NobodyCallsBack(NotFound):
    """No provider of that name that sends messages."""

    title = "No such callback"


def _provider(brand: str, name: str) -> CallsBack:
    """The brand's provider. Remembered for some seconds: reading its keys takes longer than
    verifying a message, and anybody may ask."""
    known = cast(
        dict[tuple[str, str], tuple[float, CallsBack]],
        current_app.extensions.setdefault("distrib.callbacks", {}),
    )
    found = known.get((brand, name))
    if found is not None and found[0] > time.monotonic():
        return found[1]
    provider: object = None
    try:
        provider = make_provider(context().settings, brand, name)
    except InvalidInput:
        pass  # there is none
    except BadProviderSetting as error:
        _log.error("a callback of %s.%s cannot be taken: %s", brand, name, error)
        raise Unavailable("the provider is not configured") from None
    if not isinstance(provider, CallsBack):
        raise NobodyCallsBack(f"{brand} has no provider {name!r} that calls back")
    known[brand, name] = (time.monotonic() + _REMEMBERED_SECONDS, provider)
    return provider


@routes.operation(
    "POST",
    "/callbacks/<brand>/<provider>",
    {
        200: ({}, "The message was taken; the body is what the provider expects"),
        204: ({}, "The same, for providers that expect no body"),
    },
    access=Access.OPEN,
    content_type=("application/json", "text/plain"),
    problems=(401, 404, 413),
)
def take_callback(brand: str, provider: str) -> Response:
    """Take a provider's message, up to 1 MiB.

    Give its address to the provider as that for notifications. 401: the signature or the time does
    not hold.
    """
    with database().transaction() as session:
        brand_id = get_brand(session, slug=brand).id
    found = _provider(brand, provider)
    body = read_body(_MOST_BYTES)
    headers = {name.lower(): value for name, value in request.headers.items()}
    message = found.read_callback(headers, body)
    applied = apply_outcomes(
        database(),
        brand_id=brand_id,
        provider=provider,
        outcomes=message.outcomes,
        source=f"callback {message.message_id}"[:200],
    )
    if applied.unknown:
        _log.warning(
            "callback %s of %s.%s names no payout of ours", message.message_id, brand, provider
        )
    reply = found.reply()
    return Response(reply.body, reply.status, content_type=reply.content_type)
