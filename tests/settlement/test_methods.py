"""Payout methods: what they say, who proves them, what a change does to money on its way."""

from __future__ import annotations

import re
from datetime import date, datetime
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from distrib import clock, ids, jobs
from distrib.brands.tables import Brand
from distrib.config import Settings
from distrib.db import Database
from distrib.errors import Conflict, InvalidInput
from distrib.settlement.batch import (
    NothingToSettle,
    approve_batch,
    draw_up_batch,
    mature_for_batch,
    submit_batch,
)
from distrib.settlement.book_tables import Notification, PayoutMethod
from distrib.settlement.method_details import IDENTITY_TYPES, KINDS, check_details, mask_details
from distrib.settlement.methods import (
    CODE_TRIES,
    PREFIX,
    PROPOSALS_A_DAY,
    CodeExpired,
    MethodInWrongState,
    MethodNotFound,
    TooManyProposals,
    WrongCode,
    accept_code,
    current_method,
    describe_method,
    list_methods,
    propose_method,
    prove_method,
    prove_method_by_staff,
    remove_method,
)
from distrib.settlement.people import AnotherPersonNeeded
from distrib.settlement.providers import alipay, paypal_words
from distrib.settlement.providers.registry import ProviderChoice
from distrib.settlement.running import run_batch
from distrib.settlement.tables import Payout, SettlementBatch
from distrib.tree.facts import DistributorNotFound
from tests import factories
from tests.factories import NOON, days, ids_of, order, take
from tests.races.world import background, blocked, findings, together, wait_until

IBAN = "DE89370400440532013000"
OTHER_IBAN = "GB29NWBK60161331926819"
DAY = date(2026, 3, 16)
MATURED = NOON + days(15)
MINUTE = days(1 / 1440)


@pytest.fixture
def ann(db: Database, brand: Brand) -> int:
    """A distributor of a brand with a plan."""
    return factories.chain(db, brand)["ann"]


def propose(
    db: Database, brand: Brand, who: int, account: str = IBAN, by: str = "ann", **changes: Any
) -> PayoutMethod:
    fields: dict[str, Any] = {"kind": "bank", "details": {"account_no": account}} | changes
    with db.transaction() as session:
        return propose_method(
            session, brand_id=brand.id, distributor_id=who, proposed_by=by, **fields
        )


def notices(db: Database, brand: Brand, who: int, kind: str) -> list[Any]:
    with db.transaction() as session:
        return list(
            session.scalars(
                select(Notification.data)
                .where(
                    Notification.brand_id == brand.id,
                    Notification.distributor_id == who,
                    Notification.kind == kind,
                )
                .order_by(Notification.id)
            )
        )


def code_of(db: Database, brand: Brand, method: PayoutMethod) -> str:
    name = ids.public(PREFIX, method.id)
    (found,) = [
        data["code"]
        for data in notices(db, brand, method.distributor_id, "payout_method_code")
        if data["method"] == name
    ]
    return str(found)


def prove(
    db: Database, brand: Brand, method: PayoutMethod, code: str | None = None
) -> PayoutMethod:
    return prove_method(
        db,
        brand_id=brand.id,
        distributor_id=method.distributor_id,
        method_id=method.id,
        code=code_of(db, brand, method) if code is None else code,
        proved_by="ann",
    )


def scope(brand: Brand, method: PayoutMethod) -> dict[str, int]:
    return {
        "brand_id": brand.id,
        "distributor_id": method.distributor_id,
        "method_id": method.id,
    }


def current(db: Database, brand: Brand, who: int) -> PayoutMethod | None:
    with db.transaction() as session:
        return current_method(session, brand_id=brand.id, distributor_id=who)


def wrong(code: str) -> str:
    return f"{(int(code) + 1) % 1_000_000:06d}"


