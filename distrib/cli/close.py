"""``distrib close``."""

from __future__ import annotations

from datetime import date

import click
from sqlalchemy.orm import Session

from distrib.brands.tables import Brand
from distrib.cli.desk import Desk, by_option, with_brand
from distrib.cli.output import local, table
from distrib.cli.times import Day
from distrib.errors import InvalidInput
from distrib.settlement.closes import (
    DayFigures,
    get_close,
    list_closes,
    next_day,
    prepare_close,
    sign_close,
    write_csv,
    write_text,
)


@click.group()
def close() -> None:
    """Close days: what moved, signed, and chained to the day before.

    \b
      distrib close prepare               the day that comes next, as it would be signed
      distrib close sign 2026-03-01       sign it
      distrib close show 2026-03-01 --csv
    """


def _page(figures: DayFigures, brand: Brand) -> str:
    return write_text(figures, name=brand.name, time_zone=brand.time_zone).rstrip()


@close.command("prepare")
@click.argument("day", type=Day(), required=False)
@with_brand
def prepare(desk: Desk, day: date | None) -> None:
    """Show what closing DAY would sign; default: the day that comes next.

    Nothing is written. A day that is not over shows what there is so far.
    """
    with desk.database.snapshot() as session:
        brand = desk.brand(session)
        found = prepare_close(session, brand=brand, day=day)
    desk.show(
        found.document(brand),
        _page(found, brand),
        f"\nNext: distrib close sign {found.day} --digest {found.digest.hex()[:16]}",
    )


@close.command("sign")
@click.argument("day", type=Day(), required=False)
@click.option("--digest", metavar="HEX", help="Only if its digest is this, or begins with it.")
@by_option
@with_brand
def sign(desk: Desk, day: date | None, digest: str | None, by: str) -> None:
    """Close DAY; default: the day that comes next.

    Days are closed in order, each ten minutes after its end; days without movement before it are
    closed with it.
    """

    def work(session: Session) -> tuple[Brand, DayFigures]:
        brand = desk.brand(session)
        wanted = day or next_day(session, brand=brand)
        seen = None
        if digest is not None:
            seen = _whole(digest, prepare_close(session, brand=brand, day=wanted).digest)
        made = sign_close(session, brand=brand, day=wanted, signed_by=by, digest=seen)
        return brand, DayFigures.of(made)

    brand, made = desk.database.run(work)
    desk.show(made.document(brand), _page(made, brand))


def _whole(given: str, found: bytes) -> bytes:
    """The digest that is given, whole: its beginning stands for it."""
    try:
        bytes.fromhex(given + "0" * (len(given) % 2))
    except ValueError:
        raise InvalidInput(f"{given!r} is not hexadecimal", field="--digest") from None
    short = len(given) >= 8 and found.hex().startswith(given.lower())
    return found if short else given.encode()


@close.command("list")
@click.option("--limit", type=click.IntRange(1), default=31, show_default=True)
@with_brand
def list_(desk: Desk, limit: int) -> None:
    """List closed days, newest first."""
    with desk.database.transaction() as session:
        brand = desk.brand(session)
        found = list_closes(session, brand_id=brand.id, limit=limit)
    desk.show(
        [DayFigures.of(each).document(brand) for each in found],
        table(
            "day|>transfers|signed|by|digest",
            (
                (
                    each.day,
                    each.transfers,
                    local(each.signed_at, brand.time_zone),
                    each.signed_by,
                    each.digest.hex()[:16],
                )
                for each in found
            ),
        )
        if found
        else "No day is closed yet: distrib close prepare",
    )


@close.command("show")
@click.argument("day", type=Day())
@click.option("--csv", "as_csv", is_flag=True, help="As CSV.")
@with_brand
def show(desk: Desk, day: date, as_csv: bool) -> None:
    """Show a day as it was closed."""
    with desk.database.transaction() as session:
        brand = desk.brand(session)
        found = DayFigures.of(get_close(session, brand_id=brand.id, day=day))
    if as_csv:
        click.echo(write_csv(found), nl=False)
    else:
        desk.show(found.document(brand), _page(found, brand))
