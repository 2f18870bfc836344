"""How batches and payouts are shown: to a program, and to a person."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from rich.table import Table
from sqlalchemy.orm import Session

from distrib import ids
from distrib.cli.output import facts, local, table
from distrib.cli.output import money as in_words
from distrib.money import format_amount
from distrib.settlement.batch import list_approvals
from distrib.settlement.finishing import list_files
from distrib.settlement.gathering import WORDS, Reason
from distrib.settlement.progress import Progress
from distrib.settlement.tables import BatchFile, Payout, SettlementBatch, SettlementEvent
from distrib.tree.tables import Distributor

_SHOWN = (
    *("number", "state", "cutoff", "provider", "filters", "currency", "minimum_payout"),
    *("payouts", "total", "tax_total", "tax_regime", "tax_version", "tax_month", "content_hash"),
    *("approvals_needed", "created_at", "created_by", "submitted_at", "submitted_by"),
    *("approved_at", "approved_by", "settled_at", "closed_at", "closed_by"),
)

STATE_ORDER = (
    *("reserved", "held", "sent", "paid", "failed", "returned", "voided", "removed", "cancelled"),
)

_STATE_WORDS = {
    "reserved": "wait to be handed over",
    "held": "wait for a person: settle release, void",
    "sent": "handed over, not decided",
    "paid": "",
    "failed": "wait for a person: settle reissue, void",
    "returned": "came back: settle reissue, void",
    "voided": "given up; open for the next batch",
    "removed": "taken out; open for the next batch",
    "cancelled": "open for the next batch",
}


def document(batch: SettlementBatch) -> dict[str, Any]:
    """A batch for a program."""
    return {"id": ids.public("bat", batch.id)} | {name: getattr(batch, name) for name in _SHOWN}


def files_document(files: Iterable[BatchFile]) -> list[dict[str, Any]]:
    """Payment files for a program."""
    return [
        {
            "no": each.file_no,
            "name": each.name,
            "sha256": each.sha256,
            "payouts": each.payouts,
            "total": each.total,
            "created_at": each.created_at,
        }
        for each in files
    ]


def plural(count: int, what: str) -> str:
    """``1 payout``, ``1,200 payouts``."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def spoken(state: str) -> str:
    """``partly failed``."""
    return state.replace("_", " ")


def _signed(when: datetime | None, who: str | None, zone: str) -> str | None:
    return f"{local(when, zone)} by {who}" if when else None


def _filters(batch: SettlementBatch) -> str | None:
    words = []
    for name in ("only", "without", "minimum"):
        if (found := batch.filters.get(name)) is None:
            continue
        if name == "minimum":
            words.append(f"at least {in_words(found, batch.currency)}")
        elif len(found) > 5:
            words.append(f"{name} {len(found):,} distributors")
        else:
            words.append(f"{name} {', '.join(found)}")
    return "; ".join(words) or None


def batch_facts(session: Session, batch: SettlementBatch, zone: str) -> Table:
    """A batch for a person."""
    given = list_approvals(session, batch=batch)
    approvals = [_signed(each.approved_at, each.approved_by, zone) for each in given]
    if batch.state == "submitted":
        left = batch.approvals_needed - len(given)
        approvals.append(f"{plural(left, 'approval')} to come")
    tax = None
    if batch.tax_regime is not None and batch.tax_month is not None:
        tax = (
            f"{in_words(batch.tax_total, batch.currency)} by {batch.tax_regime}, for"
            f" {batch.tax_month:%Y-%m}"
        )
    net = in_words(batch.total - batch.tax_total, batch.currency)
    return facts(
        [
            ("state", spoken(batch.state)),
            ("cutoff", batch.cutoff),
            ("provider", batch.provider),
            ("limited to", _filters(batch)),
            ("payouts", batch.payouts),
            ("total", in_words(batch.total, batch.currency)),
            ("tax withheld", tax),
            ("to be paid", net if tax else None),
            ("content hash", batch.content_hash.hex()),
            ("drawn up", _signed(batch.created_at, batch.created_by, zone)),
            ("submitted", _signed(batch.submitted_at, batch.submitted_by, zone)),
            *(("approved" if n == 0 else "", each) for n, each in enumerate(approvals)),
            ("settled", local(batch.settled_at, zone) or None),
            ("closed", _signed(batch.closed_at, batch.closed_by, zone)),
            *(
                (
                    "payment file" if n == 0 else "",
                    f"{each.name}  ({plural(each.payouts, 'payout')},"
                    f" {in_words(each.total, batch.currency)})",
                )
                for n, each in enumerate(list_files(session, batch=batch))
            ),
        ],
        title=f"Batch {batch.number}",
    )


def states_table(progress: Progress, currency: str) -> Table:
    """Where the payouts of a batch are."""
    known = [state for state in STATE_ORDER if state in progress.states]
    return table(
        f"payouts that are|>number|>gross ({currency})|",
        (
            (
                state,
                progress.states[state][0],
                format_amount(progress.states[state][1], currency),
                _STATE_WORDS[state],
            )
            for state in known
        ),
    )


def left_out_table(counted: dict[Reason, tuple[int, int]], currency: str) -> Table:
    """Who is not in a batch, and why."""
    return table(
        f"not in it|>distributors|>due ({currency})",
        (
            (WORDS[reason], count, format_amount(amount, currency))
            for reason, (count, amount) in counted.items()
        ),
    )


def left_out_document(counted: dict[Reason, tuple[int, int]]) -> dict[str, Any]:
    """The same for a program."""
    return {
        str(reason): {"distributors": count, "amount": amount}
        for reason, (count, amount) in counted.items()
    }


def payout_document(payout: Payout, person: Distributor) -> dict[str, Any]:
    """A payout for a program."""
    return {
        "no": payout.no,
        "distributor": person.external_id,
        "name": person.name,
        "amount": payout.amount,
        "tax": payout.tax,
        "net": payout.amount - payout.tax,
        "items": len(payout.postings),
        "state": payout.state,
        "attempts": payout.attempts,
    }


def payouts_table(found: Sequence[tuple[Payout, Distributor]], batch: SettlementBatch) -> Table:
    """Payouts for a person; tax only where there is any."""
    taxed = batch.tax_regime is not None
    columns = f">no|distributor|name|>gross ({batch.currency})"
    columns += "|>tax|>net" if taxed else ""

    def amounts(payout: Payout) -> list[str]:
        shown = (payout.amount, payout.tax, payout.amount - payout.tax)
        return [format_amount(each, batch.currency) for each in (shown if taxed else shown[:1])]

    return table(
        f"{columns}|>orders and refunds|state",
        (
            (
                payout.no,
                person.external_id,
                person.name,
                *amounts(payout),
                len(payout.postings),
                payout.state,
            )
            for payout, person in found
        ),
    )


def events_table(found: Iterable[SettlementEvent], zone: str) -> Table:
    """Who did what, when and why."""
    return table(
        "when|what|>payout|who|why",
        (
            (local(each.at, zone), spoken(each.kind), each.no, each.actor, each.reason)
            for each in found
        ),
    )


def events_document(found: Iterable[SettlementEvent]) -> list[dict[str, Any]]:
    """The same for a program."""
    return [
        {
            "at": each.at,
            "kind": each.kind,
            "no": each.no,
            "actor": each.actor,
            "reason": each.reason,
            "data": each.data,
        }
        for each in found
    ]
