"""the house

Revision ID: 0001
Revises:
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0001"
down_revision: str | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "balance",
        sa.Column("brand_id", sa.BigInteger(), nullable=False),
        sa.Column("account", sa.BigInteger(), nullable=False),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("debits", sa.BigInteger(), nullable=False),
        sa.Column("credits", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("brand_id", "account", "asset", name=op.f("pk_balance")),
        postgresql_with={"fillfactor": "70"},
    )
    op.create_table(
        "brand",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("slug", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("time_zone", sa.Text(), nullable=False),
        sa.Column("hold_days", sa.Integer(), nullable=False),
        sa.Column("minimum_payout", sa.BigInteger(), nullable=False),
        sa.Column("levels", sa.SmallInteger(), nullable=False),
        sa.Column("matured_through", sa.Date(), server_default="1970-01-01", nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.CheckConstraint("currency ~ '^[A-Z]{3}$'", name=op.f("ck_brand_currency")),
        sa.CheckConstraint("slug ~ '^[a-z0-9][a-z0-9-]{0,62}$'", name=op.f("ck_brand_slug")),
        sa.CheckConstraint("hold_days BETWEEN 0 AND 365", name=op.f("ck_brand_hold_days")),
        sa.CheckConstraint("levels BETWEEN 1 AND 3", name=op.f("ck_brand_levels")),
        sa.CheckConstraint("minimum_payout >= 1", name=op.f("ck_brand_minimum_payout")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_brand")),
        sa.UniqueConstraint("slug", name=op.f("uq_brand_slug")),
    )
    op.create_table(
        "idempotency_key",
        sa.Column("caller", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("request_hash", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.SmallInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("caller", "key", name=op.f("pk_idempotency_key")),
    )
    op.create_table(
        "job",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("brand_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("args", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("state", sa.Text(), server_default="ready", nullable=False),
        sa.Column("run_after", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("lease_until", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("fence", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("finished_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.CheckConstraint("state IN ('ready', 'done', 'failed')", name=op.f("ck_job_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job")),
        sa.UniqueConstraint("key", name=op.f("uq_job_key")),
    )
    op.create_index(
        "ix_job_ready", "job", ["run_after"], unique=False, postgresql_where="state = 'ready'"
    )
    op.create_table(
        "open_item",
        sa.Column("brand_id", sa.BigInteger(), nullable=False),
        sa.Column("distributor_id", sa.BigInteger(), nullable=False),
        sa.Column("posting_id", sa.BigInteger(), nullable=False),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("available_on", sa.Date(), nullable=False),
        sa.Column("held", sa.Boolean(), nullable=False),
        sa.CheckConstraint("amount <> 0", name=op.f("ck_open_item_amount")),
        sa.PrimaryKeyConstraint(
            "brand_id", "distributor_id", "posting_id", name=op.f("pk_open_item")
        ),
    )
    op.create_table(
        "transfer",
        sa.Column("brand_id", sa.BigInteger(), nullable=False),
        sa.Column("posting_id", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("code", sa.SmallInteger(), nullable=False),
        sa.Column("debit_account", sa.BigInteger(), nullable=False),
        sa.Column("credit_account", sa.BigInteger(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("posted_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.CheckConstraint("amount > 0", name=op.f("ck_transfer_amount_positive")),
        sa.CheckConstraint(
            "debit_account <> credit_account", name=op.f("ck_transfer_two_accounts")
        ),
        sa.PrimaryKeyConstraint("brand_id", "posting_id", "seq", name=op.f("pk_transfer")),
    )
    op.create_table(
        "unfolded_posting",
        sa.Column("brand_id", sa.BigInteger(), nullable=False),
        sa.Column("posting_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("brand_id", "posting_id", name=op.f("pk_unfolded_posting")),
    )
    op.create_table(
        "waiting_refund",
        sa.Column("brand_id", sa.BigInteger(), nullable=False),
        sa.Column("shop", sa.Text(), nullable=False),
        sa.Column("order_external_id", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("content_hash", sa.LargeBinary(), nullable=False),
        sa.Column("document", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("received_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint(
            "brand_id", "shop", "order_external_id", "external_id", name=op.f("pk_waiting_refund")
        ),
    )
    op.create_table(
        "api_key",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("brand_id", sa.BigInteger(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("hint", sa.Text(), nullable=False),
        sa.Column("secret_hash", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("revoked_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["brand_id"], ["brand.id"], name=op.f("fk_api_key_brand_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_key")),
        sa.UniqueConstraint("secret_hash", name=op.f("uq_api_key_secret_hash")),
    )
    op.create_table(
        "distributor",
        sa.Column("brand_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="active", nullable=False),
        sa.Column("joined_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.CheckConstraint("status IN ('active', 'suspended')", name=op.f("ck_distributor_status")),
        sa.ForeignKeyConstraint(["brand_id"], ["brand.id"], name=op.f("fk_distributor_brand_id")),
        sa.PrimaryKeyConstraint("brand_id", "id", name=op.f("pk_distributor")),
        sa.UniqueConstraint("code", "brand_id", name=op.f("uq_distributor_code_brand_id")),
        sa.UniqueConstraint(
            "external_id", "brand_id", name=op.f("uq_distributor_external_id_brand_id")
        ),
    )
    op.create_table(
        "maturation",
        sa.Column("brand_id", sa.BigInteger(), nullable=False),
        sa.Column("through", sa.Date(), nullable=False),
        sa.Column("previous", sa.Date(), nullable=False),
        sa.Column("posting_id", sa.BigInteger(), nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("posted_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.CheckConstraint("previous < through", name=op.f("ck_maturation_forward")),
        sa.ForeignKeyConstraint(["brand_id"], ["brand.id"], name=op.f("fk_maturation_brand_id")),
        sa.PrimaryKeyConstraint("brand_id", "through", name=op.f("pk_maturation")),
    )
    op.create_table(
        "plan_version",
        sa.Column("brand_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("effective_from", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("levels", sa.SmallInteger(), nullable=False),
        sa.Column("document", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("content_hash", sa.LargeBinary(), nullable=False),
        sa.Column("published_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("published_by", sa.Text(), nullable=False),
        sa.CheckConstraint("levels BETWEEN 1 AND 3", name=op.f("ck_plan_version_levels")),
        sa.ForeignKeyConstraint(["brand_id"], ["brand.id"], name=op.f("fk_plan_version_brand_id")),
        sa.PrimaryKeyConstraint("brand_id", "id", name=op.f("pk_plan_version")),
        sa.UniqueConstraint(
            "brand_id", "effective_from", name=op.f("uq_plan_version_brand_id_effective_from")
        ),
        sa.UniqueConstraint("brand_id", "number", name=op.f("uq_plan_version_brand_id_number")),
    )
    op.create_table(
        "settlement_batch",
        sa.Column("brand_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("cutoff", sa.Date(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("minimum_payout", sa.BigInteger(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("payouts", sa.Integer(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("content_hash", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("approved_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("approved_by", sa.Text(), nullable=True),
        sa.Column("settled_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("file_name", sa.Text(), nullable=True),
        sa.Column("file_sha256", sa.LargeBinary(), nullable=True),
        sa.CheckConstraint(
            "state IN ('draft', 'approved', 'paying', 'settled', 'cancelled')",
            name=op.f("ck_settlement_batch_state"),
        ),
        sa.CheckConstraint(
            "state IN ('draft', 'cancelled') OR approved_at IS NOT NULL",
            name=op.f("ck_settlement_batch_approved"),
        ),
        sa.ForeignKeyConstraint(
            ["brand_id"], ["brand.id"], name=op.f("fk_settlement_batch_brand_id")
        ),
        sa.PrimaryKeyConstraint("brand_id", "id", name=op.f("pk_settlement_batch")),
        sa.UniqueConstraint("brand_id", "number", name=op.f("uq_settlement_batch_brand_id_number")),
    )
    op.create_table(
        "orders",
        sa.Column("brand_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("shop", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("content_hash", sa.LargeBinary(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("buyer", sa.Text(), nullable=True),
        sa.Column("referral", sa.Text(), nullable=False),
        sa.Column("referral_code", sa.Text(), nullable=True),
        sa.Column("distributor_id", sa.BigInteger(), nullable=True),
        sa.Column("plan_version_id", sa.BigInteger(), nullable=True),
        sa.Column("placed_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("effective_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("recorded_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("available_on", sa.Date(), nullable=False),
        sa.CheckConstraint(
            "(referral = 'none') = (distributor_id IS NULL)", name=op.f("ck_orders_credited")
        ),
        sa.CheckConstraint(
            "referral IN ('direct', 'code', 'none')", name=op.f("ck_orders_referral")
        ),
        sa.ForeignKeyConstraint(
            ["brand_id", "distributor_id"],
            ["distributor.brand_id", "distributor.id"],
            name=op.f("fk_orders_brand_id_distributor_id"),
        ),
        sa.PrimaryKeyConstraint("brand_id", "id", name=op.f("pk_orders")),
        sa.UniqueConstraint(
            "external_id", "shop", "brand_id", name=op.f("uq_orders_external_id_shop_brand_id")
        ),
    )
    op.create_index(
        "ix_orders_buyer",
        "orders",
        ["buyer", "brand_id", "placed_at"],
        unique=False,
        postgresql_where="buyer IS NOT NULL",
    )
    op.create_index(
        "ix_orders_effective",
        "orders",
        ["brand_id", "effective_at"],
        unique=False,
        postgresql_where="effective_at > '-infinity'",
    )
    op.create_table(
        "payout",
        sa.Column("brand_id", sa.BigInteger(), nullable=False),
        sa.Column("batch_id", sa.BigInteger(), nullable=False),
        sa.Column("no", sa.Integer(), nullable=False),
        sa.Column("distributor_id", sa.BigInteger(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("postings", sa.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("amounts", sa.ARRAY(sa.BigInteger()), nullable=False),
        sa.CheckConstraint(
            "state IN ('reserved', 'paid', 'failed', 'cancelled')", name=op.f("ck_payout_state")
        ),
        sa.CheckConstraint("amount > 0", name=op.f("ck_payout_amount")),
        sa.CheckConstraint(
            "cardinality(postings) = cardinality(amounts)", name=op.f("ck_payout_items")
        ),
        sa.ForeignKeyConstraint(
            ["brand_id", "batch_id"],
            ["settlement_batch.brand_id", "settlement_batch.id"],
            name=op.f("fk_payout_brand_id_batch_id"),
        ),
        sa.ForeignKeyConstraint(
            ["brand_id", "distributor_id"],
            ["distributor.brand_id", "distributor.id"],
            name=op.f("fk_payout_brand_id_distributor_id"),
        ),
        sa.PrimaryKeyConstraint("brand_id", "batch_id", "no", name=op.f("pk_payout")),
        postgresql_with={"fillfactor": "80"},
    )
    op.create_index(
        "ix_payout_distributor", "payout", ["distributor_id", "batch_id", "brand_id"], unique=True
    )
    op.create_table(
        "sponsorship",
        sa.Column("brand_id", sa.BigInteger(), nullable=False),
        sa.Column("distributor_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("valid_from", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("valid_to", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("sponsor_id", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("sponsor_id <> distributor_id", name=op.f("ck_sponsorship_not_self")),
        sa.CheckConstraint("valid_from < valid_to", name=op.f("ck_sponsorship_forward")),
        sa.ForeignKeyConstraint(
            ["brand_id", "distributor_id", "valid_to"],
            ["sponsorship.brand_id", "sponsorship.distributor_id", "sponsorship.valid_from"],
            name="fk_sponsorship_next",
            initially="DEFERRED",
            deferrable=True,
        ),
        sa.ForeignKeyConstraint(
            ["brand_id", "distributor_id"],
            ["distributor.brand_id", "distributor.id"],
            name=op.f("fk_sponsorship_brand_id_distributor_id"),
        ),
        sa.ForeignKeyConstraint(
            ["brand_id", "sponsor_id"],
            ["distributor.brand_id", "distributor.id"],
            name=op.f("fk_sponsorship_brand_id_sponsor_id"),
        ),
        sa.PrimaryKeyConstraint(
            "brand_id", "distributor_id", "valid_from", name=op.f("pk_sponsorship")
        ),
        sa.UniqueConstraint(
            "brand_id",
            "distributor_id",
            "valid_to",
            name="uq_sponsorship_end",
            postgresql_nulls_not_distinct=True,
        ),
    )
    op.create_index(
        "ix_sponsorship_downline",
        "sponsorship",
        ["brand_id", "sponsor_id"],
        unique=False,
        postgresql_where="valid_to IS NULL AND sponsor_id IS NOT NULL",
    )
    op.create_table(
        "order_line",
        sa.Column("brand_id", sa.BigInteger(), nullable=False),
        sa.Column("order_id", sa.BigInteger(), nullable=False),
        sa.Column("line_no", sa.Integer(), nullable=False),
        sa.Column("sku", sa.Text(), nullable=False),
        sa.Column("category", sa.Text(), nullable=True),
        sa.Column("quantity", sa.BigInteger(), nullable=False),
        sa.Column("unit_price", sa.BigInteger(), nullable=False),
        sa.Column("discount", sa.BigInteger(), nullable=False),
        sa.Column("shipping", sa.BigInteger(), nullable=False),
        sa.Column("tax", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "discount BETWEEN 0 AND quantity * unit_price", name=op.f("ck_order_line_discount")
        ),
        sa.CheckConstraint("quantity > 0", name=op.f("ck_order_line_quantity")),
        sa.CheckConstraint(
            "unit_price >= 0 AND shipping >= 0 AND tax >= 0",
            name=op.f("ck_order_line_not_negative"),
        ),
        sa.ForeignKeyConstraint(
            ["brand_id", "order_id"],
            ["orders.brand_id", "orders.id"],
            name=op.f("fk_order_line_brand_id_order_id"),
        ),
        sa.PrimaryKeyConstraint("brand_id", "order_id", "line_no", name=op.f("pk_order_line")),
    )
    op.create_table(
        "payout_attempt",
        sa.Column("brand_id", sa.BigInteger(), nullable=False),
        sa.Column("batch_id", sa.BigInteger(), nullable=False),
        sa.Column("no", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.SmallInteger(), nullable=False),
        sa.Column("request_no", sa.Text(), nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("outcome_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.CheckConstraint("outcome IN ('paid', 'failed')", name=op.f("ck_payout_attempt_outcome")),
        sa.CheckConstraint(
            "request_no = batch_id::text || '-' || no::text || '-' || attempt::text",
            name=op.f("ck_payout_attempt_request_no"),
        ),
        sa.ForeignKeyConstraint(
            ["brand_id", "batch_id", "no"],
            ["payout.brand_id", "payout.batch_id", "payout.no"],
            name=op.f("fk_payout_attempt_brand_id_batch_id_no"),
        ),
        sa.PrimaryKeyConstraint(
            "brand_id", "batch_id", "no", "attempt", name=op.f("pk_payout_attempt")
        ),
        postgresql_with={"fillfactor": "80"},
    )
    op.create_table(
        "refund",
        sa.Column("brand_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("order_id", sa.BigInteger(), nullable=False),
        sa.Column("no", sa.Integer(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("content_hash", sa.LargeBinary(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("refunded_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("recorded_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["brand_id", "order_id"],
            ["orders.brand_id", "orders.id"],
            name=op.f("fk_refund_brand_id_order_id"),
        ),
        sa.PrimaryKeyConstraint("brand_id", "id", name=op.f("pk_refund")),
        sa.UniqueConstraint(
            "order_id",
            "external_id",
            "brand_id",
            name=op.f("uq_refund_order_id_external_id_brand_id"),
        ),
        sa.UniqueConstraint(
            "order_id", "no", "brand_id", name=op.f("uq_refund_order_id_no_brand_id")
        ),
    )
    op.create_table(
        "commission",
        sa.Column("brand_id", sa.BigInteger(), nullable=False),
        sa.Column("source_id", sa.BigInteger(), nullable=False),
        sa.Column("line_no", sa.Integer(), nullable=False),
        sa.Column("level", sa.SmallInteger(), nullable=False),
        sa.Column("order_id", sa.BigInteger(), nullable=False),
        sa.Column("distributor_id", sa.BigInteger(), nullable=False),
        sa.Column("rule_no", sa.SmallInteger(), nullable=False),
        sa.Column("rate_ppm", sa.Integer(), nullable=False),
        sa.Column("base", sa.BigInteger(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("earned_on", sa.Date(), nullable=False),
        sa.CheckConstraint("amount <> 0", name=op.f("ck_commission_amount")),
        sa.CheckConstraint("base >= 0 AND rate_ppm >= 0", name=op.f("ck_commission_not_negative")),
        sa.CheckConstraint("level BETWEEN 1 AND 3", name=op.f("ck_commission_level")),
        sa.ForeignKeyConstraint(
            ["brand_id", "distributor_id"],
            ["distributor.brand_id", "distributor.id"],
            name=op.f("fk_commission_brand_id_distributor_id"),
        ),
        sa.ForeignKeyConstraint(
            ["brand_id", "order_id", "line_no"],
            ["order_line.brand_id", "order_line.order_id", "order_line.line_no"],
            name=op.f("fk_commission_brand_id_order_id_line_no"),
        ),
        sa.PrimaryKeyConstraint(
            "brand_id", "source_id", "line_no", "level", name=op.f("pk_commission")
        ),
    )
    op.create_index(
        "ix_commission_distributor",
        "commission",
        ["distributor_id", "earned_on", "source_id"],
        unique=False,
    )
    op.create_table(
        "refund_line",
        sa.Column("brand_id", sa.BigInteger(), nullable=False),
        sa.Column("refund_id", sa.BigInteger(), nullable=False),
        sa.Column("line_no", sa.Integer(), nullable=False),
        sa.Column("quantity", sa.BigInteger(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("quantity > 0 OR amount > 0", name=op.f("ck_refund_line_something")),
        sa.CheckConstraint(
            "quantity >= 0 AND amount >= 0", name=op.f("ck_refund_line_not_negative")
        ),
        sa.ForeignKeyConstraint(
            ["brand_id", "refund_id"],
            ["refund.brand_id", "refund.id"],
            name=op.f("fk_refund_line_brand_id_refund_id"),
        ),
        sa.PrimaryKeyConstraint("brand_id", "refund_id", "line_no", name=op.f("pk_refund_line")),
    )


def downgrade() -> None:
    op.drop_table("refund_line")
    op.drop_index("ix_commission_distributor", table_name="commission")
    op.drop_table("commission")
    op.drop_table("refund")
    op.drop_table("payout_attempt")
    op.drop_table("order_line")
    op.drop_index(
        "ix_sponsorship_downline",
        table_name="sponsorship",
        postgresql_where="valid_to IS NULL AND sponsor_id IS NOT NULL",
    )
    op.drop_table("sponsorship")
    op.drop_index("ix_payout_distributor", table_name="payout")
    op.drop_table("payout")
    op.drop_index("ix_orders_effective", table_name="orders")
    op.drop_index("ix_orders_buyer", table_name="orders", postgresql_where="buyer IS NOT NULL")
    op.drop_table("orders")
    op.drop_table("settlement_batch")
    op.drop_table("plan_version")
    op.drop_table("maturation")
    op.drop_table("distributor")
    op.drop_table("api_key")
    op.drop_table("waiting_refund")
    op.drop_table("unfolded_posting")
    op.drop_table("transfer")
    op.drop_table("open_item")
    op.drop_index("ix_job_ready", table_name="job", postgresql_where="state = 'ready'")
    op.drop_table("job")
    op.drop_table("idempotency_key")
    op.drop_table("brand")
    op.drop_table("balance")
