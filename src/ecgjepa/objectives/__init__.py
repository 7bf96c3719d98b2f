"""Pre-training objectives: model, loss, and what happens after an optimizer step."""
