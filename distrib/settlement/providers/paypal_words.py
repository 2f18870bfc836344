"""What PayPal's payout items, states and errors mean. Pure; the pages are named in ``paypal``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from distrib.money import exponent, format_amount
from distrib.settlement.providers import Outcome, PayoutRequest, Status

STATES: Mapping[str, Status] = {
    "SUCCESS": Status.PAID,
    # documented: PayPal does not deduct the money
    "FAILED": Status.FAILED,
    "DENIED": Status.FAILED,
    "PENDING": Status.PENDING,
    "UNCLAIMED": Status.PENDING,
    "ONHOLD": Status.PENDING,
    "ON_HOLD": Status.PENDING,
    # documented: the money is back
    "RETURNED": Status.RETURNED,
    "REFUNDED": Status.RETURNED,
    "REVERSED": Status.RETURNED,
}
"""BLOCKED is missing on purpose: whether it is an end is not documented."""

_WHOLE_UNITS = frozenset({"HUF", "JPY", "TWD"})
CURRENCIES = _WHOLE_UNITS | {
    *("AUD", "BRL", "CAD", "CHF", "CZK", "DKK", "EUR", "GBP", "HKD", "ILS", "MXN", "MYR", "NOK"),
    *("NZD", "PHP", "PLN", "SEK", "SGD", "THB", "USD"),
}
RECEIVER_TYPES = frozenset({"EMAIL", "PHONE", "PAYPAL_ID"})

_BATCH_PATH = re.compile(r"/v1/payments/payouts/([A-Za-z0-9-]+)")
_ITEM_FIELD = re.compile(r"/?items[\[/](\d+)")


def unpayable(request: PayoutRequest) -> tuple[str, str] | None:
    """Why PayPal would not take it: a code and a sentence."""
    currency = request.currency
    if currency not in CURRENCIES:
        return "CURRENCY_NOT_SUPPORTED", f"PayPal does not pay out {currency}"
    if currency in _WHOLE_UNITS and request.amount % 10 ** exponent(currency):
        return "AMOUNT_NOT_WHOLE", f"PayPal pays out whole {currency} only"
    receiver = request.account.get("receiver", "")
    if not receiver or len(receiver) > 127:
        return "NO_RECEIVER", "the payout method has no receiver of at most 127 letters"
    if request.account.get("receiver_type", "EMAIL").upper() not in RECEIVER_TYPES:
        return "BAD_RECEIVER_TYPE", f"receiver_type is none of {', '.join(sorted(RECEIVER_TYPES))}"
    return None


def subject(title: str) -> dict[str, str]:
    """The e-mail's subject: single-byte letters only, else PayPal's own."""
    return {"email_subject": title[:255]} if title and title.isascii() else {}


def item_of(request: PayoutRequest, title: str) -> dict[str, Any]:
    """A request as a payout item."""
    value = format_amount(request.amount, request.currency, grouped=False)
    if request.currency in _WHOLE_UNITS:
        value = value.partition(".")[0]
    return {
        "recipient_type": request.account.get("receiver_type", "EMAIL").upper(),
        "amount": {"value": value, "currency": request.currency},
        "receiver": request.account["receiver"],
        "sender_item_id": request.request_no,
        **({"note": title[:1000]} if title else {}),
    }


def outcome_of(number: str, item: object, batch_id: str | None = None) -> Outcome:
    """What an item says."""
    state = str(field_of(item, "transaction_status") or "")
    batch_id = batch_id or str(field_of(item, "payout_batch_id") or "")
    item_id = field_of(item, "payout_item_id")
    errors = field_of(item, "errors")
    if isinstance(errors, list):
        errors = errors[0] if errors else None
    name, message = field_of(errors, "name"), field_of(errors, "message")
    return Outcome(
        number,
        STATES.get(state, Status.UNKNOWN),
        f"{batch_id}/{item_id}" if item_id else batch_id or None,
        str(name or state),
        str(message)[:1000] if message else None,
    )


def linked_batch(found: object) -> str | None:
    """The id of the batch that an error links to: the first with the same ``sender_batch_id``."""
    for link in field_of(found, "links") or ():
        path = urlsplit(str(field_of(link, "href") or "")).path
        if match := _BATCH_PATH.fullmatch(path.rstrip("/")):
            return match[1]
    return None


def item_issues(found: object) -> Iterator[tuple[int, str]]:
    """Position of an item and what is wrong with it."""
    for detail in field_of(found, "details") or ():
        if match := _ITEM_FIELD.match(str(field_of(detail, "field") or "")):
            yield int(match[1]), str(field_of(detail, "issue") or "refused")[:1000]


def field_of(found: object, name: str) -> Any:
    """A field of what should be an object."""
    return found.get(name) if isinstance(found, dict) else None
