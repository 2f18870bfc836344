"""The words on a payout's paper: English and Chinese. Pure."""

from __future__ import annotations

WORDS: dict[str, tuple[str, str]] = {
    "title": ("Payout statement", "佣金付款单"),
    "payee": ("Payee", "收款人"),
    "payee_id": ("Payee no.", "收款人编号"),
    "batch": ("Batch", "付款批次"),
    "drawn_up": ("Drawn up on", "制单日期"),
    "paid_on": ("Paid on", "付款日期"),
    "not_paid": ("not paid yet", "尚未付款"),
    "issued": ("Issued on", "出具日期"),
    "provider": ("Paid through", "付款渠道"),
    "reference": ("Reference", "付款流水号"),
    "none": ("–", "–"),
    "gross": ("Gross", "应发金额"),
    "tax": ("Tax withheld", "预扣税额"),
    "net": ("Net", "实发金额"),
    "why": ("How the tax was worked out", "税款计算说明"),
    "lines": ("Orders and refunds in this payout", "本次付款包含的订单与退款"),
    "day": ("Date", "日期"),
    "kind": ("Kind", "类型"),
    "order": ("Order", "订单"),
    "refund": ("Refund", "退款"),
    "other": ("Other", "其他"),
    "shop": ("Shop", "店铺"),
    "number": ("Order no.", "订单号"),
    "level": ("Level", "级别"),
    "amount": ("Amount ({currency})", "金额（{currency}）"),
    "total": ("Orders: {orders}; refunds: {refunds}", "共 {orders} 笔订单、{refunds} 笔退款"),
    "total_other": (
        "Orders: {orders}; refunds: {refunds}; others: {others}",
        "共 {orders} 笔订单、{refunds} 笔退款、{others} 笔其他",
    ),
    "document": ("Document {id}", "文件编号 {id}"),
    "hash": ("SHA-256 of the content: {hash}", "内容 SHA-256：{hash}"),
    "page": ("Page {page} of {pages}", "第 {page} 页，共 {pages} 页"),
}

LANGUAGES = {"en": (0, "en"), "zh": (1, "zh-CN")}
"""Where a language stands in a pair, and its tag."""


def word(name: str, language: str, **values: object) -> str:
    """A word or line in a language."""
    return WORDS[name][LANGUAGES[language][0]].format(**values)
