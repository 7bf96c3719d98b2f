"""The service: files come over HTTP, predictions and features go back."""
