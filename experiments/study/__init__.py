"""Turns a grid file into cells, and cells into runs. No torch here."""
