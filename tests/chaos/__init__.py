"""Faults injected into settlement, run by run, each repeatable from its seed: ``make chaos``."""
