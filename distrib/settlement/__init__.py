"""Maturation, batches, payouts."""
