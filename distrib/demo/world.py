"""Half a year of a brand: who joins under whom, who buys what, what comes back. Pure.

The same start gives the same world, to the last fen: that is how an interrupted demo goes on where
it stopped.
"""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from random import Random

from distrib import clock
from distrib.demo import shop
from distrib.money import allocate
from distrib.orders.document import LineIn, OrderIn, RefundIn, RefundLineIn

DAYS = 183
DISTRIBUTORS = 3_000
ORDERS = 30_000
MOVES = 24
BATCHES = 2

_FOUNDERS = 60
_ROOTS = 12
_BUYERS = 11_000
STEP = timedelta(hours=2)
_SINGLE_DAYS = 2  # at the end orders are taken one by one: so a shop sends them


@dataclass(frozen=True, slots=True)
class Join:
    """Somebody enrols."""

    at: datetime
    external_id: str
    name: str
    sponsor: str | None


@dataclass(frozen=True, slots=True)
class Move:
    """Somebody goes, with all below, under another sponsor."""

    at: datetime
    external_id: str
    sponsor: str


@dataclass(slots=True)
class Block:
    """What reaches the brand in two hours, in the order in which it is done."""

    end: datetime
    plan: int | None = None
    moves: list[Move] = field(default_factory=list)
    joins: list[Join] = field(default_factory=list)
    orders: list[OrderIn] = field(default_factory=list)
    refunds: list[RefundIn] = field(default_factory=list)
    cutoff: date | None = None
    singly: bool = False

    @property
    def ends_day(self) -> bool:
        """Whether it is the last of its day where the brand lives."""
        return self.end.astimezone(clock.zone(shop.TIME_ZONE)).hour == 0


def first_day(today: date) -> date:
    """The day on which a history that ends yesterday begins."""
    return today - timedelta(days=DAYS)


def midnight(day: date) -> datetime:
    """When a day begins where the brand lives."""
    return datetime.combine(day, time(), clock.zone(shop.TIME_ZONE))


def settlement_days(start: date) -> list[date]:
    """The days, each the fifth of a month, on which the months before are settled."""
    last = start + timedelta(days=DAYS - 10)  # so that some history follows the last payout
    fifths = [
        day
        for day in (start + timedelta(days=n) for n in range(DAYS))
        if day.day == 5 and day <= last
    ]
    return fifths[-BATCHES:]


