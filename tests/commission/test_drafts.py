"""Drafts: one person writes, another approves, and what was approved is what is published."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from sqlalchemy import text

from distrib import clock
from distrib.brands.jurisdiction import require_second_person
from distrib.brands.tables import Brand
from distrib.commission.drafts import (
    DraftChanged,
    DraftInWrongState,
    DraftNotFound,
    SamePerson,
    approve_draft,
    changes_of_draft,
    discard_draft,
    edit_draft,
    get_draft,
    list_drafts,
    publish_draft,
    save_draft,
)
from distrib.commission.plan_diff import describe_changes
from distrib.commission.plan_document import PlanInvalid
from distrib.commission.service import (
    PlanNotEffective,
    SecondPersonMissing,
    publish_approved,
    publish_plan,
)
from distrib.commission.tables import PlanDraft, PlanVersion
from distrib.db import Database
from distrib.errors import InvalidInput
from distrib.orders.tables import Order
from tests import factories
from tests.factories import NOON, days, document, ids_of, order, take


class Office:
    """Does to the drafts of a brand what people do to them."""

    def __init__(self, db: Database, brand: Brand) -> None:
        self.db, self.brand = db, brand

    def _do(self, verb: Any, **facts: Any) -> Any:
        with clock.travel(NOON), self.db.transaction() as session:
            return verb(session, brand=self.brand, **facts)

    def save(self, rate: str = "10%", by: str = "ann") -> PlanDraft:
        made: PlanDraft = self._do(save_draft, document=document(rate), created_by=by)
        return made

    def edit(self, rate: str, by: str = "ann", number: int = 1) -> PlanDraft:
        made: PlanDraft = self._do(edit_draft, number=number, document=document(rate), edited_by=by)
        return made

    def approve(
        self, by: str = "bo", number: int = 1, content_hash: bytes | None = None
    ) -> PlanDraft:
        made: PlanDraft = self._do(
            approve_draft, number=number, approved_by=by, content_hash=content_hash
        )
        return made

    def publish(self, number: int = 1, **more: Any) -> PlanVersion:
        made: PlanVersion = self._do(publish_draft, number=number, published_by="cy", **more)
        return made

    def discard(self, number: int = 1) -> PlanDraft:
        made: PlanDraft = self._do(discard_draft, number=number)
        return made

    def look(self, number: int = 1) -> PlanDraft:
        with self.db.transaction() as session:
            return get_draft(session, brand_id=self.brand.id, number=number)


@pytest.fixture
def office(db: Database, brand: Brand) -> Office:
    return Office(db, brand)


def test_a_draft_goes_its_way(office: Office) -> None:
    draft = office.save()
    assert (draft.number, draft.state, draft.name) == (1, "draft", "plan")
    assert (draft.created_by, draft.created_at, draft.edited_by) == ("ann", NOON, "ann")
    approved = office.approve(content_hash=draft.content_hash)
    assert (approved.state, approved.approved_by, approved.approved_at) == ("approved", "bo", NOON)
    version = office.publish(effective_from=NOON + days(1))
    assert (version.number, version.effective_from) == (1, NOON + days(1))
    assert (version.document, version.published_by) == (document("10%"), "cy")
    published = office.look()
    assert (published.state, published.version_id) == ("published", version.id)


def test_drafts_are_numbered_by_brand(db: Database, office: Office) -> None:
    other = Office(db, factories.brand(db))
    assert [office.save().number, office.save().number, other.save().number] == [1, 2, 1]
    with db.transaction() as session:
        found = list_drafts(session, brand_id=office.brand.id)
        assert [each.number for each in found] == [2, 1]
        with pytest.raises(DraftNotFound, match="no plan draft 2"):
            get_draft(session, brand_id=other.brand.id, number=2)


@pytest.mark.parametrize("name", ["ann", "Ann", " ANN "])
def test_nobody_approves_what_they_wrote(office: Office, name: str) -> None:
    office.save(by="ann")
    with pytest.raises(SamePerson) as caught:
        office.approve(by=name)
    assert caught.value.field == "approved_by"


def test_nobody_approves_what_they_changed(office: Office) -> None:
    office.save(by="ann")
    assert office.edit("20%", by="bo").edited_by == "bo"
    for name in ("ann", "bo"):
        with pytest.raises(SamePerson):
            office.approve(by=name)
    assert office.approve(by="cy").state == "approved"


def test_a_change_ends_the_approval(office: Office) -> None:
    office.save()
    office.approve()
    assert office.edit("10%").state == "approved", "it says the same"
    changed = office.edit("11%")
    assert (changed.state, changed.approved_by, changed.approved_hash) == ("draft", None, None)
    with pytest.raises(DraftInWrongState, match="is draft; this needs it to be approved"):
        office.publish()


def test_an_approval_is_of_what_was_seen(office: Office) -> None:
    seen = office.save().content_hash
    office.edit("11%")
    with pytest.raises(DraftChanged) as caught:
        office.approve(content_hash=seen)
    assert caught.value.field == "content_hash"


@pytest.mark.parametrize("end", ["publish", "discard"])
def test_an_end_is_an_end(office: Office, end: str) -> None:
    office.save()
    office.approve()
    getattr(office, end)()
    work: list[Callable[[], Any]] = [
        lambda: office.edit("11%"),
        office.approve,
        office.publish,
        *([office.discard] if end == "publish" else []),
    ]
    for each in work:
        with pytest.raises(DraftInWrongState, match=r"is (published|discarded)"):
            each()


def test_discarding_twice_changes_nothing(office: Office) -> None:
    office.save()
    assert [office.discard().state for _ in range(2)] == ["discarded", "discarded"]


def test_a_draft_is_a_valid_plan(db: Database, office: Office) -> None:
    with pytest.raises(PlanInvalid, match="110% is outside"):
        office.save("110%")
    office.save()
    with pytest.raises(PlanInvalid, match="110% is outside"):
        office.edit("110%")
    assert office.look().document == document("10%")


def test_a_draft_is_held_against_the_levels_of_the_day(db: Database, office: Office) -> None:
    with db.transaction() as session:
        save_draft(
            session, brand=office.brand, document=document("3%", "2%", "1%"), created_by="ann"
        )
    with db.transaction() as session:
        session.execute(text("UPDATE brand SET levels = 2 WHERE id = :id"), {"id": office.brand.id})
    with pytest.raises(PlanInvalid, match="names 3 levels; the brand has 2 levels"):
        office.approve()


@pytest.mark.parametrize("field, name", [("created_by", " "), ("created_by", "a\0b")])
def test_a_person_has_a_name(office: Office, field: str, name: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        office.save(by=name)
    assert caught.value.field == field


def test_a_draft_does_not_reprice(db: Database, office: Office) -> None:
    first = factories.plan(db, office.brand)
    factories.trio(db, office.brand)
    (order_id,) = ids_of(take(db, office.brand, order("o-1", 10_000)))
    office.save("20%")
    office.approve()
    with pytest.raises(PlanNotEffective):
        office.publish(effective_from=NOON)
    assert office.look().state == "approved", "nothing happened"
    version = office.publish()
    assert version.effective_from > NOON
    with db.transaction() as session:
        assert session.get_one(Order, (office.brand.id, order_id)).plan_version_id == first.id


def test_what_a_draft_would_change(db: Database, office: Office) -> None:
    draft = office.save("20%")

    def changes() -> list[str]:
        with db.transaction() as session:
            return describe_changes(
                *changes_of_draft(session, brand_id=office.brand.id, draft=draft)
            )

    assert changes() == [
        "levels from none to 3",
        "rule 'default' added: everything else pays 20%",
    ]
    factories.plan(db, office.brand, "10%")
    assert changes() == ["rule 'default': level 1 from 10% to 20%"]


# -- the second person ----------------------------------------------------------------------------


@pytest.fixture
def strict(db: Database, brand: Brand, office: Office) -> Office:
    """The office of a brand that publishes only what two people stand for."""
    with db.transaction() as session:
        require_second_person(session, brand=brand, required=True, by_operator=True)
    return office


def test_only_approved_drafts_are_published(db: Database, strict: Office) -> None:
    with pytest.raises(SecondPersonMissing, match="save it as a draft"):
        factories.plan(db, strict.brand)
    strict.save()
    strict.approve()
    assert strict.publish().number == 1


# -- ways round it --------------------------------------------------------------------------------

_VERSION = (
    "INSERT INTO plan_version (brand_id, id, number, effective_from, levels, document,"
    " content_hash, published_at, published_by) SELECT brand_id, id + 1, number + 1,"
    " effective_from + interval '1 day', levels, document, {hash}, published_at, published_by"
    " FROM plan_version WHERE brand_id = :id"
)


@pytest.mark.parametrize("content_hash", ["content_hash", "'other'"])
def test_no_version_without_an_approved_draft(
    db: Database, strict: Office, content_hash: str
) -> None:
    strict.save()
    strict.approve()
    strict.publish()
    with db.engine.connect() as connection:
        connection.execute(
            text(_VERSION.format(hash=content_hash)),
            {"id": strict.brand.id},
        )
        with pytest.raises(Exception, match="a plan version without an approved draft") as caught:
            connection.commit()
    assert isinstance(getattr(caught.value, "orig", None), psycopg.errors.CheckViolation)


def test_a_verb_cannot_pass_by_the_second_person(db: Database, strict: Office) -> None:
    """The verb that trusts its caller is not trusted by the database."""
    with (
        pytest.raises(Exception, match="a plan version without an approved draft"),
        db.transaction() as session,
    ):
        publish_approved(session, brand=strict.brand, document=document("10%"), published_by="eve")


_APPROVE = (
    "UPDATE plan_draft SET state = 'approved', approved_by = {by}, approved_at = {at},"
    " approved_hash = {hash} WHERE brand_id = :id AND state = 'draft'"
)


def _approve(by: str = "'bo'", at: str = "now()", hash_: str = "content_hash") -> str:
    return _APPROVE.format(by=by, at=at, hash=hash_)


@pytest.mark.parametrize(
    "statement, reason",
    [
        (_approve(by="'ann'"), "second_person"),
        (_approve(by="' ANN'"), "second_person"),
        (_approve(by="NULL"), "approval"),
        (_approve(at="NULL"), "approval"),
        (_approve(hash_="NULL"), "approval"),
        (_approve(hash_="'other'"), "approval"),
        ("UPDATE plan_draft SET approved_by = 'bo' WHERE brand_id = :id", "approval"),
        (
            "UPDATE plan_draft SET state = 'published' WHERE brand_id = :id",
            "does not go from draft to published",
        ),
        ("UPDATE plan_draft SET created_by = 'eve' WHERE brand_id = :id", "who made a plan draft"),
        ("UPDATE plan_draft SET number = 7 WHERE brand_id = :id", "who made a plan draft"),
        (
            "UPDATE plan_draft SET document = '{}' WHERE brand_id = :id",
            "the hash of a plan draft names its document",
        ),
        ("UPDATE plan_draft SET state = 'lost' WHERE brand_id = :id", "does not go from"),
        ("DELETE FROM plan_draft WHERE brand_id = :id", "append-only: DELETE refused"),
        ("TRUNCATE plan_draft", "append-only: TRUNCATE refused"),
    ],
)
def test_the_database_keeps_a_draft_on_its_way(
    db: Database, office: Office, statement: str, reason: str
) -> None:
    office.save()
    _refused(db, office, statement, reason)


@pytest.mark.parametrize(
    "statement, reason",
    [
        (
            "UPDATE plan_draft SET document = '{}', content_hash = 'x' WHERE brand_id = :id",
            "does not go from approved to approved",
        ),
        (
            "UPDATE plan_draft SET document = '{}', content_hash = 'x', approved_hash = 'x',"
            " state = 'published', version_id = 1 WHERE brand_id = :id",
            "needs approval again",
        ),
        ("UPDATE plan_draft SET state = 'draft' WHERE brand_id = :id", "approval"),
        (
            "UPDATE plan_draft SET state = 'published', version_id = 1 WHERE brand_id = :id",
            "what is published is what was approved",
        ),
        (
            "UPDATE plan_draft SET state = 'published', approved_by = 'eve',"
            " version_id = (SELECT id FROM plan_version WHERE brand_id = :id)"
            " WHERE brand_id = :id",
            "what is published is what was approved",
        ),
        (
            "UPDATE plan_draft SET state = 'published',"
            " version_id = (SELECT id FROM plan_version WHERE brand_id = :id)"
            " WHERE brand_id = :id",
            "what is published is what was approved",  # the version says something else
        ),
        (
            "INSERT INTO plan_draft SELECT brand_id, id + 1, number + 1, name, document,"
            " content_hash, state, created_by, created_at, edited_by, edited_at, approved_by,"
            " approved_at, approved_hash FROM plan_draft WHERE brand_id = :id",
            "begins as a draft",
        ),
    ],
)
def test_the_database_keeps_an_approval_to_its_content(
    db: Database, office: Office, statement: str, reason: str
) -> None:
    factories.plan(db, office.brand, "1%")
    office.save()
    office.approve()
    _refused(db, office, statement, reason)


@pytest.mark.parametrize(
    "change", ["state = 'draft'", "state = 'discarded'", "name = 'x'", "version_id = NULL"]
)
def test_what_is_published_stays(db: Database, office: Office, change: str) -> None:
    office.save()
    office.approve()
    office.publish()
    _refused(db, office, f"UPDATE plan_draft SET {change} WHERE brand_id = :id", "does not go from")


def _refused(db: Database, office: Office, statement: str, reason: str) -> None:
    with db.engine.connect() as connection:
        scope = {"id": office.brand.id} if ":id" in statement else {}
        with pytest.raises(Exception, match=reason) as caught:
            connection.execute(text(statement), scope)
        connection.rollback()
    assert isinstance(
        getattr(caught.value, "orig", None),
        psycopg.errors.CheckViolation | psycopg.errors.RestrictViolation,
    )


def test_publishing_reads_the_draft_that_was_approved(db: Database, office: Office) -> None:
    """A document that does not fit its hash is not published, whoever put it there."""
    office.save()
    office.approve()
    with db.engine.begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))  # no triggers
        connection.execute(
            text("UPDATE plan_draft SET document = '{}' WHERE brand_id = :id"),
            {"id": office.brand.id},
        )
    with pytest.raises(DraftChanged, match="is not what was approved"):
        office.publish()


def test_publish_plan_takes_no_draft_by_the_side(db: Database, strict: Office) -> None:
    """An approved draft does not open the way for another document, nor for the same."""
    strict.save()
    strict.approve()
    for rate in ("10%", "11%"):
        with pytest.raises(SecondPersonMissing), db.transaction() as session:
            publish_plan(session, brand=strict.brand, document=document(rate), published_by="eve")
