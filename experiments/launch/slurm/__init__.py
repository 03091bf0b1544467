"""Trains runs in jobs of Slurm."""
