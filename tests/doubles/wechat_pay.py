"""WeChat Pay as its documentation describes it, seen from its own side.

    python -m tests.doubles.wechat_pay KEYS.json

serves in a process of its own; the file's object has the parameters of :class:`WechatPayDouble`,
keys as PEM texts.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.doubles import keys
from tests.doubles.server import Answer, Asked, Double, Event, Message, main

BILLS = "/v3/fund-app/mch-transfer/transfer-bills"
_FINAL = ("SUCCESS", "FAIL", "CANCELLED")
_AUTHORIZATION = re.compile(
    r'WECHATPAY2-SHA256-RSA2048 mchid="(?P<mchid>[^"]*)",nonce_str="(?P<nonce>[^"]*)",'
    r'timestamp="(?P<timestamp>\d+)",serial_no="(?P<serial>[^"]*)",signature="(?P<sign>[^"]*)"'
)


@dataclass(frozen=True)
class Bill:
    """A transfer bill: what was asked for, in the clear, and what became of it."""

    number: str
    transfer_no: str
    asked: dict[str, object]
    state: str = "WAIT_USER_CONFIRM"
    fail_reason: str | None = None

    @property
    def amount(self) -> int:
        """Fen."""
        amount = self.asked["transfer_amount"]
        assert isinstance(amount, int)
        return amount


class WechatPayDouble(Double):
    """The attributes are the test's to set.

    ``balance`` (fen, None: any) is what the merchant has; ``confirms`` says whether payees confirm
    at once, otherwise :meth:`finish` ends a bill. ``refuses`` has the answer (HTTP status, code) to
    a bill for an openid, ``fails`` the ``fail_reason``; ``names`` the true names by openid. ``now``
    tells the time.
    """

    def __init__(
        self,
        *,
        mch_id: str,
        app_id: str,
        serial_no: str,
        merchant_key: str,
        platform_private_key: str,
        platform_key_id: str,
        api_v3_key: str,
    ) -> None:
        super().__init__()
        self.mch_id, self.app_id, self.serial_no = mch_id, app_id, serial_no
        self._merchant = keys.load_public(merchant_key)
        self._platform = keys.load_private(platform_private_key)
        self.platform_key_id = platform_key_id
        self._api_v3_key = api_v3_key.encode()
        self.bills: dict[str, Bill] = {}
        self.balance: int | None = None
        self.confirms = True
        self.refuses: dict[str, tuple[int, str]] = {}
        self.fails: dict[str, str] = {}
        self.names: dict[str, str] = {}
        self.now: Callable[[], float] = time.time

    def handle(self, asked: Asked) -> Answer:
        """One call."""
        if not self._is_signed(asked):
            return _error(401, "SIGN_ERROR", "签名错误")
        if asked.method == "POST" and asked.path == BILLS:
            return self._transfer(asked)
        head, _, number = asked.path.rpartition("/")
        if asked.method == "GET" and head == f"{BILLS}/out-bill-no":
            bill = self.bills.get(number)
            return (
                Answer.json(200, self._described(bill))
                if bill
                else _error(404, "NOT_FOUND", "记录不存在")
            )
        return _error(404, "RESOURCE_NOT_EXISTS", "请求的资源不存在")

    def finish(self, number: str, state: str = "SUCCESS", fail_reason: str | None = None) -> None:
        """End a bill, as the payee, the clock or the merchant would."""
        with self.lock:
            bill = self.bills[number] = replace(
                self.bills[number], state=state, fail_reason=fail_reason
            )
            if state == "SUCCESS":
                self.pay(number, str(bill.asked["openid"]), bill.amount)
            if state in _FINAL:
                self.outbox.append(Event(f"EV-{number}-{state}", self._described(bill)))

    def sign(self, asked: Asked, answer: Answer, *, valid: bool) -> Answer:  # noqa: ARG002
        """Sign all but what is not signed: a call whose own signature does not hold."""
        if answer.status == 401:
            return answer
        return replace(
            answer, headers={**answer.headers, **self._signature(answer.body, valid=valid)}
        )

    def rate_limited(self, asked: Asked) -> Answer:  # noqa: ARG002
        """429, nothing accepted."""
        return _error(429, "FREQUENCY_LIMITED", "请求频率超限，请降低频率后原单重试")

    def message(self, event: Event, *, valid: bool = True) -> Message:
        """The notification, its resource encrypted."""
        nonce = secrets.token_hex(6)
        content = json.dumps(event.content, ensure_ascii=False).encode()
        ciphertext = AESGCM(self._api_v3_key).encrypt(nonce.encode(), content, b"mch_payment")
        document = {
            "id": event.id,
            "create_time": "2026-11-23T15:04:03+08:00",
            "resource_type": "encrypt-resource",
            "event_type": "MCHTRANSFER.BILL.FINISHED",
            "summary": "商家转账单据终态通知",
            "resource": {
                "original_type": "mch_payment",
                "algorithm": "AEAD_AES_256_GCM",
                "ciphertext": base64.b64encode(ciphertext).decode(),
                "associated_data": "mch_payment",
                "nonce": nonce,
            },
        }
        body = json.dumps(document, ensure_ascii=False).encode()
        headers = {"Content-Type": "application/json", **self._signature(body, valid=valid)}
        return Message(headers, body)

    def _transfer(self, asked: Asked) -> Answer:
        wanted = self._read_wanted(asked)
        if isinstance(wanted, Answer):
            return wanted
        number, openid = str(wanted["out_bill_no"]), str(wanted["openid"])
        bill = self.bills.get(number)
        if bill is not None:
            if bill.asked != wanted:
                return _error(400, "INVALID_REQUEST", "单号已存在但信息不一致，请查单后比较确认")
            return Answer.json(200, self._created(bill))
        if openid in self.refuses:
            status, code = self.refuses[openid]
            return _error(status, code, "请求被拒绝")
        bill = Bill(number, f"13300{len(self.bills):027d}", wanted)
        if self.balance is not None:
            if bill.amount > self.balance:
                return _error(403, "NOT_ENOUGH", "商户运营账户资金不足，充值后可以原单号发起重试")
            self.balance -= bill.amount
        self.bills[number] = bill
        if openid in self.fails:
            self.finish(number, "FAIL", self.fails[openid])
        elif "user_name" in wanted and wanted["user_name"] != self.names.get(
            openid, wanted["user_name"]
        ):
            self.finish(number, "FAIL", "NAME_NOT_CORRECT")
        elif self.confirms:
            self.finish(number)
        return Answer.json(200, self._created(self.bills[number]))

    def _read_wanted(self, asked: Asked) -> dict[str, object] | Answer:
        wanted: dict[str, object] = json.loads(asked.body)
        amount, name = wanted.get("transfer_amount"), wanted.get("user_name")
        report = wanted.get("transfer_scene_report_infos")
        if (
            wanted.get("appid") != self.app_id
            or not re.fullmatch("[0-9A-Za-z]{1,32}", str(wanted.get("out_bill_no", "")))
            or not isinstance(amount, int)
            or not wanted.get("openid")
            or not 1 <= len(str(wanted.get("transfer_remark", ""))) <= 32
            or (amount >= 200_000 and name is None)
            or (amount < 30 and name is not None)
        ):
            return _error(400, "PARAM_ERROR", "参数错误")
        kinds = [info["info_type"] for info in report] if isinstance(report, list) else []
        if wanted.get("transfer_scene_id") != "1005" or kinds != ["岗位类型", "报酬说明"]:
            return _error(400, "PARAM_ERROR", "未传入完整且对应的转账场景报备信息")
        if name is None:
            return wanted
        if asked.headers.get("wechatpay-serial") != self.platform_key_id:
            return _error(400, "PARAM_ERROR", "平台证书序列号Wechatpay-Serial错误")
        oaep = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)
        try:
            clear = self._platform.decrypt(base64.b64decode(str(name)), oaep).decode()
        except ValueError:
            return _error(400, "PARAM_ERROR", "敏感信息解密失败")
        return wanted | {"user_name": clear}

    def _is_signed(self, asked: Asked) -> bool:
        found = _AUTHORIZATION.fullmatch(asked.headers.get("authorization", ""))
        if (
            found is None
            or found["mchid"] != self.mch_id
            or found["serial"] != self.serial_no
            or abs(self.now() - int(found["timestamp"])) > 300
        ):
            return False
        lines = (asked.method, asked.path, found["timestamp"], found["nonce"], asked.body.decode())
        content = "".join(f"{line}\n" for line in lines).encode()
        try:
            self._merchant.verify(
                base64.b64decode(found["sign"]), content, padding.PKCS1v15(), hashes.SHA256()
            )
        except InvalidSignature:
            return False
        return True

    def _signature(self, body: bytes, *, valid: bool) -> dict[str, str]:
        timestamp, nonce = str(int(self.now())), secrets.token_hex(16)
        content = f"{timestamp}\n{nonce}\n".encode() + body + b"\n"
        signature = base64.b64encode(
            self._platform.sign(content, padding.PKCS1v15(), hashes.SHA256())
        ).decode()
        return {
            "Wechatpay-Timestamp": timestamp,
            "Wechatpay-Nonce": nonce,
            "Wechatpay-Serial": self.platform_key_id,
            "Wechatpay-Signature": signature if valid else f"WECHATPAY/SIGNTEST/{signature}",
            "Wechatpay-Signature-Type": "WECHATPAY2-SHA256-RSA2048",
        }

    def _created(self, bill: Bill) -> dict[str, object]:
        answer: dict[str, object] = {
            "out_bill_no": bill.number,
            "transfer_bill_no": bill.transfer_no,
            "create_time": "2026-11-23T13:29:35.120+08:00",
            "state": bill.state,
        }
        if bill.state == "WAIT_USER_CONFIRM":
            answer["package_info"] = f"affffddafdfafddffda{bill.number}=="
        return answer | ({"fail_reason": bill.fail_reason} if bill.fail_reason else {})

    def _described(self, bill: Bill) -> dict[str, object]:
        answer: dict[str, object] = {
            "mch_id": self.mch_id,
            "out_bill_no": bill.number,
            "transfer_bill_no": bill.transfer_no,
            "appid": self.app_id,
            "state": bill.state,
            "transfer_amount": bill.amount,
            "transfer_remark": bill.asked["transfer_remark"],
            "openid": bill.asked["openid"],
            "create_time": "2026-11-23T13:29:35.120+08:00",
            "update_time": "2026-11-23T13:29:35.120+08:00",
        }
        return answer | ({"fail_reason": bill.fail_reason} if bill.fail_reason else {})


def _error(status: int, code: str, message: str) -> Answer:
    return Answer.json(status, {"code": code, "message": message})


def from_file(path: Path) -> WechatPayDouble:
    """A double with the parameters that a JSON file holds."""
    parameters: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return WechatPayDouble(**parameters)


if __name__ == "__main__":
    main(from_file(Path(sys.argv[1])))
