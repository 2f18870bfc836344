"""Reading past orders for a simulation: a stream of chunks, each as columns.

A chunk has the orders of a stretch of time, in order of id, with their lines, what came back of
them, what they were paid and, where it was kept, what their plan had been told.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import psycopg

from distrib.brands.tables import Brand
from distrib.bulk_read import Ids, read_columns
from distrib.commission.earners import Standing
from distrib.commission.goods import Goods, Left
from distrib.commission.plan import MAX_LEVELS, Base, Plan
from distrib.commission.simulation_tree import EPOCH, Forest
from distrib.money import MAX_AMOUNT

Ints = np.ndarray[Any, np.dtype[np.int64]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]

MOST_ORDERS = 50_000
_MOST_LINES = 150_000
"""What a chunk holds, about: orders differ in how many lines they have."""
_FIRST_CHUNK = 5_000


@dataclass(frozen=True, slots=True)
class Paid:
    """Commissions: one entry each, of orders and of their refunds.

    :param order: row of the chunk's orders; ``line`` its line's, -1 for none of the chunk's.
    :param level: counted from 0.
    """

    order: Ints
    line: Ints
    level: Ints
    distributor: Ints
    amount: Ints


@dataclass(frozen=True, slots=True)
class Recorded:
    """What was kept with the orders ``order`` (rows of the chunk) about what their plan was told;
    room is -1 without an end. Shape (n, 3) but for ``first`` and ``marks``."""

    order: Ints
    first: Bools
    upline: Ints
    rank: Ints
    volume: Ints
    room: Ints
    marks: Ints


@dataclass(frozen=True, slots=True)
class Chunk:
    """Orders, in order of id; see :class:`distrib.orders.tables.Order`.

    :param at: instants in microseconds since 1970.
    :param day: days since 1970 where the brand lives; of all zeros unless asked for.
    :param channel: number of its channel, see :class:`Names`.
    :param starts: the first line of each order, and the end of the last.
    :param category: number of each line's category, see :class:`Names`.
    """

    id: Ints
    at: Ints
    day: Ints
    distributor: Ints
    buyer: Ints
    version: Ints
    channel: Ints
    first: Bools
    refunded: Bools
    owner: Ints
    starts: Ints
    category: Ints
    goods: Goods
    left: Left
    paid: Paid
    recorded: Recorded | None


class Names(dict[Any, int]):
    """Texts, numbered as they come: bytes as they are read → number."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str | None] = []

    def __missing__(self, key: bytes | None) -> int:
        self[key] = number = len(self.texts)
        self.texts.append(None if key is None else key.decode())
        return number

    def number(self, keys: list[bytes | None]) -> Ints:
        """The number of each."""
        return np.fromiter(map(self.__getitem__, keys), np.int64, len(keys))


_ORDER = {
    "id": "int8",
    "at": "timestamptz",
    "day": "int4",
    "distributor": "int8",
    "buyer": "int8",
    "version": "int8",
    "channel": "text",
    "first": "bool",
}

# the brand's index in order of time; see docs/adr/0004-generic-plans.md for its condition
_IN_TIME = """o.brand_id = %(brand)s AND o.effective_at > '-infinity'
  AND o.effective_at >= %(begin)s AND o.effective_at < %(end)s"""

_ORDERS = """
SELECT o.id, o.effective_at AS at, {day} AS day, coalesce(o.distributor_id, 0) AS distributor,
       coalesce(o.buyer_distributor_id, 0) AS buyer, coalesce(o.plan_version_id, 0) AS version,
       o.channel, {first} AS first
FROM (SELECT * FROM orders o
      WHERE {time} AND (o.effective_at, o.id) > (%(begin)s, %(last)s)
      ORDER BY o.effective_at, o.id LIMIT %(limit)s) o
ORDER BY o.id
"""
_DAY = "(o.effective_at AT TIME ZONE %(zone)s)::date - date '1970-01-01'"
# who counts sales knows customers; else the order taken first is looked for among the buyer's
_FIRST_KNOWN = """(o.buyer IS NOT NULL AND EXISTS (
    SELECT FROM customer c WHERE c.brand_id = %(brand)s AND c.buyer = o.buyer
      AND c.first_order_id = o.id OFFSET 0))"""
