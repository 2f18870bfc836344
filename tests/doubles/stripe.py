"""Stripe transfers, from Stripe's side: idempotency keys, the balance, transfers, webhooks."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

from distrib import clock
from tests.doubles.server import Answer, Asked, Double, Event, Message, main

API_KEY = "sk_test_not_a_secret"
WEBHOOK_SECRET = "whsec_not_a_secret"


class StripeDouble(Double):
    """Transfers to accounts that ``refusals`` does not name are made at once.

    ``refusals`` is account → status and error; ``balance`` is in Stripe's units by currency;
    ``forget`` empties the memory of idempotency keys, as a day does.
    """

    def __init__(self) -> None:
        super().__init__()
        self.transfers: dict[str, dict[str, Any]] = {}
        self.keys: dict[str, tuple[bytes, Answer]] = {}
        self.refusals: dict[str, tuple[int, dict[str, str]]] = {}
        self.balance: dict[str, int] = {"usd": 10**12, "eur": 10**12, "jpy": 10**12}
        self.may_look = True

    def forget(self) -> None:
        """A day passes."""
        self.keys.clear()

    def handle(self, asked: Asked) -> Answer:  # noqa: PLR0911 - one for each path
        if asked.headers.get("authorization") != f"Bearer {API_KEY}":
            key = asked.headers.get("authorization", "").removeprefix("Bearer ")
            return _refuse(401, {"message": f"Invalid API Key provided: {key}"})
        if "stripe-version" not in asked.headers:
            return _refuse(400, {"message": "no version"})
        path = urlsplit(asked.path)
        match asked.method, path.path.strip("/").split("/"):
            case "GET", ["v1", "balance"]:
                if not self.may_look:
                    return _refuse(403, {"message": "the key may not read the balance"})
                available = [{"amount": n, "currency": c} for c, n in self.balance.items()]
                return Answer.json(200, {"object": "balance", "available": available})
            case "POST", ["v1", "transfers"]:
                return self._create(asked)
            case "GET", ["v1", "transfers"]:
                group = parse_qs(path.query)["transfer_group"][0]
                data = [t for t in self.transfers.values() if t["transfer_group"] == group]
                return Answer.json(200, {"object": "list", "data": data, "has_more": False})
            case "GET", ["v1", "transfers", transfer_id] if transfer_id in self.transfers:
                return Answer.json(200, self.transfers[transfer_id])
        return _refuse(404, {"code": "resource_missing", "message": "No such thing"})

    def rate_limited(self, asked: Asked) -> Answer:  # noqa: ARG002
        error = {"type": "invalid_request_error", "code": "rate_limit", "message": "Too fast"}
        return Answer.json(429, {"error": error})

    def message(self, event: Event, *, valid: bool = True) -> Message:
        body = json.dumps({"id": event.id, "object": "event", **event.content}).encode()
        return Message({"stripe-signature": signature(body, valid=valid)}, body)

    def reverse(self, request_no: str, amount: int | None = None) -> Event:
        """Take money back, and tell."""
        transfer = next(
            t for t in self.transfers.values() if t["metadata"]["request_no"] == request_no
        )
        transfer["amount_reversed"] += transfer["amount"] if amount is None else amount
        transfer["reversed"] = transfer["amount_reversed"] == transfer["amount"]
        return self.tell(transfer, "transfer.reversed")

    def tell(self, transfer: dict[str, Any], kind: str) -> Event:
        """An event, put into the outbox."""
        content = {"type": kind, "data": {"object": dict(transfer)}}
        event = Event(f"evt_{len(self.outbox)}", content)
        self.outbox.append(event)
        return event

    def _create(self, asked: Asked) -> Answer:
        key = asked.headers["idempotency-key"]
        if key in self.keys:
            body, answer = self.keys[key]
            if body != asked.body:
                return _refuse(400, {"type": "idempotency_error", "message": "another request"})
            return answer
        answer = self._transfer({k: v[0] for k, v in parse_qs(asked.body.decode()).items()})
        self.keys[key] = (asked.body, answer)
        return answer

    def _transfer(self, form: dict[str, str]) -> Answer:
        account, amount, currency = form["destination"], int(form["amount"]), form["currency"]
        if account in self.refusals:
            return _refuse(*self.refusals[account])
        if self.balance.get(currency, 0) < amount:
            return _refuse(400, {"code": "balance_insufficient", "message": "Insufficient funds"})
        self.balance[currency] -= amount
        transfer: dict[str, Any] = {
            "id": f"tr_{len(self.transfers)}",
            "object": "transfer",
            "amount": amount,
            "amount_reversed": 0,
            "reversed": False,
            "currency": currency,
            "destination": account,
            "transfer_group": form["transfer_group"],
            "metadata": {"request_no": form["metadata[request_no]"]},
        }
        self.transfers[transfer["id"]] = transfer
        self.pay(form["metadata[request_no]"], account, amount)
        return Answer.json(200, transfer)


def signature(body: bytes, *, valid: bool = True, age: float = 0, key: str = WEBHOOK_SECRET) -> str:
    """The header over a body."""
    stamp = str(int(clock.now().timestamp() - age))
    content = stamp.encode() + b"." + body
    digest = hmac.new(key.encode(), content, hashlib.sha256).hexdigest()
    return f"t={stamp},v1={digest if valid else '0' * 64},v0=old"


def _refuse(status: int, error: dict[str, str]) -> Answer:
    return Answer.json(status, {"error": {"type": "invalid_request_error", **error}})


if __name__ == "__main__":
    main(StripeDouble())
