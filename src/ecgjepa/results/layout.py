"""Names of the files that runs, evaluations, repeats and comparisons write, and of the models.

A version is raised when a field or a column changes its name or meaning. `ecgjepa.results.reading`
and `ecgjepa.results.predictions` turn the content of older files into that of the newest.
"""

# A pre-training run.
METRICS_FILE = "metrics.jsonl"

# A probe or fine-tuning.
RESULTS_FILE = "results.json"
PREDICTIONS_FILE = "predictions.parquet"
EMBEDDINGS_FILE = "embeddings.npz"
SPLIT_FILE = "split.csv"
# What was asked, and whether all of it is answered.
REQUEST_FILE = "request.json"
# Of a fine-tuning, the probe that it begins with.
PROBE_FOLDER = "probe"

# Repeats of an evaluation.
SUMMARY_FILE = "summary.json"
REPEATS_FILE = "repeats.json"

# A comparison of methods.
COMPARISON_PLAN = "plan.json"
COMPARISON_FILE = "comparison.json"
COMPARISON_TABLE = "comparison.md"
COMPARISON_FIGURE = "comparison.svg"

# 2: ``databases`` describes each database that takes part, ``store_fingerprint`` is the store's;
# 1 had ``database``, the first tested one, and ``store``, a path.
RESULTS_VERSION = 2
# 2: ``test_on`` is a list of names; in 1 the names were joined by plus signs.
SUMMARY_VERSION = 2
# 2: has a column ``database``; in 1, ``record_id`` alone named a record.
PREDICTIONS_VERSION = 2

# The model that an evaluation is about, and what a probe and a fine-tuning put beside it.
PRE_TRAINED = "pre-trained"
UNTRAINED = "untrained"
FROM_SCRATCH = "from scratch"
# Beside an ONNX file, which cannot be had untrained: features of the signal itself.
RAW_SIGNAL = "raw signal"
# What is printed below an evaluation whose encoder was never pre-trained: its objective is "none".
LABELLED = (
    "here the encoder of a classifier that was trained with labels and not pre-trained. What it "
    "gained over an untrained one, it gained from labels."
)
# Field of ``training`` in a model folder, and of results: labels trained the encoder itself.
TRAINED_WITH_LABELS = "encoder_trained_with_labels"
# What is printed below an evaluation of such an encoder that was pre-trained before.
FINE_TUNED = (
    "here an encoder that was pre-trained and then fine-tuned with labels. What it gained over an "
    "untrained one, it gained from both."
)
# Protocol of an evaluation in which nothing was trained: a classifier was judged as it is.
JUDGED = "evaluate"
