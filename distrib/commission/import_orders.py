"""Importing orders and refunds from CSV files: each chunk one transaction, every row accounted for.

Nothing is remembered between chunks but the report: an import that was interrupted, at whatever
point, is run again, and finds what it has done to be duplicates.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from itertools import islice
from pathlib import Path

from sqlalchemy.orm import Session

from distrib.brands.tables import Brand
from distrib.commission.intake import take_orders
from distrib.commission.outcome import Outcome, Status
from distrib.commission.refunds import take_refunds
from distrib.db import Database
from distrib.errors import DistribError
from distrib.orders.document import OrderIn, RefundIn
from distrib.orders.sources.assembly import At, Cancellation, CancelledRow, Rejected, Sale
from distrib.orders.sources.cancellations import Matched, match_cancellations
from distrib.orders.sources.csv_file import OrderFiles
from distrib.orders.sources.mapping import Mapping
from distrib.orders.sources.mapping_file import load_mapping
from distrib.orders.sources.rejects import check_rejects_path, write_rejects
from distrib.orders.sources.shelf import read_shelf
from distrib.orders.sources.values import EXACT

_SAID = re.compile(r"'(?:[^'\\]|\\.)*'|-?\d(?:[\d.,:T+-]*\d)?")


class ImportDoesNotAddUp(RuntimeError):
    """Rows or money were lost or counted twice: a defect of the import itself."""


@dataclass
class Count:
    """How many came in, and what became of them."""

    accepted: int = 0
    duplicate: int = 0
    rejected: int = 0

    @property
    def total(self) -> int:
        return self.accepted + self.duplicate + self.rejected


@dataclass
class Money:
    """What the rows say of money, in major units of the brand's currency.

    It is quantity × unit price − discount + shipping + tax; of refunds, what is given back.

    :param file: what all rows say: ``sales - refunds + duplicate + rejected``.
    :param duplicate: of rows recorded before, and ``rejected`` of rows refused: sales less refunds.
    """

    currency: str
    file: Decimal
    sales: Decimal
    refunds: Decimal
    duplicate: Decimal
    rejected: Decimal


@dataclass
class ImportReport:
    """What became of the files: ``rows.total`` rows were read.

    :param orders: those of which at least one row could be used.
    :param refunds: one for each order that a cancellation takes back something of; rejected are
        the cancellations of which nothing could be found.
    :param waiting: of the accepted refunds, those whose order has not arrived.
    :param reasons: why rows were rejected → how many; what differs from row to row is left out.
    :param rows_without_money: rows that say nothing readable of money.
    """

    files: int
    money: Money
    rows: Count = field(default_factory=Count)
    orders: Count = field(default_factory=Count)
    refunds: Count = field(default_factory=Count)
    waiting: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    rows_without_money: int = 0


def import_orders(
    database: Database,
    *,
    brand: Brand,
    paths: Sequence[Path],
    mapping: Mapping | str | Path,
    rejects_path: Path | None = None,
    chunk_orders: int = 5_000,
    progress: Callable[[int], None] | None = None,
) -> ImportReport:
    """Import orders and refunds: first all sales, then the refunds in order of time.

    A row that cannot be used is rejected with a reason and does not hold up the others. What is
    recorded already, with the same content, is a duplicate and changes nothing.

    :param mapping: how the files say what an order says, or the name or file of a mapping.
    :param rejects_path: where to write the rejected rows; removed when there are none.
    :param chunk_orders: how many orders, or cancellations, a transaction takes.
    :param progress: told how many rows have been read so far, after each chunk.
    :raises InvalidInput: when the mapping or a file cannot be used; nothing is imported then.
    :raises ImportDoesNotAddUp: never, unless the import itself has a defect.
    """
    if not isinstance(mapping, Mapping):
        mapping = load_mapping(mapping)
    if rejects_path is not None:
        check_rejects_path(rejects_path, paths)
    files = OrderFiles.open(paths, mapping, currency=brand.currency, time_zone=brand.time_zone)
    run = _Run(database, brand, files)
    sales: list[Sale] = []
    cancellations: list[Cancellation] = []
    for event in files.events():
        if isinstance(event, Rejected):
            run.reject(event)
        elif isinstance(event, Sale):
            sales.append(event)
            if len(sales) >= chunk_orders:
                run.take_sales(sales)
                sales = []
                if progress is not None:
                    progress(files.rows_read)
        else:
            cancellations.append(event)
    run.take_sales(sales)
    pending = iter(cancellations)
    while chunk := list(islice(pending, chunk_orders)):
        run.take_cancellations(chunk)
        if progress is not None:
            progress(files.rows_read)
    if progress is not None:
        progress(files.rows_read)
    report = run.finish()
    if rejects_path is not None:
        write_rejects(rejects_path, files, run.rejected)
    return report


class _Refused(Exception):
    """The intake refused refunds that were matched; their chunk starts over without them."""

    def __init__(self, reasons: dict[str, str]) -> None:
        super().__init__(reasons)
        self.reasons = reasons


class _Run:
    """One import: what it has done so far."""

    def __init__(self, database: Database, brand: Brand, files: OrderFiles) -> None:
        self.rejected: list[Rejected] = []
        self._database = database
        self._brand = brand
        self._files = files
        nothing = [files.values.major(0)] * 5
        self._report = ImportReport(len(files.files), Money(brand.currency, *nothing))

    def reject(self, row: Rejected) -> None:
        self.rejected.append(row)
        self._report.rows.rejected += 1
        self._report.reasons[_SAID.sub("…", row.reason)] += 1
        if row.money is not None:
            self._report.money.rejected = EXACT.add(self._report.money.rejected, row.money)

    # -- sales ------------------------------------------------------------------------------------

    def take_sales(self, sales: list[Sale]) -> None:
        """Take a chunk of orders, in one transaction."""
        if not sales:
            return
        orders = [sale.order for sale in sales]
        outcomes = self._database.run(
            lambda session: take_orders(session, brand=self._brand, orders=orders)
        )
        money, rows, count = self._report.money, self._report.rows, self._report.orders
        for sale, outcome in zip(sales, outcomes, strict=True):
            worth = self._files.values.major(_minor(sale.order))
            copies = len(sale.repeats) // len(sale.rows)
            if outcome.error is not None:
                count.rejected += 1
                self._reject_order(sale, outcome.error)
                continue
            rows.duplicate += len(sale.repeats)
            again = EXACT.multiply(worth, Decimal(copies))
            if outcome.status is Status.ACCEPTED:
                count.accepted += 1
                rows.accepted += len(sale.rows)
                money.sales = EXACT.add(money.sales, worth)
            else:
                count.duplicate += 1
                rows.duplicate += len(sale.rows)
                again = EXACT.add(again, worth)
            money.duplicate = EXACT.add(money.duplicate, again)

    def _reject_order(self, sale: Sale, error: DistribError) -> None:
        places = [*sale.rows, *sale.repeats]
        lines = sale.order.lines * (len(places) // len(sale.rows))
        reason = _reason(error)
        for at, line in zip(places, lines, strict=True):
            worth = self._files.values.major(line.net + line.shipping + line.tax)
            self.reject(Rejected(at, reason, worth))

    # -- refunds ----------------------------------------------------------------------------------

    def take_cancellations(self, chunk: list[Cancellation]) -> None:
        """Match a chunk of cancellations and take the refunds, in one transaction."""
        refused: dict[str, str] = {}
        while True:
            asked = [each for each in chunk if each.number not in refused]
            try:
                done = self._database.run(partial(self._match, asked=asked))
                break
            except _Refused as error:
                refused |= error.reasons
        for cancellation, (matched, outcomes) in zip(asked, done, strict=True):
            self._account(cancellation, matched, outcomes)
        for each in chunk:
            if each.number in refused:
                rejected = [(row, refused[each.number]) for row in each.rows]
                self._account(each, Matched(rejected=rejected), [])

    def _match(
        self, session: Session, asked: list[Cancellation]
    ) -> list[tuple[Matched, list[Outcome]]]:
        shop = self._files.assembler.mapping.shop
        shelf = read_shelf(session, brand_id=self._brand.id, shop=shop, cancellations=asked)
        found = match_cancellations(asked, shelf, shop=shop, currency=self._brand.currency)
        refunds = [refund for matched in found for refund, _ in matched.refunds]
        outcomes = iter(take_refunds(session, brand=self._brand, refunds=refunds))
        done = [(matched, list(islice(outcomes, len(matched.refunds)))) for matched in found]
        reasons = {
            cancellation.number: _reason(outcome.error)
            for cancellation, (_, own) in zip(asked, done, strict=True)
            for outcome in own
            if outcome.error is not None
        }
        if reasons:
            raise _Refused(reasons)
        return done

    def _account(
        self, cancellation: Cancellation, matched: Matched, outcomes: Iterable[Outcome]
    ) -> None:
        """Count what became of a cancellation, and of each of its rows."""
        money, rows, count = self._report.money, self._report.rows, self._report.refunds
        fates: dict[At, str] = {row.at: "" for row in matched.recorded}
        accepted: set[At] = set()
        for (refund, sources), outcome in zip(matched.refunds, outcomes, strict=True):
            fates |= {row.at: "" for row in sources}
            worth = self._files.values.major(_given_back(refund))
            if outcome.status is Status.DUPLICATE:
                count.duplicate += 1
                money.duplicate = EXACT.subtract(money.duplicate, worth)
            else:
                count.accepted += 1
                self._report.waiting += outcome.status is Status.WAITING
                accepted |= {row.at for row in sources}
                money.refunds = EXACT.add(money.refunds, worth)
        count.duplicate += matched.known
        count.rejected += not (matched.refunds or matched.recorded)
        fates |= {row.at: reason for row, reason in matched.rejected}
        rows.accepted += len(accepted)
        rows.duplicate += sum(not reason for reason in fates.values()) - len(accepted)
        for row, reason in matched.rejected:
            self._reject_refund(row, reason)
        for row in matched.recorded:
            self._repeat_refund(row)
        self._repeats(cancellation, fates)

    def _repeats(self, cancellation: Cancellation, fates: dict[At, str]) -> None:
        """Rows that repeat another share its fate; what was accepted makes them duplicates."""
        reasons: dict[object, list[str]] = {}
        for row in cancellation.rows:
            reasons.setdefault(row.line, []).append(fates[row.at])
        for row in cancellation.repeats:
            same = reasons[row.line]
            same.append(same.pop(0))  # each in turn: there may be several copies
            if same[-1]:
                self._reject_refund(row, same[-1])
            else:
                self._report.rows.duplicate += 1
                self._repeat_refund(row)

    def _reject_refund(self, row: CancelledRow, reason: str) -> None:
        self.reject(Rejected(row.at, reason, self._files.assembler.worth(row.line)))

    def _repeat_refund(self, row: CancelledRow) -> None:
        worth = self._files.assembler.worth(row.line)
        if worth is not None:
            self._report.money.duplicate = EXACT.add(self._report.money.duplicate, worth)

    # -- the end ----------------------------------------------------------------------------------

    def finish(self) -> ImportReport:
        """The report, if everything that was read is in it.

        :raises ImportDoesNotAddUp: otherwise.
        """
        report, money = self._report, self._report.money
        money.file = self._files.money
        report.rows_without_money = self._files.rows_without_money
        found = EXACT.subtract(money.sales, money.refunds)
        found = EXACT.add(found, EXACT.add(money.duplicate, money.rejected))
        if not self._files.rows == self._files.rows_read == report.rows.total:
            raise ImportDoesNotAddUp(
                f"{self._files.rows} rows in the files, {self._files.rows_read} read,"
                f" {report.rows.total} accounted for"
            )
        if found != money.file:
            raise ImportDoesNotAddUp(f"the rows say {money.file}, what became of them {found}")
        return report


def _minor(order: OrderIn) -> int:
    return sum([line.net + line.shipping + line.tax for line in order.lines])


def _given_back(refund: RefundIn) -> int:
    return sum([line.amount or 0 for line in refund.lines or ()])


def _reason(error: DistribError) -> str:
    return error.detail if error.field is None else f"{error.field}: {error.detail}"
