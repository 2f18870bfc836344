"""Statements: CSV under a mapping, and camt.053; every row is accepted or refused with a reason."""

from __future__ import annotations

import io
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distrib.errors import DistribError
from distrib.orders.sources.mapping_file import MappingInvalid
from distrib.settlement.outcomes import AttemptKey
from distrib.settlement.statement_file import (
    STANDARD,
    StatementMapping,
    read_mapping,
    read_statement,
)
from distrib.settlement.statement_rows import (
    BadStatement,
    Period,
    RefusedLine,
    StatementRow,
    find_keys,
)

KEY = AttemptKey(77, 3, 1)


def read(
    content: str | bytes,
    mapping: StatementMapping = STANDARD,
    currency: str = "CNY",
    period: Period | None = None,
) -> tuple[list[StatementRow], list[RefusedLine]]:
    raw = content.encode() if isinstance(content, str) else content
    rows = list(
        read_statement(
            io.BytesIO(raw),
            mapping=mapping,
            currency=currency,
            time_zone="Asia/Shanghai",
            period=period or Period(),
        )
    )
    taken = [row for row in rows if isinstance(row, StatementRow)]
    refused = [row for row in rows if isinstance(row, RefusedLine)]
    return taken, refused


# -- numbers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reference, text, found",
    [
        ("77p3a1", "", (KEY,)),
        ("REF 77P3A1/2026", "88p1a1", (KEY,)),
        ("nothing", "payout 77p3a1, thank you", (KEY,)),
        ("付款77p3a1元", "", (KEY,)),
        ("SVC77p3a1XX", "", (KEY,)),
        ("77p3a1 77p3a1", "", (KEY,)),
        ("77p3a1 77p4a1", "", (KEY, AttemptKey(77, 4, 1))),
        ("", "", ()),
        ("077p3a1", "", ()),
        ("77p0a1", "", ()),
        ("7p7", "77p3", ()),
        ("9223372036854775808p1a1", "", ()),
        ("9223372036854775807p999999999a9999", "", (AttemptKey(2**63 - 1, 999_999_999, 9_999),)),
        ("177p3a12345", "", ()),
    ],
)
def test_request_numbers_are_found_anywhere(
    reference: str, text: str, found: tuple[AttemptKey, ...]
) -> None:
    assert find_keys(reference, text) == found


# -- CSV ------------------------------------------------------------------------------------------


def test_the_standard_mapping() -> None:
    taken, refused = read(
        "reference,amount,date,text\n"
        '77p3a1,12.34,2026-03-01,"a, b"\n'
        "\n"
        "x,-1,2026-03-02T23:30:00+00:00,\n"
    )
    assert refused == []
    assert taken == [
        StatementRow(2, date(2026, 3, 1), 1234, "77p3a1", "a, b", (KEY,)),
        StatementRow(4, date(2026, 3, 3), -100, "x", "", ()),
    ]


@pytest.mark.parametrize(
    "row, reason",
    [
        ("r,12.345,2026-03-01", "amount: 12.345 has more decimals"),
        ("r,,2026-03-01", "amount: must not be empty"),
        ("r,-,2026-03-01", "amount: '-' is not|amount: '' is not"),
        ("r,--5,2026-03-01", "amount: '--5' is not"),
        ("r,0.00,2026-03-01", "amount: is zero"),
        ("r,99999999999999,2026-03-01", "amount: is too large"),
        ("r,1e5,2026-03-01", "is not a decimal"),
        ("r,5,", "date: must not be empty"),
        ("r,5,1.3.2026", "date: '1.3.2026' is no date of the form iso"),
        ("r,5,1969-12-31", "date: 1969-12-31 is not between"),
        ("r,5,0001-01-01T00:00:00+14:00", "date: "),
        ("r,5", "row has 2 columns, the header 3"),
        ("r,5,2026-03-01,x", "row has 4 columns, the header 3"),
        ('r,5,"2026-03-01', "quotes: "),
        ("r\0,5,2026-03-01", "reference: contains a NUL"),
    ],
)
def test_rows_are_refused_with_a_reason(row: str, reason: str) -> None:
    taken, refused = read(f"reference,amount,date\ngood,1,2026-03-01\n{row}\nlast,1,2026-03-01\n")
    assert [each.reference for each in taken] == ["good", "last"]
    assert len(refused) == 1
    assert refused[0].line == 3
    assert any(each in refused[0].reason for each in reason.split("|")), refused[0].reason
    assert "\0" not in refused[0].text


BANK = {
    "columns": {
        "reference": "Verwendungszweck",
        "amount": {"column": "Betrag", "remove": "."},
        "date": "Buchungstag",
        "text": {"column": ["Name", "IBAN"], "optional": True},
    },
    "date_formats": ["%d.%m.%Y", "%d.%m.%y"],
    "decimal": ",",
    "delimiter": ";",
    "encoding": "iso-8859-1",
    "outgoing": "negative",
}


