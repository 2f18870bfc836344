"""One adapter per way of moving money.

A provider is handed *requests*. Each has a number that was committed before the call and never
changes: handing over the same number again must not pay again. Requests that were handed over in
one call share a *call number*, committed with them, so that a provider that takes whole batches
can be asked for the same batch again.

What a provider says of a request is an :class:`Outcome`. An adapter never guesses: a request
whose answer was lost is UNKNOWN, and will be asked about under the same number.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

from distrib.errors import DistribError


class Status(enum.StrEnum):
    """What is known of a request."""

    PAID = "paid"
    """The money has arrived, or is beyond recall."""
    PENDING = "pending"
    """The provider has the request and has not finished with it."""
    FAILED = "failed"
    """No money has moved and none will under this number."""
    UNKNOWN = "unknown"
    """The answer was lost, or says nothing: ask again under the same number."""
    ABSENT = "absent"
    """Asked about, the provider does not know the number: it may be handed over (again)."""
    RETURNED = "returned"
    """The money had arrived and has come back."""


@dataclass(slots=True)  # frozen ones cost three times as much to make, and there are millions
class PayoutRequest:
    """What a provider is asked to pay. Not to be changed.

    :param request_no: letters and digits, at most 32; names this attempt for ever.
    :param no: the payout's number within its batch.
    :param payee: the distributor's external id.
    :param name: the payee's name, as the payout method gives it (else the distributor's).
    :param amount: minor units of ``currency``, what the payee shall get (net of tax).
    :param account: the payout method's details, by the names its adapter documents.
    :param call_no: shared by the requests handed over together.
    :param sent_at: when the attempt was written.
    :param reference: what the provider calls it, once known.
    """

    request_no: str
    no: int
    payee: str
    name: str
    amount: int
    currency: str
    call_no: int = 0
    sent_at: datetime | None = None
    account: Mapping[str, str] = field(default_factory=dict)
    reference: str | None = None


@dataclass(slots=True)
class Outcome:
    """What the provider says of one request. Not to be changed.

    :param reference: its own number for it.
    :param code: its word for the state or the error, as sent: ``NAME_MISMATCH``.
    :param message: for a person; never holds a secret.
    :param action: what the payee needs to do next, if anything, as the provider gives it (WeChat's
        ``package_info``, a claim link).
    """

    request_no: str
    status: Status
    reference: str | None = None
    code: str | None = None
    message: str | None = None
    action: str | None = None


@dataclass(frozen=True, slots=True)
class Callback:
    """A provider's message, its signature verified.

    :param message_id: the provider's id of the message; it may come more than once.
    """

    message_id: str
    outcomes: Sequence[Outcome]


@dataclass(frozen=True, slots=True)
class Reply:
    """What a provider wants to hear when a callback was taken."""

    status: int = 200
    content_type: str = "application/json"
    body: bytes = b"{}"


@dataclass(frozen=True, slots=True)
class PaymentFile:
    """A finished file: where it is, what it contains."""

    path: Path
    sha256: bytes
    payouts: int
    total: int


@dataclass(frozen=True, slots=True)
class BatchRef:
    """Which batch a call belongs to.

    :param title: what payees may read: the brand's name and the batch's number.
    :param file_no: which file of the batch: the first holds all, later ones what was paid anew.
    """

    brand_id: int
    batch_id: int
    number: int
    currency: str
    title: str = ""
    created_at: datetime | None = None
    file_no: int = 1


class ProviderUnavailable(DistribError):
    """The provider could not be reached or turned the whole call away: nothing was taken.

    Only for calls of which it is certain that no request was accepted.
    """

    status = 503
    title = "The payment provider is not available"

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class BadCallback(DistribError):
    """A callback whose signature, time or content does not hold."""

    status = 401
    title = "The callback is not the provider's"


class BadProviderSetting(DistribError):
    """A provider's configuration is not complete or not valid."""

    title = "A provider's setting is not valid"


@runtime_checkable
class Provider(Protocol):
    """A way of moving money.

    ``group`` is how many requests are handed over in one go and recorded before the next.
    ``method`` is the kind of payout method a payee needs, None when the name is enough.
    ``asks`` says whether :meth:`ask` has anybody to ask.
    """

    group: ClassVar[int]
    asks: ClassVar[bool]

    @property
    def method(self) -> str | None:
        """The kind of payout method, or None."""

    def pay(self, batch: BatchRef, requests: Sequence[PayoutRequest]) -> Sequence[Outcome] | Status:
        """Hand over; one outcome for each request, in any order, or one status for them all.

        Called again with the same requests and call number after a crash.

        :raises ProviderUnavailable: when it is certain that nothing was taken.
        """

    def ask(self, batch: BatchRef, requests: Sequence[PayoutRequest]) -> Sequence[Outcome]:
        """Ask what became of requests handed over before; UNKNOWN where no answer came.

        :raises ProviderUnavailable: when nobody answers at all.
        """


@runtime_checkable
class CallsBack(Protocol):
    """A provider that sends messages of its own."""

    def read_callback(self, headers: Mapping[str, str], body: bytes) -> Callback:
        """Verify and read a message.

        :param headers: names in lower case.
        :raises BadCallback: when it does not hold.
        """

    def reply(self) -> Reply:
        """What it wants to hear."""


@runtime_checkable
class WritesFile(Protocol):
    """A provider whose calls become one file for the whole batch."""

    suffix: ClassVar[str]

    def finish(self, batch: BatchRef, calls: Sequence[int]) -> PaymentFile:
        """All calls are made: join what they wrote into one file.

        :param calls: the call numbers in the order of their payouts.
        """
