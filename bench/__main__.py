"""``python -m bench``: every benchmark. ``--full`` adds the import and simulation
of a million orders."""

from __future__ import annotations

import argparse

from bench import api, engine, intake, settlement, simulation
from bench.common import FULL, PLAN, servers

ALL = ("engine", "intake", "settlement", "simulation", "api")


def main() -> None:
    """Run the benchmarks named, or all."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"{', '.join(ALL)}; default all")
    parser.add_argument("--full", action="store_true", help="with a million orders as well")
    parser.add_argument("--runs", type=int, default=3, help="pairs of each measurement")
    chosen = parser.parse_args()
    wanted = set(chosen.names) or set(ALL)
    if "engine" in wanted:
        engine.run()
    with servers() as bench:
        if "intake" in wanted:
            sizes = (10_000, 100_000, 1_000_000) if chosen.full else (10_000, 100_000)
            prices = [intake.run(bench, n, 1 if n >= 1_000_000 else chosen.runs) for n in sizes]
            print(
                f"\nprice of a row, {sizes[-1]:,} orders against {sizes[0]:,}:"
                f" {prices[-1][0] / prices[0][0]:.2f}, by COPY"
                f" {prices[-1][1] / prices[0][1]:.2f} (aim: no growth beyond that of COPY)"
            )
            intake.run(bench, 10_000, chosen.runs, plan=FULL)
        if "settlement" in wanted:
            sizes = (10_000, 100_000, 1_000_000) if chosen.full else (10_000, 100_000)
            costs = [settlement.run(bench, n, 1 if n >= 1_000_000 else chosen.runs) for n in sizes]
            print(
                f"\nprice of a payee, {sizes[-1]:,} against {sizes[0]:,}: gathering"
                f" {costs[-1][0] / costs[0][0]:.2f}, paying {costs[-1][1] / costs[0][1]:.2f}"
                " (aim: 1 or less)"
            )
        if "simulation" in wanted:
            for n in (100_000, 1_000_000) if chosen.full else (100_000,):
                simulation.run(bench, n, chosen.runs)
        if "api" in wanted:
            for plan in (PLAN, FULL):
                api.run(bench, runs=chosen.runs, plan=plan)


main()
