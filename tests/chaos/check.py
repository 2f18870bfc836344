"""What must hold when a run has ended, whatever happened in it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

from distrib.ledger.chart import AccountKind
from distrib.settlement.audit import audit_brand
from tests.chaos.world import World


def violations(world: World) -> Iterator[str]:
    """Whatever is wrong, in words."""
    with world.db.snapshot() as session:
        for finding in audit_brand(session, brand_id=world.brand.id):
            yield f"audit: {finding.check}: {finding.detail}"
    yield from _the_provider_agrees(world)
    yield from _nothing_is_lost(world)
    yield from _nothing_is_stuck(world)
    yield from _files_name_each_payee_once(world)


def _files(world: World) -> list[Path]:
    return [
        world.settings.data_dir / name
        for (name,) in world.rows("SELECT name FROM batch_file ORDER BY file_no")
    ]


def _the_provider_agrees(world: World) -> Iterator[str]:
    """What the ledger says is paid, the provider has paid: each payout once, its net amount."""
    outside = world.side.paid(_files(world))
    paid: dict[str, int] = {}
    numbers: defaultdict[int, list[str]] = defaultdict(list)
    net: dict[int, int] = {}
    for no, payout_state, amount, number, state in world.rows(
        "SELECT p.no, p.state, p.amount - p.tax, a.request_no, a.state FROM payout p"
        " JOIN payout_attempt a ON a.brand_id = p.brand_id AND a.batch_id = p.batch_id"
        " AND a.no = p.no ORDER BY p.no, a.attempt"
    ):
        net[no] = amount
        if number in outside:
            numbers[no].append(number)
        if state == "paid":
            paid[number] = amount
            if payout_state != "paid":
                yield f"payout {no} is {payout_state}, its attempt {number} is paid"
    for number in sorted(outside.keys() - paid.keys()):
        yield f"the provider paid {outside[number]} for {number}, the ledger did not"
    for number in sorted(paid.keys() - outside.keys()):
        yield f"the ledger has {number} as paid, the provider never paid it"
    for number in sorted(paid.keys() & outside.keys()):
        if paid[number] != outside[number]:
            yield f"{number}: {paid[number]} due, the provider paid {outside[number]}"
    for no, found in numbers.items():
        if len(found) > 1:
            yield f"payout {no} was paid {len(found)} times: {found}"
        if sum(outside[number] for number in found) > net[no]:
            yield f"payout {no}: more was paid than the {net[no]} due"
    yield from _payees_have_what_is_theirs(world)
    total = world.value(
        "SELECT coalesce(sum(CASE WHEN credit_account & 15 = :kind THEN amount ELSE -amount END),"
        " 0)::bigint FROM transfer WHERE credit_account & 15 = :kind OR debit_account & 15 = :kind",
        kind=int(AccountKind.PAID),
    )
    if total != sum(outside.values()):
        yield f"the ledger's paid is {total}, the provider paid {sum(outside.values())}"


def _payees_have_what_is_theirs(world: World) -> Iterator[str]:
    """The accounts at the provider received what is paid to their owners."""
    if world.side.double is None:
        return
    due: Counter[str] = Counter()
    for name, amount in world.rows(
        "SELECT d.external_id, sum(p.amount - p.tax)::bigint FROM payout p JOIN distributor d"
        " ON d.brand_id = p.brand_id AND d.id = p.distributor_id WHERE p.state = 'paid'"
        " GROUP BY 1"
    ):
        (account, *_) = world.side.account(name).values()
        due[account] += amount
    received = +Counter(world.side.double.received)
    if received != due:
        for account in sorted(received.keys() | due.keys()):
            if received[account] != due[account]:
                yield f"{account} received {received[account]}, {due[account]} is paid"


def _nothing_is_lost(world: World) -> Iterator[str]:
    """Each item that was due before is open or in one payout, with its amount; new ones are of
    postings made since."""
    after = world.items()
    for key, amount in world.due.items():
        if after.get(key) != amount:
            yield f"item {key}: {amount} was due, open or in payouts are {after.get(key)}"
    known = {posting for _, posting in world.due}
    for (owner, posting), amount in after.items():
        if (owner, posting) not in world.due and posting in known:
            yield f"item {(owner, posting)} of {amount} came out of nothing"


def _nothing_is_stuck(world: World) -> Iterator[str]:
    """No job has failed or waits, and no payout is between two states."""
    for kind, state, error in world.rows(
        "SELECT kind, state, error FROM job WHERE state <> 'done'"
    ):
        yield f"a job {kind} is {state}: {error}"
    batch = world.batch()
    if batch.pay_jobs or batch.follow_jobs:
        yield f"the batch counts {batch.pay_jobs} and {batch.follow_jobs} jobs"
    for state, count in world.rows("SELECT state, count(*) FROM payout GROUP BY 1"):
        if state in ("reserved", "sent"):
            yield f"{count} payouts are {state}"
        if state in ("held", "failed", "returned") and batch.state != "partly_failed":
            yield f"{count} payouts are {state}, the batch is {batch.state}"
    for no, reason in world.rows(
        "SELECT no, reason FROM settlement_event WHERE kind = 'contradiction'"
    ):
        yield f"payout {no}: {reason}"


def _files_name_each_payee_once(world: World) -> Iterator[str]:
    """A request is in the files once (the reader adds up what comes twice), and so is its payee."""
    if world.side.double is not None:
        return
    numbers = [number for path in _files(world) for number in world.side.paid([path])]
    payouts = Counter(number.partition("a")[0] for number in numbers)
    for payout, count in payouts.items():
        if count > 1:
            yield f"payout {payout} is in the files {count} times"
    if not numbers and world.value("SELECT count(*) FROM payout WHERE state = 'paid'"):
        yield "there is no file"
