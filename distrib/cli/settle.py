"""``distrib settle``."""

from __future__ import annotations

from datetime import date
from typing import Any

import click
from rich.table import Table
from sqlalchemy import select

from distrib import ids
from distrib.brands.tables import Brand
from distrib.cli.desk import Desk, by_option, with_brand
from distrib.cli.output import facts, local, note, table
from distrib.cli.output import money as in_words
from distrib.cli.times import Day
from distrib.cli.waiting import watch_batch
from distrib.errors import InvalidInput
from distrib.money import format_amount
from distrib.settlement.batch import (
    approve_batch,

    cancel_batch,
    draw_up_batch,
    get_batch,
    mature_for_batch,
)
from distrib.settlement.paying import retry_batch, run_batch
from distrib.settlement.progress import batch_progress
from distrib.settlement.tables import Payout, SettlementBatch
from distrib.tree.tables import Distributor


def _document(batch: SettlementBatch) -> dict[str, Any]:
    return {
        "id": ids.public("bat", batch.id),
        "number": batch.number,
        "state": batch.state,
        "cutoff": batch.cutoff,
        "provider": batch.provider,
        "currency": batch.currency,
        "minimum_payout": batch.minimum_payout,
        "payouts": batch.payouts,
        "total": batch.total,
        "content_hash": batch.content_hash,
        "created_at": batch.created_at,
        "created_by": batch.created_by,
        "approved_at": batch.approved_at,
        "approved_by": batch.approved_by,
        "settled_at": batch.settled_at,
        "file_name": batch.file_name,
        "file_sha256": batch.file_sha256,
    }


def _facts(batch: SettlementBatch, zone: str) -> Table:
    def signed(when: Any, who: str | None) -> str | None:
        return f"{local(when, zone)} by {who}" if when else None

    return facts(
        [
            ("state", batch.state),
            ("cutoff", batch.cutoff),
            ("payouts", batch.payouts),
            ("total", in_words(batch.total, batch.currency)),
            ("content hash", batch.content_hash.hex()),
            ("drawn up", signed(batch.created_at, batch.created_by)),
            ("approved", signed(batch.approved_at, batch.approved_by)),
            ("settled", local(batch.settled_at, zone) or None),
            ("payment file", batch.file_name),
        ],
        title=f"Batch {batch.number}",
    )


@click.group()
def settle() -> None:
    """Draw up, approve and pay settlement batches."""


