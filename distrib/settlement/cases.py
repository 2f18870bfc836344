"""Cases: differences between the ledger and a statement, looked at by a person, and ended.

A case ends once: in what the ledger needs, posted with the person's note as its reason, or in the
note alone. Each kind can end in some ways only, and they follow from what is recorded by then.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from distrib import clock, ids
from distrib.brands.tables import Brand
from distrib.errors import Conflict, InvalidInput, NotFound
from distrib.ledger.chart import BRAND, TransferCode
from distrib.ledger.service import post_query
from distrib.settlement.adjustments import AdjustmentKind, request_adjustment
from distrib.settlement.book_tables import ReconciliationCase, StatementImport, StatementLine
from distrib.settlement.outcomes import AttemptKey, write_request_no
from distrib.settlement.payouts import decide_payout, return_payout
from distrib.settlement.people import require_person, require_words
from distrib.settlement.tables import BatchPosting, Payout, PayoutAttempt, SettlementBatch
from distrib.tree.queries import get_distributor
from distrib.tree.tables import Distributor

CASE_PREFIX = "cas"
"""Of the public ids of cases."""


class CaseKind(StrEnum):
    """What does not agree."""

    MISSING = "missing"
    EXTRA = "extra"
    AMOUNT_DIFFERS = "amount_differs"
    LATE_RETURN = "late_return"


class Resolution(StrEnum):
    """How a case ends."""

    RETURN = "return"
    """The money came back, or never left: the payment is undone."""
    ADJUST = "adjust"
    """A distributor was paid more or less: an adjustment, for another person to approve."""
    DIFFER = "differ"
    """Money went out that is nobody's: posted as a difference of the bank."""
    CONFIRM = "confirm"
    """It was paid, and nobody had said so."""
    NOTE = "note"
    """Explained; nothing moves."""


class CaseNotFound(NotFound):
    """No case of that id."""

    title = "No such reconciliation case"


class CaseResolved(Conflict):
    """A case is resolved once."""

    title = "The case has been resolved"


class CaseNeedsAnother(Conflict):
    """The case cannot be resolved in this way."""

    title = "The case is not resolved like this"


@dataclass(frozen=True)
class CaseView:
    """A case with what it is about.

    :param attempt_state: of the payment that it concerns; None when it is nobody's we know.
    :param net: what that payment is of.
    :param line: the statement's line that opened it; None for what is missing.
    :param ways: how it can be resolved now.
    """

    case: ReconciliationCase
    statement: StatementImport | None
    line: StatementLine | None
    batch: int | None
    distributor_id: int | None
    distributor: str | None
    attempt_state: str | None
    net: int | None
    ways: tuple[Resolution, ...]

    @property
    def request_no(self) -> str | None:
        """The number of the payment that it concerns."""
        of = self.case
        if of.batch_id is None or of.no is None or of.attempt is None:
            return None
        return write_request_no(AttemptKey(of.batch_id, of.no, of.attempt))


def get_case(
    session: Session, *, brand_id: int, case_id: int, for_update: bool = False
) -> ReconciliationCase:
    """The brand's case of that id.

    :raises CaseNotFound: when there is none.
    """
    query = select(ReconciliationCase).where(
        ReconciliationCase.brand_id == brand_id, ReconciliationCase.id == case_id
    )
    if for_update:
        query = query.with_for_update().execution_options(populate_existing=True)
    case = session.scalar(query)
    if case is None:
        raise CaseNotFound(f"there is no case {ids.public(CASE_PREFIX, case_id)}", field="case")
    return case


def view_case(session: Session, *, case: ReconciliationCase) -> CaseView:
    """A case with what it is about, and how it can be resolved."""
    key = (case.brand_id, case.batch_id, case.no)
    batch = session.get(SettlementBatch, key[:2]) if case.batch_id is not None else None
    payout = session.get(Payout, key, populate_existing=True) if batch is not None else None
    attempt = (
        session.get(PayoutAttempt, (*key, case.attempt), populate_existing=True) if payout else None
    )
    person = (
        None if payout is None else session.get(Distributor, (case.brand_id, payout.distributor_id))
    )
    made = CaseView(
        case=case,
        statement=None
        if case.import_id is None
        else session.get(StatementImport, (case.brand_id, case.import_id)),
        line=None
        if case.line is None
        else session.get(StatementLine, (case.brand_id, case.import_id, case.line)),
        batch=None if batch is None else batch.number,
        distributor_id=None if payout is None else payout.distributor_id,
        distributor=None if person is None else person.external_id,
        attempt_state=None if attempt is None else attempt.state,
        net=None if payout is None else payout.amount - payout.tax,
        ways=(),
    )
    current = payout is not None and payout.state == "paid" and payout.attempts == case.attempt
    ways = _ways(made, current) if case.state == "open" else ()
    return replace(made, ways=ways)


def _ways(view: CaseView, current: bool) -> tuple[Resolution, ...]:
    """How a case can be resolved.

    :param current: its payment is recorded as paid, and is the last of its payout.
    """
    found, net, state = view.case.found, view.net, view.attempt_state
    way: Resolution | None = None
    match CaseKind(view.case.kind):
        case CaseKind.MISSING:
            way = Resolution.RETURN if current else None
        case CaseKind.LATE_RETURN if current and net is not None and found == -net:
            way = Resolution.RETURN
        case CaseKind.LATE_RETURN | CaseKind.AMOUNT_DIFFERS:
            way = Resolution.ADJUST if state in ("paid", "returned") else None
        case CaseKind.EXTRA if state is None:
            return (
                *((Resolution.DIFFER,) if found > 0 else ()),
                Resolution.ADJUST,
                Resolution.NOTE,
            )
        case CaseKind.EXTRA if state in ("sent", "pending"):
            way = Resolution.CONFIRM if found == net else None
        case CaseKind.EXTRA:
            way = Resolution.ADJUST
    return (Resolution.NOTE,) if way is None else (way, Resolution.NOTE)


