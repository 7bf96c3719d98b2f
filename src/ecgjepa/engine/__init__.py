"""Work in numbered pieces, done by joblib's workers: processes, threads or a cluster."""
