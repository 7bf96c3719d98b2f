"""What a representation is worth: tasks, probes, fine-tuning, metrics."""
