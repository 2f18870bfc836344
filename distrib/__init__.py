"""distrib: an exact, explained, provable multi-level distribution commerce engine."""

__version__ = "0.1.0"
