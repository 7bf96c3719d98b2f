"""Models by name: where they come from, and how they are given to others."""
