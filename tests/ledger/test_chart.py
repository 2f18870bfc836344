"""The chart: whose account is what, and which way each code moves money."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distrib.ledger.chart import (
    FLOWS,
    MAY_BE_OVERDRAWN,
    AccountKind,
    TransferCode,
    flow,
    number,
    split,
)

K = AccountKind
OWNERS = st.integers(1, 2**59 - 1)


@pytest.mark.parametrize(
    "code, debit, credit",
    [
        (TransferCode.ACCRUE, K.COMMISSION_EXPENSE, K.HELD),
        (TransferCode.ACCRUE_AVAILABLE, K.COMMISSION_EXPENSE, K.AVAILABLE),
        (TransferCode.MATURE, K.HELD, K.AVAILABLE),
        (TransferCode.REVERSE, K.HELD, K.CLAWED_BACK),
        (TransferCode.CLAW_BACK, K.AVAILABLE, K.CLAWED_BACK),
        (TransferCode.RESERVE, K.AVAILABLE, K.RESERVED),
        (TransferCode.RELEASE, K.RESERVED, K.AVAILABLE),
        (TransferCode.SEND, K.RESERVED, K.PAYOUT_CLEARING),
        (TransferCode.CONFIRM, K.PAYOUT_CLEARING, K.PAID),
        (TransferCode.RETURN, K.PAID, K.RESERVED),
        (TransferCode.FAIL, K.PAYOUT_CLEARING, K.RESERVED),
        (TransferCode.WITHHOLD, K.RESERVED, K.TAX_WITHHELD),
        (TransferCode.UNWITHHOLD, K.TAX_WITHHELD, K.RESERVED),
        (TransferCode.OVERPAID, K.AVAILABLE, K.PAID),
        (TransferCode.UNDERPAID, K.PAID, K.AVAILABLE),
        (TransferCode.WRITE_OFF, K.DEBT_WRITTEN_OFF, K.AVAILABLE),
        (TransferCode.DIFFER, K.BANK_DIFFERENCES, K.PAID_OTHERWISE),
    ],
)
def test_flows(code: TransferCode, debit: AccountKind, credit: AccountKind) -> None:
    assert FLOWS[code] == (debit, credit)
    accounts = flow(code, 5)
    assert [split(account)[1] for account in accounts] == [debit, credit]
    assert [split(account)[0] for account in accounts] == [
        0 if kind < K.HELD else 5 for kind in (debit, credit)
    ]


def test_every_code_has_a_flow_between_two_kinds() -> None:
    assert set(FLOWS) == set(TransferCode)
    assert all(debit != credit for debit, credit in FLOWS.values())
    assert all(0 < kind < 16 for kind in AccountKind)


def test_who_may_be_overdrawn() -> None:
    assert {
        K.COMMISSION_EXPENSE,
        K.AVAILABLE,
        K.BANK_DIFFERENCES,
        K.DEBT_WRITTEN_OFF,
    } == MAY_BE_OVERDRAWN


@given(OWNERS, st.sampled_from(AccountKind))
def test_numbers_say_owner_and_kind(owner: int, kind: AccountKind) -> None:
    account = number(owner, kind)
    assert 0 < account < 2**63
    assert split(account) == (owner if kind >= K.HELD else 0, kind)


@given(st.sets(OWNERS, min_size=2, max_size=4))
def test_accounts_of_different_owners_never_meet(owners: set[int]) -> None:
    own = [number(owner, kind) for owner in owners for kind in AccountKind if kind >= K.HELD]
    assert len(set(own)) == len(own)
