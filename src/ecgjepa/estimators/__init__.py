"""scikit-learn's interface: ECGs in, features, probabilities and scores out."""
