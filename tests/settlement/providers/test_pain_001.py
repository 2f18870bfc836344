"""pain.001: elements in the message's order, sums that hold, text that cannot break out."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from distrib import clock
from distrib.settlement.providers import (
    BadProviderSetting,
    BatchRef,
    PayoutRequest,
    Provider,
    Status,
    WritesFile,
)
from distrib.settlement.providers.files import PartMissing
from distrib.settlement.providers.pain_001 import NAMESPACE, Pain001, is_iban, message_id
from distrib.settlement.providers.settings import ProviderSettings

BATCH = BatchRef(1, 2, 3, "EUR", title="Acme & Co, batch 3")
NOW = datetime(2026, 3, 17, 23, 30, tzinfo=UTC)
IBAN = "DE89370400440532013000"
SETTINGS = {
    "debtor_name": "Acme GmbH",
    "debtor_account": "DE89 3704 0044 0532 0130 00",
    "debtor_bank": "COBADEFFXXX",
}

# What may follow what: the order of the message definition, of what is written here.
ORDER: dict[str, list[str]] = {
    "Document": ["CstmrCdtTrfInitn"],
    "CstmrCdtTrfInitn": ["GrpHdr", "PmtInf", "SplmtryData"],
    "GrpHdr": ["MsgId", "CreDtTm", "Authstn", "NbOfTxs", "CtrlSum", "InitgPty", "FwdgAgt"],
    "InitgPty": ["Nm", "PstlAdr", "Id"],
    "PmtInf": [
        *("PmtInfId", "PmtMtd", "ReqdAdvcTp", "BtchBookg", "NbOfTxs", "CtrlSum", "PmtTpInf"),
        *("ReqdExctnDt", "PoolgAdjstmntDt", "Dbtr", "DbtrAcct", "DbtrAgt", "DbtrAgtAcct"),
        *("InstrForDbtrAgt", "UltmtDbtr", "ChrgBr", "ChrgsAcct", "ChrgsAcctAgt", "CdtTrfTxInf"),
    ],
    "PmtTpInf": ["InstrPrty", "SvcLvl", "LclInstrm", "CtgyPurp"],
    "SvcLvl": ["Cd"],
    "ReqdExctnDt": ["Dt"],
    "Dbtr": ["Nm", "PstlAdr", "Id"],
    "DbtrAcct": ["Id", "Tp", "Ccy", "Nm", "Prxy"],
    "DbtrAgt": ["FinInstnId", "BrnchId"],
    "CdtTrfTxInf": [
        *("PmtId", "PmtTpInf", "Amt", "XchgRateInf", "ChrgBr", "MndtRltdInf", "ChqInstr"),
        *("UltmtDbtr", "IntrmyAgt1", "CdtrAgt", "CdtrAgtAcct", "Cdtr", "CdtrAcct", "UltmtCdtr"),
        *("InstrForCdtrAgt", "InstrForDbtrAgt", "Purp", "RgltryRptg", "Tax", "RltdRmtInf"),
        *("RmtInf", "SplmtryData"),
    ],
    "PmtId": ["InstrId", "EndToEndId", "UETR"],
    "Amt": ["InstdAmt"],
    "CdtrAgt": ["FinInstnId", "BrnchId"],
    "FinInstnId": ["BICFI", "ClrSysMmbId", "LEI", "Nm", "PstlAdr", "Othr"],
    "ClrSysMmbId": ["ClrSysId", "MmbId"],
    "ClrSysId": ["Cd"],
    "Cdtr": ["Nm", "PstlAdr", "Id"],
    "CdtrAcct": ["Id", "Tp", "Ccy", "Nm", "Prxy"],
    "Id": ["IBAN", "Othr", "Id"],
    "Othr": ["Id", "SchmeNm", "Issr"],
    "RmtInf": ["Ustrd", "Strd"],
}
REPEATED = {"CdtTrfTxInf"}


def tag(element: ElementTree.Element) -> str:
    return element.tag.removeprefix(f"{{{NAMESPACE}}}")


def check_order(element: ElementTree.Element) -> None:
    names = [tag(child) for child in element]
    if names:
        places = [ORDER[tag(element)].index(name) for name in names]
        assert places == sorted(places), f"{tag(element)}: {names}"
        single = [name for name in names if name not in REPEATED]
        assert len(single) == len(set(single)), f"{tag(element)}: {names}"
    for child in element:
        check_order(child)


def request(no: int, call_no: int = 7, **facts: Any) -> PayoutRequest:
    defaults = {
        "account": {"account_no": IBAN},
        "name": f"Payee {no}",
        "amount": no * 101,
        "currency": "EUR",
    }
    rest: dict[str, Any] = defaults | facts
    return PayoutRequest(request_no=f"R{no}", no=no, payee=f"D{no}", call_no=call_no, **rest)


def make(folder: Path, **values: Any) -> Pain001:
    return Pain001.from_settings(ProviderSettings("acme.bank", SETTINGS | values, folder))


def written(provider: Pain001, *requests: PayoutRequest, batch: BatchRef = BATCH) -> str:
    provider.pay(batch, requests)
    with clock.travel(NOW):
        return provider.finish(batch, [requests[0].call_no]).path.read_text(encoding="utf-8")


def transfers(text: str) -> list[ElementTree.Element]:
    root = ElementTree.fromstring(text)
    check_order(root)
    return list(root.iter(f"{{{NAMESPACE}}}CdtTrfTxInf"))


def value(element: ElementTree.Element, path: str) -> str | None:
    return element.findtext("/".join(f"{{{NAMESPACE}}}{name}" for name in path.split("/")))


def test_the_document(tmp_path: Path) -> None:
    provider = make(tmp_path, service_level="SEPA", time_zone="Europe/Berlin")
    assert isinstance(provider, Provider)
    assert isinstance(provider, WritesFile)
    outcomes = provider.pay(BATCH, [request(2), request(1)])
    provider.pay(BATCH, [request(3, 4)])
    with clock.travel(NOW):
        file = provider.finish(BATCH, [7, 4])
    assert [o.status for o in outcomes] == [Status.PENDING] * 2
    assert (file.payouts, file.total) == (3, 606)
    assert file.sha256 == hashlib.sha256(file.path.read_bytes()).digest()
    text = file.path.read_text(encoding="utf-8")
    assert [value(t, "PmtId/EndToEndId") for t in transfers(text)] == ["R1", "R2", "R3"]
    root = ElementTree.fromstring(text)
    for path, expected in {
        "CstmrCdtTrfInitn/GrpHdr/MsgId": "b-000000000002-7",
        "CstmrCdtTrfInitn/GrpHdr/CreDtTm": "2026-03-17T23:30:00Z",
        "CstmrCdtTrfInitn/GrpHdr/NbOfTxs": "3",
        "CstmrCdtTrfInitn/GrpHdr/CtrlSum": "6.06",
        "CstmrCdtTrfInitn/GrpHdr/InitgPty/Nm": "Acme GmbH",
        "CstmrCdtTrfInitn/PmtInf/PmtInfId": "b-000000000002-7",
        "CstmrCdtTrfInitn/PmtInf/NbOfTxs": "3",
        "CstmrCdtTrfInitn/PmtInf/CtrlSum": "6.06",
        "CstmrCdtTrfInitn/PmtInf/PmtTpInf/SvcLvl/Cd": "SEPA",
        "CstmrCdtTrfInitn/PmtInf/ReqdExctnDt/Dt": "2026-03-18",
        "CstmrCdtTrfInitn/PmtInf/DbtrAcct/Id/IBAN": IBAN,
        "CstmrCdtTrfInitn/PmtInf/DbtrAgt/FinInstnId/BICFI": "COBADEFFXXX",
        "CstmrCdtTrfInitn/PmtInf/ChrgBr": "SLEV",
    }.items():
        assert value(root, path) == expected, path


def test_a_transfer(tmp_path: Path) -> None:
    account = {"account_no": IBAN, "bank_code": "COBADEFF", "account_name": "Anna Ämter"}
    (transfer,) = transfers(written(make(tmp_path), request(5, account=account)))
    assert value(transfer, "PmtId/InstrId") == "R5"
    assert value(transfer, "Amt/InstdAmt") == "5.05"
    assert transfer.find(f".//{{{NAMESPACE}}}InstdAmt").attrib == {"Ccy": "EUR"}  # type: ignore[union-attr]
    assert value(transfer, "CdtrAgt/FinInstnId/BICFI") == "COBADEFF"
    assert value(transfer, "Cdtr/Nm") == "Anna Ämter"
    assert value(transfer, "CdtrAcct/Id/IBAN") == IBAN
    assert value(transfer, "RmtInf/Ustrd") == "Acme & Co, batch 3 5"


@pytest.mark.parametrize(
    "account, path, expected",
    [
        ({"bank_code": "102100099996"}, "CdtrAgt/FinInstnId/ClrSysMmbId/MmbId", "102100099996"),
        ({"bank_code": "102100099996"}, "CdtrAgt/FinInstnId/ClrSysMmbId/ClrSysId/Cd", "CNAPS"),
        ({"bank_code": "ICBKCNBJ"}, "CdtrAgt/FinInstnId/BICFI", "ICBKCNBJ"),
        ({"bank_name": "工商银行"}, "CdtrAgt/FinInstnId/Nm", "工商银行"),
        ({"bank_name": "ICBC"}, "CdtrAcct/Id/Othr/Id", "6222021234567890"),
    ],
)
def test_accounts_that_are_no_iban(
    tmp_path: Path, account: dict[str, str], path: str, expected: str
) -> None:
    account = {"account_no": "6222 0212 3456 7890", **account}
    provider = make(tmp_path, clearing_system="CNAPS")
    (transfer,) = transfers(written(provider, request(1, account=account)))
    assert value(transfer, path) == expected


@pytest.mark.parametrize(
    "facts, code",
    [
        ({"account": {}}, "BAD_ACCOUNT"),
        ({"account": {"account_no": "DE88370400440532013000"}}, "BAD_ACCOUNT"),
        ({"account": {"account_no": "9" * 35, "bank_name": "B"}}, "BAD_ACCOUNT"),
        ({"account": {"account_no": "6222"}}, "NO_BANK"),
        ({"account": {"account_no": "6222", "bank_code": "102100099996"}}, "NO_BANK"),
        ({"name": "王小明"}, "BAD_NAME"),
    ],
)
def test_who_cannot_be_written_has_failed_and_is_in_no_file(
    tmp_path: Path, facts: dict[str, Any], code: str
) -> None:
    provider = make(tmp_path, charset="sepa")
    outcomes = provider.pay(BATCH, [request(1, **facts), request(2)])
    assert [(o.request_no, o.status, o.code) for o in outcomes] == [
        ("R1", Status.FAILED, code),
        ("R2", Status.PENDING, None),
    ]
    file = provider.finish(BATCH, [7])
    assert (file.payouts, file.total) == (1, 202)


@pytest.mark.parametrize(
    "name, full, latin",
    [
        ("Anna Müller", "Anna Müller", "Anna Muller"),
        ("Łukasz Ståhl-Ørsted", "Łukasz Ståhl-Ørsted", "Lukasz Stahl-Orsted"),
        ("Straße & Söhne <x>", "Straße & Söhne <x>", "Strasse + Sohne .x."),
        ("A 王", "A 王", "A ."),
        ("O’Neil", "O’Neil", "O'Neil"),
        ("two\nlines\t\x01\ufffe x", "two lines x", "two lines x"),
        ("]]></Nm><Nm>A", "]]></Nm><Nm>A", "..../Nm..Nm.A"),
        ('<InstdAmt Ccy="EUR">9.00</InstdAmt>', '<InstdAmt Ccy="EUR">9.00</InstdAmt>', None),
        ("&amp;amp;", "&amp;amp;", "+amp.amp."),
        ("x" * 150, "x" * 140, "x" * 70),
        ("&" * 150 + "a", None, None),
    ],
)
def test_text_stays_text(tmp_path: Path, name: str, full: str | None, latin: str | None) -> None:
    for charset, expected in (("utf-8", full), ("sepa", latin)):
        if expected is None:
            continue
        provider = make(tmp_path / charset, charset=charset)
        text = written(provider, request(1, name=name))
        (transfer,) = transfers(text)
        assert value(transfer, "Cdtr/Nm") == expected
        assert provider.finish(BATCH, [7]).total == 101
        if charset == "sepa":
            assert text.isascii()


def test_the_same_requests_give_the_same_part(tmp_path: Path) -> None:
    parts = []
    for folder in ("a", "b"):
        provider = make(tmp_path / folder)
        provider.pay(BATCH, [request(1), request(2)])
        provider.pay(BATCH, [request(2), request(1)])
        (part,) = (tmp_path / folder).rglob("7.xml")
        parts.append(part.read_bytes())
    assert parts[0] == parts[1]


@pytest.mark.parametrize("currency, text, amount", [("JPY", "101", 101), ("KWD", "0.101", 101)])
def test_amounts_have_the_decimals_of_their_currency(
    tmp_path: Path, currency: str, text: str, amount: int
) -> None:
    batch = BatchRef(1, 2, 3, currency)
    provider = make(tmp_path)
    (transfer,) = transfers(written(provider, request(1, currency=currency), batch=batch))
    assert value(transfer, "Amt/InstdAmt") == text
    assert provider.finish(batch, [7]).total == amount


def test_message_ids(tmp_path: Path) -> None:
    largest = BatchRef(1, 2**59 - 1, 3, "EUR")
    assert re.fullmatch(r"[A-Za-z0-9-]{1,35}", message_id(largest, [2**59 - 1]))
    # more calls at the end is the same message, which a bank takes once
    assert message_id(BATCH, [7]) == message_id(BATCH, [7, 8])
    assert message_id(BATCH, [8]) != message_id(BATCH, [7])
    with pytest.raises(PartMissing):
        make(tmp_path).finish(BATCH, [7])


@pytest.mark.parametrize(
    "values, field",
    [
        ({"debtor_account": "DE88370400440532013000"}, "debtor_account"),
        ({"debtor_bank": "12345"}, "debtor_bank"),
        ({"charset": "latin-1"}, "charset"),
        ({"charge_bearer": "ME"}, "charge_bearer"),
        ({"debtor_name": ""}, "debtor_name"),
    ],
)
def test_settings_that_no_bank_would_take(
    tmp_path: Path, values: dict[str, str], field: str
) -> None:
    with pytest.raises(BadProviderSetting) as caught:
        make(tmp_path, **values)
    assert caught.value.field == field


@pytest.mark.parametrize(
    "text, good",
    [
        (IBAN, True),
        ("GB82WEST12345698765432", True),
        ("NO9386011117947", True),
        ("DE89370400440532013001", False),
        ("6222021234567890", False),
        ("", False),
    ],
)
def test_ibans(text: str, good: bool) -> None:
    assert is_iban(text) is good
