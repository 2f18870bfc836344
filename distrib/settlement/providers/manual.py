"""Payouts made outside, each recorded by a person with evidence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

from distrib.settlement.providers import BatchRef, Outcome, PayoutRequest, Status
from distrib.settlement.providers.settings import ProviderSettings


class Manual:
    """Moves nothing: every payout is pending until a person says what became of it.

    No settings.
    """

    group: ClassVar[int] = 5000
    method: ClassVar[str | None] = None
    asks: ClassVar[bool] = False

    @classmethod
    def from_settings(cls, settings: ProviderSettings) -> Self:  # noqa: ARG003 - one way to make all
        """The adapter; there is nothing to configure."""
        return cls()

    def pay(self, batch: BatchRef, requests: Sequence[PayoutRequest]) -> Status:  # noqa: ARG002
        """Nothing to hand over."""
        return Status.PENDING

    def ask(self, batch: BatchRef, requests: Sequence[PayoutRequest]) -> Sequence[Outcome]:  # noqa: ARG002
        """Nobody to ask."""
        return [Outcome(request.request_no, Status.UNKNOWN) for request in requests]
