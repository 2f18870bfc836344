"""Finding out what plans ask about orders that come in, before the engine prices them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

import numpy as np
import psycopg

from distrib.brands.tables import Brand
from distrib.commission.counting import ask_firsts
from distrib.commission.earners import ENDLESS, Ledger, Sale, Told, concerned, credited, tell
from distrib.commission.plan import MAX_LEVELS, Plan, Unfilled
from distrib.commission.standings import (
    ask_chains,
    ask_reached,
    ask_sales,
    lock_distributors,
    read_standings,
)
from distrib.referrals.credit import Credit

Ints = np.ndarray[Any, np.dtype[np.int64]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True, slots=True)
class Coming:
    """An order that comes in, as far as its facts go.

    :param volume: what its lines cost, in minor units.
    :param day: the day of ``at`` where the brand lives.
    """

    id: int
    plan: Plan | None
    credit: Credit
    buyer: str | None
    at: datetime
    day: date
    volume: int


@dataclass(frozen=True, slots=True)
class Facts:
    """What the engine is told, by order, and the ledger that knows what comes next."""

    sales: list[Sale]
    credited: list[int | None]
    told: Told
    first: Bools
    ledger: Ledger
    asked: Bools
    """Of which orders a plan asks more than the tree."""


def find_facts(cur: psycopg.Cursor[Any], *, brand: Brand, coming: Sequence[Coming]) -> Facts:
    """What the plans ask, in the orders' own sequence. To be called under ``Lock.FACTS``.

    Distributors of whom sales or earnings matter are locked first, in order of id: another order
    of theirs waits, and then sees what this one did. That is how no cap is passed.
    """
    sales, whose = [], []
    for each in coming:
        credit = each.credit
        who, upline = credited(
            each.plan, named=credit.named, buyer=credit.buyer, chain=credit.chain
        )
        whose.append(who)
        sales.append(Sale(each.plan, each.at, each.day, who, upline, each.volume))
    asked = np.array([sale.plan is not None and sale.plan.uses_facts for sale in sales], bool)
    first = np.zeros(len(coming), bool)
    counts = any(each.credit.counts_sales for each in coming)
    if not (counts or asked.any()):
        return Facts(sales, whose, _plain(sales), first, Ledger({}, {}), asked)
    connection, ids = cur.connection, [each.id for each in coming]
    rolling = _rolling(sales)
    with connection.pipeline():
        firsts = ask_firsts(
            connection.cursor(),
            brand_id=brand.id,
            buyers=[each.buyer if counts else None for each in coming],
            order_ids=ids,
        )
        chains = ask_chains(
            connection.cursor(),
            brand_id=brand.id,
            ids=[sales[n].chain[0] for n in rolling],
            at=[sales[n].at for n in rolling],
        )
    found = firsts()
    first = np.array([each in found for each in ids], bool)
    for n, chain in zip(rolling, chains(), strict=True):
        sales[n] = replace(sales[n], chain=tuple(chain))
    if not asked.any():
        return Facts(sales, whose, _plain(sales), first, Ledger({}, {}), asked)
    ledger = _open_ledger(cur, brand, sales)
    return Facts(sales, whose, tell(sales, ledger), first, ledger, asked)


def _plain(sales: list[Sale]) -> Told:
    upline = np.array([sale.chain for sale in sales], np.int64).reshape(len(sales), MAX_LEVELS)
    nothing = np.zeros_like(upline)
    return Told(upline, nothing, nothing, np.zeros(len(sales), np.int64), [])


def _rolling(sales: list[Sale]) -> list[int]:
    """The orders of which a level can roll up to anybody who stood above."""
    return [
        n
        for n, sale in enumerate(sales)
        if sale.plan is not None
        and sale.plan.eligibility
        and sale.plan.unfilled is Unfilled.ROLL_UP
        and sale.credited is not None
    ]


def _open_ledger(cur: psycopg.Cursor[Any], brand: Brand, sales: list[Sale]) -> Ledger:
    plans = {id(sale.plan): sale.plan for sale in sales if sale.plan is not None}.values()
    standings: Any = {}
    if any(plan.uses_rank or plan.eligibility.active for plan in plans):
        ids = {who for sale in sales for who in sale.chain if who}
        standings = read_standings(cur, brand_id=brand.id, ids=ids)
    if not any(plan.uses_volume or plan.uses_room for plan in plans):
        return Ledger({}, standings)
    known = Ledger({}, standings)
    pairs = {(who, sale.day) for sale in sales for who in concerned(sale, known)}
    months = {(who, day.replace(day=1)) for who, day in pairs}
    connection, marks = cur.connection, any(plan.milestones for plan in plans)
    with connection.pipeline():
        lock_distributors(connection.cursor(), brand_id=brand.id, ids={who for who, _ in pairs})
        sold = ask_sales(connection.cursor(), brand_id=brand.id, wanted=pairs)
        reached = ask_reached(
            connection.cursor(), brand_id=brand.id, wanted=months if marks else ()
        )
    ledger = Ledger(sold(), standings)
    ledger.reached.update(reached())
    return ledger


def as_recorded(room: Ints) -> Ints:
    """Room as it is kept: -1 without an end."""
    return np.where(room == ENDLESS, -1, room)


def as_computed(room: Ints) -> Ints:
    """The inverse of :func:`as_recorded`."""
    return np.where(room == -1, ENDLESS, room)
