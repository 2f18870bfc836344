"""Stripe Connect: a request becomes a transfer to the payee's connected account.

Stripe forgets an idempotency key after 24 hours, so a request that is older is asked about before
it is handed over again; it is found by its ``transfer_group``, which is its number. Stripe also
remembers an *error* under the key: a balance that was too low stays so for that key for a day,
which is why the balance is looked at first.

Written to: docs.stripe.com/api/transfers (object, create, list), /api/idempotent_requests,
/api/errors, /error-codes, /error-low-level, /currencies (zero-decimal, three-decimal and special
cases), /webhooks/signature, /api/events/types, /connect/separate-charges-and-transfers.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, ClassVar, Self
from urllib.parse import quote, urlencode

from distrib import clock
from distrib.money import exponent
from distrib.settlement.providers import (
    BadCallback,
    BatchRef,
    Callback,
    Outcome,
    PayoutRequest,
    ProviderUnavailable,
    Reply,
    Status,
)
from distrib.settlement.providers.files import refused
from distrib.settlement.providers.http import AnswerLost, HttpAnswer, HttpClient
from distrib.settlement.providers.settings import ProviderSettings

VERSION = "2024-06-20"
"""The API's version that this module was written to; sent with every call."""

KEY_HOURS = 23
"""Stripe keeps an idempotency key for at least 24 hours; one is kept for clocks and queues."""

TOLERANCE = timedelta(minutes=5)

FINAL = frozenset(
    {
        "account_invalid",
        "amount_too_large",
        "amount_too_small",
        "insufficient_capabilities_for_transfer",
    }
)
"""Error codes after which no transfer is made for the request as it is; beside them
``resource_missing`` where it names the destination."""

_ZERO_DECIMALS = frozenset({"XAF", "XOF", "XPF"}) | {
    *("BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV"),
}
_THREE_DECIMALS = frozenset({"BHD", "JOD", "KWD", "OMR", "TND"})
_TYPES = frozenset({"transfer.created", "transfer.reversed", "transfer.updated"})


