"""Handing requests over, and asking after them, one by one.

For providers that take a single request in a call. What an exception of the adapter means for the
request at hand and for those behind it is decided here, the same way for all of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import islice

from distrib.errors import InvalidInput
from distrib.settlement.providers import (
    Outcome,
    PayoutRequest,
    ProviderUnavailable,
    Status,
)
from distrib.settlement.providers.http import AnswerLost

LOST_ENOUGH = 3
"""Lost answers after which a call ends: waiting for fifty would outlast the worker's lease."""

NOT_SENT = "NOT_SENT"
"""The code of a request that this call did not get to; an earlier one may have."""

Ask = Callable[[PayoutRequest], Outcome]
Send = Callable[[PayoutRequest], Outcome]


class Refused(Exception):
    """This request is turned away for good. An earlier one under its number may not have been."""

    def __init__(self, code: str, message: str | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.message = message


class MoneyIsOut(Exception):
    """The account we pay from is empty or at its limit: whether the number was taken is open, and
    the next requests would fare no better.
    """

    def __init__(self, code: str, message: str | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.message = message


def require(requests: Sequence[PayoutRequest], *, currency: str) -> None:
    """See that all can be handed over at all.

    :raises InvalidInput: for another currency, or a number the provider would not take.
    """
    for request in requests:
        if request.currency != currency:
            raise InvalidInput(
                f"the provider pays {currency} only, not {request.currency}", field="currency"
            )
        number = request.request_no
        if not (number.isascii() and number.isalnum() and len(number) <= 32):
            raise InvalidInput(
                "a request number has up to 32 letters and digits", field="request_no"
            )


def hand_over(requests: Sequence[PayoutRequest], send: Send, ask: Ask) -> list[Outcome]:
    """Send each; one outcome for each.

    A refused request is FAILED only when the provider, asked, does not know its number: it may
    have been accepted in a call whose end nobody saw.

    :raises ProviderUnavailable: when the first was turned away or could not be sent.
    """
    outcomes: list[Outcome] = []
    lost = 0
    for request in requests:
        if lost == LOST_ENOUGH:
            break
        try:
            outcomes.append(send(request))
        except Refused as refused:
            outcomes.append(_after_refusal(request, refused, ask))
        except AnswerLost as error:
            lost += 1
            outcomes.append(unknown(request, "ANSWER_LOST", str(error)))
        except MoneyIsOut as empty:
            outcomes.append(unknown(request, empty.code, empty.message))
            break
        except ProviderUnavailable:
            if not outcomes:
                raise
            break
    return outcomes + _rest(requests, len(outcomes))


def ask_each(requests: Sequence[PayoutRequest], ask: Ask) -> list[Outcome]:
    """Ask after each; one outcome for each.

    :raises ProviderUnavailable: when already the first could not be asked after.
    """
    outcomes: list[Outcome] = []
    lost = 0
    for request in requests:
        if lost == LOST_ENOUGH:
            break
        try:
            outcomes.append(ask(request))
        except AnswerLost as error:
            lost += 1
            outcomes.append(unknown(request, "ANSWER_LOST", str(error)))
        except ProviderUnavailable:
            if not outcomes:
                raise
            break
    return outcomes + _rest(requests, len(outcomes))


def unknown(request: PayoutRequest, code: str, message: str | None = None) -> Outcome:
    """Nothing is known of a request."""
    return Outcome(request.request_no, Status.UNKNOWN, code=code, message=message)


def _rest(requests: Sequence[PayoutRequest], done: int) -> list[Outcome]:
    return [unknown(request, NOT_SENT) for request in islice(requests, done, None)]


def _after_refusal(request: PayoutRequest, refused: Refused, ask: Ask) -> Outcome:
    try:
        found = ask(request)
    except (AnswerLost, ProviderUnavailable):
        return unknown(request, refused.code, refused.message)
    if found.status is Status.ABSENT:
        return Outcome(
            request.request_no, Status.FAILED, code=refused.code, message=refused.message
        )
    if found.status is Status.UNKNOWN:
        return unknown(request, refused.code, refused.message)
    return found


def read_object(text: str | bytes) -> Mapping[str, object]:
    """A JSON object.

    :raises ValueError: when it is none.
    """
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError("no object")
    return found


def text_of(document: Mapping[str, object], name: str) -> str | None:
    """A field that is a text and not empty."""
    value = document.get(name)
    return value if isinstance(value, str) and value else None
