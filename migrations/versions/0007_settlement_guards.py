"""settlement guards: nobody approves what they made, and an approval is of a content

Revision ID: 0007
Revises: 0006
"""

from collections.abc import Sequence

from alembic import op

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

APPEND_ONLY = (
    "batch_approval",
    "batch_posting",
    "batch_file",
    "batch_exclusion",
    "settlement_event",
    "payout_tax",
    "brand_tax",
    "statement_import",
    "statement_line",
    "day_close",
)

# What an approval is of: everything that says who gets what, how.
CONTENT = """
    CREATE FUNCTION settlement_content(brand bigint, batch bigint)
    RETURNS TABLE (payouts int, total bigint, tax_total bigint, hash bytea)
    LANGUAGE sql STABLE AS $$
        SELECT count(p.no)::int, coalesce(sum(p.amount), 0)::bigint,
               coalesce(sum(p.tax), 0)::bigint,
               sha256(convert_to(
                   (SELECT s.number || ':' || s.currency || ':' || s.provider || ':' || s.cutoff
                           || ':' || coalesce(s.tax_month::text, '') || ';'
                    FROM settlement_batch s WHERE s.brand_id = brand AND s.id = batch)
                   || coalesce(string_agg(p.no || ':' || p.distributor_id || ':' || p.amount
                      || ':' || p.tax || ':' || coalesce(p.method_id::text, ''), ','
                      ORDER BY p.no), ''), 'UTF8'))
        FROM payout p
        WHERE p.brand_id = brand AND p.batch_id = batch AND p.state <> 'removed'
    $$
"""

FUNCTIONS = {
    "guard_settlement_batch": """
        DECLARE
            approvals int;
        BEGIN
            IF TG_OP = 'INSERT' THEN
                IF NEW.state <> 'draft' THEN
                    RAISE EXCEPTION 'a settlement batch begins as a draft'
                        USING ERRCODE = 'restrict_violation';
                END IF;
                RETURN NEW;
            END IF;
            IF (OLD.brand_id, OLD.id, OLD.number, OLD.cutoff, OLD.currency, OLD.provider,
                OLD.created_by, OLD.created_at)
               IS DISTINCT FROM (NEW.brand_id, NEW.id, NEW.number, NEW.cutoff, NEW.currency,
                NEW.provider, NEW.created_by, NEW.created_at) THEN
                RAISE EXCEPTION 'what a settlement batch is does not change'
                    USING ERRCODE = 'restrict_violation';
            END IF;
            IF NEW.state <> OLD.state AND (OLD.state, NEW.state) NOT IN (
                ('draft', 'submitted'), ('draft', 'cancelled'),
                ('submitted', 'draft'), ('submitted', 'approved'), ('submitted', 'cancelled'),
                ('approved', 'draft'), ('approved', 'paying'), ('approved', 'cancelled'),
                ('paying', 'paused'), ('paying', 'settled'), ('paying', 'partly_failed'),
                ('paused', 'paying'),
                ('settled', 'partly_failed'), ('settled', 'paying'), ('settled', 'closed'),
                ('partly_failed', 'paying'), ('partly_failed', 'settled'),
                ('partly_failed', 'closed')) THEN
                RAISE EXCEPTION 'a settlement batch does not go from % to %', OLD.state, NEW.state
                    USING ERRCODE = 'restrict_violation';
            END IF;
            IF NEW.state <> 'draft' AND
               (OLD.payouts, OLD.total, OLD.tax_total, OLD.content_hash, OLD.tax_month)
               IS DISTINCT FROM
               (NEW.payouts, NEW.total, NEW.tax_total, NEW.content_hash, NEW.tax_month) THEN
                RAISE EXCEPTION 'a settlement batch changes as a draft only'
                    USING ERRCODE = 'restrict_violation';
            END IF;
            IF (OLD.state, NEW.state) IN (('submitted', 'approved'), ('approved', 'paying')) THEN
                SELECT count(*) INTO approvals FROM batch_approval a
                WHERE a.brand_id = NEW.brand_id AND a.batch_id = NEW.id AND a.round = NEW.round
                  AND a.content_hash = NEW.content_hash;
                IF approvals < NEW.approvals_needed
                   OR approvals < (SELECT CASE WHEN NEW.total > b.second_approval_above
                                          AND OLD.state = 'submitted' THEN 2 ELSE 1 END
                                   FROM brand b WHERE b.id = NEW.brand_id) THEN
                    RAISE EXCEPTION 'a settlement batch without the approvals it needs'
                        USING ERRCODE = 'check_violation';
                END IF;
                IF NEW.content_hash IS DISTINCT FROM
                   (SELECT c.hash FROM settlement_content(NEW.brand_id, NEW.id) c) THEN
                    RAISE EXCEPTION 'a settlement batch is not what was approved'
                        USING ERRCODE = 'check_violation';
                END IF;
            END IF;
            RETURN NEW;
        END""",
    "guard_batch_approval": """
        DECLARE
            batch settlement_batch;
        BEGIN
            SELECT * INTO batch FROM settlement_batch
            WHERE brand_id = NEW.brand_id AND id = NEW.batch_id FOR UPDATE;
            IF batch.state <> 'submitted' OR batch.round <> NEW.round
               OR batch.content_hash <> NEW.content_hash THEN
                RAISE EXCEPTION 'an approval is of a batch as it was submitted'
                    USING ERRCODE = 'check_violation';
            END IF;
            IF lower(btrim(NEW.approved_by)) IN
               (lower(btrim(batch.created_by)), lower(btrim(batch.submitted_by)))
               OR EXISTS (SELECT FROM batch_approval a
                          WHERE a.brand_id = NEW.brand_id AND a.batch_id = NEW.batch_id
                          AND a.round = NEW.round
                          AND lower(btrim(a.approved_by)) = lower(btrim(NEW.approved_by))) THEN
                RAISE EXCEPTION 'a settlement batch is approved by somebody else'
                    USING ERRCODE = 'check_violation';
            END IF;
            RETURN NEW;
        END""",
    "guard_payout": """
        BEGIN
            IF (SELECT state FROM settlement_batch
                WHERE brand_id = NEW.brand_id AND id = NEW.batch_id) = 'draft'
               AND (OLD.brand_id, OLD.batch_id, OLD.no, OLD.distributor_id)
                   = (NEW.brand_id, NEW.batch_id, NEW.no, NEW.distributor_id) THEN
                RETURN NEW;
            END IF;
            RAISE EXCEPTION 'what a payout pays changes in a draft only'
                USING ERRCODE = 'restrict_violation';
        END""",
    "guard_adjustment": """
        BEGIN
            IF OLD.state = 'requested' AND
               (OLD.brand_id, OLD.id, OLD.distributor_id, OLD.kind, OLD.amount, OLD.asset,
                OLD.reason, OLD.case_id, OLD.requested_by, OLD.requested_at)
               IS NOT DISTINCT FROM
               (NEW.brand_id, NEW.id, NEW.distributor_id, NEW.kind, NEW.amount, NEW.asset,
                NEW.reason, NEW.case_id, NEW.requested_by, NEW.requested_at) THEN
                RETURN NEW;
            END IF;
            RAISE EXCEPTION 'an adjustment is decided once, as it was requested'
                USING ERRCODE = 'restrict_violation';
        END""",
    "guard_reconciliation_case": """
        BEGIN
            IF OLD.state = 'open' AND
               (OLD.brand_id, OLD.id, OLD.kind, OLD.subject, OLD.expected, OLD.found)
               = (NEW.brand_id, NEW.id, NEW.kind, NEW.subject, NEW.expected, NEW.found) THEN
                RETURN NEW;
            END IF;
            RAISE EXCEPTION 'a reconciliation case is resolved once'
                USING ERRCODE = 'restrict_violation';
        END""",
}

