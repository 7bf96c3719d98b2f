"""Judge a classifier that exists, on labels of one's own, and fit its answers to a clinic."""
