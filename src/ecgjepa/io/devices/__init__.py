"""Formats that recorders and hospital systems write, each read without another package."""
