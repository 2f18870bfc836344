"""Who is paid and who is not, and why: the same judgement for a preview and for a batch."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from distrib import clock
from distrib.brands.tables import Brand
from distrib.errors import InvalidInput
from distrib.money import format_amount


class Reason(enum.StrEnum):
    """Why somebody who has something is not in a batch."""

    BELOW_MINIMUM = "below_minimum"
    DEBT = "debt"
    SUSPENDED = "suspended"
    NOT_CHOSEN = "not_chosen"
    NO_METHOD = "no_method"
    METHOD_COOLING = "method_cooling"
    WAITING = "waiting"


WORDS: dict[Reason, str] = {
    Reason.BELOW_MINIMUM: "below the minimum payout; carried forward",
    Reason.DEBT: "in debt after refunds; netted from later earnings",
    Reason.SUSPENDED: "suspended; stays open until reactivated",
    Reason.NOT_CHOSEN: "left out by the batch's filters",
    Reason.NO_METHOD: "no proved payout method of the kind this provider needs",
    Reason.METHOD_COOLING: "payout method changed lately; it rests for a while",
    Reason.WAITING: "available only after the cutoff",
}


@dataclass(frozen=True, slots=True)
class Filters:
    """What a batch is limited to.

    :param only: external ids; empty is everybody.
    :param without: external ids to leave out.
    :param minimum: minor units, at least the brand's minimum payout; None is that.
    """

    only: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    minimum: int | None = None

    def document(self) -> dict[str, Any]:
        """As the batch keeps it."""
        found: dict[str, Any] = {}
        if self.only:
            found["only"] = list(self.only)
        if self.without:
            found["without"] = list(self.without)
        if self.minimum is not None:
            found["minimum"] = self.minimum
        return found


EVERYBODY = Filters()

_JUDGED = """
    SELECT s.distributor_id, s.due, s.later, m.id AS method_id, CASE
        WHEN s.due < 0 THEN 'debt'
        WHEN s.due = 0 THEN CASE WHEN s.later > 0 THEN 'waiting' END
        WHEN {unchosen} THEN 'not_chosen'
        WHEN d.status = 'suspended' THEN 'suspended'
        WHEN s.due < :minimum THEN 'below_minimum'
        WHEN CAST(:method AS text) IS NULL THEN 'taken'
        WHEN m.id IS NULL THEN 'no_method'
        WHEN m.usable_from > :now THEN 'method_cooling'
        ELSE 'taken' END AS reason
    FROM (SELECT distributor_id,
                 coalesce(sum(amount) FILTER (WHERE available_on <= :cutoff), 0)::bigint AS due,
                 coalesce(sum(amount) FILTER (WHERE available_on > :cutoff), 0)::bigint AS later
          FROM open_item WHERE brand_id = :brand_id AND asset = :asset
          GROUP BY distributor_id) s
    JOIN distributor d ON d.brand_id = :brand_id AND d.id = s.distributor_id
    {methods}
"""

_NO_METHODS = "CROSS JOIN (SELECT NULL::bigint AS id, NULL::timestamptz AS usable_from) m"
_METHODS = """
    LEFT JOIN payout_method m ON m.brand_id = :brand_id AND m.distributor_id = s.distributor_id
         AND m.kind = :method AND m.proved_at IS NOT NULL AND m.replaced_at IS NULL