# table, trigger, when, function; a trigger on columns costs nothing to statements that leave them
TRIGGERS = (
    ("settlement_batch", "states", "BEFORE INSERT OR UPDATE", "guard_settlement_batch"),
    ("batch_approval", "second_person", "BEFORE INSERT", "guard_batch_approval"),
    (
        "payout",
        "content",
        "BEFORE UPDATE OF brand_id, batch_id, no, distributor_id, amount, tax, method_id, postings,"
        " amounts",
        "guard_payout",
    ),
    ("adjustment", "decided_once", "BEFORE UPDATE", "guard_adjustment"),
    ("reconciliation_case", "resolved_once", "BEFORE UPDATE", "guard_reconciliation_case"),
)

KEPT = (
    "settlement_batch",
    "payout",
    "payout_attempt",
    "adjustment",
    "reconciliation_case",
    "payout_method",
    "notification",
)
FIXED_COLUMNS = {
    "payout_attempt": "brand_id, batch_id, no, attempt, request_no, call_no, created_at",
    "payout_method": "brand_id, id, distributor_id, kind, name, details, created_at, created_by",
}


def upgrade() -> None:
    op.execute(CONTENT)
    for name, body in FUNCTIONS.items():
        op.execute(f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $${body}$$")
    for table, name, when, function in TRIGGERS:
        op.execute(
            f"CREATE TRIGGER {name} {when} ON {table} FOR EACH ROW EXECUTE FUNCTION {function}()"
        )
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )
    for table in KEPT:
        op.execute(
            f"CREATE TRIGGER kept BEFORE DELETE OR TRUNCATE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )
    for table, columns in FIXED_COLUMNS.items():
        op.execute(
            f"CREATE TRIGGER fixed BEFORE UPDATE OF {columns} ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )


def downgrade() -> None:
    for table in FIXED_COLUMNS:
        op.execute(f"DROP TRIGGER fixed ON {table}")
    for table in KEPT:
        op.execute(f"DROP TRIGGER kept ON {table}")
    for table in APPEND_ONLY:
        op.execute(f"DROP TRIGGER append_only ON {table}")
    for table, name, _, _ in TRIGGERS:
        op.execute(f"DROP TRIGGER {name} ON {table}")
    for name in FUNCTIONS:
        op.execute(f"DROP FUNCTION {name}()")
    op.execute("DROP FUNCTION settlement_content(bigint, bigint)")
