"""Writes what is read: the report, the live page and the README's computed parts."""
