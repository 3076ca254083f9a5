"""Calls of a module as data: which kind, what was recorded, whether they may take a fast path."""
