"""What a bootstrap is compared by, in tests of several rooms."""

from ecgjepa.metrics.classification import macro, ranking_scores


def macro_aurocs(bootstrap, targets, scores):
    """Return the macro AUROC of every resample, over the labels defined in it."""
    return bootstrap.resample(lambda weights: macro(ranking_scores(targets, scores, weights).auroc))
