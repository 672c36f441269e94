"""Both training phases, calibration, and the state they resume from."""
