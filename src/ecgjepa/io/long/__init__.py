"""Recordings that are read in pieces, because all of their samples would fill the memory."""
