"""Simulating plans on past orders: exact to the cent, and nothing is written."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from sqlalchemy import text

from distrib import clock
from distrib.brands.tables import Brand
from distrib.commission import examples, simulation, simulation_read
from distrib.commission.earners import Ledger
from distrib.commission.service import newest_version
from distrib.commission.simulation import (
    Candidate,
    DaysInvalid,
    candidate_of_document,
    candidate_of_version,
    count_orders,
    simulate_plan,
)
from distrib.commission.simulation_report import Report, Share, rows_of
from distrib.commission.simulations import (
    OtherOrders,
    SimulationNotFound,
    compare_simulations,
    get_simulation,
    list_simulations,
    save_simulation,
)
from distrib.db import Database
from distrib.errors import InvalidInput
from distrib.orders.document import LineIn
from distrib.tree.facts import DistributorStatus
from distrib.tree.service import move_distributor
from distrib.tree.standing import set_rank, set_status
from tests import factories
from tests.factories import NOON, days, give_back, ids_of, order, refund, take

FIRST, LAST = date(2026, 3, 1), date(2026, 5, 31)
NAMES = ["cy", "bo", "ann", "dan", "eli"]


def simulate(
    db: Database,
    brand: Brand,
    what: int | dict[str, Any],
    first: date = FIRST,
    last: date = LAST,
    *,
    found_out: bool = False,
) -> Report:
    """Simulate a version or a document.

    :param found_out: as if nothing had been kept of the orders.
    """
    with db.snapshot() as session:
        tried = candidate(session, brand, what)
        if found_out:
            tried = replace(tried, same=frozenset())
        return simulate_plan(session, brand=brand, candidate=tried, first=first, last=last)


def candidate(session: Any, brand: Brand, what: int | dict[str, Any]) -> Candidate:
    """The plan to simulate."""
    if isinstance(what, int):
        return candidate_of_version(session, brand=brand, number=what)
    return candidate_of_document(session, brand=brand, document=what)


def posted(db: Database, brand: Brand) -> int:
    """All that was ever posted."""
    with db.transaction() as session:
        return int(
            session.scalar(
                text("SELECT coalesce(sum(amount), 0) FROM commission WHERE brand_id = :id"),
                {"id": brand.id},
            )
            or 0
        )


def busy(
    db: Database, brand: Brand, document: dict[str, Any], *, refunds: bool, count: int = 60
) -> None:
    """Two months of all sorts of orders under a plan, in order of time."""
    chance = random.Random(str(document.get("name")))
    named = {
        name for rule in document["rules"] for name in rule.get("match", {}).get("distributor", ())
    }
    sponsors: dict[str, str | None] = {
        "cy": None,
        "bo": "cy",
        "ann": "bo",
        "dan": "ann",
        "eli": "dan",
        **dict.fromkeys(sorted(named - set(NAMES)), "bo"),
    }
    factories.enrol(db, brand, sponsors)
    factories.plan(db, brand, plan_document=document)
    people = list(sponsors)
    ranks = [each if isinstance(each, str) else each["name"] for each in document.get("ranks", ())]
    for n in range(count):
        at = NOON + days(n)
        with clock.travel(at), db.transaction() as session:
            who = chance.choice(people)
            if n % 7 == 3 and ranks:
                set_rank(
                    session,
                    brand_id=brand.id,
                    distributor=who,
                    rank=chance.choice([*ranks, None]),
                    changed_by="tests",
                )
            if n % 11 == 5:
                status = chance.choice(list(DistributorStatus))
                set_status(
                    session, brand_id=brand.id, distributor=who, status=status, changed_by="tests"
                )
            if n in (20, 40):
                above = "cy" if n == 20 else "bo"
                move_distributor(session, brand_id=brand.id, distributor="eli", sponsor=above)
        chunk = [
            order(
                f"o-{n}-{i}",
                distributor=None if chance.random() < 0.1 else chance.choice(people),
                buyer=f"u{chance.randrange(count)}",
                channel=chance.choice([None, "live", "shop", "taobao", "jd", "wechat/mini"]),
                placed_at=at + days(i / 100),
                lines=[line(chance) for _ in range(chance.randrange(1, 4))],
                **({"buyer_distributor": chance.choice(people)} if chance.random() < 0.2 else {}),
            )
            for i in range(3)
        ]
        ids_of(take(db, brand, *chunk, now=at + days(0.5)))
        if refunds and n % 4 == 1:
            back = [refund("r", f"o-{n}-0", (1, 0, 100)), refund("r", f"o-{n - 1}-1")]
            give_back(db, brand, *back, now=at + days(0.6))


def line(chance: random.Random) -> LineIn:
    """A line with everything on it."""
    quantity, price = chance.randrange(1, 4), chance.randrange(500, 400_000)
    net = quantity * price - 33
    return LineIn(
        chance.choice(["LJ-250", "GIFT-100", "A", "B"]),
        quantity,
        price,
        chance.choice([None, "tea", "tea/green", "mask", "cups"]),
        discount=33,
        shipping=chance.randrange(500),
        tax=chance.randrange(500),
        other_paid=net // 10,
        cost=chance.choice([None, price // 2]),
        income=chance.choice([None, net - net // 9]),
    )


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream of many chunks."""
    monkeypatch.setattr(simulation_read, "_FIRST_CHUNK", 7)
    monkeypatch.setattr(simulation_read, "MOST_ORDERS", 11)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("name", examples.names())
