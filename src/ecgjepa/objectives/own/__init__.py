"""Objectives and encoders of the user's own, for pre-training."""
