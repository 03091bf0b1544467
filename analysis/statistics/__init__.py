"""Computes intervals, comparisons, verdicts and effects from records."""
