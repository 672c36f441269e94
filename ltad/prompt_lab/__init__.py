"""The prompt laboratory: what other words do to the scores, measured in seconds.

The image encoder and the reconstruction module do not read the prompts, so a test set is read once
(`bench`). What is tried on it are pairs of prompts (`pairs`), other class names (`names`) and a
refitted Phi (`refit`), alone or together (`experiment`). `lab` keeps what a running page needs of
all that.
"""
