"""Prove what a store holds: its bytes, its sources, no held-out record, no record twice."""