_FIRST_FOUND = """(o.buyer IS NOT NULL AND NOT EXISTS (
    SELECT FROM orders x WHERE x.brand_id = %(brand)s AND x.buyer = o.buyer
      AND (x.recorded_at, x.id) < (o.recorded_at, o.id) OFFSET 0))"""

_LINES = """
SELECT l.order_id, l.line_no, l.sku, l.category, l.quantity,
       l.quantity * l.unit_price - l.discount AS net {more}
FROM order_line l WHERE l.brand_id = %(brand)s AND l.order_id = ANY(%(ids)s)
"""
_MORE = {
    "gross": "l.quantity * l.unit_price",
    "shipping": "l.shipping",
    "tax": "l.tax",
    "other_paid": "l.other_paid",
    "cost": "coalesce(l.cost, -1)",
    "income": "coalesce(l.income, -1)",
}

_REFUNDS = """
SELECT f.id, f.order_id FROM refund f
WHERE f.brand_id = %(brand)s AND f.order_id = ANY(%(ids)s)
"""
_RETURNS = """
SELECT x.refund_id AS refund, x.line_no, x.quantity, x.amount FROM refund_line x
WHERE x.brand_id = %(brand)s AND x.refund_id = ANY(%(ids)s)
"""
_COMMISSIONS = """
SELECT c.order_id, c.line_no * 4 + c.level AS cell, c.distributor_id AS distributor,
       c.amount
FROM commission c WHERE c.brand_id = %(brand)s AND c.source_id = ANY(%(ids)s)
"""
_FACTS = """
SELECT f.order_id, f.first, f.earner1, f.earner2, f.earner3, f.rank1, f.rank2, f.rank3,
       f.volume1, f.volume2, f.volume3, f.room1, f.room2, f.room3, f.marks
FROM order_facts f WHERE f.brand_id = %(brand)s AND f.order_id = ANY(%(ids)s)
"""


def _bases_of(plan: Plan) -> set[str]:
    """Which columns of :data:`_MORE` a plan looks at."""
    of_base = {
        Base.GROSS: {"gross"},
        Base.NET: set(),
        Base.PAID: {"other_paid"},
        Base.MARGIN: {"cost"},
        Base.INCOME: {"income"},
    }
    return of_base[plan.base] | of_base[plan.caps.order_base] | plan.includes


