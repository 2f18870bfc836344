"""WeChat Pay's merchant transfer (商家转账), which the payee confirms in WeChat.

Written after the merchant documentation of WeChat Pay, API v3: 发起转账, 商户单号查询转账单,
商家转账回调通知, 订单失败原因说明, 如何使用微信支付公钥验签, 敏感信息加解密.

An error code of 发起转账 never makes a request FAILED. The documentation is plain that an answer
other than 200 speaks of that call and not of the bill, and allows a new number only when the bill
is found to have failed. So FAILED is a bill's state FAIL or CANCELLED, or a request that we did not
send and whose number WeChat Pay, asked, does not know.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import ClassVar, NoReturn, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from distrib import clock
from distrib.settlement.providers import (
    BadCallback,
    BadProviderSetting,
    BatchRef,
    Callback,
    Outcome,
    PayoutRequest,
    ProviderUnavailable,
    Reply,
    Status,
)
from distrib.settlement.providers.http import (
    CONNECT_SECONDS,
    READ_SECONDS,
    AnswerLost,
    HttpAnswer,
    HttpClient,
)
from distrib.settlement.providers.keys import holds, load_private_key, load_public_key, sign
from distrib.settlement.providers.settings import ProviderSettings
from distrib.settlement.providers.singly import (
    MoneyIsOut,
    Refused,
    ask_each,
    hand_over,
    read_object,
    require,
    text_of,
    unknown,
)

NAME_REQUIRED_FROM = 200_000
"""Fen from which the payee's name must be given."""
NAME_ALLOWED_FROM = 30
"""Fen below which it must not."""

CALLBACK_AGE = timedelta(minutes=5)
FINDABLE_FOR = timedelta(days=29)
"""Bills of the last 30 days can be asked after; a day is left for clocks and queues."""

_BILLS = "/v3/fund-app/mch-transfer/transfer-bills"
_FINISHED = "MCHTRANSFER.BILL.FINISHED"
_LONGEST_TEXT = 32

_STATES = {
    "ACCEPTED": Status.PENDING,
    "PROCESSING": Status.PENDING,
    "WAIT_USER_CONFIRM": Status.PENDING,
    "TRANSFERING": Status.PENDING,
    "CANCELING": Status.PENDING,
    "SUCCESS": Status.PAID,
    "FAIL": Status.FAILED,
    "CANCELLED": Status.FAILED,
}

_NOT_TAKEN = frozenset(
    ("SIGN_ERROR", "NO_AUTH", "FREQUENCY_LIMITED", "FREQUENCY_LIMIT_EXCEED", "RATELIMIT_EXCEEDED")
)
"""Codes that say the call was not let in."""


