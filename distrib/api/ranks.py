"""Ranks: given by hand, or earned by a month's sales."""

from __future__ import annotations

from datetime import date
from typing import Any

from flask import Response
from marshmallow import fields
from sqlalchemy.orm import Session

from distrib.api.context import caller, database
from distrib.api.distributors import DistributorSchema, find, tell
from distrib.api.fields import Choice, Day, Instant, Objects, Shape, Text, Whole
from distrib.api.idempotency import Answer, transact
from distrib.api.routes import PREFIX, Routes
from distrib.brands.tables import Brand
from distrib.commission.ranks import evaluate_ranks
from distrib.tree.facts import DistributorStatus
from distrib.tree.standing import BY_HAND, BY_VOLUME, list_standings, set_rank

routes = Routes(
    "Ranks",
    __name__,
    url_prefix=PREFIX,
    description="A plan names the ranks and what they are worth. A rank holds from an instant on:"
    " orders taken before keep what they paid.",
)

_RANK = {"description": "A rank of the plan; null takes it away.", "example": "gold"}


class RankSchema(Shape):
    """The rank to give."""

    rank = Text(60, required=True, allow_none=True, metadata=_RANK)


class StandingSchema(Shape):
    """What a distributor was from an instant on."""

    valid_from = Instant(required=True)
    status = Choice(*DistributorStatus, required=True)
    rank = Text(required=True, allow_none=True, metadata=_RANK)
    source = Choice(BY_HAND, BY_VOLUME, required=True)
    changed_by = Text(required=True, metadata={"example": "back office"})


class StandingsSchema(Shape):
    """All that a distributor was, newest first; before that it was active and had no rank."""

    items = Objects(StandingSchema, required=True)


class EvaluationInSchema(Shape):
    """Which month to evaluate."""

    month = Day(
        load_default=None,
        metadata={"description": "Any day of it. Left out: the last whole month."},
    )


class EvaluationSchema(Shape):
    """What evaluating a month did."""

    month = Day(required=True)
    earned = fields.Dict(
        required=True,
        metadata={
            "description": "How many distributors sold enough, by rank.",
            "example": {"silver": 12, "gold": 3},
        },
    )
    changed = Whole(
        required=True, metadata={"description": "Standings that are different now.", "example": 4}
    )


_distributor, _evaluation = DistributorSchema(), EvaluationSchema()


@routes.operation(
    "POST",
    "/distributors/<ref>/rank",
    {200: (DistributorSchema, "The distributor has the rank")},
    body=RankSchema(),
    example={"rank": "gold"},
    problems=(404,),
)
def give_rank(mine: Brand, given: dict[str, Any], ref: str) -> Response:
    """Give a distributor a rank by hand.

    From now on sales do not change it, until it is taken away.
    """

    def work(session: Session) -> Answer:
        changed = set_rank(
            session,
            brand_id=mine.id,
            distributor=find(session, mine, ref).external_id,
            rank=given["rank"],
            changed_by=caller().principal.name,
        )
        return Answer(200, _distributor.dump(tell(session, changed)[0]))

    return transact(work)


@routes.operation(
    "GET",
    "/distributors/<ref>/standings",
    {200: (StandingsSchema, "What it was")},
    problems=(404,),
)
def show_standings(mine: Brand, ref: str) -> dict[str, Any]:
    """Show a distributor's status and rank over time."""
    with database().transaction() as session:
        found = find(session, mine, ref)
        return {"items": list_standings(session, brand_id=mine.id, distributor_id=found.id)}


@routes.operation(
    "POST",
    "/ranks/evaluate",
    {200: (EvaluationSchema, "The month is evaluated")},
    body=EvaluationInSchema(),
    example={"month": "2026-10-01"},
    problems=(409,),
)
def evaluate(mine: Brand, given: dict[str, Any]) -> Response:
    """Give each distributor the rank that its sales of a month earn.

    Ranks given by hand stay. Evaluating a month again changes only what refunds have changed.
    """
    month: date | None = given["month"]

    def work(session: Session) -> Answer:
        done = evaluate_ranks(session, brand=mine, month=month, changed_by=caller().principal.name)
        return Answer(200, _evaluation.dump(done))

    return transact(work)
