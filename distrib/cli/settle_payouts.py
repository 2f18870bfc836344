"""``distrib settle``: single payouts, what a bank says of them, and paper."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from distrib.cli.desk import Desk, F, InputFile, by_option, with_brand
from distrib.cli.output import facts, local, note, table
from distrib.cli.output import money as in_words
from distrib.cli.plan_parts import language_option
from distrib.cli.settle_words import (
    STATE_ORDER,
    events_document,
    events_table,
    files_document,
    payout_document,
    payouts_table,
    plural,
)
from distrib.errors import InvalidInput, NotFound, Unavailable
from distrib.settlement import payouts as verbs
from distrib.settlement.batch import get_batch, remove_payout
from distrib.settlement.finishing import list_files
from distrib.settlement.looking import explain_tax, list_events, list_payouts, view_payout
from distrib.settlement.paper import load_paper
from distrib.settlement.payout_pdf import render_payout
from distrib.settlement.payouts import list_attempts
from distrib.settlement.providers.status_file import read_status_file
from distrib.settlement.status_reports import take_status_report

_REFUSED = 10  # rows to print

number_argument = click.argument("number", type=int)
no_argument = click.argument("no", type=int, metavar="PAYOUT")


@click.command("payouts")
@number_argument
@click.option("--state", type=click.Choice(STATE_ORDER), help="Only those.")
@click.option("--distributor", metavar="ID", help="Only that one's.")
@click.option("--limit", default=50, show_default=True, help="Payouts to print.")
@with_brand
def payouts(
    desk: Desk, number: int, state: str | None, distributor: str | None, limit: int
) -> None:
    """List the payouts of a batch, by number."""
    with desk.database.transaction() as session:
        batch = get_batch(session, brand_id=desk.brand(session).id, number=number)
        found = [
            (payout, person)
            for payout, person in list_payouts(
                session, batch=batch, state=state, distributor=distributor, limit=limit
            )
        ]
    desk.show(
        [payout_document(*each) for each in found],
        payouts_table(found, batch) if found else "There is no such payout.",
    )
    if len(found) == limit:
        note("There may be more: see --limit.")


@click.command("payout")
@number_argument
@no_argument
@language_option
@with_brand
def payout(desk: Desk, number: int, no: int, language: str) -> None:
    """Show a payout: every attempt to pay it, how its tax was worked out, who did what."""
    with desk.database.transaction() as session:
        brand = desk.brand(session)
        batch = get_batch(session, brand_id=brand.id, number=number)
        view = view_payout(session, batch=batch, no=no)
        attempts = list_attempts(session, batch=batch, no=no)
        events = list_events(session, batch=batch, no=no)
    tax = None
    if view.tax is not None:
        tax = explain_tax(view.tax, currency=batch.currency, language=language)
    found, currency = view.payout, batch.currency
    method = view.method
    desk.show(
        payout_document(found, view.distributor)
        | {
            "batch": number,
            "currency": currency,
            "provider": batch.provider,
            "method": method.kind if method else None,
            "tax_explanation": tax,
            "tries": attempts,
            "events": events_document(events),
        },
        facts(
            [
                ("payee", f"{view.distributor.name} ({view.distributor.external_id})"),
                ("state", found.state),
                ("gross", in_words(found.amount, currency)),
                ("tax", in_words(found.tax, currency) if tax else None),
                ("paid", in_words(view.net, currency) if tax else None),
                ("orders and refunds", len(found.postings)),
                ("through", batch.provider),
                ("to", f"{method.name}, {method.kind}" if method else None),
                ("tax explained", tax),
            ],
            title=f"Payout {no} of batch {number}",
        ),
        table(
            ">attempt|request number|state|since|reference|said",
            (
                (
                    each["attempt"],
                    each["request_no"],
                    each["state"],
                    local(each["state_at"] or each["created_at"], brand.time_zone),
                    each["reference"],
                    " ".join(filter(None, (each["code"], each["message"]))),
                )
                for each in attempts
            ),
        )
        if attempts
        else "",
        events_table(events, brand.time_zone) if events else "",
    )


# -- what people do -------------------------------------------------------------------------------


def _change(desk: Desk, verb: Callable[..., Any], words: str, **given: Any) -> None:
    """Do a verb of a payout and say so."""
    number, no = given["number"], given["no"]
    with desk.database.transaction() as session:
        brand_id = desk.brand(session).id
        verb(session, brand_id=brand_id, **given)
        batch = get_batch(session, brand_id=brand_id, number=number)
        view = view_payout(session, batch=batch, no=no)
    desk.done(
        payout_document(view.payout, view.distributor),
        f"Payout {no} of batch {number}, {in_words(view.net, batch.currency)} for"
        f" {view.distributor.external_id}: {words.format(number=number, no=no)}",
    )


def _step(name: str) -> Callable[[F], F]:
    """A command of a payout that needs a reason."""

    def declare(command: F) -> F:
        made = by_option(with_brand(command))
        made = click.option("--reason", required=True, help="Why; it stays on record.")(made)
        return click.command(name)(number_argument(no_argument(made)))  # type: ignore[return-value]

    return declare


@_step("hold")
def hold(desk: Desk, number: int, no: int, reason: str, by: str) -> None:
    """Keep a payout back that has not been handed over."""
    words = "held.\nNext: distrib settle release {number} {no} --reason WHY"
    _change(desk, verbs.hold_payout, words, number=number, no=no, held_by=by, reason=reason)


@_step("release")
def release(desk: Desk, number: int, no: int, reason: str, by: str) -> None:
    """Let a held payout go on; when its batch has gone past it, it is paid now."""
    words = "released; it goes on."
    _change(desk, verbs.release_payout, words, number=number, no=no, released_by=by, reason=reason)


@_step("void")
def void(desk: Desk, number: int, no: int, reason: str, by: str) -> None:
    """Give up a payout that is held, failed or came back; what it held is open again."""
    words = "voided; what it held is open for the next batch."
    _change(desk, verbs.void_payout, words, number=number, no=no, voided_by=by, reason=reason)


@_step("reissue")
def reissue(desk: Desk, number: int, no: int, reason: str, by: str) -> None:
    """Pay a payout that failed, or came back, under a new request number."""
    words = (
        "being paid again, under a new request number.\nNext: distrib settle run {number} --wait"
    )
    _change(desk, verbs.reissue_payout, words, number=number, no=no, reissued_by=by, reason=reason)


@_step("return")
def return_(desk: Desk, number: int, no: int, reason: str, by: str) -> None:
    """Record that the money of a paid payout came back."""
    words = "returned; the payment is undone in the ledger.\nNext: distrib settle reissue, or void"
    _change(desk, verbs.return_payout, words, number=number, no=no, returned_by=by, reason=reason)


@_step("remove")
def remove(desk: Desk, number: int, no: int, reason: str, by: str) -> None:
    """Take a payout out of a batch that is not being paid; approvals are void."""
    words = "removed. The batch is a draft.\nNext: distrib settle submit {number}"
    _change(desk, remove_payout, words, number=number, no=no, removed_by=by, reason=reason)


def _decision(name: str) -> Callable[[F], F]:
    """A command of a payout that needs evidence."""

    def declare(command: F) -> F:
        made = by_option(with_brand(command))
        made = click.option("--reference", help="The provider's own number for it.")(made)
        made = click.option(
            "--evidence", required=True, help="Where the proof is: a receipt's number, a file."
        )(made)
        return click.command(name)(number_argument(no_argument(made)))  # type: ignore[return-value]

    return declare


@_decision("confirm")
def confirm(
    desk: Desk, number: int, no: int, *, evidence: str, reference: str | None, by: str
) -> None:
    """Confirm that a payout which was handed over has been paid."""
    _change(
        desk, verbs.decide_payout, "paid.", number=number, no=no, paid=True, decided_by=by,
        evidence=evidence, reference=reference,
    )  # fmt: skip


@_decision("refuse")
def refuse(
    desk: Desk, number: int, no: int, *, evidence: str, reference: str | None, by: str
) -> None:
    """Record that a payout which was handed over will not be paid."""
    words = "failed.\nNext: distrib settle reissue {number} {no}, or void, with --reason WHY"
    _change(
        desk, verbs.decide_payout, words, number=number, no=no, paid=False, decided_by=by,
        evidence=evidence, reference=reference,
    )  # fmt: skip


# -- the bank, and paper --------------------------------------------------------------------------


@click.command("import-status")
@number_argument
@click.argument("file", type=InputFile)
@by_option
@with_brand
def import_status(desk: Desk, number: int, file: Path, by: str) -> None:
    """Take in what a bank says of a batch: pain.002, or CSV.

    The same file again moves nothing. Exits with 1 when rows were refused.
    """
    if str(file) == "-":
        raise InvalidInput("name a file: it is read twice", field="file")
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").digest()
        opened.seek(0)
        report = read_status_file(opened)
    with desk.database.transaction() as session:
        brand = desk.brand(session)
    taken = take_status_report(
        desk.database, brand=brand, number=number, report=report, sha256=digest, taken_by=by
    )
    desk.show(
        {
            "moved": taken.moved,
            "known": taken.known,
            "unknown": taken.unknown,
            "refused": [
                {"row": each.row, "reason": each.reason, "text": each.text}
                for each in taken.refused
            ],
        },
        facts(
            [
                ("payouts moved", taken.moved),
                ("as before", taken.known - taken.moved),
                ("not of this batch", len(taken.unknown)),
                ("rows refused", len(taken.refused)),
            ],
            amounts=True,
        ),
    )
    for name in taken.unknown[:_REFUSED]:
        note(f"not of this batch: {name}")
    for row in taken.refused[:_REFUSED]:
        note(f"row {row.row}: {row.reason}: {row.text}")
    if taken.refused:
        click.get_current_context().exit(1)


@click.command("events")
@number_argument
@click.option("--payout", "no", type=int, help="Only that payout's.")
@with_brand
def events(desk: Desk, number: int, no: int | None) -> None:
    """List who did what to a batch and its payouts, and why."""
    with desk.database.transaction() as session:
        brand = desk.brand(session)
        batch = get_batch(session, brand_id=brand.id, number=number)
        found = list_events(session, batch=batch, no=no)
    desk.show(events_document(found), events_table(found, brand.time_zone))


@click.command("file")
@number_argument
@click.option("--no", type=int, help="Which of them; default: the last.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Copy it there.")
@with_brand
def file_(desk: Desk, number: int, no: int | None, out: Path | None) -> None:
    """Say where a batch's payment file is, once it is what was written; or copy it."""
    with desk.database.transaction() as session:
        batch = get_batch(session, brand_id=desk.brand(session).id, number=number)
        files = list_files(session, batch=batch)
    found = next((each for each in files if each.file_no == (no or len(files))), None)
    if found is None:
        raise NotFound(f"batch {number} has {plural(len(files), 'payment file')}", field="--no")
    path = desk.settings.data_dir / found.name
    try:
        content = path.read_bytes()
    except OSError:
        raise Unavailable(f"{path} is not on this machine") from None
    if hashlib.sha256(content).digest() != found.sha256:
        raise Unavailable(f"{path} is not what was written")
    if out is not None:
        out.write_bytes(content)
    document = files_document([found])[0] | {"path": out or path}
    desk.done(document, str(out or path))


@click.command("statement-pdf")
@number_argument
@no_argument
@click.option(
    "--out",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    help="Where to write it, - for stdout; default: its number in this folder.",
)
@language_option
@with_brand
def statement_pdf(desk: Desk, number: int, no: int, out: Path | None, language: str) -> None:
    """Write a payout's statement: gross, tax, net, and every order and refund in it."""
    with desk.database.snapshot() as session:
        brand = desk.brand(session)
        batch = get_batch(session, brand_id=brand.id, number=number)
        paper = load_paper(session, brand=brand, batch=batch, no=no, language=language)
    content = render_payout(paper, language)
    if str(out) == "-":
        sys.stdout.buffer.write(content)
        return
    path = out or Path(f"{paper.document_id}.pdf")
    path.write_bytes(content)
    desk.done({"path": path, "document_id": paper.document_id}, str(path))


COMMANDS: tuple[Any, ...] = (
    *(payouts, payout, hold, release, void, reissue, return_, remove, confirm, refuse),
    *(import_status, events, file_, statement_pdf),
)
