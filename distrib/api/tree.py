"""The referral tree as a whole."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from distrib.api.context import database
from distrib.api.fields import Instant, Objects, PublicId, Shape, Text, Whole, Yes
from distrib.api.routes import PREFIX, Routes
from distrib.brands.tables import Brand
from distrib.tree.graph import TreeReport, analyse, load_graph

routes = Routes(
    "Tree",
    __name__,
    url_prefix=PREFIX,
    description="The whole referral tree: is it sound, how deep, how broad, where is it largest.",
)


class TreeQuery(Shape):
    """Of when."""

    at = Instant(load_default=None, metadata={"description": "Left out: the present."})


class SubtreeSchema(Shape):
    """A distributor and how many stand below it, at any depth."""

    distributor_id = PublicId("dst", required=True)
    external_id = Text(required=True, metadata={"example": "mei"})
    downline = Whole(required=True, metadata={"example": 1834})


class TreeReportSchema(Shape):
    """What the tree looks like."""

    distributors = Whole(required=True, metadata={"example": 10_000})
    roots = Whole(required=True, metadata={"example": 12})
    is_forest = Yes(
        required=True,
        metadata={
            "description": "Everybody has one sponsor at most, and no cycle.",
            "example": True,
        },
    )
    cycles = fields.List(
        fields.List(PublicId("dst")),
        required=True,
        metadata={"description": "Always empty in a sound tree.", "example": []},
    )
    max_depth = Whole(required=True, metadata={"example": 9})
    depths = fields.List(
        fields.Integer(),
        required=True,
        metadata={"description": "How many have 0, 1, 2 … above them.", "example": [12, 480, 9508]},
    )
    max_breadth = Whole(required=True, metadata={"example": 210})
    mean_breadth = fields.Float(required=True, metadata={"example": 4.2})
    largest = Objects(SubtreeSchema, required=True)


@routes.operation("GET", "/tree/report", {200: (TreeReportSchema, "The report")}, query=TreeQuery)
def report_on_tree(mine: Brand, query: dict[str, Any]) -> TreeReport:
    """Analyse the brand's tree.

    At present or as of an instant. It looks at every distributor: seconds for a large brand, so
    not for every page view.
    """
    with database().snapshot() as session:
        graph = load_graph(session, brand_id=mine.id, at=query["at"])
    return analyse(graph)