@dataclass
class Reader:
    """Reads the orders of a brand from an instant to another.

    :param days: whether the plan needs to know the orders' days.
    :param facts: whether to read what was kept of orders.
    """

    cursor: psycopg.Cursor[Any]
    brand: Brand
    plan: Plan
    begin: datetime
    end: datetime
    days: bool
    facts: bool
    channels: Names = field(default_factory=Names)
    categories: Names = field(default_factory=Names)
    _skus: Names = field(default_factory=Names)

    def chunks(self) -> Iterator[Chunk]:
        """All of them in order of time. The next chunk is read while one is worked on; meanwhile
        the cursor's connection is the reader's own."""
        with ThreadPoolExecutor(1) as pool:
            coming = pool.submit(self._read, self.begin, 0, _FIRST_CHUNK)
            while True:
                chunk, limit = coming.result()
                if len(chunk.id) == limit:
                    last = int(np.lexsort((chunk.id, chunk.at))[-1])
                    at = EPOCH + timedelta(microseconds=int(chunk.at[last]))
                    lines = max(len(chunk.owner), 1)
                    wanted = min(max(limit * _MOST_LINES // lines, 1_000), MOST_ORDERS)
                    coming = pool.submit(self._read, at, int(chunk.id[last]), wanted)
                if len(chunk.id):
                    yield chunk
                if len(chunk.id) < limit:
                    return

    def _scope(self, begin: datetime) -> dict[str, Any]:
        return {"brand": self.brand.id, "begin": begin, "end": self.end}

    def _columns(self, columns: dict[str, str], query: str, ids: Ints) -> dict[str, Any]:
        scope = {"brand": self.brand.id, "ids": Ids(ids)}
        return read_columns(self.cursor, columns, query, scope)

    def _read(self, begin: datetime, last: int, limit: int) -> tuple[Chunk, int]:
        first = "false"
        if self.plan.uses_first:
            first = _FIRST_KNOWN if self.brand.counts_sales else _FIRST_FOUND
        query = _ORDERS.format(day=_DAY if self.days else "0", first=first, time=_IN_TIME)
        scope = self._scope(begin) | {"last": last, "limit": limit}
        if self.days:
            scope["zone"] = self.brand.time_zone
        heads = read_columns(self.cursor, _ORDER, query, scope)
        ids = heads.pop("id")
        channel = self.channels.number(heads.pop("channel"))
        owner, line_no, category, goods = self._lines(ids)
        starts = np.searchsorted(owner, np.arange(len(ids) + 1))
        places = _Places(ids, starts, line_no)
        refunds = self._columns({"id": "int8", "order_id": "int8"}, _REFUNDS, ids)
        refunded = np.zeros(len(ids), bool)
        quantity, net = goods.quantity, goods.net
        sources = ids
        if len(refunds["id"]):
            refunded[places.order(refunds["order_id"])] = True
            quantity, net = self._left(goods, places, refunds)
            sources = np.sort(np.concatenate([ids, refunds["id"]]))
        chunk = Chunk(
            id=ids,
            channel=channel,
            refunded=refunded,
            owner=owner,
            starts=starts,
            category=category,
            goods=goods,
            # where more came back than there was, the audit says so; here it is all
            left=Left(np.maximum(quantity, 0), np.clip(net, 0, MAX_AMOUNT)),
            paid=self._paid(places, sources),
            recorded=self._recorded(places) if self.facts else None,
            **heads,
        )
        return chunk, limit

    def _lines(self, ids: Ints) -> tuple[Ints, Ints, Ints, Goods]:
        """Order, number and category of each line, and the lines, in their sequence."""
        wanted = _bases_of(self.plan)
        more = "".join(f", {_MORE[name]} AS {name}" for name in sorted(wanted))
        kinds = {
            "order_id": "int8",
            "line_no": "int4",
            "sku": "text",
            "category": "text",
        } | dict.fromkeys(("quantity", "net", *sorted(wanted)), "int8")
        read = self._columns(kinds, _LINES.format(more=more), ids)
        owner = _rows(ids, read["order_id"])
        sku = self._skus.number(read["sku"])
        category = self.categories.number(read["category"])
        columns = {name: read[name] for name in ("quantity", "net", *wanted)}
        line_no = read["line_no"]
        place = owner * (1 << 20) + line_no
        if (np.diff(place) < 0).any():
            sequence = np.argsort(place, kind="stable")
            owner, line_no, sku, category = (
                column[sequence] for column in (owner, line_no, sku, category)
            )
            columns = {name: column[sequence] for name, column in columns.items()}
        nothing = np.zeros(len(owner), np.int64)
        goods = Goods(
            sku=_texts(self._skus, sku),
            category=_texts(self.categories, category),
            quantity=columns["quantity"],
            net=columns["net"],
            **{name: columns.get(name, nothing) for name in _MORE},
        )
        return owner, line_no, category, goods

    def _left(self, goods: Goods, places: _Places, refunds: dict[str, Any]) -> tuple[Ints, Ints]:
        kinds = {"refund": "int8", "line_no": "int4", "quantity": "int8", "amount": "int8"}
        by_id = np.argsort(refunds["id"])
        refund_ids, orders = refunds["id"][by_id], refunds["order_id"][by_id]
        back = self._columns(kinds, _RETURNS, refund_ids)
        order = places.order(orders[np.searchsorted(refund_ids, back["refund"])])
        line = places.line(order, back["line_no"])
        mine = line >= 0
        quantity, net = goods.quantity.copy(), goods.net.copy()
        np.subtract.at(quantity, line[mine], back["quantity"][mine])
        np.subtract.at(net, line[mine], back["amount"][mine])
        return quantity, net

    def _paid(self, places: _Places, sources: Ints) -> Paid:
        kinds = {"order_id": "int8", "cell": "int4", "distributor": "int8", "amount": "int8"}
        read = self._columns(kinds, _COMMISSIONS, sources)
        order = np.minimum(places.order(read["order_id"]), len(places.ids) - 1)
        strange = places.ids[order] != read["order_id"]
        if strange.any():  # of an order that its source is not of: the audit tells of it
            order = order[~strange]
            read = {name: column[~strange] for name, column in read.items()}
        line_no, level = read["cell"] >> 2, (read["cell"] & 3) - 1
        line = places.line(order, line_no)
        return Paid(order, line, level, read["distributor"], read["amount"])

    def _recorded(self, places: _Places) -> Recorded:
        by_level = {
            name: [f"{name}{level}" for level in range(1, MAX_LEVELS + 1)]
            for name in ("earner", "rank", "volume", "room")
        }
        kinds = {"order_id": "int8", "first": "bool", "marks": "int8"} | {
            name: "int2" if name.startswith("rank") else "int8"
            for names in by_level.values()
            for name in names
        }
        read = self._columns(kinds, _FACTS, places.ids)
        columns = {
            name: np.stack([read[each] for each in names], axis=1)
            for name, names in by_level.items()
        }
        return Recorded(
            order=places.order(read["order_id"]),
            first=read["first"],
            upline=columns["earner"],
            rank=columns["rank"],
            volume=columns["volume"],
            room=columns["room"],
            marks=read["marks"],
        )


def _texts(names: Names, number: Ints) -> list[Any]:
    found: list[Any] = np.array(names.texts, object)[number].tolist() if len(number) else []
    return found


def _rows(ids: Ints, wanted: Ints) -> Ints:
    """Where ids stand among ascending ones that have them all. Mostly they come in runs: only the
    first of each is looked for."""
    begins = np.ones(len(wanted), bool)
    np.not_equal(wanted[1:], wanted[:-1], out=begins[1:])
    found = np.searchsorted(ids, wanted[begins])
    made: Ints = found[np.cumsum(begins) - 1]
    return made


@dataclass(frozen=True, slots=True)
class _Places:
    """Where orders and lines are found in a chunk."""

    ids: Ints
    starts: Ints
    line_no: Ints

    def order(self, order_ids: Ints) -> Ints:
        """Rows of orders by id."""
        return _rows(self.ids, order_ids)

    def line(self, order: Ints, line_no: Ints) -> Ints:
        """The lines of orders by number, -1 for one that is not there. An order's lines are
        numbered from 1, without a gap."""
        if not len(self.line_no):
            return np.full(len(order), -1)
        place = self.starts[order] + line_no - 1
        last = len(self.line_no) - 1
        there = (place >= self.starts[order]) & (place < self.starts[order + 1])
        there &= self.line_no[np.clip(place, 0, last)] == line_no
        return np.where(there, place, -1)


def read_forest(cur: psycopg.Cursor[Any], brand_id: int) -> Forest:
    """The whole tree of a brand."""
    read = read_columns(
        cur,
        {"distributor": "int8", "since": "timestamptz", "sponsor": "int8"},
        "SELECT distributor_id AS distributor, valid_from AS since,"
        " coalesce(sponsor_id, 0) AS sponsor FROM sponsorship WHERE brand_id = %(brand)s"
        " ORDER BY distributor_id, valid_from",
        {"brand": brand_id},
    )
    return Forest(read["distributor"], read["since"], read["sponsor"])


def read_all_standings(
    cur: psycopg.Cursor[Any], brand_id: int
) -> dict[int, list[tuple[datetime, Standing]]]:
    """Status and rank, oldest first, of everybody who ever had another than everybody has."""
    cur.execute(
        "SELECT distributor_id, valid_from, status, rank FROM standing WHERE brand_id = %s"
        " ORDER BY distributor_id, valid_from",
        [brand_id],
    )
    found: dict[int, list[tuple[datetime, Standing]]] = {}
    for who, since, status, rank in cur:
        found.setdefault(who, []).append((since, Standing(status == "active", rank)))
    return found
