"""The tree against a plain model: the same decisions, the same upline at every instant."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from distrib import clock
from distrib.db import Database
from distrib.errors import DistribError, InvalidInput
from distrib.tree import queries, service
from distrib.tree.audit import CHECKS
from distrib.tree.facts import (
    CycleRefused,
    DistributorExists,
    DistributorNotFound,
    JoinedBeforeSponsor,
    MoveInTheFuture,
    MoveInThePast,
    SelfSponsorship,
    SponsorNotFound,
)
from tests import factories
from tests.tree.helpers import take_order

START = datetime(2025, 6, 1, tzinfo=UTC)
TICK = timedelta(microseconds=1)  # instants as close as the database can tell apart


def instant(tick: int) -> datetime:
    return START + tick * TICK


@dataclass
class Model:
    """Everybody's edges as a list of (from, sponsor); each ends where the next begins."""

    edges: dict[str, list[tuple[int, str | None]]] = field(default_factory=dict)
    latest_order: int | None = None

    def sponsor_at(self, name: str, at: int) -> str | None:
        sponsors = [sponsor for begins, sponsor in self.edges[name] if begins <= at]
        return sponsors[-1] if sponsors else None

    def upline_at(self, name: str, at: int) -> list[str]:
        upline: list[str] = []
        above = self.sponsor_at(name, at)
        while above is not None:
            if above in upline:
                raise CycleRefused("")
            upline.append(above)
            above = self.sponsor_at(above, at)
        return upline

    def instants(self) -> Iterator[int]:
        return (begins for edges in self.edges.values() for begins, _ in edges)

    def enrol(self, now: int, name: str, sponsor: str | None, joined: int | None) -> None:
        if joined is not None and joined > now:
            raise InvalidInput("")
        if sponsor == name:
            raise SelfSponsorship("")
        if name in self.edges:
            first, last = self.edges[name][0], self.edges[name][-1]
            if sponsor not in (first[1], last[1]) or joined not in (None, first[0]):
                raise DistributorExists("")
            return
        if sponsor is not None and sponsor not in self.edges:
            raise SponsorNotFound("")
        above = self.edges[sponsor][0][0] if sponsor is not None else 0
        if joined is not None and joined < above:
            raise JoinedBeforeSponsor("")
        self.edges[name] = [(max(now, above) if joined is None else joined, sponsor)]

    def move(self, now: int, name: str, sponsor: str | None, at: int | None) -> None:
        if at is not None and at > now:
            raise MoveInTheFuture("")
        if name not in self.edges:
            raise DistributorNotFound("")
        if sponsor == name:
            raise SelfSponsorship("")
        if sponsor is not None and sponsor not in self.edges:
            raise SponsorNotFound("")
        begins, present = self.edges[name][-1]
        if sponsor == present:
            return
        earliest = begins + 1
        if self.latest_order is not None:
            earliest = max(earliest, self.latest_order + 1)
        if sponsor is not None:
            earliest = max(earliest, self.edges[sponsor][0][0])
        if at is not None and at < earliest:
            raise MoveInThePast("")
        begins = max(now, earliest) if at is None else at
        self.edges[name].append((begins, sponsor))
        try:
            for each in list(self.instants()):
                self.upline_at(name, max(each, begins))
        except CycleRefused:
            self.edges[name].pop()
            raise


Step = tuple[str, str, str | None, int | None]  # verb, distributor, sponsor, ticks ago
NAMES = st.sampled_from("ABCDE")
SPONSORS = st.none() | NAMES
AGO = st.none() | st.integers(-1, 12)
STEPS = st.lists(
    st.tuples(st.just("enrol"), st.sampled_from("ABCDEFG"), SPONSORS, AGO)
    | st.tuples(st.just("move"), NAMES, SPONSORS, AGO)
    | st.tuples(st.just("move"), NAMES, NAMES, st.integers(0, 12)),
    max_size=30,
)
ORDERS = st.dictionaries(st.integers(0, 30), st.integers(-2, 20), max_size=2)  # step → ticks ago


@given(crowd=st.booleans(), steps=STEPS, orders=ORDERS, probes=st.lists(st.integers(0, 80)))
def test_the_tree_decides_as_the_model_does(
    db: Database, *, crowd: bool, steps: list[Step], orders: dict[int, int], probes: list[int]
) -> None:
    brand, model = factories.brand(db), Model()
    if crowd:  # everybody is there from the start: nearly all the steps that follow are moves
        steps = [("enrol", name, None, 15) for name in "ABCDE"] + steps
    with db.transaction() as session:
        for number, (verb, name, sponsor, ago) in enumerate(steps):
            now = 20 + number
            at = None if ago is None else now - ago
            if number in orders:
                placed = now - orders[number]
                model.latest_order = max(model.latest_order or 0, placed)
                take_order(session, brand, instant(placed))
            expected = actual = None
            try:
                (model.enrol if verb == "enrol" else model.move)(now, name, sponsor, at)
            except DistribError as error:
                expected = type(error)
            try:
                with clock.travel(instant(now)):
                    _do(session, brand.id, (verb, name, sponsor, at))
            except DistribError as error:
                actual = type(error)
            assert actual is expected, (verb, name, sponsor, at, now)
    with db.transaction() as session:
        _compare(session, brand.id, model, probes)
        assert not [finding for check in CHECKS for finding in check(session, brand.id)]


def _do(session: Session, brand_id: int, step: tuple[str, str, str | None, int | None]) -> None:
    verb, name, sponsor, at = step
    when = None if at is None else instant(at)
    if verb == "enrol":
        service.enrol_distributor(
            session,
            brand_id=brand_id,
            external_id=name,
            name="somebody",
            sponsor=sponsor,
            joined_at=when,
        )
    else:
        service.move_distributor(
            session, brand_id=brand_id, distributor=name, sponsor=sponsor, at=when
        )


def _compare(session: Session, brand_id: int, model: Model, probes: list[int]) -> None:
    id_of = {
        name: queries.get_distributor(session, brand_id=brand_id, external_id=name).id
        for name in model.edges
    }
    for name, edges in model.edges.items():
        recorded = queries.sponsorship_history(
            session, brand_id=brand_id, distributor_id=id_of[name]
        )
        assert [(each.valid_from, each.sponsor) for each in recorded] == [
            (instant(begins), sponsor) for begins, sponsor in edges
        ]
        latest = edges[-1][0]
        for tick in {*probes[:4], latest, latest - 1}:
            upline = queries.upline_at(
                session, brand_id=brand_id, distributor_id=id_of[name], at=instant(tick)
            )
            assert [each.external_id for each in upline] == model.upline_at(name, tick)
