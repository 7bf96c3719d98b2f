"""What is predicted, on which records, and what an encoder must not have seen."""
