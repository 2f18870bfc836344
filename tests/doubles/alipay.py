"""Alipay's open platform as its documentation describes it, seen from its own side.

    python -m tests.doubles.alipay KEYS.json

serves in a process of its own; the file's object has the parameters of :class:`AlipayDouble`, keys
as PEM texts.
"""

from __future__ import annotations

import base64
import json
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from tests.doubles import keys
from tests.doubles.server import Answer, Asked, Double, Event, Message, main

TRANSFER = "alipay.fund.trans.uni.transfer"
QUERY = "alipay.fund.trans.common.query"
CHANGED = "alipay.fund.trans.order.changed"
_PRODUCT = {"product_code": "TRANS_ACCOUNT_NO_PWD", "biz_scene": "DIRECT_TRANSFER"}
_WORDS = {"20000": "Service Currently Unavailable", "40004": "Business Failed"}

Part = dict[str, object]


@dataclass(frozen=True)
class Order:
    """A transfer: what was asked for, and what became of it."""

    number: str
    order_id: str
    asked: Part
    status: str = "SUCCESS"
    fail_reason: str | None = None

    @property
    def amount(self) -> int:
        """Fen."""
        whole, cents = str(self.asked["trans_amount"]).split(".")
        return int(whole) * 100 + int(cents)


class AlipayDouble(Double):
    """The attributes are the test's to set.

    ``balance`` (fen, None: any) is what the merchant has; ``starts_as`` the status of a new
    transfer, which :meth:`change` changes. ``refuses`` has the sub-code for an identity, ``names``
    the true names. ``answers_20000`` says how many transfers come to pass and are answered with
    20000. ``certificate_numbers`` (application, root), when set, are demanded.
    """

    def __init__(self, *, app_id: str, app_key: str, alipay_private_key: str) -> None:
        super().__init__()
        self.app_id = app_id
        self._application = keys.load_public(app_key)
        self._own = keys.load_private(alipay_private_key)
        self.orders: dict[str, Order] = {}
        self.balance: int | None = None
        self.starts_as = "SUCCESS"
        self.refuses: dict[str, str] = {}
        self.names: dict[str, str] = {}
        self.answers_20000 = 0
        self.certificate_numbers: tuple[str, str] | None = None

    def handle(self, asked: Asked) -> Answer:
        """One call of the gateway."""
        url = urlsplit(asked.path)
        fields = dict(parse_qsl(url.query)) | dict(parse_qsl(asked.body.decode()))
        method = fields.get("method", "")
        refusal = self._refusal(url.path, fields)
        if refusal is not None:
            return _answer(method, refusal)
        content = json.loads(fields["biz_content"])
        if method == TRANSFER:
            part = self._transfer(content)
        elif method == QUERY:
            part = self._query(content)
        else:
            part = _failure("isv.invalid-method", "不存在的方法名", code="40002")
        return _answer(method, part)

    def change(self, number: str, status: str, fail_reason: str | None = None) -> None:
        """Let a transfer come to an end, or back."""
        with self.lock:
            order = replace(self.orders[number], status=status, fail_reason=fail_reason)
            self.orders[number] = order
            payee = order.asked["payee_info"]
            assert isinstance(payee, dict)
            if status == "SUCCESS":
                self.pay(number, str(payee["identity"]), order.amount)
            if status == "REFUND":
                self.received[str(payee["identity"])] -= self.paid.pop(number, 0)
            if status != "DEALING":
                content = self._described(order) | {
                    **_PRODUCT,
                    "origin_interface": TRANSFER,
                    "action_type": "FINISH",
                }
                self.outbox.append(Event(f"ntf{number}{status}", content))

    def sign(self, asked: Asked, answer: Answer, *, valid: bool) -> Answer:  # noqa: ARG002
        """Put the signature of the response's characters beside it; none without a good call."""
        text = answer.body.decode()
        if '"code":"40002"' in text:
            return answer
        part = text[text.index(":") + 1 : -1]
        signature = self._signature(part if valid else part + " ")
        return replace(answer, body=f'{text[:-1]},"sign":"{signature}"}}'.encode())

    def rate_limited(self, asked: Asked) -> Answer:
        """The gateway's answer to too many calls."""
        method = dict(parse_qsl(urlsplit(asked.path).query)).get("method", "")
        return _answer(method, _failure("isv.app-call-limited", "调用频次超限", code="40005"))

    def message(self, event: Event, *, valid: bool = True) -> Message:
        """The notification as a form."""
        form = {
            "notify_id": event.id,
            "utc_timestamp": "1795410243000",
            "msg_method": CHANGED,
            "app_id": self.app_id,
            "charset": "utf-8",
            "version": "1.1",
            "biz_content": json.dumps(event.content, ensure_ascii=False),
        }
        signature = self._signature(_signed_text(form) + ("" if valid else " "))
        body = urlencode(form | {"sign": signature, "sign_type": "RSA2"}).encode()
        return Message({"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}, body)

    def _transfer(self, content: Part) -> Part:
        if not _is_complete(content):
            return _failure("INVALID_PARAMETER", "参数有误")
        number = str(content["out_biz_no"])
        order = self.orders.get(number)
        if order is not None:
            if order.asked != content:
                return _failure(
                    "PAYMENT_INFO_INCONSISTENCY", "两次请求商户单号一样，但是参数不一致"
                )
            return self._made(order)
        order = Order(number, f"2026112311007000{len(self.orders):016d}", content, "DEALING")
        refusal = self._objection(order)
        if refusal is not None:
            return refusal
        self.orders[number] = order
        self.change(number, self.starts_as)
        if self.answers_20000:
            self.answers_20000 -= 1
            return _failure("isp.unknow-error", "系统繁忙", code="20000")
        return self._made(self.orders[number])

    def _objection(self, order: Order) -> Part | None:
        """What Alipay has against a new transfer. Takes its money from the balance."""
        payee = order.asked["payee_info"]
        assert isinstance(payee, dict)
        identity = str(payee["identity"])
        if identity in self.refuses:
            return _failure(self.refuses[identity], "业务处理失败")
        if "name" in payee and payee["name"] != self.names.get(identity, payee["name"]):
            return _failure("PAYEE_USER_INFO_ERROR", "支付宝账号和姓名不匹配，请确认姓名是否正确")
        if order.amount < 10:
            return _failure("EXCEED_LIMIT_SM_MIN_AMOUNT", "请求金额低于单笔最小转账金额")
        if self.balance is not None:
            if order.amount > self.balance:
                return _failure("PAYER_BALANCE_NOT_ENOUGH", "付款方余额不足")
            self.balance -= order.amount
        return None

    def _query(self, content: Part) -> Part:
        order = self.orders.get(str(content.get("out_biz_no")))
        if any(content.get(name) != value for name, value in _PRODUCT.items()):
            return _failure("INVALID_PARAMETER", "参数有误")
        if order is None:
            return _failure("ORDER_NOT_EXIST", "转账订单不存在")
        return {"code": "10000", "msg": "Success", **self._described(order)}

    def _made(self, order: Order) -> Part:
        return {
            "code": "10000",
            "msg": "Success",
            "out_biz_no": order.number,
            "order_id": order.order_id,
            "pay_fund_order_id": order.order_id,
            "status": order.status,
            "trans_date": "2026-11-23 10:41:39",
        }

    def _described(self, order: Order) -> Part:
        described: Part = {
            "order_id": order.order_id,
            "pay_fund_order_id": order.order_id,
            "out_biz_no": order.number,
            "trans_amount": order.asked["trans_amount"],
            "status": order.status,
            "pay_date": "2026-11-23 10:41:39",
        }
        return described | ({"fail_reason": order.fail_reason} if order.fail_reason else {})

    def _refusal(self, path: str, fields: dict[str, str]) -> Part | None:
        """What the gateway itself has against a call."""
        fixed = {"app_id": self.app_id, "charset": "utf-8", "sign_type": "RSA2", "version": "1.0"}
        if self.certificate_numbers is not None:
            names = ("app_cert_sn", "alipay_root_cert_sn")
            fixed |= dict(zip(names, self.certificate_numbers, strict=True))
        for name, value in fixed.items():
            if fields.get(name) != value:
                return _failure(f"isv.invalid-{name}", f"{name} 无效", code="40002")
        text = _signed_text(fields)
        try:
            self._application.verify(
                base64.b64decode(fields.get("sign", "")),
                text.encode(),
                padding.PKCS1v15(),
                hashes.SHA256(),
            )
        except InvalidSignature:
            # Alipay repeats what it thinks was signed, the payee's name with it.
            return _failure(
                "isv.invalid-signature", f"验签出错，验签字符串为：{text}", code="40002"
            )
        if path != "/gateway.do" or not re.fullmatch(
            r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", fields.get("timestamp", "")
        ):
            return _failure("isv.invalid-timestamp", "非法的时间戳参数", code="40002")
        return None

    def _signature(self, text: str) -> str:
        signature = self._own.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
        return base64.b64encode(signature).decode()


def _is_complete(content: Part) -> bool:
    payee = content.get("payee_info")
    return (
        isinstance(payee, dict)
        and bool(payee.get("identity"))
        and (payee.get("identity_type") != "ALIPAY_LOGON_ID" or bool(payee.get("name")))
        and re.fullmatch(r"[0-9A-Za-z_-]{1,64}", str(content.get("out_biz_no", ""))) is not None
        and re.fullmatch(r"\d+\.\d\d", str(content.get("trans_amount"))) is not None
        and bool(content.get("order_title"))
        and all(content.get(name) == value for name, value in _PRODUCT.items())
    )


def _answer(method: str, part: Part) -> Answer:
    return Answer.json(200, {method.replace(".", "_") + "_response": part})


def _failure(sub_code: str, sub_msg: str, *, code: str = "40004") -> Part:
    return {
        "code": code,
        "msg": _WORDS.get(code, "Invalid Arguments"),
        "sub_code": sub_code,
        "sub_msg": sub_msg,
    }


def _signed_text(fields: dict[str, str]) -> str:
    return "&".join(f"{name}={fields[name]}" for name in sorted(fields) if name != "sign")


def from_file(path: Path) -> AlipayDouble:
    """A double with the parameters that a JSON file holds."""
    parameters: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return AlipayDouble(**parameters)


if __name__ == "__main__":
    main(from_file(Path(sys.argv[1])))
