"""guards: what is recorded stays as it was recorded

Revision ID: 0002
Revises: 0001
"""

from collections.abc import Sequence

from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

IMMUTABLE = (
    "plan_version",
    "orders",
    "order_line",
    "refund",
    "refund_line",
    "commission",
    "transfer",
)

FUNCTIONS = {
    "refuse_change": """
        BEGIN
            RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP
                USING ERRCODE = 'restrict_violation';
        END""",
    # an edge may be closed once; nothing else about it may change
    "guard_sponsorship": """
        BEGIN
            IF OLD.valid_to IS NULL AND NEW.valid_to IS NOT NULL
               AND (NEW.brand_id, NEW.distributor_id, NEW.valid_from)
                   = (OLD.brand_id, OLD.distributor_id, OLD.valid_from)
               AND NEW.sponsor_id IS NOT DISTINCT FROM OLD.sponsor_id THEN
                RETURN NEW;
            END IF;
            RAISE EXCEPTION 'a sponsorship can only be closed, once'
                USING ERRCODE = 'restrict_violation';
        END""",
    # no commission above the levels its brand allows; one check a statement, not one a row
    "guard_commission_level": """
        BEGIN
            IF EXISTS (SELECT FROM (SELECT brand_id, max(level) AS level FROM added GROUP BY 1) a
                       JOIN brand b ON b.id = a.brand_id WHERE a.level > b.levels) THEN
                RAISE EXCEPTION 'commission above the levels of its brand'
                    USING ERRCODE = 'check_violation';
            END IF;
            RETURN NULL;
        END""",
    # a version starts after its predecessor and after every order already taken
    "guard_plan_version": """
        BEGIN
            IF NEW.levels > (SELECT levels FROM brand WHERE id = NEW.brand_id) THEN
                RAISE EXCEPTION 'plan version with more levels than its brand allows'
                    USING ERRCODE = 'check_violation';
            END IF;
            IF EXISTS (SELECT FROM plan_version WHERE brand_id = NEW.brand_id
                       AND (effective_from >= NEW.effective_from OR number >= NEW.number)) THEN
                RAISE EXCEPTION 'plan versions follow each other in time'
                    USING ERRCODE = 'check_violation';
            END IF;
            IF EXISTS (SELECT FROM orders WHERE brand_id = NEW.brand_id
                       AND effective_at >= NEW.effective_from
                       AND effective_at > '-infinity') THEN
                RAISE EXCEPTION 'a plan version cannot re-price orders already taken'
                    USING ERRCODE = 'check_violation';
            END IF;
            RETURN NEW;
        END""",
}


def upgrade() -> None:
    # hands each process its node; see distrib/ids.py
    op.execute("CREATE SEQUENCE id_node MINVALUE 0 MAXVALUE 4095 START 0 CYCLE")
    for name, body in FUNCTIONS.items():
        op.execute(f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $${body}$$")
    for table in IMMUTABLE:
        op.execute(
            f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )
    op.execute(
        "CREATE TRIGGER append_only BEFORE DELETE OR TRUNCATE ON sponsorship"
        " FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )
    op.execute(
        "CREATE TRIGGER closed_once BEFORE UPDATE ON sponsorship"
        " FOR EACH ROW EXECUTE FUNCTION guard_sponsorship()"
    )
    op.execute(
        "CREATE TRIGGER levels AFTER INSERT ON commission REFERENCING NEW TABLE AS added"
        " FOR EACH STATEMENT EXECUTE FUNCTION guard_commission_level()"
    )
    op.execute(
        "CREATE TRIGGER in_order BEFORE INSERT ON plan_version"
        " FOR EACH ROW EXECUTE FUNCTION guard_plan_version()"
    )


def downgrade() -> None:
    for table in (*IMMUTABLE, "sponsorship"):
        op.execute(f"DROP TRIGGER append_only ON {table}")
    op.execute("DROP TRIGGER closed_once ON sponsorship")
    op.execute("DROP TRIGGER levels ON commission")
    op.execute("DROP TRIGGER in_order ON plan_version")
    for name in FUNCTIONS:
        op.execute(f"DROP FUNCTION {name}()")
    op.execute("DROP SEQUENCE id_node")
