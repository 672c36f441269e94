"""An image in, a detection out."""