# -- details --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind, details, kept",
    [
        ("bank", {"account_no": " de89 3704 0044 0532 0130 00 "}, {"account_no": IBAN}),
        (
            "bank",
            {"account_no": "6222 0202 0011 2345", "bank_name": "工商银行", "account_name": "王安"},
            {"account_no": "6222020200112345", "bank_name": "工商银行", "account_name": "王安"},
        ),
        (
            "bank",
            {"account_no": "12345-678", "bank_code": "deut deff"},
            {"account_no": "12345-678", "bank_code": "DEUTDEFF"},
        ),
        ("bank", {"account_no": IBAN, "bank_name": " ", "bank_code": None}, {"account_no": IBAN}),
        ("wechat", {"openid": "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o"}, None),
        ("alipay", {"identity": "2088123412341234", "identity_type": "alipay_user_id"},
         {"identity": "2088123412341234", "identity_type": "ALIPAY_USER_ID"}),
        ("alipay", {"identity": "138-0013-8000", "identity_type": "ALIPAY_LOGON_ID"}, None),
        ("alipay", {"identity": "074a1CcTG1", "identity_type": "ALIPAY_OPEN_ID"}, None),
        ("paypal", {"receiver": "ann@example.com"},
         {"receiver": "ann@example.com", "receiver_type": "EMAIL"}),
        ("paypal", {"receiver": "+4915112345678", "receiver_type": "PHONE"}, None),
        ("stripe", {"account_id": "acct_1A2b3C"}, None),
    ],
)  # fmt: skip
def test_details(kind: str, details: dict[str, Any], kept: dict[str, str] | None) -> None:
    assert check_details(kind, details) == (details if kept is None else kept)


@pytest.mark.parametrize(
    "kind, details, field, reason",
    [
        ("cash", {}, "kind", "must be one of bank, wechat"),
        ("bank", {}, "details.account_no", "bank needs it"),
        ("bank", {"account_no": "DE89370400440532013001"}, "details.account_no", "check digits"),
        ("bank", {"account_no": "x" * 40}, "details.account_no", "no IBAN and no account number"),
        ("bank", {"account_no": "=1+1"}, "details.account_no", "no IBAN and no account number"),
        ("bank", {"account_no": "12345678"}, "details.bank_code", "needs a bank_code or a bank_na"),
        ("bank", {"account_no": IBAN, "iban": IBAN}, "details.iban", "is no detail of bank; known"),
        ("bank", {"account_no": 123}, "details.account_no", "must be a text"),
        ("bank", {"account_no": "1\x002"}, "details.account_no", "NUL"),
        ("bank", {"account_no": IBAN, "bank_name": "a\nb"}, "details.bank_name", "printed"),
        ("bank", {"account_no": IBAN, "account_name": "--"}, "details.account_name", "no letter"),
        ("bank", {"account_no": IBAN, "bank_code": "a*b"}, "details.bank_code", "is no BIC"),
        ("wechat", {"openid": "not an id"}, "details.openid", "is no openid"),
        ("alipay", {"identity": "x"}, "details.identity_type", "alipay needs it"),
        ("alipay", {"identity": "x", "identity_type": "QQ"}, "details.identity_type", "one of"),
        ("alipay", {"identity": "2088", "identity_type": "ALIPAY_USER_ID"}, "details.identity",
         "16 digits"),
        ("alipay", {"identity": "ann", "identity_type": "ALIPAY_LOGON_ID"}, "details.identity",
         "telephone number or e-mail"),
        ("paypal", {"receiver": "ann"}, "details.receiver", "no e-mail"),
        ("paypal", {"receiver": "a" * 130 + "@b.cd"}, "details.receiver", "at most 127"),
        ("paypal", {"receiver": "ann", "receiver_type": "PHONE"}, "details.receiver", "telephone"),
        ("stripe", {"account_id": "cus_123"}, "details.account_id", "no connected account"),
    ],
)  # fmt: skip
def test_details_that_cannot_be(
    kind: str, details: dict[str, Any], field: str, reason: str
) -> None:
    with pytest.raises(InvalidInput, match=reason) as caught:
        check_details(kind, details)
    assert caught.value.field == field


@given(st.sampled_from(sorted(KINDS)), st.data())
def test_any_details_are_kept_or_refused(kind: str, data: Any) -> None:
    values = st.one_of(st.text(max_size=40), st.sampled_from([IBAN, "2088123412341234", "a@b.cd"]))
    details = data.draw(st.dictionaries(st.sampled_from(sorted(KINDS[kind])), values))
    try:
        kept = check_details(kind, details)
    except InvalidInput as error:
        kept, field = {}, error.field or ""
    else:
        field = "details.none"
        assert check_details(kind, kept) == kept, "what is kept is kept again as it is"
    assert field.startswith("details.")
    for name, value in mask_details(kind, kept).items():
        assert not KINDS[kind][name].secret or kept[name] not in value


def test_the_words_are_those_of_the_adapters() -> None:
    assert IDENTITY_TYPES == alipay.IDENTITY_TYPES
    for word in paypal_words.RECEIVER_TYPES:
        with pytest.raises(InvalidInput, match=r"details|no |needs") as caught:
            check_details("paypal", {"receiver": "?", "receiver_type": word})
        assert caught.value.field == "details.receiver"


