"""facts of orders

Revision ID: 0003
Revises: 0002
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

IMMUTABLE = ("order_facts", "standing")

CHECKS = (
    ("orders", "referral", "referral IN ('direct', 'code', 'self', 'none')"),
    (
        "orders",
        "credited",
        "CASE referral WHEN 'none' THEN distributor_id IS NULL WHEN 'self' THEN"
        " buyer_distributor_id IS NOT NULL ELSE distributor_id IS NOT NULL END",
    ),
    (
        "order_line",
        "not_negative",
        "unit_price >= 0 AND shipping >= 0 AND tax >= 0 AND cost >= 0 AND income >= 0",
    ),
)
BEFORE = (
    ("orders", "referral", "referral IN ('direct', 'code', 'none')"),
    ("orders", "credited", "(referral = 'none') = (distributor_id IS NULL)"),
    ("order_line", "not_negative", "unit_price >= 0 AND shipping >= 0 AND tax >= 0"),
)


def upgrade() -> None:
    op.create_table(
        "customer",
        sa.Column("brand_id", sa.BigInteger(), nullable=False),
        sa.Column("buyer", sa.Text(), nullable=False),
        sa.Column("first_order_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("brand_id", "buyer", name=op.f("pk_customer")),
    )
    op.create_table(
        "distributor_day",
        sa.Column("brand_id", sa.BigInteger(), nullable=False),
        sa.Column("distributor_id", sa.BigInteger(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("orders", sa.BigInteger(), nullable=False),
        sa.Column("volume", sa.BigInteger(), nullable=False),
        sa.Column("earned", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "brand_id", "distributor_id", "day", name=op.f("pk_distributor_day")
        ),
    )
    op.create_table(
        "standing",
        sa.Column("brand_id", sa.BigInteger(), nullable=False),
        sa.Column("distributor_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("valid_from", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("rank", sa.Text(), nullable=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sa.Column("recorded_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.CheckConstraint("source IN ('hand', 'volume')", name=op.f("ck_standing_source")),
        sa.CheckConstraint("status IN ('active', 'suspended')", name=op.f("ck_standing_status")),
        sa.ForeignKeyConstraint(
            ["brand_id", "distributor_id"],
            ["distributor.brand_id", "distributor.id"],
            name=op.f("fk_standing_brand_id_distributor_id"),
        ),
        sa.PrimaryKeyConstraint(
            "brand_id", "distributor_id", "valid_from", name=op.f("pk_standing")
        ),
    )
    op.create_table(
        "order_facts",
        sa.Column("brand_id", sa.BigInteger(), nullable=False),
        sa.Column("order_id", sa.BigInteger(), nullable=False),
        sa.Column("first", sa.Boolean(), nullable=False),
        sa.Column("earner1", sa.BigInteger(), nullable=False),
        sa.Column("earner2", sa.BigInteger(), nullable=False),
        sa.Column("earner3", sa.BigInteger(), nullable=False),
        sa.Column("rank1", sa.SmallInteger(), nullable=False),
        sa.Column("rank2", sa.SmallInteger(), nullable=False),
        sa.Column("rank3", sa.SmallInteger(), nullable=False),
        sa.Column("volume1", sa.BigInteger(), nullable=False),
        sa.Column("volume2", sa.BigInteger(), nullable=False),
        sa.Column("volume3", sa.BigInteger(), nullable=False),
        sa.Column("room1", sa.BigInteger(), nullable=False),
        sa.Column("room2", sa.BigInteger(), nullable=False),
        sa.Column("room3", sa.BigInteger(), nullable=False),
        sa.Column("marks", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["brand_id", "order_id"],
            ["orders.brand_id", "orders.id"],
            name=op.f("fk_order_facts_brand_id_order_id"),
        ),
        sa.PrimaryKeyConstraint("brand_id", "order_id", name=op.f("pk_order_facts")),
    )
    op.create_table(
        "milestone_reached",
        sa.Column("brand_id", sa.BigInteger(), nullable=False),
        sa.Column("distributor_id", sa.BigInteger(), nullable=False),
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("mark", sa.BigInteger(), nullable=False),
        sa.Column("order_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "brand_id", "distributor_id", "month", "mark", name=op.f("pk_milestone_reached")
        ),
    )
    op.add_column("brand", sa.Column("ranks_month", sa.Date(), nullable=True))
    op.add_column(
        "brand", sa.Column("counts_sales", sa.Boolean(), server_default="false", nullable=False)
    )
    op.add_column(
        "order_line", sa.Column("other_paid", sa.BigInteger(), server_default="0", nullable=False)
    )
    op.add_column("order_line", sa.Column("cost", sa.BigInteger(), nullable=True))
    op.add_column("order_line", sa.Column("income", sa.BigInteger(), nullable=True))
    op.add_column("orders", sa.Column("buyer_distributor_id", sa.BigInteger(), nullable=True))
    op.add_column("orders", sa.Column("referrer_id", sa.BigInteger(), nullable=True))
    op.add_column("orders", sa.Column("channel", sa.Text(), nullable=True))
    op.create_foreign_key(
        op.f("fk_orders_brand_id_referrer_id"),
        "orders",
        "distributor",
        ["brand_id", "referrer_id"],
        ["brand_id", "id"],
    )
    op.create_foreign_key(
        op.f("fk_orders_brand_id_buyer_distributor_id"),
        "orders",
        "distributor",
        ["brand_id", "buyer_distributor_id"],
        ["brand_id", "id"],
    )
    for table, name, rule in CHECKS:
        op.drop_constraint(op.f(f"ck_{table}_{name}"), table)
        op.create_check_constraint(op.f(f"ck_{table}_{name}"), table, rule)
    op.create_check_constraint(
        op.f("ck_order_line_other_paid"),
        "order_line",
        "other_paid BETWEEN 0 AND quantity * unit_price - discount",
    )
    for table in IMMUTABLE:
        op.execute(
            f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )
    op.add_column(
        "plan_version",
        sa.Column(
            "channel_levels",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default="{}",
            nullable=False,
        ),
    )


def downgrade() -> None:
    op.drop_constraint(op.f("ck_order_line_other_paid"), "order_line")
    for table, name, rule in BEFORE:
        op.drop_constraint(op.f(f"ck_{table}_{name}"), table)
        op.create_check_constraint(op.f(f"ck_{table}_{name}"), table, rule)
    op.drop_column("plan_version", "channel_levels")
    op.drop_constraint(
        op.f("fk_orders_brand_id_buyer_distributor_id"), "orders", type_="foreignkey"
    )
    op.drop_column("orders", "channel")
    op.drop_column("orders", "referrer_id")
    op.drop_column("orders", "buyer_distributor_id")
    op.drop_column("order_line", "income")
    op.drop_column("order_line", "cost")
    op.drop_column("order_line", "other_paid")
    op.drop_column("brand", "counts_sales")
    op.drop_column("brand", "ranks_month")
    op.drop_table("milestone_reached")
    op.drop_table("order_facts")
    op.drop_table("standing")
    op.drop_table("distributor_day")
    op.drop_table("customer")
