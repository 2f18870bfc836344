"""Recording what providers say, once: whoever says it, however often, in whatever order.

A payout moves forward only: what is paid is not paid again by a message that comes twice, and a
message that is older than what is known changes nothing. The state of the rows decides, under their
locks, and the ledger follows exactly what moved.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.orm import Session

from distrib import clock
from distrib.errors import InvalidInput
from distrib.ledger.chart import TransferCode
from distrib.settlement.posting import note_event, post_payouts
from distrib.settlement.providers import Outcome, Status
from distrib.settlement.tables import SettlementBatch

_NUMBER = re.compile(r"([1-9]\d{0,18})p([1-9]\d{0,8})a([1-9]\d{0,3})", re.ASCII)


@dataclass(frozen=True, slots=True)
class AttemptKey:
    """What a request number says: which try of which payout."""

    batch_id: int
    no: int
    attempt: int


def read_request_no(request_no: str) -> AttemptKey:
    """Batch, payout and attempt of a request number.

    :raises InvalidInput: when it is none of ours.
    """
    found = _NUMBER.fullmatch(request_no)
    if found is None or int(found[1]) >= 2**63 or int(found[3]) >= 2**15:
        raise InvalidInput(f"{request_no!r} is no request number", field="request_no")
    return AttemptKey(int(found[1]), int(found[2]), int(found[3]))


def write_request_no(key: AttemptKey) -> str:
    """The request number of an attempt: letters and digits, at most 32."""
    return f"{key.batch_id}p{key.no}a{key.attempt}"


ASK_AFTER = (5, 15, 60, 300, 900, 3_600, 4 * 3_600)
"""Seconds from one question to the next about a request that is not decided."""


# An attempt's way: sent → pending → paid → returned, or sent → pending → failed. UNKNOWN and ABSENT
# say nothing of it but when to ask again. Money that came back before we knew that it had arrived
# has failed, as far as we are concerned.
_RECORD = text(
    """
    WITH given AS (
        SELECT * FROM unnest(CAST(:nos AS int[]), CAST(:attempts AS smallint[]),
            CAST(:statuses AS text[]), CAST(:refs AS text[]), CAST(:codes AS text[]),
            CAST(:messages AS text[]), CAST(:actions AS text[]))
            g (no, attempt, status, reference, code, message, action)),
    tried AS (
        UPDATE payout_attempt a SET
            state = CASE
                WHEN g.status = 'returned' AND a.state <> 'paid' THEN 'failed'
                WHEN g.status IN ('unknown', 'absent') THEN a.state
                ELSE g.status END,
            state_at = CASE WHEN g.status IN ('unknown', 'absent') THEN a.state_at ELSE :now END,
            ask_at = CASE WHEN g.status IN ('unknown', 'absent', 'pending')
                THEN CAST(:now AS timestamptz) + make_interval(secs =>
                    (CAST(:pauses AS int[]))[least(a.asked + 1, :last)]) END,
            asked = least(a.asked + 1, 30000),
            reference = coalesce(g.reference, a.reference),
            code = coalesce(g.code, a.code),
            message = coalesce(g.message, a.message),
            action = coalesce(g.action, a.action)
        FROM given g
        WHERE a.brand_id = :brand_id AND a.batch_id = :batch_id AND a.no = g.no
          AND a.attempt = g.attempt
          AND (a.state IN ('sent', 'pending') OR a.state = 'paid' AND g.status = 'returned')
        RETURNING a.no, a.attempt, a.state)
    UPDATE payout p SET state = t.state
    FROM tried t
    WHERE p.brand_id = :brand_id AND p.batch_id = :batch_id AND p.no = t.no
      AND (p.state = 'sent' AND t.state IN ('paid', 'failed')
           OR p.state = 'paid' AND t.state = 'returned')
    RETURNING p.no, p.state
    """
)

_CONTRADICTED = text(
    """
    SELECT a.no, a.attempt, a.state, g.status
    FROM unnest(CAST(:nos AS int[]), CAST(:attempts AS smallint[]), CAST(:statuses AS text[]))
         g (no, attempt, status)
    JOIN payout_attempt a ON a.brand_id = :brand_id AND a.batch_id = :batch_id AND a.no = g.no
         AND a.attempt = g.attempt
    WHERE a.state = 'failed' AND g.status = 'paid' OR a.state = 'paid' AND g.status = 'failed'
    ORDER BY a.no
    """
)


@dataclass(frozen=True, slots=True)
class Recorded:
    """The payouts that moved, by what they are now."""

    paid: Sequence[int] = ()
    failed: Sequence[int] = ()
    returned: Sequence[int] = ()

    @property
    def moved(self) -> int:
        """How many moved."""
        return len(self.paid) + len(self.failed) + len(self.returned)


def record_outcomes(
    session: Session, batch: SettlementBatch, outcomes: Iterable[Outcome], *, source: str
) -> Recorded:
    """Record outcomes of one batch's requests and post what they move.

    :param source: who says it: a provider's answer, a callback, a file, a person.
    :returns: what moved; nothing for what was known already.
    """
    keys = [(read_request_no(each.request_no), each) for each in outcomes]
    if not keys:
        return Recorded()
    last: dict[tuple[int, int], Outcome] = {}
    for key, outcome in keys:
        known = last.get((key.no, key.attempt))
        if known is None or _rank(outcome.status) >= _rank(known.status):
            last[key.no, key.attempt] = outcome
    ordered = sorted(last.items())
    given = [each for _, each in ordered]
    parameters = {
        "brand_id": batch.brand_id,
        "batch_id": batch.id,
        "nos": [no for (no, _), _ in ordered],
        "attempts": [attempt for (_, attempt), _ in ordered],
        "statuses": [each.status.value for each in given],
    }
    _lock_payouts(session, parameters)
    _note_contradictions(session, batch, parameters, source)
    moved = defaultdict(list)
    for row in session.execute(
        _RECORD,
        parameters
        | {
            "refs": [each.reference for each in given],
            "codes": [each.code for each in given],
            "messages": [each.message and each.message[:500] for each in given],
            "actions": [each.action for each in given],
            "now": clock.now(),
            "pauses": list(ASK_AFTER),
            "last": len(ASK_AFTER),
        },
    ):
        moved[row.state].append(row.no)
    _post(session, batch, moved)
    return Recorded(*(sorted(moved[state]) for state in ("paid", "failed", "returned")))


_FORWARD = (
    Status.UNKNOWN,
    Status.ABSENT,
    Status.PENDING,
    Status.FAILED,
    Status.PAID,
    Status.RETURNED,
)


def _rank(status: Status) -> int:
    return _FORWARD.index(status)


def _lock_payouts(session: Session, parameters: Mapping[str, object]) -> None:
    """Rows are locked in the order of their numbers, whoever comes."""
    session.execute(
        text(
            "SELECT FROM payout WHERE brand_id = :brand_id AND batch_id = :batch_id"
            " AND no = ANY(:nos) ORDER BY no FOR NO KEY UPDATE"
        ),
        parameters,
    )


def _note_contradictions(
    session: Session, batch: SettlementBatch, parameters: Mapping[str, object], source: str
) -> None:
    """A provider that takes back what it said to be final is not followed: a person must look."""
    for row in session.execute(_CONTRADICTED, parameters):
        note_event(
            session,
            batch,
            "contradiction",
            actor=source,
            no=row.no,
            reason=f"attempt {row.attempt} is recorded as {row.state}, now it is said to be"
            f" {row.status}",
            attempt=row.attempt,
        )


def _post(session: Session, batch: SettlementBatch, moved: Mapping[str, list[int]]) -> None:
    for state, codes in (
        ("paid", (TransferCode.CONFIRM, TransferCode.WITHHOLD)),
        ("failed", (TransferCode.FAIL,)),
        ("returned", (TransferCode.RETURN, TransferCode.UNWITHHOLD)),
    ):
        for code in codes if moved.get(state) else ():
            if batch.tax_total or code not in (TransferCode.WITHHOLD, TransferCode.UNWITHHOLD):
                post_payouts(session, batch, code, nos=moved[state])
