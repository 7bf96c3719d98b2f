"""The networks of the objectives, their losses, and the signs that their outputs report."""
