"""plan drafts, jurisdictions and acknowledgements

Revision ID: 0004
Revises: 0003
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

FUNCTIONS = {
    # in China more than one level needs somebody who answers for it
    "guard_brand_levels": """
        BEGIN
            IF NEW.jurisdiction = 'CN' AND NEW.levels > 1
               AND NOT EXISTS (SELECT FROM legal_acknowledgement
                               WHERE brand_id = NEW.id AND subject = 'levels') THEN
                RAISE EXCEPTION 'a brand in CN has one level until the law is acknowledged'
                    USING ERRCODE = 'check_violation';
            END IF;
            IF TG_OP = 'UPDATE' AND OLD.jurisdiction = 'CN' AND NEW.jurisdiction <> 'CN'
               AND EXISTS (SELECT FROM plan_version WHERE brand_id = NEW.id) THEN
                RAISE EXCEPTION 'a brand that has published a plan does not leave CN'
                    USING ERRCODE = 'check_violation';
            END IF;
            RETURN NEW;
        END""",
    "guard_channel_levels": """
        BEGIN
            IF (SELECT jurisdiction FROM brand WHERE id = NEW.brand_id) = 'CN'
               AND NEW.channel_levels -> 'wechat' IS DISTINCT FROM '1'
               AND NOT EXISTS (SELECT FROM legal_acknowledgement
                               WHERE brand_id = NEW.brand_id AND subject = 'wechat_levels') THEN
                RAISE EXCEPTION 'WeChat orders pay one level until the law is acknowledged'
                    USING ERRCODE = 'check_violation';
            END IF;
            RETURN NEW;
        END""",
    # looked at when the transaction ends: the draft points at the version, which comes first
    "guard_second_person": """
        BEGIN
            IF (SELECT second_person FROM brand WHERE id = NEW.brand_id)
               AND NOT EXISTS (SELECT FROM plan_draft
                               WHERE brand_id = NEW.brand_id AND version_id = NEW.id
                               AND state = 'published' AND approved_hash = NEW.content_hash) THEN
                RAISE EXCEPTION 'a plan version without an approved draft'
                    USING ERRCODE = 'check_violation';
            END IF;
            RETURN NULL;
        END""",
    "guard_plan_draft": """
        BEGIN
            IF TG_OP = 'INSERT' THEN
                IF NEW.state <> 'draft' THEN
                    RAISE EXCEPTION 'a plan draft begins as a draft'
                        USING ERRCODE = 'restrict_violation';
                END IF;
                RETURN NEW;
            END IF;
            IF (OLD.brand_id, OLD.id, OLD.number, OLD.created_by, OLD.created_at)
               IS DISTINCT FROM (NEW.brand_id, NEW.id, NEW.number, NEW.created_by, NEW.created_at)
            THEN
                RAISE EXCEPTION 'who made a plan draft, and when, does not change'
                    USING ERRCODE = 'restrict_violation';
            END IF;
            IF NOT (OLD.state IN ('draft', 'approved') AND NEW.state IN ('draft', 'discarded')
                    OR (OLD.state, NEW.state) IN (('draft', 'approved'), ('approved', 'published')))
            THEN
                RAISE EXCEPTION 'a plan draft does not go from % to %', OLD.state, NEW.state
                    USING ERRCODE = 'restrict_violation';
            END IF;
            IF (OLD.name, OLD.document, OLD.content_hash, OLD.edited_by, OLD.edited_at)
               IS DISTINCT FROM
               (NEW.name, NEW.document, NEW.content_hash, NEW.edited_by, NEW.edited_at)
               AND NEW.state <> 'draft' THEN
                RAISE EXCEPTION 'a plan draft that is changed needs approval again'
                    USING ERRCODE = 'restrict_violation';
            END IF;
            IF OLD.document IS DISTINCT FROM NEW.document AND OLD.content_hash = NEW.content_hash
            THEN
                RAISE EXCEPTION 'the hash of a plan draft names its document'
                    USING ERRCODE = 'restrict_violation';
            END IF;
            IF NEW.state = 'published' AND (
                (OLD.approved_by, OLD.approved_at, OLD.approved_hash)
                    IS DISTINCT FROM (NEW.approved_by, NEW.approved_at, NEW.approved_hash)
                OR NOT EXISTS (SELECT FROM plan_version WHERE brand_id = NEW.brand_id
                               AND id = NEW.version_id AND content_hash = NEW.approved_hash))
            THEN
                RAISE EXCEPTION 'what is published is what was approved'
                    USING ERRCODE = 'restrict_violation';
            END IF;
            RETURN NEW;
        END""",
}

# A brand may lower its levels while a version with more is in force: orders are priced, and taken
# back, by that version. So who exceeds the brand is held against the version of its order.
COMMISSION_LEVEL = """
    BEGIN
        IF EXISTS (SELECT FROM (SELECT brand_id, max(level) AS level FROM added GROUP BY 1) a
                   JOIN brand b ON b.id = a.brand_id WHERE a.level > b.levels)
           AND EXISTS (SELECT FROM (SELECT brand_id, order_id, max(level) AS level FROM added
                                    GROUP BY 1, 2) a
                       JOIN orders o ON o.brand_id = a.brand_id AND o.id = a.order_id
                       JOIN plan_version v ON v.brand_id = o.brand_id AND v.id = o.plan_version_id
                       WHERE a.level > v.levels) THEN
            RAISE EXCEPTION 'commission above the levels of its brand'
                USING ERRCODE = 'check_violation';
        END IF;
        RETURN NULL;
    END"""
COMMISSION_LEVEL_BEFORE = """
    BEGIN
        IF EXISTS (SELECT FROM (SELECT brand_id, max(level) AS level FROM added GROUP BY 1) a
                   JOIN brand b ON b.id = a.brand_id WHERE a.level > b.levels) THEN
            RAISE EXCEPTION 'commission above the levels of its brand'
                USING ERRCODE = 'check_violation';
        END IF;
        RETURN NULL;
    END"""


def _replace(name: str, body: str) -> None:
    op.execute(
        f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $${body}$$"
    )


def upgrade() -> None:
    op.create_table(
        "legal_acknowledgement",
        sa.Column("brand_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("text_version", sa.Text(), nullable=False),
        sa.Column("acknowledged_by", sa.Text(), nullable=False),
        sa.Column("acknowledged_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.CheckConstraint(
            "subject IN ('levels', 'wechat_levels')", name=op.f("ck_legal_acknowledgement_subject")
        ),
        sa.CheckConstraint(
            "btrim(text_version) <> '' AND btrim(acknowledged_by) <> ''",
            name=op.f("ck_legal_acknowledgement_stated"),
        ),
        sa.ForeignKeyConstraint(
            ["brand_id"], ["brand.id"], name=op.f("fk_legal_acknowledgement_brand_id")
        ),
        sa.PrimaryKeyConstraint("brand_id", "id", name=op.f("pk_legal_acknowledgement")),
    )
    op.create_table(
        "plan_draft",
        sa.Column("brand_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("document", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("content_hash", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("edited_by", sa.Text(), nullable=False),
        sa.Column("edited_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("approved_by", sa.Text(), nullable=True),
        sa.Column("approved_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("approved_hash", sa.LargeBinary(), nullable=True),
        sa.Column("version_id", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "state IN ('draft', 'approved', 'published', 'discarded')",
            name=op.f("ck_plan_draft_state"),
        ),
        sa.CheckConstraint(
            "lower(btrim(approved_by)) <> lower(btrim(created_by))"
            " AND lower(btrim(approved_by)) <> lower(btrim(edited_by))",
            name=op.f("ck_plan_draft_second_person"),
        ),
        sa.CheckConstraint(
            "CASE WHEN state IN ('approved', 'published')"
            " THEN coalesce(approved_hash = content_hash, false) AND approved_by IS NOT NULL"
            " AND approved_at IS NOT NULL"
            " ELSE approved_by IS NULL AND approved_at IS NULL AND approved_hash IS NULL END",
            name=op.f("ck_plan_draft_approval"),
        ),
        sa.CheckConstraint(
            "(state = 'published') = (version_id IS NOT NULL)",
            name=op.f("ck_plan_draft_version"),
        ),
        sa.ForeignKeyConstraint(["brand_id"], ["brand.id"], name=op.f("fk_plan_draft_brand_id")),
        sa.ForeignKeyConstraint(
            ["brand_id", "version_id"],
            ["plan_version.brand_id", "plan_version.id"],
            name=op.f("fk_plan_draft_brand_id_version_id"),
        ),
        sa.PrimaryKeyConstraint("brand_id", "id", name=op.f("pk_plan_draft")),
        sa.UniqueConstraint("brand_id", "number", name=op.f("uq_plan_draft_brand_id_number")),
    )
    op.add_column("brand", sa.Column("jurisdiction", sa.Text(), nullable=True))
    # nobody has said where the brands that exist live; they keep the levels that they have
    op.execute("UPDATE brand SET jurisdiction = CASE WHEN levels > 1 THEN 'other' ELSE 'CN' END")
    op.alter_column("brand", "jurisdiction", nullable=False)
    op.create_check_constraint(
        op.f("ck_brand_jurisdiction"), "brand", "jurisdiction ~ '^([A-Z]{2}|other)$'"
    )
    op.add_column(
        "brand", sa.Column("second_person", sa.Boolean(), server_default="false", nullable=False)
    )
    for name, body in FUNCTIONS.items():
        _replace(name, body)
    _replace("guard_commission_level", COMMISSION_LEVEL)
    op.execute(
        "CREATE TRIGGER jurisdiction BEFORE INSERT OR UPDATE OF levels, jurisdiction ON brand"
        " FOR EACH ROW EXECUTE FUNCTION guard_brand_levels()"
    )
    op.execute(
        "CREATE TRIGGER jurisdiction BEFORE INSERT ON plan_version"
        " FOR EACH ROW EXECUTE FUNCTION guard_channel_levels()"
    )
    op.execute(
        "CREATE CONSTRAINT TRIGGER second_person AFTER INSERT ON plan_version"
        " DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION guard_second_person()"
    )
    op.execute(
        "CREATE TRIGGER states BEFORE INSERT OR UPDATE ON plan_draft"
        " FOR EACH ROW EXECUTE FUNCTION guard_plan_draft()"
    )
    op.execute(
        "CREATE TRIGGER append_only BEFORE DELETE OR TRUNCATE ON plan_draft"
        " FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )
    op.execute(
        "CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON legal_acknowledgement"
        " FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )


def downgrade() -> None:
    op.execute("DROP TRIGGER second_person ON plan_version")
    op.execute("DROP TRIGGER jurisdiction ON plan_version")
    op.execute("DROP TRIGGER jurisdiction ON brand")
    op.drop_column("brand", "second_person")
    op.drop_column("brand", "jurisdiction")
    op.drop_table("plan_draft")
    op.drop_table("legal_acknowledgement")
    _replace("guard_commission_level", COMMISSION_LEVEL_BEFORE)
    for name in FUNCTIONS:
        op.execute(f"DROP FUNCTION {name}()")
