"""Turns a study into tables: Markdown, LaTeX, CSV and text for the terminal."""
