"""Computes the same networks in fewer passes over memory, on a CPU."""
