"""The far side of a run: the provider's double, or where its files are, and what it has paid."""

from __future__ import annotations

import csv
import random
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from distrib.money import parse_amount
from tests.doubles import keys, paypal, stripe
from tests.doubles.alipay import AlipayDouble
from tests.doubles.paypal import PayPalDouble
from tests.doubles.server import Answer, Asked, Double, Step
from tests.doubles.stripe import StripeDouble
from tests.doubles.wechat_pay import WechatPayDouble

_WECHAT_KEY = "0123456789abcdefghijklmnopqrstuv"


class Side:
    """A provider as a run has it.

    :param folder: for its keys.
    :param dice: draws what becomes of requests that wait.
    """

    name: ClassVar[str]
    method: ClassVar[str | None]
    currency: ClassVar[str] = "CNY"
    double: Double | None = None

    def __init__(self, folder: Path, dice: random.Random) -> None:
        self.folder, self.dice = folder, dice
        self.failing = 0.0

    def start(self) -> None:
        """Serve."""
        if self.double is not None:
            self.double.start()

    def stop(self) -> None:
        """Serve no more."""
        if self.double is not None:
            self.double.stop()

    @property
    def port(self) -> int:
        """Where the double listens."""
        assert self.double is not None
        return urlsplit(self.double.base_url).port or 0

    def section(self, base_url: str) -> dict[str, Any]:  # noqa: ARG002
        """The provider's settings, but for the adapter's name."""
        return {}

    def account(self, payee: str) -> dict[str, str]:
        """The details of a payee's payout method."""
        return {"account": payee}

    def wait(self) -> None:
        """From now on new requests stay undecided until :meth:`decide`."""

    def decide(self) -> None:
        """Decide what waits, and have something to tell of each."""

    def paid(self, files: Sequence[Path]) -> dict[str, int]:  # noqa: ARG002
        """Minor units by request number, of all that was ever paid."""
        assert self.double is not None
        with self.double.lock:
            return dict(self.double.paid)

    def requests(self) -> int:
        """How many requests it has had."""
        return 0 if self.double is None else len(self.double.asked)

    def slow(self, seconds: float) -> None:
        """Take so long for each request."""
        if self.double is not None:
            self.double.chaos = lambda _: Step(latency=seconds)

    def _write(self, **secrets: str) -> dict[str, str]:
        found = {}
        for name, content in secrets.items():
            path = self.folder / name
            path.write_text(content + "\n", encoding="utf-8")
            found[f"{name}_file"] = str(path)
        return found


class Wechat(Side):
    """WeChat Pay."""

    name, method = "wechat-pay", "wechat"
    double: WechatPayDouble

    def __init__(self, folder: Path, dice: random.Random) -> None:
        super().__init__(folder, dice)
        self.double = WechatPayDouble(
            mch_id="1900001109",
            app_id="wxf636efh567hg4356",
            serial_no="5157F09EFDC096DE15EBE81A47057A72",
            merchant_key=keys.public_pem("merchant"),
            platform_private_key=keys.private_pem("platform"),
            platform_key_id="PUB_KEY_ID_0114232134912410000000000000",
            api_v3_key=_WECHAT_KEY,
        )

    def section(self, base_url: str) -> dict[str, Any]:
        return {
            "mch_id": self.double.mch_id,
            "app_id": self.double.app_id,
            "serial_no": self.double.serial_no,
            "platform_key_id": self.double.platform_key_id,
            "notify_url": "https://shop.example/callbacks",
            "base_url": base_url,
        } | self._write(
            private_key=keys.private_pem("merchant"),
            platform_key=keys.public_pem("platform"),
            api_v3_key=_WECHAT_KEY,
        )

    def account(self, payee: str) -> dict[str, str]:
        return {"openid": f"o-{payee}"}

    def wait(self) -> None:
        self.double.confirms = False

    def decide(self) -> None:
        self.double.confirms = True
        with self.double.lock:
            for bill in list(self.double.bills.values()):
                if bill.state == "WAIT_USER_CONFIRM":
                    if self.dice.random() < self.failing:
                        self.double.finish(bill.number, "FAIL", "PAYEE_ACCOUNT_ABNORMAL")
                    else:
                        self.double.finish(bill.number)


class Alipay(Side):
    """Alipay."""

    name, method = "alipay", "alipay"
    double: AlipayDouble

    def __init__(self, folder: Path, dice: random.Random) -> None:
        super().__init__(folder, dice)
        self.double = AlipayDouble(
            app_id="2013121700999429",
            app_key=keys.public_pem("application"),
            alipay_private_key=keys.private_pem("alipay"),
        )

    def section(self, base_url: str) -> dict[str, Any]:
        return {"app_id": self.double.app_id, "base_url": base_url} | self._write(
            private_key=keys.private_pem("application"),
            alipay_public_key=keys.public_bare("alipay"),
        )

    def account(self, payee: str) -> dict[str, str]:
        number = f"2088{int(payee.removeprefix('d')):012d}"
        return {"identity": number, "identity_type": "ALIPAY_USER_ID"}

    def wait(self) -> None:
        self.double.starts_as = "DEALING"

    def decide(self) -> None:
        self.double.starts_as = "SUCCESS"
        with self.double.lock:
            for order in list(self.double.orders.values()):
                if order.status == "DEALING":
                    if self.dice.random() < self.failing:
                        self.double.change(order.number, "FAIL", "PAYEE_CARD_INFO_ERROR")
                    else:
                        self.double.change(order.number, "SUCCESS")


