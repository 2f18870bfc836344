"""One adapter per way of moving money.

A provider is asked to pay a chunk of requests. Each request has a number that was committed before
the call and never changes: asking again with the same number must not pay again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class PayoutRequest:
    """What a provider is asked to pay. ``amount`` in minor units of ``currency``."""

    request_no: str
    no: int
    payee: str
    name: str
    amount: int
    currency: str


@dataclass(frozen=True, slots=True)
class PaymentFile:
    """A finished file: where it is, what it contains."""

    path: Path
    sha256: bytes
    payouts: int
    total: int


@dataclass(frozen=True, slots=True)
class BatchRef:
    """Which batch a call belongs to."""

    brand_id: int
    batch_id: int
    number: int
    currency: str


class Provider(Protocol):
    """A way of moving money."""

    def pay(self, batch: BatchRef, chunk: int, requests: Sequence[PayoutRequest]) -> None:
        """Pay, or hand over for paying. Returning means that every request is accepted."""

    def finish(self, batch: BatchRef, chunks: int) -> PaymentFile:
        """All chunks are accepted: complete what belongs to the whole batch."""


def make_provider(name: str, data_dir: Path) -> Provider:
    """The provider called ``name``."""
    from distrib.settlement.providers.bank_file import BankFile

    return {"bank-file": BankFile}[name](data_dir / "payouts")


PROVIDERS = frozenset({"bank-file"})
