"""``distrib debts``."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import click
from sqlalchemy import select
from sqlalchemy.orm import Session

from distrib import ids
from distrib.brands.tables import Brand
from distrib.cli.desk import Desk, by_option, with_brand
from distrib.cli.output import facts, local, note, table
from distrib.cli.output import money as in_words
from distrib.cli.times import Day
from distrib.errors import InvalidInput
from distrib.money import format_amount, parse_amount
from distrib.settlement import adjustments as service
from distrib.settlement.adjustments import AdjustmentKind, AdjustmentState
from distrib.settlement.book_tables import Adjustment
from distrib.settlement.debts import BUCKET_NAMES, list_debts, sum_debts, write_debts_csv
from distrib.tree.queries import get_distributor
from distrib.tree.tables import Distributor

OutputFile = click.Path(dir_okay=False, path_type=Path)


@click.group()
def debts() -> None:
    """Who is in debt since when; write debts off, correct payments."""


@debts.command("list")
@click.option("--as-of", type=Day(), help="At the end of this day; default: now.")
@click.option(
    "--limit", type=click.IntRange(1), default=50, show_default=True, help="Debtors to list."
)
@click.option("--csv", "csv_", type=OutputFile, help="Write all debtors into this CSV file.")
@with_brand
def list_(desk: Desk, as_of: date | None, limit: int, csv_: Path | None) -> None:
    """List who is in debt, the largest first, by the age of the refunds that are not settled."""
    with desk.database.snapshot() as session:
        brand = desk.brand(session)
        if csv_ is not None:
            _write_csv(session, brand, as_of, csv_)
        totals = sum_debts(session, brand=brand, as_of=as_of)
        found = list_debts(session, brand=brand, as_of=as_of, limit=limit)

    def amount(value: int) -> str:
        return format_amount(value, brand.currency) if value else ""

    heading = f"distributor|name|since|>debt ({brand.currency})|>0–30 days|>31–60|>61–90|>over 90"
    rows: list[tuple[Any, ...]] = [
        (each.external_id, each.name, each.since, amount(each.amount), *map(amount, each.ages))
        for each in found
    ]
    rest = f"{totals.debtors:,} debtors" if totals.debtors != 1 else "1 debtor"
    rows.append((rest, "", "", amount(totals.amount), *map(amount, totals.ages)))
    desk.show(
        {
            "as_of": totals.as_of,
            "currency": brand.currency,
            "debtors": totals.debtors,
            "amount": totals.amount,
            "ages": dict(zip(BUCKET_NAMES, totals.ages, strict=True)),
            "debts": [
                {
                    "distributor": each.external_id,
                    "name": each.name,
                    "status": each.status,
                    "amount": each.amount,
                    "since": each.since,
                    "ages": dict(zip(BUCKET_NAMES, each.ages, strict=True)),
                }
                for each in found
            ],
        },
        table(heading, rows, title=f"Debts as of {totals.as_of}")
        if totals.debtors
        else f"Nobody is in debt as of {totals.as_of}.",
    )


def _write_csv(session: Session, brand: Brand, as_of: date | None, path: Path) -> None:
    try:
        with path.open("w", encoding="utf-8-sig", newline="") as file:
            write_debts_csv(session, file, brand=brand, as_of=as_of)
    except OSError as error:
        raise InvalidInput(str(error), field="--csv") from None
    note(f"written to {path}")


def _ask(
    desk: Desk, external_id: str, *, kind: str, amount: str | None, reason: str, by: str
) -> None:
    def work(session: Session) -> tuple[Adjustment, Brand]:
        brand = desk.brand(session)
        owner = get_distributor(session, brand_id=brand.id, external_id=external_id)
        made = service.request_adjustment(
            session,
            brand=brand,
            distributor_id=owner.id,
            kind=kind,
            amount=None if amount is None else _minor(amount, brand.currency),
            reason=reason,
            requested_by=by,
        )
        return made, brand

    made, brand = desk.database.run(work)
    public = ids.public(service.PREFIX, made.id)
    desk.done(
        _document(made, external_id),
        f"{public} asks for {in_words(made.amount, brand.currency)} for {external_id}.\n"
        f"Next, by somebody else: distrib debts adjustments approve {public}",
    )


def _minor(amount: str, currency: str) -> int:
    try:
        return parse_amount(amount, currency)
    except ValueError as error:
        raise InvalidInput(str(error), field="--amount") from None


@debts.command("write-off")
@click.argument("external_id")
@click.option("--amount", help="How much, such as 12.50; default: the whole debt.")
@click.option("--reason", required=True, help="Why it is given up.")
@by_option
@with_brand
def write_off(desk: Desk, external_id: str, *, amount: str | None, reason: str, by: str) -> None:
    """Ask for a debt to be written off; somebody else approves it."""
    _ask(desk, external_id, kind=AdjustmentKind.WRITE_OFF, amount=amount, reason=reason, by=by)


# -- adjustments ----------------------------------------------------------------------------------


@debts.group("adjustments")
def adjustments() -> None:
    """Write-offs and corrections: ask for them, approve them as somebody else, reject them."""


def _document(adjustment: Adjustment, external_id: str) -> dict[str, Any]:
    shown = ("kind", "amount", "reason", "state", "requested_at", "requested_by")
    decided = ("decided_at", "decided_by", "available_on")
    return {
        "id": ids.public(service.PREFIX, adjustment.id),
        "distributor": external_id,
        "currency": adjustment.asset,
        **{name: getattr(adjustment, name) for name in (*shown, *decided)},
    }


@adjustments.command("request")
@click.argument("external_id")
@click.argument("kind", type=click.Choice(["overpaid", "underpaid"]))
@click.option("--amount", required=True, help="How much too much or too little, such as 12.50.")
@click.option("--reason", required=True, help="How that came about.")
@by_option
@with_brand
def request(desk: Desk, external_id: str, kind: str, *, amount: str, reason: str, by: str) -> None:
    """Ask for a correction of what a distributor was paid; somebody else approves it."""
    _ask(desk, external_id, kind=kind, amount=amount, reason=reason, by=by)


@adjustments.command("list")
@click.option(
    "--state", type=click.Choice([each.value for each in AdjustmentState]), help="Only those."
)
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True)
@with_brand
def list_adjustments(desk: Desk, state: str | None, limit: int) -> None:
    """List adjustments, newest first."""
    with desk.database.transaction() as session:
        brand = desk.brand(session)
        found = service.list_adjustments(session, brand_id=brand.id, state=state, limit=limit)
        names = _names(session, brand, found)
    desk.show(
        [_document(each, names[each.distributor_id]) for each in found],
        table(
            f">id|distributor|kind|>amount ({brand.currency})|state|asked for by|decided by|on",
            (
                (
                    ids.public(service.PREFIX, each.id),
                    names[each.distributor_id],
                    each.kind,
                    format_amount(each.amount, each.asset),
                    each.state,
                    each.requested_by,
                    each.decided_by,
                    local(each.decided_at, brand.time_zone),
                )
                for each in found
            ),
        )
        if found
        else "There is no adjustment.",
    )


def _names(session: Session, brand: Brand, found: list[Adjustment]) -> dict[int, str]:
    rows = session.execute(
        select(Distributor.id, Distributor.external_id).where(
            Distributor.brand_id == brand.id,
            Distributor.id.in_({each.distributor_id for each in found}),
        )
    )
    return {row.id: row.external_id for row in rows}


def _decide(desk: Desk, public_id: str, verb: Callable[[Session, int, int], Adjustment]) -> None:
    try:
        number = ids.parse(service.PREFIX, public_id)
    except ValueError as error:
        raise InvalidInput(str(error), field="ADJUSTMENT") from None

    def work(session: Session) -> tuple[Adjustment, str]:
        brand = desk.brand(session)
        done = verb(session, brand.id, number)
        return done, _names(session, brand, [done])[done.distributor_id]

    done, name = desk.database.run(work)
    if desk.as_json:
        desk.done(_document(done, name), "")
        return
    desk.show(
        None,
        facts(
            [
                ("distributor", name),
                ("kind", done.kind.replace("_", " ")),
                ("amount", in_words(done.amount, done.asset)),
                ("reason", done.reason),
                ("asked for by", done.requested_by),
                (done.state, f"by {done.decided_by}"),
            ],
            title=public_id,
        ),
    )


@adjustments.command("approve")
@click.argument("adjustment")
@by_option
@with_brand
def approve(desk: Desk, adjustment: str, by: str) -> None:
    """Approve an adjustment, as somebody else than who asked for it."""
    _decide(
        desk,
        adjustment,
        lambda session, brand_id, number: service.approve_adjustment(
            session, brand_id=brand_id, adjustment_id=number, approved_by=by
        ),
    )


@adjustments.command("reject")
@click.argument("adjustment")
@by_option
@with_brand
def reject(desk: Desk, adjustment: str, by: str) -> None:
    """Turn an adjustment down, or take one's own back."""
    _decide(
        desk,
        adjustment,
        lambda session, brand_id, number: service.reject_adjustment(
            session, brand_id=brand_id, adjustment_id=number, rejected_by=by
        ),
    )
