"""Simulations: what a plan would have paid on past orders."""

from __future__ import annotations

from typing import Any

from flask import Response
from marshmallow import fields
from sqlalchemy.orm import Session

from distrib.api import lists
from distrib.api.context import caller, database
from distrib.api.fields import (
    Amount,
    Day,
    Hex,
    Instant,
    Objects,
    PublicId,
    Rate,
    Shape,
    Text,
    Whole,
)
from distrib.api.idempotency import Answer, replay, transact
from distrib.api.paging import Page, PageQuery, page_of
from distrib.api.plans import EXAMPLE, DocumentField, within_body
from distrib.api.routes import PLAIN, PREFIX, Routes
from distrib.brands.tables import Brand
from distrib.commission.drafts import get_draft
from distrib.commission.plan_document import PlanInvalid
from distrib.commission.simulation import (
    Candidate,
    candidate_of_document,
    candidate_of_version,
    count_orders,
    simulate_plan,
)
from distrib.commission.simulation_chart import draw_svg
from distrib.commission.simulation_report import Report, as_csv
from distrib.commission.simulation_tables import Simulation
from distrib.commission.simulations import (
    check_words,
    compare_simulations,
    get_simulation,
    save_simulation,
)
from distrib.errors import InvalidInput

MOST_ORDERS = 100_000
"""What a request may look at: it takes some seconds."""

_ONE = "/plans/simulations/<int(max=2147483647):number>"

routes = Routes(
    "Simulations",
    __name__,
    url_prefix=PREFIX,
    description="What a plan would have paid on past orders, with the trees of their time, beside"
    " what was paid. Nothing is posted. A simulation is kept and can be compared with another of"
    " the same days.",
)


class TooManyOrders(InvalidInput):
    """The days hold more orders than a request may look at."""

    title = "Too many orders for one request"


class NewSimulationSchema(Shape):
    """What to simulate: one of a document, a draft and a version."""

    document = DocumentField(load_default=None, metadata={"example": EXAMPLE})
    draft = Whole(1, 2**31 - 1, load_default=None, metadata={"description": "Its number."})
    version = Whole(1, 2**31 - 1, load_default=None, metadata={"description": "Its number."})
    first_day = Day(required=True, metadata={"example": "2026-01-01"})
    last_day = Day(required=True, metadata={"description": "Included.", "example": "2026-03-31"})
    name = Text(load_default=None, metadata={"description": "Left out: the plan's."})


class SimulationSchema(Shape):
    """A simulation, without its figures in detail. Amounts are in minor units."""

    id = PublicId("sim", required=True)
    number = Whole(required=True, metadata={"example": 1})
    name = Text(required=True, metadata={"example": "Spring 2026"})
    content_hash = Hex(
        required=True,
        metadata={"description": "Of the plan.", "example": "0f3c7a9be05d4d7c8f6f2f0e4a1d9b22"},
    )
    first_day = Day(required=True)
    last_day = Day(required=True)
    currency = Text(required=True, metadata={"example": "CNY"})
    orders = Whole(required=True, metadata={"example": 61334})
    sales = Amount(
        required=True,
        metadata={"description": "Of the orders, less what came back.", "example": 15423406430},
    )
    simulated = Amount(required=True, metadata={"example": 1853224028})
    paid = Amount(required=True, metadata={"example": 1692310011})
    simulated_share = Rate(
        required=True, allow_none=True, metadata={"description": "Of sales.", "example": "12.0157%"}
    )
    paid_share = Rate(
        required=True, allow_none=True, metadata={"description": "Of sales.", "example": "10.9723%"}
    )
    created_at = Instant(required=True)
    created_by = Text(required=True, metadata={"example": "back office"})


class SimulatedLevelSchema(Shape):
    """What a level pays."""

    level = Whole(required=True, metadata={"example": 1})
    simulated = Amount(required=True)
    paid = Amount(required=True)


class SimulatedShareSchema(Shape):
    """What the lines of a category, or the orders of a channel, pay."""

    name = fields.String(required=True, allow_none=True, metadata={"example": "tea"})
    others = Whole(
        required=True,
        metadata={"description": "How many small ones this stands for; 0: it is one."},
    )
    sales = Amount(required=True)
    simulated = Amount(required=True)
    paid = Amount(required=True)


class SimulatedEarnerSchema(Shape):
    """What a distributor would have got, and got."""

    distributor = Text(required=True, metadata={"example": "anna"})
    simulated = Amount(required=True)
    paid = Amount(required=True)


class SimulatedOrderSchema(Shape):
    """An order that stands out."""

    shop = fields.String(required=True, metadata={"example": "web"})
    external_id = Text(required=True, metadata={"example": "A-1001"})
    simulated = Amount(required=True)
    before = Amount(
        required=True,
        metadata={"description": "What was paid; in `cut_most` what it would pay without caps."},
    )


class SimulationDetailSchema(SimulationSchema):
    """A simulation."""

    document = DocumentField(required=True, metadata={"example": EXAMPLE})
    recorded = Whole(
        required=True,
        metadata={"description": "Orders whose version says the same as the plan."},
    )
    levels = Objects(SimulatedLevelSchema, required=True)
    categories = Objects(SimulatedShareSchema, required=True)
    channels = Objects(SimulatedShareSchema, required=True)
    gaining = Whole(required=True, metadata={"description": "Distributors who would get more."})
    losing = Whole(required=True, metadata={"description": "Distributors who would get less."})
    gain_most = Objects(SimulatedEarnerSchema, required=True)
    lose_most = Objects(SimulatedEarnerSchema, required=True)
    differing = Whole(required=True, metadata={"description": "Orders that pay differently."})
    differ_most = Objects(SimulatedOrderSchema, required=True)
    capped = Whole(
        required=True, metadata={"description": "Orders that a cap of the line or order limits."}
    )
    roomless = Whole(
        required=True, metadata={"description": "Orders that a cap of a day or month limits."}
    )
    cut = Amount(required=True, metadata={"description": "By how much, all together."})
    cut_most = Objects(SimulatedOrderSchema, required=True)


