"""Checkpoints of the paper's published code, read and written."""
