"""PayPal Payouts, from PayPal's side: tokens, batches, items, webhooks."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from distrib import clock
from distrib.money import parse_amount
from tests.doubles.server import Answer, Asked, Double, Event, Message, main

CLIENT_ID = "client"
CLIENT_SECRET = "EHLd-not-a-secret"
WEBHOOK_ID = "1JE4291016473214C"


@dataclass
class Batch:
    """A batch as PayPal keeps it; items by ``sender_item_id``."""

    id: str
    sender_batch_id: str
    status: str = "SUCCESS"
    items: dict[str, dict[str, Any]] = field(default_factory=dict)


class PayPalDouble(Double):
    """Items succeed at once; ``states`` says of a receiver what becomes of its items instead.

    ``tokens`` are those that still hold; ``denied`` makes new batches denied; ``hidden`` are items
    that PayPal does not list; ``turned_away`` is what the next batch is answered with, if anything.
    """

    def __init__(self) -> None:
        super().__init__()
        self.batches: dict[str, Batch] = {}
        self.tokens: set[str] = set()
        self.states: dict[str, tuple[str, str | None]] = {}
        self.denied = False
        self.hidden: set[str] = set()
        self.link = True
        self.turned_away: Answer | None = None
        self.sent: set[tuple[str, str, int]] = set()

    def handle(self, asked: Asked) -> Answer:  # noqa: PLR0911 - one for each path
        path = urlsplit(asked.path)
        if path.path == "/v1/oauth2/token":
            return self._token(asked)
        if asked.headers.get("authorization", "").removeprefix("Bearer ") not in self.tokens:
            return Answer.json(401, _error("AUTHENTICATION_FAILURE", "no token"))
        match asked.method, path.path.strip("/").split("/"):
            case "POST", ["v1", "payments", "payouts"]:
                return self._create(json.loads(asked.body))
            case "GET", ["v1", "payments", "payouts", batch_id]:
                return self._show(batch_id, parse_qs(path.query))
            case "GET", ["v1", "payments", "payouts-item", item_id]:
                for batch in self.batches.values():
                    for item in batch.items.values():
                        if item["payout_item_id"] == item_id:
                            return Answer.json(200, item)
            case "POST", ["v1", "notifications", "verify-webhook-signature"]:
                return self._verify(asked.body)
        return Answer.json(404, _error("RESOURCE_NOT_FOUND", "nothing here"))

    def rate_limited(self, asked: Asked) -> Answer:  # noqa: ARG002
        return Answer(429, b"", {"Retry-After": "7"})

    def message(self, event: Event, *, valid: bool = True) -> Message:
        body = json.dumps({"id": event.id, **event.content}).encode()
        time = clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
        if valid:
            self.sent.add((event.id, time, zlib.crc32(body)))
        return Message(
            {
                "paypal-auth-algo": "SHA256withRSA",
                "paypal-cert-url": "https://api.paypal.com/v1/notifications/certs/CERT-1",
                "paypal-transmission-id": event.id,
                "paypal-transmission-sig": "c2lnbmF0dXJl",
                "paypal-transmission-time": time,
            },
            body,
        )

    def tell(self, request_no: str, kind: str) -> Event:
        """An event about an item, put into the outbox."""
        item = next(b.items[request_no] for b in self.batches.values() if request_no in b.items)
        event = Event(
            f"WH-{len(self.outbox)}-{item['payout_item_id']}",
            {"event_type": f"PAYMENT.PAYOUTS-ITEM.{kind}", "resource": dict(item)},
        )
        self.outbox.append(event)
        return event

    def _token(self, asked: Asked) -> Answer:
        expected = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
        if asked.headers.get("authorization") != f"Basic {expected}":
            return Answer.json(401, {"error": "invalid_client"})
        token = f"A21AA-{len(self.asked)}"
        self.tokens.add(token)
        return Answer.json(200, {"access_token": token, "token_type": "Bearer", "expires_in": 900})

    def _create(self, body: Mapping[str, Any]) -> Answer:
        if self.turned_away:
            answer, self.turned_away = self.turned_away, None
            return answer
        sender_id = body["sender_batch_header"]["sender_batch_id"]
        for batch in self.batches.values():
            if batch.sender_batch_id == sender_id:
                error = _error("USER_BUSINESS_ERROR", "User business error.")
                error["details"] = [
                    {"field": "SENDER_BATCH_ID", "issue": "Duplicate batch request"}
                ]
                if self.link:
                    href = f"https://api-m.paypal.com/v1/payments/payouts/{batch.id}"
                    error["links"] = [{"href": href, "rel": "self", "method": "GET"}]
                return Answer.json(400, error)
        bad = [i for i, item in enumerate(body["items"]) if "@" not in item["receiver"]]
        if bad:
            error = _error("VALIDATION_ERROR", "Invalid request - see details")
            issue = "Receiver is invalid or does not match with type"
            error["details"] = [
                {"field": f"items[{i}].receiver", "location": "body", "issue": issue} for i in bad
            ]
            return Answer.json(400, error)
        batch = Batch(f"BATCH{len(self.batches)}", sender_id)
        batch.status = "DENIED" if self.denied else "SUCCESS"
        self.batches[batch.id] = batch
        for item in body["items"] if not self.denied else ():
            number, receiver = item["sender_item_id"], item["receiver"]
            state, error_name = self.states.get(receiver, ("SUCCESS", None))
            batch.items[number] = {
                "payout_item_id": f"ITEM{len(batch.items)}{batch.id}",
                "payout_batch_id": batch.id,
                "transaction_status": state,
                "payout_item": item,
            }
            if error_name:
                batch.items[number]["errors"] = _error(error_name, f"about {error_name}")
            if state == "SUCCESS":
                money = item["amount"]
                amount = parse_amount(money["value"], money["currency"])
                self.pay(number, receiver, amount)
        return Answer.json(201, {"batch_header": self._header(batch, "PENDING")})

    def _header(self, batch: Batch, status: str) -> dict[str, Any]:
        return {
            "payout_batch_id": batch.id,
            "batch_status": status,
            "sender_batch_header": {"sender_batch_id": batch.sender_batch_id},
        }

    def _show(self, batch_id: str, query: Mapping[str, list[str]]) -> Answer:
        batch = self.batches.get(batch_id)
        if batch is None:
            return Answer.json(404, _error("RESOURCE_NOT_FOUND", "no such batch"))
        page, size = int(query["page"][0]), int(query["page_size"][0])
        items = [item for number, item in batch.items.items() if number not in self.hidden]
        shown = items[(page - 1) * size : page * size]
        answer = {
            "batch_header": self._header(batch, batch.status),
            "total_items": len(items),
            "total_pages": -(-len(items) // size),
            **({"items": shown} if shown else {}),
        }
        return Answer.json(200, answer)

    def _verify(self, body: bytes) -> Answer:
        question = json.loads(body)
        # what PayPal signs is the body as sent, so it must come back as sent
        raw = body.partition(b'"webhook_event": ')[2][:-1]
        sent = (question["transmission_id"], question["transmission_time"], zlib.crc32(raw))
        good = sent in self.sent and question["webhook_id"] == WEBHOOK_ID
        return Answer.json(200, {"verification_status": "SUCCESS" if good else "FAILURE"})


def _error(name: str, message: str) -> dict[str, Any]:
    return {"name": name, "message": message, "debug_id": "d2f960dd11018", "links": []}


if __name__ == "__main__":
    main(PayPalDouble())