def test_a_bank_of_its_own() -> None:
    file = (
        "Buchungstag;Name;Betrag;Verwendungszweck\r\n"
        "01.03.2026;Müller;-1.234,56;77p3a1\r\n"
        "02.03.26;Müller;+10,00;zurück\r\n"
        "03.03.2026;;5,00-;x\r\n"
        "03.03.2026;;(6,00);x\r\n"
        "03.03.2026;;−7,00;x\r\n"
    ).replace("−", "-")
    taken, refused = read(file.encode("iso-8859-1"), read_mapping(BANK), "EUR")
    assert refused == []
    assert [(each.booked_on.day, each.amount, each.text) for each in taken] == [
        (1, 123456, "Müller"),
        (2, -1000, "Müller"),
        (3, 500, ""),
        (3, 600, ""),
        (3, 700, ""),
    ]


def test_a_direction_decides() -> None:
    mapping = read_mapping(
        {
            "columns": {
                "reference": "r",
                "amount": "a",
                "date": "d",
                "direction": {"column": "s", "map": {"S": "out", "H": "in"}},
            },
            "encoding": "gb18030",
        }
    )
    file = (
        "r,a,d,s\nx,1.00,2026-03-01,S\nx,2.00,2026-03-01,H\nx,-3.00,2026-03-01,支出\n"
        "x,4.00,2026-03-01,收入\nx,5.00,2026-03-01,?\nx,-6.00,2026-03-01,\n"
    )
    taken, refused = read(file.encode("gb18030"), mapping)
    assert [each.amount for each in taken] == [100, -200, 300, -400, -600]
    assert [each.reason for each in refused] == ["direction: '?' is neither out nor in"]


def test_what_came_back_in_a_column_of_its_own() -> None:
    columns = {"reference": "r", "amount": "out", "amount_in": "in", "date": "d"}
    file = "r,out,in,d\na,1,,2026-03-01\nb,,2,2026-03-01\nc,3,0.00,2026-03-01\n"
    file += "d,0,4,2026-03-01\ne,5,5,2026-03-01\nf,,,2026-03-01\n"
    taken, refused = read(file, read_mapping({"columns": columns}))
    assert [(each.reference, each.amount) for each in taken] == [
        ("a", 100), ("b", -200), ("c", 300), ("d", -400),
    ]  # fmt: skip
    assert [each.line for each in refused] == [6, 7]


def test_rows_that_the_mapping_refuses() -> None:
    mapping = read_mapping(
        {
            "columns": {"reference": "reference", "amount": "amount", "date": "date"},
            "refuse": [{"column": "kind", "values": ["fee"], "reason": "a fee of the bank"}],
        }
    )
    taken, refused = read("reference,amount,date,kind\nx,1,2026-03-01,fee\n", mapping)
    assert (taken, [each.reason for each in refused]) == ([], ["a fee of the bank"])


@pytest.mark.parametrize(
    "document, field",
    [
        ({}, "columns"),
        ({"columns": {"reference": "r", "amount": "a"}}, "columns.date"),
        ({"columns": {"reference": "r", "amount": "a", "date": "d", "x": "y"}}, "columns.x"),
        ({"date_format": "iso"}, "date_format"),
        ({"date_formats": []}, "date_formats"),
        ({"date_formats": [1]}, "date_formats"),
        ({"date_formats": ["%d %d"]}, "date_formats"),
        ({"date_formats": ["%Q"]}, "date_formats"),
        ({"decimal": ";"}, "decimal"),
        ({"delimiter": "::"}, "delimiter"),
        ({"encoding": "utf-99"}, "encoding"),
        ({"outgoing": "up"}, "outgoing"),
        ({"refuse": 1}, "refuse"),
    ],
)
def test_a_mapping_says_what_is_wrong(document: dict[str, Any], field: str) -> None:
    good = {"columns": {"reference": "r", "amount": "a", "date": "d"}}
    with pytest.raises(MappingInvalid) as caught:
        read_mapping(good | document if document else document)
    assert caught.value.field == field


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n\n",
        b"reference,amount\nx,1\n",
        b"reference,amount,date,date\nx,1,2026-03-01,2\n",
        b'"reference,amount,date\n',
        b"<?xml version='1.0'?><a>",
        b"<a/>",
        b"\xff\xfe<\x00a\x00/\x00>\x00",
        b"<!DOCTYPE a [<!ENTITY b 'c'>]><BkToCstmrStmt>&b;</BkToCstmrStmt>",
        b"<?xml version='1.0' encoding='x-y'?><a/>",
        b"<a>" * 50,
    ],
)
def test_what_is_no_statement(content: bytes) -> None:
    with pytest.raises(BadStatement):
        read(content)


@given(st.binary(max_size=400) | st.text(max_size=200).map(lambda t: f"reference,amount,date\n{t}"))
def test_anything_is_read_or_refused(content: bytes | str) -> None:
    try:
        taken, refused = read(content)
    except DistribError:
        return
    for row in taken:
        assert row.amount
        assert "\0" not in row.reference + row.text
    for each in refused:
        (each.reason + each.text).encode()


