"""How labels are read from an encoder: one module a protocol."""
