"""Trains many runs: on this machine, in jobs of Slurm, on nodes of Ray."""