# -- camt.053 -------------------------------------------------------------------------------------


def entry(
    *details: str, amount: str = "12.34", sign: str = "DBIT", status: str = "<Cd>BOOK</Cd>",
    booked: str = "<Dt>2026-03-02</Dt>", more: str = "", currency: str = "CNY",
) -> str:  # fmt: skip
    inside = f"<NtryDtls>{''.join(details)}</NtryDtls>" if details else ""
    return (
        f'<Ntry><NtryRef>N1</NtryRef><Amt Ccy="{currency}">{amount}</Amt><CdtDbtInd>{sign}'
        f"</CdtDbtInd><Sts>{status}</Sts><BookgDt>{booked}</BookgDt>{inside}{more}</Ntry>"
    )


def details(end_to_end: str = "77p3a1", amount: str | None = None, more: str = "") -> str:
    inner = f'<Amt Ccy="CNY">{amount}</Amt>' if amount else ""
    return f"<TxDtls><Refs><EndToEndId>{end_to_end}</EndToEndId></Refs>{inner}{more}</TxDtls>"


def document(*entries: str, period: str = "") -> str:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.08"><BkToCstmrStmt>'
        f"<GrpHdr><MsgId>M</MsgId></GrpHdr><Stmt><Id>S</Id>{period}<Bal><Amt Ccy='CNY'>9</Amt>"
        f"<CdtDbtInd>CRDT</CdtDbtInd></Bal>{''.join(entries)}</Stmt></BkToCstmrStmt></Document>"
    )


def test_camt_053() -> None:
    period = Period()
    taken, refused = read(
        document(
            entry(details(more="<RmtInf><Ustrd>hello</Ustrd></RmtInf>")),
            entry(
                details("77p4a1", "1.00"),
                details("NOTPROVIDED", "2.00", "<RmtInf><Ustrd>77p5a1</Ustrd></RmtInf>"),
                amount="3.00",
                booked="<DtTm>2026-03-02T20:00:00Z</DtTm>",
                more="<AddtlNtryInf>batch</AddtlNtryInf>",
            ),
            entry(details(), amount="12.34", sign="CRDT"),
            entry(amount="5", more="<AcctSvcrRef>A9</AcctSvcrRef>", status="BOOK"),
            period="<FrToDt><FrDtTm>2026-03-01T00:00:00</FrDtTm>"
            "<ToDtTm>2026-04-01T00:00:00</ToDtTm></FrToDt>",
        ),
        period=period,
    )
    assert refused == []
    assert [(r.line, r.booked_on.day, r.amount, r.reference, r.text) for r in taken] == [
        (1, 2, 1234, "77p3a1 N1", "hello"),
        (2, 3, 100, "77p4a1 N1", "batch"),
        (3, 3, 200, "N1", "77p5a1 batch"),
        (4, 2, -1234, "77p3a1 N1", ""),
        (5, 2, 500, "A9 N1", ""),
    ]
    assert [len(r.keys) for r in taken] == [1, 1, 1, 1, 0]
    assert (period.first, period.last) == (date(2026, 3, 1), date(2026, 3, 31))


@pytest.mark.parametrize(
    "wrong, reason",
    [
        (entry(details(), status="<Cd>PDNG</Cd>"), "the entry is PDNG, not booked"),
        (entry(details(), currency="USD"), "is in USD, not CNY"),
        (entry(details(), sign="BOTH"), "neither DBIT nor CRDT"),
        (entry(details(), amount="1.234"), "more decimals"),
        (entry(details(), amount="-1"), "must not be negative"),
        (entry(details(), amount="0"), "is zero"),
        (entry(details(), booked="<Dt>never</Dt>"), "'never' is no date"),
        (entry(details(amount="1"), details(amount="2"), amount="4"), "add up to 300"),
        (entry(details(), details(), amount="4"), "a transaction has no amount"),
    ],
)
def test_entries_are_refused_whole(wrong: str, reason: str) -> None:
    taken, refused = read(document(wrong, entry(details("77p9a1"))))
    assert [each.reference for each in taken] == ["77p9a1 N1"]
    assert len(refused) == wrong.count("<TxDtls>")
    assert all(reason in each.reason and each.text == "77p3a1 N1" for each in refused), refused
    assert taken[0].line == len(refused) + 1


def test_amounts_inside_details() -> None:
    inner = '<AmtDtls><TxAmt><Amt Ccy="CNY">{}</Amt></TxAmt></AmtDtls>'
    taken, refused = read(
        document(
            entry(details("1p1a1", more=inner.format(4)), details("1p2a1", more=inner.format(6)),
                  amount="10"),
        )
    )  # fmt: skip
    assert ([each.amount for each in taken], refused) == ([400, 600], [])
