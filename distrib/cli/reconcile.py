"""``distrib reconcile``."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any, BinaryIO

import click
from rich.table import Table
from sqlalchemy.orm import Session

from distrib import ids
from distrib.brands.tables import Brand
from distrib.cli.desk import Desk, InputFile, by_option, with_brand
from distrib.cli.output import facts, local, note, table
from distrib.cli.output import money as in_words
from distrib.cli.times import Day
from distrib.errors import InvalidInput
from distrib.money import format_amount
from distrib.orders.sources.rejects import check_rejects_path
from distrib.settlement.book_tables import ReconciliationCase
from distrib.settlement.cases import (
    CASE_PREFIX,
    CaseKind,
    CaseView,
    Resolution,
    get_case,
    list_cases,
    resolve_case,
    view_case,
)
from distrib.settlement.outcomes import AttemptKey, write_request_no
from distrib.settlement.reconciliation import (
    IMPORT_PREFIX,
    MISSING_AFTER_DAYS,
    ImportReport,
    check_provider,
    import_statement,
)
from distrib.settlement.reconciliation_summary import CaseSum, read_clearing, summarize
from distrib.settlement.statement_file import STANDARD, load_mapping
from distrib.settlement.statement_rows import RefusedLine
from distrib.spreadsheet import safe_cell

_REASONS = 10
_COLUMNS = ("line", "reason", "text")


@click.group()
def reconcile() -> None:
    """Hold bank statements against the ledger, and resolve differences.

    \b
      distrib reconcile import march.csv --provider bank-file --mapping bank.toml
      distrib reconcile cases             what does not agree
      distrib reconcile show cas_…        one difference, and how it can be resolved
      distrib reconcile resolve cas_… note --note "the bank's own fee"
      distrib reconcile summary --from 2026-03-01 --to 2026-03-31
    """


# -- importing ------------------------------------------------------------------------------------


@reconcile.command("import")
@click.argument("file", type=InputFile)
@click.option("--provider", required=True, help="Whose statement it is.")
@click.option(
    "--mapping",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="CSV: a .toml that names the columns; default: reference, amount, date, text, direction.",
)
@click.option("--from", "first_day", type=Day(), help="First day it is of; default: what it says.")
@click.option("--to", "last_day", type=Day(), help="Last day, inclusive.")
@click.option(
    "--missing-after",
    type=int,
    default=MISSING_AFTER_DAYS,
    show_default=True,
    metavar="DAYS",
    help="How long before the last day a payment must be to be missing.",
)
@click.option(
    "--rejects",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where to write rejected rows, each with its reason.",
)
@by_option
@with_brand
def import_(
    desk: Desk,
    *,
    file: Path,
    provider: str,
    mapping: Path | None,
    first_day: date | None,
    last_day: date | None,
    missing_after: int,
    rejects: Path | None,
    by: str,
) -> None:
    """Import a statement: CSV, or ISO 20022 camt.053.

    The same file again changes nothing. Exits with 1 when rows were rejected.
    """
    chosen = STANDARD if mapping is None else load_mapping(mapping)
    if rejects is not None:
        check_rejects_path(rejects, [file])

    def work(session: Session, opened: BinaryIO) -> tuple[Brand, ImportReport]:
        brand = desk.brand(session)
        with _rejects_file(rejects) as refused:
            return brand, import_statement(
                session,
                brand=brand,
                provider=check_provider(session, desk.settings, brand=brand, provider=provider),
                name=file.name if str(file) != "-" else "stdin",
                file=opened,
                mapping=chosen,
                first_day=first_day,
                last_day=last_day,
                missing_after_days=missing_after,
                imported_by=by,
                on_rejected=refused,
            )

    with _opened(file) as opened:
        brand, report = desk.database.run(lambda session: work(session, opened))
    desk.show(_report_document(report), *_report_drawings(report, brand))
    if report.rejected:
        note(f"{report.rejected:,} rows were rejected:")
        for each in report.rejects[:_REASONS]:
            note(f"  line {each.line}: {each.reason}")
        note("Name a file with --rejects to see them." if rejects is None else f"See {rejects}.")
        click.get_current_context().exit(1)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    if str(path) == "-":
        yield io.BytesIO(sys.stdin.buffer.read())
    else:
        with path.open("rb") as file:
            yield file


@contextmanager
def _rejects_file(path: Path | None) -> Iterator[Any]:
    """What writes rejected rows; without any there is no file in the end."""
    if path is None:
        yield None
        return
    count = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)

        def write(row: RefusedLine) -> None:
            nonlocal count
            count += 1
            writer.writerow([row.line, row.reason, safe_cell(row.text)])

        yield write
    if not count:
        path.unlink()


def _report_document(report: ImportReport) -> dict[str, Any]:
    statement = report.statement
    return {
        "statement": ids.public(IMPORT_PREFIX, statement.id),
        "provider": statement.provider,
        "name": statement.name,
        "first_day": statement.first_day,
        "last_day": statement.last_day,
        "known": report.known,
        "read": report.read,
        "accepted": report.accepted,
        "rejected": report.rejected,
        "repeated": report.repeated,
        "matched": report.matched,
        "found": report.found,
        "resolved": report.resolved,
        "rejects": [asdict(each) for each in report.rejects],
    }


def _report_drawings(report: ImportReport, brand: Brand) -> list[Any]:
    of = report.statement
    title = f"{of.name}: {of.provider}, {of.first_day} to {of.last_day}"
    if report.known:
        when = local(of.imported_at, brand.time_zone)
        return [f"{title}\nwas imported by {of.imported_by}, {when}; nothing is new."]
    found = ", ".join(f"{count:,} {kind.replace('_', ' ')}" for kind, count in report.found.items())
    return [
        facts(
            [
                ("rows", report.read),
                ("accepted", report.accepted),
                ("rejected", report.rejected),
                ("said before", report.repeated or None),
                ("matched", report.matched),
                ("new cases", found or "none"),
                ("cases explained by now", report.resolved or None),
            ],
            title=title,
        ),
        "\nNext: distrib reconcile cases" if found else "",
    ]


# -- cases ----------------------------------------------------------------------------------------


def _request_no(case: ReconciliationCase) -> str | None:
    if case.batch_id is None or case.no is None or case.attempt is None:
        return None
    return write_request_no(AttemptKey(case.batch_id, case.no, case.attempt))


def _case_document(case: ReconciliationCase) -> dict[str, Any]:
    return {
        "id": ids.public(CASE_PREFIX, case.id),
        "kind": case.kind,
        "provider": case.provider,
        "request_no": _request_no(case),
        "statement": None if case.import_id is None else ids.public(IMPORT_PREFIX, case.import_id),
        "line": case.line,
        "expected": case.expected,
        "found": case.found,
        "state": case.state,
        "opened_at": case.opened_at,
        "opened_by": case.opened_by,
        "resolution": case.resolution,
        "note": case.note,
        "resolved_at": case.resolved_at,
        "resolved_by": case.resolved_by,
    }


@reconcile.command("cases")
@click.option(
    "--state", type=click.Choice(["open", "resolved", "all"]), default="open", show_default=True
)
@click.option("--kind", type=click.Choice([each.value for each in CaseKind]))
@click.option("--provider", help="Only of this provider.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True)
@with_brand
def cases(desk: Desk, state: str, kind: str | None, provider: str | None, limit: int) -> None:
    """List differences, newest first."""
    with desk.database.transaction() as session:
        brand = desk.brand(session)
        found = list_cases(
            session,
            brand_id=brand.id,
            state=None if state == "all" else state,
            kind=kind,
            provider=provider,
            limit=limit + 1,
        )
    shown = found[:limit]
    desk.show(
        [_case_document(case) for case in shown],
        table(
            "case|kind|payment|>ledger|>statement" + ("" if state == "open" else "|resolved"),
            (
                (
                    ids.public(CASE_PREFIX, case.id),
                    case.kind.replace("_", " "),
                    _request_no(case) or "",
                    format_amount(case.expected, brand.currency),
                    format_amount(case.found, brand.currency),
                    *([] if state == "open" else [case.resolution or ""]),
                )
                for case in shown
            ),
            title=f"What differs, in {brand.currency}",
        )
        if shown
        else "Nothing differs.",
    )
    if len(found) > limit:
        note(f"These are the newest {limit}: see --limit.")


def _case_id(public_id: str) -> int:
    try:
        return ids.parse(CASE_PREFIX, public_id)
    except ValueError as error:
        raise InvalidInput(str(error), field="CASE") from None


@reconcile.command("show")
@click.argument("case")
@with_brand
def show(desk: Desk, case: str) -> None:
    """Show a difference, what it is about, and how it can be resolved."""
    with desk.database.transaction() as session:
        brand = desk.brand(session)
        found = get_case(session, brand_id=brand.id, case_id=_case_id(case))
        view = view_case(session, case=found)
    desk.show(_view_document(view), _view_facts(view, brand))


def _view_document(view: CaseView) -> dict[str, Any]:
    return _case_document(view.case) | {
        "batch": view.batch,
        "no": view.case.no,
        "distributor": view.distributor,
        "attempt_state": view.attempt_state,
        "booked_on": view.line.booked_on if view.line else None,
        "reference": view.line.reference if view.line else None,
        "text": view.line.text if view.line else None,
        "ways": list(view.ways),
    }


def _view_facts(view: CaseView, brand: Brand) -> Table:
    case, line, zone = view.case, view.line, brand.time_zone
    name = ids.public(CASE_PREFIX, case.id)
    payment = (
        f"{view.request_no}: payout {case.no} of batch {view.batch}, {view.attempt_state}"
        if view.request_no
        else "nobody's that we know"
    )
    source = view.statement
    return facts(
        [
            ("kind", case.kind.replace("_", " ")),
            ("payment", payment),
            ("distributor", view.distributor),
            ("ledger says", in_words(case.expected, brand.currency)),
            ("statement says", in_words(case.found, brand.currency)),
            ("statement", f"{source.name} ({source.provider})" if source else None),
            ("line", f"{line.line}, booked on {line.booked_on}" if line else None),
            ("reference", line.reference if line else None),
            ("text", line.text or None if line else None),
            ("opened", f"{local(case.opened_at, zone)} by {case.opened_by}"),
            (
                "resolved",
                f"{local(case.resolved_at, zone)} by {case.resolved_by}: {case.resolution}"
                if case.resolved_at
                else None,
            ),
            ("note", case.note),
            ("can be resolved by", ", ".join(view.ways) or None),
        ],
        title=name,
    )


@reconcile.command("resolve")
@click.argument("case")
@click.argument("resolution", type=click.Choice([each.value for each in Resolution]))
@click.option("--note", "why", required=True, help="Why; it stays with the case.")
@click.option("--distributor", help="Whose money it is, to adjust a line that names nobody.")
@by_option
@with_brand
def resolve(
    desk: Desk, *, case: str, resolution: str, why: str, distributor: str | None, by: str
) -> None:
    """Resolve a difference.

    \b
      return   the money came back, or never left: the payment is undone
      adjust   a distributor got more or less: an adjustment, which somebody else approves
      differ   money went out that is nobody's: posted as a difference of the bank
      confirm  it was paid, and nobody had said so
      note     explained; nothing moves
    """

    def work(session: Session) -> tuple[CaseView, Brand]:
        brand = desk.brand(session)
        done = resolve_case(
            session,
            brand=brand,
            case_id=_case_id(case),
            resolution=resolution,
            note=why,
            resolved_by=by,
            distributor=distributor,
        )
        return view_case(session, case=done), brand

    view, _ = desk.database.run(work)
    words = f"{case} is resolved: {resolution}."
    if resolution == Resolution.ADJUST:
        words += " Somebody else approves the adjustment: distrib debts --help"
    desk.done(_view_document(view), words)


# -- looking --------------------------------------------------------------------------------------


@reconcile.command("summary")
@click.option("--from", "first_day", type=Day(), required=True, help="First day.")
@click.option("--to", "last_day", type=Day(), required=True, help="Last day, inclusive.")
@click.option("--provider", help="Only this provider.")
@with_brand
def summary(desk: Desk, first_day: date, last_day: date, provider: str | None) -> None:
    """Show what the ledger and the statements say of some days."""
    with desk.database.snapshot() as session:
        brand = desk.brand(session)
        found = summarize(
            session, brand=brand, first_day=first_day, last_day=last_day, provider=provider
        )

    def amount(value: int) -> str:
        return format_amount(value, brand.currency)

    def words(kinds: dict[str, CaseSum]) -> str:
        return ", ".join(
            f"{each.cases:,} {kind.replace('_', ' ')} ({amount(each.difference)})"
            for kind, each in sorted(kinds.items())
        )

    desk.show(
        [
            asdict(each)
            | {"ledger": each.ledger, "difference": each.difference, "currency": brand.currency}
            for each in found
        ],
        *(
            facts(
                [
                    ("ledger: paid", in_words(each.ledger_paid, brand.currency)),
                    ("ledger: came back", in_words(each.ledger_returned, brand.currency)),
                    ("statements say", f"{amount(each.statement)} in {each.lines:,} lines"),
                    ("matched", f"{amount(each.matched)} in {each.matched_lines:,} lines"),
                    ("difference", in_words(each.difference, brand.currency)),
                    ("open", words(each.open) or "nothing"),
                    ("resolved", words(each.resolved) or None),
                ],
                title=f"{each.provider}, {first_day} to {last_day}",
            )
            for each in found
        ),
    )
    if not found:
        note("Nothing was paid in these days, and no statement speaks of them.")


@reconcile.command("clearing")
@with_brand
def clearing(desk: Desk) -> None:
    """Show what is in clearing, by batch, oldest first: zero, or explained."""
    with desk.database.snapshot() as session:
        brand = desk.brand(session)
        found = read_clearing(session, brand=brand)
    balance = in_words(found.balance, brand.currency)
    if found.balance != found.explained:
        words = (
            f"Clearing has {balance}, explained are {in_words(found.explained, brand.currency)}:"
            " run distrib audit."
        )
    elif found.batches:
        words = f"Clearing has {balance}, all of it explained."
    else:
        words = f"Clearing is zero: {balance}."
    desk.show(
        asdict(found) | {"currency": brand.currency},
        words,
        *(
            [
                table(
                    f">batch|provider|>payouts|>amount ({brand.currency})|oldest",
                    (
                        (
                            each.batch,
                            each.provider,
                            each.payouts,
                            format_amount(each.amount, brand.currency),
                            local(each.oldest_at, brand.time_zone),
                        )
                        for each in found.batches
                    ),
                )
            ]
            if found.batches
            else []
        ),
    )
