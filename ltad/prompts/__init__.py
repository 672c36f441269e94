"""The prompt laboratory: what other words do to the scores, measured in seconds."""
