"""Tax: by what a brand withholds, who distributors are to the tax office, what was withheld."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import Any

from flask import Response
from marshmallow import fields
from sqlalchemy.orm import Session

from distrib import clock
from distrib.api.context import database
from distrib.api.distributors import find
from distrib.api.fields import Choice, Day, Instant, Objects, Shape, Text, Whole
from distrib.api.idempotency import Answer, transact
from distrib.api.language import choose_language, language_field
from distrib.api.routes import PREFIX, Routes
from distrib.api.settlement import actor
from distrib.brands.tables import Brand
from distrib.settlement.book_tables import TaxProfile
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

routes = Routes(
    "Tax",
    __name__,
    url_prefix=PREFIX,
    description="What is withheld of payouts, by which law, and reports of it. Tax numbers are"
    " shown by their last four signs; `distrib tax report` writes reports with whole ones.",
)

_XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
_KINDS = {"json": "application/json", "csv": "text/csv", "xlsx": _XLSX}
_PROFILE = "/distributors/<ref>/tax-profile"
_YEAR = {"description": "Tax year.", "example": 2026}


class NewTaxSettingSchema(Shape):
    """By which regime to withhold in a year, from the next batch that is drawn up."""

    year = Whole(2000, 2199, required=True, metadata=_YEAR)
    regime = Choice(*sorted(REGIMES), required=True, metadata={"example": "cn_labour"})
    reason = Text(500, load_default=None, metadata={"example": "as our tax adviser says"})


class TaxSettingSchema(Shape):
    """A setting; the one with the highest number of a year counts, until a later year has one."""

    year = Whole(required=True, metadata=_YEAR)
    number = Whole(required=True, metadata={"example": 1})
    regime = Text(required=True, metadata={"example": "cn_labour"})
    version = Text(
        required=True,
        metadata={"description": "Between which days it is the law.", "example": "2019-01-01.."},
    )
    set_by = Text(required=True, metadata={"example": "finance"})
    set_at = Instant(required=True)
    reason = Text(required=True, allow_none=True, metadata={"example": None})


class TaxSettingsSchema(Shape):
    """All that was ever set, newest first."""

    items = Objects(TaxSettingSchema, required=True)


class NewTaxProfileSchema(Shape):
    """Who a distributor is to the tax office."""

    name = Text(required=True, metadata={"example": "林若曦"})
    tax_id = Text(
        64,
        load_default=None,
        allow_none=True,
        metadata={"description": "Null: not known.", "example": "110101199003078515"},
    )


class TaxProfileSchema(Shape):
    """Who a distributor is to the tax office."""

    distributor = Text(required=True, metadata={"example": "anna"})
    name = Text(required=True, metadata={"example": "林若曦"})
    tax_id = Text(
        required=True,
        allow_none=True,
        metadata={"description": "The last four signs.", "example": "****8515"},
    )
    set_by = Text(required=True, metadata={"example": "finance"})
    set_at = Instant(required=True)


class TaxReportQuery(Shape):
    """Of when, and how."""

    year = Whole(2000, 2199, strict=False, required=True, metadata=_YEAR)
    quarter = Whole(
        1, 4, strict=False, load_default=None, metadata={"description": "Left out: the year."}
    )
    by = Choice(*PERIODS, load_default="month", metadata={"description": "Of the rows."})
    format = Choice(
        *_KINDS,
        load_default="json",
        metadata={"description": "`xlsx` has a sheet for each period."},
    )
    language = language_field()


class TaxRowSchema(Shape):
    """What a payee was paid in a period, and what was withheld."""

    payee = Text(required=True, metadata={"example": "anna"})
    name = Text(required=True, metadata={"example": "林若曦"})
    tax_id = fields.String(required=True, metadata={"example": "****8515"})
    month = Day(metadata={"description": "First day of it, by month."})
    year = Whole(metadata=_YEAR)
    quarter = Whole(metadata={"example": 1})
    gross = Whole(required=True, metadata={"example": 198_000})
    tax = Whole(required=True, metadata={"example": 23_600})
    net = Whole(required=True, metadata={"example": 174_400})


class TaxReportSchema(Shape):
    """What was withheld of what is paid. Money in minor units of `currency`."""

    year = Whole(required=True, metadata=_YEAR)
    quarter = Whole(required=True, allow_none=True, metadata={"example": 1})
    currency = Text(required=True, metadata={"example": "CNY"})
    rows = Objects(TaxRowSchema, required=True)


_setting, _profile = TaxSettingSchema(), TaxProfileSchema()


@routes.operation(
    "GET", "/settlement/tax/settings", {200: (TaxSettingsSchema, "All settings, newest first")}
)
def list_settings(mine: Brand) -> dict[str, Any]:
    """List by which regimes the brand withholds, and has withheld."""
    with database().transaction() as session:
        return {"items": list_tax_settings(session, brand_id=mine.id)}


@routes.operation(
    "POST",
    "/settlement/tax/settings",
    {201: (TaxSettingSchema, "It counts from the next batch that is drawn up")},
    body=NewTaxSettingSchema,
    example={"year": 2026, "regime": "cn_labour", "reason": "as our tax adviser says"},
)
def create_setting(mine: Brand, given: dict[str, Any]) -> Response:
    """Say by which regime the brand withholds in a tax year, and in those after it.

    What was drawn up before keeps its tax.
    """
    return transact(
        lambda session: Answer(
            201, _setting.dump(set_tax_regime(session, brand=mine, set_by=actor(), **given))
        )
    )


def _tell(profile: TaxProfile, distributor: str) -> dict[str, Any]:
    return {
        "distributor": distributor,
        "name": profile.name,
        "tax_id": mask_tax_id(profile.tax_id),
        "set_by": profile.set_by,
        "set_at": profile.set_at,
    }


@routes.operation("GET", _PROFILE, {200: (TaxProfileSchema, "The profile")}, problems=(404,))
def show_tax_profile(mine: Brand, ref: str) -> dict[str, Any]:
    """Show who a distributor is to the tax office."""
    with database().transaction() as session:
        person = find(session, mine, ref)
        found = get_tax_profile(session, brand_id=mine.id, distributor=person.external_id)
        return _tell(found, person.external_id)


@routes.operation(
    "PUT",
    _PROFILE,
    {200: (TaxProfileSchema, "The profile says this now")},
    body=NewTaxProfileSchema,
    example={"name": "林若曦", "tax_id": "110101199003078515"},
    problems=(404,),
)
def put_tax_profile(mine: Brand, given: dict[str, Any], ref: str) -> Response:
    """Say who a distributor is to the tax office. It replaces what was said before."""

    def work(session: Session) -> Answer:
        person = find(session, mine, ref)
        made = set_tax_profile(
            session,
            brand_id=mine.id,
            distributor=person.external_id,
            set_by=actor(),
            **given,
        )
        return Answer(200, _profile.dump(_tell(made, person.external_id)))

    return transact(work)


@routes.operation(
    "GET",
    "/settlement/tax/report",
    {200: (TaxReportSchema, "The report")},
    query=TaxReportQuery,
    content_type=tuple(_KINDS.values()),
)
def tax_report(mine: Brand, query: dict[str, Any]) -> Response | dict[str, Any]:
    """Report what was withheld from whom, in a year or a quarter of it.

    By the month that each payout's tax is of, and of what is paid at this moment.
    """
    year, quarter, kind = query["year"], query["quarter"], query["format"]
    language = choose_language(query["language"])
    with database().snapshot() as session:
        rows = list_tax_rows(session, brand=mine, year=year, quarter=quarter, masked=True)
    table = PERIODS[query["by"]](rows, mine.currency, language)
    if kind == "json":
        period = {"month": ("month",), "quarter": ("year", "quarter"), "year": ("year",)}
        names = ("payee", "name", "tax_id", *period[query["by"]], "gross", "tax", "net")
        told = [dict(zip(names, row, strict=True)) for row in table.rows]
        return {"year": year, "quarter": quarter, "currency": mine.currency, "rows": told}
    if kind == "csv":
        text = io.StringIO()
        write_csv(table, text)
        content = text.getvalue().encode("utf-8-sig")
    else:
        tables = tax_tables(rows, currency=mine.currency, language=language, quarter=quarter)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "report.xlsx")
            write_xlsx(tables, path, written_at=clock.now().replace(tzinfo=None))
            content = path.read_bytes()
    response = Response(content, content_type=_KINDS[kind])
    name = f"tax-{year}" + (f"-q{quarter}" if quarter else "")
    response.headers["Content-Disposition"] = f'attachment; filename="{name}.{kind}"'
    response.headers["Content-Language"] = language
    return response
