"""Data sets as published."""
