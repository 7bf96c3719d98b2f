"""What is computed in another way on a CPU: the same values, in less time."""
