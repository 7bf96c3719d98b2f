"""The folder of an evaluation: names of its files, and of the models in them."""

RESULTS_FILE = "results.json"
PREDICTIONS_FILE = "predictions.parquet"
SPLIT_FILE = "split.csv"
EMBEDDINGS_FILE = "embeddings.npz"
# In the folder of repeats, whose evaluations lie in folders below it.
SUMMARY_FILE = "summary.json"

# The model that an evaluation is about, and what a probe and a fine-tuning put beside it.
PRE_TRAINED = "pre-trained"
UNTRAINED = "untrained"
FROM_SCRATCH = "from scratch"
