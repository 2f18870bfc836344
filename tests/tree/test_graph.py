"""The tree as a graph: analysis and export."""

from __future__ import annotations

import itertools
from pathlib import Path

import networkx as nx
import pytest

from distrib.brands.tables import Brand
from distrib.db import Database
from distrib.tree.facts import DistributorNotFound
from distrib.tree.graph import Subtree, analyse, downline, export_graphml, load_graph
from tests import factories
from tests.tree.helpers import day, enrol, enrol_all, move


def load(db: Database, brand: Brand, at: float | None = None) -> nx.DiGraph:
    with db.transaction() as session:
        return load_graph(session, brand_id=brand.id, at=None if at is None else day(at))


def words(graph: nx.DiGraph) -> str:
    """The graph as ``"A A>B"``."""
    name = nx.get_node_attributes(graph, "external_id")
    roots = [name[node] for node in graph if not graph.in_degree(node)]
    return " ".join(sorted([*roots, *(f"{name[a]}>{name[b]}" for a, b in graph.edges)]))


def test_the_graph_of_any_instant(db: Database, brand: Brand) -> None:
    enrol_all(db, factories.brand(db), "T T>U")
    enrol_all(db, brand, "A A>B B>C X")
    enrol(db, brand, "D", "C", joined_at=day(5))
    move(db, brand, "B", "X", at=day(10))
    assert words(load(db, brand)) == "A B>C C>D X X>B"
    for at, expected in (
        (-1, ""),
        (0, "A A>B B>C X"),
        (5, "A A>B B>C C>D X"),
        (10, "A B>C C>D X X>B"),
    ):
        assert words(load(db, brand, at)) == expected
    node = next(data for _, data in load(db, brand).nodes.items() if data["external_id"] == "D")
    assert node == {"external_id": "D", "name": "D", "status": "active", "joined_at": day(5)}


def test_the_report(db: Database, brand: Brand) -> None:
    enrol_all(db, brand, "A A>B A>C A>D D>E E>F X")
    graph = load(db, brand)
    report = analyse(graph)
    assert (report.distributors, report.roots, report.is_forest) == (7, 2, True)
    assert (report.cycles, report.max_depth, report.depths) == ([], 3, [2, 3, 1, 1])
    assert (report.max_breadth, round(report.mean_breadth, 3)) == (3, 1.667)
    assert [(each.external_id, each.downline) for each in report.largest] == [
        ("A", 5), ("D", 2), ("E", 1), ("B", 0), ("C", 0), ("F", 0), ("X", 0),
    ]  # fmt: skip
    assert nx.is_branching(graph)


def test_the_report_of_nobody() -> None:
    report = analyse(nx.DiGraph())
    assert (report.distributors, report.roots, report.is_forest) == (0, 0, True)
    assert (report.max_depth, report.depths, report.mean_breadth) == (0, [], 0.0)
    assert report.largest == []


@pytest.mark.parametrize(
    "edges, cycles",
    [
        ([(1, 2), (2, 1)], [[1, 2]]),
        ([(1, 1)], [[1]]),
        ([(1, 2), (2, 3), (3, 1), (3, 4), (5, 6)], [[1, 2, 3]]),
        ([(1, 2), (2, 1), (3, 4), (4, 3)], [[1, 2], [3, 4]]),
        ([(1, 3), (2, 3)], []),  # two sponsors
        ([(1, 2), (2, 1), (3, 1)], [[1, 2]]),
    ],
)
def test_what_is_no_forest(edges: list[tuple[int, int]], cycles: list[list[int]]) -> None:
    graph = nx.DiGraph(edges)
    report = analyse(graph)
    assert not report.is_forest
    assert sorted(map(sorted, report.cycles)) == cycles
    for cycle in report.cycles:
        assert all(graph.has_edge(a, b) for a, b in itertools.pairwise(cycle))
    assert len(report.largest) == len(graph)


def test_the_report_agrees_with_networkx_on_random_trees() -> None:
    for seed in range(5):
        tree = nx.random_labeled_rooted_tree(200, seed=seed)
        graph = nx.bfs_tree(tree, tree.graph["root"])
        report = analyse(graph)
        distances = nx.single_source_shortest_path_length(graph, tree.graph["root"])
        assert report.max_depth == max(distances.values())
        assert sum(report.depths) == 200
        assert report.largest[0] == Subtree(tree.graph["root"], "", 199)
        for each in report.largest:
            assert each.downline == len(nx.descendants(graph, each.distributor_id))


def test_downline(db: Database, brand: Brand) -> None:
    enrol_all(db, brand, "A A>B B>C C>D A>E X")
    graph = load(db, brand)
    id_of = {data["external_id"]: node for node, data in graph.nodes.items()}
    assert words(downline(graph, id_of["A"])) == "A A>B A>E B>C C>D"
    assert words(downline(graph, id_of["B"], depth=1)) == "B B>C"
    assert words(downline(graph, id_of["B"], depth=0)) == "B"
    assert words(downline(graph, id_of["X"])) == "X"
    with pytest.raises(DistributorNotFound):
        downline(graph, 7)


def test_graphml_can_be_read_again(db: Database, brand: Brand, tmp_path: Path) -> None:
    enrol(db, brand, "A", name='<Ann> & "Bo"\u2028 张伟 👩‍👧')
    enrol(db, brand, "B", "A", joined_at=day(1.5))
    graph = load(db, brand)
    nx.set_node_attributes(graph, {node: n for n, node in enumerate(graph)}, "number")
    nx.set_node_attributes(graph, dict.fromkeys(list(graph)[:1], 0.5), "share")
    nx.set_node_attributes(graph, dict(zip(graph, [True, False], strict=True)), "big")
    nx.set_node_attributes(graph, dict(zip(graph, [1, "one"], strict=True)), "mixed")
    nx.set_node_attributes(graph, dict(zip(graph, [None, "x\x01"], strict=True)), "odd")
    path = tmp_path / "tree.graphml"
    export_graphml(graph, path)
    again = nx.read_graphml(path)
    assert again.is_directed()
    assert [data["external_id"] for _, data in again.nodes.items()] == ["A", "B"]
    ann, bo = again.nodes.values()
    assert (ann["name"], ann["status"]) == ('<Ann> & "Bo"\u2028 张伟 👩‍👧', "active")
    assert bo["joined_at"] == "2025-01-02T12:00:00+00:00"
    assert (ann["number"], ann["share"], ann["big"], ann["mixed"]) == (0, 0.5, True, "1")
    assert (bo["number"], bo["big"], bo["mixed"], bo["odd"]) == (1, False, "one", "x?")
    assert [tuple(name[:4] for name in edge) for edge in again.edges] == [("dst_", "dst_")]
    export_graphml(nx.DiGraph(), path)
    assert not len(nx.read_graphml(path))
