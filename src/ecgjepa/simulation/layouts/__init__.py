"""Simulated records written in the layouts of real databases, one module a database."""
