"""What a payout method says, by kind: checked for the adapter that will read it, and masked.

The keys are those that the adapters in :mod:`distrib.settlement.providers` read from a request's
``account``; what passes here they accept.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from distrib.errors import InvalidInput, unstorable
from distrib.settlement.providers.pain_001 import is_iban
from distrib.settlement.providers.paypal_words import RECEIVER_TYPES

IDENTITY_TYPES = frozenset(("ALIPAY_LOGON_ID", "ALIPAY_USER_ID", "ALIPAY_OPEN_ID"))
"""Alipay's, as its adapter has them; that one loads what nobody needs to check a method."""

_IBAN = re.compile(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}")
_NUMBER = re.compile(r"[A-Za-z0-9][A-Za-z0-9./-]{0,33}")
_CODE = re.compile(r"[A-Z0-9][A-Z0-9-]{0,34}")
_OPENID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_EMAIL = re.compile(r"[^@\s,;<>]+@[^@\s,;<>]+\.[^@\s,;<>.]+")
_PHONE = re.compile(r"\+?[0-9]{5,20}")
_ALIPAY_USER = re.compile(r"2088[0-9]{12}")
_PAYPAL_ID = re.compile(r"[A-Z0-9]{8,20}")
_STRIPE = re.compile(r"acct_[A-Za-z0-9]{1,100}")

_LONGEST_NAME = 140
_LONGEST_RECEIVER = 127


class _Bad(ValueError):
    """Why a value cannot be."""


Rule = Callable[[str], str]
"""Makes of a value what is kept of it, or raises :class:`_Bad`."""


@dataclass(frozen=True, slots=True)
class Key:
    """A detail of a kind of payout method.

    :param secret: whether answers show its last four letters only.
    :param default: what a missing one counts as; None leaves it out.
    """

    rule: Rule
    required: bool = False
    secret: bool = False
    default: str | None = None


def _matches(pattern: re.Pattern[str], reason: str) -> Rule:
    def rule(value: str) -> str:
        if not pattern.fullmatch(value):
            raise _Bad(reason)
        return value

    return rule


def _one_of(words: frozenset[str]) -> Rule:
    def rule(value: str) -> str:
        value = value.upper()
        if value not in words:
            raise _Bad(f"must be one of {', '.join(sorted(words))}")
        return value

    return rule


def _name(value: str) -> str:
    if len(value) > _LONGEST_NAME:
        raise _Bad(f"has more than {_LONGEST_NAME} letters")
    if not any(letter.isalnum() for letter in value):
        raise _Bad("has no letter")
    return value


def _account_no(value: str) -> str:
    number = "".join(value.split())
    if _IBAN.fullmatch(number.upper()):
        if not is_iban(number.upper()):
            raise _Bad("looks like an IBAN, but its check digits do not hold")
        return number.upper()
    if not _NUMBER.fullmatch(number) or not any(letter.isdigit() for letter in number):
        raise _Bad("is no IBAN and no account number of at most 34 letters and digits")
    return number


def _bank_code(value: str) -> str:
    code = "".join(value.split()).upper()
    if not _CODE.fullmatch(code):
        raise _Bad("is no BIC and no bank number of at most 35 letters and digits")
    return code


def _short(value: str) -> str:
    if len(value) > _LONGEST_RECEIVER or any(letter.isspace() for letter in value):
        raise _Bad(f"must have at most {_LONGEST_RECEIVER} letters and no space")
    return value


KINDS: Mapping[str, Mapping[str, Key]] = {
    "bank": {
        "account_no": Key(_account_no, required=True, secret=True),
        "account_name": Key(_name),
        "bank_name": Key(_name),
        "bank_code": Key(_bank_code),
    },
    "wechat": {
        "openid": Key(
            _matches(_OPENID, "is no openid: letters, digits, - and _"), required=True, secret=True
        ),
    },
    "alipay": {
        "identity_type": Key(_one_of(IDENTITY_TYPES), required=True),
        "identity": Key(_short, required=True, secret=True),
    },
    "paypal": {
        "receiver_type": Key(_one_of(RECEIVER_TYPES), default="EMAIL"),
        "receiver": Key(_short, required=True, secret=True),
    },
    "stripe": {
        "account_id": Key(
            _matches(_STRIPE, "is no connected account, such as acct_1A2b3C"),
            required=True,
            secret=True,
        ),
    },
}
"""Kind → its details."""


def check_details(kind: str, details: Mapping[str, Any]) -> dict[str, str]:
    """The details as they are kept: without what people write for the eye.

    :raises InvalidInput: naming the field, ``details.account_no``.
    """
    if kind not in KINDS:
        raise InvalidInput(f"must be one of {', '.join(KINDS)}", field="kind")
    keys = KINDS[kind]
    for name in details:
        if name not in keys:
            raise InvalidInput(
                f"{name!r} is no detail of {kind}; known are {', '.join(keys)}",
                field=f"details.{name}" if name.isascii() and name.isidentifier() else "details",
            )
    kept: dict[str, str] = {}
    for name, key in keys.items():
        value = details.get(name)
        if value is None or (isinstance(value, str) and not value.strip()):
            if key.required:
                raise InvalidInput(f"{kind} needs it", field=f"details.{name}")
            if key.default is not None:
                kept[name] = key.default
            continue
        kept[name] = _read(name, key, value)
    _check_together(kind, kept)
    return kept


def _read(name: str, key: Key, value: object) -> str:
    field = f"details.{name}"
    if not isinstance(value, str):
        raise InvalidInput("must be a text", field=field)
    if (reason := unstorable(value)) is not None or not value.strip().isprintable():
        raise InvalidInput(reason or "has letters that cannot be printed", field=field)
    try:
        return key.rule(value.strip())
    except _Bad as error:
        raise InvalidInput(str(error), field=field) from None


def _check_together(kind: str, kept: dict[str, str]) -> None:
    """What one detail asks of another."""
    if kind == "bank" and not is_iban(kept["account_no"]):
        if not kept.keys() & {"bank_code", "bank_name"}:
            raise InvalidInput(
                "an account that is no IBAN needs a bank_code or a bank_name",
                field="details.bank_code",
            )
    elif kind == "alipay":
        identity, of = kept["identity"], kept["identity_type"]
        if of == "ALIPAY_USER_ID" and not _ALIPAY_USER.fullmatch(identity):
            raise InvalidInput("is no user id of 16 digits, 2088…", field="details.identity")
        if of == "ALIPAY_LOGON_ID" and not _is_reachable(identity):
            raise InvalidInput("is no telephone number or e-mail", field="details.identity")
    elif kind == "paypal":
        patterns = {"EMAIL": _EMAIL, "PHONE": _PHONE, "PAYPAL_ID": _PAYPAL_ID}
        words = {
            "EMAIL": "is no e-mail address",
            "PHONE": "is no telephone number, such as +4915112345678",
            "PAYPAL_ID": "is no PayPal id",
        }
        of = kept["receiver_type"]
        if not patterns[of].fullmatch(kept["receiver"]):
            raise InvalidInput(words[of], field="details.receiver")


def _is_reachable(identity: str) -> bool:
    plain = identity.replace("-", "")
    return bool(_EMAIL.fullmatch(identity) or _PHONE.fullmatch(plain))


def mask_details(kind: str, details: Mapping[str, str]) -> dict[str, str]:
    """The details as anybody may read them: of what leads to money, the last four letters."""
    keys = KINDS[kind]
    return {
        name: _mask(value) if name not in keys or keys[name].secret else value
        for name, value in details.items()
    }


def _mask(value: str) -> str:
    return "****" + (value[-4:] if len(value) >= 8 else "")