def test_masks() -> None:
    details = {"account_no": IBAN, "bank_name": "Bank", "bank_code": "DEUTDEFF"}
    assert mask_details("bank", details) == details | {"account_no": "****3000"}
    assert mask_details("stripe", {"account_id": "acct_1"}) == {"account_id": "****"}


# -- proposing and proving ------------------------------------------------------------------------


def test_the_first_method_is_usable_at_once_and_the_next_rests(
    db: Database, brand: Brand, ann: int
) -> None:
    with clock.travel(NOON):
        first = propose(db, brand, ann, name=" Ann  Wang ")
        assert (first.name, first.proved_at, current(db, brand, ann)) == ("Ann Wang", None, None)
        proved = prove(db, brand, first)
        assert (proved.proved_at, proved.usable_from, proved.proved_by) == (NOON, NOON, "ann")
    with clock.travel(NOON + days(1)):
        second = propose(db, brand, ann, OTHER_IBAN)
        assert second.name == "Ann"
        found = current(db, brand, ann)
        assert found is not None
        assert found.id == first.id, "nothing changes before it is proved"
        proved = prove(db, brand, second)
        assert proved.usable_from == NOON + days(4)
        with db.transaction() as session:
            methods = list_methods(session, brand_id=brand.id, distributor_id=ann)
            assert [(m.id, describe_method(m)["state"]) for m in methods] == [
                (second.id, "resting"),
                (first.id, "replaced"),
            ]
            assert methods[1].replaced_at == NOON + days(1)
    with clock.travel(NOON + days(4)):
        assert describe_method(proved)["state"] == "usable"


def test_the_owner_is_told_and_nobody_else_learns_the_code(
    db: Database, brand: Brand, ann: int
) -> None:
    with clock.travel(NOON):
        method = propose(db, brand, ann)
        code = code_of(db, brand, method)
        assert re.fullmatch("[0-9]{6}", code)
        assert code not in str({k: v for k, v in vars(method).items() if k != "id"})
        prove(db, brand, method)
        second = propose(db, brand, ann, OTHER_IBAN)
        prove(db, brand, second)
        with db.transaction() as session:
            remove_method(session, **scope(brand, second), removed_by="ann")
    (proposed, _) = notices(db, brand, ann, "payout_method_proposed")
    assert proposed == {
        "method": ids.public(PREFIX, method.id),
        "kind": "bank",
        "name": "Ann",
        "details": {"account_no": "****3000"},
        "by": "ann",
    }
    (first, changed) = notices(db, brand, ann, "payout_method_changed")
    assert first["before"] is None
    assert first["usable_from"] == NOON.isoformat()
    assert changed["before"]["details"] == {"account_no": "****3000"}
    assert changed["details"] == {"account_no": "****6819"}
    (removed,) = notices(db, brand, ann, "payout_method_removed")
    assert removed["details"] == {"account_no": "****6819"}
    with db.transaction() as session:
        data = session.scalars(
            select(Notification.data).where(
                Notification.brand_id == brand.id, Notification.kind != "payout_method_code"
            )
        ).all()
    assert not [each for each in data if "code" in each or IBAN in str(each)]


def test_what_is_described_holds_no_secret(db: Database, brand: Brand, ann: int) -> None:
    told = describe_method(propose(db, brand, ann))
    assert told["details"] == {"account_no": "****3000"}
    assert not [name for name in told if "proof" in name or "hash" in name or "code" in name]


def test_a_code_has_five_tries_whatever_becomes_of_them(
    db: Database, brand: Brand, ann: int
) -> None:
    with clock.travel(NOON):
        method = propose(db, brand, ann)
        code = code_of(db, brand, method)
        for left in ("4 tries are", "3 tries are", "2 tries are", "1 try is", "no try is"):
            with pytest.raises(WrongCode, match=f"not the code; {left} left"):
                prove(db, brand, method, wrong(code))
        with pytest.raises(CodeExpired, match="5 tries were wrong"):
            prove(db, brand, method, code)
        assert current(db, brand, ann) is None


@pytest.mark.parametrize(
    "given_code", ["", "12345", "1234567", "十二三四五六", "\ud800", "000000 "]
)
def test_a_code_that_cannot_be(db: Database, brand: Brand, ann: int, given_code: str) -> None:
    method = propose(db, brand, ann)
    while (code := code_of(db, brand, method)) == "000000":  # one in a million
        method = propose(db, brand, ann)
    assert code
    with pytest.raises(WrongCode):
        prove(db, brand, method, given_code)


