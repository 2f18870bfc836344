"""Payout methods: where a distributor wants its money, and that it was the distributor who said so.

A change is a new row. It counts when it is *proved*: by a code that was sent to the owner, or by
staff with evidence, as somebody else than who proposed it. What was used before is replaced at that
instant, and the new one rests for the brand's ``method_cool_days`` before money goes there, so that
whoever is robbed of an account has time to notice: the owner is told of every step. A batch that
was approved with a method that was replaced since holds the payout when it comes to it.

Whoever changes a distributor's methods locks its row first, so changes follow each other; should
they not, the unique index ``uq_payout_method_current`` refuses the second.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from distrib import clock, ids
from distrib.brands.tables import Brand
from distrib.db import Database
from distrib.errors import Conflict, InvalidInput, NotFound, unstorable
from distrib.settlement.book_tables import Notification, PayoutMethod
from distrib.settlement.method_details import check_details, mask_details
from distrib.settlement.people import (
    AnotherPersonNeeded,
    is_same_person,
    require_person,
    require_words,
)
from distrib.tree.facts import DistributorNotFound
from distrib.tree.tables import Distributor

PREFIX = "pm"
"""Of the public ids of payout methods."""

CODE_MINUTES = 15
CODE_TRIES = 5
PROPOSALS_A_DAY = 10

_LONGEST_NAME = 140


class MethodNotFound(NotFound):
    """No payout method of that id."""

    title = "No such payout method"


class MethodInWrongState(Conflict):
    """The payout method is not where this step starts."""

    title = "The payout method is not in a state for this"


class CodeExpired(Conflict):
    """A code is good for some minutes and some tries."""

    title = "The code is no longer valid"


class WrongCode(InvalidInput):
    """That is not the code that was sent."""

    title = "The code is not right"


class TooManyProposals(Conflict):
    """Each proposal is another code to guess."""

    title = "Too many payout methods were proposed"


def propose_method(
    session: Session,
    *,
    brand_id: int,
    distributor_id: int,
    kind: str,
    details: Mapping[str, Any],
    name: str | None = None,
    proposed_by: str,
) -> PayoutMethod:
    """Note where a distributor wants its money, and send the owner a code that proves it.

    A proposal that waits for its code is withdrawn by the next.

    :param details: see :data:`distrib.settlement.method_details.KINDS`.
    :param name: the payee's name as the bank knows it; the distributor's by default.
    :raises InvalidInput: naming the field.
    """
    kept = check_details(kind, details)
    proposed_by = require_person(proposed_by, "proposed_by")
    person = _lock_owner(session, brand_id, distributor_id)
    name = _payee(person.name if name is None else name)
    now = clock.now()
    lately = session.scalar(
        select(func.count())
        .select_from(PayoutMethod)
        .where(*_of(brand_id, distributor_id), PayoutMethod.created_at > now - timedelta(days=1))
    )
    if (lately or 0) >= PROPOSALS_A_DAY:
        raise TooManyProposals(f"{PROPOSALS_A_DAY} a day; try again tomorrow")
    for waiting in session.scalars(
        select(PayoutMethod)
        .where(*_of(brand_id, distributor_id), PayoutMethod.proof_hash.is_not(None))
        .with_for_update()
        .execution_options(populate_existing=True)
    ):
        waiting.proof_hash = None
    code = f"{secrets.randbelow(1_000_000):06d}"
    method_id = ids.new()
    until = now + timedelta(minutes=CODE_MINUTES)
    method = PayoutMethod(
        brand_id=brand_id,
        id=method_id,
        distributor_id=distributor_id,
        kind=kind,
        name=name,
        details=kept,
        created_at=now,
        created_by=proposed_by,
        proof_hash=_hash(method_id, code),
        proof_until=until,
        proof_tries=0,
    )
    session.add(method)
    _notify(session, method, "payout_method_code", code=code, valid_until=until.isoformat())
    _notify(session, method, "payout_method_proposed", **_shown(method), by=proposed_by)
    session.flush()
    return method


def prove_method(
    database: Database,
    *,
    brand_id: int,
    distributor_id: int,
    method_id: int,
    code: str,
    proved_by: str,
) -> PayoutMethod:
    """Make a proposal the distributor's payout method, by the code that its owner was sent.

    In two steps, for a caller with a transaction of its own: :func:`count_try`, which is committed
    whatever comes of the code, and :func:`accept_code`.
    """
    scope = {"brand_id": brand_id, "distributor_id": distributor_id, "method_id": method_id}
    count_try(database, **scope)
    return database.run(
        lambda session: accept_code(session, **scope, code=code, proved_by=proved_by)
    )


def count_try(
    database: Database, *, brand_id: int, distributor_id: int, method_id: int
) -> PayoutMethod:
    """Count a try of a code before anybody looks at it, so that no error and no crash gives it
    back.

    :raises CodeExpired: when the last was taken, or the time is over.
    """
    with database.transaction() as session:
        method = _get(session, brand_id, distributor_id, method_id, for_update=True)
        _require_waiting(method)
        if method.proof_tries >= CODE_TRIES:
            raise CodeExpired(f"{CODE_TRIES} tries were wrong; propose it again", field="code")
        method.proof_tries += 1
        return method


def accept_code(
    session: Session,
    *,
    brand_id: int,
    distributor_id: int,
    method_id: int,
    code: str,
    proved_by: str,
) -> PayoutMethod:
    """The second step of :func:`prove_method`; the try has been counted.

    :raises WrongCode: saying how many tries are left.
    """
    proved_by = require_person(proved_by, "proved_by")
    _lock_owner(session, brand_id, distributor_id)
    method = _get(session, brand_id, distributor_id, method_id, for_update=True)
    expected = _require_waiting(method)
    if method.proof_tries < 1:
        raise RuntimeError("count_try comes first")
    if not hmac.compare_digest(_hash(method_id, code.strip()), expected):
        left = CODE_TRIES - method.proof_tries
        tries = {0: "no try is", 1: "1 try is"}.get(left, f"{left} tries are")
        raise WrongCode(f"that is not the code; {tries} left", field="code")
    return _install(session, method, proved_by=proved_by, evidence=None)


def prove_method_by_staff(
    session: Session,
    *,
    brand_id: int,
    distributor_id: int,
    method_id: int,
    evidence: str,
    proved_by: str,
) -> PayoutMethod:
    """Make a proposal the distributor's payout method without its code, on evidence.

    :param evidence: where the proof is: a signed form, a call back.
    :raises AnotherPersonNeeded: for whoever proposed it.
    """
    evidence = require_words(evidence, "evidence", "say what proves it")
    proved_by = require_person(proved_by, "proved_by")
    _lock_owner(session, brand_id, distributor_id)
    method = _get(session, brand_id, distributor_id, method_id, for_update=True)
    _require_open(method)
    if is_same_person(proved_by, method.created_by):
        raise AnotherPersonNeeded(
            f"{proved_by} has proposed this payout method; somebody else proves it",
            field="proved_by",
        )
    return _install(session, method, proved_by=proved_by, evidence=evidence)


def remove_method(
    session: Session, *, brand_id: int, distributor_id: int, method_id: int, removed_by: str
) -> PayoutMethod:
    """Take a payout method out of use, or withdraw a proposal. What it was stays on record."""
    removed_by = require_person(removed_by, "removed_by")
    _lock_owner(session, brand_id, distributor_id)
    method = _get(session, brand_id, distributor_id, method_id, for_update=True)
    if method.proved_at is None:
        _require_open(method)
        method.proof_hash = None
    elif method.replaced_at is not None:
        raise MethodInWrongState("it is replaced already", field="method")
    else:
        method.replaced_at = clock.now()
    _notify(session, method, "payout_method_removed", **_shown(method), by=removed_by)
    session.flush()
    return method


def current_method(session: Session, *, brand_id: int, distributor_id: int) -> PayoutMethod | None:
    """Where the distributor's money goes, though perhaps not yet: see ``usable_from``."""
    return session.scalar(
        select(PayoutMethod)
        .where(*_of(brand_id, distributor_id), *_CURRENT)
        .execution_options(populate_existing=True)
    )


