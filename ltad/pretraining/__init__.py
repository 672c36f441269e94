"""Training the embedded encoder: a small ALIGN, from scratch, on rendered pictures with captions."""