def second_plan_day(start: date) -> date:
    """The first of the month nearest to the middle."""
    middle = start + timedelta(days=DAYS // 2)
    return middle.replace(day=1)


def build_world(start: date, *, scale: int = 1) -> list[Block]:
    """Everything that happens from ``start`` on, step by step; what is empty is left out.

    :param scale: divides the number of people and orders, up to 60: tests take a small world.
    """
    return _World(start, scale).blocks()


class _World:
    def __init__(self, start: date, scale: int) -> None:
        self.start = start
        self.begins = midnight(start)
        self.ends = midnight(start + timedelta(days=DAYS))
        self.rng = Random(20_260_118)
        self.distributors = DISTRIBUTORS // scale
        self.orders = ORDERS // scale
        self.moves = max(1, MOVES // scale)
        self.found: dict[int, Block] = {}

    def blocks(self) -> list[Block]:
        self._publish()
        joins = self._people()
        self._trade(joins)
        for day in settlement_days(self.start):
            block = self._block(midnight(day) + timedelta(hours=10))
            block.cutoff = day.replace(day=1) - timedelta(days=1)
        return [self.found[number] for number in sorted(self.found)]

    def _block(self, at: datetime) -> Block:
        """The block that ``at`` falls in."""
        number = (at - self.begins) // STEP
        if number not in self.found:
            self.found[number] = Block(
                end=self.begins + (number + 1) * STEP,
                singly=self.ends - at <= timedelta(days=_SINGLE_DAYS),
            )
        return self.found[number]

    def _publish(self) -> None:
        self._block(self.begins).plan = 1
        self._block(midnight(second_plan_day(self.start))).plan = 2

    # -- people ---------------------------------------------------------------------------------

    def _people(self) -> list[Join]:
        times = self._joining_times()
        tree = _Tree(self.rng)
        moves = self._moving_times()
        joins: list[Join] = []
        for n, at in enumerate(times):
            while moves and moves[0] < at:
                self._move(tree, moves.pop(0))
            sponsor = tree.sponsor_for(n)
            join = Join(
                at=at,
                external_id=_external_id(n),
                name=shop.person(self.rng),
                sponsor=None if sponsor is None else _external_id(sponsor),
            )
            tree.join(n, sponsor)
            joins.append(join)
            self._block(at).joins.append(join)
        return joins

    def _joining_times(self) -> list[datetime]:
        """When people join: the founders at once, then more and more, then fewer."""
        founders = min(_FOUNDERS, self.distributors // 2)
        weights = [40 + min(n, 2 * (DAYS - n)) for n in range(1, DAYS)]
        counts = allocate(self.distributors - founders, weights)
        times = [self.begins + timedelta(minutes=n) for n in range(founders)]
        for n, count in enumerate(counts, 1):
            day = midnight(self.start + timedelta(days=n))
            seconds = sorted(shop.second_of_day(self.rng) for _ in range(count))
            times += [day + timedelta(seconds=second) for second in seconds]
        return times

    def _moving_times(self) -> list[datetime]:
        """At two in the morning, on days around the middle."""
        days = sorted(self.rng.sample(range(DAYS * 2 // 5, DAYS * 3 // 5), self.moves))
        return [midnight(self.start + timedelta(days=n)) + timedelta(hours=2) for n in days]

    def _move(self, tree: _Tree, at: datetime) -> None:
        moved, sponsor = tree.move()
        move = Move(at, _external_id(moved), _external_id(sponsor))
        self._block(at).moves.append(move)

    # -- trade ----------------------------------------------------------------------------------

    def _trade(self, joins: list[Join]) -> None:
        joined_at = [join.at for join in joins]
        # a few sell a lot, most sell little
        reach = [int(20 * self.rng.paretovariate(1.16)) for _ in joins]
        total = 0
        cumulated = [total := total + min(each, 6_000) for each in reach]
        days = [self.start + timedelta(days=n) for n in range(DAYS)]
        weights = [shop.demand(day, 100 * n // DAYS) for n, day in enumerate(days)]
        for day, count in zip(days, allocate(self.orders, weights), strict=True):
            seconds = sorted(shop.second_of_day(self.rng) for _ in range(count))
            for n, second in enumerate(seconds, 1):
                at = midnight(day) + timedelta(seconds=second)
                known = bisect.bisect_right(joined_at, at)
                place = bisect.bisect_right(
                    cumulated, self.rng.randrange(cumulated[known - 1]), hi=known - 1
                )
                self._sell(joins[place], at, n)

    def _sell(self, seller: Join, at: datetime, n: int) -> None:
        rng = self.rng
        how = rng.randrange(100)
        buyer, code, distributor = f"u{rng.randrange(_BUYERS):05d}", None, None
        if how < 72:
            code = code_of(seller.external_id)
        elif how < 88:
            buyer = distributor = seller.external_id
        order = OrderIn(
            shop="tmall" if rng.randrange(10) < 3 else "wechat-mall",
            external_id=f"{at:%Y%m%d}-{n:04d}",
            placed_at=at,
            currency=shop.CURRENCY,
            lines=self._lines(),
            buyer=buyer,
            distributor=distributor,
            code=code,
        )
        arrives = at
        if rng.randrange(100) == 0:  # the marketplace was slow to tell
            arrives += timedelta(hours=rng.randrange(5, 40))
        if arrives < self.ends:
            self._block(arrives).orders.append(order)
            self._maybe_refund(order, arrives)

    def _lines(self) -> tuple[LineIn, ...]:
        rng = self.rng
        count = rng.choices((1, 2, 3, 4), (46, 32, 15, 7))[0]
        products = rng.choices(shop.CATALOGUE, [each.weight for each in shop.CATALOGUE], k=count)
        lines = []
        for product in products:
            quantity = rng.choices((1, 2, 3, 6), (70, 20, 7, 3))[0]
            gross = quantity * product.price
            reduced = product.category != "gift card" and rng.randrange(100) < 28
            lines.append(
                LineIn(
                    sku=product.sku,
                    quantity=quantity,
                    unit_price=product.price,
                    category=product.category,
                    discount=gross * rng.choice((5, 8, 10, 12, 15)) // 100 if reduced else 0,
                    shipping=8_00 if count == 1 and gross < 99_00 else 0,
                )
            )
        return tuple(lines)

    def _maybe_refund(self, order: OrderIn, arrives: datetime) -> None:
        rng = self.rng
        if arrives > order.placed_at and rng.randrange(10) < 6:
            # the customer was faster than the marketplace: the refund comes before its order
            self._refund(order, order.placed_at + timedelta(hours=rng.randrange(1, 5)), "A")
            return
        if rng.randrange(1000) >= 55:
            return
        if rng.randrange(10) < 7:
            after = timedelta(hours=rng.randrange(20, 240))
        else:  # when it has long been paid out
            after = timedelta(days=rng.randrange(16, 60), hours=rng.randrange(24))
        whole = self._refund(order, arrives + after, "A")
        if not whole and rng.randrange(10) < 3:
            self._refund(order, arrives + after + timedelta(hours=30), "B", rest=True)

    def _refund(self, order: OrderIn, at: datetime, suffix: str, *, rest: bool = False) -> bool:
        """Give back an order, all that is left of it (``rest``), or a part; true for all."""
        rng = self.rng
        at = at.replace(minute=rng.randrange(60))
        lines: tuple[RefundLineIn, ...] | None = None
        kind = rng.randrange(100)
        line_no = rng.randrange(len(order.lines)) + 1
        line = order.lines[line_no - 1]
        if not rest and kind >= 55 and (line.quantity > 1 or len(order.lines) > 1):
            lines = (RefundLineIn(line_no, 1),)
        if not rest and kind >= 85:  # a price adjustment: money back, and the goods stay
            lines = (RefundLineIn(line_no, 0, max(1, line.net * rng.randrange(5, 20) // 100)),)
        if at < self.ends:
            reason = "price adjustment" if lines and not lines[0].quantity else "returned"
            refund = RefundIn(
                shop=order.shop,
                order_external_id=order.external_id,
                external_id=f"R{order.external_id}{suffix}",
                refunded_at=at,
                lines=lines,
                reason=reason,
            )
            self._block(at).refunds.append(refund)
        return lines is None


class _Tree:
    """The referral tree as it grows: whoever has many below gets more, and so does who is new."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._sponsor: dict[int, int | None] = {}
        self._children: dict[int, list[int]] = defaultdict(list)
        self._tickets: list[int] = []

    def sponsor_for(self, n: int) -> int | None:
        if n < _ROOTS:
            return None
        if self._rng.randrange(100) < 45:  # somebody who joined not long ago
            return self._rng.randrange(max(0, n - 150), n)
        return self._rng.choice(self._tickets)

    def join(self, n: int, sponsor: int | None) -> None:
        self._place(n, sponsor)
        self._tickets.append(n)

    def _place(self, n: int, sponsor: int | None) -> None:
        self._sponsor[n] = sponsor
        if sponsor is not None:
            self._children[sponsor].append(n)
            self._tickets.append(sponsor)

    def move(self) -> tuple[int, int]:
        """Move somebody who has others below to where no circle closes."""
        while True:
            moved = self._rng.choice(self._tickets)
            sponsor = self._rng.choice(self._tickets)
            before = self._sponsor[moved]
            if before is None or sponsor == before or moved in self._upline(sponsor):
                continue
            self._children[before].remove(moved)
            self._place(moved, sponsor)
            return moved, sponsor

    def _upline(self, n: int) -> Iterator[int]:
        """``n`` and all above it."""
        here: int | None = n
        while here is not None:
            yield here
            here = self._sponsor[here]


def _external_id(n: int) -> str:
    return f"D{n + 1:05d}"


def code_of(external_id: str) -> str:
    """The code that a distributor shares."""
    return f"YL{external_id[1:]}"
