"""Trains one run, from its first batch to its record."""
