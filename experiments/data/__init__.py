"""Fetches, checks and prepares the data sets, and keeps their images on the device."""