def test_a_code_is_good_for_a_quarter_of_an_hour(db: Database, brand: Brand, ann: int) -> None:
    with clock.travel(NOON):
        method = propose(db, brand, ann)
    with clock.travel(NOON + 15 * MINUTE), pytest.raises(CodeExpired, match="15 minutes"):
        prove(db, brand, method)
    with clock.travel(NOON + 14.9 * MINUTE):
        assert prove(db, brand, method).proved_at


def test_the_next_proposal_withdraws_the_one_before(db: Database, brand: Brand, ann: int) -> None:
    first = propose(db, brand, ann)
    second = propose(db, brand, ann, OTHER_IBAN)
    with pytest.raises(MethodInWrongState, match="another was proposed"):
        prove(db, brand, first)
    assert prove(db, brand, second).id == second.id
    with pytest.raises(MethodInWrongState, match="proved already"):
        prove(db, brand, second)


def test_codes_cannot_be_collected(db: Database, brand: Brand, ann: int) -> None:
    with clock.travel(NOON):
        for _ in range(PROPOSALS_A_DAY):
            propose(db, brand, ann)
        with pytest.raises(TooManyProposals):
            propose(db, brand, ann)
    with clock.travel(NOON + days(1)):
        propose(db, brand, ann)


def test_staff_prove_with_evidence_what_somebody_else_proposed(
    db: Database, brand: Brand, ann: int
) -> None:
    with clock.travel(NOON):
        method = propose(db, brand, ann, by="Bo Li")
    with clock.travel(NOON + days(1)):  # no code is needed, so none expires
        for by, evidence, refusal in (
            (" bo li ", "form 17", AnotherPersonNeeded),
            ("cy", "  ", InvalidInput),
            ("", "form 17", InvalidInput),
        ):
            with pytest.raises(refusal), db.transaction() as session:
                prove_method_by_staff(
                    session, **scope(brand, method), evidence=evidence, proved_by=by
                )
        with db.transaction() as session:
            proved = prove_method_by_staff(
                session, **scope(brand, method), evidence=" form 17 ", proved_by="cy"
            )
    assert (proved.proved_by, proved.proof_evidence) == ("cy", "form 17")
    assert notices(db, brand, ann, "payout_method_changed")[0]["by"] == "cy"


def test_removing(db: Database, brand: Brand, ann: int) -> None:
    with clock.travel(NOON):
        proposed = propose(db, brand, ann)
        with db.transaction() as session:
            removed = remove_method(session, **scope(brand, proposed), removed_by="ann")
        assert describe_method(removed)["state"] == "withdrawn"
        with pytest.raises(MethodInWrongState), db.transaction() as session:
            remove_method(session, **scope(brand, proposed), removed_by="cy")
        with pytest.raises(MethodInWrongState), db.transaction() as session:
            prove_method_by_staff(
                session, **scope(brand, proposed), evidence="form", proved_by="cy"
            )
        first = prove(db, brand, propose(db, brand, ann))
        assert first.usable_from == NOON, "a proposal alone is no method"
        with db.transaction() as session:
            remove_method(session, **scope(brand, first), removed_by="ann")
        assert current(db, brand, ann) is None
        with pytest.raises(MethodInWrongState, match="replaced"), db.transaction() as session:
            remove_method(session, **scope(brand, first), removed_by="ann")
        again_ = prove(db, brand, propose(db, brand, ann))
        assert again_.usable_from == NOON + days(3), "whoever removes one does not skip the rest"


def test_methods_are_their_owners(db: Database, brand: Brand, ann: int) -> None:
    method = propose(db, brand, ann)
    other = factories.brand(db)
    who = factories.chain(db, other)
    with db.transaction() as session:
        bo = session.scalar(
            text("SELECT id FROM distributor WHERE brand_id = :b AND external_id = 'bo'"),
            {"b": brand.id},
        )
    for brand_id, distributor_id in ((brand.id, bo), (other.id, who["ann"]), (other.id, ann)):
        with pytest.raises((MethodNotFound, DistributorNotFound)):
            prove_method(
                db,
                brand_id=brand_id,
                distributor_id=distributor_id,
                method_id=method.id,
                code="000000",
                proved_by="eve",
            )


