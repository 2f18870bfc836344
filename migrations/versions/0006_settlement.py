"""settlement that finance can defend: approvals, attempts, files, tax, methods, reconciliation

Revision ID: 0006
Revises: 0005
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

BATCH_STATES = (
    "state IN ('draft', 'submitted', 'approved', 'paying', 'paused', 'settled',"
    " 'partly_failed', 'closed', 'cancelled')"
)
BATCH_STATES_BEFORE = "state IN ('draft', 'approved', 'paying', 'settled', 'cancelled')"
PAYOUT_STATES = (
    "state IN ('reserved', 'held', 'sent', 'paid', 'failed', 'returned', 'voided',"
    " 'removed', 'cancelled')"
)
PAYOUT_STATES_BEFORE = "state IN ('reserved', 'paid', 'failed', 'cancelled')"
REQUEST_NO = "request_no = batch_id::text || 'p' || no::text || 'a' || attempt::text"
REQUEST_NO_BEFORE = "request_no = batch_id::text || '-' || no::text || '-' || attempt::text"


def _check(table: str, name: str, condition: str) -> None:
    op.drop_constraint(op.f(f"ck_{table}_{name}"), table)
    op.create_check_constraint(op.f(f"ck_{table}_{name}"), table, condition)


def _convert_attempts() -> None:
    """What was an attempt stays one, under the new form of its number."""
    op.drop_constraint(op.f("ck_payout_attempt_request_no"), "payout_attempt")
    op.drop_constraint(op.f("ck_payout_attempt_outcome"), "payout_attempt")
    op.execute(
        "UPDATE payout_attempt SET request_no = replace(overlay(request_no PLACING 'p'"
        " FROM position('-' IN request_no) FOR 1), '-', 'a'), call_no = batch_id,"
        " state = coalesce(outcome, 'sent'), state_at = outcome_at"
    )
    op.execute(
        "UPDATE payout p SET attempts = 1 FROM payout_attempt a WHERE a.brand_id ="
        " p.brand_id AND a.batch_id = p.batch_id AND a.no = p.no"
    )
    op.alter_column("payout_attempt", "call_no", nullable=False)
    op.alter_column("payout_attempt", "state", nullable=False)
    op.create_check_constraint(op.f("ck_payout_attempt_request_no"), "payout_attempt", REQUEST_NO)
    op.create_check_constraint(
        op.f("ck_payout_attempt_state"),
        "payout_attempt",
        "state IN ('sent', 'pending', 'paid', 'failed', 'returned')",
    )


def _convert_batches() -> None:
    _check("settlement_batch", "state", BATCH_STATES)
    _check(
        "settlement_batch",
        "approved",
        "state IN ('draft', 'submitted', 'cancelled') OR approved_at IS NOT NULL",
    )
    for name, condition in (
        ("approvals_needed", "approvals_needed BETWEEN 1 AND 2"),
        ("jobs", "pay_jobs >= 0 AND follow_jobs >= 0"),
        ("tax_total", "tax_total BETWEEN 0 AND total"),
    ):
        op.create_check_constraint(
            op.f(f"ck_settlement_batch_{name}"), "settlement_batch", condition
        )
    _check("payout", "amount", "amount > 0 AND tax >= 0 AND tax < amount")
    _check("payout", "state", PAYOUT_STATES)
    for name, condition in (
        ("second_approval_above", "second_approval_above >= 0"),
        ("method_cool_days", "method_cool_days BETWEEN 0 AND 90"),
    ):
        op.create_check_constraint(op.f(f"ck_brand_{name}"), "brand", condition)
    op.execute(
        "INSERT INTO batch_file (brand_id, batch_id, file_no, name, sha256, payouts, total, calls,"
        " created_at) SELECT brand_id, id, 1, file_name, file_sha256, payouts, total, ARRAY[id],"
        " settled_at FROM settlement_batch WHERE file_name IS NOT NULL"
    )


def upgrade() -> None:  # noqa: PLR0915
    op.create_index(
        "ix_transfer_posted_at",
        "transfer",
        ["posted_at"],
        unique=False,
        postgresql_using="brin",
        postgresql_with={"autosummarize": "on"},
    )
    op.create_table(
        "brand_tax",
        sa.Column("brand_id", sa.BigInteger(), nullable=False),
        sa.Column("year", sa.SmallInteger(), nullable=False),
        sa.Column("number", sa.SmallInteger(), nullable=False),
        sa.Column("regime", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("set_by", sa.Text(), nullable=False),
        sa.Column("set_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["brand_id"], ["brand.id"], name=op.f("fk_brand_tax_brand_id")),
        sa.PrimaryKeyConstraint("brand_id", "year", "number", name=op.f("pk_brand_tax")),
    )
    op.create_table(
        "day_close",
        sa.Column("brand_id", sa.BigInteger(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("first_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("end_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("opening", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("movements", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("closing", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("transfers", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("signed_by", sa.Text(), nullable=False),
        sa.Column("signed_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["brand_id"], ["brand.id"], name=op.f("fk_day_close_brand_id")),
        sa.PrimaryKeyConstraint("brand_id", "day", name=op.f("pk_day_close")),
    )
    op.create_table(
        "provider_gate",
        sa.Column("brand_id", sa.BigInteger(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("open_until", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("free_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["brand_id"], ["brand.id"], name=op.f("fk_provider_gate_brand_id")),
        sa.PrimaryKeyConstraint("brand_id", "provider", name=op.f("pk_provider_gate")),
        postgresql_with={"fillfactor": "50"},
    )
    op.create_table(
        "reconciliation_case",
        sa.Column("brand_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("batch_id", sa.BigInteger(), nullable=True),
        sa.Column("no", sa.Integer(), nullable=True),
        sa.Column("attempt", sa.SmallInteger(), nullable=True),
        sa.Column("import_id", sa.BigInteger(), nullable=True),
        sa.Column("line", sa.Integer(), nullable=True),
        sa.Column("expected", sa.BigInteger(), nullable=False),
        sa.Column("found", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("opened_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("opened_by", sa.Text(), nullable=False),
        sa.Column("resolution", sa.Text(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("resolved_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("resolved_by", sa.Text(), nullable=True),
        sa.Column("posting_id", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "(state = 'resolved') = (resolution IS NOT NULL)"
            " AND (resolution IS NULL OR btrim(note) <> '')",
            name=op.f("ck_reconciliation_case_resolved"),
        ),
        sa.CheckConstraint(
            "kind IN ('missing', 'extra', 'amount_differs', 'late_return')",
            name=op.f("ck_reconciliation_case_kind"),
        ),
        sa.CheckConstraint(
            "state IN ('open', 'resolved')", name=op.f("ck_reconciliation_case_state")
        ),
        sa.ForeignKeyConstraint(
            ["brand_id"], ["brand.id"], name=op.f("fk_reconciliation_case_brand_id")
        ),
        sa.PrimaryKeyConstraint("brand_id", "id", name=op.f("pk_reconciliation_case")),
        sa.UniqueConstraint(
            "subject", "kind", "brand_id", name=op.f("uq_reconciliation_case_subject_kind_brand_id")
        ),
    )
    op.create_index(
        "uq_reconciliation_case_line",
        "reconciliation_case",
        ["import_id", "line", "brand_id"],
        unique=True,
        postgresql_where="line IS NOT NULL",
    )
    op.create_table(
        "statement_import",
        sa.Column("brand_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("first_day", sa.Date(), nullable=False),
        sa.Column("last_day", sa.Date(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("imported_by", sa.Text(), nullable=False),
        sa.Column("imported_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.CheckConstraint("first_day <= last_day", name=op.f("ck_statement_import_period")),
        sa.ForeignKeyConstraint(
            ["brand_id"], ["brand.id"], name=op.f("fk_statement_import_brand_id")
        ),
        sa.PrimaryKeyConstraint("brand_id", "id", name=op.f("pk_statement_import")),
        sa.UniqueConstraint(
            "sha256",
            "provider",
            "brand_id",
            name=op.f("uq_statement_import_sha256_provider_brand_id"),
        ),
    )
    op.create_table(
        "adjustment",
        sa.Column("brand_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("distributor_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("case_id", sa.BigInteger(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("requested_by", sa.Text(), nullable=False),
        sa.Column("requested_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.Column("decided_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("available_on", sa.Date(), nullable=True),
        sa.CheckConstraint(
            "(amount < 0) = (kind = 'overpaid') AND amount <> 0", name=op.f("ck_adjustment_amount")
        ),
        sa.CheckConstraint(
            "(state = 'requested') = (decided_by IS NULL)"
            " AND (state <> 'approved' OR decided_by <> requested_by)",
            name=op.f("ck_adjustment_second_person"),
        ),
        sa.CheckConstraint("btrim(reason) <> ''", name=op.f("ck_adjustment_reason")),
        sa.CheckConstraint(
            "kind IN ('write_off', 'overpaid', 'underpaid')", name=op.f("ck_adjustment_kind")
        ),
        sa.CheckConstraint(
            "state IN ('requested', 'approved', 'rejected')", name=op.f("ck_adjustment_state")
        ),
        sa.ForeignKeyConstraint(
            ["brand_id", "distributor_id"],
            ["distributor.brand_id", "distributor.id"],
            name=op.f("fk_adjustment_brand_id_distributor_id"),
        ),
        sa.PrimaryKeyConstraint("brand_id", "id", name=op.f("pk_adjustment")),
    )
    op.create_index(
        "ix_adjustment_distributor", "adjustment", ["distributor_id", "brand_id"], unique=False
    )
    op.create_table(
        "batch_approval",
        sa.Column("brand_id", sa.BigInteger(), nullable=False),
        sa.Column("batch_id", sa.BigInteger(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("approved_by", sa.Text(), nullable=False),
        sa.Column("content_hash", sa.LargeBinary(), nullable=False),
        sa.Column("approved_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["brand_id", "batch_id"],
            ["settlement_batch.brand_id", "settlement_batch.id"],
            name=op.f("fk_batch_approval_brand_id_batch_id"),
        ),
        sa.PrimaryKeyConstraint(
            "brand_id", "batch_id", "round", "approved_by", name=op.f("pk_batch_approval")
        ),
    )
    op.create_table(
        "batch_exclusion",
        sa.Column("brand_id", sa.BigInteger(), nullable=False),
        sa.Column("batch_id", sa.BigInteger(), nullable=False),
        sa.Column("distributor_id", sa.BigInteger(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["brand_id", "batch_id"],
            ["settlement_batch.brand_id", "settlement_batch.id"],
            name=op.f("fk_batch_exclusion_brand_id_batch_id"),
        ),
        sa.ForeignKeyConstraint(
            ["brand_id", "distributor_id"],
            ["distributor.brand_id", "distributor.id"],
            name=op.f("fk_batch_exclusion_brand_id_distributor_id"),
        ),
        sa.PrimaryKeyConstraint(
            "brand_id", "batch_id", "distributor_id", name=op.f("pk_batch_exclusion")
        ),
    )
    op.create_table(
        "batch_file",
        sa.Column("brand_id", sa.BigInteger(), nullable=False),
        sa.Column("batch_id", sa.BigInteger(), nullable=False),
        sa.Column("file_no", sa.SmallInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("payouts", sa.Integer(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("calls", sa.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["brand_id", "batch_id"],
            ["settlement_batch.brand_id", "settlement_batch.id"],
            name=op.f("fk_batch_file_brand_id_batch_id"),
        ),
        sa.PrimaryKeyConstraint("brand_id", "batch_id", "file_no", name=op.f("pk_batch_file")),
    )
    op.create_table(
        "batch_posting",
        sa.Column("brand_id", sa.BigInteger(), nullable=False),
        sa.Column("batch_id", sa.BigInteger(), nullable=False),
        sa.Column("posting_id", sa.BigInteger(), nullable=False),
        sa.Column("code", sa.SmallInteger(), nullable=False),
        sa.Column("first_no", sa.Integer(), nullable=False),
        sa.Column("payouts", sa.Integer(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["brand_id", "batch_id"],
            ["settlement_batch.brand_id", "settlement_batch.id"],
            name=op.f("fk_batch_posting_brand_id_batch_id"),
        ),
        sa.PrimaryKeyConstraint(
            "brand_id", "batch_id", "posting_id", name=op.f("pk_batch_posting")
        ),
    )
    op.create_table(
        "notification",
        sa.Column("brand_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("distributor_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("data", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("sent_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["brand_id", "distributor_id"],
            ["distributor.brand_id", "distributor.id"],
            name=op.f("fk_notification_brand_id_distributor_id"),
        ),
        sa.PrimaryKeyConstraint("brand_id", "id", name=op.f("pk_notification")),
    )
    op.create_index(
        "ix_notification_unsent",
        "notification",
        ["id"],
        unique=False,
        postgresql_where="sent_at IS NULL",
    )
    op.create_table(
        "payout_method",
        sa.Column("brand_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("distributor_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("details", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("proof_hash", sa.LargeBinary(), nullable=True),
        sa.Column("proof_until", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("proof_tries", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("proved_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("proved_by", sa.Text(), nullable=True),
        sa.Column("proof_evidence", sa.Text(), nullable=True),
        sa.Column("usable_from", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("replaced_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.CheckConstraint(
            "kind IN ('bank', 'wechat', 'alipay', 'paypal', 'stripe')",
            name=op.f("ck_payout_method_kind"),
        ),
        sa.CheckConstraint(
            "(proved_at IS NULL) = (usable_from IS NULL)", name=op.f("ck_payout_method_proved")
        ),
        sa.CheckConstraint(
            "replaced_at IS NULL OR proved_at IS NOT NULL", name=op.f("ck_payout_method_replaced")
        ),
        sa.ForeignKeyConstraint(
            ["brand_id", "distributor_id"],
            ["distributor.brand_id", "distributor.id"],
            name=op.f("fk_payout_method_brand_id_distributor_id"),
        ),
        sa.PrimaryKeyConstraint("brand_id", "id", name=op.f("pk_payout_method")),
    )
    op.create_index(
        "ix_payout_method_distributor",
        "payout_method",
        ["distributor_id", "brand_id", "id"],
        unique=False,
    )
    op.create_index(
        "uq_payout_method_current",
        "payout_method",
        ["distributor_id", "brand_id"],
        unique=True,
        postgresql_where="proved_at IS NOT NULL AND replaced_at IS NULL",
    )
    op.create_table(
        "settlement_event",
        sa.Column("brand_id", sa.BigInteger(), nullable=False),
        sa.Column("batch_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("no", sa.Integer(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column(
            "data", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False
        ),
        sa.Column("at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.CheckConstraint("btrim(actor) <> ''", name=op.f("ck_settlement_event_actor")),
        sa.ForeignKeyConstraint(
            ["brand_id", "batch_id"],
            ["settlement_batch.brand_id", "settlement_batch.id"],
            name=op.f("fk_settlement_event_brand_id_batch_id"),
        ),
        sa.PrimaryKeyConstraint("brand_id", "batch_id", "id", name=op.f("pk_settlement_event")),
    )
    op.create_table(
        "statement_line",
        sa.Column("brand_id", sa.BigInteger(), nullable=False),
        sa.Column("import_id", sa.BigInteger(), nullable=False),
        sa.Column("line", sa.Integer(), nullable=False),
        sa.Column("booked_on", sa.Date(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("batch_id", sa.BigInteger(), nullable=True),
        sa.Column("no", sa.Integer(), nullable=True),
        sa.Column("attempt", sa.SmallInteger(), nullable=True),
        sa.CheckConstraint("amount <> 0", name=op.f("ck_statement_line_amount")),
        sa.ForeignKeyConstraint(
            ["brand_id", "import_id"],
            ["statement_import.brand_id", "statement_import.id"],
            name=op.f("fk_statement_line_brand_id_import_id"),
        ),
        sa.PrimaryKeyConstraint("brand_id", "import_id", "line", name=op.f("pk_statement_line")),
    )
    op.create_index(
        "ix_statement_line_attempt",
        "statement_line",
        ["batch_id", "no", "attempt", "brand_id"],
        unique=False,
    )
    op.create_table(
        "tax_profile",
        sa.Column("brand_id", sa.BigInteger(), nullable=False),
        sa.Column("distributor_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("tax_id", sa.Text(), nullable=True),
        sa.Column("set_by", sa.Text(), nullable=False),
        sa.Column("set_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["brand_id", "distributor_id"],
            ["distributor.brand_id", "distributor.id"],
            name=op.f("fk_tax_profile_brand_id_distributor_id"),
        ),
        sa.PrimaryKeyConstraint("brand_id", "distributor_id", name=op.f("pk_tax_profile")),
    )
    op.create_table(
        "payout_tax",
        sa.Column("brand_id", sa.BigInteger(), nullable=False),
        sa.Column("batch_id", sa.BigInteger(), nullable=False),
        sa.Column("no", sa.Integer(), nullable=False),
        sa.Column("distributor_id", sa.BigInteger(), nullable=False),
        sa.Column("year", sa.SmallInteger(), nullable=False),
        sa.Column("month", sa.SmallInteger(), nullable=False),
        sa.Column("regime", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("gross", sa.BigInteger(), nullable=False),
        sa.Column("tax", sa.BigInteger(), nullable=False),
        sa.Column("month_gross", sa.BigInteger(), nullable=False),
        sa.Column("month_withheld", sa.BigInteger(), nullable=False),
        sa.Column("year_gross", sa.BigInteger(), nullable=False),
        sa.Column("year_withheld", sa.BigInteger(), nullable=False),
        sa.Column("months", sa.SmallInteger(), nullable=False),
        sa.Column("has_tax_id", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["brand_id", "batch_id", "no"],
            ["payout.brand_id", "payout.batch_id", "payout.no"],
            name=op.f("fk_payout_tax_brand_id_batch_id_no"),
        ),
        sa.PrimaryKeyConstraint("brand_id", "batch_id", "no", name=op.f("pk_payout_tax")),
    )
    op.create_index(
        "ix_payout_tax_distributor",
        "payout_tax",
        ["distributor_id", "year", "brand_id"],
        unique=False,
    )
    op.add_column("brand", sa.Column("second_approval_above", sa.BigInteger(), nullable=True))
    op.add_column(
        "brand",
        sa.Column("method_cool_days", sa.SmallInteger(), server_default="3", nullable=False),
    )
    op.add_column("job", sa.Column("group_id", sa.BigInteger(), nullable=True))
    op.add_column(
        "job", sa.Column("failures", sa.SmallInteger(), server_default="0", nullable=False)
    )
    op.create_index(
        "ix_job_group", "job", ["group_id"], unique=False, postgresql_where="state <> 'done'"
    )
    op.add_column("payout", sa.Column("tax", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("payout", sa.Column("method_id", sa.BigInteger(), nullable=True))
    op.add_column(
        "payout", sa.Column("attempts", sa.SmallInteger(), server_default="0", nullable=False)
    )
    op.add_column("payout_attempt", sa.Column("call_no", sa.BigInteger(), nullable=True))
    op.add_column("payout_attempt", sa.Column("state", sa.Text(), nullable=True))
    op.add_column(
        "payout_attempt", sa.Column("state_at", postgresql.TIMESTAMP(timezone=True), nullable=True)
    )
    op.add_column(
        "payout_attempt", sa.Column("ask_at", postgresql.TIMESTAMP(timezone=True), nullable=True)
    )
    op.add_column(
        "payout_attempt", sa.Column("asked", sa.SmallInteger(), server_default="0", nullable=False)
    )
    op.add_column("payout_attempt", sa.Column("reference", sa.Text(), nullable=True))
    op.add_column("payout_attempt", sa.Column("code", sa.Text(), nullable=True))
    op.add_column("payout_attempt", sa.Column("message", sa.Text(), nullable=True))
    op.add_column("payout_attempt", sa.Column("action", sa.Text(), nullable=True))
    _convert_attempts()
    for table in ("payout", "payout_attempt"):
        op.execute(f"ALTER TABLE {table} SET (fillfactor = 50)")
    op.drop_column("payout_attempt", "outcome_at")
    op.drop_column("payout_attempt", "outcome")
    op.create_index(
        "ix_payout_attempt_reference",
        "payout_attempt",
        ["reference", "brand_id"],
        postgresql_where=sa.text("reference IS NOT NULL"),
    )
    op.add_column(
        "settlement_batch",
        sa.Column(
            "filters", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False
        ),
    )
    op.add_column(
        "settlement_batch",
        sa.Column("tax_total", sa.BigInteger(), server_default="0", nullable=False),
    )
    op.add_column("settlement_batch", sa.Column("tax_regime", sa.Text(), nullable=True))
    op.add_column("settlement_batch", sa.Column("tax_version", sa.Text(), nullable=True))
    op.add_column("settlement_batch", sa.Column("tax_month", sa.Date(), nullable=True))
    op.add_column(
        "settlement_batch", sa.Column("round", sa.Integer(), server_default="0", nullable=False)
    )
    op.add_column(
        "settlement_batch",
        sa.Column("approvals_needed", sa.SmallInteger(), server_default="1", nullable=False),
    )
    op.add_column("settlement_batch", sa.Column("chunk_payouts", sa.Integer(), nullable=True))
    op.add_column(
        "settlement_batch", sa.Column("pay_jobs", sa.Integer(), server_default="0", nullable=False)
    )
    op.add_column(
        "settlement_batch",
        sa.Column("follow_jobs", sa.Integer(), server_default="0", nullable=False),
    )
    op.add_column(
        "settlement_batch",
        sa.Column("submitted_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
    )
    op.add_column("settlement_batch", sa.Column("submitted_by", sa.Text(), nullable=True))
    op.add_column(
        "settlement_batch",
        sa.Column("paying_since", postgresql.TIMESTAMP(timezone=True), nullable=True),
    )
    op.add_column(
        "settlement_batch",
        sa.Column("paid_before", sa.Integer(), server_default="0", nullable=False),
    )
    op.add_column(
        "settlement_batch",
        sa.Column("closed_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
    )
    op.add_column("settlement_batch", sa.Column("closed_by", sa.Text(), nullable=True))
    _convert_batches()
    op.drop_column("settlement_batch", "file_sha256")
    op.drop_column("settlement_batch", "file_name")


def downgrade() -> None:  # noqa: PLR0915
    for table in ("payout", "payout_attempt"):
        op.execute(f"ALTER TABLE {table} SET (fillfactor = 80)")
    op.drop_index("ix_transfer_posted_at", table_name="transfer")
    _check("settlement_batch", "state", BATCH_STATES_BEFORE)
    _check(
        "settlement_batch", "approved", "state IN ('draft', 'cancelled') OR approved_at IS NOT NULL"
    )
    _check("payout", "amount", "amount > 0")
    _check("payout", "state", PAYOUT_STATES_BEFORE)
    op.drop_constraint(op.f("ck_payout_attempt_request_no"), "payout_attempt")
    op.add_column(
        "settlement_batch", sa.Column("file_name", sa.TEXT(), autoincrement=False, nullable=True)
    )
    op.add_column(
        "settlement_batch",
        sa.Column("file_sha256", postgresql.BYTEA(), autoincrement=False, nullable=True),
    )
    op.drop_column("settlement_batch", "closed_by")
    op.drop_column("settlement_batch", "closed_at")
    op.drop_column("settlement_batch", "paid_before")
    op.drop_column("settlement_batch", "paying_since")
    op.drop_column("settlement_batch", "submitted_by")
    op.drop_column("settlement_batch", "submitted_at")
    op.drop_column("settlement_batch", "follow_jobs")
    op.drop_column("settlement_batch", "pay_jobs")
    op.drop_column("settlement_batch", "chunk_payouts")
    op.drop_column("settlement_batch", "approvals_needed")
    op.drop_column("settlement_batch", "round")
    op.drop_column("settlement_batch", "tax_month")
    op.drop_column("settlement_batch", "tax_version")
    op.drop_column("settlement_batch", "tax_regime")
    op.drop_column("settlement_batch", "tax_total")
    op.drop_column("settlement_batch", "filters")
    op.add_column(
        "payout_attempt", sa.Column("outcome", sa.TEXT(), autoincrement=False, nullable=True)
    )
    op.add_column(
        "payout_attempt",
        sa.Column(
            "outcome_at", postgresql.TIMESTAMP(timezone=True), autoincrement=False, nullable=True
        ),
    )
    op.execute(
        "UPDATE payout_attempt SET request_no = translate(request_no, 'pa', '--'),"
        " outcome = CASE WHEN state IN ('paid', 'failed') THEN state END, outcome_at = state_at"
    )
    op.create_check_constraint(
        op.f("ck_payout_attempt_request_no"), "payout_attempt", REQUEST_NO_BEFORE
    )
    op.create_check_constraint(
        op.f("ck_payout_attempt_outcome"), "payout_attempt", "outcome IN ('paid', 'failed')"
    )
    op.drop_column("payout_attempt", "action")
    op.drop_column("payout_attempt", "message")
    op.drop_column("payout_attempt", "code")
    op.drop_column("payout_attempt", "reference")
    op.drop_column("payout_attempt", "asked")
    op.drop_column("payout_attempt", "ask_at")
    op.drop_column("payout_attempt", "state_at")
    op.drop_column("payout_attempt", "state")
    op.drop_column("payout_attempt", "call_no")
    op.drop_column("payout", "attempts")
    op.drop_column("payout", "method_id")
    op.drop_column("payout", "tax")
    op.drop_index("ix_job_group", table_name="job", postgresql_where="state <> 'done'")
    op.drop_column("job", "failures")
    op.drop_column("job", "group_id")
    op.drop_column("brand", "method_cool_days")
    op.drop_column("brand", "second_approval_above")
    op.drop_index("ix_payout_tax_distributor", table_name="payout_tax")
    op.drop_table("payout_tax")
    op.drop_table("tax_profile")
    op.drop_index("ix_statement_line_attempt", table_name="statement_line")
    op.drop_table("statement_line")
    op.drop_table("settlement_event")
    op.drop_index("ix_payout_method_distributor", table_name="payout_method")
    op.drop_index(
        "uq_payout_method_current",
        table_name="payout_method",
        postgresql_where="proved_at IS NOT NULL AND replaced_at IS NULL",
    )
    op.drop_table("payout_method")
    op.drop_index(
        "ix_notification_unsent", table_name="notification", postgresql_where="sent_at IS NULL"
    )
    op.drop_table("notification")
    op.drop_table("batch_posting")
    op.drop_table("batch_file")
    op.drop_table("batch_exclusion")
    op.drop_table("batch_approval")
    op.drop_index("ix_adjustment_distributor", table_name="adjustment")
    op.drop_table("adjustment")
    op.drop_table("statement_import")
    op.drop_index(
        "uq_reconciliation_case_line",
        table_name="reconciliation_case",
        postgresql_where="line IS NOT NULL",
    )
    op.drop_table("reconciliation_case")
    op.drop_table("provider_gate")
    op.drop_table("day_close")
    op.drop_table("brand_tax")
