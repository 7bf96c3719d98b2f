"""Encoders: normalised signals in, one feature vector per patch out."""