def test_the_version_in_force_gives_what_was_posted(db: Database, brand: Brand, name: str) -> None:
    busy(db, brand, examples.load(name), refunds=True)
    told = simulate(db, brand, 1)
    assert told.orders == told.recorded == 180
    assert told.simulated == told.paid == posted(db, brand) > 0
    assert (told.differing, told.gaining, told.losing) == (0, 0, 0), told.differ_most
    for shares in (told.categories, told.channels):
        assert sum(each.paid for each in shares) == told.paid
        assert sum(each.sales for each in shares) == told.sales
        assert all(each.paid == each.simulated for each in shares)
    # the document says the same as the version
    assert simulate(db, brand, examples.load(name)) == told


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("name", examples.names())
def test_what_was_not_kept_is_found_out(db: Database, brand: Brand, name: str) -> None:
    """As it would have been then: without refunds that is what was posted."""
    busy(db, brand, examples.load(name), refunds=False, count=45)
    told = simulate(db, brand, 1, found_out=True)
    assert (told.orders, told.recorded) == (135, 0)
    assert (told.simulated, told.differing) == (told.paid, 0), told.differ_most
    # and from the middle of a month on: what came before is looked at, and not reported
    part = simulate(db, brand, 1, date(2026, 3, 20), date(2026, 4, 3), found_out=True)
    assert part.orders == 45
    assert (part.simulated, part.differing) == (part.paid, 0), part.differ_most


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize(
    "name", ["caps", "tiers-by-volume", "new-customers", "ranks", "differential"]
)
def test_many_at_once_and_one_by_one_are_the_same(
    db: Database, brand: Brand, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    document = examples.load(name)
    ladder = {"ranks": document["ranks"]} if "ranks" in document else {}
    busy(db, brand, factories.document() | ladder, refunds=True)
    if name == "caps":
        document["caps"] |= {"distributor_day": "300.00", "distributor_month": "2000.00"}
    at_once = simulate(db, brand, document)
    monkeypatch.setattr(simulation, "Memory", lambda _plan, _forest, known: Ledger({}, known))
    assert simulate(db, brand, document) == at_once
    assert at_once.simulated
    assert at_once.roomless or name != "caps"


def test_two_versions_and_a_plan_between(db: Database, brand: Brand) -> None:
    factories.chain(db, brand)
    ids_of(take(db, brand, order("a", 10_000, channel="web"), order("b", 5_000, channel="shop")))
    later = NOON + days(10)
    factories.plan(db, brand, "8%", "4%", effective_from=later)
    ids_of(take(db, brand, order("c", 20_000, placed_at=later)))
    ids_of(give_back(db, brand, refund("r", "a", (1, 0, 4_000)), now=later))
    assert simulate(db, brand, 1, last=date(2026, 3, 10)).differing == 0
    assert simulate(db, brand, 2, first=date(2026, 3, 11)).differing == 0
    told = simulate(db, brand, factories.document("10%", "5%", "3%"))
    assert told.levels == [(3_100, 1_100 + 1_600), (1_550, 550 + 800), (930, 220)]
    assert (told.sales, told.cost_ppm, told.paid_ppm) == (31_000, 180_000, 137_742)
    assert [(each.distributor, each.simulated, each.paid) for each in told.gain_most] == [
        ("cy", 930, 220),
        ("ann", 3_100, 2_700),
        ("bo", 1_550, 1_350),
    ]
    assert [(o.external_id, o.simulated, o.before) for o in told.differ_most] == [
        ("c", 3_600, 2_400),
        ("a", 1_080, 1_020),
        ("b", 900, 850),
    ]
    assert {each.name: each.sales for each in told.channels} == {
        None: 20_000,
        "web": 6_000,
        "shop": 5_000,
    }


@pytest.mark.parametrize("name", ["caps", "tiers-by-volume", "new-customers"])
def test_what_was_kept_of_some_and_found_out_of_others(
    db: Database, brand: Brand, name: str
) -> None:
    busy(db, brand, examples.load(name), refunds=True, count=20)
    later = NOON + days(25)
    factories.plan(db, brand, "1%", effective_from=later)
    ids_of(take(db, brand, *(order(f"z-{n}", 9_000) for n in range(3)), now=later))
    ids_of(take(db, brand, *(order(f"y-{n}", 9_000, placed_at=later) for n in range(4))))
    told = simulate(db, brand, 1)
    assert (told.orders, told.recorded, told.differing) == (67, 63, 4)
    assert {each.external_id for each in told.differ_most} == {f"y-{n}" for n in range(4)}


def test_a_changed_rate_changes_what_it_says(db: Database, brand: Brand) -> None:
    document = factories.document("10%", "5%", "2%", tea=["12%"])
    factories.plan(db, brand, plan_document=document)
    factories.trio(db, brand)
    lines = [LineIn("a", 1, 10_000), LineIn("b", 1, 5_000, "tea")]
    ids_of(take(db, brand, order("a", lines=lines), order("b", 7_000)))
    document["rules"][1]["rates"] = ["15%"]
    told = simulate(db, brand, document)
    assert told.simulated - told.paid == 150
    assert (told.differing, told.gaining, told.losing) == (1, 1, 0)
    assert told.categories == [Share(None, 17_000, 2_890, 2_890), Share("tea", 5_000, 750, 600)]
    document["rules"].pop(1)
    lost = simulate(db, brand, document)
    assert lost.simulated - lost.paid == 5_000 * 17 // 100 - 600


def test_a_cap_bites(db: Database, brand: Brand) -> None:
    factories.chain(db, brand)
    ids_of(take(db, brand, order("a", 100_000), order("b", 1_000), order("c", 50_000)))
    document = factories.document("10%", "5%", "2%") | {"caps": {"line": "100.00"}}
    told = simulate(db, brand, document)
    assert (told.capped, told.roomless, told.cut) == (1, 0, 7_000)
    assert [(o.external_id, o.simulated, o.before) for o in told.cut_most] == [
        ("a", 10_000, 17_000)
    ]
    document["caps"] = {"distributor_day": "120.00"}
    told = simulate(db, brand, document)
    assert (told.capped, told.roomless, told.cut) == (0, 1, 10_000 + 100 + 5_000 - 12_000)


def test_a_purchase_of_a_distributor_follows_the_simulated_plan(db: Database, brand: Brand) -> None:
    factories.chain(db, brand)
    ids_of(take(db, brand, order("a", 10_000, distributor=None, buyer_distributor="ann")))
    document = factories.document("10%", "5%")
    for mode, levels in (
        ("buyer_first", [1_000, 500]),
        ("sponsor_first", [1_000, 500]),
        ("off", [0, 0]),
    ):
        told = simulate(db, brand, document | {"self_purchase": mode})
        assert [each for each, _ in told.levels[:2]] == levels
        gets = {"sponsor_first": {"cy", "bo"}, "off": set(), "buyer_first": {"ann", "bo"}}[mode]
        earning = [*told.gain_most, *told.lose_most]
        # who gets as much as before is in neither list
        unchanged = {"ann", "bo"} if mode == "buyer_first" else set()
        assert {e.distributor for e in earning if e.simulated} | unchanged >= gets


def test_nothing_is_written(db: Database, brand: Brand) -> None:
    busy(db, brand, examples.load("caps"), refunds=True, count=10)
    tables = ("commission", "transfer", "balance", "open_item", "order_facts", "distributor_day")

    def content() -> list[Any]:
        with db.transaction() as session:
            return [
                session.scalar(
                    text(f"SELECT md5(string_agg(t::text, ',' ORDER BY t::text)) FROM {table} t")
                )
                for table in tables
            ]

    before = content()
    with db.snapshot() as session:
        tried = candidate_of_document(session, brand=brand, document=factories.document("50%"))
        report = simulate_plan(session, brand=brand, candidate=tried, first=FIRST, last=LAST)
    db.run(
        lambda session: save_simulation(
            session, brand=brand, candidate=tried, report=report, created_by="tests"
        )
    )
    assert content() == before


def test_simulations_are_kept_and_compared(db: Database, brand: Brand) -> None:
    factories.chain(db, brand)
    ids_of(take(db, brand, order("a", 10_000), order("b", 10_000, distributor=None)))

    def keep(document: dict[str, Any], last: date = LAST, **more: Any) -> int:
        with db.snapshot() as session:
            tried = candidate(session, brand, document)
            report = simulate_plan(session, brand=brand, candidate=tried, first=FIRST, last=last)
        return db.run(
            lambda session: (
                save_simulation(
                    session, brand=brand, candidate=tried, report=report, created_by="ada", **more
                ).number
            )
        )

    assert keep(factories.document("10%", "5%", "2%")) == 1
    assert keep(factories.document("20%"), name="twenty") == 2
    assert keep(factories.document("20%"), last=date(2026, 4, 1)) == 3
    with pytest.raises(InvalidInput):
        keep(factories.document("20%"), name=" ")
    with db.transaction() as session:
        three, two, one = list_simulations(session, brand_id=brand.id)
        assert (one.name, two.name, two.created_by) == ("plan", "twenty", "ada")
        report = Report.of(two.report)
        assert (report.simulated, report.paid, report.differing) == (2_000, 1_700, 1)
        assert Report.of(report.document()) == report
        assert get_simulation(session, brand_id=brand.id, number=2).id == two.id
        with pytest.raises(SimulationNotFound):
            get_simulation(session, brand_id=brand.id, number=4)
        sides = {(s.part, s.name): (s.one, s.other, s.paid) for s in compare_simulations(one, two)}
        assert sides["total", ""] == (1_700, 2_000, 1_700)
        assert sides["level", "2"] == (500, 0, 500)
        with pytest.raises(OtherOrders):
            compare_simulations(one, three)
    rows = rows_of(report)
    assert rows[0] == ("total", "", 20_000, 2_000, 1_700)
    assert ("loses", "bo", None, 0, 500) in rows


def test_days_are_those_of_the_brand(db: Database, brand: Brand) -> None:
    factories.chain(db, brand)
    late = NOON + days(11.99 / 24)  # a moment before midnight in Shanghai
    ids_of(take(db, brand, order("a", 10_000, placed_at=late)))
    for first, last, count in (
        (date(2026, 3, 1), date(2026, 3, 1), 1),
        (date(2026, 3, 2), date(2026, 3, 9), 0),
        (date(2026, 2, 1), date(2026, 2, 28), 0),
    ):
        told = simulate(db, brand, 1, first, last)
        assert told.orders == count
        with db.snapshot() as session:
            assert count_orders(session, brand=brand, first=first, last=last) == count
    assert simulate(db, brand, 1, date(2026, 4, 1)).cost_ppm is None
    with pytest.raises(DaysInvalid):
        simulate(db, brand, 1, LAST, FIRST)


def test_orders_before_any_plan_paid_nothing(db: Database, brand: Brand) -> None:
    factories.trio(db, brand)
    ids_of(take(db, brand, order("a", 10_000)))
    told = simulate(db, brand, factories.document("10%"))
    assert (told.simulated, told.paid, told.differing) == (1_000, 0, 1)


def test_first_orders_are_known_without_counting(db: Database, brand: Brand) -> None:
    """A brand whose plans never asked has no list of customers."""
    factories.chain(db, brand, "10%")
    for n, buyer in enumerate(["u", "u", "v", None]):
        ids_of(take(db, brand, order(f"o-{n}", 10_000, buyer=buyer, placed_at=NOON + days(n))))
    document = factories.document("10%")
    document["bonuses"] = [{"kind": "first_order", "rates": ["1%"]}]
    assert simulate(db, brand, document).simulated == 4_000 + 200


def test_progress_is_told(db: Database, brand: Brand, small_chunks: Callable[[], None]) -> None:
    factories.chain(db, brand)
    ids_of(take(db, brand, *(order(f"o-{n}", 1_000) for n in range(30))))
    seen: list[int] = []
    with db.snapshot() as session:
        version = newest_version(session, brand_id=brand.id)
        assert version is not None
        tried = candidate_of_version(session, brand=brand, number=version.number)
        simulate_plan(
            session, brand=brand, candidate=tried, first=FIRST, last=LAST, on_progress=seen.append
        )
    assert seen == sorted(seen)
    assert seen[-1] == 30
    assert len(seen) > 2
