"""People who work on one draft, or on the brand's settings, at the same time."""

from __future__ import annotations

from functools import partial

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from distrib.brands.jurisdiction import acknowledge, set_levels
from distrib.brands.tables import Brand
from distrib.commission import drafts
from distrib.commission.drafts import DraftChanged, DraftInWrongState
from distrib.commission.service import get_plan_version
from distrib.db import Database
from tests import factories
from tests.factories import document
from tests.races.world import background, blocked, together, value, wait_until


def save(db: Database, brand: Brand, rate: str) -> int:
    with db.transaction() as session:
        return drafts.save_draft(
            session, brand=brand, document=document(rate), created_by="ann"
        ).number


def edit(session: Session, brand: Brand, rate: str) -> None:
    drafts.edit_draft(session, brand=brand, number=1, document=document(rate), edited_by="ann")


def approve(db: Database, brand: Brand, content_hash: bytes | None = None) -> str:
    try:
        with db.transaction() as session:
            drafts.approve_draft(
                session, brand=brand, number=1, approved_by="bo", content_hash=content_hash
            )
    except (DraftInWrongState, DraftChanged) as error:
        return type(error).__name__
    return "approved"


def publish(db: Database, brand: Brand) -> int:
    try:
        with db.transaction() as session:
            return drafts.publish_draft(session, brand=brand, number=1, published_by="cy").number
    except DraftInWrongState:
        return 0


def test_drafts_saved_at_once_have_numbers_of_their_own(db: Database, shop: Brand) -> None:
    numbers = together(*[partial(save, db, shop, f"{n}%") for n in range(6)])
    assert sorted(numbers) == [1, 2, 3, 4, 5, 6]


def test_an_approval_waits_for_a_change_and_is_not_of_it(db: Database, shop: Brand) -> None:
    save(db, shop, "8%")
    with db.transaction() as session:
        seen = drafts.get_draft(session, brand_id=shop.id, number=1).content_hash
    with Session(db.engine) as session:
        edit(session, shop, "9%")
        approving = background(partial(approve, db, shop, seen))
        wait_until(lambda: blocked(db) == 1, "the approval waits for the change")
        session.commit()
    assert approving() == "DraftChanged"


def test_publishing_waits_for_a_change_and_is_refused(db: Database, shop: Brand) -> None:
    save(db, shop, "8%")
    approve(db, shop)
    with Session(db.engine) as session:
        edit(session, shop, "9%")
        publishing = background(partial(publish, db, shop))
        wait_until(lambda: blocked(db) == 1, "the publication waits for the change")
        session.commit()
    assert publishing() == 0
    assert value(db, "SELECT count(*) FROM plan_version WHERE brand_id = :b", b=shop.id) == 1


def test_a_draft_is_published_once(db: Database, shop: Brand) -> None:
    save(db, shop, "8%")
    assert sorted(together(*[partial(approve, db, shop)] * 4)) == [
        *["DraftInWrongState"] * 3,
        "approved",
    ]
    assert sorted(together(*[partial(publish, db, shop)] * 4)) == [0, 0, 0, 2]
    with db.transaction() as session:
        version = get_plan_version(session, brand_id=shop.id, number=2)
        draft = drafts.get_draft(session, brand_id=shop.id, number=1)
    assert (draft.version_id, draft.approved_hash) == (version.id, version.content_hash)


def test_levels_that_change_while_a_plan_is_published(db: Database, shop: Brand) -> None:
    """The version has the levels of before or of after, and is valid for them."""
    save(db, shop, "8%")
    approve(db, shop)

    def lower() -> int:
        with db.transaction() as session:
            return set_levels(session, brand=shop, levels=1).levels

    together(lower, partial(publish, db, shop))
    query = "SELECT levels FROM plan_version WHERE brand_id = :b AND number = 2"
    assert value(db, query, b=shop.id) in (1, 3)


def test_levels_are_not_raised_on_an_answer_that_is_not_committed(db: Database) -> None:
    brand = factories.brand(db, jurisdiction="CN", levels=1)
    with Session(db.engine) as session:
        acknowledge(session, brand=brand, subject="levels", text_version="v1", acknowledged_by="Fa")
        with pytest.raises(Exception, match="one level until the law"), db.engine.begin() as other:
            other.execute(text("UPDATE brand SET levels = 3 WHERE id = :b"), {"b": brand.id})
        session.rollback()
    assert value(db, "SELECT levels FROM brand WHERE id = :b", b=brand.id) == 1