def resolve_case(
    session: Session,
    *,
    brand: Brand,
    case_id: int,
    resolution: Resolution | str,
    note: str,
    resolved_by: str,
    distributor: str | None = None,
) -> ReconciliationCase:
    """End a case, with what the ledger needs.

    :param note: why; kept with the case, and the reason of what it posts.
    :param distributor: whom an adjustment is for, when the line names no payment of ours.
    :raises CaseResolved: when it has ended.
    :raises CaseNeedsAnother: naming the ways in which it can.
    """
    resolution = Resolution(resolution)
    resolved_by = require_person(resolved_by, "resolved_by")
    note = require_words(note, "note", "say why")
    case = get_case(session, brand_id=brand.id, case_id=case_id, for_update=True)
    name = ids.public(CASE_PREFIX, case.id)
    if case.state != "open":
        raise CaseResolved(f"{name} was resolved by {case.resolved_by}: {case.note}", field="case")
    view = view_case(session, case=case)
    if resolution not in view.ways:
        of = f" of a payment that is {view.attempt_state}" if view.attempt_state else ""
        raise CaseNeedsAnother(
            f"{case.kind.replace('_', ' ')}{of} ends in {' or '.join(view.ways)}",
            field="resolution",
        )
    if distributor is not None and (resolution is not Resolution.ADJUST or view.distributor):
        raise InvalidInput("only for an adjustment of money that names nobody", field="distributor")
    reason = f"{name}: {note}"
    match resolution:
        case Resolution.RETURN:
            scope: dict[str, Any] = {"brand_id": brand.id, "number": view.batch, "no": case.no}
            return_payout(session, returned_by=resolved_by, reason=reason, **scope)
            case.posting_id = _posting(session, case, TransferCode.RETURN)
        case Resolution.CONFIRM:
            scope = {"brand_id": brand.id, "number": view.batch, "no": case.no}
            decide_payout(session, paid=True, decided_by=resolved_by, evidence=reason, **scope)
            case.posting_id = _posting(session, case, TransferCode.CONFIRM)
        case Resolution.ADJUST:
            case.posting_id = _adjust(
                session, brand, view, named=distributor, reason=reason, requested_by=resolved_by
            )
        case Resolution.DIFFER:
            post_query(
                session,
                brand_id=brand.id,
                posting_id=case.id,
                code=TransferCode.DIFFER,
                posted_at=clock.now(),
                query="SELECT 1 AS seq, CAST(:owner AS bigint) AS owner,"
                " CAST(:amount AS bigint) AS amount, CAST(:asset AS text) AS asset",
                parameters={"owner": BRAND, "amount": case.found, "asset": brand.currency},
            )
            case.posting_id = case.id
    case.state, case.resolution, case.note = "resolved", resolution.value, note
    case.resolved_at, case.resolved_by = clock.now(), resolved_by
    session.flush()
    return case


def _posting(session: Session, case: ReconciliationCase, code: TransferCode) -> int | None:
    """The posting that has just been made for the case's payout."""
    session.flush()
    return session.scalar(
        select(func.max(BatchPosting.posting_id)).where(
            BatchPosting.brand_id == case.brand_id,
            BatchPosting.batch_id == case.batch_id,
            BatchPosting.first_no == case.no,
            BatchPosting.code == int(code),
        )
    )


def _adjust(
    session: Session,
    brand: Brand,
    view: CaseView,
    *,
    named: str | None,
    reason: str,
    requested_by: str,
) -> int:
    """Ask for the adjustment that sets a difference right; its id is that of its posting."""
    distributor_id = view.distributor_id
    if distributor_id is None:
        if named is None:
            raise InvalidInput("say whose money it is", field="distributor")
        distributor_id = get_distributor(session, brand_id=brand.id, external_id=named).id
    difference = view.case.found - view.case.expected
    kind = AdjustmentKind.OVERPAID if difference > 0 else AdjustmentKind.UNDERPAID
    return request_adjustment(
        session,
        brand=brand,
        distributor_id=distributor_id,
        kind=kind,
        amount=abs(difference),
        reason=reason,
        requested_by=requested_by,
        case_id=view.case.id,
    ).id


def case_filters(
    brand_id: int, *, state: str | None, kind: str | None, provider: str | None
) -> list[ColumnElement[bool]]:
    """What chooses the cases of a brand; None is any."""
    wanted = {
        ReconciliationCase.state: state,
        ReconciliationCase.kind: kind,
        ReconciliationCase.provider: provider,
    }
    return [
        ReconciliationCase.brand_id == brand_id,
        *(column == value for column, value in wanted.items() if value is not None),
    ]


def list_cases(
    session: Session,
    *,
    brand_id: int,
    state: str | None = None,
    kind: str | None = None,
    provider: str | None = None,
    limit: int = 50,
) -> list[ReconciliationCase]:
    """Cases, newest first."""
    return list(
        session.scalars(
            select(ReconciliationCase)
            .where(*case_filters(brand_id, state=state, kind=kind, provider=provider))
            .order_by(ReconciliationCase.id.desc())
            .limit(limit)
        )
    )
