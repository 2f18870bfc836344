"""A brand's tree as a networkx graph: for analysis and export, not for the hot path."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import networkx as nx
from sqlalchemy.orm import Session

from distrib import ids
from distrib.db import cursor
from distrib.tree import facts
from distrib.tree.circles import find_circles
from distrib.tree.facts import DistributorNotFound

_LARGEST = 10

_DISTRIBUTORS = """
SELECT id, external_id, name, status, joined_at FROM distributor
WHERE brand_id = %(brand_id)s AND (%(at)s::timestamptz IS NULL OR joined_at <= %(at)s)
ORDER BY id
"""
_EDGES = """
SELECT sponsor_id, distributor_id FROM sponsorship
WHERE brand_id = %(brand_id)s AND sponsor_id IS NOT NULL AND CASE
    WHEN %(at)s::timestamptz IS NULL THEN valid_to IS NULL
    ELSE valid_from <= %(at)s AND (valid_to IS NULL OR valid_to > %(at)s) END
ORDER BY distributor_id
"""


_GRAPHML_HEAD = """<?xml version="1.0" encoding="utf-8"?>
<graphml xmlns="http://graphml.graphdrawing.org/xmlns">
"""
_GRAPHML_TYPES: dict[type, str] = {bool: "boolean", int: "long", float: "double"}


@dataclass(frozen=True)
class Subtree:
    """A distributor and how many stand below it, at any depth."""

    distributor_id: int
    external_id: str
    downline: int


@dataclass(frozen=True)
class TreeReport:
    """What a brand's graph looks like.

    ``cycles`` are lists of distributor ids, each from sponsor to distributor; a forest has none.
    ``depths[n]`` counts those who have n above them, roots at 0. Breadth is the number of those
    directly below; its mean is over those who have any.
    """

    distributors: int
    roots: int
    is_forest: bool
    cycles: list[list[int]]
    max_depth: int
    depths: list[int]
    max_breadth: int
    mean_breadth: float
    largest: list[Subtree]


def load_graph(session: Session, *, brand_id: int, at: datetime | None = None) -> nx.DiGraph:
    """The brand's distributors, with an edge from each sponsor to each it sponsors.

    Nodes are ids, with ``external_id``, ``name``, ``status`` (the present one) and ``joined_at``.

    :param at: the instant of which the graph is wanted; None for the present.
    """
    graph = nx.DiGraph()
    cur = cursor(session)
    parameters = {"brand_id": brand_id, "at": at}
    cur.execute(_DISTRIBUTORS, parameters)
    graph.add_nodes_from(
        (
            distributor_id,
            {"external_id": external_id, "name": name, "status": status, "joined_at": joined_at},
        )
        for distributor_id, external_id, name, status, joined_at in cur
    )
    cur.execute(_EDGES, parameters)
    graph.add_edges_from(cur)
    return graph


def analyse(graph: nx.DiGraph) -> TreeReport:
    """Look at the whole graph once: is it a forest, how deep, how broad, where is it largest."""
    roots = [node for node, sponsors in graph.in_degree if sponsors == 0]
    layers = list(nx.bfs_layers(graph, roots)) if roots else []
    breadths = [below for _, below in graph.out_degree if below]
    # in a forest, and only there, everybody has one sponsor at most and hangs on a root
    single = all(sponsors <= 1 for _, sponsors in graph.in_degree)
    is_forest = single and sum(map(len, layers)) == len(graph)
    return TreeReport(
        distributors=len(graph),
        roots=len(roots),
        is_forest=is_forest,
        cycles=[] if is_forest else _cycles(graph),
        max_depth=max(len(layers) - 1, 0),
        depths=[len(layer) for layer in layers],
        max_breadth=max(breadths, default=0),
        mean_breadth=sum(breadths) / len(breadths) if breadths else 0.0,
        largest=_largest(graph, layers),
    )


def _cycles(graph: nx.DiGraph) -> list[list[int]]:
    if all(sponsors <= 1 for _, sponsors in graph.in_degree):
        return find_circles({below: sponsor for sponsor, below in graph.edges})
    # a graph that was not loaded from the database: a knot is named by its members
    return [
        sorted(knot)
        for knot in nx.strongly_connected_components(graph)
        if len(knot) > 1 or any(graph.has_edge(node, node) for node in knot)
    ]


def _largest(graph: nx.DiGraph, layers: Iterable[list[int]]) -> list[Subtree]:
    downline = dict.fromkeys(graph, 0)
    for layer in reversed(list(layers)):
        for node in layer:
            for sponsor in graph.predecessors(node):
                downline[sponsor] += downline[node] + 1
    largest = heapq.nlargest(_LARGEST, downline, key=lambda node: (downline[node], -node))
    return [
        Subtree(node, graph.nodes[node].get("external_id", ""), downline[node]) for node in largest
    ]


def downline(graph: nx.DiGraph, distributor_id: int, depth: int | None = None) -> nx.DiGraph:
    """The part of the graph that begins at a distributor: itself and all below it.

    :param depth: how many levels down; None for all.
    :raises DistributorNotFound: when the distributor is not in the graph.
    """
    if distributor_id not in graph:
        raise DistributorNotFound(
            f"distributor {distributor_id} is not in this graph", field="distributor"
        )
    reached = nx.single_source_shortest_path_length(graph, distributor_id, cutoff=depth)
    return graph.subgraph(reached).copy()


def export_graphml(graph: nx.DiGraph, path: Path) -> None:
    """Write the graph for Gephi, yEd and their like. Nodes go by their public ids.

    Written line by line: networkx's own writer makes an element in memory of every attribute of
    every node, and takes a multiple of the time. ``nx.read_graphml`` reads it.
    """
    kinds = _kinds(graph)
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(_GRAPHML_HEAD)
        for key, kind in kinds.items():
            file.write(
                f'<key id={quoteattr(key)} for="node" attr.name={quoteattr(key)}'
                f' attr.type="{kind}"/>\n'
            )
        file.write('<graph edgedefault="directed">\n')
        names = {node: ids.public("dst", node) for node in graph}
        heads = {key: f"<data key={quoteattr(key)}>" for key in kinds}
        for node, attributes in graph.nodes.items():
            data = "".join(
                f"{heads[key]}{_plain(value)}</data>"
                for key, value in attributes.items()
                if value is not None
            )
            file.write(f'<node id="{names[node]}">{data}</node>\n')
        for sponsor, below in graph.edges:
            file.write(f'<edge source="{names[sponsor]}" target="{names[below]}"/>\n')
        file.write("</graph>\n</graphml>\n")


def _kinds(graph: nx.DiGraph) -> dict[str, str]:
    """GraphML's type of each attribute that a node has; text, unless all its values are alike."""
    found: dict[str, set[str]] = {}
    for attributes in graph.nodes.values():
        for key, value in attributes.items():
            if value is not None:
                found.setdefault(key, set()).add(_GRAPHML_TYPES.get(type(value), "string"))
    return {key: kinds.pop() if len(kinds) == 1 else "string" for key, kinds in found.items()}


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bool):
        return str(value).lower()
    return escape(facts.printable(str(value)))
