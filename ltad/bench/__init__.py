"""Measurements as commands: ``python -m ltad.bench.NAME --help``."""
