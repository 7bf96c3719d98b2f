"""Samples that come stretch by stretch, since all of them would fill the memory."""
