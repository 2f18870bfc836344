"""Payouts as an ISO 20022 credit transfer initiation, pain.001.001.09.

The order of elements is that of the message definition report at iso20022.org (``pain``, payments
initiation; browsable at mx-message.com). The Latin letters are those of the European Payments
Council's EPC217-08, which banks of the SEPA area accept.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from operator import attrgetter
from string import ascii_uppercase
from typing import ClassVar, Self
from xml.sax.saxutils import escape

from distrib import clock, faults, ids
from distrib.money import format_amount
from distrib.settlement.providers import (
    BadProviderSetting,
    BatchRef,
    Outcome,
    PaymentFile,
    PayoutRequest,
    Status,
)
from distrib.settlement.providers.files import Parts, atomic, one_call, refused
from distrib.settlement.providers.settings import ProviderSettings

NAMESPACE = "urn:iso:std:iso:20022:tech:xsd:pain.001.001.09"
_BIC = re.compile(r"[A-Z0-9]{4}[A-Z]{2}[A-Z0-9]{2}([A-Z0-9]{3})?")
_IBAN = re.compile(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}")
_NOT_LATIN = re.compile(r"[^A-Za-z0-9/?:().,'+ -]")
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_AMOUNT = re.compile(rb'<InstdAmt Ccy="[A-Z]{3}">([0-9.]+)</InstdAmt>')
_VALUES = {ord(letter): str(10 + i) for i, letter in enumerate(ascii_uppercase)}
_UNDECOMPOSED = str.maketrans(
    {"ß": "ss", "æ": "ae", "Æ": "AE", "ø": "o", "Ø": "O", "œ": "oe", "Œ": "OE", "ł": "l", "Ł": "L"}
    | {"đ": "d", "Đ": "D", "ð": "d", "Ð": "D", "þ": "th", "Þ": "Th", "ı": "i", "’": "'", "–": "-"}
    | {"&": "+", "_": "-"}
)


class Pain001:
    """Writes ``<folder>/<brand>/batch-<number>.xml``: one payment information with all payouts.

    Payees need a payout method ``bank``: ``account_no`` (an IBAN or any other number); where that
    is no IBAN, ``bank_code`` (a BIC, or the bank's number in ``clearing_system``) or ``bank_name``;
    ``account_name`` where it is not the payee's name.

    Settings:

    - ``debtor_name``, ``debtor_account`` (IBAN or other number), ``debtor_bank`` (BIC, or number in
      ``clearing_system``): who pays and from where;
    - ``initiating_party`` (``debtor_name``): who sends the file;
    - ``clearing_system`` (``none``): the ISO code of the system that bank numbers belong to:
      ``CNAPS``, ``USABA``, ``GBDSC``, …;
    - ``service_level`` (``none``): ``SEPA``, ``URGP``, ``NURG``;
    - ``charge_bearer`` (``SLEV``): ``SLEV``, ``SHAR``, ``DEBT`` or ``CRED``;
    - ``charset`` (``utf-8``): ``sepa`` writes Latin letters only and at most 70 of a name;
    - ``time_zone`` (``UTC``): in which the day of execution is the day the file is made;
    - ``await_status`` (true): payouts stay pending until a status report; when false, handing over
      the file counts as paid.
    """

    group: ClassVar[int] = 5000
    method: ClassVar[str | None] = "bank"
    asks: ClassVar[bool] = False
    suffix: ClassVar[str] = "xml"

    def __init__(self, settings: ProviderSettings) -> None:
        self._parts = Parts(settings.folder, self.suffix)
        charset = _choice(settings, "charset", "utf-8", ("utf-8", "sepa"))
        self._latin = charset == "sepa"
        self._longest_name = 70 if self._latin else 140
        system = settings.text("clearing_system", "none")
        self._system = None if system == "none" else system
        level = settings.text("service_level", "none")
        self._level = None if level == "none" else level
        self._bearer = _choice(settings, "charge_bearer", "SLEV", ("SLEV", "SHAR", "DEBT", "CRED"))
        self._zone = settings.text("time_zone", "UTC")
        name = settings.text("debtor_name")
        self._debtor = self._text(name, self._longest_name)
        self._sender = self._text(settings.text("initiating_party", name), self._longest_name)
        self._debtor_account = _account(_plain(settings.text("debtor_account")))
        agent = self._agent(_plain(settings.text("debtor_bank")), "")
        if self._debtor_account is None or agent is None:
            field = "debtor_bank" if agent is None else "debtor_account"
            raise BadProviderSetting(f"[{settings.where}] {field} is not valid", field=field)
        self._debtor_agent = agent
        self._taken = Status.PENDING if settings.flag("await_status", default=True) else Status.PAID

    @classmethod
    def from_settings(cls, settings: ProviderSettings) -> Self:
        """The adapter as configured."""
        return cls(settings)

    def pay(self, batch: BatchRef, requests: Sequence[PayoutRequest]) -> Sequence[Outcome]:
        """Write the call's part. Who cannot be written is in no file."""
        call_no = one_call(requests)
        outcomes: list[Outcome] = []
        transfers: list[str] = []
        title = self._text(batch.title, 120)  # leaves room for the payout's number
        for request in sorted(requests, key=attrgetter("no")):
            written = self._transfer(request, title)
            if isinstance(written, Outcome):
                outcomes.append(written)
            else:
                transfers.append(written)
                outcomes.append(Outcome(request.request_no, self._taken))
        self._parts.write(batch, call_no, "".join(transfers).encode())
        return outcomes

    def ask(self, batch: BatchRef, requests: Sequence[PayoutRequest]) -> Sequence[Outcome]:  # noqa: ARG002
        """A file cannot be asked."""
        return [Outcome(request.request_no, Status.UNKNOWN) for request in requests]

    def finish(self, batch: BatchRef, calls: Sequence[int]) -> PaymentFile:
        """Join the parts under a header that counts them; count again what the file then holds."""
        count = total = 0
        for part in self._parts.read(batch, calls):
            of_part = _amounts(part)
            count += len(of_part)
            total += sum(of_part)
        path = self._parts.whole(batch)
        digest = hashlib.sha256()
        payouts = paid = 0
        with atomic(path) as file:
            blocks = [file.write(self._head(batch, calls, count, total).encode())]
            blocks += [file.write(part) for part in self._parts.read(batch, calls)]
            blocks.append(file.write(b"</PmtInf></CstmrCdtTrfInitn></Document>\n"))
            file.seek(0)
            for size in blocks:
                block = file.read(size)
                digest.update(block)
                of_block = _amounts(block)
                payouts += len(of_block)
                paid += sum(of_block)
            if (payouts, paid) != (count, total):
                raise OSError(f"{path.name} does not hold what was written to it")
        faults.point("pain_001.joined")
        return PaymentFile(path=path, sha256=digest.digest(), payouts=payouts, total=paid)

    def _head(self, batch: BatchRef, calls: Sequence[int], count: int, total: int) -> str:
        """The document up to its first transfer."""
        number = message_id(batch, calls)
        now = clock.now()
        sums = (
            f"<NbOfTxs>{count}</NbOfTxs>"
            f"<CtrlSum>{format_amount(total, batch.currency, grouped=False)}</CtrlSum>"
        )
        level = ""
        if self._level:
            level = f"<PmtTpInf><SvcLvl><Cd>{escape(self._level)}</Cd></SvcLvl></PmtTpInf>"
        return (
            f'<?xml version="1.0" encoding="UTF-8"?>\n<Document xmlns="{NAMESPACE}">'
            f"<CstmrCdtTrfInitn><GrpHdr><MsgId>{number}</MsgId>"
            f"<CreDtTm>{now:%Y-%m-%dT%H:%M:%SZ}</CreDtTm>{sums}"
            f"<InitgPty><Nm>{self._sender}</Nm></InitgPty></GrpHdr>"
            f"<PmtInf><PmtInfId>{number}</PmtInfId><PmtMtd>TRF</PmtMtd><BtchBookg>true</BtchBookg>"
            f"{sums}{level}"
            f"<ReqdExctnDt><Dt>{clock.day_of(now, self._zone)}</Dt></ReqdExctnDt>"
            f"<Dbtr><Nm>{self._debtor}</Nm></Dbtr>"
            f"<DbtrAcct>{self._debtor_account}</DbtrAcct>"
            f"<DbtrAgt>{self._debtor_agent}</DbtrAgt><ChrgBr>{self._bearer}</ChrgBr>\n"
        )

    def _transfer(self, request: PayoutRequest, title: str) -> str | Outcome:
        """One transfer on a line of its own, or why there can be none."""
        details = request.account
        number = _plain(details.get("account_no", ""))
        account = _account(number)
        if account is None:
            return refused(request, "BAD_ACCOUNT", "account_no is no IBAN and no account number")
        agent = self._agent(_plain(details.get("bank_code", "")), details.get("bank_name", ""))
        if agent is None and "<IBAN>" not in account:
            return refused(request, "NO_BANK", "an account that is no IBAN needs a bank_code")
        name = self._text(details.get("account_name") or request.name, self._longest_name)
        if not any(letter.isalnum() for letter in name):
            return refused(request, "BAD_NAME", "the name has no letter that the file may hold")
        amount = format_amount(request.amount, request.currency, grouped=False)
        return (
            f"<CdtTrfTxInf><PmtId><InstrId>{request.request_no}</InstrId>"
            f"<EndToEndId>{request.request_no}</EndToEndId></PmtId>"
            f'<Amt><InstdAmt Ccy="{request.currency}">{amount}</InstdAmt></Amt>'
            f"{f'<CdtrAgt>{agent}</CdtrAgt>' if agent else ''}"
            f"<Cdtr><Nm>{name}</Nm></Cdtr><CdtrAcct>{account}</CdtrAcct>"
            f"<RmtInf><Ustrd>{f'{title} {request.no}'.lstrip()}</Ustrd></RmtInf></CdtTrfTxInf>\n"
        )

    def _agent(self, code: str, name: str) -> str | None:
        """A bank, by its BIC, its number in the clearing system, or its name."""
        if _BIC.fullmatch(code):
            found = f"<BICFI>{code}</BICFI>"
        elif code and self._system and len(code) <= 35:
            found = (
                f"<ClrSysMmbId><ClrSysId><Cd>{escape(self._system)}</Cd></ClrSysId>"
                f"<MmbId>{escape(code)}</MmbId></ClrSysMmbId>"
            )
        elif not code and (text := self._text(name, 140)):
            found = f"<Nm>{text}</Nm>"
        else:
            return None
        return f"<FinInstnId>{found}</FinInstnId>"

    def _text(self, text: str, longest: int) -> str:
        """``text`` in the letters of the file, cut to ``longest`` of them, then escaped."""
        if not text.isprintable():
            text = _NOT_XML.sub(" ", text)
        if self._latin:
            text = unicodedata.normalize("NFKD", text.translate(_UNDECOMPOSED))
            text = "".join(letter for letter in text if not unicodedata.combining(letter))
            text = _NOT_LATIN.sub(".", " ".join(text.split()))
        return escape(" ".join(text.split())[:longest].strip())


def message_id(batch: BatchRef, calls: Sequence[int]) -> str:
    """MsgId and PmtInfId of the file that joins ``calls``: what a status report names it by.

    The same for the same first call, so a bank that has had the file refuses it, and would refuse
    one with more calls at its end; a file of later attempts begins with another call.
    """
    return f"{ids.public('b', batch.batch_id)}-{calls[0] if calls else 0}".replace("_", "-")


def is_iban(text: str) -> bool:
    """Whether ``text`` has an IBAN's form and its check digits hold (ISO 13616)."""
    if not _IBAN.fullmatch(text):
        return False
    return int((text[4:] + text[:4]).translate(_VALUES)) % 97 == 1


def _account(number: str) -> str | None:
    """An account; None when the number is none, or looks like an IBAN and is mistyped."""
    if is_iban(number):
        return f"<Id><IBAN>{number}</IBAN></Id>"
    if not number or len(number) > 34 or _IBAN.fullmatch(number):
        return None
    return f"<Id><Othr><Id>{escape(number)}</Id></Othr></Id>"


def _amounts(rows: bytes) -> list[int]:
    """The amounts in ``rows``, in minor units. Names are escaped, so no name looks like one."""
    return [int(amount.replace(b".", b"")) for amount in _AMOUNT.findall(rows)]


def _plain(text: str) -> str:
    """A number as people write it, without its spaces: ``DE89 3704 …``."""
    text = "".join(text.split()).upper()
    return text if text.isprintable() else _NOT_XML.sub("", text)


def _choice(settings: ProviderSettings, name: str, default: str, allowed: Sequence[str]) -> str:
    value = settings.text(name, default)
    if value not in allowed:
        raise BadProviderSetting(
            f"[{settings.where}] {name} is none of {', '.join(allowed)}", field=name
        )
    return value
