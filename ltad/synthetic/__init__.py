"""Rendered parts and scenes, and painted defects."""
