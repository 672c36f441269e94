"""Figures of a test set, kept as runs."""
