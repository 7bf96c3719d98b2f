"""What a terminal shows, at 80 columns."""
