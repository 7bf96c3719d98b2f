"""What runs and evaluations leave on the disk: file names, and reading them without PyTorch."""
