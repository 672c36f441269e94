"""Training the embedded encoder: a small ALIGN from scratch, on captioned rendered pictures."""