class _PatientPayPal(PayPalDouble):
    def rate_limited(self, asked: Asked) -> Answer:  # noqa: ARG002
        return Answer(429, b"", {"Retry-After": "1"})


class PayPal(Side):
    """PayPal Payouts. A request is always pending at first."""

    name, method, currency = "paypal", "paypal", "USD"
    double: _PatientPayPal

    def __init__(self, folder: Path, dice: random.Random) -> None:
        super().__init__(folder, dice)
        self.double = _PatientPayPal()
        self._told: set[str] = set()

    def section(self, base_url: str) -> dict[str, Any]:
        return {
            "client_id": paypal.CLIENT_ID,
            "webhook_id": paypal.WEBHOOK_ID,
            "base_url": base_url,
        } | self._write(client_secret=paypal.CLIENT_SECRET)

    def account(self, payee: str) -> dict[str, str]:
        return {"receiver": f"{payee}@example.com"}

    def wait(self) -> None:
        self.double.states = _Waiting()

    def decide(self) -> None:
        self.double.states = {}
        with self.double.lock:
            for batch in self.double.batches.values():
                for number, item in batch.items.items():
                    if item["transaction_status"] == "PENDING":
                        self._end(number, item)
                    if number not in self._told:
                        self._told.add(number)
                        kind = {"SUCCESS": "SUCCEEDED"}.get(item["transaction_status"], "FAILED")
                        self.double.tell(number, kind)

    def _end(self, number: str, item: dict[str, Any]) -> None:
        if self.dice.random() < self.failing:
            item["transaction_status"] = "FAILED"
            item["errors"] = {"name": "RECEIVER_ACCOUNT_LOCKED", "message": "locked"}
            return
        item["transaction_status"] = "SUCCESS"
        asked = item["payout_item"]
        amount = parse_amount(asked["amount"]["value"], asked["amount"]["currency"])
        self.double.pay(number, asked["receiver"], amount)


class _Waiting(dict[str, tuple[str, str | None]]):
    """Every receiver's items wait."""

    def get(self, key: str, default: Any = None) -> Any:  # noqa: ARG002
        return ("PENDING", None)


class Stripe(Side):
    """Stripe Connect. A transfer is made at once."""

    name, method, currency = "stripe", "stripe", "USD"
    double: StripeDouble

    def __init__(self, folder: Path, dice: random.Random) -> None:
        super().__init__(folder, dice)
        self.double = StripeDouble()
        self._told: set[str] = set()

    def section(self, base_url: str) -> dict[str, Any]:
        return {"base_url": base_url, "callbacks": True} | self._write(
            api_key=stripe.API_KEY, webhook_secret=stripe.WEBHOOK_SECRET
        )

    def account(self, payee: str) -> dict[str, str]:
        return {"account_id": f"acct_{payee}"}

    def decide(self) -> None:
        with self.double.lock:
            for number, transfer in self.double.transfers.items():
                if number not in self._told:
                    self._told.add(number)
                    self.double.tell(transfer, "transfer.created")


class BankFile(Side):
    """A CSV for the bank."""

    name, method = "bank-file", None

    def paid(self, files: Sequence[Path]) -> dict[str, int]:
        found: Counter[str] = Counter()
        for path in files:
            for line in csv.DictReader(path.read_text(encoding="utf-8").splitlines()):
                found[line["request_no"]] += parse_amount(line["amount"], line["currency"])
        return dict(found)


_TRANSFER = re.compile(
    r"<EndToEndId>(\w+)</EndToEndId></PmtId><Amt><InstdAmt Ccy=\"(\w+)\">([\d.]+)<"
)


class Pain001(Side):
    """A pain.001 for the bank."""

    name, method = "pain-001", "bank"

    def section(self, base_url: str) -> dict[str, Any]:  # noqa: ARG002
        return {
            "debtor_name": "Tea House",
            "debtor_account": "110001",
            "debtor_bank": "BKCHCNBJ",
            "await_status": False,
        }

    def account(self, payee: str) -> dict[str, str]:
        return {"account_no": f"6222{payee.removeprefix('d')}", "bank_name": "Bank of Tea"}

    def paid(self, files: Sequence[Path]) -> dict[str, int]:
        found: Counter[str] = Counter()
        for path in files:
            for number, currency, amount in _TRANSFER.findall(path.read_text(encoding="utf-8")):
                found[number] += parse_amount(amount, currency)
        return dict(found)


SIDES: dict[str, type[Side]] = {
    side.name: side for side in (Wechat, Alipay, PayPal, Stripe, BankFile, Pain001)
}
"""The providers that a run may draw."""

ONLINE = ("wechat-pay", "alipay", "paypal", "stripe")
FILES = ("bank-file", "pain-001")
