"""Holds what is written and read: configs, their ids, studies, runs, locks, gates. No torch."""