class WechatPay:
    """Pays into a payee's WeChat balance.

    A payout method has ``openid``, the payee's under ``app_id``. A payout stays PENDING until the
    payee confirms it with the ``action`` (WeChat's ``package_info``, given by :meth:`pay` only);
    after 24 hours without, WeChat Pay fails it. One that stays with the code ACCEPTED or PROCESSING
    lacks money: it goes on when it is handed over again.

    Settings:

    - ``mch_id``, ``app_id``: the merchant, and the app whose openids the payees have;
    - ``serial_no``: of the merchant's API certificate; ``private_key`` (secret): its key;
    - ``platform_key_id``, ``platform_key`` (secret): WeChat Pay's public key and its id
      (``PUB_KEY_ID_…``), or a platform certificate and its serial number;
    - ``api_v3_key`` (secret): 32 characters, opens callbacks;
    - ``notify_url``: https, without a query;
    - ``scene`` (``1005``, commission) and ``report``, what that scene must report, as
      ``type=content;type=content`` (``岗位类型=推广员;报酬说明=推广佣金``);
    - ``remark`` (``佣金``): what payees read when a batch has no title;
    - ``check_names`` (false): also below 2,000 yuan have WeChat Pay compare the payee's name;
    - ``base_url``, ``connect_seconds``, ``read_seconds``.
    """

    group: ClassVar[int] = 50
    method: ClassVar[str | None] = "wechat"
    asks: ClassVar[bool] = True

    def __init__(
        self,
        http: HttpClient,
        *,
        mch_id: str,
        app_id: str,
        serial_no: str,
        private_key: rsa.RSAPrivateKey,
        platform_key_id: str,
        platform_key: rsa.RSAPublicKey,
        api_v3_key: bytes,
        notify_url: str,
        scene: str,
        report: Mapping[str, str],
        remark: str,
        check_names: bool,
    ) -> None:
        self._http = http
        self._mch_id = mch_id
        self._app_id = app_id
        self._serial_no = serial_no
        self._private_key = private_key
        self._platform_key_id = platform_key_id
        self._platform_key = platform_key
        self._api_v3_key = api_v3_key
        self._notify_url = notify_url
        self._scene = scene
        self._report = report
        self._remark = remark
        self._check_names = check_names

    @classmethod
    def from_settings(cls, settings: ProviderSettings) -> Self:
        """Make one.

        :raises BadProviderSetting: when a setting is missing or not valid.
        """
        api_v3_key = settings.secret("api_v3_key").encode()
        if len(api_v3_key) != 32:
            raise BadProviderSetting(
                f"[{settings.where}] api_v3_key has not 32 characters", field="api_v3_key"
            )
        return cls(
            HttpClient(
                settings.text("base_url", "https://api.mch.weixin.qq.com"),
                connect_seconds=settings.number("connect_seconds", CONNECT_SECONDS),
                read_seconds=settings.number("read_seconds", READ_SECONDS),
            ),
            mch_id=settings.text("mch_id"),
            app_id=settings.text("app_id"),
            serial_no=settings.text("serial_no"),
            private_key=load_private_key(settings.secret("private_key"), "private_key"),
            platform_key_id=settings.text("platform_key_id"),
            platform_key=load_public_key(settings.secret("platform_key"), "platform_key"),
            api_v3_key=api_v3_key,
            notify_url=settings.text("notify_url"),
            scene=settings.text("scene", "1005"),
            report=_read_report(settings),
            remark=settings.text("remark", "佣金"),
            check_names=settings.flag("check_names", default=False),
        )

    def pay(self, batch: BatchRef, requests: Sequence[PayoutRequest]) -> Sequence[Outcome]:
        """Make a bill for each. See :class:`distrib.settlement.providers.Provider`."""
        require(requests, currency="CNY")
        return hand_over(requests, lambda request: self._send(batch, request), self._find)

    def ask(
        self,
        batch: BatchRef,  # noqa: ARG002 - a bill is found by its number alone
        requests: Sequence[PayoutRequest],
    ) -> Sequence[Outcome]:
        """Ask after each bill. See :class:`distrib.settlement.providers.Provider`."""
        require(requests, currency="CNY")
        return ask_each(requests, self._find)

    def read_callback(self, headers: Mapping[str, str], body: bytes) -> Callback:
        """Verify, decrypt and read a notification; one of another kind has no outcomes.

        :raises BadCallback: when it does not hold.
        """
        self._verify_callback(headers, body)
        try:
            document = read_object(body)
            message_id = text_of(document, "id")
            if message_id is None:
                raise BadCallback("the notification has no id")
            if document.get("event_type") != _FINISHED:
                return Callback(message_id, ())
            bill = read_object(self._decrypt(document.get("resource")))
        except ValueError:
            raise BadCallback("the notification is not JSON") from None
        number = text_of(bill, "out_bill_no")
        if number is None:
            raise BadCallback("the notification is not about a bill")
        return Callback(message_id, (_outcome(number, bill),))

    def reply(self) -> Reply:
        """No content: the status says it."""
        return Reply(status=204, body=b"")

    def _send(self, batch: BatchRef, request: PayoutRequest) -> Outcome:
        body = json.dumps(self._bill(batch, request), ensure_ascii=False).encode()
        answer = self._call("POST", _BILLS, body)
        document = _document(answer)
        if answer.status == 200:
            return _outcome_of(request, document)
        code, message = _error(answer, document)
        if code == "NOT_ENOUGH":
            # The bill may be there and wait for money: the documentation wants it repeated later.
            raise MoneyIsOut(code, message)
        return unknown(request, code, message)

    def _find(self, request: PayoutRequest) -> Outcome:
        answer = self._call("GET", f"{_BILLS}/out-bill-no/{request.request_no}")
        document = _document(answer)
        if answer.status == 200:
            if document.get("transfer_amount") != request.amount:
                return unknown(request, "AMOUNT_DIFFERS")
            return _outcome_of(request, document)
        code, message = _error(answer, document)
        if answer.status == 404 and code == "NOT_FOUND" and _is_findable(request):
            return Outcome(request.request_no, Status.ABSENT, code=code, message=message)
        return unknown(request, code, message)

    def _bill(self, batch: BatchRef, request: PayoutRequest) -> dict[str, object]:
        openid = request.account.get("openid")
        if not openid:
            raise Refused("NO_OPENID", "the payout method has no openid")
        named = request.amount >= NAME_REQUIRED_FROM or (
            self._check_names and request.amount >= NAME_ALLOWED_FROM and bool(request.name)
        )
        if named and not request.name:
            raise Refused("NO_NAME", "from 2,000 yuan the payee's name is required")
        bill: dict[str, object] = {
            "appid": self._app_id,
            "out_bill_no": request.request_no,
            "transfer_scene_id": self._scene,
            "openid": openid,
            "transfer_amount": request.amount,
            "transfer_remark": (batch.title or self._remark)[:_LONGEST_TEXT],
            "notify_url": self._notify_url,
            "transfer_scene_report_infos": [
                {"info_type": kind, "info_content": content}
                for kind, content in self._report.items()
            ],
        }
        if named:
            bill["user_name"] = self._encrypt(request.name)
        return bill

    def _call(self, method: str, path: str, body: bytes = b"") -> HttpAnswer:
        """Make a signed call.

        :raises ProviderUnavailable: when it was not sent, or not let in.
        :raises AnswerLost: when nothing that WeChat Pay signed came back.
        """
        timestamp, nonce = str(int(clock.now().timestamp())), secrets.token_hex(16)
        signed = f"{method}\n{path}\n{timestamp}\n{nonce}\n".encode() + body + b"\n"
        answer = self._http.call(
            method,
            path,
            headers={
                "Authorization": f'WECHATPAY2-SHA256-RSA2048 mchid="{self._mch_id}"'
                f',nonce_str="{nonce}",timestamp="{timestamp}",serial_no="{self._serial_no}"'
                f',signature="{sign(self._private_key, signed)}"',
                "Accept": "application/json",
                "Content-Type": "application/json",
                "User-Agent": "distrib",
                "Wechatpay-Serial": self._platform_key_id,
            },
            body=body or None,
        )
        if answer.status in (401, 429):
            _turn_away(answer)
        # A gateway's error is not signed, and says nothing about the bill either way.
        if answer.status < 500 and not self._is_signed(answer.headers, answer.body):
            raise AnswerLost(f"{method} {path}: the answer's signature does not hold")
        if text_of(_document(answer), "code") in _NOT_TAKEN:
            _turn_away(answer)
        return answer

    def _is_signed(self, headers: Mapping[str, str], body: bytes) -> bool:
        if headers.get("wechatpay-serial") != self._platform_key_id:
            return False
        head = "".join(
            headers.get(f"wechatpay-{name}", "") + "\n" for name in ("timestamp", "nonce")
        )
        signature = headers.get("wechatpay-signature", "")
        return holds(self._platform_key, head.encode() + body + b"\n", signature)

    def _verify_callback(self, headers: Mapping[str, str], body: bytes) -> None:
        if not self._is_signed(headers, body):
            raise BadCallback("the signature does not hold")
        try:
            age = clock.now().timestamp() - int(headers["wechatpay-timestamp"])
        except ValueError:
            raise BadCallback("the timestamp is no number") from None
        if abs(age) > CALLBACK_AGE.total_seconds():
            raise BadCallback("the timestamp is more than 5 minutes off")

    def _encrypt(self, text: str) -> str:
        # SHA-1 is what the interface demands of OAEP; it protects nothing by its collisions here.
        oaep = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)
        return base64.b64encode(self._platform_key.encrypt(text.encode(), oaep)).decode()

    def _decrypt(self, resource: object) -> bytes:
        if not isinstance(resource, dict) or resource.get("algorithm") != "AEAD_AES_256_GCM":
            raise BadCallback("the notification's resource is not AEAD_AES_256_GCM")
        try:
            return AESGCM(self._api_v3_key).decrypt(
                str(resource.get("nonce")).encode(),
                base64.b64decode(str(resource.get("ciphertext")), validate=True),
                str(resource.get("associated_data", "")).encode(),
            )
        except (InvalidTag, ValueError):
            raise BadCallback("the notification's resource cannot be decrypted") from None


