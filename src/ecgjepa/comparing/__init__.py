"""Objectives, seeds and protocols side by side, at equal compute."""
