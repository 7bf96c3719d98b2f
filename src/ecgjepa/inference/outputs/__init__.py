"""Tables of predictions and of features, written in parts, so that a killed run resumes."""
