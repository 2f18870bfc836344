"""Status files: each status to its outcome; a hostile or broken file to an error."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from distrib.settlement.providers import Outcome, Status, status_file
from distrib.settlement.providers.status_file import (
    DUPLICATE,
    TX_STATUS,
    BadStatusFile,
    StatusReport,
    read_pain_002,
    read_status_csv,
    read_status_file,
)

RECORDED = Path(__file__).with_name("recorded")
MESSAGE = "b-000000000002-7"


def pain(transactions: str, group: str = "", payment: str = "") -> bytes:
    return (
        '<Document xmlns="urn:iso:std:iso:20022:tech:xsd:pain.002.001.10"><CstmrPmtStsRpt>'
        f"<OrgnlGrpInfAndSts><OrgnlMsgId>{MESSAGE}</OrgnlMsgId>{group}</OrgnlGrpInfAndSts>"
        f"<OrgnlPmtInfAndSts><OrgnlPmtInfId>{MESSAGE}</OrgnlPmtInfId>{payment}{transactions}"
        "</OrgnlPmtInfAndSts></CstmrPmtStsRpt></Document>"
    ).encode()


def tx(number: str, status: str, reason: str = "") -> str:
    why = f"<StsRsnInf><Rsn><Cd>{reason}</Cd></Rsn></StsRsnInf>" if reason else ""
    return (
        f"<TxInfAndSts><OrgnlEndToEndId>{number}</OrgnlEndToEndId><TxSts>{status}</TxSts>"
        f"{why}</TxInfAndSts>"
    )


def read(content: bytes) -> StatusReport:
    return read_status_file(io.BytesIO(content))


def test_a_report_of_version_10() -> None:
    report = read((RECORDED / "pain_002_10.xml").read_bytes())
    assert report.outcomes == [
        Outcome("R1", Status.PAID, "BK/1", "ACSC"),
        Outcome("R2", Status.FAILED, None, "RJCT/AC04", "Account closed"),
        Outcome("R3", Status.UNKNOWN, None, "RJCT/AM05"),
        Outcome("R4", Status.PENDING, None, "PDNG"),
    ]
    assert [(row.text, row.reason) for row in report.refused] == [
        ("R5", "status 'XXXX' is not known"),
        ("", "names no request number"),
    ]
    # PART says nothing of the others; the payment's ACSP does, also of R6, which has no status
    complete = report.complete(MESSAGE, [f"R{n}" for n in range(1, 8)])
    assert [(o.request_no, o.status) for o in complete[4:]] == [
        ("R6", Status.PENDING),
        ("R7", Status.PENDING),
    ]
    assert report.complete("another", ["R7"]) == report.outcomes


def test_a_report_of_version_03_for_the_whole_message() -> None:
    report = read((RECORDED / "pain_002_03.xml").read_bytes())
    assert report.outcomes == []
    assert report.complete(MESSAGE, ["R1", "R2"]) == [
        Outcome(n, Status.FAILED, None, "RJCT/NARR", "No mandate") for n in ("R1", "R2")
    ]


@pytest.mark.parametrize("code", sorted(TX_STATUS))
def test_each_status(code: str) -> None:
    (outcome,) = read(pain(tx("R1", code))).outcomes
    expected = {"ACSC": "paid", "ACCC": "paid", "RJCT": "failed", "CANC": "failed"}
    assert outcome.status == expected.get(code, "pending")
    assert outcome.code == code


@pytest.mark.parametrize("reason", sorted(DUPLICATE))
def test_what_is_rejected_as_a_duplicate_may_have_been_paid(reason: str) -> None:
    assert read(pain(tx("R1", "RJCT", reason))).outcomes[0].status is Status.UNKNOWN
    whole = f"<GrpSts>RJCT</GrpSts><StsRsnInf><Rsn><Cd>{reason}</Cd></Rsn></StsRsnInf>"
    (outcome,) = read(pain("", group=whole)).complete(MESSAGE, ["R1"])
    assert outcome.status is Status.UNKNOWN


def test_the_payment_speaks_louder_than_the_group() -> None:
    content = pain("", group="<GrpSts>RJCT</GrpSts>", payment="<PmtInfSts>ACSC</PmtInfSts>")
    assert read(content).complete(MESSAGE, ["R1"])[0].status is Status.PAID


def test_a_row_that_is_refused_does_not_take_the_groups_status() -> None:
    report = read(pain(tx("R1", "XXXX"), group="<GrpSts>RJCT</GrpSts>"))
    assert [o.request_no for o in report.complete(MESSAGE, ["R1", "R2"])] == ["R2"]


def test_two_different_answers_are_none() -> None:
    report = read(pain(tx("R1", "RJCT") + tx("R1", "ACSC") + tx("R2", "PDNG") + tx("R2", "ACSC")))
    assert [(o.request_no, o.status) for o in report.outcomes] == [("R2", Status.PAID)]
    assert [row.text for row in report.refused] == ["R1"]


BOMB = (
    b'<?xml version="1.0"?><!DOCTYPE Document [<!ENTITY a "aaaaaaaaaa">'
    b'<!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><Document><CstmrPmtStsRpt>&b;</CstmrPmtStsRpt>'
    b"</Document>"
)
EXTERNAL = (
    b'<!DOCTYPE Document SYSTEM "http://127.0.0.1:1/x.dtd"><Document><CstmrPmtStsRpt/></Document>'
)
FILE = (
    b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><Document><CstmrPmtStsRpt>&x;'
    b"</CstmrPmtStsRpt></Document>"
)


@pytest.mark.parametrize(
    "content",
    [
        BOMB,
        EXTERNAL,
        FILE,
        b"<Document><CstmrPmtStsRpt>&undefined;</CstmrPmtStsRpt></Document>",
        b"<Document><CstmrPmtStsRpt></Document>",
        b"<Document/>",
        b"<" + b"a><" * 5000,
        pain(tx("R1", "ACSC"))[:-20],
        b"<?xml version='1.0' encoding='utf-7'?><Document/>",
        b"<?xml version='1.0' encoding='nonsense'?><Document/>",
    ],
)
def test_hostile_and_broken_files(content: bytes) -> None:
    with pytest.raises(BadStatusFile):
        read(content)


def test_a_file_may_be_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_file, "LARGEST_FILE", 1000)
    with pytest.raises(BadStatusFile, match="1,000"):
        read_pain_002(io.BytesIO(pain(tx("R1", "ACSC") * 100)))
    with pytest.raises(BadStatusFile, match="1,000"):
        read_status_csv(io.BytesIO(b"request_no,status\n" + b"R1,paid\n" * 1000))


def test_long_texts_are_cut() -> None:
    text = "x" * 300_000
    content = pain(
        f"<TxInfAndSts><OrgnlEndToEndId>R1</OrgnlEndToEndId><TxSts>RJCT</TxSts>"
        f"<StsRsnInf><AddtlInf>{text}</AddtlInf></StsRsnInf></TxInfAndSts>"
    )
    (outcome,) = read(content).outcomes
    assert outcome.message == "x" * 1000


def test_csv() -> None:
    report = read(
        "\ufeffrequest_no,status,reference,code,message\r\n"
        'R1,paid,BK1,,\r\nR2,FAILED,,AC04,"Closed, ""for good"""\r\n\r\n'
        "R3,pending,,,\r\n R4 , returned ,BK4,,回来\r\n".encode()
    )
    assert report.outcomes == [
        Outcome("R1", Status.PAID, "BK1"),
        Outcome("R2", Status.FAILED, None, "AC04", 'Closed, "for good"'),
        Outcome("R3", Status.PENDING),
        Outcome("R4", Status.RETURNED, "BK4", None, "回来"),
    ]
    assert report.refused == []


@pytest.mark.parametrize(
    "row, reason",
    [
        ("R1,unknown", "status is none of"),
        ("R1,absent", "status is none of"),
        ("R1,", "status is none of"),
        (",paid", "request_no"),
        ("R-1,paid", "request_no"),
        ("R" * 33 + ",paid", "request_no"),
        ("R1,paid,x", "3 cells"),
        ("R1", "1 cells"),
    ],
)
def test_csv_rows_that_say_nothing(row: str, reason: str) -> None:
    report = read(f"request_no,status\nR0,paid\n{row}\n".encode())
    assert [o.request_no for o in report.outcomes] == ["R0"]
    (refused,) = report.refused
    assert refused.row == 3
    assert reason in refused.reason


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"R1,paid\n",
        b"request_no;status\nR1;paid\n",
        b"request_no,status,status\n",
        b"request_no,status\nR1,\xff\n",
        b'request_no,status\nR1,"paid\n',
        b"request_no,status\nR1," + b"x" * 200_000,
    ],
)
def test_csv_files_that_are_none(content: bytes) -> None:
    with pytest.raises(BadStatusFile):
        read(content)
