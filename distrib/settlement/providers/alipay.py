"""Alipay's transfer to a single account (单笔转账到支付宝账户).

Written after the documentation of the Alipay open platform: alipay.fund.trans.uni.transfer,
alipay.fund.trans.common.query, alipay.fund.trans.order.changed, 公共错误码, 自行实现签名,
异步通知验签, 公钥证书 SN 计算.

The documentation leaves the end open after code 20000, after 40004 with SYSTEM_ERROR and after a
lost answer: ask, and when nothing is found send the same again. A refusal that lies with the payee
or the amount is final. Others, such as an empty account, pass: those are no failure of the number.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import ClassVar, Self
from urllib.parse import parse_qsl, urlencode

from cryptography.hazmat.primitives.asymmetric import rsa

from distrib import clock
from distrib.money import format_amount, parse_amount
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
from distrib.settlement.providers.http import (
    CONNECT_SECONDS,
    READ_SECONDS,
    AnswerLost,
    HttpClient,
)
from distrib.settlement.providers.keys import (
    certificate_number,
    holds,
    load_certificate,
    load_certificates,
    load_private_key,
    load_public_key,
    root_number,
    sign,
)
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

_TRANSFER = "alipay.fund.trans.uni.transfer"
_QUERY = "alipay.fund.trans.common.query"
_CHANGED = "alipay.fund.trans.order.changed"
_PRODUCT = {"product_code": "TRANS_ACCOUNT_NO_PWD", "biz_scene": "DIRECT_TRANSFER"}
_CHARSETS = frozenset(("utf-8", "gbk", "gb2312", "gb18030"))

IDENTITY_TYPES = frozenset(("ALIPAY_LOGON_ID", "ALIPAY_USER_ID", "ALIPAY_OPEN_ID"))

_STATES = {
    "SUCCESS": Status.PAID,
    "DEALING": Status.PENDING,
    "WAIT_PAY": Status.PENDING,
    "FAIL": Status.FAILED,
    "CLOSED": Status.FAILED,
    "REFUND": Status.RETURNED,
}

_NOT_LET_IN = frozenset(("20001", "40001", "40002", "40005", "40006"))
"""The gateway's codes for a call it does not pass on: credentials, form, frequency, permission."""

_FINAL = frozenset(
    (
        "PAYEE_NOT_EXIST",
        "PAYEE_ACCOUNT_NOT_EXSIT",  # Alipay's spelling, here and below
        "PAYEE_USER_INFO_ERROR",
        "PAYEE_CERT_INFO_ERROR",
        "PAYEE_ACC_OCUPIED",
        "PAYEE_ACCOUNT_STATUS_ERROR",
        "PAYEE_USERINFO_STATUS_ERROR",
        "PAYEE_USER_TYPE_ERROR",
        "PAYEE_NOT_RELNAME_CERTIFY",
        "PERMIT_NON_BANK_LIMIT_PAYEE",
        "PERMIT_LIMIT_PAYEE",
        "PERMIT_CHECK_RECEIVE_LIMIT",
        "PERM_AML_NOT_REALNAME_REV",
        "RELEASE_USER_FORBBIDEN_RECIEVE",
        "NO_ACCOUNT_USER_FORBBIDEN_RECIEVE",
        "PAYER_PAYEE_CANNOT_SAME",
        "EXCEED_LIMIT_SM_MIN_AMOUNT",
        "EXCEED_LIMIT_SM_AMOUNT",
        "EXCEED_LIMIT_PERSONAL_SM_AMOUNT",
        "EXCEED_LIMIT_ENT_SM_AMOUNT",
    )
)
"""Refusals of this payee or this amount."""

_MONEY_IS_OUT = frozenset(
    (
        "PAYER_BALANCE_NOT_ENOUGH",
        "BALANCE_IS_NOT_ENOUGH",
        "PAYMENT_MONEY_NOT_ENOUGH",
        "EXCEED_LIMIT_DM_AMOUNT",
        "EXCEED_LIMIT_DM_MAX_AMOUNT",
        "EXCEED_LIMIT_MM_AMOUNT",
        "EXCEED_LIMIT_MM_MAX_AMOUNT",
    )
)
"""Refusals for lack of our money, or of what we may pay a day or a month."""


