"""Holds the commands of `python -m experiments`."""
