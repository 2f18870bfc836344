"""``python -m distrib.cli``."""

from distrib.cli import main

main()