class SimulationSideSchema(Shape):
    """One figure of two simulations."""

    part = Text(required=True, metadata={"example": "category"})
    name = fields.String(required=True, metadata={"example": "tea"})
    one = Amount(required=True)
    other = Amount(required=True)
    paid = Amount(required=True)


class SimulationSidesSchema(Shape):
    """Two simulations beside each other."""

    figures = Objects(SimulationSideSchema, required=True)


_detail = SimulationDetailSchema()


def _tell(kept: Simulation) -> dict[str, Any]:
    report = Report.of(kept.report)
    told = {column.name: getattr(kept, column.name) for column in kept.__table__.columns}
    levels = [
        {"level": level, "simulated": simulated, "paid": paid}
        for level, (simulated, paid) in enumerate(report.levels, 1)
    ]
    shares = {"simulated_share": report.cost_ppm, "paid_share": report.paid_ppm}
    return report.document() | told | shares | {"levels": levels}


def _candidate(session: Session, mine: Brand, given: dict[str, Any]) -> Candidate:
    named = [name for name in ("document", "draft", "version") if given[name] is not None]
    if len(named) != 1:
        raise InvalidInput("name one of document, draft and version", field="document")
    if given["version"] is not None:
        return candidate_of_version(session, brand=mine, number=given["version"])
    document = given["document"]
    if given["draft"] is not None:
        document = get_draft(session, brand_id=mine.id, number=given["draft"]).document
    try:
        return candidate_of_document(session, brand=mine, document=document)
    except PlanInvalid as error:
        raise within_body(error) from None


@routes.operation(
    "POST",
    "/plans/simulations",
    {201: (SimulationDetailSchema, "The simulation")},
    body=NewSimulationSchema,
    example={"document": EXAMPLE, "first_day": "2026-01-01", "last_day": "2026-03-31"},
    problems=(404,),
)
def simulate(mine: Brand, given: dict[str, Any]) -> Response:
    """Simulate a plan on past orders.

    At most 100,000 orders; for more there is the command `distrib plan simulate`.
    """
    kept = replay()
    if kept is not None:
        return kept
    if given["name"] is not None:
        check_words(given["name"], "name")
    first, last = given["first_day"], given["last_day"]
    if first > last:
        raise InvalidInput("lies before first_day", field="last_day")
    with database().snapshot() as session:
        candidate = _candidate(session, mine, given)
        count = count_orders(session, brand=mine, first=first, last=last, most=MOST_ORDERS + 1)
        if count > MOST_ORDERS:
            raise TooManyOrders(
                f"these days have more than {MOST_ORDERS:,} orders: choose fewer days, or use the"
                " command distrib plan simulate",
                field="last_day",
            )
        report = simulate_plan(session, brand=mine, candidate=candidate, first=first, last=last)

    def work(session: Session) -> Answer:
        made = save_simulation(
            session,
            brand=mine,
            candidate=candidate,
            report=report,
            name=given["name"],
            created_by=caller().principal.name,
        )
        return Answer(201, _detail.dump(_tell(made)))

    return transact(work)


@routes.operation(
    "GET",
    "/plans/simulations",
    {200: (page_of(SimulationSchema), "A page of simulations, newest first")},
    query=PageQuery,
)
def list_simulations(mine: Brand, query: dict[str, Any]) -> Page:
    """List the simulations."""
    with database().transaction() as session:
        page = lists.simulations(session, brand_id=mine.id, **query)
        return Page([_tell(each) for each in page.items], page.next)


@routes.operation("GET", _ONE, {200: (SimulationDetailSchema, "The simulation")}, problems=(404,))
def show_simulation(mine: Brand, number: int) -> dict[str, Any]:
    """Show a simulation."""
    return _tell(_find(mine, number))


def _find(mine: Brand, number: int) -> Simulation:
    with database().transaction() as session:
        return get_simulation(session, brand_id=mine.id, number=number)


@routes.operation(
    "GET",
    f"{_ONE}/csv",
    {200: (PLAIN, "The figures")},
    problems=(404,),
    content_type="text/csv",
)
def export_simulation(mine: Brand, number: int) -> Response:
    """Download a simulation for a spreadsheet."""
    found = _find(mine, number)
    content = as_csv(Report.of(found.report)).encode("utf-8-sig")
    response = Response(content, content_type="text/csv; charset=utf-8")
    response.headers["Content-Disposition"] = f'attachment; filename="simulation-{number}.csv"'
    return response


@routes.operation(
    "GET",
    f"{_ONE}/chart",
    {200: (PLAIN, "The chart")},
    problems=(404,),
    content_type="image/svg+xml",
)
def draw_simulation(mine: Brand, number: int) -> Response:
    """Draw a simulation."""
    found = _find(mine, number)
    return Response(draw_svg(Report.of(found.report), found.name), content_type="image/svg+xml")


@routes.operation(
    "GET",
    f"{_ONE}/compare/<int(max=2147483647):other>",
    {200: (SimulationSidesSchema, "Both, figure by figure")},
    problems=(404, 409),
)
def compare_with_simulation(mine: Brand, number: int, other: int) -> dict[str, Any]:
    """Compare two simulations of the same days."""
    with database().transaction() as session:
        one, two = (
            get_simulation(session, brand_id=mine.id, number=each) for each in (number, other)
        )
    return {"figures": compare_simulations(one, two)}
