"""Turns records into tables and figures. Needs neither torch, nor a GPU, nor the data."""
