"""The chart of accounts and of transfer codes. Pure.

An account is (brand, number, asset), and the number is computed: the owner's id shifted left by
four bits, plus the kind. The brand itself is owner 0. Nothing is looked up to post, and all the
accounts of one owner lie side by side in an index.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

BRAND = 0
"""The owner number of the brand's own accounts."""


class AccountKind(IntEnum):
    """What an account holds. Below 8 the owner is the brand, from 8 on a distributor."""

    COMMISSION_EXPENSE = 1
    PAYOUT_CLEARING = 2
    BANK_DIFFERENCES = 3
    DEBT_WRITTEN_OFF = 4
    PAID_OTHERWISE = 5
    HELD = 8
    AVAILABLE = 9
    RESERVED = 10
    PAID = 11
    CLAWED_BACK = 12
    TAX_WITHHELD = 13


class Flow(NamedTuple):
    """From which kind of account to which a transfer of some code moves money."""

    debit: AccountKind
    credit: AccountKind


class TransferCode(IntEnum):
    """Why money moved."""

    ACCRUE = 1
    ACCRUE_AVAILABLE = 2
    MATURE = 3
    REVERSE = 4
    CLAW_BACK = 5
    RESERVE = 6
    RELEASE = 7
    SEND = 8
    CONFIRM = 9
    RETURN = 10
    FAIL = 11
    WITHHOLD = 12
    UNWITHHOLD = 13
    OVERPAID = 14
    UNDERPAID = 15
    WRITE_OFF = 16
    DIFFER = 17


_K = AccountKind
FLOWS: dict[TransferCode, Flow] = {
    TransferCode.ACCRUE: Flow(_K.COMMISSION_EXPENSE, _K.HELD),
    TransferCode.ACCRUE_AVAILABLE: Flow(_K.COMMISSION_EXPENSE, _K.AVAILABLE),
    TransferCode.MATURE: Flow(_K.HELD, _K.AVAILABLE),
    TransferCode.REVERSE: Flow(_K.HELD, _K.CLAWED_BACK),
    TransferCode.CLAW_BACK: Flow(_K.AVAILABLE, _K.CLAWED_BACK),
    TransferCode.RESERVE: Flow(_K.AVAILABLE, _K.RESERVED),
    TransferCode.RELEASE: Flow(_K.RESERVED, _K.AVAILABLE),
    TransferCode.SEND: Flow(_K.RESERVED, _K.PAYOUT_CLEARING),
    TransferCode.CONFIRM: Flow(_K.PAYOUT_CLEARING, _K.PAID),
    TransferCode.RETURN: Flow(_K.PAID, _K.RESERVED),
    TransferCode.FAIL: Flow(_K.PAYOUT_CLEARING, _K.RESERVED),
    TransferCode.WITHHOLD: Flow(_K.RESERVED, _K.TAX_WITHHELD),
    TransferCode.UNWITHHOLD: Flow(_K.TAX_WITHHELD, _K.RESERVED),
    TransferCode.OVERPAID: Flow(_K.AVAILABLE, _K.PAID),
    TransferCode.UNDERPAID: Flow(_K.PAID, _K.AVAILABLE),
    TransferCode.WRITE_OFF: Flow(_K.DEBT_WRITTEN_OFF, _K.AVAILABLE),
    TransferCode.DIFFER: Flow(_K.BANK_DIFFERENCES, _K.PAID_OTHERWISE),
}
"""Every code has one flow; the audit holds every transfer against it."""

MAY_BE_OVERDRAWN = frozenset(
    {_K.COMMISSION_EXPENSE, _K.AVAILABLE, _K.BANK_DIFFERENCES, _K.DEBT_WRITTEN_OFF}
)
"""Credits less debits of these may be negative: expense is a debit account, and a distributor's
available balance is negative when a refund came after the payout (a debt, netted later)."""


def number(owner: int, kind: AccountKind) -> int:
    """The account number of ``owner``'s account of that kind (the brand's for its own kinds)."""
    return (BRAND if kind < AccountKind.HELD else owner) * 16 + kind


def flow(code: TransferCode, owner: int) -> tuple[int, int]:
    """Debit and credit account numbers of a transfer of ``code`` that concerns ``owner``."""
    debit, credit = FLOWS[code]
    return number(owner, debit), number(owner, credit)


def split(account: int) -> tuple[int, AccountKind]:
    """Owner and kind of an account number."""
    return account >> 4, AccountKind(account & 15)
