"""Records that would fill the memory are prepared in pieces, to the same numbers as whole ones."""
