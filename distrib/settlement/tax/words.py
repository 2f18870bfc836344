"""How a withholding came about, in sentences: English and Chinese. Pure."""

from __future__ import annotations

SENTENCES: dict[str, tuple[str, str]] = {
    "none": (
        "Nothing is withheld from {amount}; the payee declares the income.",
        "本次付款 {amount} 不预扣税款，由收款人自行申报。",
    ),
    "cn_labour": (
        "Labour remuneration, each month one occurrence: with this payout of {amount} the month"
        " comes to {gross}; less expenses of {expenses} that leaves {taxable}, and {taxable} ×"
        " {rate}{less} = {due}{rounded}.",
        "劳务报酬所得（以一个月内取得的收入为一次）：连同本次 {amount}，当月收入 {gross}；"
        "减除费用 {expenses}，预扣预缴应纳税所得额 {taxable}；"
        "{taxable} × {rate}{less} = {due}{rounded}。",
    ),
    "cn_platform": (
        "Cumulative withholding by an internet platform: with this payout of {amount} the year"
        " comes to {gross}; less expenses of 20% ({expenses}) and 5,000.00 for each of {months}"
        " consecutive months ({deduction}) that leaves {taxable}, and {taxable} × {rate}{less}"
        " = {due}{rounded}.",
        "互联网平台企业累计预扣：连同本次 {amount}，本年累计收入 {gross}；减除累计费用"
        "（20%）{expenses}、累计减除费用 {deduction}（5,000.00 × 连续 {months} 个月），"
        "累计预扣预缴应纳税所得额 {taxable}；{taxable} × {rate}{less} = {due}{rounded}。",
    ),
    "us_1099": (
        "The payee has given a TIN, so nothing is withheld from {amount}.",
        "收款人已提供纳税人识别号（TIN），本次付款 {amount} 不预扣税款。",
    ),
    "us_1099_backup": (
        "Without a TIN there is backup withholding: {amount} × {rate} = {tax}{rounded}.",
        "收款人未提供纳税人识别号（TIN），实行备用预扣：{amount} × {rate} = {tax}{rounded}。",
    ),
    "nothing_due": (
        "The deductions leave nothing to tax ({gross} so far).",
        "减除费用后没有应纳税所得额（累计收入 {gross}）。",
    ),
    "first": (
        "Nothing was withheld before, so {tax} is.",
        "此前未预扣，本次预扣 {tax}。",
    ),
    "rest": (
        "Of that {withheld} was withheld before; {tax} remains.",
        "减去此前已预扣 {withheld}，本次预扣 {tax}。",
    ),
    "enough": (
        "{withheld} was withheld before, which is enough; nothing more is.",
        "此前已预扣 {withheld}，本次无需再预扣。",
    ),
    "limited": (
        "That is more than the payout has; {tax} is withheld and the next payout makes up for it.",
        "应补税额不低于本次付款，故本次预扣 {tax}，余额在下次付款时补扣。",
    ),
}

ROUNDED = (", rounded half up", "（四舍五入至分）")

CODES = {"en": 0, "zh": 1}
"""Where a language stands in a pair."""

BETWEEN = (" ", "")
"""What stands between two sentences."""
