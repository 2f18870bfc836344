"""``distrib settle preview`` and ``draw-up``: who is paid, who not, and why."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import click

from distrib import clock
from distrib.brands.tables import Brand
from distrib.cli.desk import Desk, F, by_option, with_brand
from distrib.cli.output import money as in_words
from distrib.cli.output import note, table
from distrib.cli.settle_words import (
    batch_facts,
    document,
    left_out_document,
    left_out_table,
    plural,
)
from distrib.cli.times import Day, read_amount
from distrib.errors import InvalidInput
from distrib.money import format_amount
from distrib.settlement.batch import draw_up_batch, mature_for_batch
from distrib.settlement.gathering import WORDS, Filters, preview_counts, preview_lines
from distrib.settlement.looking import count_exclusions
from distrib.settlement.providers.registry import choose_provider


def _chosen(command: F) -> F:
    """What a batch is limited to: of whom, until when, through whom."""
    for option in (
        click.option("--minimum", metavar="AMOUNT", help="Smallest payout, such as 50.00."),
        click.option("--without", multiple=True, metavar="IDS|@FILE", help="Do not pay these."),
        click.option(
            "--only",
            multiple=True,
            metavar="IDS|@FILE",
            help="Pay nobody else: external ids with commas between them, or @ and a file with"
            " one a line.",
        ),
        click.option("--provider", default="bank-file", show_default=True, help="Pay through it."),
        click.option("--cutoff", type=Day(), help="Last day, inclusive; default: today."),
    ):
        command = option(command)
    return command


def _ids(given: tuple[str, ...], field: str) -> tuple[str, ...]:
    found: list[str] = []
    for each in given:
        if not each.startswith("@"):
            found += each.split(",")
            continue
        try:
            found += Path(each[1:]).read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInput(f"{each[1:]}: {error}", field=field) from None
    return tuple(dict.fromkeys(name for each in found if (name := each.strip())))


def _filters(
    brand: Brand, only: tuple[str, ...], without: tuple[str, ...], minimum: str | None
) -> Filters:
    if only and not (named := _ids(only, "--only")):
        raise InvalidInput("names nobody", field="--only")
    return Filters(
        named if only else (),
        _ids(without, "--without"),
        read_amount(minimum, brand.currency, "--minimum"),
    )


@click.command("preview")
@_chosen
@click.option("--limit", default=20, show_default=True, help="Distributors to list.")
@click.option("--after", metavar="ID", help="List those after this one.")
@with_brand
def preview(
    desk: Desk,
    *,
    cutoff: date | None,
    provider: str,
    only: tuple[str, ...],
    without: tuple[str, ...],
    minimum: str | None,
    limit: int,
    after: str | None,
) -> None:
    """Say who a batch would pay, who not, and why. Nothing is written."""
    with desk.database.snapshot() as session:
        brand = desk.brand(session)
        chosen = choose_provider(desk.settings, brand.slug, provider)
        cutoff = cutoff or clock.day_of(clock.now(), brand.time_zone)
        scope: dict[str, Any] = {
            "brand": brand,
            "cutoff": cutoff,
            "filters": _filters(brand, only, without, minimum),
            "method": chosen.method,
        }
        counts = preview_counts(session, **scope)
        lines = preview_lines(session, **scope, after=after, limit=limit)

    def amount(value: int) -> str:
        return format_amount(value, brand.currency) if value else ""

    desk.show(
        {
            "cutoff": cutoff,
            "provider": provider,
            "currency": brand.currency,
            "payouts": counts.payouts,
            "total": counts.total,
            "left_out": left_out_document(counts.reasons),
            "lines": [
                {
                    "distributor": line.external_id,
                    "name": line.name,
                    "due": line.due,
                    "later": line.later,
                    "reason": line.reason,
                    "reason_words": line.reason and WORDS[line.reason],
                }
                for line in lines
            ],
        },
        f"Up to {cutoff}, through {provider}: {plural(counts.payouts, 'payout')} of"
        f" {in_words(counts.total, brand.currency)}.",
        left_out_table(counts.reasons, brand.currency) if counts.reasons else "",
        table(
            f"distributor|name|>paid ({brand.currency})|>carried forward|>later|why not",
            (
                (
                    line.external_id,
                    line.name,
                    amount(line.due) if line.reason is None else "",
                    amount(line.due) if line.reason is not None else "",
                    amount(line.later),
                    line.reason and WORDS[line.reason],
                )
                for line in lines
            ),
        )
        if lines
        else "No commission is open.",
    )
    if len(lines) == limit:
        note(f"More: --limit, or --after {lines[-1].external_id}")


@click.command("draw-up")
@_chosen
@by_option
@with_brand
def draw_up(
    desk: Desk,
    *,
    cutoff: date | None,
    provider: str,
    only: tuple[str, ...],
    without: tuple[str, ...],
    minimum: str | None,
    by: str,
) -> None:
    """Gather what is past its hold into a draft batch."""
    with desk.database.transaction() as session:
        brand = desk.brand(session)
    chosen = choose_provider(desk.settings, brand.slug, provider)
    filters = _filters(brand, only, without, minimum)
    cutoff = mature_for_batch(desk.database, brand=brand, cutoff=cutoff)
    with desk.database.transaction() as session:
        batch = draw_up_batch(
            session, brand=brand, cutoff=cutoff, provider=chosen, filters=filters, created_by=by
        )
        left_out = count_exclusions(session, batch=batch)
        shown = batch_facts(session, batch, brand.time_zone)
    desk.show(
        document(batch) | {"left_out": left_out_document(left_out)},
        shown,
        left_out_table(left_out, brand.currency) if left_out else "",
        f"\nNext: distrib settle show {batch.number}; distrib settle submit {batch.number}",
    )
