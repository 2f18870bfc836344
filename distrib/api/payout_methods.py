"""Payout methods: where a distributor wants its money, proposed, proved, removed."""

from __future__ import annotations

from typing import Any

from flask import Response
from marshmallow import fields
from sqlalchemy.orm import Session

from distrib import ids
from distrib.api.context import database
from distrib.api.distributors import find
from distrib.api.fields import Choice, Instant, PublicId, Shape, Text
from distrib.api.idempotency import Answer, replay, transact
from distrib.api.paging import Listing, Page, PageQuery, page_of, read_page
from distrib.api.routes import PREFIX, Routes
from distrib.api.settlement import actor
from distrib.brands.tables import Brand
from distrib.settlement import methods
from distrib.settlement.book_tables import PayoutMethod
from distrib.settlement.method_details import KINDS
from distrib.settlement.methods import MethodNotFound, describe_method

routes = Routes(
    "Payout methods",
    __name__,
    url_prefix=PREFIX,
    description="Where a distributor's money goes. A proposal counts once it is proved: by the code"
    " of six digits that its owner is sent (valid 15 minutes and five tries), or by staff with"
    " evidence, under another API key than the one that proposed it. A change rests for the brand's"
    " `method_cool_days` before money goes there. Details are shown by their last four signs.",
)

_ALL = "/distributors/<ref>/payout-methods"
_ONE = f"{_ALL}/<method>"
_METHODS = Listing("payout-methods", {"id": int}, descending=True)
_STATES = ("proposed", "withdrawn", "resting", "usable", "replaced")
_PAYEE = {"description": "The payee's name as the bank knows it.", "example": "Anna Wang"}


class NewPayoutMethodSchema(Shape):
    """Where money shall go."""

    kind = Choice(*KINDS, required=True)
    name = Text(
        140, load_default=None, metadata=_PAYEE | {"description": "Left out: the distributor's."}
    )
    details = fields.Dict(
        keys=fields.String(),
        required=True,
        error_messages={
            "required": "is missing",
            "null": "must not be null",
            "invalid": "must be an object",
        },
        metadata={
            "description": "; ".join(
                f"`{kind}`: "
                + ", ".join(name + ("" if key.required else "?") for name, key in keys.items())
                for kind, keys in KINDS.items()
            )
            + ". Those with a ? may be left out.",
            "example": {"account_no": "DE89370400440532013000"},
        },
    )


class CodeProofSchema(Shape):
    """What the owner was sent."""

    code = Text(20, required=True, metadata={"example": "028413"})


class StaffProofSchema(Shape):
    """What staff have seen."""

    evidence = Text(
        2_000, required=True, metadata={"example": "signed form 17, called back on file"}
    )


class PayoutMethodSchema(Shape):
    """Where a distributor's money goes, or shall go."""

    id = PublicId(methods.PREFIX, required=True)
    kind = Choice(*KINDS, required=True)
    name = Text(required=True, metadata=_PAYEE)
    details = fields.Dict(
        required=True,
        metadata={"description": "Masked.", "example": {"account_no": "****3000"}},
    )
    state = Choice(*_STATES, required=True)
    created_at = Instant(required=True)
    created_by = Text(required=True, metadata={"example": "anna's app"})
    proved_at = Instant(required=True, allow_none=True)
    proved_by = Text(required=True, allow_none=True, metadata={"example": "anna's app"})
    evidence = Text(required=True, allow_none=True)
    usable_from = Instant(required=True, allow_none=True)
    replaced_at = Instant(required=True, allow_none=True)


_method = PayoutMethodSchema()


def _number(public_id: str) -> int:
    try:
        return ids.parse(methods.PREFIX, public_id)
    except ValueError as error:
        raise MethodNotFound(str(error), field="method") from None


def _scope(session: Session, mine: Brand, ref: str, method: str) -> dict[str, int]:
    owner = find(session, mine, ref)
    return {"brand_id": mine.id, "distributor_id": owner.id, "method_id": _number(method)}


def _answer(status: int, method: PayoutMethod) -> Answer:
    return Answer(status, _method.dump(describe_method(method)))


@routes.operation(
    "POST",
    _ALL,
    {201: (PayoutMethodSchema, "It is proposed; its owner was sent a code")},
    body=NewPayoutMethodSchema,
    example={"kind": "bank", "details": {"account_no": "DE89370400440532013000"}},
    problems=(404, 409),
)
def propose_payout_method(mine: Brand, given: dict[str, Any], ref: str) -> Response:
    """Propose where a distributor's money shall go.

    The code goes to the owner as a notification and is in no answer. The next proposal withdraws
    one that was not proved.
    """

    def work(session: Session) -> Answer:
        owner = find(session, mine, ref)
        made = methods.propose_method(
            session, brand_id=mine.id, distributor_id=owner.id, proposed_by=actor(), **given
        )
        return _answer(201, made)

    return transact(work)


@routes.operation(
    "GET",
    _ALL,
    {200: (page_of(PayoutMethodSchema), "A page of payout methods, newest first")},
    query=PageQuery,
    problems=(404,),
)
def list_payout_methods(mine: Brand, query: dict[str, Any], ref: str) -> Page:
    """List a distributor's payout methods and proposals."""
    with database().transaction() as session:
        owner = find(session, mine, ref)
        page = read_page(
            session,
            PayoutMethod,
            _METHODS,
            where=[PayoutMethod.brand_id == mine.id, PayoutMethod.distributor_id == owner.id],
            **query,
        )
        return Page([describe_method(each) for each in page.items], page.next)


@routes.operation(
    "POST",
    f"{_ONE}/prove",
    {200: (PayoutMethodSchema, "It is proved and takes the place of the one before")},
    body=CodeProofSchema,
    example={"code": "028413"},
    problems=(404, 409),
)
def prove_payout_method(mine: Brand, given: dict[str, Any], ref: str, method: str) -> Response:
    """Prove a payout method by the code that its owner was sent.

    A wrong code is a try, whatever else becomes of the request.
    """
    if (again := replay()) is not None:
        return again
    with database().transaction() as session:
        scope = _scope(session, mine, ref, method)
    methods.count_try(database(), **scope)
    return transact(
        lambda session: _answer(
            200, methods.accept_code(session, **scope, code=given["code"], proved_by=actor())
        )
    )


@routes.operation(
    "POST",
    f"{_ONE}/prove-by-staff",
    {200: (PayoutMethodSchema, "It is proved and takes the place of the one before")},
    body=StaffProofSchema,
    example={"evidence": "signed form 17, called back on file"},
    problems=(404, 409),
)
def prove_payout_method_by_staff(
    mine: Brand, given: dict[str, Any], ref: str, method: str
) -> Response:
    """Prove a payout method on evidence, as somebody else than who proposed it."""

    def work(session: Session) -> Answer:
        scope = _scope(session, mine, ref, method)
        proved = methods.prove_method_by_staff(
            session, **scope, evidence=given["evidence"], proved_by=actor()
        )
        return _answer(200, proved)

    return transact(work)


@routes.operation(
    "POST",
    f"{_ONE}/remove",
    {200: (PayoutMethodSchema, "It is out of use")},
    problems=(404, 409),
)
def remove_payout_method(mine: Brand, ref: str, method: str) -> Response:
    """Take a payout method out of use, or withdraw a proposal.

    A payout that was approved with it is held when its batch comes to it.
    """

    def work(session: Session) -> Answer:
        scope = _scope(session, mine, ref, method)
        return _answer(200, methods.remove_method(session, **scope, removed_by=actor()))

    return transact(work)
