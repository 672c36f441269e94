"""Networks only: no files, no thresholds."""
