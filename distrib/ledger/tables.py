"""Transfers, the queue of postings not yet folded, and balances."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, Index, Integer, SmallInteger
from sqlalchemy.orm import Mapped, mapped_column

from distrib.db import Base


class Transfer(Base):
    """One movement of money: debit one account, credit another. Never changed, never deleted.

    ``posting_id`` is the id of the fact that moved it (an order, a refund, a maturation, a
    batch, …) and ``seq`` its place within: posting a fact twice meets the primary key.
    """

    __tablename__ = "transfer"
    __table_args__ = (
        CheckConstraint("amount > 0", name="amount_positive"),
        CheckConstraint("debit_account <> credit_account", name="two_accounts"),
        # rows lie in the order of time: a summary of each hundred pages finds a day, and costs
        # an insert next to nothing
        Index(
            "ix_transfer_posted_at",
            "posted_at",
            postgresql_using="brin",
            postgresql_with={"autosummarize": "on"},
        ),
    )

    brand_id: Mapped[int] = mapped_column(primary_key=True)
    posting_id: Mapped[int] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(Integer, primary_key=True)
    code: Mapped[int] = mapped_column(SmallInteger)
    debit_account: Mapped[int]
    credit_account: Mapped[int]
    amount: Mapped[int]
    asset: Mapped[str]
    posted_at: Mapped[datetime]


class UnfoldedPosting(Base):
    """A posting whose transfers are not in :class:`Balance` yet.

    Orders add to this queue and touch no balance row, so two orders under one popular upline
    never wait for each other; :func:`distrib.ledger.service.fold` empties it.
    """

    __tablename__ = "unfolded_posting"

    brand_id: Mapped[int] = mapped_column(primary_key=True)
    posting_id: Mapped[int] = mapped_column(primary_key=True)


class Balance(Base):
    """Sum of an account's folded transfers. Its balance is credits less debits."""

    __tablename__ = "balance"
    # folding updates these rows over and over: leave room for the new version on the same page
    __table_args__ = {"postgresql_with": {"fillfactor": "70"}}  # noqa: RUF012

    brand_id: Mapped[int] = mapped_column(primary_key=True)
    account: Mapped[int] = mapped_column(primary_key=True)
    asset: Mapped[str] = mapped_column(primary_key=True)
    debits: Mapped[int]
    credits: Mapped[int]
