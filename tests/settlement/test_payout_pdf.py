"""The paper of a payout: its text can be read back, its pages are numbered, its bytes repeat."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pypdf import PdfReader

from distrib.errors import InvalidInput
from distrib.settlement.payout_pdf import (
    LineKind,
    PaperLine,
    PayoutPaper,
    content_hash,
    render_payout,
)
from distrib.settlement.pdf_text import is_drawable, measure, wrap

NAME = "王㛃𬱖鿍 Zoë Müller-Nuñez"


def paper(rows: int = 3, **changes: object) -> PayoutPaper:
    """A payout of so many orders, each fifth a refund."""
    lines = tuple(
        PaperLine(
            date(2026, 5, 1) + timedelta(number // 40),
            LineKind.REFUND if number % 5 == 4 else LineKind.ORDER,
            "天猫旗舰店" if number % 2 else "Amazon US",
            f"NO-{number:06d}",
            number % 3 + 1,
            -100 if number % 5 == 4 else 4_000 + number,
        )
        for number in range(rows)
    )
    gross = sum(line.amount for line in lines)
    facts = PayoutPaper(
        brand="Tea House 茶馆（上海）有限公司",
        payee=NAME,
        payee_id="ds_01J9ZK3Q8W",
        batch=17,
        drawn_up=date(2026, 6, 1),
        paid_on=date(2026, 6, 3),
        currency="CNY",
        gross=gross,
        tax=100,
        tax_explanation="减除费用 1,056.832，预扣 1.00。",
        net=gross - 100,
        provider="alipay",
        reference="20260603110070001506",
        lines=lines,
        document_id="PO-2026-000017-000042",
        issued_on=date(2026, 6, 4),
    )
    return replace(facts, **changes)  # type: ignore[arg-type]


def texts(facts: PayoutPaper, language: str = "zh") -> list[str]:
    """The text of each page."""
    pages = PdfReader(io.BytesIO(render_payout(facts, language)), strict=True).pages
    return [page.extract_text() for page in pages]


def test_chinese() -> None:
    (page,) = texts(paper())
    for part in [
        "佣金付款单",
        "Tea House 茶馆（上海）有限公司",
        f"收款人 {NAME}",
        "付款批次 17",
        "付款日期 2026-06-03",
        "应发金额",
        "120.03 CNY",
        "119.03 CNY",
        "减除费用 1,056.832，预扣 1.00。",
        "2026-05-01 订单 天猫旗舰店 NO-000001 2 40.01",
        "共 3 笔订单、0 笔退款 120.03",
        "文件编号 PO-2026-000017-000042",
        "第 1 页，共 1 页",
    ]:
        assert part in page


def test_english() -> None:
    facts = paper(6, paid_on=None, reference=None, tax_explanation="")
    (page,) = texts(facts, "en")
    for part in [
        "Payout statement",
        f"Payee {NAME}",
        "Paid on not paid yet",
        "Reference –",
        "2026-05-01 Refund Amazon US NO-000004 2 -1.00",
        "Orders: 5; refunds: 1 199.11",
        f"SHA-256 of the content: {content_hash(facts)}",
        "Page 1 of 1",
    ]:
        assert part in page
    assert "worked out" not in page


@pytest.mark.parametrize("rows,pages", [(0, 1), (30, 1), (34, 2), (300, 8)])
def test_every_row_stands_on_some_page(rows: int, pages: int) -> None:
    changes = {} if rows else {"tax": 0, "net": 0}
    found = texts(paper(rows, **changes))
    assert len(found) == pages
    numbers = [number for page in found for number in re.findall(r"NO-\d+", page)]
    assert numbers == [f"NO-{number:06d}" for number in range(rows)]
    for number, page in enumerate(found, start=1):
        assert f"第 {number} 页，共 {pages} 页" in page
        assert "金额（CNY）" in page
        assert "PO-2026-000017-000042" in page
        assert ("笔订单、" in page) == (number == pages)


def test_long_values_break_and_lose_nothing() -> None:
    number = "PREORDER-2026-SUMMER-" * 6
    line = PaperLine(date(2026, 5, 1), LineKind.OTHER, "一家名字特别长的店铺" * 4, number, None, 50)
    facts = paper(0, lines=(line,), gross=50, tax=0, net=50, brand="有限公司" * 30)
    (page,) = texts(facts)
    together = re.sub(r"\s", "", page)
    assert number in together
    assert line.shop in together
    assert facts.brand in together
    assert "1笔其他" in together


def test_what_no_font_has_is_a_box_with_its_code_point() -> None:
    (page,) = texts(paper(payee="张𠮷한"))
    together = re.sub(r"\s", "", page)
    assert "收款人张020BB7D55C收款人编号" in together


def test_only_embedded_fonts() -> None:
    for language in ("en", "zh"):
        for page in PdfReader(io.BytesIO(render_payout(paper(100), language))).pages:
            resources: Any = page["/Resources"]
            fonts = [font.get_object() for font in resources["/Font"].values()]
            assert {font["/BaseFont"].partition("+")[2] for font in fonts} == {
                "DroidSansFallback",
                "NotoSansSC-Regular",
            }
            assert all("/FontFile2" in font["/FontDescriptor"] for font in fonts)


def test_same_facts_same_bytes() -> None:
    first = render_payout(paper(60), "zh")
    render_payout(paper(2, payee="Somebody"), "en")
    assert render_payout(paper(60), "zh") == first
    assert len(first) < 60_000
    about = PdfReader(io.BytesIO(first)).metadata
    assert about is not None
    assert about.title == "佣金付款单 PO-2026-000017-000042"
    assert about.creation_date is not None
    assert about.creation_date.date() == date(2026, 6, 4)


def test_hash_is_of_the_facts() -> None:
    facts = paper()
    found = content_hash(facts)
    assert content_hash(replace(facts, tax_explanation="in another language")) == found
    assert all(found in page for language in ("en", "zh") for page in texts(facts, language))
    changed = [
        replace(facts, payee="王芳"),
        replace(facts, paid_on=None),
        replace(facts, tax=99, net=facts.gross - 99),
        replace(facts, lines=facts.lines[::-1]),
    ]
    assert len({found, *map(content_hash, changed)}) == 5


def test_other_currencies() -> None:
    (page,) = texts(paper(currency="JPY"), "en")
    assert "12,003 JPY" in page
    assert "Amount (JPY)" in page


def test_what_cannot_be() -> None:
    facts = paper()
    with pytest.raises(ValueError, match="is not"):
        replace(facts, net=facts.net + 1)
    with pytest.raises(ValueError, match="do not add up"):
        replace(facts, gross=facts.gross + 1, net=facts.net + 1)
    with pytest.raises(InvalidInput) as caught:
        render_payout(facts, "fr")
    assert caught.value.field == "language"


def encoded(encoding: str) -> str:
    """All characters of a double-byte encoding."""
    every = (bytes([high, low]) for high in range(0x81, 0xFF) for low in range(0x40, 0xFF))
    found = {pair.decode(encoding, "ignore") for pair in every}
    return "".join(sorted(c for c in found if c > "\x7f"))


def test_fonts_have_what_names_need() -> None:
    assert [c for c in encoded("gb2312") if not is_drawable(c)] == []
    assert {c for c in encoded("gbk") if not is_drawable(c)} == {"≒"}
    assert all(is_drawable(chr(code)) for code in range(0x3400, 0x4DB6))
    assert all(map(is_drawable, map(chr, range(0x20, 0x7F))))
    # of the Table of General Standard Chinese Characters, some that GBK has not
    assert all(map(is_drawable, "㛃䶮鿍鿎鿏𠙶𬣙𨙸𬇕𫭟𣲘𬀩𬬩𬳵𬍛𬜬𪾢𬬱𬭎𬱖𬱟𩽾𬸚𬴊𬭸𬶨𫚭𨭉𤫉𬺓"))


@given(
    st.text(st.sampled_from("ab -,。，（）《》茶馆有限公司1𠮷“”€"), max_size=60),
    st.integers(12, 120),
)
def test_wrapped_lines_fit_and_lose_nothing(text: str, width: int) -> None:
    lines = wrap(text, width, 9)
    assert re.sub(" ", "", "".join(lines)) == re.sub(" ", "", text)
    assert all(measure(line, 9) <= width or len(line) == 1 for line in lines)


@pytest.mark.parametrize(
    "text,width,lines",
    [
        ("", 50, [""]),
        ("one two three", 40, ["one two", "three"]),
        ("预扣税额，实发金额", 36, ["预扣税", "额，实发", "金额"]),
        ("茶馆（上海）", 27, ["茶馆", "（上", "海）"]),
        ("a\nb", 50, ["a", "b"]),
    ],
)
def test_where_lines_break(text: str, width: int, lines: list[str]) -> None:
    assert wrap(text, width, 9) == lines
