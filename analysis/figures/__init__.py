"""Draws figures from records, each as PNG and PDF."""
