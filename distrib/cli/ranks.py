"""``distrib ranks``."""

from __future__ import annotations

from datetime import date

import click

from distrib.cli.desk import Desk, by_option, with_brand
from distrib.cli.output import facts, local, table
from distrib.cli.times import Day
from distrib.commission.ranks import evaluate_ranks
from distrib.errors import InvalidInput
from distrib.tree.queries import get_distributor
from distrib.tree.standing import list_standings, set_rank


@click.group()
def ranks() -> None:
    """Give distributors ranks, by hand or by what they sell."""


@ranks.command("set")
@click.argument("external_id")
@click.argument("rank", required=False)
@click.option("--none", "nothing", is_flag=True, help="Take the rank away.")
@by_option
@with_brand
def set_(desk: Desk, external_id: str, rank: str | None, nothing: bool, by: str) -> None:
    """Give a distributor a rank by hand; sales do not change it from then on."""
    if (rank is None) != nothing:
        raise InvalidInput("say which rank, or --none", field="RANK")
    with desk.database.transaction() as session:
        brand = desk.brand(session)
        set_rank(session, brand_id=brand.id, distributor=external_id, rank=rank, changed_by=by)
    desk.done(
        {"external_id": external_id, "rank": rank},
        f"{external_id} {f'is {rank}' if rank else 'has no rank'} from now on.",
    )


@ranks.command("evaluate")
@click.option("--month", type=Day(), help="Any day of it; default: the last whole month.")
@by_option
@with_brand
def evaluate(desk: Desk, month: date | None, by: str) -> None:
    """Give each distributor the rank that its sales of a month earn.

    Ranks given by hand stay.
    """
    with desk.database.transaction() as session:
        brand = desk.brand(session)
        done = evaluate_ranks(session, brand=brand, month=month, changed_by=by)
    desk.show(
        {"month": done.month, "earned": done.earned, "changed": done.changed},
        f"{done.month:%B %Y}: {done.changed:,} distributors have another rank from now on.",
        facts([(name, f"{count:,} sold enough") for name, count in done.earned.items()]),
    )


@ranks.command("history")
@click.argument("external_id")
@with_brand
def history(desk: Desk, external_id: str) -> None:
    """Show a distributor's status and rank over time, newest first."""
    with desk.database.transaction() as session:
        brand = desk.brand(session)
        found = get_distributor(session, brand_id=brand.id, external_id=external_id)
        rows = list_standings(session, brand_id=brand.id, distributor_id=found.id)
    names = ("valid_from", "status", "rank", "source", "changed_by")
    desk.show(
        [{name: getattr(row, name) for name in names} for row in rows],
        table(
            "from|status|rank|given by|changed by",
            (
                (
                    local(row.valid_from, brand.time_zone),
                    row.status,
                    row.rank or "",
                    "hand" if row.source == "hand" else "sales",
                    row.changed_by,
                )
                for row in rows
            ),
        )
        if rows
        else f"{external_id} has always been active, without a rank.",
    )
