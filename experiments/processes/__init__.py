"""Begins and ends processes: signals, output that may fail, and the fork server. No torch here."""
