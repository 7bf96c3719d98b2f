"""What the model sees at each step: a pure function of (seed, step)."""
