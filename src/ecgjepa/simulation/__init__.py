"""Labelled synthetic 12-lead ECGs, written to disk as real databases are."""

from ecgjepa.simulation.database import simulate as simulate
from ecgjepa.simulation.heart.records import simulate_record as simulate_record

__all__ = ["simulate", "simulate_record"]
