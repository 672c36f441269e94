"""Teaching the detector new parts from a few good images, in a process of its own."""
