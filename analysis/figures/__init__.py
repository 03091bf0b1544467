"""Draws figures from records, each as PNG, PDF and SVG."""
