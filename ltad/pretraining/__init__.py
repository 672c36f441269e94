"""How the embedded encoder was made."""
