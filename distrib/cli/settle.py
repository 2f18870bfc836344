"""``distrib settle``: batches, from the preview to the close."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
from sqlalchemy import select

from distrib.brands.tables import Brand
from distrib.cli.desk import Desk, by_option, with_brand
from distrib.cli.output import local, note, table
from distrib.cli.output import money as in_words
from distrib.cli.settle_draw_up import draw_up, preview
from distrib.cli.settle_payouts import COMMANDS
from distrib.cli.settle_words import (
    batch_facts,
    document,
    files_document,
    left_out_document,
    left_out_table,
    payout_document,
    payouts_table,
    plural,
    spoken,
    states_table,
)
from distrib.cli.waiting import watch_batch
from distrib.errors import InvalidInput
from distrib.money import format_amount
from distrib.settlement import batch as batches
from distrib.settlement import running
from distrib.settlement.batch import get_batch, list_approvals
from distrib.settlement.finishing import list_files
from distrib.settlement.looking import count_exclusions, list_payouts
from distrib.settlement.payouts import close_settled_batch
from distrib.settlement.progress import batch_progress
from distrib.settlement.tables import SettlementBatch


@click.group()
def settle() -> None:
    """Draw up, approve and pay settlement batches.

    One person draws a batch up and submits it, another approves it, then it is run:

    \b
      distrib settle preview              who would be paid, who not, and why
      distrib settle draw-up              gather them into a draft
      distrib settle submit 1             hand it over for approval
      distrib settle approve 1 --by NAME  by somebody else
      distrib settle run 1 --wait         pay it
    """


for each in (preview, draw_up, *COMMANDS):
    settle.add_command(each)


@settle.command("list")
@with_brand
def list_(desk: Desk) -> None:
    """List the batches, newest first."""
    with desk.database.transaction() as session:
        brand = desk.brand(session)
        found = list(
            session.scalars(
                select(SettlementBatch)
                .where(SettlementBatch.brand_id == brand.id)
                .order_by(SettlementBatch.number.desc())
            )
        )
    desk.show(
        [document(batch) for batch in found],
        table(
            f">no|state|cutoff|provider|>payouts|>total ({brand.currency})|drawn up|settled",
            (
                (
                    batch.number,
                    spoken(batch.state),
                    batch.cutoff,
                    batch.provider,
                    batch.payouts,
                    format_amount(batch.total, batch.currency),
                    local(batch.created_at, brand.time_zone),
                    local(batch.settled_at, brand.time_zone),
                )
                for batch in found
            ),
        )
        if found
        else "There is no batch yet: distrib settle draw-up",
    )


@settle.command("show")
@click.argument("number", type=int)
@click.option("--limit", default=20, show_default=True, help="Payouts to print, largest first.")
@with_brand
def show(desk: Desk, number: int, limit: int) -> None:
    """Show a batch: its state, approvals, files, who is not in it, its largest payouts."""
    with desk.database.transaction() as session:
        brand = desk.brand(session)
        batch = get_batch(session, brand_id=brand.id, number=number)
        paid = batch_progress(session, batch=batch)
        approvals = list_approvals(session, batch=batch)
        files = list_files(session, batch=batch)
        left_out = count_exclusions(session, batch=batch)
        payouts = [
            (payout, person)
            for payout, person in list_payouts(session, batch=batch, largest=True, limit=limit)
        ]
        shown = batch_facts(session, batch, brand.time_zone)
    desk.show(
        document(batch)
        | {
            "paid": paid.paid,
            "paid_total": paid.paid_total,
            "states": {
                state: {"payouts": count, "total": total}
                for state, (count, total) in paid.states.items()
            },
            "rate": paid.rate,
            "seconds_left": paid.seconds_left,
            "approvals": [
                {"approved_by": each.approved_by, "approved_at": each.approved_at}
                for each in approvals
            ],
            "files": files_document(files),
            "left_out": left_out_document(left_out),
            "largest_payouts": [payout_document(*each) for each in payouts],
        },
        shown,
        states_table(paid, batch.currency),
        left_out_table(left_out, batch.currency) if left_out else "",
        payouts_table(payouts, batch),
    )
    if batch.payouts > len(payouts):
        note(f"These are the {len(payouts)} largest of {batch.payouts}: see --limit.")


# -- what people do -------------------------------------------------------------------------------


def _change(desk: Desk, verb: Callable[..., SettlementBatch], **facts: Any) -> SettlementBatch:
    with desk.database.transaction() as session:
        return verb(session, brand_id=desk.brand(session).id, **facts)


def _size(batch: SettlementBatch) -> str:
    words = f"{plural(batch.payouts, 'payout')} of {in_words(batch.total, batch.currency)}"
    if batch.tax_total:
        words += f", {in_words(batch.tax_total, batch.currency)} of it withheld"
    return words


@settle.command("submit")
@click.argument("number", type=int)
@by_option
@with_brand
def submit(desk: Desk, number: int, by: str) -> None:
    """Submit a draft for approval by somebody else."""
    batch = _change(desk, batches.submit_batch, number=number, submitted_by=by)
    who = "another person approves" if batch.approvals_needed == 1 else "two other people approve"
    desk.done(
        document(batch),
        f"Batch {number} is submitted: {_size(batch)}.\n"
        f"Next: {who} it, having seen it: distrib settle approve {number} --by NAME",
    )


def _hash(given: str | None) -> bytes | None:
    try:
        return None if given is None else bytes.fromhex(given)
    except ValueError:
        raise InvalidInput(f"{given!r} is not hexadecimal", field="--hash") from None


@settle.command("approve")
@click.argument("number", type=int)
@click.option("--hash", "content_hash", metavar="HEX", help="Only if its content has this hash.")
@by_option
@with_brand
def approve(desk: Desk, number: int, content_hash: str | None, by: str) -> None:
    """Approve a submitted batch. The approval is of its content."""
    batch = _change(
        desk,
        batches.approve_batch,
        number=number,
        approved_by=by,
        content_hash=_hash(content_hash),
    )
    if batch.state == "approved":
        words = f"is approved: {_size(batch)}.\nNext: distrib settle run {number} --wait"
    else:
        words = f"has {by}'s approval; it needs another: {_size(batch)}."
    desk.done(document(batch), f"Batch {number} {words}")


@settle.command("reject")
@click.argument("number", type=int)
@click.option("--reason", required=True, help="What has to change.")
@by_option
@with_brand
def reject(desk: Desk, number: int, reason: str, by: str) -> None:
    """Send a batch back to its maker; approvals are void."""
    batch = _change(desk, batches.reject_batch, number=number, rejected_by=by, reason=reason)
    desk.done(document(batch), f"Batch {number} is a draft again; its approvals are void.")


@settle.command("cancel")
@click.argument("number", type=int)
@click.option("--reason", help="Why; it stays on record.")
@by_option
@with_brand
def cancel(desk: Desk, number: int, reason: str | None, by: str) -> None:
    """Call off a batch that is not being paid; what it held is open again."""
    batch = _change(desk, batches.cancel_batch, number=number, cancelled_by=by, reason=reason)
    desk.done(document(batch), f"Batch {number} is cancelled.")


@settle.command("pause")
@click.argument("number", type=int)
@click.option("--reason", help="Why; it stays on record.")
@by_option
@with_brand
def pause(desk: Desk, number: int, reason: str | None, by: str) -> None:
    """Hand nothing more over; what was handed over is followed all the same."""
    batch = _change(desk, running.pause_batch, number=number, paused_by=by, reason=reason)
    desk.done(
        document(batch), f"Batch {number} is paused.\nNext: distrib settle resume {number} --wait"
    )


@settle.command("close")
@click.argument("number", type=int)
@by_option
@with_brand
def close(desk: Desk, number: int, by: str) -> None:
    """Close a batch of which nothing is left to do."""
    batch = _change(desk, close_settled_batch, number=number, closed_by=by)
    desk.done(document(batch), f"Batch {number} is closed.")


_wait_option = click.option(
    "--wait", is_flag=True, help="Until all is handed over and decided; without workers, pay here."
)


@settle.command("run")
@click.argument("number", type=int)
@_wait_option
@by_option
@with_brand
def run(desk: Desk, number: int, wait: bool, by: str) -> None:
    """Pay an approved batch.

    Workers do it. Running a batch again that is being paid waits for it.
    """
    with desk.database.transaction() as session:
        brand = desk.brand(session)
        batch = get_batch(session, brand_id=brand.id, number=number)
        if not (wait and batch.state in ("paying", "settled", "partly_failed")):
            batch = running.run_batch(
                session,
                brand_id=brand.id,
                number=number,
                chunk_payouts=desk.settings.chunk_payouts,
                run_by=by,
            )
    _tell_paying(desk, brand, batch, wait=wait)


@settle.command("resume")
@click.argument("number", type=int)
@_wait_option
@by_option
@with_brand
def resume(desk: Desk, number: int, wait: bool, by: str) -> None:
    """Go on paying a paused batch."""
    with desk.database.transaction() as session:
        brand = desk.brand(session)
        batch = running.resume_batch(session, brand_id=brand.id, number=number, resumed_by=by)
    _tell_paying(desk, brand, batch, wait=wait)


@settle.command("retry")
@click.argument("number", type=int)
@_wait_option
@by_option
@with_brand
def retry(desk: Desk, number: int, wait: bool, by: str) -> None:
    """Try again what failed for good while a batch was being paid.

    For when its cause is gone. What was paid stays paid.
    """
    with desk.database.transaction() as session:
        brand = desk.brand(session)
        batch = running.retry_batch(session, brand_id=brand.id, number=number, retried_by=by)
    _tell_paying(desk, brand, batch, wait=wait)


def _tell_paying(desk: Desk, brand: Brand, batch: SettlementBatch, *, wait: bool) -> None:
    number = batch.number
    if wait:
        batch = watch_batch(desk, brand, number)
    with desk.database.transaction() as session:
        states = batch_progress(session, batch=batch).states
        files = list_files(session, batch=batch)
    told = ", ".join(f"{count:,} {state}" for state, (count, _) in states.items())
    if batch.state == "settled":
        words = [f"is settled: {_size(batch)}."]
    elif batch.state == "partly_failed":
        words = [f"is partly failed: {told}.", f"Next: distrib settle payouts {number}"]
    elif batch.state == "paying" and wait and "sent" in states:
        words = [
            f"is handed over: {told}. Its provider, or a person, says more.",
            f"Next: distrib settle import-status {number} FILE, or distrib settle confirm"
            f" {number} PAYOUT",
        ]
    else:
        state = "being paid" if batch.state == "paying" else spoken(batch.state)
        words = [f"is {state}: {_size(batch)}."]
    words += [f"Payment file: {desk.settings.data_dir / each.name}" for each in files]
    desk.done(
        document(batch) | {"files": files_document(files)}, f"Batch {number} " + "\n".join(words)
    )
