"""Simulated patients: hearts, rhythms, conditions, noise, and the recorder that traces them."""
