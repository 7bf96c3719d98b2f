"""Download openly accessible databases: resumable, in parallel, every file verified."""
