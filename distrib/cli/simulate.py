"""``distrib plan simulate`` and what looks at simulations."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import click
from rich.table import Table
from rich.text import Text
from sqlalchemy.orm import Session

from distrib.brands.tables import Brand
from distrib.cli.desk import Desk, by_option, with_brand
from distrib.cli.output import facts, local, money, note, progress, table
from distrib.cli.plan_parts import read_document
from distrib.commission.drafts import get_draft
from distrib.commission.simulation import (
    Candidate,
    candidate_of_document,
    candidate_of_version,
    count_orders,
    simulate_plan,
)
from distrib.commission.simulation_chart import Bar, bars_of, draw_svg, name_of
from distrib.commission.simulation_report import (
    Earner,
    OrderFound,
    Report,
    Share,
    as_csv,
)
from distrib.commission.simulation_tables import Simulation
from distrib.commission.simulations import (
    check_words,
    compare_simulations,
    get_simulation,
    list_simulations,
    save_simulation,
)
from distrib.errors import InvalidInput
from distrib.money import format_amount, format_rate

_COLUMNS = 44
"""Of the longest bar."""
_SHOWN = 5
"""Distributors and orders of each sort that are printed; the CSV has more."""


class Days(click.ParamType[tuple[date, date]]):
    """Some days, first and last."""

    name = "days"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:  # noqa: ARG002
        """How help writes it."""
        return "DAY..DAY"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[date, date]:
        """Read two days."""
        if isinstance(value, tuple):
            return value
        try:
            first, last = (date.fromisoformat(each) for each in value.split(".."))
        except ValueError:
            self.fail(f"{value!r} is no span of days such as 2026-01-01..2026-03-31", param, ctx)
        return first, last


OutputFile = click.Path(dir_okay=False, path_type=Path)


def _candidate(session: Session, brand: Brand, source: str) -> Candidate:
    """The plan that somebody names: a draft by its number, a version as v2, or a file."""
    if re.fullmatch(r"v[0-9]{1,9}", source):
        return candidate_of_version(session, brand=brand, number=int(source[1:]))
    if re.fullmatch(r"[0-9]{1,9}", source):
        document: Any = get_draft(session, brand_id=brand.id, number=int(source)).document
    else:
        document = read_document(Path(source))
    return candidate_of_document(session, brand=brand, document=document)


@click.command("simulate")
@click.argument("plan", metavar="PLAN")
@click.option("--orders", "days", type=Days(), required=True, help="The orders of these days.")
@click.option("--name", help="What the simulation is kept as; default is the plan's name.")
@click.option("--chart", type=OutputFile, help="Draw it into this SVG file.")
@click.option("--csv", "csv_", type=OutputFile, help="Write its figures into this CSV file.")
@by_option
@with_brand
def simulate(
    desk: Desk,
    plan: str,
    *,
    days: tuple[date, date],
    name: str | None,
    chart: Path | None,
    csv_: Path | None,
    by: str,
) -> None:
    """Say what a plan would have paid on past orders, beside what was paid.

    PLAN is a draft's number, a version such as v2, or a file. Nothing is posted; the simulation is
    kept, to be compared with others.
    """
    first, last = days
    if name is not None:
        check_words(name, "--name")
    with desk.database.snapshot() as session, progress() as bar:
        brand = desk.brand(session)
        candidate = _candidate(session, brand, plan)
        total = count_orders(session, brand=brand, first=first, last=last)
        task = bar.add_task("orders", total=total)
        report = simulate_plan(
            session,
            brand=brand,
            candidate=candidate,
            first=first,
            last=last,
            on_progress=lambda done: bar.update(task, completed=done),
        )
    kept = desk.database.run(
        lambda session: save_simulation(
            session, brand=brand, candidate=candidate, report=report, name=name, created_by=by
        )
    )
    _write_files(kept, chart, csv_)
    desk.show(_document(kept), *_drawings(kept, brand))


@click.command("simulations")
@click.argument("number", type=int, required=False)
@click.option("--chart", type=OutputFile, help="Draw that one into this SVG file.")
@click.option("--csv", "csv_", type=OutputFile, help="Write its figures into this CSV file.")
@with_brand
def simulations(desk: Desk, number: int | None, chart: Path | None, csv_: Path | None) -> None:
    """List the simulations, newest first; or show one."""
    if number is None and (chart or csv_):
        raise InvalidInput("say which simulation", field="number")
    with desk.database.transaction() as session:
        brand = desk.brand(session)
        if number is not None:
            kept = get_simulation(session, brand_id=brand.id, number=number)
            _write_files(kept, chart, csv_)
            desk.show(_document(kept), *_drawings(kept, brand))
            return
        found = list_simulations(session, brand_id=brand.id)
    rows = []
    for each in found:
        report = Report.of(each.report)
        rows.append(
            (
                each.number,
                each.name,
                f"{each.first_day} to {each.last_day}",
                report.orders,
                format_amount(report.simulated, report.currency),
                _change(report.simulated, report.paid, report.currency),
                f"{local(each.created_at, brand.time_zone)} by {each.created_by}",
            )
        )
    desk.show(
        [_document(each) for each in found],
        table(">no|name|days|>orders|>would pay|>instead of paid|made", rows)
        if found
        else "Nothing was simulated: distrib plan simulate PLAN --orders 2026-01-01..2026-03-31",
    )


@click.command("compare")
@click.argument("one", type=int)
@click.argument("other", type=int)
@with_brand
def compare(desk: Desk, one: int, other: int) -> None:
    """Hold two simulations of the same days against each other."""
    with desk.database.transaction() as session:
        brand = desk.brand(session)
        a, b = (get_simulation(session, brand_id=brand.id, number=each) for each in (one, other))
        sides = compare_simulations(a, b)
    rows = [
        (
            side.part,
            side.name,
            format_amount(side.one, brand.currency),
            format_amount(side.other, brand.currency),
            _change(side.other, side.one, brand.currency),
            format_amount(side.paid, brand.currency),
        )
        for side in sides
    ]
    title = f"{a.number} {a.name} and {b.number} {b.name}: {a.first_day} to {a.last_day}"
    desk.show(
        [
            {
                "part": side.part,
                "name": side.name,
                "one": side.one,
                "other": side.other,
                "paid": side.paid,
            }
            for side in sides
        ],
        table(f"part|name|>{a.number}|>{b.number}|>change|>paid", rows, title=title),
    )


def _document(kept: Simulation) -> dict[str, Any]:
    return {
        "number": kept.number,
        "name": kept.name,
        "content_hash": kept.content_hash,
        "first_day": kept.first_day,
        "last_day": kept.last_day,
        "created_at": kept.created_at,
        "created_by": kept.created_by,
        "report": kept.report,
    }


def _write_files(kept: Simulation, chart: Path | None, csv_: Path | None) -> None:
    report = Report.of(kept.report)
    try:
        if chart is not None:
            chart.write_text(draw_svg(report, kept.name), encoding="utf-8")
            note(f"drawn into {chart}")
        if csv_ is not None:
            csv_.write_text(as_csv(report), encoding="utf-8-sig", newline="")
            note(f"written to {csv_}")
    except OSError as error:
        raise InvalidInput(str(error), field="--chart" if chart else "--csv") from None


# -- drawing --------------------------------------------------------------------------------------


def _change(after: int, before: int, currency: str) -> Text:
    """A difference with its sign; more cost is red, less is green."""
    change = after - before
    sign = "+" if change > 0 else ""
    return Text(
        f"{sign}{format_amount(change, currency)}",
        style="red" if change > 0 else "green" if change < 0 else "dim",
    )


def _drawings(kept: Simulation, brand: Brand) -> list[Any]:
    report = Report.of(kept.report)
    if not report.orders:
        return [f"No orders from {report.first_day} to {report.last_day}."]
    drawn: list[Any] = [_head(kept, report), _bars(report)]
    for title, shares in (("category", report.categories), ("channel", report.channels)):
        if len(shares) > 1:
            drawn.append(_shares(title, shares, report))
    for title, earners in (("gains most", report.gain_most), ("loses most", report.lose_most)):
        if earners:
            drawn.append(_earners(title, earners, report))
    for title, before, orders in (
        ("pays differently", "paid", report.differ_most),
        ("limited by a cap", "without caps", report.cut_most),
    ):
        if orders:
            drawn.append(_orders(title, before, orders, report))
    drawn.append(_foot(report, brand))
    return drawn


def _head(kept: Simulation, report: Report) -> Table:
    def of_sales(share: int | None) -> str:
        return "" if share is None else f"  ({format_rate(share)} of sales)"

    change = _change(report.simulated, report.paid, report.currency)
    return facts(
        [
            ("orders", f"{report.orders:,}, {report.first_day} to {report.last_day}"),
            ("sales", money(report.sales, report.currency)),
            (
                "would have paid",
                money(report.simulated, report.currency) + of_sales(report.cost_ppm),
            ),
            ("was paid", money(report.paid, report.currency) + of_sales(report.paid_ppm)),
            ("change", change),
            ("distributors", f"{report.gaining:,} gain, {report.losing:,} lose"),
            ("pay differently", f"{report.differing:,} orders"),
            ("a line's or order's cap limits", f"{report.capped:,} orders"),
            ("a day's or month's cap limits", f"{report.roomless:,} orders"),
        ],
        title=f"Simulation {kept.number}: {kept.name}",
    )


def _bars(report: Report) -> Table:
    """What would have been paid above what was, by total and level."""
    bars = [bar for bar in bars_of(report) if bar.group in ("Total", "By level")]
    most = max([1, *(max(bar.simulated, bar.paid) for bar in bars)])
    made = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    made.add_column(no_wrap=True)
    made.add_column(no_wrap=True)
    made.add_column(no_wrap=True, justify="right")
    for bar in bars:
        for name, amount, style in _pair(bar):
            length = max(amount, 0) * _COLUMNS * 8 // most
            made.add_row(
                name, Text(_blocks(length), style=style), format_amount(amount, report.currency)
            )
    made.add_row(
        "", Text.assemble(("█ would pay  ", "bold blue"), ("█ paid", "dim")), report.currency
    )
    return made


def _pair(bar: Bar) -> Sequence[tuple[str, int, str]]:
    return [(bar.name, bar.simulated, "bold blue"), ("", bar.paid, "dim")]


def _blocks(eighths: int) -> str:
    whole, rest = divmod(eighths, 8)
    return "█" * whole + "▏▎▍▌▋▊▉"[rest - 1 : rest]


def _shares(title: str, shares: list[Share], report: Report) -> Table:
    rows = [
        (
            name_of(each),
            format_amount(each.sales, report.currency),
            format_amount(each.simulated, report.currency),
            format_amount(each.paid, report.currency),
            _change(each.simulated, each.paid, report.currency),
        )
        for each in shares[:12]
    ]
    return table(f"{title}|>sales|>would pay|>paid|>change", rows)


def _earners(title: str, earners: list[Earner], report: Report) -> Table:
    rows = [
        (
            each.distributor,
            format_amount(each.simulated, report.currency),
            format_amount(each.paid, report.currency),
            _change(each.simulated, each.paid, report.currency),
        )
        for each in earners[:_SHOWN]
    ]
    return table(f"{title}|>would get|>got|>change", rows)


def _orders(title: str, before: str, orders: list[OrderFound], report: Report) -> Table:
    rows = [
        (
            f"{each.shop} {each.external_id}",
            format_amount(each.simulated, report.currency),
            format_amount(each.before, report.currency),
            _change(each.simulated, each.before, report.currency),
        )
        for each in orders[:_SHOWN]
    ]
    return table(f"{title}|>would pay|>{before}|>change", rows)


def _foot(report: Report, brand: Brand) -> Text:
    said = "Nothing was posted."
    if report.recorded == report.orders:
        said = "Every order was paid under this very plan. " + said
    return Text(f"{said} Amounts in {brand.currency}.", style="dim")