def test_what_a_method_says_never_changes(db: Database, brand: Brand, ann: int) -> None:
    method = propose(db, brand, ann)
    for statement in (
        "UPDATE payout_method SET details = '{}' WHERE id = :id",
        "UPDATE payout_method SET name = 'Eve' WHERE id = :id",
        "DELETE FROM payout_method WHERE id = :id",
    ):
        with (
            pytest.raises(Exception, match=r"refused|append-only"),
            db.engine.begin() as connection,
        ):
            connection.execute(text(statement), {"id": method.id})


def test_a_code_is_not_looked_at_before_its_try_is_counted(
    db: Database, brand: Brand, ann: int
) -> None:
    method = propose(db, brand, ann)
    code = code_of(db, brand, method)
    with pytest.raises(RuntimeError, match="count_try"), db.transaction() as session:
        accept_code(session, **scope(brand, method), code=code, proved_by="ann")


# -- batches --------------------------------------------------------------------------------------


BANK = ProviderChoice("bank-file", "bank-file", "bank")


def draw(db: Database, brand: Brand) -> SettlementBatch:
    mature_for_batch(db, brand=brand, cutoff=DAY)
    return db.run(
        lambda session: draw_up_batch(
            session, brand=brand, cutoff=DAY, provider=BANK, created_by="tests"
        )
    )


def run(session: Session, batch: SettlementBatch) -> None:
    about: dict[str, Any] = {"brand_id": batch.brand_id, "number": batch.number}
    submit_batch(session, submitted_by="tests", **about)
    approve_batch(session, approved_by="finance", content_hash=batch.content_hash, **about)
    run_batch(session, chunk_payouts=7, **about)


def payouts(db: Database, batch: SettlementBatch) -> dict[int, tuple[str, int | None]]:
    with db.transaction() as session:
        rows = session.scalars(
            select(Payout).where(Payout.brand_id == batch.brand_id, Payout.batch_id == batch.id)
        )
        return {row.distributor_id: (row.state, row.method_id) for row in rows}


@pytest.mark.parametrize("change", ["replaced", "removed", "proposed only", "none"])
def test_a_payout_whose_method_was_replaced_is_held(
    db: Database, settings: Settings, brand: Brand, ann: int, change: str
) -> None:
    ids_of(take(db, brand, order("o-1", 10_000)))
    with clock.travel(NOON):
        first = prove(db, brand, propose(db, brand, ann))
    with clock.travel(MATURED):
        batch = draw(db, brand)
        assert payouts(db, batch) == {ann: ("reserved", first.id)}
        with db.transaction() as session:
            run(session, batch)
        if change in ("replaced", "proposed only"):
            second = propose(db, brand, ann, OTHER_IBAN)
            if change == "replaced":
                prove(db, brand, second)
        elif change == "removed":
            with db.transaction() as session:
                remove_method(session, **scope(brand, first), removed_by="ann")
        jobs.run_all(db, settings)
    held = change in ("replaced", "removed")
    assert payouts(db, batch) == {ann: ("held" if held else "paid", first.id)}
    assert findings(db, brand) == []


def test_who_has_no_usable_method_is_passed_over(db: Database, brand: Brand, ann: int) -> None:
    ids_of(take(db, brand, order("o-1", 10_000)))
    with clock.travel(MATURED):
        propose(db, brand, ann)
        with pytest.raises(NothingToSettle, match="no proved payout method"):
            draw(db, brand)
        prove(db, brand, propose(db, brand, ann))
        prove(db, brand, propose(db, brand, ann, OTHER_IBAN))
        with pytest.raises(NothingToSettle, match="rests for a while"):
            draw(db, brand)
    with clock.travel(MATURED + days(3)):
        assert payouts(db, draw(db, brand)).keys() == {ann}


# -- races ----------------------------------------------------------------------------------------


def outcome(work: Any) -> str:
    try:
        work()
    except (Conflict, InvalidInput) as error:
        return type(error).__name__
    return "well"


@pytest.mark.races
def test_the_same_code_at_once_is_taken_once(db: Database, brand: Brand, ann: int) -> None:
    method = propose(db, brand, ann)
    code = code_of(db, brand, method)
    found = together(*[partial(outcome, partial(prove, db, brand, method, code))] * 4)
    assert sorted(found) == ["MethodInWrongState"] * 3 + ["well"]
    assert len(notices(db, brand, ann, "payout_method_changed")) == 1


@pytest.mark.races
def test_guesses_at_once_have_five_tries_together(db: Database, brand: Brand, ann: int) -> None:
    method = propose(db, brand, ann)
    code = code_of(db, brand, method)
    found = together(*[partial(outcome, partial(prove, db, brand, method, wrong(code)))] * 9)
    assert sorted(found) == ["CodeExpired"] * (9 - CODE_TRIES) + ["WrongCode"] * CODE_TRIES