def list_methods(
    session: Session, *, brand_id: int, distributor_id: int, limit: int = 100
) -> list[PayoutMethod]:
    """The distributor's payout methods and proposals, newest first."""
    return list(
        session.scalars(
            select(PayoutMethod)
            .where(*_of(brand_id, distributor_id))
            .order_by(PayoutMethod.id.desc())
            .limit(limit)
        )
    )


def method_state(method: PayoutMethod, now: datetime | None = None) -> str:
    """``proposed``, ``withdrawn``, ``resting``, ``usable`` or ``replaced``."""
    if method.proved_at is None or method.usable_from is None:
        return "withdrawn" if method.proof_hash is None else "proposed"
    if method.replaced_at is not None:
        return "replaced"
    return "usable" if method.usable_from <= (now or clock.now()) else "resting"


def describe_method(method: PayoutMethod) -> dict[str, Any]:
    """A payout method as it is told to anybody: masked, and without what proves it."""
    shown = ("id", "kind", "name", "created_at", "created_by", "proved_at", "proved_by")
    return {name: getattr(method, name) for name in shown} | {
        "details": mask_details(method.kind, method.details),
        "state": method_state(method),
        "evidence": method.proof_evidence,
        "usable_from": method.usable_from,
        "replaced_at": method.replaced_at,
    }


