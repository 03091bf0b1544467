"""How fast the study runs, against the loop that everybody writes: `make bench`."""
