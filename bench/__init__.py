"""Benchmarks: our figure beside a bare alternative, measured in the same run, as a ratio."""
