"""PayPal Payouts: a call's requests become one batch of payout items.

PayPal completes a batch only once for a ``sender_batch_id`` within 30 days and answers a second one
with a link to the first, so the call number is sent as that id and the link followed. There is no
way to ask by that id: a request whose batch was never learnt is ABSENT, and handing its call over
again either makes the batch or finds it. After :data:`SAFE_DAYS` neither is safe, and it stays
UNKNOWN until a person looks.

Written to: developer.paypal.com/api/payments.payouts-batch/v1 (payouts-post, payouts-get,
payouts-item-get, errors), /payouts/use-payouts/track-payout-item-status, /payouts/webhooks,
/payouts/view-transactions (error codes), /api/webhooks/v1/verify-webhook-signature-post,
/reference/currency-codes; error bodies as in github.com/paypal/Payouts-Java-SDK issue 7 and
github.com/paypal/PayPal-Ruby-SDK issue 120.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import ClassVar, Self

from distrib import clock
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
from distrib.settlement.providers.files import one_call, refused
from distrib.settlement.providers.http import AnswerLost, HttpAnswer, HttpClient
from distrib.settlement.providers.paypal_words import (
    field_of,
    item_issues,
    item_of,
    linked_batch,
    outcome_of,
    subject,
    unpayable,
)
from distrib.settlement.providers.settings import ProviderSettings

SAFE_DAYS = 28
"""PayPal remembers a ``sender_batch_id`` for 30 days; two are kept for clocks and queues."""

_PAGE = 1000  # items; the most PayPal gives
_MOST_PAGES = 100  # no batch has more than 15,000 items
_CALLBACK_AGE = timedelta(days=4)  # PayPal repeats a message for three days

_ID = re.compile(r"[A-Za-z0-9-]{1,36}")
_PAYPALS = re.compile(r"https://([a-z0-9-]+\.)*paypal\.com/")
_SIGNED = ("auth-algo", "cert-url", "transmission-id", "transmission-sig", "transmission-time")


class PayPal:
    """Pays to PayPal accounts.

    Payees need a payout method ``paypal``: ``receiver``, and ``receiver_type`` (``EMAIL`` when
    missing, ``PHONE`` or ``PAYPAL_ID``). A reference is the batch's id, later ``batch/item``.

    Settings:

    - ``client_id``; the secret ``client_secret``;
    - ``base_url`` (``https://api-m.paypal.com``; the sandbox is at
      ``https://api-m.sandbox.paypal.com``);
    - ``webhook_id`` (``none``): the id of the webhook; without it, no callback is taken.
    """

    group: ClassVar[int] = 5000
    method: ClassVar[str | None] = "paypal"
    asks: ClassVar[bool] = True

    def __init__(self, http: HttpClient, client_id: str, client_secret: str, webhook: str) -> None:
        self._http = http
        self._basic = base64.b64encode(f"{client_id}:{client_secret}".encode()).decode()
        self._webhook = webhook
        self._token = ""
        self._token_until: datetime | None = None

    @classmethod
    def from_settings(cls, settings: ProviderSettings) -> Self:
        """The adapter as configured."""
        return cls(
            HttpClient(settings.text("base_url", "https://api-m.paypal.com")),
            settings.text("client_id"),
            settings.secret("client_secret"),
            settings.text("webhook_id", "none"),
        )

    def pay(self, batch: BatchRef, requests: Sequence[PayoutRequest]) -> Sequence[Outcome]:
        """Make the batch, or find the one that was made with the same call number.

        :raises ProviderUnavailable: when PayPal turned the whole call away.
        """
        call_no = one_call(requests)
        outcomes: list[Outcome] = []
        sent: list[PayoutRequest] = []
        for request in sorted(requests, key=lambda request: request.no):
            if reason := unpayable(request):
                outcomes.append(refused(request, *reason))
            else:
                sent.append(request)
        if any(not _is_safe(request) for request in sent):
            return outcomes + _all(sent, Status.UNKNOWN, "TOO_OLD", _TOO_OLD)
        if not sent:
            return outcomes
        body = {
            "sender_batch_header": {"sender_batch_id": str(call_no), **subject(batch.title)},
            "items": [item_of(request, batch.title) for request in sent],
        }
        content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        try:
            answer = self._call("POST", "/v1/payments/payouts", content)
            return outcomes + self._taken(answer, sent)
        except AnswerLost as lost:
            return outcomes + _all(sent, Status.UNKNOWN, None, str(lost))

    def ask(self, batch: BatchRef, requests: Sequence[PayoutRequest]) -> Sequence[Outcome]:  # noqa: ARG002
        """Read the batches' items. Who has no reference yet is ABSENT: see the module's text."""
        outcomes: list[Outcome] = []
        known: list[PayoutRequest] = []
        for request in requests:
            if request.reference:
                known.append(request)
            elif _is_safe(request):
                outcomes.append(Outcome(request.request_no, Status.ABSENT))
            else:
                outcomes += _all([request], Status.UNKNOWN, "TOO_OLD", _TOO_OLD)
        heard = bool(outcomes)
        for batch_id, group in groupby(sorted(known, key=_batch_of), key=_batch_of):
            members = list(group)
            try:
                outcomes += self._items_of(batch_id, members)
                heard = True
            except ProviderUnavailable:
                if not heard:
                    raise
                outcomes += _all(members, Status.UNKNOWN)
            except AnswerLost as lost:
                outcomes += _all(members, Status.UNKNOWN, None, str(lost))
        return outcomes

    def read_callback(self, headers: Mapping[str, str], body: bytes) -> Callback:
        """Have PayPal verify the message, then ask for the item that it names.

        The signature covers a CRC-32 of the body, and bodies with the same CRC are easily made, so
        a message is only a reason to ask: what holds is what the API says. That is also why PayPal
        is left to verify: nothing is gained by fetching certificates that a message names.

        :raises ProviderUnavailable: when PayPal could not be asked; it repeats the message.
        """
        if self._webhook == "none":
            raise BadCallback("no webhook_id is configured")
        found = {name: headers.get(f"paypal-{name}", "") for name in _SIGNED}
        if not all(found.values()) or not _PAYPALS.match(found["cert-url"]):
            raise BadCallback("the signature's headers are missing or not PayPal's")
        if not _is_recent(found["transmission-time"]):
            raise BadCallback("the message is too old or has no time")
        try:
            event = json.loads(body)
            event_id, resource = str(event["id"]), event["resource"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise BadCallback("the body is no event") from None
        facts = {name.replace("-", "_"): value for name, value in found.items()}
        facts["webhook_id"] = self._webhook
        # the body as it came: written anew it would have another CRC
        question = json.dumps(facts)[:-1].encode() + b', "webhook_event": ' + body + b"}"
        try:
            verdict = self._call("POST", "/v1/notifications/verify-webhook-signature", question)
            if verdict.status in (400, 422):
                raise BadCallback("PayPal cannot read what is said to be its own")
            if verdict.status != 200:
                raise ProviderUnavailable(f"PayPal does not verify: status {verdict.status}")
            if field_of(verdict.json(), "verification_status") != "SUCCESS":
                raise BadCallback("the signature does not hold")
            item_id = str(field_of(resource, "payout_item_id") or "")
            if not _ID.fullmatch(item_id):
                return Callback(event_id, ())  # of a whole batch: it names no item
            answer = self._call("GET", f"/v1/payments/payouts-item/{item_id}")
            if answer.status != 200:
                raise ProviderUnavailable(f"PayPal does not show the item: {answer.status}")
            item = answer.json()
            number = field_of(field_of(item, "payout_item"), "sender_item_id")
            outcomes = (outcome_of(str(number), item),) if number else ()
            return Callback(event_id, outcomes)
        except AnswerLost as lost:
            raise ProviderUnavailable(str(lost)) from None

    def reply(self) -> Reply:
        """Any status 200 will do."""
        return Reply()

    def _taken(self, answer: HttpAnswer, sent: Sequence[PayoutRequest]) -> list[Outcome]:
        """What the answer to a new batch says of its requests."""
        if answer.status == 429:
            retry = _seconds(answer.headers.get("retry-after"))
            raise ProviderUnavailable("PayPal was asked too often", retry_after=retry)
        found = answer.json()
        if answer.status in (200, 201):
            batch_id = str(field_of(field_of(found, "batch_header"), "payout_batch_id") or "")
            if not _ID.fullmatch(batch_id):
                raise AnswerLost("the new batch has no id")
            return [Outcome(request.request_no, Status.PENDING, batch_id) for request in sent]
        if first := linked_batch(found):
            try:
                return self._items_of(first, sent)
            except (AnswerLost, ProviderUnavailable) as error:
                # the batch was taken: to say that PayPal is not available would say it was not
                return [
                    Outcome(request.request_no, Status.UNKNOWN, first, message=str(error))
                    for request in sent
                ]
        name = str(field_of(found, "name") or answer.status)
        why = f"{name}: {field_of(found, 'message') or 'no message'}"
        if answer.status in (400, 422) and name in ("VALIDATION_ERROR", "INVALID_REQUEST"):
            # one bad item turns the whole batch away; without it the others may go again
            issues = dict(item_issues(found))
            if not issues:
                raise ProviderUnavailable(why)
            return [
                refused(request, name, issues[i])
                if i in issues
                else Outcome(request.request_no, Status.UNKNOWN, code="NOT_SENT", message=why)
                for i, request in enumerate(sent)
            ]
        if answer.status == 403 or (answer.status in (400, 422) and name == "INSUFFICIENT_FUNDS"):
            raise ProviderUnavailable(why)
        return _all(sent, Status.UNKNOWN, name, why)

    def _items_of(self, batch_id: str, requests: Sequence[PayoutRequest]) -> list[Outcome]:
        """What a batch's items say of ``requests``, page by page until all are found."""
        missing = {request.request_no: request for request in requests}
        outcomes: list[Outcome] = []
        page, pages, denied = 1, 1, False
        while missing and page <= pages:
            answer = self._call(
                "GET",
                f"/v1/payments/payouts/{batch_id}"
                f"?page={page}&page_size={_PAGE}&total_required=true",
            )
            if answer.status == 429:
                retry = _seconds(answer.headers.get("retry-after"))
                raise ProviderUnavailable("PayPal was asked too often", retry_after=retry)
            if answer.status != 200:
                raise AnswerLost(f"batch {batch_id}: status {answer.status}")
            found = answer.json()
            denied = _is_denied(field_of(found, "batch_header"), requests[0].call_no)
            pages = min(int(field_of(found, "total_pages") or 1), _MOST_PAGES)
            for item in field_of(found, "items") or ():
                number = str(field_of(field_of(item, "payout_item"), "sender_item_id") or "")
                if missing.pop(number, None):
                    outcomes.append(outcome_of(number, item, batch_id))
            page += 1
        # documented of a denied batch: its payouts were not processed
        rest = Status.FAILED if denied else Status.UNKNOWN
        code = "DENIED" if denied else "NOT_LISTED"
        return outcomes + [
            Outcome(number, rest, request.reference or batch_id, code)
            for number, request in missing.items()
        ]

    def _call(self, method: str, path: str, body: bytes | None = None) -> HttpAnswer:
        """Call with a token; once more with a new one where the first is not taken."""
        for last in (False, True):
            headers = {"Authorization": f"Bearer {self._bearer()}", "Accept": "application/json"}
            if body is not None:
                headers["Content-Type"] = "application/json"
            answer = self._http.call(method, path, headers=headers, body=body)
            if answer.status != 401:
                return answer
            self._token_until = None
            if last:
                break
        raise ProviderUnavailable("PayPal takes no token of these credentials (401)")

    def _bearer(self) -> str:
        """The token, renewed a minute before it ends. Without one nothing has been sent."""
        now = clock.now()
        if self._token_until is None or now >= self._token_until:
            try:
                answer = self._http.call(
                    "POST",
                    "/v1/oauth2/token",
                    headers={
                        "Authorization": f"Basic {self._basic}",
                        "Content-Type": "application/x-www-form-urlencoded",
                        "Accept": "application/json",
                    },
                    body=b"grant_type=client_credentials",
                )
                if answer.status != 200:
                    raise ProviderUnavailable(f"PayPal gives no token: status {answer.status}")
                found = answer.json()
                self._token = str(found["access_token"])
                lasts = timedelta(seconds=max(int(found["expires_in"]) - 60, 0))
            except AnswerLost as lost:
                raise ProviderUnavailable(f"no token: {lost}") from None
            except (KeyError, TypeError, ValueError):
                raise ProviderUnavailable("PayPal gives no token") from None
            self._token_until = now + lasts
        return self._token


def _is_denied(header: object, call_no: int) -> bool:
    """Whether the batch was denied, and is the call's."""
    sender = field_of(field_of(header, "sender_batch_header"), "sender_batch_id")
    return (field_of(header, "batch_status"), sender) == ("DENIED", str(call_no))


_TOO_OLD = f"more than {SAFE_DAYS} days old and its batch is not known: ask PayPal"


def _is_safe(request: PayoutRequest) -> bool:
    """Whether PayPal would still remember the call number."""
    return request.sent_at is None or clock.now() - request.sent_at < timedelta(days=SAFE_DAYS)


def _batch_of(request: PayoutRequest) -> str:
    return (request.reference or "").partition("/")[0]


def _all(
    requests: Sequence[PayoutRequest],
    status: Status,
    code: str | None = None,
    message: str | None = None,
) -> list[Outcome]:
    return [
        Outcome(request.request_no, status, request.reference, code, message)
        for request in requests
    ]


def _seconds(text: str | None) -> float | None:
    return float(text) if text and text.isdecimal() else None


def _is_recent(text: str) -> bool:
    try:
        sent = datetime.fromisoformat(text.replace("Z", "+00:00"))
        return abs(clock.now() - sent) < _CALLBACK_AGE
    except (ValueError, TypeError):
        return False
