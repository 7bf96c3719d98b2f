"""What a pre-training run will cost."""