def _read_report(settings: ProviderSettings) -> dict[str, str]:
    report: dict[str, str] = {}
    for part in settings.text("report", "岗位类型=推广员;报酬说明=推广佣金").split(";"):
        kind, _, content = (piece.strip() for piece in part.partition("="))
        if not kind or not content or len(content) > _LONGEST_TEXT:
            raise BadProviderSetting(
                f"[{settings.where}] report is not type=content;type=content with contents of at"
                f" most {_LONGEST_TEXT} characters",
                field="report",
            )
        report[kind] = content
    return report


def _document(answer: HttpAnswer) -> Mapping[str, object]:
    try:
        return read_object(answer.body)
    except ValueError:
        if answer.status == 200:
            raise AnswerLost("status 200 with a body that is no JSON object") from None
        return {}


def _error(answer: HttpAnswer, document: Mapping[str, object]) -> tuple[str, str | None]:
    return text_of(document, "code") or f"HTTP_{answer.status}", text_of(document, "message")


def _turn_away(answer: HttpAnswer) -> NoReturn:
    """Say that the call was not let in."""
    code = text_of(_document(answer), "code") or f"HTTP_{answer.status}"
    seconds = answer.headers.get("retry-after", "")
    raise ProviderUnavailable(
        f"WeChat Pay turned the call away: {code}",
        retry_after=float(seconds) if seconds.isascii() and seconds.isdigit() else None,
    )


def _outcome_of(request: PayoutRequest, bill: Mapping[str, object]) -> Outcome:
    if bill.get("out_bill_no") != request.request_no:
        raise AnswerLost("the answer is about another bill")
    return _outcome(request.request_no, bill)


def _outcome(number: str, bill: Mapping[str, object]) -> Outcome:
    state = text_of(bill, "state") or "NO_STATE"
    status = _STATES.get(state, Status.UNKNOWN)
    reason = text_of(bill, "fail_reason") if status is Status.FAILED else None
    return Outcome(
        number,
        status,
        reference=text_of(bill, "transfer_bill_no"),
        code=reason or state,
        action=text_of(bill, "package_info") if status is Status.PENDING else None,
    )


def _is_findable(request: PayoutRequest) -> bool:
    """Whether *not found* means that there is none, and not that it is too old to be found."""
    return request.sent_at is None or clock.now() - request.sent_at < FINDABLE_FOR
