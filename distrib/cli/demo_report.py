"""What the demo tells about its brand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from distrib import clock
from distrib.audit import Finding
from distrib.cli.output import facts, local, table
from distrib.cli.output import money as in_words
from distrib.demo.figures import Figures
from distrib.ledger.chart import AccountKind
from distrib.money import format_amount

_BAR = 30  # columns
_FINDINGS = 10


@dataclass(frozen=True)
class Audit:
    """What the audit found, in how many rows, in how many seconds."""

    checks: int
    rows: int
    findings: Sequence[Finding]
    seconds: float


@dataclass(frozen=True)
class Speed:
    """How fast the history was made; all zero when that is not known."""

    seconds: float = 0.0
    orders: int = 0
    order_seconds: float = 0.0
    single_ms: float = 0.0
    slow_single_ms: float = 0.0
    payouts: int = 0
    payout_seconds: float = 0.0


def _share(part: int, whole: int) -> str:
    """A percentage to read, not to reckon with."""
    tenths = (1000 * part + whole // 2) // whole if whole else 0
    return f"{tenths // 10}.{tenths % 10}%"


def section(title: str, *parts: RenderableType) -> Group:
    return Group("", Rule(title, align="left", style="cyan", characters="─"), *parts)


def draw_figures(figures: Figures) -> list[RenderableType]:
    """The report, section by section."""
    return [
        _brand(figures),
        _cost(figures),
        _whereabouts(figures),
        _earners(figures),
        _tree(figures),
        _batches(figures),
    ]


def _brand(figures: Figures) -> Group:
    brand, trade = figures.brand, figures.trade
    days = [clock.day_of(instant, brand.time_zone) for instant in (trade.first, trade.last)]
    return section(
        brand.name,
        facts(
            [
                ("history", f"{days[0]} to {days[1]}, {brand.time_zone}"),
                (
                    "orders",
                    f"{trade.orders:,} of {trade.lines:,} lines and"
                    f" {in_words(trade.net, brand.currency)};"
                    f" {_share(trade.credited, trade.orders)} credited to a distributor",
                ),
                (
                    "refunds",
                    f"{trade.refunds:,} of {in_words(trade.refunded, brand.currency)};"
                    f" {trade.waited:,} came before their order",
                ),
                (
                    "distributors",
                    f"{figures.tree.distributors:,} under {figures.tree.roots} roots;"
                    f" {figures.moves} were moved to another sponsor",
                ),
                (
                    "terms",
                    f"{brand.levels} levels, {brand.hold_days} days of hold, payouts from"
                    f" {in_words(brand.minimum_payout, brand.currency)}",
                ),
            ]
        ),
    )


def _cost(figures: Figures) -> Group:
    currency, sold = figures.brand.currency, figures.trade.net - figures.trade.refunded

    def row(name: str, people: int | str, earned: int, back: int) -> tuple[str | int, ...]:
        return (
            name,
            people,
            format_amount(earned, currency),
            format_amount(back, currency),
            format_amount(earned - back, currency),
            _share(earned - back, sold),
        )

    earned = sum(level.earned for level in figures.levels)
    back = sum(level.reversed for level in figures.levels)
    made = table(
        f"|>distributors|>earned ({currency})|>reversed by refunds|>cost|>of sales kept",
        (row(f"level {x.level}", x.distributors, x.earned, x.reversed) for x in figures.levels),
    )
    made.add_section()
    made.add_row(*map(str, row("all", "", earned, back)), style="bold")
    return section("What the program costs", made)


def _whereabouts(figures: Figures) -> Group:
    currency, totals = figures.brand.currency, figures.totals
    left = figures.open
    together = sum(amount for kind, amount in totals.items() if kind >= AccountKind.HELD)

    def row(name: str, kind: AccountKind, words: str) -> tuple[str, str, str]:
        return (name, format_amount(totals.get(kind, 0), currency), words)

    return section(
        "Where the money is, by the ledger",
        table(
            f"|>{currency}|",
            [
                row("pending", AccountKind.HELD, "in the hold, a refund takes it back"),
                row(
                    "available",
                    AccountKind.AVAILABLE,
                    f"of which {left.below_minimum:,} distributors carry"
                    f" {format_amount(left.below_minimum_total, currency)} forward, below the"
                    " minimum",
                ),
                (
                    "",
                    format_amount(-left.debts, currency),
                    f"is owed by {left.debtors:,} distributors whose orders came back after"
                    " they were paid",
                ),
                row("reserved", AccountKind.RESERVED, "in a batch that is not paid yet"),
                row("paid", AccountKind.PAID, "confirmed payouts"),
                row("reversed", AccountKind.CLAWED_BACK, "went back because of refunds"),
            ],
        ),
        f"Together {in_words(together, currency)}; the brand's expense account says"
        f" {in_words(-totals.get(AccountKind.COMMISSION_EXPENSE, 0), currency)}.",
    )


def _earners(figures: Figures) -> Group:
    currency = figures.brand.currency
    return section(
        "Who earns most",
        table(
            f"distributor|name|>directly below|>earned net ({currency})|>paid|>available|>pending",
            (
                (
                    each.external_id,
                    each.name,
                    each.directly_below,
                    *(
                        format_amount(amount, currency)
                        for amount in (
                            each.balances.earned - each.balances.reversed,
                            each.balances.paid,
                            each.balances.available,
                            each.balances.pending,
                        )
                    ),
                )
                for each in figures.earners
            ),
        ),
    )


def _tree(figures: Figures) -> Group:
    depths = figures.tree.depths
    most = max(depths, default=1)
    return section(
        f"How deep they stand: up to {figures.tree.max_depth} levels",
        table(
            ">levels above|>distributors|",
            (
                (depth, count, Text("█" * -(-count * _BAR // most), "cyan"))
                for depth, count in enumerate(depths)
            ),
        ),
    )


def _batches(figures: Figures) -> Group:
    brand = figures.brand
    return section(
        "Settlement batches",
        table(
            f">no|cutoff|drawn up|>payouts|>total ({brand.currency})|state|paid",
            (
                (
                    batch.number,
                    batch.cutoff,
                    local(batch.created_at, brand.time_zone),
                    batch.payouts,
                    format_amount(batch.total, brand.currency),
                    batch.state,
                    local(batch.settled_at, brand.time_zone),
                )
                for batch in figures.batches
            ),
        ),
        Text("Drawn up and approved in the history; paid in our time, by the workers.", "dim"),
    )


def draw_words(words: Sequence[str]) -> Group:
    """One commission, explained."""
    listed = Table.grid(padding=(0, 1, 0, 0))
    for each in words:
        listed.add_row("•", each)
    return section("One commission, explained", listed)


def draw_audit(audit: Audit) -> Group:
    """What the audit found."""
    head = (
        f"{audit.checks} checks over {audit.rows:,} rows in {audit.seconds:.1f} s: every commission"
        " computed again from order, plan and tree, every balance from its transfers."
    )
    if not audit.findings:
        return section("Audit", head, Text("Nothing is wrong.", "bold green"))
    return section(
        "Audit",
        head,
        Text(f"{len(audit.findings)} things are wrong:", "bold red"),
        *(Text(f"{each.check}: {each.detail}", "red") for each in audit.findings[:_FINDINGS]),
    )


def draw_speed(speed: Speed) -> Group:
    """How fast it went."""
    if not speed.order_seconds:
        return Group()
    rate = speed.orders / speed.order_seconds
    lines: list[tuple[str, str]] = [
        ("history", f"{speed.seconds:.0f} s in all, on this machine"),
        (
            "orders",
            f"{speed.orders:,} in {speed.order_seconds:.0f} s, {rate:,.0f} a second, with joins and"
            " refunds, two hours of the shop a transaction",
        ),
    ]
    if speed.single_ms:
        one = (
            f"{speed.single_ms:.1f} ms until it is recorded, credited, priced and posted, durably;"
            f" 95% within {speed.slow_single_ms:.1f} ms"
        )
        lines.append(("one order", one))
    if speed.payouts:
        lines.append(
            ("payouts", f"{speed.payouts:,} in {speed.payout_seconds:.1f} s, by two workers")
        )
    return section("How long it took", facts(lines))
