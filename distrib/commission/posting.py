"""Turning what the engine computed into commission rows, transfers and open items.

One function writes them for orders and refunds alike, for one order and for a chunk of thousands.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from distrib.brands.tables import Brand
from distrib.bulk import Writer, write_rows
from distrib.commission.tables import Commission, OpenItem
from distrib.ledger.chart import TransferCode
from distrib.ledger.service import post

Ints = np.ndarray[Any, np.dtype[np.int64]]
Days = np.ndarray[Any, np.dtype[np.datetime64]]


@dataclass(frozen=True, slots=True)
class Sources:
    """What causes commission: orders, or refunds of orders. One entry each.

    :param id: id of the order or refund.
    :param order_id: the order (the same for an order).
    :param upline: distributors at level 1 to 3, 0 for none. Shape (n, 3).
    :param earned_on: the day of the event where the brand lives.
    :param available_on: the day the order leaves the hold.
    :param held: whether that day is still to come in the ledger.
    """

    id: Ints
    order_id: Ints
    upline: Ints
    earned_on: Days
    available_on: Days
    held: np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True, slots=True)
class Changes:
    """What changes by line: rows as the engine gives them.

    :param source: index into :class:`Sources`.
    :param amount: what the line pays each level more (or, negative, less). Shape (n, 3), as rule,
        base and rate.
    """

    source: Ints
    line_no: Ints
    rule: Ints
    base: Ints
    rate_ppm: Ints
    amount: Ints


def write_commissions(
    writer: Writer,
    *,
    brand: Brand,
    sources: Sources,
    changes: Changes,
    posted_at: datetime,
) -> None:
    """Write what the changes mean: one commission a line and level, one transfer and one open
    item a source and distributor, summed over its lines."""
    line, level = np.nonzero(changes.amount)
    if len(line) == 0:
        return
    source = changes.source[line]
    distributor = sources.upline[source, level]
    amount = changes.amount[line, level]
    write_rows(
        writer,
        Commission,
        {
            "brand_id": brand.id,
            "source_id": sources.id[source],
            "line_no": changes.line_no[line],
            "level": level + 1,
            "order_id": sources.order_id[source],
            "distributor_id": distributor,
            "rule_no": changes.rule[line, level],
            "rate_ppm": changes.rate_ppm[line, level],
            "base": changes.base[line, level],
            "amount": amount,
            "earned_on": sources.earned_on[source],
        },
        len(line),
    )
    totals = np.zeros((len(sources.id), changes.amount.shape[1]), np.int64)
    np.add.at(totals, (source, level), amount)
    source, level = np.nonzero(totals)
    if len(source) == 0:
        return
    distributor = sources.upline[source, level]
    total = totals[source, level]
    held = sources.held[source]
    code = np.where(
        total > 0,
        np.where(held, TransferCode.ACCRUE, TransferCode.ACCRUE_AVAILABLE),
        np.where(held, TransferCode.REVERSE, TransferCode.CLAW_BACK),
    )
    post(
        writer,
        brand_id=brand.id,
        asset=brand.currency,
        posted_at=posted_at,
        posting_id=sources.id[source],
        seq=level + 1,
        code=code,
        owner=distributor,
        amount=np.abs(total),
    )
    write_rows(
        writer,
        OpenItem,
        {
            "brand_id": brand.id,
            "distributor_id": distributor,
            "posting_id": sources.id[source],
            "asset": brand.currency,
            "amount": total,
            "available_on": sources.available_on[source],
            "held": held,
        },
        len(source),
    )
