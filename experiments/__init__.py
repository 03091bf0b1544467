"""Trains the grids of the study: grid file -> runs -> records."""
