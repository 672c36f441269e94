"""Inspectors' batches and decisions that are never lost."""