"""


def judged(filters: Filters, method: str | None) -> str:
    """SQL of everybody with open items: ``distributor_id, due, later, method_id, reason``, where
    reason ``taken`` is who is paid."""
    unchosen = ["false"]
    if filters.only:
        unchosen.append("d.external_id <> ALL(:only)")
    if filters.without:
        unchosen.append("d.external_id = ANY(:without)")
    return _JUDGED.format(
        unchosen=" OR ".join(unchosen), methods=_METHODS if method else _NO_METHODS
    )


def scope(brand: Brand, *, cutoff: date, filters: Filters, method: str | None) -> dict[str, Any]:
    """The parameters of :func:`judged`.

    :raises InvalidInput: for a minimum below the brand's.
    """
    if filters.minimum is not None and filters.minimum < brand.minimum_payout:
        raise InvalidInput(
            f"at least the brand's {format_amount(brand.minimum_payout, brand.currency)}",
            field="filters.minimum",
        )
    return {
        "brand_id": brand.id,
        "asset": brand.currency,
        "cutoff": cutoff,
        "minimum": filters.minimum or brand.minimum_payout,
        "method": method,
        "now": clock.now(),
        "only": list(filters.only),
        "without": list(filters.without),
    }


def check_named(session: Session, *, brand_id: int, filters: Filters) -> None:
    """Every distributor that the filters name exists.

    :raises InvalidInput: naming the first that does not.
    """
    for name, ids in (("only", filters.only), ("without", filters.without)):
        unknown = session.scalar(
            text(
                "SELECT x FROM unnest(CAST(:ids AS text[])) WITH ORDINALITY u (x, n)"
                " WHERE NOT EXISTS (SELECT FROM distributor d"
                "  WHERE d.brand_id = :brand_id AND d.external_id = x) ORDER BY n LIMIT 1"
            ),
            {"ids": list(ids), "brand_id": brand_id},
        )
        if unknown is not None:
            raise InvalidInput(f"there is no distributor {unknown!r}", field=f"filters.{name}")


@dataclass(frozen=True, slots=True)
class PreviewLine:
    """One distributor with open items: what is due at the cutoff, and what becomes of it.

    :param reason: why it is not paid; None when it is.
    """

    distributor_id: int
    external_id: str
    name: str
    due: int
    later: int
    reason: Reason | None


@dataclass(frozen=True, slots=True)
class Preview:
    """What a batch would hold, counted. ``reasons`` gives number and sum of who is left out."""

    cutoff: date
    payouts: int
    total: int
    reasons: dict[Reason, tuple[int, int]] = field(default_factory=dict)


def preview_counts(
    session: Session, *, brand: Brand, cutoff: date, filters: Filters, method: str | None
) -> Preview:
    """What a batch drawn up now would hold, by number and sum. Nothing is written."""
    check_named(session, brand_id=brand.id, filters=filters)
    found = session.execute(
        text(
            "SELECT reason, count(*) AS n, sum(CASE WHEN reason = 'waiting' THEN later ELSE due"
            f" END)::bigint AS total FROM ({judged(filters, method)}) j"
            " WHERE reason IS NOT NULL GROUP BY reason ORDER BY reason"
        ),
        scope(brand, cutoff=cutoff, filters=filters, method=method),
    ).all()
    taken = next(((row.n, row.total) for row in found if row.reason == "taken"), (0, 0))
    return Preview(
        cutoff=cutoff,
        payouts=int(taken[0]),
        total=int(taken[1]),
        reasons={
            Reason(row.reason): (int(row.n), int(row.total))
            for row in found
            if row.reason != "taken"
        },
    )


def preview_lines(
    session: Session,
    *,
    brand: Brand,
    cutoff: date,
    filters: Filters,
    method: str | None,
    after: str | None = None,
    limit: int = 100,
) -> list[PreviewLine]:
    """Everybody with open items, by external id, from after ``after`` on."""
    rows = session.execute(
        text(
            f"SELECT j.*, d.external_id, d.name FROM ({judged(filters, method)}) j"
            " JOIN distributor d ON d.brand_id = :brand_id AND d.id = j.distributor_id"
            " WHERE reason IS NOT NULL AND (CAST(:after AS text) IS NULL OR external_id > :after)"
            " ORDER BY d.external_id LIMIT :limit"
        ),
        scope(brand, cutoff=cutoff, filters=filters, method=method)
        | {"after": after, "limit": limit},
    )
    return [
        PreviewLine(
            distributor_id=row.distributor_id,
            external_id=row.external_id,
            name=row.name,
            due=row.due,
            later=row.later,
            reason=None if row.reason == "taken" else Reason(row.reason),
        )
        for row in rows
    ]


def why_empty(preview: Preview, currency: str) -> str:
    """In words, why a batch would hold nobody."""
    reasons = []
    for reason, (count, total) in preview.reasons.items():
        who = "1 distributor" if count == 1 else f"{count:,} distributors"
        amount = format_amount(abs(total), currency)
        reasons.append(f"{who} ({amount} {currency}): {WORDS[reason]}")
    return f"up to {preview.cutoff}: " + ("; ".join(reasons) or "no commission is open")