@pytest.mark.races
def test_a_proof_by_code_and_one_by_staff_meet(db: Database, brand: Brand, ann: int) -> None:
    method = propose(db, brand, ann)
    code = code_of(db, brand, method)

    def by_staff() -> None:
        with db.transaction() as session:
            prove_method_by_staff(
                session, **scope(brand, method), evidence="form 17", proved_by="cy"
            )

    found = together(
        partial(outcome, partial(prove, db, brand, method, code)), partial(outcome, by_staff)
    )
    assert sorted(found) == ["MethodInWrongState", "well"]


@pytest.mark.races
def test_two_methods_proved_at_once_follow_each_other(db: Database, brand: Brand, ann: int) -> None:
    """A proof that began while another proposal was being proved waits, and replaces it."""
    first = propose(db, brand, ann)
    with Session(db.engine) as session:
        prove_method_by_staff(session, **scope(brand, first), evidence="form", proved_by="cy")
        proposing = background(partial(propose, db, brand, ann, OTHER_IBAN))
        wait_until(lambda: blocked(db) == 1, "the proposal waits for the proof")
        session.commit()
    second = proposing()
    prove(db, brand, second)
    found = current(db, brand, ann)
    assert found is not None
    assert (found.id, found.usable_from) != (first.id, found.proved_at)


@pytest.mark.races
def test_the_index_refuses_a_second_current_method(db: Database, brand: Brand, ann: int) -> None:
    prove(db, brand, propose(db, brand, ann))
    second = propose(db, brand, ann, OTHER_IBAN)
    with (
        pytest.raises(Exception, match="uq_payout_method_current"),
        db.engine.begin() as connection,
    ):
        connection.execute(
            text("UPDATE payout_method SET proved_at = now(), usable_from = now() WHERE id = :id"),
            {"id": second.id},
        )


@pytest.mark.races
def test_a_proof_during_draw_up_holds_the_payout(
    db: Database, settings: Settings, brand: Brand, ann: int
) -> None:
    """The batch takes the method that was current when it looked; the proof comes in between."""
    ids_of(take(db, brand, order("o-1", 10_000)))
    with clock.travel(NOON):
        first = prove(db, brand, propose(db, brand, ann))
    with clock.travel(MATURED):
        second = propose(db, brand, ann, OTHER_IBAN)
        mature_for_batch(db, brand=brand, cutoff=DAY)
        with Session(db.engine, expire_on_commit=False, autoflush=False) as session:
            batch = draw_up_batch(
                session, brand=brand, cutoff=DAY, provider=BANK, created_by="tests"
            )
            prove(db, brand, second)  # does not wait
            session.commit()
        assert payouts(db, batch) == {ann: ("reserved", first.id)}
        with db.transaction() as session:
            run(session, batch)
        jobs.run_all(db, settings)
    assert payouts(db, batch) == {ann: ("held", first.id)}
    assert findings(db, brand) == []


@pytest.mark.races
def test_proofs_while_batches_are_drawn_up(
    db: Database, settings: Settings, brand: Brand, ann: int
) -> None:
    """Whatever the order, money goes to a method that was current when it was handed over."""
    ids_of(take(db, brand, *(order(f"o-{n}", 10_000) for n in range(3))))
    with clock.travel(NOON):
        prove(db, brand, propose(db, brand, ann))
    moment: datetime = MATURED

    def draw_and_pay() -> str:
        with clock.travel(moment):
            try:
                batch = draw(db, brand)
            except NothingToSettle:
                return "nothing"
            with db.transaction() as session:
                run(session, batch)
            return "drawn up"

    def change() -> str:
        with clock.travel(moment):
            method = propose(db, brand, ann, OTHER_IBAN)
            return outcome(partial(prove, db, brand, method))

    found = together(draw_and_pay, change)
    assert found[1] == "well"
    with clock.travel(moment):
        jobs.run_all(db, settings)
    with db.transaction() as session:
        paid = session.execute(
            text(
                "SELECT p.state, m.replaced_at FROM payout p JOIN payout_method m"
                " ON m.brand_id = p.brand_id AND m.id = p.method_id WHERE p.brand_id = :b"
            ),
            {"b": brand.id},
        ).all()
    assert all((row.state == "held") == (row.replaced_at is not None) for row in paid)
    assert findings(db, brand) == []