class StripeConnect:
    """Transfers to connected accounts.

    Payees need a payout method ``stripe``: ``account_id`` (``acct_…``). A reference is the
    transfer's id. A transfer in part reversed counts as paid; its code says so.

    Settings:

    - the secret ``api_key``: may write transfers and read the balance;
    - ``base_url`` (``https://api.stripe.com``);
    - the secret ``webhook_secret``, where callbacks are to be taken (``callbacks = true``).
    """

    group: ClassVar[int] = 50
    method: ClassVar[str | None] = "stripe"
    asks: ClassVar[bool] = True

    def __init__(self, http: HttpClient, api_key: str, webhook_secret: str | None) -> None:
        self._http = http
        self._headers = {"Authorization": f"Bearer {api_key}", "Stripe-Version": VERSION}
        self._webhook_secret = webhook_secret

    @classmethod
    def from_settings(cls, settings: ProviderSettings) -> Self:
        """The adapter as configured."""
        return cls(
            HttpClient(settings.text("base_url", "https://api.stripe.com")),
            settings.secret("api_key"),
            settings.secret("webhook_secret")
            if settings.flag("callbacks", default=False)
            else None,
        )

    def pay(self, batch: BatchRef, requests: Sequence[PayoutRequest]) -> Sequence[Outcome]:
        """Make the transfers one after the other.

        When Stripe stops answering or the balance ends, the rest are not sent.

        :raises ProviderUnavailable: when that is so with the first.
        """
        outcomes: list[Outcome] = []
        todo: list[tuple[PayoutRequest, int]] = []
        for request in sorted(requests, key=lambda request: request.no):
            amount = stripe_amount(request.amount, request.currency)
            if amount is None:
                outcomes.append(
                    refused(
                        request, "BAD_AMOUNT", f"Stripe has no such amount in {request.currency}"
                    )
                )
            elif not request.account.get("account_id", "").startswith("acct_"):
                outcomes.append(refused(request, "NO_ACCOUNT", "account_id is not an acct_…"))
            else:
                todo.append((request, amount))
        sent = False
        if old := [request for request, _ in todo if _is_old(request)]:
            known = [said for said in self.ask(batch, old) if said.status is not Status.ABSENT]
            outcomes += known
            done = {outcome.request_no for outcome in known}
            todo = [pair for pair in todo if pair[0].request_no not in done]
            sent = bool(done)
        return outcomes + self._make(batch, todo, sent=sent)

    def _make(
        self, batch: BatchRef, todo: Sequence[tuple[PayoutRequest, int]], *, sent: bool
    ) -> list[Outcome]:
        """Make transfers.

        :param sent: something of the call is known to have been taken.
        """
        outcomes: list[Outcome] = []
        lost = 0
        try:
            if todo:
                self._check_balance(batch.currency, sum(amount for _, amount in todo))
            for request, amount in todo:
                if lost == 2:  # a third would only wait as long again
                    raise ProviderUnavailable("not sent: Stripe did not answer those before")
                try:
                    outcomes.append(self._transfer(batch, request, amount))
                    lost = 0
                except AnswerLost as error:
                    message = str(error)
                    outcomes.append(Outcome(request.request_no, Status.UNKNOWN, message=message))
                    lost += 1
                sent = True
        except ProviderUnavailable as error:
            if not sent:
                raise
            outcomes += [
                # an earlier call may have made it: whoever asks will learn
                Outcome(request.request_no, Status.UNKNOWN, code="NOT_SENT", message=str(error))
                for request, _ in todo[len(outcomes) :]
            ]
        return outcomes

    def ask(self, batch: BatchRef, requests: Sequence[PayoutRequest]) -> Sequence[Outcome]:  # noqa: ARG002
        """Look for each request's transfer."""
        outcomes: list[Outcome] = []
        heard = False
        for request in requests:
            try:
                outcomes.append(self._find(request))
                heard = True
            except ProviderUnavailable:
                if not heard:
                    raise
                outcomes.append(Outcome(request.request_no, Status.UNKNOWN, request.reference))
            except AnswerLost as error:
                outcomes.append(
                    Outcome(
                        request.request_no, Status.UNKNOWN, request.reference, message=str(error)
                    )
                )
        return outcomes

    def read_callback(self, headers: Mapping[str, str], body: bytes) -> Callback:
        """Verify the signature over time and body, and read the transfer."""
        self._verify(headers.get("stripe-signature", ""), body)
        try:
            event = json.loads(body)
            event_id, kind, transfer = str(event["id"]), event["type"], event["data"]["object"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise BadCallback("the body is no event") from None
        number = _field(_field(transfer, "metadata"), "request_no")
        # an event of a connected account speaks of that account's transfers, not of ours
        if kind not in _TYPES or not number or _field(event, "account"):
            return Callback(event_id, ())
        try:
            return Callback(event_id, (_outcome(str(number), transfer),))
        except AnswerLost as error:
            raise BadCallback(str(error)) from None

    def reply(self) -> Reply:
        """Any status 200 will do."""
        return Reply()

    def _verify(self, header: str, body: bytes) -> None:
        if self._webhook_secret is None:
            raise BadCallback("no webhook_secret is configured")
        parts = [part.strip().partition("=") for part in header.split(",")]
        stamp = next((value for name, _, value in parts if name == "t"), "")
        if not (stamp.isascii() and stamp.isdecimal() and len(stamp) < 16):
            raise BadCallback("the signature has no time")
        expected = hmac.new(
            self._webhook_secret.encode(), stamp.encode() + b"." + body, hashlib.sha256
        ).hexdigest()
        signatures = [value for name, _, value in parts if name == "v1"]
        if not any(
            hmac.compare_digest(expected.encode(), v.encode(errors="replace")) for v in signatures
        ):
            raise BadCallback("the signature does not hold")
        if abs(clock.now().timestamp() - int(stamp)) > TOLERANCE.total_seconds():
            raise BadCallback("the message is too old")

    def _check_balance(self, currency: str, needed: int) -> None:
        """:raises ProviderUnavailable: when the balance is known and too low."""
        try:
            answer = self._http.call("GET", "/v1/balance", headers=self._headers)
            if answer.status == 401:
                raise ProviderUnavailable(_why(answer.status, _error(answer)))
            if answer.status != 200:
                return  # the key may not look; the transfers will tell
            available = sum(
                int(entry["amount"])
                for entry in answer.json()["available"]
                if entry["currency"] == currency.lower()
            )
        except AnswerLost as error:
            raise ProviderUnavailable(str(error)) from None
        except (KeyError, TypeError, ValueError):
            return
        if available < needed:
            raise ProviderUnavailable(
                f"balance_insufficient: {available} available, {needed} needed"
                f" ({currency}, Stripe's units)"
            )

    def _transfer(self, batch: BatchRef, request: PayoutRequest, amount: int) -> Outcome:
        """Make one transfer.

        :raises ProviderUnavailable: when it was turned away for a reason that is ours, not its own.
        """
        number = request.request_no
        form = {
            "amount": str(amount),
            "currency": request.currency.lower(),
            "destination": request.account["account_id"],
            "transfer_group": number,
            "metadata[request_no]": number,
            "description": batch.title or number,
        }
        answer = self._http.call(
            "POST",
            "/v1/transfers",
            headers=self._headers
            | {"Content-Type": "application/x-www-form-urlencoded", "Idempotency-Key": number},
            body=urlencode(form).encode(),
        )
        if answer.status == 200:
            return _outcome(number, answer.json())
        if answer.status >= 500:
            raise AnswerLost(f"status {answer.status}")
        error = _error(answer)
        code = str(_field(error, "code") or _field(error, "type") or answer.status)
        why = _why(answer.status, error)
        if _field(error, "type") == "invalid_request_error" and answer.status in (400, 403, 404):
            if code in FINAL:
                return Outcome(number, Status.FAILED, code=code, message=why)
            if code == "resource_missing" and _field(error, "param") == "destination":
                return Outcome(number, Status.FAILED, code=code, message=why)
        if code in ("balance_insufficient", "rate_limit") or answer.status in (401, 403):
            retry = answer.headers.get("retry-after", "")
            raise ProviderUnavailable(why, retry_after=float(retry) if retry.isdecimal() else None)
        return Outcome(number, Status.UNKNOWN, code=code, message=why)

    def _find(self, request: PayoutRequest) -> Outcome:
        number = request.request_no
        if request.reference:
            path = f"/v1/transfers/{quote(request.reference, safe='')}"
        else:
            path = f"/v1/transfers?transfer_group={quote(number, safe='')}&limit=10"
        answer = self._http.call("GET", path, headers=self._headers)
        if answer.status in (401, 403):
            raise ProviderUnavailable(_why(answer.status, _error(answer)))
        if answer.status != 200:
            raise AnswerLost(f"status {answer.status}")
        found = answer.json()
        if request.reference:
            return _outcome(number, found)
        listed = _field(found, "data")
        if not isinstance(listed, list) or _field(found, "has_more"):
            raise AnswerLost("the list of transfers is none, or not whole")
        mine = [t for t in listed if _field(_field(t, "metadata"), "request_no") == number]
        if not mine:
            # others in the group were not made here, and say nothing of this number
            return Outcome(number, Status.UNKNOWN if listed else Status.ABSENT)
        outcome = _outcome(number, mine[0])
        if len(mine) > 1:
            ids = ", ".join(str(_field(transfer, "id")) for transfer in mine)
            return Outcome(number, outcome.status, outcome.reference, "paid_twice", ids)
        return outcome


def stripe_amount(amount: int, currency: str) -> int | None:
    """Minor units as Stripe counts them; None for an amount that Stripe cannot express.

    Stripe counts MGA in whole units where ISO 4217 has hundredths, ISK and UGX in hundredths where
    it has none (the hundredths always 0), and the last digit of three decimals is always 0.
    """
    if currency in _ZERO_DECIMALS:
        units, rest = divmod(amount, 10 ** exponent(currency))
        return None if rest else units
    if currency in _THREE_DECIMALS:
        return None if amount % 10 else amount
    if currency in ("ISK", "UGX"):
        return amount * 100
    return amount if exponent(currency) == 2 else None


def _outcome(number: str, transfer: object) -> Outcome:
    """What a transfer says: made is paid, for the money is then the connected account's."""
    reference = _field(transfer, "id")
    if _field(transfer, "object") != "transfer" or not isinstance(reference, str):
        raise AnswerLost("the answer is no transfer")
    if _field(transfer, "reversed") is True:
        return Outcome(number, Status.RETURNED, reference, "reversed")
    if _field(transfer, "amount_reversed"):
        back = f"{_field(transfer, 'amount_reversed')} of {_field(transfer, 'amount')} came back"
        return Outcome(number, Status.PAID, reference, "partially_reversed", back)
    return Outcome(number, Status.PAID, reference)


def _is_old(request: PayoutRequest) -> bool:
    """Whether Stripe may have forgotten the number's key."""
    return request.sent_at is not None and clock.now() - request.sent_at > timedelta(
        hours=KEY_HOURS
    )


def _error(answer: HttpAnswer) -> object:
    try:
        return _field(answer.json(), "error")
    except AnswerLost:
        return None


def _why(status: int, error: object) -> str:
    """Type and message of an error. Stripe blackens all but the ends of a key it was sent."""
    if status == 401:
        return "Stripe does not take the api_key (401)"
    kind = _field(error, "code") or _field(error, "type") or "no code"
    return f"{kind}: {_field(error, 'message') or 'no message'} ({status})"[:1000]


def _field(found: object, name: str) -> Any:
    """A field of what should be an object."""
    return found.get(name) if isinstance(found, dict) else None