class Alipay:
    """Pays into a payee's Alipay account.

    A payout method has ``identity`` and ``identity_type``: ``ALIPAY_LOGON_ID`` (a telephone number
    or e-mail address; the name is required and compared), ``ALIPAY_USER_ID`` (2088…) or
    ``ALIPAY_OPEN_ID``.

    Settings:

    - ``app_id``; ``private_key`` (secret): the application's, PEM or Alipay's bare base64;
    - ``alipay_public_key`` (secret): Alipay's key for this application; or
    - ``certificates = true`` with ``app_certificate``, ``alipay_certificate`` and
      ``root_certificate`` (each as a secret: a file or variable with the PEM text);
    - ``title`` (``佣金``): what payees read when a batch has no title;
    - ``check_names`` (false): have Alipay compare the name also for the other identities;
    - ``base_url``, ``connect_seconds``, ``read_seconds``.

    Notifications come to the application's gateway address (应用网关) once the message
    ``alipay.fund.trans.order.changed`` is subscribed to.
    """

    group: ClassVar[int] = 50
    method: ClassVar[str | None] = "alipay"
    asks: ClassVar[bool] = True

    def __init__(
        self,
        http: HttpClient,
        *,
        app_id: str,
        private_key: rsa.RSAPrivateKey,
        alipay_key: rsa.RSAPublicKey,
        certificates: Mapping[str, str],
        title: str,
        check_names: bool,
    ) -> None:
        self._http = http
        self._app_id = app_id
        self._private_key = private_key
        self._alipay_key = alipay_key
        self._certificates = certificates
        self._title = title
        self._check_names = check_names

    @classmethod
    def from_settings(cls, settings: ProviderSettings) -> Self:
        """Make one.

        :raises BadProviderSetting: when a setting is missing or not valid.
        """
        key_setting, certificates = "alipay_public_key", {}
        if settings.flag("certificates", default=False):
            key_setting = "alipay_certificate"
            own, roots = (settings.secret(f"{whose}_certificate") for whose in ("app", "root"))
            certificates = {
                "app_cert_sn": certificate_number(load_certificate(own, "app_certificate")),
                "alipay_root_cert_sn": root_number(load_certificates(roots, "root_certificate")),
            }
        return cls(
            HttpClient(
                settings.text("base_url", "https://openapi.alipay.com"),
                connect_seconds=settings.number("connect_seconds", CONNECT_SECONDS),
                read_seconds=settings.number("read_seconds", READ_SECONDS),
            ),
            app_id=settings.text("app_id"),
            private_key=load_private_key(settings.secret("private_key"), "private_key"),
            alipay_key=load_public_key(settings.secret(key_setting), key_setting),
            certificates=certificates,
            title=settings.text("title", "佣金"),
            check_names=settings.flag("check_names", default=False),
        )

    def pay(self, batch: BatchRef, requests: Sequence[PayoutRequest]) -> Sequence[Outcome]:
        """Transfer to each. See :class:`distrib.settlement.providers.Provider`."""
        require(requests, currency="CNY")
        return hand_over(requests, lambda request: self._send(batch, request), self._find)

    def ask(
        self,
        batch: BatchRef,  # noqa: ARG002 - a transfer is found by its number alone
        requests: Sequence[PayoutRequest],
    ) -> Sequence[Outcome]:
        """Ask after each transfer. See :class:`distrib.settlement.providers.Provider`."""
        require(requests, currency="CNY")
        return ask_each(requests, self._find)

    def read_callback(self, headers: Mapping[str, str], body: bytes) -> Callback:  # noqa: ARG002
        """Verify and read a notification; one of another kind has no outcomes.

        It carries no time that could be checked: Alipay repeats one for a day, as it was.

        :raises BadCallback: when it does not hold.
        """
        form = self._verified_form(body)
        message_id = form.get("notify_id")
        if not message_id or form.get("app_id") != self._app_id:
            raise BadCallback("the notification is not for this application")
        if form.get("msg_method") != _CHANGED:
            return Callback(message_id, ())
        try:
            order = read_object(form.get("biz_content", ""))
        except ValueError:
            raise BadCallback("the notification's biz_content is not JSON") from None
        number = text_of(order, "out_biz_no")
        if number is None:
            raise BadCallback("the notification is not about a transfer")
        return Callback(message_id, (_outcome(number, order),))

    def reply(self) -> Reply:
        """The word that Alipay waits for."""
        return Reply(content_type="text/plain", body=b"success")

    def _send(self, batch: BatchRef, request: PayoutRequest) -> Outcome:
        title = batch.title or self._title
        found = self._call(
            _TRANSFER,
            {
                "out_biz_no": request.request_no,
                "trans_amount": format_amount(request.amount, "CNY", grouped=False),
                **_PRODUCT,
                "order_title": title[:128],
                "remark": title[:100],
                "payee_info": self._payee(request),
            },
        )
        if found.get("code") == "10000":
            return _outcome_of(request, found)
        code, message = _error(found)
        if code in _FINAL:
            raise Refused(code, message)
        if code in _MONEY_IS_OUT:
            raise MoneyIsOut(code, message)
        return unknown(request, code, message)

    def _find(self, request: PayoutRequest) -> Outcome:
        found = self._call(_QUERY, {"out_biz_no": request.request_no, **_PRODUCT})
        if found.get("code") == "10000":
            amount = text_of(found, "trans_amount")
            if amount is not None and not _is_amount(amount, request.amount):
                return unknown(request, "AMOUNT_DIFFERS")
            return _outcome_of(request, found)
        code, message = _error(found)
        if found.get("code") == "40004" and code == "ORDER_NOT_EXIST":
            return Outcome(request.request_no, Status.ABSENT, code=code, message=message)
        return unknown(request, code, message)

    def _payee(self, request: PayoutRequest) -> dict[str, str]:
        identity, kind = request.account.get("identity"), request.account.get("identity_type")
        if not identity or kind not in IDENTITY_TYPES:
            raise Refused("NO_IDENTITY", "the payout method has no identity of a known type")
        payee = {"identity": identity, "identity_type": kind}
        if kind == "ALIPAY_LOGON_ID" and not request.name:
            raise Refused("NO_NAME", "a transfer to a telephone number or e-mail needs the name")
        if request.name and (self._check_names or kind == "ALIPAY_LOGON_ID"):
            payee["name"] = request.name
        return payee

    def _call(self, method: str, content: Mapping[str, object]) -> Mapping[str, object]:
        """Make a signed call; what Alipay signed of its answer.

        :raises ProviderUnavailable: when it was not sent, or not let in.
        :raises AnswerLost: when nothing that Alipay signed came back.
        """
        fields = {
            "app_id": self._app_id,
            "method": method,
            "format": "JSON",
            "charset": "utf-8",
            "sign_type": "RSA2",
            "timestamp": f"{clock.now().astimezone(clock.zone('Asia/Shanghai')):%Y-%m-%d %H:%M:%S}",
            "version": "1.0",
            **self._certificates,
        }
        biz_content = {"biz_content": json.dumps(content, ensure_ascii=False)}
        fields["sign"] = sign(self._private_key, signed_text(fields | biz_content).encode())
        # Payees stay out of the address, which proxies write down.
        answer = self._http.call(
            "POST",
            "/gateway.do?" + urlencode(fields),
            headers={"Content-Type": "application/x-www-form-urlencoded;charset=utf-8"},
            body=urlencode(biz_content).encode(),
        )
        if answer.status != 200:
            raise AnswerLost(f"{method}: status {answer.status}")
        return self._signed_part(method, answer.body)

    def _signed_part(self, method: str, body: bytes) -> Mapping[str, object]:
        try:
            text = body.decode()
            whole = read_object(text)
            raw = _raw_member(text, method.replace(".", "_") + "_response") or _raw_member(
                text, "error_response"
            )
            part = read_object(raw or "")
        except ValueError:
            raise AnswerLost(f"{method}: the answer is not as documented") from None
        if part.get("code") in _NOT_LET_IN:
            # Not always signed: the gateway may not know with which key.
            raise ProviderUnavailable(f"Alipay turned the call away: {_error(part)[0]}")
        if not self._is_signed(raw or "", text_of(whole, "sign") or ""):
            raise AnswerLost(f"{method}: the answer's signature does not hold")
        return part

    def _is_signed(self, raw: str, signature: str) -> bool:
        # Alipay writes "\/" for what it signed as "/": its own clients try both, too.
        return any(
            holds(self._alipay_key, text.encode(), signature)
            for text in dict.fromkeys((raw, raw.replace("\\/", "/")))
        )

    def _verified_form(self, body: bytes) -> dict[str, str]:
        try:
            charset = dict(parse_qsl(body.decode("ascii"))).get("charset", "utf-8").lower()
            if charset not in _CHARSETS:
                raise BadCallback("the notification's charset is not known")
            form = dict(parse_qsl(body.decode("ascii"), encoding=charset, errors="strict"))
        except ValueError:
            raise BadCallback("the notification is not a form") from None
        signature = form.pop("sign", "")
        form.pop("sign_type", None)
        if not holds(self._alipay_key, signed_text(form).encode(charset), signature):
            raise BadCallback("the signature does not hold")
        return form


