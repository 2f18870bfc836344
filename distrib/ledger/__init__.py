"""Accounts, immutable transfers, balances, audit. Knows nothing of orders or distributors."""
