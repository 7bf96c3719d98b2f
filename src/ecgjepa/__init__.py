"""Self-supervised pre-training of ECG models."""

__version__ = "0.1.0"
