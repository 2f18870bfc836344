"""``distrib tree``."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import click
import networkx as nx
from rich.text import Text

from distrib import ids
from distrib.cli.desk import Desk, with_brand
from distrib.cli.output import facts, note, table
from distrib.cli.times import Instant
from distrib.tree import graph as graphs
from distrib.tree.queries import get_distributor

_BAR = 40  # columns


@click.group()
def tree() -> None:
    """Analyse and export the referral tree."""


def _load(desk: Desk, at: datetime | None, below: str | None = None) -> nx.DiGraph:
    with desk.database.transaction() as session:
        brand = desk.brand(session)
        graph = graphs.load_graph(session, brand_id=brand.id, at=at)
        if below is None:
            return graph
        top = get_distributor(session, brand_id=brand.id, external_id=below)
    return graphs.downline(graph, top.id)


@tree.command("report")
@click.option("--at", type=Instant(), help="As of when; default: now.")
@click.option("--below", metavar="EXTERNAL_ID", help="Only this distributor and its downline.")
@with_brand
def report(desk: Desk, at: datetime | None, below: str | None) -> None:
    """Say how large, deep and broad the tree is, and whether it is one."""
    found = graphs.analyse(_load(desk, at, below))
    most = max(found.depths, default=1)
    desk.show(
        {
            "distributors": found.distributors,
            "roots": found.roots,
            "is_forest": found.is_forest,
            "cycles": [[ids.public("dst", each) for each in cycle] for cycle in found.cycles],
            "max_depth": found.max_depth,
            "depths": found.depths,
            "max_breadth": found.max_breadth,
            "mean_breadth": round(found.mean_breadth, 2),
            "largest": [
                {"external_id": each.external_id, "downline": each.downline}
                for each in found.largest
            ],
        },
        facts(
            [
                ("distributors", found.distributors),
                ("roots", found.roots),
                ("deepest", f"{found.max_depth} above"),
                (
                    "directly below",
                    f"{found.mean_breadth:.1f} on average, {found.max_breadth} at most",
                ),
                (
                    "a forest",
                    Text("yes", "green")
                    if found.is_forest
                    else Text(f"NO, {len(found.cycles)} circles", "bold red"),
                ),
            ]
        ),
        table(
            ">levels above|>distributors|",
            (
                (depth, count, Text("█" * -(-count * _BAR // most), "cyan"))
                for depth, count in enumerate(found.depths)
            ),
            title="How deep they stand",
        ),
        table(
            "distributor|>downline",
            ((each.external_id, each.downline) for each in found.largest),
            title="The largest downlines",
        ),
    )


@tree.command("export")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--format", "format_", type=click.Choice(["graphml"]), default="graphml")
@click.option("--at", type=Instant(), help="As of when; default: now.")
@click.option("--below", metavar="EXTERNAL_ID", help="Only this distributor and its downline.")
@with_brand
def export(desk: Desk, file: Path, *, format_: str, at: datetime | None, below: str | None) -> None:
    """Write the tree to a file that Gephi, yEd and networkx read."""
    graph = _load(desk, at, below)
    try:
        graphs.export_graphml(graph, file)
    except OSError as error:
        raise click.FileError(str(file), error.strerror) from None
    size = {"distributors": len(graph), "sponsorships": graph.number_of_edges()}
    desk.done(
        {"file": file, "format": format_, **size},
        f"{file}: {len(graph):,} distributors, {graph.number_of_edges():,} sponsorships.",
    )
    if not len(graph):
        note("The tree is empty.")
