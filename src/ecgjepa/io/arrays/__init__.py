"""ECGs in plain arrays and tables, which a description file explains."""
