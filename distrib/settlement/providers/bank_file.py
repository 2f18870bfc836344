"""Payouts as a CSV file that a person uploads to the bank."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import ClassVar, Self

from distrib import faults
from distrib.money import exponent
from distrib.settlement.providers import BatchRef, Outcome, PaymentFile, PayoutRequest, Status
from distrib.settlement.providers.files import Parts, atomic, one_call, refused
from distrib.settlement.providers.settings import ProviderSettings
from distrib.spreadsheet import safe_cell

ACCOUNT = ("account_name", "account_no", "bank_name", "bank_code")
COLUMNS = ("request_no", "no", "payee", "name", "amount", "currency", *ACCOUNT)
_AMOUNT = COLUMNS.index("amount")
_LINE_END = "\r\n"  # csv quotes what it is made of: with less, a lone CR in a name would end a row
_COMMAS = len(COLUMNS) - 1
_NO_ACCOUNT = ("",) * len(ACCOUNT)


class BankFile:
    """Writes ``<folder>/<brand>/batch-<number>.csv``; see :data:`COLUMNS`.

    The account's columns are the payout method's details of the same names.

    Settings:

    - ``await_status`` (false): when false, handing over the file counts as paid, and returns come
      later; when true, payouts stay pending until a status file tells of them;
    - ``require_account`` (false): whether payees need a payout method of the kind ``bank``.
    """

    group: ClassVar[int] = 5000
    asks: ClassVar[bool] = False
    suffix: ClassVar[str] = "csv"

    def __init__(
        self, folder: Path, *, await_status: bool = False, require_account: bool = False
    ) -> None:
        self.method = "bank" if require_account else None
        self._parts = Parts(folder, self.suffix)
        self._taken = Status.PENDING if await_status else Status.PAID

    @classmethod
    def from_settings(cls, settings: ProviderSettings) -> Self:
        """The adapter as configured."""
        return cls(
            settings.folder,
            await_status=settings.flag("await_status", default=False),
            require_account=settings.flag("require_account", default=False),
        )

    def pay(self, batch: BatchRef, requests: Sequence[PayoutRequest]) -> Sequence[Outcome] | Status:
        """Write the call's part. Who has no account where one is required is in no file."""
        call_no = one_call(requests)
        outcomes: list[Outcome] = []
        if self.method is not None:
            outcomes = [
                refused(request, "NO_ACCOUNT", "the payout method has no account_no")
                for request in requests
                if not request.account.get("account_no")
            ]
            requests = [request for request in requests if request.account.get("account_no")]
        rows = _write(sorted(requests, key=attrgetter("no")), batch.currency)
        self._parts.write(batch, call_no, rows.encode())
        taken = self._taken
        if not outcomes:
            return taken
        outcomes += [Outcome(request.request_no, taken) for request in requests]
        return outcomes

    def ask(self, batch: BatchRef, requests: Sequence[PayoutRequest]) -> Sequence[Outcome]:  # noqa: ARG002
        """A file cannot be asked."""
        return [Outcome(request.request_no, Status.UNKNOWN) for request in requests]

    def finish(self, batch: BatchRef, calls: Sequence[int]) -> PaymentFile:
        """Join the parts; count, and sum up, what the file then holds."""
        path = self._parts.whole(batch)
        digest = hashlib.sha256()
        payouts = total = 0
        with atomic(path) as file:
            blocks = [file.write((",".join(COLUMNS) + _LINE_END).encode())]
            blocks += [file.write(part) for part in self._parts.read(batch, calls)]
            file.seek(0)
            for i, size in enumerate(blocks):
                block = file.read(size)
                digest.update(block)
                if i > 0:
                    amounts = _amounts(block.decode())
                    payouts += len(amounts)
                    total += sum(amounts)
        faults.point("bank_file.joined")
        return PaymentFile(path=path, sha256=digest.digest(), payouts=payouts, total=total)


def _write(requests: Sequence[PayoutRequest], currency: str) -> str:
    """One row each. Written out for speed: a batch has a million of them.

    A cell that begins with a letter or a digit is no formula; the others ask ``safe_cell``. A line
    with the right number of commas and no sign that needs quoting is what ``csv`` would write.
    """
    places = exponent(currency)
    digits = f"0{places + 1}d"
    lines = []
    for request in requests:
        payee, name, account = request.payee, request.name, request.account
        if not payee[:1].isalnum():
            payee = safe_cell(payee)
        if not name[:1].isalnum():
            name = safe_cell(name)
        amount = format(request.amount, digits)
        if places:
            amount = f"{amount[:-places]}.{amount[-places:]}"
        details = (
            [safe_cell(account.get(field, "")) for field in ACCOUNT] if account else _NO_ACCOUNT
        )
        line = (
            f"{request.request_no},{request.no},{payee},{name},{amount},{currency},"
            f"{','.join(details)}"
        )
        if line.count(",") != _COMMAS or '"' in line or "\r" in line or "\n" in line:
            line = _quoted(
                (request.request_no, request.no, payee, name, amount, currency, *details)
            )
        lines.append(line)
    lines.append("")
    return _LINE_END.join(lines)


def _details(account: Mapping[str, str]) -> list[str]:
    return [
        cell if cell[:1].isalnum() else safe_cell(cell)
        for cell in map(account.get, ACCOUNT, _NO_ACCOUNT)
    ]


def _quoted(cells: Sequence[str | int]) -> str:
    """A row with quotes where they are needed."""
    text = io.StringIO()
    csv.writer(text, lineterminator=_LINE_END).writerow(cells)
    return text.getvalue().removesuffix(_LINE_END)


def _amounts(rows: str) -> list[int]:
    """The amounts of whole rows, in minor units: each has all its decimals."""
    if '"' in rows:
        cells = [row[_AMOUNT] for row in csv.reader(io.StringIO(rows, newline=""))]
    else:
        cells = [line.split(",", _AMOUNT + 1)[_AMOUNT] for line in rows.split(_LINE_END)[:-1]]
    return [int(cell.replace(".", "")) for cell in cells]
