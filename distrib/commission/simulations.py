"""Simulations that are kept: saved, found again, held against each other."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from distrib import clock, ids
from distrib.brands.tables import Brand
from distrib.commission.simulation import Candidate
from distrib.commission.simulation_report import Report, Share
from distrib.commission.simulation_tables import Simulation
from distrib.errors import Conflict, InvalidInput, NotFound, unstorable

_MOST_LETTERS = 200


class SimulationNotFound(NotFound):
    """No simulation of that number."""

    title = "No such simulation"


class OtherOrders(Conflict):
    """The two simulations looked at the orders of different days."""

    title = "The simulations cannot be compared"


def check_words(text: str, field: str) -> str:
    """A name as it is kept.

    :raises InvalidInput: naming the field.
    """
    if not text.strip():
        raise InvalidInput("must not be empty", field=field)
    if len(text) > _MOST_LETTERS:
        raise InvalidInput(f"has more than {_MOST_LETTERS} characters", field=field)
    if (reason := unstorable(text)) is not None:
        raise InvalidInput(reason, field=field)
    return text.strip()


def save_simulation(
    session: Session,
    *,
    brand: Brand,
    candidate: Candidate,
    report: Report,
    name: str | None = None,
    created_by: str,
) -> Simulation:
    """Keep a simulation. Two at once meet the unique number: run the transaction again
    (:meth:`distrib.db.Database.run` does).

    :param name: default is the plan's.
    """
    newest = session.scalar(
        select(func.max(Simulation.number)).where(Simulation.brand_id == brand.id)
    )
    made = Simulation(
        brand_id=brand.id,
        id=ids.new(),
        number=(newest or 0) + 1,
        name=check_words(candidate.plan.name if name is None else name, "name"),
        document=candidate.document,
        content_hash=candidate.content_hash,
        first_day=date.fromisoformat(report.first_day),
        last_day=date.fromisoformat(report.last_day),
        report=report.document(),
        created_at=clock.now(),
        created_by=check_words(created_by, "created_by"),
    )
    session.add(made)
    session.flush()
    return made


def get_simulation(session: Session, *, brand_id: int, number: int) -> Simulation:
    """The simulation of that number.

    :raises SimulationNotFound: when there is none.
    """
    found = session.scalar(
        select(Simulation).where(Simulation.brand_id == brand_id, Simulation.number == number)
    )
    if found is None:
        raise SimulationNotFound(f"there is no simulation {number}", field="number")
    return found


def list_simulations(session: Session, *, brand_id: int) -> list[Simulation]:
    """All simulations, newest first."""
    return list(
        session.scalars(
            select(Simulation)
            .where(Simulation.brand_id == brand_id)
            .order_by(Simulation.number.desc())
        )
    )


@dataclass(frozen=True, slots=True)
class Side:
    """One figure of two simulations: what each plan would have paid, and what was paid."""

    part: str
    name: str
    one: int
    other: int
    paid: int


def compare_simulations(one: Simulation, other: Simulation) -> list[Side]:
    """What two plans would have paid on the same orders: total, by level, category and channel.

    :raises OtherOrders: when they are of different days.
    """
    if (one.first_day, one.last_day) != (other.first_day, other.last_day):
        raise OtherOrders(
            f"simulation {one.number} is of {one.first_day} to {one.last_day}, {other.number} of"
            f" {other.first_day} to {other.last_day}",
            field="other",
        )
    a, b = Report.of(one.report), Report.of(other.report)
    sides = [Side("total", "", a.simulated, b.simulated, b.paid)]
    for level, (mine, theirs) in enumerate(zip(a.levels, b.levels, strict=True), 1):
        if any((*mine, *theirs)):
            sides.append(Side("level", str(level), mine[0], theirs[0], theirs[1]))
    sides += _sides("category", a.categories, b.categories)
    sides += _sides("channel", a.channels, b.channels)
    return sides


def _sides(part: str, one: list[Share], other: list[Share]) -> list[Side]:
    """What both name, the largest first; what only one names is among the small ones."""
    mine = {each.name: each for each in one if not each.others}
    theirs = {each.name: each for each in other if not each.others}
    return [
        Side(part, name or "", mine[name].simulated, theirs[name].simulated, theirs[name].paid)
        for name in theirs
        if name in mine
    ]
