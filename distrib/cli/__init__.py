"""The same verbs for a terminal.

A command reads its arguments, calls one service verb and prints what it says: a table for a
person, or with ``--json`` one document for a program. Notes and progress go to stderr.
"""

from distrib.cli.root import main

__all__ = ["main"]