def signed_text(fields: Mapping[str, str]) -> str:
    """What is signed of a form: its fields by name, the empty ones and the signature left out."""
    return "&".join(
        f"{name}={value}" for name, value in sorted(fields.items()) if value and name != "sign"
    )


def _raw_member(text: str, name: str) -> str | None:
    """An object's member as it is written, for the signature is over its characters.

    :raises ValueError: when it is not JSON.
    """
    start = text.find(f'"{name}"')
    if start < 0:
        return None
    start = text.find("{", start)
    _, end = json.JSONDecoder().raw_decode(text, start)
    return text[start:end]


def _is_amount(text: str, amount: int) -> bool:
    try:
        return parse_amount(text, "CNY") == amount
    except ValueError:
        return False


def _error(part: Mapping[str, object]) -> tuple[str, str | None]:
    """Code and words of a refusal; the gateway's own words repeat the call, so they stay out."""
    code = text_of(part, "code")
    words = text_of(part, "sub_msg") if code == "40004" else None
    return text_of(part, "sub_code") or code or "NO_CODE", words


def _outcome_of(request: PayoutRequest, part: Mapping[str, object]) -> Outcome:
    if part.get("out_biz_no") != request.request_no:
        raise AnswerLost("the answer is about another transfer")
    return _outcome(request.request_no, part)


def _outcome(number: str, order: Mapping[str, object]) -> Outcome:
    state = text_of(order, "status") or "NO_STATUS"
    return Outcome(
        number,
        _STATES.get(state, Status.UNKNOWN),
        reference=text_of(order, "order_id"),
        code=text_of(order, "error_code") or state,
        message=text_of(order, "fail_reason"),
    )
