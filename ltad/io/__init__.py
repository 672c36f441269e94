"""Files and pixels; nothing here knows a model."""
