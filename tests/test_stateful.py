"""The whole house against a plain model: anything may happen, in any order.

The model keeps dicts and computes with fractions. Of every order it knows what each line has paid
each level; of every amount that an order or a refund gave somebody it knows where that is: held,
open, in a batch, or paid. Balances are nothing but sums over those items.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import text

from distrib import clock, jobs
from distrib.brands.tables import Brand
from distrib.commission.intake import NotYetJoined, UnknownDistributor, take_orders
from distrib.commission.outcome import Outcome, Status
from distrib.commission.refunds import RefundExceedsOrder, UnknownLine, take_refunds
from distrib.commission.service import publish_plan
from distrib.config import Settings
from distrib.db import Database
from distrib.ledger.service import fold
from distrib.orders.document import LineIn, OrderIn, RefundIn
from distrib.settlement.audit import audit_brand
from distrib.settlement.batch import (
    NothingToSettle,
    approve_batch,
    cancel_batch,
    draw_up_batch,
    mature_for_batch,
    submit_batch,
)
from distrib.settlement.maturation import mature
from distrib.settlement.payouts import release_payout, void_payout
from distrib.settlement.running import run_batch
from distrib.settlement.statement import Balances, read_balance_sheet
from distrib.tree.facts import CycleRefused
from distrib.tree.service import (
    enrol_distributor,
    move_distributor,
    reactivate_distributor,
    suspend_distributor,
)
from tests import factories
from tests.commission import oracle
from tests.commission.oracle import round_fraction

BEGINNING = datetime(2026, 3, 1, 3, 30, tzinfo=UTC)
HOLD_DAYS = 7
MINIMUM = 500
LEVELS = 3

PLANS: list[dict[str, Any]] = [
    {"rounding": "half_up", "rules": [{"rates": ["10%", "5%", "2%"]}]},
    {
        "rounding": "half_even",
        "rules": [
            {"rates": ["7.5%", "33.3333%"]},
            {"match": {"category": ["tea"]}, "rates": ["12.5%", "0%", "2.5%"]},
            {"match": {"sku": ["A", "GIFT"]}, "rates": ["0%"]},
        ],
    },
    {"rounding": "down", "rules": [{"match": {"category": ["tea"]}, "rates": ["50%", "30%"]}]},
]


# -- the model ------------------------------------------------------------------------------------


@dataclass
class Item:
    """What one order or refund gave one distributor, and where it is now."""

    name: str
    amount: int
    available_on: date
    place: str  # "held", "open", "reserved" or "paid"
    batch: int = 0


@dataclass
class ModelLine:
    """A line: what is left of it, and what it has paid each level."""

    sku: str
    category: str | None
    units: int
    money: int
    paid: list[int] = field(default_factory=lambda: [0] * LEVELS)


@dataclass
class ModelOrder:
    """An order as it was decided."""

    upline: tuple[str | None, ...]
    plan: dict[str, Any] | None
    available_on: date
    lines: list[ModelLine]
    refunds: set[str] = field(default_factory=set)


Returns = Sequence[tuple[int, int, int | None]] | None
"""Line, units and money that come back; None is all that is left."""


def day_of(at: datetime) -> date:
    """The day in Shanghai, where it is always eight hours later than in UTC."""
    return (at + timedelta(hours=8)).date()


class Model:
    """All that has happened, as plain data."""

    def __init__(self) -> None:
        self.edges: dict[str, list[tuple[datetime, str | None]]] = {}
        self.suspended: set[str] = set()
        self.plans: list[tuple[datetime, dict[str, Any]]] = []
        self.orders: dict[str, ModelOrder] = {}
        self.waiting: dict[tuple[str, str], tuple[datetime, Returns]] = {}
        self.wrong: set[tuple[str, str]] = set()
        self.items: list[Item] = []
        self.matured_through = date(1970, 1, 1)

    # the tree

    def sponsor(self, name: str, at: datetime) -> str | None:
        found = [sponsor for begins, sponsor in self.edges[name] if begins <= at]
        return found[-1] if found else None

    def joined(self, name: str) -> datetime:
        return self.edges[name][0][0]

    def is_below(self, name: str, above: str, at: datetime) -> bool:
        step: str | None = name
        while step is not None:
            if step == above:
                return True
            step = self.sponsor(step, at)
        return False

    # orders

    def take(self, it: OrderIn, now: datetime) -> type[Exception] | None:
        """Take an order, and the refunds that waited for it; or say why not."""
        at = min(it.placed_at, now)
        upline: tuple[str | None, ...] = (None, None, None)
        name = it.distributor or (it.code and it.code.removeprefix("code-"))
        if name is not None:
            if name not in self.edges:
                return UnknownDistributor
            if at < self.joined(name):
                return NotYetJoined
            second = self.sponsor(name, at)
            upline = (name, second, None if second is None else self.sponsor(second, at))
        in_force = [document for begins, document in self.plans if begins <= at]
        made = ModelOrder(
            upline=upline,
            plan=in_force[-1] if in_force else None,
            available_on=day_of(at) + timedelta(days=HOLD_DAYS),
            lines=[
                ModelLine(x.sku, x.category, x.quantity, x.quantity * x.unit_price - x.discount)
                for x in it.lines
            ],
        )
        self.orders[it.external_id] = made
        self._pay(made)
        awaited = sorted(
            (received, refund_id)
            for (order_id, refund_id), (received, _) in self.waiting.items()
            if order_id == it.external_id
        )
        for _, refund_id in awaited:
            key = (it.external_id, refund_id)
            if self.give_back(*key, self.waiting.pop(key)[1]) is not None:
                self.wrong.add(key)
        return None

    def give_back(self, order_id: str, refund_id: str, returns: Returns) -> type[Exception] | None:
        """Take a refund of an order that is here; or say why not."""
        its = self.orders[order_id]
        if returns is None:
            returns = [
                (no, x.units, x.money) for no, x in enumerate(its.lines, 1) if x.units or x.money
            ]
            if not returns:
                return RefundExceedsOrder
        taken: list[tuple[ModelLine, int, int]] = []
        for no, units, stated in returns:
            if no > len(its.lines):
                return UnknownLine
            line = its.lines[no - 1]
            if units > line.units:
                return RefundExceedsOrder
            money = stated
            if money is None:
                money = round_fraction(Fraction(line.money * units, line.units), "half_up")
            if money > line.money:
                return RefundExceedsOrder
            taken.append((line, units, money))
        for line, units, money in taken:
            line.units -= units
            line.money -= money
        its.refunds.add(refund_id)
        self._pay(its)
        return None

    def _pay(self, its: ModelOrder) -> None:
        """Give each level what the order now pays more, or less, than before."""
        place = "held" if its.available_on > self.matured_through else "open"
        totals = [0] * LEVELS
        lines = tuple(oracle.Line(line.sku, line.category, line.money) for line in its.lines)
        whole = oracle.Order(lines, people=tuple(its.upline))
        amounts = None if its.plan is None else oracle.price(its.plan, whole).amounts
        for number, line in enumerate(its.lines):
            pays = [0] * LEVELS if amounts is None else amounts[number]
            totals = [t + new - old for t, new, old in zip(totals, pays, line.paid, strict=True)]
            line.paid = pays
        for name, total in zip(its.upline, totals, strict=True):
            if total and name is not None:
                self.items.append(Item(name, total, its.available_on, place))

    # settlement

    def mature(self, through: date) -> None:
        if through > self.matured_through:
            self.matured_through = through
            for item in self.items:
                if item.place == "held" and item.available_on <= through:
                    item.place = "open"

    def gather(self, cutoff: date) -> list[Item]:
        """What a batch takes now."""
        taken: list[Item] = []
        for name in self.edges.keys() - self.suspended:
            due = [
                item
                for item in self.items
                if item.name == name and item.place == "open" and item.available_on <= cutoff
            ]
            if sum(item.amount for item in due) >= MINIMUM:
                taken += due
        return taken

    def of_batch(self, number: int) -> list[Item]:
        return [item for item in self.items if item.batch == number]

    def balances(self, name: str) -> Balances:
        def at(place: str) -> int:
            return sum(x.amount for x in self.items if x.name == name and x.place == place)

        return Balances(
            pending=at("held"),
            available=at("open"),
            reserved=at("reserved"),
            paid=at("paid"),
            reversed=-sum(x.amount for x in self.items if x.name == name and x.amount < 0),
        )


# -- what may happen ------------------------------------------------------------------------------

PICK = st.integers(0, 1_000)
"""Chooses one of however many there are by then."""

LINES = st.lists(
    st.builds(
        lambda sku, category, units, price, percent: LineIn(
            sku, units, price, category, discount=units * price * percent // 100
        ),
        st.sampled_from(["A", "B", "GIFT"]),
        st.sampled_from([None, "tea"]),
        st.integers(1, 4),
        st.sampled_from([0, 1, 5, 333, 1_999, 10_000, 123_457]),
        st.sampled_from([0, 0, 7, 100]),
    ),
    min_size=1,
    max_size=3,
)
BACK = st.sampled_from([timedelta(0)] * 3 + [timedelta(days=n) for n in (1, 6, 8, 40)])
AHEAD = timedelta(minutes=4)


class House(RuleBasedStateMachine):
    """The house and the model, side by side."""

    db: Database
    settings: Settings

    def __init__(self) -> None:
        super().__init__()
        self.brand: Brand = factories.brand(
            self.db, hold_days=HOLD_DAYS, minimum_payout=MINIMUM, levels=LEVELS
        )
        self.model = Model()
        self.now = BEGINNING
        self.ids: dict[str, int] = {}
        self.sent: dict[str, OrderIn] = {}
        self.refunds: dict[tuple[str, str], RefundIn] = {}
        self.placed = 0
        self.batches: dict[int, str] = {}
        self.held: set[tuple[int, str]] = set()

    @contextmanager
    def later(self) -> Iterator[None]:
        """A minute later."""
        self.now += timedelta(minutes=1)
        with clock.travel(self.now):
            yield

    def do(self, verb: Callable[..., Any], **facts: Any) -> Any:
        with self.later():
            return self.db.run(lambda session: verb(session, **facts))

    def pick(self, choices: Sequence[Any], pick: int) -> Any:
        return choices[pick % len(choices)]

    # the tree and the plan

    @initialize()
    def begin(self) -> None:
        for sponsor in (None, "d0", "d1"):
            self._enrol(sponsor, self.now)
        self.publish(0, None)
        for name in ("d2", "d1", "d2"):
            lines = (LineIn("B", 4, 10_000), LineIn("B", 3, 3_333, "tea", discount=100))
            self._take([self._new_order(lines, timedelta(0), distributor=name)])

    def _enrol(self, sponsor: str | None, joined_at: datetime) -> None:
        name = f"d{len(self.ids)}"
        made = self.do(
            enrol_distributor,
            brand_id=self.brand.id,
            external_id=name,
            name=name,
            code=f"code-{name}",
            sponsor=sponsor,
            joined_at=joined_at,
        )
        self.ids[name] = made.id
        self.model.edges[name] = [(joined_at, sponsor)]

    @precondition(lambda self: len(self.ids) < 7)
    @rule(sponsor=st.none() | PICK, back=BACK)
    def enrol(self, sponsor: int | None, back: timedelta) -> None:
        above = None if sponsor is None else self.pick(list(self.ids), sponsor)
        joined = self.now - back
        self._enrol(above, joined if above is None else max(joined, self.model.joined(above)))

    @rule(moved=PICK, sponsor=st.none() | PICK)
    def move(self, moved: int, sponsor: int | None) -> None:
        name = self.pick(list(self.ids), moved)
        others = [each for each in self.ids if each != name]
        above = None if sponsor is None else self.pick(others, sponsor)
        facts = {"brand_id": self.brand.id, "distributor": name, "sponsor": above}
        at = self.now + timedelta(minutes=1)
        if above is not None and self.model.is_below(above, name, at):
            with pytest.raises(CycleRefused):
                self.do(move_distributor, **facts)
        else:
            self.do(move_distributor, **facts)
            if self.model.sponsor(name, at) != above:
                self.model.edges[name].append((at, above))

    @rule(who=PICK)
    def suspend_or_reactivate(self, who: int) -> None:
        name = self.pick(list(self.ids), who)
        verb = reactivate_distributor if name in self.model.suspended else suspend_distributor
        self.do(verb, brand_id=self.brand.id, distributor=name)
        self.model.suspended ^= {name}

    @rule(plan=st.integers(0, len(PLANS) - 1), ahead=st.none() | st.integers(0, 5))
    def publish(self, plan: int, ahead: int | None) -> None:
        plans, begins = self.model.plans, self.now + timedelta(minutes=1)
        if plans:
            begins = max(begins, plans[-1][0] + timedelta(microseconds=1))
        stated = None if ahead is None else begins + timedelta(days=ahead)
        self.do(
            publish_plan,
            brand=self.brand,
            document=PLANS[plan],
            effective_from=stated,
            published_by="the machine",
        )
        if stated is not None or not plans or plans[-1][1] != PLANS[plan]:
            plans.append((stated or begins, PLANS[plan]))

    # orders and refunds

    def agree(self, outcome: Outcome, error: type[Exception] | None) -> None:
        """The house has refused what the model refuses, for the same reason, and nothing else."""
        if error is None:
            assert (outcome.status, outcome.error) == (Status.ACCEPTED, None)
        else:
            assert (outcome.status, type(outcome.error)) == (Status.REJECTED, error)

    def _new_order(self, lines: Sequence[LineIn], back: timedelta, **named: Any) -> OrderIn:
        """The next order: placed ``back`` ago, or (a day ago stands for it) a little ahead."""
        placed_at = self.now + AHEAD if back.days == 1 else self.now - back
        self.placed += 1
        return factories.order(f"o-{self.placed - 1}", lines=lines, placed_at=placed_at, **named)

    def _take(self, orders: Sequence[OrderIn]) -> None:
        before = set(self.model.orders)
        outcomes = self.do(take_orders, brand=self.brand, orders=orders)
        for it, outcome in zip(orders, outcomes, strict=True):
            if it.external_id in before:
                assert outcome.status is Status.DUPLICATE
                continue
            self.agree(outcome, self.model.take(it, self.now))
            if outcome.status is Status.ACCEPTED:
                self.sent[it.external_id] = it
            before.add(it.external_id)

    @rule(
        new=st.lists(st.tuples(st.integers(-2, 20), LINES, BACK), min_size=1, max_size=3),
        again=st.none() | PICK,
    )
    def order(self, new: list[tuple[int, list[LineIn], timedelta]], again: int | None) -> None:
        """Some new orders, one of them from an unknown reference, and one that came before."""
        orders = []
        for who, lines, back in new:
            name = None if who == -1 else "nobody" if who == -2 else self.pick(list(self.ids), who)
            named = {"code": f"code-{name}"} if who >= len(self.ids) else {"distributor": name}
            orders.append(self._new_order(lines, back, **named))
        if again is not None and self.sent:
            orders.insert(again % len(orders), self.pick(list(self.sent.values()), again))
        self._take(orders)

    def _give_back(self, refunds: Sequence[RefundIn]) -> None:
        outcomes: list[Outcome] = self.do(take_refunds, brand=self.brand, refunds=refunds)
        model = self.model
        for it, outcome in zip(refunds, outcomes, strict=True):
            key = (it.order_external_id, it.external_id)
            its = model.orders.get(it.order_external_id)
            returns: Returns = None
            if it.lines is not None:
                returns = [(x.line_no, x.quantity, x.amount) for x in it.lines]
            if its is None:
                assert outcome == Outcome(Status.WAITING)
                model.waiting.setdefault(key, (self.now, returns))
            elif it.external_id in its.refunds:
                assert outcome.status is Status.DUPLICATE
            else:
                self.agree(outcome, model.give_back(*key, returns))
            if outcome.status is not Status.REJECTED:
                self.refunds[key] = it

    @rule(
        of=st.lists(PICK, min_size=1, max_size=3),
        lines=st.none()
        | st.lists(
            st.tuples(
                st.sampled_from([1, 1, 1, 2, 3]),
                st.integers(0, 3),
                st.none() | st.sampled_from([1, 50, 333, 2_000, 9_999]),
            ).filter(lambda line: bool(line[1] or line[2])),
            min_size=1,
            max_size=2,
            unique_by=lambda line: line[0],
        ),
        again=st.none() | PICK,
    )
    def give_back(
        self, of: list[int], lines: list[tuple[int, int, int | None]] | None, again: int | None
    ) -> None:
        """Refunds of orders that are here, or will be; perhaps with one that came before."""
        known = [f"o-{n}" for n in range(self.placed + 2)]
        new = [
            factories.refund(
                f"r-{len(self.refunds)}-{n}",
                self.pick(known, pick),
                *(lines or ()),
                refunded_at=self.now,
            )
            for n, pick in enumerate(of)
        ]
        if again is not None and self.refunds:
            old = self.pick(sorted(self.refunds), again)
            if old not in self.model.wrong:
                new.append(self.refunds[old])
        self._give_back(new)

    # time and settlement

    @rule(wait=st.integers(0, 12))
    def mature(self, wait: int) -> None:
        self.now += timedelta(days=wait)
        with self.later():
            mature(self.db, brand_id=self.brand.id)
        self.model.mature(day_of(self.now))

    @rule(postings=st.integers(1, 6))
    def fold(self, postings: int) -> None:
        self.do(fold, brand_id=self.brand.id, postings=postings)

    @rule(
        wait=st.sampled_from([HOLD_DAYS + 1, 0, 3, 30]),
        back=st.sampled_from([0, 0, 0, 1, 5, 30]),
        steps=st.integers(0, 3),
    )
    def settle(self, wait: int, back: int, steps: int) -> None:
        """Draw up a batch, and perhaps approve it, and perhaps run it, and perhaps pay it."""
        self.now += timedelta(days=wait)
        cutoff = day_of(self.now + timedelta(minutes=1)) - timedelta(days=back)
        with self.later():
            mature_for_batch(self.db, brand=self.brand, cutoff=cutoff)
        self.model.mature(cutoff)
        taken = self.model.gather(cutoff)
        facts = {"brand": self.brand, "cutoff": cutoff, "created_by": "the machine"}
        if not taken:
            with pytest.raises(NothingToSettle):
                self.do(draw_up_batch, **facts)
            return
        batch = self.do(draw_up_batch, **facts)
        number = len(self.batches) + 1
        assert (batch.number, batch.total) == (number, sum(item.amount for item in taken))
        assert batch.payouts == len({item.name for item in taken})
        self.batches[number] = "draft"
        for item in taken:
            item.place, item.batch = "reserved", number
        for step in (self._approve, self._run)[:steps]:
            step(number)
        if steps == 3:
            self.work()

    def _batch(self, pick: int, *states: str) -> int:
        found = [number for number, state in self.batches.items() if state in states]
        return int(self.pick(found, pick))

    @precondition(lambda self: "draft" in self.batches.values())
    @rule(pick=PICK)
    def approve(self, pick: int) -> None:
        self._approve(self._batch(pick, "draft"))

    def _approve(self, number: int) -> None:
        self.do(submit_batch, brand_id=self.brand.id, number=number, submitted_by="the machine")
        self.do(
            approve_batch,
            brand_id=self.brand.id,
            number=number,
            approved_by="finance",
            content_hash=None,
        )
        self.batches[number] = "approved"

    @precondition(lambda self: not {"draft", "approved"}.isdisjoint(self.batches.values()))
    @rule(pick=PICK)
    def cancel(self, pick: int) -> None:
        number = self._batch(pick, "draft", "approved")
        self.do(cancel_batch, brand_id=self.brand.id, number=number)
        self.batches[number] = "cancelled"
        for item in self.model.of_batch(number):
            item.place, item.batch = "open", 0

    @precondition(lambda self: "approved" in self.batches.values())
    @rule(pick=PICK)
    def run(self, pick: int) -> None:
        self._run(self._batch(pick, "approved"))

    def _run(self, number: int) -> None:
        self.do(run_batch, brand_id=self.brand.id, number=number, chunk_payouts=2)
        self.batches[number] = "paying"

    @precondition(lambda self: "paying" in self.batches.values())
    @rule()
    def work(self) -> None:
        with self.later():
            jobs.run_all(self.db, self.settings)
        for number, state in self.batches.items():
            if state != "paying":
                continue
            held = {name for at, name in self.held if at == number}
            for item in self.model.of_batch(number):
                if item.place == "reserved" and item.name in self.model.suspended:
                    held.add(item.name)
                elif item.name not in held:
                    item.place = "paid"
            self.held |= {(number, name) for name in held}
            self.batches[number] = "partly_failed" if held else "settled"

    @precondition(lambda self: bool(self.held))
    @rule(pick=PICK, release=st.booleans())
    def decide(self, pick: int, release: bool) -> None:
        """What is held because somebody was suspended goes on, or is open for the next batch."""
        number, name = self.pick(sorted(self.held), pick)
        with self.db.transaction() as session:
            no = session.scalars(
                text(
                    "SELECT p.no FROM payout p JOIN settlement_batch s ON s.brand_id = p.brand_id"
                    " AND s.id = p.batch_id WHERE p.brand_id = :b AND s.number = :n"
                    " AND p.distributor_id = :who"
                ),
                {"b": self.brand.id, "n": number, "who": self.ids[name]},
            ).one()
        facts = {"brand_id": self.brand.id, "number": number, "no": no, "reason": "looked at"}
        self.held.remove((number, name))
        if release:
            self.do(release_payout, released_by="finance", **facts)
            self.batches[number] = "paying"
            return
        self.do(void_payout, voided_by="finance", **facts)
        for item in self.model.of_batch(number):
            if item.name == name:
                item.place, item.batch = "open", 0
        if self.batches[number] == "partly_failed" and not {n for n, _ in self.held} & {number}:
            self.batches[number] = "settled"

    # what must hold

    @invariant()
    def balances_are_those_of_the_model(self) -> None:
        with self.db.transaction() as session:
            for name, number in self.ids.items():
                found = read_balance_sheet(session, brand=self.brand, distributor_id=number)
                assert found == self.model.balances(name), name

    @rule()
    def audit(self) -> None:
        with self.db.snapshot() as session:
            found = list(audit_brand(session, brand_id=self.brand.id))
        assert sorted(each.row["external_id"] for each in found if "waiting" in each.check) == (
            sorted(refund_id for _, refund_id in self.model.wrong)
        )
        assert [each for each in found if "waiting" not in each.check] == []

    def teardown(self) -> None:
        if self.batches:
            self.work()
        self.audit()


def test_the_house_is_the_model(db: Database, settings: Settings) -> None:
    class ThisHouse(House):
        pass

    ThisHouse.db, ThisHouse.settings = db, settings
    run_state_machine_as_test(ThisHouse, settings=EXAMPLES)


EXAMPLES = settings(
    max_examples=15,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
)
