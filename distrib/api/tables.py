"""Answers kept for requests that carry an Idempotency-Key."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import LargeBinary, SmallInteger
from sqlalchemy.orm import Mapped, mapped_column

from distrib.db import Base


class IdempotencyKey(Base):
    """One key of one caller (a brand, or 0 for the operator), what it asked and what it was told.

    Written in the transaction of the request's effect, so the two exist together or not at all.
    """

    __tablename__ = "idempotency_key"

    caller: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    key: Mapped[str] = mapped_column(primary_key=True)
    request_hash: Mapped[bytes] = mapped_column(LargeBinary)
    status: Mapped[int] = mapped_column(SmallInteger)
    body: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime]
