"""A model folder leaves this package: as one ONNX file that needs nothing of it."""
