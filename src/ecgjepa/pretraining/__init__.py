"""The one pre-training loop and what it stands on."""
