"""``distrib tax``."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import click

from distrib import clock
from distrib.cli.desk import Desk, by_option, with_brand
from distrib.cli.output import local, note, table
from distrib.cli.plan_parts import language_option
from distrib.errors import InvalidInput
from distrib.money import format_amount
from distrib.settlement.book_tables import BrandTax
from distrib.settlement.tax import REGIMES
from distrib.settlement.tax.export import write_csv, write_xlsx
from distrib.settlement.tax_books import (
    PERIODS,
    get_tax_profile,
    list_tax_rows,
    mask_tax_id,
    tax_tables,
)
from distrib.settlement.withholding import list_tax_settings, set_tax_profile, set_tax_regime

_HEADINGS = {"tax_id": "tax number"}


@click.group()
def tax() -> None:
    """Say by which law to withhold, from whom, and report what was withheld."""


def _setting(made: BrandTax) -> dict[str, Any]:
    names = ("year", "number", "regime", "version", "set_by", "set_at", "reason")
    return {name: getattr(made, name) for name in names}


@tax.command("set")
@click.argument("regime", type=click.Choice(sorted(REGIMES)))
@click.option("--year", type=int, help="From this tax year on; default: this year.")
@click.option("--reason", help="Why; it stays on record.")
@by_option
@with_brand
def set_(desk: Desk, regime: str, year: int | None, reason: str | None, by: str) -> None:
    """Withhold by a regime, from the next batch that is drawn up."""
    with desk.database.transaction() as session:
        brand = desk.brand(session)
        year = year or clock.day_of(clock.now(), brand.time_zone).year
        made = set_tax_regime(
            session, brand=brand, year=year, regime=regime, set_by=by, reason=reason
        )
    desk.done(
        _setting(made),
        f"{brand.slug} withholds by {regime} ({made.version}) in {year}, from the next batch on.",
    )


@tax.command("list")
@with_brand
def list_(desk: Desk) -> None:
    """List all settings, newest first."""
    with desk.database.transaction() as session:
        brand = desk.brand(session)
        found = list_tax_settings(session, brand_id=brand.id)
    desk.show(
        [_setting(each) for each in found],
        table(
            "year|regime|law|set|by|why",
            (
                (
                    str(each.year),
                    each.regime,
                    each.version,
                    local(each.set_at, brand.time_zone),
                    each.set_by,
                    each.reason,
                )
                for each in found
            ),
        )
        if found
        else "Nothing is withheld: distrib tax set REGIME",
    )


@tax.command("profile")
@click.argument("distributor", metavar="EXTERNAL_ID")
@click.option("--name", help="As the tax office knows it.")
@click.option("--tax-id", help="Tax number; left out with --name: not known.")
@by_option
@with_brand
def profile(desk: Desk, distributor: str, name: str | None, tax_id: str | None, by: str) -> None:
    """Show who a distributor is to the tax office, or with --name say it."""
    if tax_id is not None and name is None:
        raise InvalidInput("needs --name beside it", field="--tax-id")
    with desk.database.transaction() as session:
        brand = desk.brand(session)
        scope: dict[str, Any] = {"brand_id": brand.id, "distributor": distributor}
        if name is not None:
            set_tax_profile(session, **scope, name=name, tax_id=tax_id, set_by=by)
        found = get_tax_profile(session, **scope)
    shown = mask_tax_id(found.tax_id)
    desk.done(
        {
            "distributor": distributor,
            "name": found.name,
            "tax_id": shown,
            "set_by": found.set_by,
            "set_at": found.set_at,
        },
        f"{distributor} is {found.name}, tax number {shown or 'not known'}; by {found.set_by},"
        f" {local(found.set_at, brand.time_zone)}.",
    )


@tax.command("report")
@click.option("--year", type=int, help="Tax year; default: this year.")
@click.option("--quarter", type=click.IntRange(1, 4), help="Only that quarter.")
@click.option("--by-period", "period", type=click.Choice(list(PERIODS)), default="month",
              show_default=True, help="Of the rows.")  # fmt: skip
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a .csv or .xlsx there, with whole tax numbers.",
)
@language_option
@with_brand
def report(
    desk: Desk,
    *,
    year: int | None,
    quarter: int | None,
    period: str,
    out: Path | None,
    language: str,
) -> None:
    """Report what was withheld of what is paid.

    Tax numbers are printed by their last four signs. A file has them whole: keep it safe.
    """
    with desk.database.snapshot() as session:
        brand = desk.brand(session)
        year = year or clock.day_of(clock.now(), brand.time_zone).year
        rows = list_tax_rows(session, brand=brand, year=year, quarter=quarter, masked=out is None)
    made = PERIODS[period](rows, brand.currency, language)
    document: dict[str, Any] = {"year": year, "quarter": quarter, "currency": brand.currency}
    if out is not None:
        if out.suffix == ".xlsx":
            tables = tax_tables(rows, currency=brand.currency, language=language, quarter=quarter)
            write_xlsx(tables, out, written_at=clock.now().replace(tzinfo=None))
        elif out.suffix == ".csv":
            text = io.StringIO()
            write_csv(made, text)
            out.write_text(text.getvalue(), encoding="utf-8-sig")
        else:
            raise InvalidInput(f"{out.name} ends neither in .csv nor in .xlsx", field="--out")
        out.chmod(0o600)
        desk.done(document | {"path": out, "rows": len(made.rows)}, str(out))
        return
    names = {
        "month": ("payee", "name", "tax_id", "month"),
        "quarter": ("payee", "name", "tax_id", "year", "quarter"),
        "year": ("payee", "name", "tax_id", "year"),
    }[period]
    columns = (*names, "gross", "tax", "net")
    desk.show(
        document | {"rows": [dict(zip(columns, row, strict=True)) for row in made.rows]},
        table(
            f"{'|'.join(_HEADINGS.get(name, name) for name in names)}"
            f"|>gross ({brand.currency})|>tax|>net",
            (
                (
                    *(
                        f"{cell:%Y-%m}" if name == "month" else str(cell)
                        for name, cell in zip(names, row, strict=False)
                    ),
                    *(format_amount(int(str(cell)), brand.currency) for cell in row[len(names) :]),
                )
                for row in made.rows
            ),
        )
        if made.rows
        else f"Nothing of {year} is paid that tax was worked out for.",
    )
    if made.rows:
        note("With whole tax numbers: --out FILE.csv or FILE.xlsx")
