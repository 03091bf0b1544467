"""Measures how fast the study runs, against the usual training loop: `make bench`."""