@settle.command("draw-up")
@click.option("--cutoff", type=Day(), help="Last day, inclusive; default: today.")
@click.option(
    "--provider", type=click.Choice(sorted(PROVIDERS)), default="bank-file", show_default=True
)
@by_option
@with_brand
def draw_up(desk: Desk, cutoff: date | None, provider: str, by: str) -> None:
    """Gather what is past its hold into a draft batch."""
    with desk.database.transaction() as session:
        brand = desk.brand(session)
    cutoff = mature_for_batch(desk.database, brand=brand, cutoff=cutoff)
    with desk.database.transaction() as session:
        batch = draw_up_batch(session, brand=brand, cutoff=cutoff, provider=provider, created_by=by)
    desk.show(
        _document(batch),
        _facts(batch, brand.time_zone),
        f"\nNext: distrib settle show {batch.number}; distrib settle approve {batch.number}",
    )


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
        [_document(batch) for batch in found],
        table(
            f">no|state|cutoff|>payouts|>total ({brand.currency})|drawn up|settled",
            (
                (
                    batch.number,
                    batch.state,
                    batch.cutoff,
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
    """Show a batch and its largest payouts."""
    with desk.database.transaction() as session:
        brand = desk.brand(session)
        batch = get_batch(session, brand_id=brand.id, number=number)
        paid = batch_progress(session, batch=batch)
        payouts = session.execute(
            select(Payout, Distributor)
            .join(
                Distributor,
                (Distributor.brand_id == Payout.brand_id)
                & (Distributor.id == Payout.distributor_id),
            )
            .where(Payout.brand_id == brand.id, Payout.batch_id == batch.id)
            .order_by(Payout.amount.desc(), Payout.no)
            .limit(limit)
        ).all()
    desk.show(
        _document(batch)
        | {
            "paid": paid.paid,
            "paid_total": paid.paid_total,
            "largest_payouts": [
                {
                    "no": payout.no,
                    "distributor": person.external_id,
                    "name": person.name,
                    "amount": payout.amount,
                    "items": len(payout.postings),
                    "state": payout.state,
                }
                for payout, person in payouts
            ],
        },
        _facts(batch, brand.time_zone),
        table(
            f">no|distributor|name|>amount ({batch.currency})|>orders and refunds|state",
            (
                (
                    payout.no,
                    person.external_id,
                    person.name,
                    format_amount(payout.amount, batch.currency),
                    len(payout.postings),
                    payout.state,
                )
                for payout, person in payouts
            ),
        ),
    )
    if batch.payouts > len(payouts):
        note(f"These are the {len(payouts)} largest of {batch.payouts}: see --limit.")


@settle.command("approve")
@click.argument("number", type=int)
@click.option("--hash", "content_hash", metavar="HEX", help="Only if its content has this hash.")
@by_option
@with_brand
def approve(desk: Desk, number: int, content_hash: str | None, by: str) -> None:
    """Approve a draft. The approval is of its content."""
    try:
        seen = None if content_hash is None else bytes.fromhex(content_hash)
    except ValueError:
        raise InvalidInput(f"{content_hash!r} is not hexadecimal", field="--hash") from None
    with desk.database.transaction() as session:
        brand = desk.brand(session)
        batch = approve_batch(
            session, brand_id=brand.id, number=number, approved_by=by, content_hash=seen
        )
    desk.done(
        _document(batch),
        f"Batch {number} is approved: {batch.payouts:,} payouts of"
        f" {in_words(batch.total, batch.currency)}.\nNext: distrib settle run {number} --wait",
    )


@settle.command("cancel")
@click.argument("number", type=int)
@with_brand
def cancel(desk: Desk, number: int) -> None:
    """Call off a batch that is not being paid; what it held is open again."""
    with desk.database.transaction() as session:
        brand = desk.brand(session)
        batch = cancel_batch(session, brand_id=brand.id, number=number)
    desk.done(_document(batch), f"Batch {number} is cancelled.")


@settle.command("run")
@click.argument("number", type=int)
@click.option("--wait", is_flag=True, help="Until all is paid; without workers, pay here.")
@with_brand
def run(desk: Desk, number: int, wait: bool) -> None:
    """Pay an approved batch.

    Workers do it. Running a batch again that is being paid waits for it.
    """
    with desk.database.transaction() as session:
        brand = desk.brand(session)
        batch = get_batch(session, brand_id=brand.id, number=number)
        if not (wait and batch.state in ("paying", "settled")):
            batch = run_batch(
                session,
                brand_id=brand.id,
                number=number,
                chunk_payouts=desk.settings.chunk_payouts,
            )
    _tell_paying(desk, brand, batch, wait=wait)


@settle.command("retry")
@click.argument("number", type=int)
@click.option("--wait", is_flag=True, help="Until all is paid; without workers, pay here.")
@with_brand
def retry(desk: Desk, number: int, wait: bool) -> None:
    """Try again what failed for good while a batch was being paid.

    For when its cause is gone. What was paid stays paid.
    """
    with desk.database.transaction() as session:
        brand = desk.brand(session)
        batch = retry_batch(session, brand_id=brand.id, number=number)
    _tell_paying(desk, brand, batch, wait=wait)


def _tell_paying(desk: Desk, brand: Brand, batch: SettlementBatch, *, wait: bool) -> None:
    number = batch.number
    if wait:
        batch = watch_batch(desk, brand, number)
    words = f"{batch.payouts:,} payouts of {in_words(batch.total, batch.currency)}"
    if batch.state == "settled":
        file = desk.settings.data_dir / (batch.file_name or "")
        desk.done(_document(batch), f"Batch {number} is settled: {words}.\nPayment file: {file}")
    else:
        desk.done(_document(batch), f"Batch {number} is being paid: {words}.")
