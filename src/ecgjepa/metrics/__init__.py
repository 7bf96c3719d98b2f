"""Scores of predictions: functions of targets, outputs and weights, without PyTorch."""
