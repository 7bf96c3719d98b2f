"""A model folder meets new records."""
