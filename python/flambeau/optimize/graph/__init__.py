"""Compiled packages that replace a whole module for one kind of call."""
