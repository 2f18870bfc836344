"""Recording what providers say, once: whoever says it, however often, in whatever order.

A payout moves forward only: what is paid is not paid again by a message that comes twice, and a
message that is older than what is known changes nothing. The state of the rows decides, under their
locks, and the ledger follows exactly what moved.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.orm import Session

from distrib import clock, ids
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


# What was said goes to the server as one object, by payout and attempt: it is looked up row by row,
# and no plan can go wrong over a join with a list whose length the planner does not know.
_OURS = """
    a.brand_id = :brand_id AND a.batch_id = :batch_id AND a.no BETWEEN :low AND :high
    AND a.no = ANY(:nos) AND CAST(:said AS jsonb) ? (a.no || 'a' || a.attempt)
"""
_SAID = "(CAST(:said AS jsonb) -> (a.no || 'a' || a.attempt) ->> {})"
_STATUS, _REFERENCE, _CODE, _MESSAGE, _ACTION = (_SAID.format(n) for n in range(5))

# An attempt's way: sent → pending → paid → returned, or sent → pending → failed. UNKNOWN and ABSENT
# say nothing of it but when to ask again. Money that came back before we knew that it had arrived
# has failed, as far as we are concerned.
_RECORD = text(
    f"""
    UPDATE payout_attempt a SET
        state = CASE
            WHEN {_STATUS} = 'returned' AND a.state <> 'paid' THEN 'failed'
            WHEN {_STATUS} IN ('unknown', 'absent') THEN a.state
            ELSE {_STATUS} END,
        state_at = CASE WHEN {_STATUS} IN ('unknown', 'absent') THEN a.state_at ELSE :now END,
        ask_at = CASE WHEN {_STATUS} IN ('unknown', 'absent', 'pending')
            THEN CAST(:now AS timestamptz) + make_interval(secs =>
                (CAST(:pauses AS int[]))[least(a.asked + 1, :last)]) END,
        asked = least(a.asked + 1, 30000),
        reference = coalesce({_REFERENCE}, a.reference),
        code = coalesce({_CODE}, a.code),
        message = coalesce({_MESSAGE}, a.message),
        action = coalesce({_ACTION}, a.action)
    WHERE {_OURS}
      AND (a.state IN ('sent', 'pending') OR a.state = 'paid' AND {_STATUS} = 'returned')
    RETURNING a.no, a.state
    """
)

_MOVE = text(
    """
    UPDATE payout SET state = :state
    WHERE brand_id = :brand_id AND batch_id = :batch_id AND no BETWEEN :low AND :high
      AND no = ANY(:nos) AND state = :before
    RETURNING no
    """
)

_CONTRADICTED = text(
    f"""
    SELECT a.no, a.attempt, a.state, {_STATUS} AS status FROM payout_attempt a
    WHERE {_OURS}
      AND (a.state = 'failed' AND {_STATUS} = 'paid' OR a.state = 'paid' AND {_STATUS} = 'failed')
    ORDER BY a.no
    """
)

_BEFORE = {"paid": "sent", "failed": "sent", "returned": "paid"}
"""Which state of a payout an attempt's new state moves on."""


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
    nos = sorted({no for no, _ in last})
    parameters = {
        "brand_id": batch.brand_id,
        "batch_id": batch.id,
        "nos": nos,
        "low": nos[0],
        "high": nos[-1],
        "said": json.dumps(
            {
                f"{no}a{attempt}": (
                    each.status.value,
                    each.reference,
                    each.code,
                    each.message and each.message[:500],
                    each.action,
                )
                for (no, attempt), each in last.items()
            }
        ),
    }
    _lock_payouts(session, parameters)
    _note_contradictions(session, batch, parameters, source)
    now = {"now": clock.now(), "pauses": list(ASK_AFTER), "last": len(ASK_AFTER)}
    tried = defaultdict(list)
    for row in session.execute(_RECORD, parameters | now):
        tried[row.state].append(row.no)
    moved = {}
    for state, before in _BEFORE.items():
        if tried[state]:
            change = {"nos": tried[state], "state": state, "before": before}
            moved[state] = sorted(session.scalars(_MOVE, parameters | change))
    _post(session, batch, moved)
    return Recorded(*(moved.get(state, ()) for state in ("paid", "failed", "returned")))


_CALL = """
    UPDATE payout_attempt SET state = :status, state_at = :now, asked = 1, ask_at = {ask_at}
    WHERE brand_id = :brand_id AND batch_id = :batch_id AND no BETWEEN :first AND :last
      AND call_no = :call_no AND state IN ('sent', 'pending')
    RETURNING no
"""

# A payout that is sent is so by its last attempt, which says in which call. Payouts move first, so
# locks are taken in the same order as in record_outcomes.
_PAID_CALL = f"""
    moved AS (
        UPDATE payout p SET state = 'paid'
        WHERE p.brand_id = :brand_id AND p.batch_id = :batch_id AND p.no BETWEEN :first AND :last
          AND p.state = 'sent' AND :call_no = (
            SELECT a.call_no FROM payout_attempt a WHERE a.brand_id = p.brand_id
            AND a.batch_id = p.batch_id AND a.no = p.no AND a.attempt = p.attempts)
        RETURNING p.no, p.distributor_id, p.amount, p.tax),
    tried AS ({_CALL.format(ask_at="NULL")})
"""

_PENDING_CALL = text(
    _CALL.format(
        ask_at="CAST(:now AS timestamptz) + make_interval(secs => CAST(:pause AS integer))"
    )
)


def record_call(
    session: Session,
    batch: SettlementBatch,
    *,
    call_no: int,
    first: int,
    last: int,
    status: Status,
) -> None:
    """Record one status for all requests of a call, within the payouts ``first`` to ``last``.

    The same as :func:`record_outcomes` with that status for each, in a tenth of the time.

    :param status: PAID or PENDING.
    """
    scope = {
        "brand_id": batch.brand_id,
        "batch_id": batch.id,
        "first": first,
        "last": last,
        "call_no": call_no,
        "status": status.value,
        "now": clock.now(),
    }
    if status == Status.PENDING:
        session.execute(_PENDING_CALL, scope | {"pause": ASK_AFTER[0]})
        return
    if status != Status.PAID:
        raise ValueError(f"a whole call is paid or pending, not {status}")
    posting_id = ids.new()
    post_payouts(
        session,
        batch,
        TransferCode.CONFIRM,
        posting_id=posting_id,
        moving=_PAID_CALL,
        scope=scope,
    )
    if batch.tax_total:
        post_payouts(
            session,
            batch,
            TransferCode.WITHHOLD,
            moving="moved AS (SELECT p.* FROM transfer t CROSS JOIN LATERAL ("
            " SELECT no, distributor_id, amount, tax FROM payout WHERE brand_id = :brand_id"
            " AND batch_id = :batch_id AND no = t.seq LIMIT 1) p"
            " WHERE t.brand_id = :brand_id AND t.posting_id = :confirmed)",
            scope={"confirmed": posting_id},
        )


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
            " AND no BETWEEN :low AND :high AND no = ANY(:nos) ORDER BY no FOR NO KEY UPDATE"
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