# -- parts ----------------------------------------------------------------------------------------

_CURRENT = (PayoutMethod.proved_at.is_not(None), PayoutMethod.replaced_at.is_(None))


def _of(brand_id: int, distributor_id: int) -> tuple[Any, ...]:
    return PayoutMethod.brand_id == brand_id, PayoutMethod.distributor_id == distributor_id


def _lock_owner(session: Session, brand_id: int, distributor_id: int) -> Distributor:
    """Changes of one distributor's methods follow each other."""
    found = session.scalar(
        select(Distributor)
        .where(Distributor.brand_id == brand_id, Distributor.id == distributor_id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )
    if found is None:
        raise DistributorNotFound("there is no such distributor", field="distributor")
    return found


def _get(
    session: Session, brand_id: int, distributor_id: int, method_id: int, *, for_update: bool
) -> PayoutMethod:
    query = select(PayoutMethod).where(*_of(brand_id, distributor_id), PayoutMethod.id == method_id)
    if for_update:  # and read it again: the session may have seen it before it was locked
        query = query.with_for_update().execution_options(populate_existing=True)
    found = session.scalar(query)
    if found is None:
        raise MethodNotFound(
            f"the distributor has no payout method {ids.public(PREFIX, method_id)}", field="method"
        )
    return found


def _require_open(method: PayoutMethod) -> bytes:
    """Check that the method is proposed and neither proved nor withdrawn; the code's hash."""
    if method.proved_at is not None:
        raise MethodInWrongState("it is proved already", field="method")
    if method.proof_hash is None:
        raise MethodInWrongState("it was withdrawn, or another was proposed since", field="method")
    return method.proof_hash


def _require_waiting(method: PayoutMethod) -> bytes:
    """Check that its code may still be given."""
    expected = _require_open(method)
    if method.proof_until is None or clock.now() >= method.proof_until:
        raise CodeExpired(
            f"a code is good for {CODE_MINUTES} minutes; propose it again", field="code"
        )
    return expected


def _install(
    session: Session, method: PayoutMethod, *, proved_by: str, evidence: str | None
) -> PayoutMethod:
    """The method is proved: it takes the place of the one before."""
    now = clock.now()
    owner = _of(method.brand_id, method.distributor_id)
    first = not session.scalar(
        select(PayoutMethod.id).where(*owner, PayoutMethod.proved_at.is_not(None)).limit(1)
    )
    before = session.scalar(
        select(PayoutMethod)
        .where(*owner, *_CURRENT)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if before is not None:
        before.replaced_at = now
        session.flush()  # before the index sees the other
    days = session.scalars(select(Brand.method_cool_days).where(Brand.id == method.brand_id)).one()
    method.proved_at, method.proved_by, method.proof_evidence = now, proved_by, evidence
    method.usable_from = now if first else now + timedelta(days=days)
    method.proof_hash = None
    _notify(
        session,
        method,
        "payout_method_changed",
        **_shown(method),
        by=proved_by,
        usable_from=method.usable_from.isoformat(),
        before=None if before is None else _shown(before),
    )
    session.flush()
    return method


def _shown(method: PayoutMethod) -> dict[str, Any]:
    return {
        "kind": method.kind,
        "name": method.name,
        "details": mask_details(method.kind, method.details),
    }


def _hash(method_id: int, code: str) -> bytes:
    return hmac.digest(str(method_id).encode(), code.encode(errors="replace"), "sha256")


def _notify(session: Session, method: PayoutMethod, notice: str, **data: Any) -> None:
    session.add(
        Notification(
            brand_id=method.brand_id,
            id=ids.new(),
            distributor_id=method.distributor_id,
            kind=notice,
            data={"method": ids.public(PREFIX, method.id), **data},
            created_at=clock.now(),
        )
    )


def _payee(name: str) -> str:
    name = " ".join(name.split())
    if not 1 <= len(name) <= _LONGEST_NAME:
        raise InvalidInput(f"must have 1 to {_LONGEST_NAME} characters", field="name")
    if (reason := unstorable(name)) is not None or not name.isprintable():
        raise InvalidInput(reason or "has letters that cannot be printed", field="name")
    return name
