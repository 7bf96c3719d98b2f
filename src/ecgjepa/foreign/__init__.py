"""Encoders that were made elsewhere, as the protocols of this package take them."""
