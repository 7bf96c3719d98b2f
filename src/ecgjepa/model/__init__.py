"""The networks, and the folder on disk that users share."""
