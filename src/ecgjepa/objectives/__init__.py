"""Pre-training objectives: their words, what they draw, what they cost, and their networks."""
